"""Commands of the phase analysis: describe maps, find answers, summarise. None of them needs torch."""

from pathlib import Path
from typing import Annotated, Any

import typer

from attention_atlas.cli.common import Log, Settings, logged, parse

Shards = Annotated[list[Path], typer.Argument(help="The shards of the run.")]
Table = Annotated[Path, typer.Option(help="A table of the run (parquet).")]
Output = Annotated[Path, typer.Option(help="The file to write.")]
StepMaps = Annotated[Path, typer.Option(help="The run's step maps, step_maps.nc.")]
StudyFolder = Annotated[Path, typer.Option(help="Folder of the study, data/<study>.")]


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
    for command in (transcript, answers, step_maps, focus, mass, summary_tables, selected_maps, ground, compare):
        app.command()(command)


def opened(shards: list[Path]) -> Any:
    """The shards as one tree, read by one thread: the netCDF library crashes where another closes a file meanwhile."""
    import dask

    from attention_atlas.store import open_shards

    dask.config.set(scheduler="synchronous")
    return open_shards(shards)


def run_of(manifest: Path, settings: str, **tables: Path) -> Any:
    """A run from its manifest, the settings and its per-sample tables."""
    import pandas as pd

    from attention_atlas.analysis.summaries import read_run
    from attention_atlas.store import manifest_of

    frames = {name: pd.read_parquet(path) for name, path in tables.items()}
    return read_run(frames, manifest_of(manifest)["num_layers"], parse(settings))


def transcript(shards: Shards, samples: Output, tokens: Output, log: Log = None) -> None:
    """Tables of what was asked (a row a sample) and what was generated (a row a token)."""
    with logged(log) as logger:
        from attention_atlas.analysis import transcript as tables
        from attention_atlas.store import write_table

        tree = opened(shards)
        write_table(tables.samples_table(tree), samples)
        write_table(tables.tokens_table(tree), tokens)
        logger.info("wrote %s and %s", samples, tokens)


def answers(
    study: StudyFolder, samples: Table, tokens: Table, settings: Settings, output: Output, log: Log = None
) -> None:
    """Find answers in what was generated and hold them against those expected. Reads the section query_types."""
    with logged(log) as logger:
        import pandas as pd

        from attention_atlas.analysis.transcript import judged
        from attention_atlas.inputs.study import read_study
        from attention_atlas.store import write_table

        query_types = parse(settings)["query_types"]
        asked = read_study(study, query_types, images=())
        table = judged(asked, pd.read_parquet(samples), pd.read_parquet(tokens), query_types)
        write_table(table, output)
        found, failed = (table["answer_found"] == 1).sum(), (table["answer_found"] < 0).sum()
        logger.info("an answer found in %d of %d samples, %d failed", found, len(table), failed)


def focus(shards: Shards, output: Output, log: Log = None) -> None:
    """The long table of focus measures: every step, layer, pooling and measure."""
    with logged(log) as logger:
        from attention_atlas.analysis.focus import focus_table
        from attention_atlas.store import write_table

        table = focus_table(opened(shards))
        write_table(table, output)
        maps = (table["measure"] == "entropy") & (table["pooling"] == "max")
        undefined = int(table.loc[maps, "value"].isna().sum())
        logger.info("described %d maps, %d of them without finite, positive mass", maps.sum(), undefined)


def mass(shards: Shards, output: Output, log: Log = None) -> None:
    """Where the attention's mass went, by sample, step and layer."""
    with logged(log) as logger:
        from attention_atlas.analysis.transcript import mass_table
        from attention_atlas.store import write_table

        write_table(mass_table(opened(shards)), output)
        logger.info("wrote %s", output)


def summary_tables(
    samples: Table,
    tokens: Table,
    answers: Table,
    focus: Table,
    mass: Table,
    manifest: Annotated[Path, typer.Option(help="The run's manifest.")],
    settings: Settings,
    output: Annotated[Path, typer.Option(help="Folder to write the summaries into, one parquet file each.")],
    log: Log = None,
) -> None:
    """The numbers of every published table. Reads the sections steps, pooling, bands and statistics."""
    with logged(log) as logger:
        from attention_atlas.analysis.summaries import SUMMARIES
        from attention_atlas.store import write_table

        run = run_of(manifest, settings, samples=samples, tokens=tokens, answers=answers, focus=focus, mass=mass)
        for name, summary in SUMMARIES.items():
            write_table(summary(run), output / f"{name}.parquet")
            logger.info("wrote %s", output / f"{name}.parquet")


def selected_maps(
    shards: Shards,
    study: StudyFolder,
    samples: Table,
    answers: Table,
    table1: Table,
    settings: Settings,
    output: Output,
    log: Log = None,
) -> None:
    """The pooled maps that the gallery and the page of all layers show.

    Reads the sections figures, steps, pooling and query_types.
    """
    with logged(log) as logger:
        import pandas as pd

        from attention_atlas.analysis import selected_maps as maps
        from attention_atlas.inputs.study import read_study
        from attention_atlas.store import write_tree

        sections = parse(settings)
        asked = read_study(study, sections["query_types"], images=())
        described, judged, shown = (pd.read_parquet(path) for path in (samples, answers, table1))
        write_tree(output, maps.selected_maps(opened(shards), asked, described, judged, shown, sections))
        logger.info("wrote %s", output)


def step_maps(
    shards: Shards, samples: Table, answers: Table, settings: Settings, output: Output, log: Log = None
) -> None:
    """The attention of every sample at its selected step, by layer and head. Reads the section steps."""
    with logged(log) as logger:
        import pandas as pd

        from attention_atlas.analysis import step_maps as maps
        from attention_atlas.store import write_tree

        described = pd.read_parquet(samples)
        steps = maps.steps_of(described, pd.read_parquet(answers), parse(settings)["steps"]["selector"])
        made = maps.step_maps(opened(shards), steps)
        write_tree(output, made)
        chosen = steps["sample_id"].nunique()
        logger.info("maps of %d samples, %d without a step to select", chosen, len(described) - chosen)
        for node in made.leaves:
            if "massive_dims" in node:
                found = int((node["massive_dims"] > 0).sum())
                logger.info("%s: massive dimensions in %d of %d layers", node.name, found, node.sizes["layer"])


def ground(
    maps: StepMaps,
    study: StudyFolder,
    settings: Settings,
    output: Output,
    controls: Annotated[Path | None, typer.Option(help="Step maps of the control conditions.")] = None,
    random_weights: Annotated[Path | None, typer.Option(help="Step maps of random weights.")] = None,
    log: Log = None,
) -> None:
    """Score every map that has a target, raw and corrected, with baselines. Reads pooling, query_types."""
    with logged(log) as logger:
        from attention_atlas.analysis import step_maps
        from attention_atlas.analysis.grounding_tables import grounding_table
        from attention_atlas.inputs.study import read_study
        from attention_atlas.store import write_table

        sections = parse(settings)
        asked = read_study(study, sections["query_types"], images=())
        own = step_maps.read(maps)
        other, random = ({} if path is None else step_maps.read(path) for path in (controls, random_weights))
        table = grounding_table(own, asked, sections["pooling"]["heads"], other, random)
        write_table(table, output)
        scored, mapped = table["sample_id"].nunique(), sum(node.sizes["sample"] for node in own.values())
        logger.info("%d samples scored, %d without a target", scored, mapped - scored)


def compare(
    samples: Table,
    tokens: Table,
    answers: Table,
    focus: Table,
    mass: Table,
    grounding: Table,
    manifest: Annotated[Path, typer.Option(help="The run's manifest.")],
    settings: Settings,
    output: Annotated[Path, typer.Option(help="Folder to write the tables into, one parquet file each.")],
    log: Log = None,
) -> None:
    """Test the declared contrasts and summarise grounding; fails where simulated tests reject too often.

    Reads the sections steps, pooling, bands, statistics, tests and contrasts.
    """
    with logged(log) as logger:
        import pandas as pd

        from attention_atlas.analysis import comparisons, grounding_summaries
        from attention_atlas.store import write_table

        run = run_of(manifest, settings, samples=samples, tokens=tokens, answers=answers, focus=focus, mass=mass)
        scores = pd.read_parquet(grounding)
        made = {
            **comparisons.comparisons(run, scores),
            "grounding": grounding_summaries.grounding_summary(run, scores),
            "grounding_profile": grounding_summaries.grounding_profile(run, scores),
        }
        for name, table in made.items():
            write_table(table, output / f"{name}.parquet")
        logger.info("%s", made["contrasts"]["verdict"].value_counts().to_dict())
