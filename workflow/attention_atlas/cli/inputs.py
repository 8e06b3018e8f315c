"""Commands of the phase inputs: make, draw and check studies; write the files made from the settings' types."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attention_atlas.cli.common import MODELS, SETTINGS, Log, Models, logged

if TYPE_CHECKING:
    from attention_atlas.config import Settings as AllSettings
    from attention_atlas.inputs.importing import ImportedStudy
    from attention_atlas.inputs.study import Study

study_app = typer.Typer(help="Write the tables of a demo study.", no_args_is_help=True)
settings_app = typer.Typer(help="Files made from the types of the settings.", no_args_is_help=True)
import_app = typer.Typer(help="Make a study of annotations or questions that are there already.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="Folder of the study, data/<study>.")]

Images = Annotated[Path, typer.Option(help="Folder of the images.")]
Output = Annotated[Path, typer.Option(help="Folder of the study that is made, data/<study>.")]
Link = Annotated[bool, typer.Option("--link/--copy", help="Hard-link the images instead of copying them.")]
Overwrite = Annotated[bool, typer.Option(help="Replace a study that is there.")]
Settings = Annotated[
    Path, typer.Option("--settings", "--config", help="The settings, whose query types the samples may have.")
]


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
    app.add_typer(study_app, name="study")
    app.add_typer(settings_app, name="settings")
    app.add_typer(import_app, name="import")
    app.command()(draw)
    app.command()(validate)
    app.command()(boxes)


@study_app.command()
def shapes(
    output: Annotated[Path, typer.Option(help="Folder to write into.")], seed: int = 2026, log: Log = None
) -> None:
    """Write samples.csv and objects.csv of the demo study of coloured shapes."""
    from attention_atlas.inputs.shapes_study import write_study

    with logged(log) as logger:
        write_study(output, seed)
        logger.info("wrote %s and %s", output / "samples.csv", output / "objects.csv")


@study_app.command()
def first_look(
    output: Annotated[Path, typer.Argument(help="Folder to compute in; it may be there from the last time.")],
    log: Log = None,
) -> None:
    """Write a folder with sixteen scenes and settings without what takes long, for `snakemake --directory`."""
    from attention_atlas.inputs.first_look import write_first_look

    with logged(log) as logger:
        write_first_look(output)
        logger.info("wrote %s: `snakemake --cores all --directory %s` computes it", output, output)


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
    settings: Settings = SETTINGS,
    models: Models = MODELS,
    output: Annotated[Path | None, typer.Option(help="What was found in order, a JSON file.")] = None,
    log: Log = None,
) -> None:
    """Check a study: every row, image and mask, and whether the settings fit it and its models."""
    with logged(log) as logger:
        from attention_atlas.config import load_settings
        from attention_atlas.declared import as_values
        from attention_atlas.inputs.study import read_study, write_inventory
        from attention_atlas.inputs.views import all_images, of_one_image

        wanted = load_settings(settings)
        study = read_study(folder, as_values(wanted)["query_types"])
        for doubt in study.doubts:
            logger.warning("%s", doubt)
        check_against(wanted, models, study, logger)
        logger.info(
            "%s is in order: %d samples of %d images, %d objects",
            folder,
            len(study.samples),
            len(all_images(study.samples["image"])),
            len(study.objects),
        )
        several = len(study.samples) - len(of_one_image(study.samples))
        if several:
            logger.info(
                "%d samples are about several images: they have a map on each, but no control conditions and no "
                "causal checks",
                several,
            )
        if output is not None:
            write_inventory(study, output)


def check_against(settings: "AllSettings", models_yaml: Path, study: "Study", logger: logging.Logger) -> None:
    """Refuse settings that a study or its models cannot satisfy; log the contrasts that it cannot make."""
    from attention_atlas import preflight
    from attention_atlas.config import effective_entry, load_models

    own = [run for run in settings.runs if run.study == study.name]
    models = load_models(models_yaml) if own else {}
    entries = {(run.study, run.folder): effective_entry(run, models) for run in own}
    preflight.check(settings, {study.name: study}, entries, {run.study for run in settings.runs})
    silent = preflight.never_answered(settings, study)
    if silent:
        logger.warning(
            "query_types: %s: no answers are named, so no answer is found, and under steps.selector `answer` these "
            "samples have no map in tables and figures; name answers, or choose another selector",
            ", ".join(silent),
        )
    lacking = list(preflight.without_verdict(settings, study))
    if lacking:
        logger.info("%d declared contrasts are left without a verdict: %s", len(lacking), "; ".join(lacking))


def boxes(
    folder: Folder,
    output: Annotated[Path, typer.Option(help="The sheet: .png, .jpg or .pdf.")],
    images: Annotated[list[str] | None, typer.Option("--image", help="This image; without it, the first ones.")] = None,
    most_images: Annotated[int, typer.Option(min=1, help="Images on the sheet at most.")] = 48,
    dpi: Annotated[int, typer.Option(min=50, help="Resolution of the sheet.")] = 300,
    log: Log = None,
) -> None:
    """Draw the images of a study with the boxes of their objects, to check boxes by eye."""
    with logged(log) as logger:
        from attention_atlas.inputs.study import read_study
        from attention_atlas.inputs.views import all_images
        from attention_atlas.paper.boxes import draw
        from attention_atlas.paper.style import save_sheet

        study = read_study(folder, None)
        for doubt in study.doubts:
            logger.warning("%s", doubt)
        there = sorted(all_images([*study.samples["image"], *study.objects["image"]]))
        chosen = known_images(images, there, folder) if images else there[:most_images]
        save_sheet(draw(study, chosen), output, dpi)
        logger.info("wrote %s: %d of %d images", output, len(chosen), len(there))


def known_images(wanted: list[str], there: list[str], folder: Path) -> list[str]:
    """The wanted images, or an error that names one that the study lacks."""
    from attention_atlas.errors import AtlasError, nearest

    for name in wanted:
        if name not in there:
            raise AtlasError(f"{folder}: has no image {name!r}.{nearest(name, there)}")
    return wanted


@import_app.command()
def coco(
    annotations: Annotated[Path, typer.Argument(help="Annotations in the COCO format, a JSON file.")],
    images: Images,
    output: Output,
    queries: Annotated[Path, typer.Option(help="What is asked, a YAML file; docs/studies.md says how it is written.")],
    most_images: Annotated[int | None, typer.Option(min=1, help="Draw this many images; without it, all.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    keep_crowds: Annotated[bool, typer.Option("--keep-crowds", help="Keep crowds as objects.")] = False,
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Leave out images that are not there.")] = False,
    link: Link = False,
    overwrite: Overwrite = False,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Make a study of COCO annotations: their boxes, masks, and the questions of templates."""
    with logged(log) as logger:
        from attention_atlas.declared import read_declared
        from attention_atlas.inputs.coco import Choice, import_coco
        from attention_atlas.inputs.importing import refuse_existing
        from attention_atlas.inputs.query_templates import read_templates

        refuse_existing(output, overwrite)
        query_types = read_declared(settings, ("query_types",))["query_types"]
        choice = Choice(most_images, seed, keep_crowds, skip_missing)
        made = import_coco(annotations, images, read_templates(queries), query_types, output, choice)
        finish_import(made, images, output, link, overwrite, query_types, logger)


@import_app.command()
def table(
    questions: Annotated[Path, typer.Argument(help="One row a question, .csv or .jsonl.")],
    images: Images,
    output: Output,
    columns: Annotated[
        str, typer.Option(help="The table's column of each of ours, as in query=question,image=file.")
    ] = "",
    split: Annotated[
        bool, typer.Option("--split", help="Divide the images into the splits select and evaluate, drawn by --seed.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of --split.")] = 0,
    link: Link = False,
    overwrite: Overwrite = False,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Make a study of a table of questions, its columns called as you like."""
    with logged(log) as logger:
        from dataclasses import replace

        from attention_atlas.declared import read_declared
        from attention_atlas.inputs.importing import divided_by_image, refuse_existing
        from attention_atlas.inputs.question_tables import import_table, parse_columns

        refuse_existing(output, overwrite)
        query_types = read_declared(settings, ("query_types",))["query_types"]
        made = import_table(questions, images, parse_columns(columns), query_types)
        if split:
            made = replace(made, samples=divided_by_image(questions, made.samples, seed))
        hint = "" if split else "; --split divides the images"
        finish_import(made, images, output, link, overwrite, query_types, logger, hint)


def finish_import(
    made: "ImportedStudy",
    images: Path,
    output: Path,
    link: bool,
    overwrite: bool,
    query_types: Mapping[str, Any],
    logger: logging.Logger,
    hint: str = "",
) -> None:
    """Write an imported study, read it back with every check, and tell what it has and what was left out.

    `hint` says what to do where a split has no images.
    """
    from attention_atlas.inputs.importing import in_words, lacking_splits, write_imported
    from attention_atlas.inputs.study import read_study
    from attention_atlas.inputs.views import all_images

    write_imported(made, images, output, link=link, overwrite=overwrite)
    study = read_study(output, query_types)
    for line in in_words(made.told):
        logger.info("%s", line)
    for doubt in (*made.doubts, *study.doubts):
        logger.warning("%s", doubt)
    lacking = lacking_splits(study.samples)
    if lacking:
        logger.warning("%s%s", lacking, hint)
    num_images = len(all_images(study.samples["image"]))
    logger.info(
        "wrote %s: %d samples of %d images, %d objects", output, len(study.samples), num_images, len(study.objects)
    )


@import_app.callback()
def importing() -> None:
    """Make a study of annotations or questions that are there already."""


@settings_app.command()
def write(root: Annotated[Path, typer.Option(help="Folder of the project.")] = Path()) -> None:
    """Write the schemas and the docs table from the types; config.yaml too where there is none."""
    from attention_atlas.settings_files import write_generated_files

    for path in write_generated_files(root):
        typer.echo(f"wrote {path}")


@settings_app.callback()
def settings() -> None:
    """Files made from the types of the settings."""
