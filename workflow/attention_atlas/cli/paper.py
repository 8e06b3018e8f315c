"""Commands of the phase paper: tables as a paper prints them, numbers for its text, a summary, and figures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from attention_atlas.cli.common import SETTINGS, Log, Settings, logged
from attention_atlas.errors import AtlasError


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
    app.command()(table)
    app.command()(numbers)
    app.command()(summary)
    app.command()(findings)
    app.command()(contents)
    app.command()(figure)
    app.command()(verify)


def table(
    name: Annotated[str, typer.Option(help="Name of the table.")],
    input: Annotated[Path, typer.Option(help="The summary, results/analysis/<study>/<model>/<name>.parquet.")],
    csv: Annotated[Path, typer.Option(help="The table as CSV.")],
    markdown: Annotated[Path | None, typer.Option(help="The table as Markdown.")] = None,
    latex: Annotated[Path | None, typer.Option(help="The table as LaTeX with booktabs rules.")] = None,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Round a summary to the digits that mean something and write it for readers.

    Reads statistics.confidence.
    """
    with logged(log):
        from attention_atlas.declared import read_declared
        from attention_atlas.paper.catalogue import TABLE_SETTINGS, known_table
        from attention_atlas.paper.tables import write_table

        confidence = read_declared(settings, TABLE_SETTINGS)["statistics"]["confidence"]
        write_table(known_table(name), input, confidence, csv, markdown, latex)


def numbers(
    tables: Annotated[list[Path], typer.Argument(help="Tables of every run that numbers are quoted from.")],
    output: Annotated[Path, typer.Option(help="The macros, a LaTeX file.")],
    log: Log = None,
) -> None:
    """Write every number that a paper's text would quote as a LaTeX macro."""
    with logged(log) as logger:
        from attention_atlas.paper.numbers import write_numbers

        write_numbers(output, tables)
        logger.info("wrote %s", output)


def findings(
    tables: Annotated[Path, typer.Option(help="Folder of a run's published tables.")],
    output: Annotated[Path, typer.Option(help="The findings, a Markdown file.")],
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Write a run's results in sentences, each with its number, interval, n and verdict.

    Reads statistics.confidence.
    """
    with logged(log) as logger:
        from attention_atlas.declared import read_declared
        from attention_atlas.paper.catalogue import TABLE_SETTINGS
        from attention_atlas.paper.findings import write_findings

        write_findings(output, tables, read_declared(settings, TABLE_SETTINGS)["statistics"]["confidence"])
        logger.info("wrote %s", output)


def contents(
    tables: Annotated[Path, typer.Option(help="Folder of a run's published tables.")],
    figures: Annotated[Path, typer.Option(help="Folder of a run's figures.")],
    output: Annotated[Path, typer.Option(help="The list, a JSON file.")],
    log: Log = None,
) -> None:
    """List a run's tables and figures; refuses files that no rule makes."""
    with logged(log) as logger:
        from attention_atlas.paper.contents import write_contents

        write_contents(output, tables, figures)
        logger.info("wrote %s", output)


def summary(
    tables: Annotated[list[Path], typer.Argument(help="table1.csv of every run.")],
    output: Annotated[Path, typer.Option(help="The summary, a JSON file.")],
    metrics: Annotated[Path | None, typer.Option(help="A few numbers of each run for DVC, a JSON file.")] = None,
    log: Log = None,
) -> None:
    """Write the main numbers of every run, nested by study and model."""
    with logged(log) as logger:
        from attention_atlas.paper.summary import write_summary

        write_summary(output, tables, metrics)
        logger.info("wrote %s", output)


def figure(
    name: Annotated[str, typer.Argument(help="Name of the figure.")],
    pdf: Annotated[Path, typer.Option(help="The figure as PDF.")],
    png: Annotated[Path, typer.Option(help="The figure as PNG.")],
    tables: Annotated[Path | None, typer.Option(help="Folder of the published tables.")] = None,
    maps: Annotated[Path | None, typer.Option(help="The selected maps, selected_maps.nc.")] = None,
    study: Annotated[Path | None, typer.Option(help="Folder of the study, data/<study>.")] = None,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Draw a figure from published tables or selected maps.

    Reads figures.dpi, and what else `catalogue.figure_settings` names.
    """
    with logged(log):
        from attention_atlas.declared import read_declared
        from attention_atlas.paper import catalogue
        from attention_atlas.paper.style import save

        sources = catalogue.figure_sources(name)
        sections = read_declared(settings, sources.settings)
        read = [samples_of(name, maps, study)] if sources.maps else tables_of(name, sources.tables, tables)
        save(catalogue.draw_function(name)(*read, sections), pdf, png, sections["figures"]["dpi"])


def verify(
    found: Annotated[Path, typer.Option(help="Folder of the run to verify: results, or tables in it.")] = Path(
        "results"
    ),
    published: Annotated[
        Path | None, typer.Option(help="Folder to compare with; default: that of git's last commit.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            "--config",
            help="Settings of the run, for its level of tests and intervals; default: config/config.yaml, if there.",
        ),
    ] = None,
    show: Annotated[int, typer.Option(help="How many differing values to print per file.")] = 5,
) -> None:
    """Compare every published file of a run with the published one, value by value; exit code 1 where one differs."""
    with logged(None):
        import tempfile

        from attention_atlas.paper.verification import Level, compare_folders
        from attention_atlas.provenance import committed_files

        level = level_of(settings or SETTINGS) if settings or SETTINGS.exists() else Level()
        with tempfile.TemporaryDirectory() as folder:
            if published is None:
                committed_files(found, Path(folder))
            lines = list(compare_folders(found, published or Path(folder) / found, level))
        for line in lines:
            typer.echo(line)
            for text in line.different[:show]:
                typer.echo(f"    {text}")
            if len(line.different) > show:
                typer.echo(f"    ... and {len(line.different) - show} more")
        differing = sum(bool(line.different) for line in lines)
        near = sum(bool(line.near) and not line.different for line in lines)
        typer.echo(f"{len(lines)} files: {near} within tolerance, {differing} differ")
        if differing:
            raise typer.Exit(1)


def level_of(settings: Path) -> Any:
    """Return the level of tests and intervals that a file of settings declares."""
    from attention_atlas.config import load_settings
    from attention_atlas.paper.verification import Level

    declared = load_settings(settings)
    return Level(declared.tests.alpha, declared.statistics.confidence)


def tables_of(figure: str, names: tuple[str, ...], folder: Path | None) -> list[Any]:
    """The published tables that a figure is drawn from."""
    from attention_atlas.paper.columns import read_published

    if folder is None:
        raise AtlasError(f"the figure {figure!r} is drawn from tables; name their folder with --tables")
    return [read_published(folder / f"{name}.csv", name) for name in names]


def samples_of(figure: str, maps: Path | None, study: Path | None) -> list[Any]:
    """The selected samples that a figure is drawn from."""
    from attention_atlas.paper.overlay import read_selected

    if maps is None or study is None:
        raise AtlasError(f"the figure {figure!r} is drawn from maps over images; name them with --maps and --study")
    return read_selected(maps, figure, study)
