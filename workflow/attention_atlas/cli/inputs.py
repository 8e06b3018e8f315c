"""Commands of the phase inputs: make, draw and check studies; write the files made from the settings' types."""

from pathlib import Path
from typing import Annotated

import typer

from attention_atlas.cli.common import Log, logged, parse

study_app = typer.Typer(help="Write the tables of a demo study.", no_args_is_help=True)
settings_app = typer.Typer(help="Files made from the types of the settings.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="Folder of the study, data/<study>.")]


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
    app.add_typer(study_app, name="study")
    app.add_typer(settings_app, name="settings")
    app.command()(draw)
    app.command()(validate)


@study_app.command()
def shapes(
    output: Annotated[Path, typer.Option(help="Folder to write into.")], seed: int = 2026, log: Log = None
) -> None:
    """Write samples.csv and objects.csv of the demo study of coloured shapes."""
    from attention_atlas.inputs.shapes_study import write_study

    with logged(log) as logger:
        write_study(output, seed)
        logger.info("wrote %s and %s", output / "samples.csv", output / "objects.csv")


@study_app.callback()
def study() -> None:
    """Write the tables of a demo study."""


def draw(folder: Folder, log: Log = None) -> None:
    """Draw the pictures and masks that objects.csv of a study of scenes describes."""
    from attention_atlas.inputs.scenes import draw_study

    with logged(log) as logger:
        draw_study(folder)
        logger.info("drew %s and %s", folder / "images", folder / "masks")


def validate(
    folder: Folder,
    config: Annotated[Path, typer.Option(help="The settings, whose query types the samples may have.")] = Path(
        "config/config.yaml"
    ),
    settings: Annotated[str | None, typer.Option(help="The section query_types, as JSON, instead of --config.")] = None,
    output: Annotated[Path | None, typer.Option(help="What was found in order, a JSON file.")] = None,
    log: Log = None,
) -> None:
    """Check a study: every row, every image, every mask."""
    with logged(log) as logger:
        from attention_atlas.config import load_settings
        from attention_atlas.inputs.study import read_study, write_inventory

        sections = parse(settings) if settings else load_settings(config).model_dump(mode="json")
        study = read_study(folder, sections["query_types"])
        logger.info(
            "%s is in order: %d samples of %d images, %d objects",
            folder,
            len(study.samples),
            study.samples["image"].nunique(),
            len(study.objects),
        )
        if output is not None:
            write_inventory(study, output)


@settings_app.command()
def write(root: Annotated[Path, typer.Option(help="Folder of the project.")] = Path()) -> None:
    """Write the schemas and the docs table from the types; config.yaml too where there is none."""
    from attention_atlas.settings_files import write_generated_files

    for path in write_generated_files(root):
        typer.echo(f"wrote {path}")


@settings_app.callback()
def settings() -> None:
    """Files made from the types of the settings."""
