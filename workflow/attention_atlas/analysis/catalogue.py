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
    "compare": Step(
        (
            *("analysis.comparisons", "analysis.contrasts", "analysis.hypothesis_tests", "analysis.validation"),
            *("analysis.grounding_summaries", "analysis.grounding_tables"),
            *("analysis.summaries", "analysis.bands", "analysis.statistics", "analysis.steps"),
        ),
        ("bands", "contrasts", "pooling", "statistics", "steps", "tests"),
    ),
    "causal": Step(
        (
            *("analysis.causal_tables", "analysis.causal", "analysis.step_maps", "analysis.corrections"),
            *("analysis.focus", "analysis.pooling", "analysis.comparisons", "analysis.contrasts"),
            *("analysis.hypothesis_tests", "analysis.statistics"),
        ),
        ("causal", "pooling", "statistics", "tests"),
    ),
}
COMPARISONS = ("contrasts", "claims", "validation", "power", "grounding", "grounding_profile")
# The causal checks of a run, a parquet file each; `causal_samples` beside them is not published.
CAUSAL = ("causal", "causal_curves", "causal_support")
# The summaries of a run, a parquet file each: one per published table.
SUMMARIES = ("table1", "steps", "ablation", "layer_profile", "pooling_profile", "layer_step", "vision_mass")
