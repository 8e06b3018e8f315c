"""What this phase makes, and from what; imported while Snakemake parses, so nothing heavy is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """The modules whose code decides a step's output (named as in `provenance.module_path`), and its settings."""

    modules: tuple[str, ...]
    settings: tuple[str, ...] = ()


STEPS = {
    "transcript": Step(("analysis.transcript", "analysis.rows", "store")),
    "answers": Step(
        ("analysis.transcript", "inputs.answers", "inputs.conditions", "inputs.study", "inputs.views"), ("query_types",)
    ),
    "step_maps": Step(
        (
            *("analysis.step_maps", "analysis.massive_sinks", "analysis.blocks", "analysis.corrections"),
            *("analysis.steps", "inputs.conditions", "store"),
        ),
        ("steps",),
    ),
    "focus": Step(("analysis.focus", "analysis.blocks", "analysis.pooling", "analysis.rows", "store")),
    "mass": Step(("analysis.transcript", "analysis.rows", "store")),
    "summaries": Step(
        ("analysis.summaries", "analysis.bands", "analysis.statistics", "analysis.steps"),
        ("bands", "pooling", "statistics", "steps"),
    ),
    "selected_maps": Step(
        (
            *("analysis.selected_maps", "analysis.focus", "analysis.pooling", "analysis.steps"),
            *("inputs.conditions", "inputs.study", "inputs.views", "store"),
        ),
        ("figures.gallery", "figures.layers_page", "pooling", "query_types", "steps"),
    ),
    "ground": Step(
        (
            *("analysis.grounding_tables", "analysis.grounding", "analysis.corrections", "analysis.targets"),
            *("analysis.corrected_maps", "analysis.blocks", "analysis.focus", "analysis.pooling", "analysis.rows"),
            *("inputs.conditions", "cells", "inputs.images", "inputs.study", "inputs.views"),
        ),
        ("pooling", "query_types"),
    ),
    "condition_summary": Step(
        (
            *("analysis.condition_summaries", "analysis.summaries", "analysis.bands", "analysis.statistics"),
            *("analysis.steps", "inputs.conditions"),
        ),
        ("bands", "pooling", "statistics", "steps"),
    ),
    "conditions": Step(
        (
            *("analysis.conditions", "analysis.contrasts", "analysis.corrections", "analysis.focus"),
            *("analysis.grounding", "analysis.pooling", "analysis.corrected_maps", "analysis.targets"),
            *("analysis.blocks", "inputs.conditions", "cells", "inputs.images", "inputs.study", "inputs.views"),
        ),
        ("pooling", "query_types"),
    ),
    "heads": Step(
        (
            *("analysis.head_tables", "analysis.head_scores", "analysis.heads", "analysis.corrections"),
            *("analysis.focus", "analysis.grounding", "analysis.pooling", "analysis.statistics"),
            *("analysis.corrected_maps", "analysis.targets", "cells", "inputs.conditions", "inputs.images"),
            *("inputs.study", "inputs.views", "store"),
        ),
        ("heads", "query_types", "statistics"),
    ),
    "compare": Step(
        (
            *("analysis.comparisons", "analysis.contrasts", "analysis.hypothesis_tests", "analysis.validation"),
            *("analysis.arms", "analysis.distances", "analysis.planes", "analysis.shortcut", "analysis.conditions"),
            *("analysis.grounding_summaries", "analysis.grounding_tables", "analysis.corrected_maps"),
            *("analysis.corrections", "analysis.focus", "analysis.pooling", "inputs.answers", "inputs.study"),
            "inputs.views",
            *("analysis.summaries", "analysis.bands", "analysis.statistics", "analysis.steps"),
        ),
        ("bands", "contrasts", "pooling", "query_types", "statistics", "steps", "tests"),
    ),
    "causal": Step(
        (
            *("analysis.causal_tables", "analysis.causal", "analysis.corrected_maps", "analysis.corrections"),
            *("analysis.blocks", "analysis.focus", "analysis.pooling", "analysis.contrasts"),
            *("analysis.hypothesis_tests", "analysis.statistics", "analysis.validation"),
        ),
        ("causal", "pooling", "statistics", "tests"),
    ),
}
COMPARISONS = (
    *("contrasts", "claims", "validation", "power", "clusters", "cluster_plane", "shortcut"),
    *("grounding", "grounding_profile"),
)
HEAD_TABLES = ("heads", "head_auroc")
# The causal checks of a run, a parquet file each; `causal_samples` beside them is not published.
CAUSAL = ("causal", "causal_curves", "causal_support", "causal_validation")
# The summaries of a run, a parquet file each: one per published table.
SUMMARIES = ("table1", "steps", "ablation", "layer_profile", "pooling_profile", "layer_step", "vision_mass")
