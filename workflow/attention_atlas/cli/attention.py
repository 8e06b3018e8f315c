"""Commands of the phase attention: extract shards, list them in a manifest, perturb samples."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attention_atlas.attention import catalogue
from attention_atlas.cli.common import MODELS, SETTINGS, Log, Models, Settings, logged, model_entry, used_settings
from attention_atlas.errors import AtlasError

if TYPE_CHECKING:
    from attention_atlas.attention.extraction import ExtractionSettings
    from attention_atlas.declared import Declared

AskModel = Annotated[
    bool,
    typer.Option(
        "--ask-model/--no-model",
        envvar="ATLAS_ASK_MODEL",
        help="Whether a model may be asked. Where not, the command fails and tells what to pull instead.",
    ),
]


class Asked(StrEnum):
    """What a shard holds."""

    study = "study"
    controls = "controls"
    random_weights = "random_weights"


READ = {
    Asked.study: catalogue.EXTRACTION_SETTINGS,
    Asked.controls: catalogue.CONTROL_SETTINGS,
    Asked.random_weights: catalogue.RANDOM_WEIGHTS_SETTINGS,
}


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
    app.command()(extract)
    app.command()(manifest)
    app.command()(intervene)


def extract(
    study: Annotated[Path, typer.Option(help="Folder of the study, data/<study>.")],
    shard: Annotated[str, typer.Option(help="Number of the shard, three digits.")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    output: Annotated[Path, typer.Option(help="The shard, a netCDF file.")],
    scratch: Annotated[Path, typer.Option(help="Folder where finished batches outlive an interruption.")] = Path(
        "scratch"
    ),
    asked: Annotated[
        Asked, typer.Option(help="The study's own samples, its control conditions, or its samples of random weights.")
    ] = Asked.study,
    models: Models = MODELS,
    settings: Settings = SETTINGS,
    ask_model: AskModel = True,
    log: Log = None,
) -> None:
    """Ask a model the samples of one shard and keep its attention.

    Reads extraction, generation, capture, and for control conditions controls.
    """
    with logged(log) as logger:
        refuse_without_model(ask_model, output)
        from attention_atlas.attention import asking, control_conditions, extraction
        from attention_atlas.config import Controls
        from attention_atlas.declared import read_declared, typed
        from attention_atlas.inputs.used_settings import used_by

        sections = read_declared(settings, READ[asked])
        shards = sections["shards"]
        if asked is Asked.study:
            samples = asking.own_samples(study, shard, shards)
            whole = used_settings(settings, READ[asked], samples.study, logger)
            wanted = extraction_settings(used_by(samples.study.on({row["image"] for row in samples.rows}), whole))
        elif asked is Asked.controls:
            samples = control_conditions.control_samples(study, shard, shards, typed(Controls, sections["controls"]))
            wanted = extraction_settings(sections).plain()
        else:
            seed = sections["controls"]["seed"]
            samples = control_conditions.samples_of_random_weights(study, shard, shards, seed)
            wanted = extraction_settings(sections).plain(max_new_tokens=1)  # what random weights say means nothing
        title = f"{study.name} x {model}, shard {shard}" + ("" if asked is Asked.study else f", {asked.value}")
        with shown_progress(logger, title) as progress:
            entry = model_entry(models, model)
            told = extraction.extract(samples, model, entry, wanted, scratch, output, progress)
        logger.info(
            "%d samples of %d images in %.1f s, %.1f samples/s; loading the model took %.1f s",
            *(told[name] for name in ("samples", "images", "extraction_s", "samples_per_s", "model_load_s")),
        )


def extraction_settings(sections: "Declared") -> "ExtractionSettings":
    """Return the declared settings of an extraction as their types."""
    from attention_atlas.attention.extraction import ExtractionSettings
    from attention_atlas.config import Capture, Extraction, Generation
    from attention_atlas.declared import typed

    return ExtractionSettings(
        typed(Extraction, sections["extraction"]),
        typed(Generation, sections["generation"]),
        typed(Capture, sections["capture"]),
    )


def manifest(
    shards: Annotated[list[Path], typer.Argument(help="The shards of the run.")],
    output: Annotated[Path, typer.Option(help="The manifest, beside the shards.")],
    log: Log = None,
) -> None:
    """List the shards of a run with their hashes; refuses files beside them that no rule makes."""
    from attention_atlas.store import write_manifest

    with logged(log):
        write_manifest(output, shards)


def intervene(
    study: Annotated[Path, typer.Option(help="Folder of the study, data/<study>.")],
    shard_maps: Annotated[Path, typer.Option(help="The shard whose samples are perturbed, a netCDF file.")],
    step_maps: Annotated[Path, typer.Option(help="The run's maps at the selected step, a netCDF file.")],
    model: Annotated[str, typer.Option(help="Name of the model.")],
    output: Annotated[Path, typer.Option(help="The table to write (parquet).")],
    models: Models = MODELS,
    settings: Settings = SETTINGS,
    ask_model: AskModel = True,
    log: Log = None,
) -> None:
    """Score a shard's generated tokens again with image or attention perturbed: one sample an image, or those named.

    Reads causal, pooling.heads, the bands of layers, and batch_size, system_prompt and threads of extraction.
    """
    with logged(log) as logger:
        refuse_without_model(ask_model, output)
        from attention_atlas.analysis import causal_subjects
        from attention_atlas.analysis.step_maps import reading
        from attention_atlas.attention.interventions import intervene_shard, with_unmapped
        from attention_atlas.config import Causal, Extraction
        from attention_atlas.declared import declared, typed
        from attention_atlas.inputs.causal_samples import causal_samples
        from attention_atlas.inputs.study import read_study
        from attention_atlas.inputs.views import all_images
        from attention_atlas.store import write_table

        asked = read_study(study, None, images=())
        every = used_settings(settings, catalogue.INTERVENTION_SETTINGS, asked, logger)
        sections = declared(every, catalogue.intervention_settings(every["causal"]))
        causal = typed(Causal, sections["causal"])
        tokens = causal_subjects.generated_tokens(shard_maps)
        wanted = [name for name in causal_samples(asked, causal) if name in tokens]
        with reading(step_maps) as (maps,):
            how = sections["pooling"]["heads"] if "deletion" in causal.checks else "max"
            subjects = causal_subjects.subjects(asked, tokens, maps, wanted, how)
            band = causal.layers if "knockout" in causal.checks else "all"
            layers = causal_subjects.window(maps, band, sections["bands"] if band != "all" else {})
        images = all_images(asked.samples[asked.samples["sample_id"].isin(list(tokens))]["image"])
        logger.info("%d samples to perturb, the shard has %d images", len(subjects), len(images))
        without = sorted(set(wanted) - {subject.sample_id for subject in subjects})
        if without:
            logger.warning("%d more have no finite map, and are told as such: %s", len(without), ", ".join(without))
        with shown_progress(logger, f"{study.name} x {model}, perturbations of {shard_maps.stem}") as progress:
            table = intervene_shard(
                asked,
                subjects,
                model,
                model_entry(models, model),
                typed(Extraction, sections["extraction"]),
                causal,
                layers,
                progress,
            )
        table = with_unmapped(table, without)
        write_table(table, output)
        logger.info("%d log-probabilities, %d missing", len(table), table["logprob"].isna().sum())


def refuse_without_model(ask_model: bool, output: Path) -> None:
    """Tell how to fetch what only a model can make, where none may be asked."""
    if not ask_model:
        raise AtlasError(
            f"{output} is needed, and is not here or out of date; no model is asked (ask_model=false). Fetch it: "
            f"`dvc pull {output.parent}`. Where the study, its settings or the code behind the maps changed since, it "
            "has to be made: leave out `--config ask_model=false`, on a machine that has the model"
        )


@contextmanager
def shown_progress(logger: Logger, title: str) -> Iterator[Callable[[int, int], None]]:
    """A live bar on a terminal, plain lines elsewhere: samples done, samples/s and time left."""
    started = time.monotonic()
    if sys.stderr.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        speed = TextColumn("{task.fields[speed]:.1f} samples/s")
        with Progress("{task.description}", BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn()) as bar:
            task = bar.add_task(title, total=None, speed=0.0)

            def draw(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total, speed=done / (time.monotonic() - started))

            yield draw
    else:

        def tell(done: int, total: int) -> None:
            rate = done / (time.monotonic() - started)
            left = (total - done) / rate
            logger.info("%s: %d of %d samples, %.1f samples/s, %.0f s left", title, done, total, rate, left)

        yield tell
