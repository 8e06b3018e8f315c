"""Commands of the phase reference_model: train shapes-tiny."""

from pathlib import Path
from typing import Annotated

import typer

from attention_atlas.cli.attention import shown_progress
from attention_atlas.cli.common import Log, logged

reference_model_app = typer.Typer(help="The reference model shapes-tiny.", no_args_is_help=True)


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
    app.add_typer(reference_model_app, name="reference-model")


@reference_model_app.callback()
def reference_model() -> None:
    """The reference model shapes-tiny."""


@reference_model_app.command()
def train(
    output: Annotated[Path, typer.Option(help="Folder of the model.")],
    checkpoints: Annotated[Path, typer.Option(help="Folder where an interrupted training goes on from.")] = Path(
        "scratch/shapes-tiny"
    ),
    threads: Annotated[int, typer.Option(help="torch threads.")] = 2,
    log: Log = None,
) -> None:
    """Train the model from scratch, measure its held-out accuracy, and write it with its card."""
    with logged(log) as logger:
        import torch

        from attention_atlas.attention import models
        from attention_atlas.config import ModelEntry
        from attention_atlas.provenance import library_versions
        from attention_atlas.reference_model import card, evaluation, examples, package, training
        from attention_atlas.reference_model.architecture import GRID, build_model
        from attention_atlas.reference_model.tokenizer import build_tokenizer

        torch.set_num_threads(threads)
        tokenizer = build_tokenizer(examples.sentences())
        trainer = training.Trainer(build_model(tokenizer, training.SEED), tokenizer, training.SEED, checkpoints)
        trainer.train()
        package.save_model(trainer.model, tokenizer, output)
        entry = ModelEntry(path=str(output), dtype="float32", grid=GRID, device="cpu")
        with shown_progress(logger, "held-out questions, scenes") as progress:
            accuracy = evaluation.accuracy_by_query(
                models.load("shapes-tiny", entry), evaluation.held_out_scenes(), progress
            )
        record = {
            "accuracy": accuracy,
            "curve": trainer.curve,
            "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
            "seed": training.SEED,
            "threads": threads,
            "versions": library_versions(("torch", "transformers", "pillow")),
        }
        card.write_card(output, record)
        logger.info("wrote %s", output)
