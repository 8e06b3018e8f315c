"""What this phase makes, and from what; imported while Snakemake parses, so nothing heavy is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """The modules whose code decides a step's output (named as in `provenance.module_path`), and its settings."""

    modules: tuple[str, ...]
    settings: tuple[str, ...] = ()


STEPS = {
    "transcript": Step(("analysis.transcript", "analysis.rows", "store")),
    "answers": Step(("analysis.transcript", "inputs.answers", "inputs.study"), ("query_types",)),
    "focus": Step(("analysis.focus", "analysis.pooling", "analysis.rows", "store")),
    "mass": Step(("analysis.transcript", "analysis.rows", "store")),
    "summaries": Step(
        ("analysis.summaries", "analysis.bands", "analysis.statistics", "analysis.steps"),
        ("bands", "pooling", "statistics", "steps"),
    ),
    "selected_maps": Step(
        (
            *("analysis.selected_maps", "analysis.focus", "analysis.pooling", "analysis.steps"),
            *("inputs.study", "store"),
        ),
        ("figures", "pooling", "query_types", "steps"),
    ),
}
# The summaries of a run, a parquet file each: one per published table.
SUMMARIES = ("table1", "steps", "ablation", "layer_profile", "pooling_profile", "layer_step", "vision_mass")
