"""Commands of the phase analysis: describe maps, find answers, summarise. None of them needs torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from attention_atlas.analysis.catalogue import STEPS
from attention_atlas.analysis.table_columns import read_table
from attention_atlas.cli.common import SETTINGS, Log, Settings, logged, used_settings
from attention_atlas.readers import check_netcdf

Shards = Annotated[list[Path], typer.Argument(help="The shards of the run.")]
Table = Annotated[Path, typer.Option(help="A table of the run (parquet).")]
Output = Annotated[Path, typer.Option(help="The file to write.")]
Maps = Annotated[Path, typer.Option(help="The run's step maps, step_maps.nc.")]
StudyFolder = Annotated[Path, typer.Option(help="Folder of the study, data/<study>.")]


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
    for command in (
        transcript,
        answers,
        step_maps,
        focus,
        mass,
        summary_tables,
        selected_maps,
        ground,
        conditions,
        condition_summary,
        heads,
        causal,
        compare,
    ):
        app.command()(command)


@contextmanager
def opened(shards: list[Path]) -> Iterator[Any]:
    """The shards as one tree, closed when the block ends.

    Read by one thread: the netCDF library crashes where another closes a file meanwhile.
    """
    import dask

    from attention_atlas.store import open_shards

    dask.config.set(scheduler="synchronous")
    for shard in shards:
        check_netcdf(shard)
    tree = open_shards(shards)
    try:
        yield tree
    finally:
        tree.close()


def run_of(manifest: Path, settings: Any, **tables: Path) -> Any:
    """A run from its manifest, its declared settings and its per-sample tables."""
    from attention_atlas.analysis.summaries import read_run
    from attention_atlas.store import manifest_of

    frames = {name: read_table(name, path) for name, path in tables.items()}
    return read_run(frames, manifest_of(manifest)["num_layers"], settings)


def transcript(shards: Shards, samples: Output, tokens: Output, log: Log = None) -> None:
    """Tables of what was asked (a row a sample) and what was generated (a row a token)."""
    with logged(log) as logger:
        from attention_atlas.analysis import transcript as tables
        from attention_atlas.analysis.rows import joined
        from attention_atlas.store import each_shard, write_table

        write_table(joined(map(tables.samples_table, each_shard(shards)), tables.SAMPLE_KEYS), samples)
        write_table(joined(map(tables.tokens_table, each_shard(shards)), tables.TOKEN_KEYS), tokens)
        logger.info("wrote %s and %s", samples, tokens)


def answers(
    study: StudyFolder, samples: Table, tokens: Table, output: Output, settings: Settings = SETTINGS, log: Log = None
) -> None:
    """Find answers in what was generated and compare them with those expected. Reads query_types."""
    with logged(log) as logger:
        from attention_atlas.analysis.transcript import judged
        from attention_atlas.declared import read_declared
        from attention_atlas.inputs.study import read_study
        from attention_atlas.inputs.used_settings import used_by
        from attention_atlas.store import write_table

        sections = read_declared(settings, STEPS["answers"].settings)
        asked = read_study(study, sections["query_types"], images=()).views
        query_types = used_by(asked, sections)["query_types"]
        table = judged(asked, read_table("samples", samples), read_table("tokens", tokens), query_types)
        write_table(table, output)
        found, failed = (table["answer_found"] == 1).sum(), (table["answer_found"] < 0).sum()
        logger.info("an answer found in %d of %d samples, %d failed", found, len(table), failed)


def focus(shards: Shards, output: Output, log: Log = None) -> None:
    """The long table of focus measures: every step, layer, pooling and measure."""
    with logged(log) as logger:
        from attention_atlas.analysis import focus as tables
        from attention_atlas.analysis.rows import joined, long_table
        from attention_atlas.store import each_shard, write_table

        wide = joined(map(tables.wide_table, each_shard(shards)), tables.KEYS)
        table = long_table(wide, tables.KEYS, tables.LABELS)
        write_table(table, output)
        maps = (table["measure"] == "entropy") & (table["pooling"] == "max")
        undefined = int(table.loc[maps, "value"].isna().sum())
        logger.info("described %d maps, %d of them without finite, positive mass", maps.sum(), undefined)


def mass(shards: Shards, output: Output, log: Log = None) -> None:
    """Where the attention's mass went, by sample, step and layer."""
    with logged(log) as logger:
        from attention_atlas.analysis import transcript as tables
        from attention_atlas.analysis.rows import joined
        from attention_atlas.store import each_shard, write_table

        write_table(joined(map(tables.mass_table, each_shard(shards)), tables.MASS_KEYS), output)
        logger.info("wrote %s", output)


def summary_tables(
    samples: Table,
    tokens: Table,
    answers: Table,
    focus: Table,
    mass: Table,
    manifest: Annotated[Path, typer.Option(help="The run's manifest.")],
    output: Annotated[Path, typer.Option(help="Folder to write the summaries into, one parquet file each.")],
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """The numbers of every published table. Reads steps.selector, pooling.heads, bands and statistics."""
    with logged(log) as logger:
        from attention_atlas.analysis.summaries import SUMMARIES
        from attention_atlas.declared import read_declared
        from attention_atlas.store import write_table

        sections = read_declared(settings, STEPS["summaries"].settings)
        run = run_of(manifest, sections, samples=samples, tokens=tokens, answers=answers, focus=focus, mass=mass)
        for name, summary in SUMMARIES.items():
            write_table(summary(run), output / f"{name}.parquet")
            logger.info("wrote %s", output / f"{name}.parquet")


def selected_maps(
    shards: Shards,
    study: StudyFolder,
    samples: Table,
    answers: Table,
    table1: Table,
    grounding: Table,
    output: Output,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """The pooled maps that the gallery, the page of all layers, and the best and worst samples show.

    Reads steps.selector, pooling.heads, figures.gallery and figures.layers_page.
    """
    with logged(log) as logger:
        from attention_atlas.analysis import selected_maps as maps
        from attention_atlas.analysis.grounding_tables import read_pooled
        from attention_atlas.inputs.study import read_study
        from attention_atlas.store import write_tree

        asked = read_study(study, None, images=()).views
        sections = used_settings(settings, STEPS["selected_maps"].settings, asked, logger)
        described, judged, shown = (
            read_table(name, path) for name, path in (("samples", samples), ("answers", answers), ("table1", table1))
        )
        scores = read_pooled(grounding)
        with opened(shards) as tree:
            write_tree(output, maps.selected_maps(tree, asked, described, judged, shown, scores, sections))
        steps = maps.steps_to_show(described, judged, sections)
        for name, why in maps.without_step(described, steps, sections).items():
            logger.warning("%s, named in the settings' figures, is not shown: %s", name, why)
        logger.info("wrote %s", output)


def step_maps(
    shards: Shards,
    samples: Table,
    answers: Table,
    output: Output,
    settings: Settings = SETTINGS,
    scratch: Annotated[Path, typer.Option(help="Folder with room for these maps once more.")] = Path("scratch"),
    log: Log = None,
) -> None:
    """The attention of every sample at its selected step, by layer and head. Reads steps.selector."""
    with logged(log) as logger:
        from attention_atlas.analysis import step_maps as maps
        from attention_atlas.declared import read_declared
        from attention_atlas.store import each_shard

        described = read_table("samples", samples)
        selector = read_declared(settings, STEPS["step_maps"].settings)["steps"]["selector"]
        steps = maps.steps_of(described, read_table("answers", answers), selector)
        massive = maps.write(output, lambda: each_shard(shards), steps, scratch)
        chosen = steps["sample_id"].nunique()
        logger.info("maps of %d samples, %d without a step to select", chosen, len(described) - chosen)
        for name, (found, layers) in massive.items():
            logger.info("%s: massive dimensions in %d of %d layers", name, found, layers)


def ground(
    maps: Maps,
    study: StudyFolder,
    output: Output,
    controls: Annotated[Path | None, typer.Option(help="Step maps of the control conditions.")] = None,
    random_weights: Annotated[Path | None, typer.Option(help="Step maps of random weights.")] = None,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Score every map that has a target, raw and corrected, with baselines. Reads pooling.heads."""
    with logged(log) as logger:
        from attention_atlas.analysis import step_maps
        from attention_atlas.analysis.grounding_tables import grounding_parts
        from attention_atlas.declared import read_declared
        from attention_atlas.inputs.study import read_study
        from attention_atlas.store import write_parts

        heads = read_declared(settings, STEPS["ground"].settings)["pooling"]["heads"]
        asked = read_study(study, None, images=()).views
        scored: set[str] = set()
        with step_maps.reading(maps, controls, random_weights) as (own, other, random):
            parts = grounding_parts(own, asked, heads, other, random)
            write_parts(noting("sample_id", parts, scored), output)
            mapped = sum(node.sizes["sample"] for node in own.values())
        logger.info("%d samples scored, %d without a target", len(scored), mapped - len(scored))


def noting(column: str, parts: Iterator[Any], seen: set[str]) -> Iterator[Any]:
    """Parts of a table as they are; the values of a column are noted in `seen`."""
    for part in parts:
        seen.update(part[column].unique())
        yield part


def condition_summary(
    scores: Table,
    samples: Table,
    tokens: Table,
    answers: Table,
    focus: Table,
    mass: Table,
    manifest: Annotated[Path, typer.Option(help="The run's manifest.")],
    output: Output,
    controls: Annotated[Path | None, typer.Option(help="Folder of the controls' samples.parquet and answers.")] = None,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Answers and maps under each control condition, by query. Reads statistics."""
    with logged(log) as logger:
        from attention_atlas.analysis.condition_summaries import condition_summary as summary
        from attention_atlas.declared import read_declared
        from attention_atlas.store import write_table

        sections = read_declared(settings, STEPS["condition_summary"].settings)
        run = run_of(manifest, sections, samples=samples, tokens=tokens, answers=answers, focus=focus, mass=mass)
        asked, judged = (
            read_table(name, controls / f"{name}.parquet") if controls else read_table(name, own).iloc[:0]
            for name, own in (("samples", samples), ("answers", answers))
        )
        write_table(summary(run, read_table("conditions", scores), asked, judged), output)
        logger.info("wrote %s", output)


def conditions(
    maps: Maps,
    study: StudyFolder,
    output: Output,
    controls: Annotated[
        Path | None, typer.Option(help="Step maps of the controls; none: no controls are made.")
    ] = None,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Describe each control's map beside that of its source. Reads pooling.heads."""
    with logged(log) as logger:
        from attention_atlas.analysis import conditions as scores
        from attention_atlas.analysis import step_maps
        from attention_atlas.declared import read_declared
        from attention_atlas.inputs.study import read_study
        from attention_atlas.store import write_table

        heads = read_declared(settings, STEPS["conditions"].settings)["pooling"]["heads"]
        asked = read_study(study, None, images=()).views
        with step_maps.reading(maps, controls) as (own, made):
            table = scores.condition_scores(own, made, asked, heads)
            alone = scores.without_source(own, made)
        write_table(table, output)
        logger.info("described controls of %d samples", table["sample_id"].nunique())
        for sentence in scores.told(alone):
            logger.warning("%s", sentence)


def heads(
    maps: Annotated[Path, typer.Option(help="The run's step maps (netCDF).")],
    study: StudyFolder,
    heads: Annotated[Path, typer.Option(help="The chosen heads, a JSON file.")],
    table: Annotated[Path, typer.Option(help="How well each method's heads localise (parquet).")],
    scores: Annotated[Path, typer.Option(help="The AUROC of every head (parquet).")],
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Choose heads that look at the target on the split select, and evaluate them on the images of evaluate.

    Reads heads and statistics.
    """
    with logged(log) as logger:
        from attention_atlas.analysis.head_tables import localising_heads
        from attention_atlas.analysis.step_maps import reading
        from attention_atlas.declared import read_declared
        from attention_atlas.files import write_json
        from attention_atlas.inputs.study import read_study
        from attention_atlas.store import write_table

        sections = read_declared(settings, STEPS["heads"].settings)
        asked = read_study(study, None, images=()).views
        with reading(maps) as (own,):
            chosen, methods, of_heads = localising_heads(own, asked, sections)
        write_json(heads, chosen)
        write_table(methods, table)
        write_table(of_heads, scores)
        logger.info("%d of %d heads chosen on %d images", len(chosen["heads"]), len(of_heads), chosen["n"])


def compare(
    samples: Table,
    tokens: Table,
    answers: Table,
    focus: Table,
    mass: Table,
    grounding: Table,
    conditions: Table,
    maps: Maps,
    study: StudyFolder,
    manifest: Annotated[Path, typer.Option(help="The run's manifest.")],
    output: Annotated[Path, typer.Option(help="Folder to write the tables into, one parquet file each.")],
    causal: Annotated[Path | None, typer.Option(help="Causal checks of single samples (parquet), if made.")] = None,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Test the declared contrasts and summarise grounding; fails where simulated tests reject too often.

    Reads steps.selector, pooling.heads, the bands of layers, statistics, tests, contrasts and query_types.
    """
    with logged(log) as logger:
        from attention_atlas.analysis import comparisons, grounding_summaries, shortcut, step_maps, validation
        from attention_atlas.analysis.grounding_tables import read_pooled
        from attention_atlas.analysis.hypothesis_tests import plan_of
        from attention_atlas.declared import read_declared
        from attention_atlas.inputs.study import read_study
        from attention_atlas.inputs.used_settings import used_by
        from attention_atlas.store import write_table

        sections = read_declared(settings, STEPS["compare"].settings)
        asked = read_study(study, sections["query_types"], images=()).views
        sections = used_by(asked, sections)
        run = run_of(manifest, sections, samples=samples, tokens=tokens, answers=answers, focus=focus, mass=mass)
        scores, controls = read_pooled(grounding), read_table("conditions", conditions)
        caused = read_table("causal_samples", causal) if causal else None
        legs = shortcut.observations(run, asked, controls, scores, caused)
        with step_maps.reading(maps) as (own,):
            tested = comparisons.comparisons(run, scores, own, controls, legs)
        plan, failed = plan_of(run.settings), validation.not_valid(tested["validation"])
        made = {
            **tested,
            "shortcut": shortcut.shortcut_table(run, asked, controls, scores, caused, plan, failed),
            "grounding": grounding_summaries.grounding_summary(run, scores),
            "grounding_profile": grounding_summaries.grounding_profile(run, scores),
        }
        for name, table in made.items():
            write_table(table, output / f"{name}.parquet")
        logger.info("%s", made["contrasts"]["verdict"].value_counts().to_dict())


def causal(
    maps: Annotated[Path, typer.Option(help="The run's step maps (netCDF).")],
    samples: Table,
    answers: Table,
    output: Annotated[Path, typer.Option(help="Folder to write the tables into, one parquet file each.")],
    interventions: Annotated[
        list[Path] | None, typer.Argument(help="The interventions of the run, a file a shard (parquet).")
    ] = None,
    generic: Annotated[Path | None, typer.Option(help="Step maps that hold the generic query's (netCDF).")] = None,
    settings: Settings = SETTINGS,
    log: Log = None,
) -> None:
    """Test whether answers depend on where a model looks, from what perturbed images and attention did to them.

    Reads causal, pooling.heads, statistics and tests.
    """
    with logged(log) as logger:
        from attention_atlas.analysis import step_maps
        from attention_atlas.analysis.causal import causal_samples, read_interventions
        from attention_atlas.analysis.causal_tables import causal_tables
        from attention_atlas.declared import read_declared
        from attention_atlas.store import write_table

        sections = read_declared(settings, STEPS["causal"].settings)
        scores = read_interventions(interventions or [])
        described, judged = read_table("samples", samples), read_table("answers", answers)
        with step_maps.reading(maps, generic) as (own, asked):
            per_sample = causal_samples(scores, own, asked, described, judged, sections)
        write_table(per_sample, output / "causal_samples.parquet")
        for name, table in causal_tables(scores, per_sample, described, judged, sections).items():
            write_table(table, output / f"{name}.parquet")
            logger.info("wrote %s", output / f"{name}.parquet")
        perturbed, without = per_sample["sample_id"].nunique(), per_sample["value"].isna().sum()
        logger.info("%d samples perturbed, %d of %d quantities not defined", perturbed, without, len(per_sample))
