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
    "ground": Step(
        (
            *("analysis.grounding_tables", "analysis.grounding", "analysis.corrections", "analysis.targets"),
            *("analysis.focus", "analysis.pooling", "analysis.steps", "inputs.study", "store"),
        ),
        ("query_types", "steps"),
    ),
    "heads": Step(
        (
            *("analysis.head_tables", "analysis.head_scores", "analysis.heads", "analysis.corrections"),
            *("analysis.focus", "analysis.grounding", "analysis.pooling", "analysis.statistics"),
            *("analysis.step_maps", "analysis.targets", "inputs.study", "store"),
        ),
        ("heads", "query_types", "statistics"),
    ),
    "compare": Step(
        (
            *("analysis.comparisons", "analysis.contrasts", "analysis.hypothesis_tests", "analysis.validation"),
            *("analysis.grounding_summaries", "analysis.grounding_tables"),
            *("analysis.summaries", "analysis.bands", "analysis.statistics", "analysis.steps"),
        ),
        ("bands", "contrasts", "pooling", "statistics", "steps", "tests"),
    ),
}
COMPARISONS = ("contrasts", "claims", "validation", "power", "grounding", "grounding_profile")
HEAD_TABLES = ("heads", "head_auroc")
# The summaries of a run, a parquet file each: one per published table.
SUMMARIES = ("table1", "steps", "ablation", "layer_profile", "pooling_profile", "layer_step", "vision_mass")
