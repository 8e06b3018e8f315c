"""What this phase makes, and from what; imported while Snakemake parses, so nothing heavy is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """The modules whose code decides a step's output (named as in `provenance.module_path`), and its settings."""

    modules: tuple[str, ...]
    settings: tuple[str, ...] = ()


STEPS = {
    "transcript": Step(("analysis.transcript", "analysis.rows", "store")),
    "answers": Step(("analysis.transcript", "inputs.answers", "inputs.controls", "inputs.study"), ("query_types",)),
    "step_maps": Step(
        ("analysis.step_maps", "analysis.massive_sinks", "analysis.corrections", "analysis.steps", "store"), ("steps",)
    ),
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
            *("analysis.step_maps", "analysis.massive_sinks", "analysis.focus", "analysis.pooling"),
            *("inputs.controls", "inputs.study"),
        ),
        ("pooling", "query_types"),
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
# The summaries of a run, a parquet file each: one per published table.
SUMMARIES = ("table1", "steps", "ablation", "layer_profile", "pooling_profile", "layer_step", "vision_mass")
