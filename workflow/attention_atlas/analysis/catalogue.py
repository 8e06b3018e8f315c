"""What this phase makes, and from what; imported while Snakemake parses, so nothing heavy is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """The modules whose code decides a step's output (named as in `provenance.module_path`), and its settings.

    Settings are keys (`steps.selector`), or sections where every key is read. The command can read no other, and its
    jobs rerun where one of these changes.
    """

    modules: tuple[str, ...]
    settings: tuple[str, ...] = ()


# What finds answers in texts.
ANSWERS = ("folding", "inputs.answers", "inputs.phrasing")
STEPS = {
    "transcript": Step(("analysis.transcript", "analysis.rows", "store")),
    "answers": Step(
        ("analysis.transcript", *ANSWERS, "inputs.conditions", "inputs.study", "inputs.views"), ("query_types",)
    ),
    "step_maps": Step(
        (
            *("analysis.step_maps", "analysis.massive_sinks", "analysis.blocks", "analysis.corrections"),
            *("analysis.steps", "inputs.conditions", "store"),
        ),
        ("steps.selector",),
    ),
    "focus": Step(("analysis.focus", "analysis.blocks", "analysis.pooling", "analysis.rows", "store")),
    "mass": Step(("analysis.transcript", "analysis.rows", "store")),
    "summaries": Step(
        ("analysis.summaries", "analysis.bands", "analysis.statistics", "analysis.steps"),
        ("bands", "pooling.heads", "statistics", "steps.selector"),
    ),
    "selected_maps": Step(
        (
            *("analysis.selected_maps", "analysis.focus", "analysis.pooling", "analysis.steps"),
            *("inputs.conditions", "inputs.study", "inputs.views", "store"),
        ),
        ("figures.gallery", "figures.layers_page", "pooling.heads", "steps.selector"),
    ),
    "ground": Step(
        (
            *("analysis.grounding_tables", "analysis.grounding", "analysis.corrections", "analysis.targets"),
            *("analysis.corrected_maps", "analysis.blocks", "analysis.focus", "analysis.pooling", "analysis.rows"),
            *("inputs.conditions", "cells", "inputs.images", "inputs.study", "inputs.views"),
        ),
        ("pooling.heads",),
    ),
    "condition_summary": Step(
        (
            *("analysis.condition_summaries", "analysis.summaries", "analysis.bands", "analysis.statistics"),
            *("analysis.steps", "inputs.conditions"),
        ),
        ("statistics",),
    ),
    "conditions": Step(
        (
            *("analysis.conditions", "analysis.contrasts", "analysis.corrections", "analysis.focus"),
            *("analysis.grounding", "analysis.pooling", "analysis.corrected_maps", "analysis.targets"),
            *("analysis.blocks", "inputs.conditions", "cells", "inputs.images", "inputs.study", "inputs.views"),
        ),
        ("pooling.heads",),
    ),
    "heads": Step(
        (
            *("analysis.head_tables", "analysis.head_scores", "analysis.heads", "analysis.corrections"),
            *("analysis.focus", "analysis.grounding", "analysis.pooling", "analysis.statistics"),
            *("analysis.corrected_maps", "analysis.targets", "cells", "inputs.conditions", "inputs.images"),
            *("inputs.study", "inputs.views", "store"),
        ),
        ("heads", "statistics"),
    ),
    "compare": Step(
        (
            *("analysis.comparisons", "analysis.contrasts", "analysis.hypothesis_tests", "analysis.validation"),
            *("analysis.arms", "analysis.distances", "analysis.planes", "analysis.shortcut", "analysis.conditions"),
            *("analysis.grounding_summaries", "analysis.grounding_tables", "analysis.corrected_maps"),
            *("analysis.corrections", "analysis.focus", "analysis.pooling", *ANSWERS, "inputs.study"),
            "inputs.views",
            *("analysis.summaries", "analysis.bands", "analysis.statistics", "analysis.steps"),
        ),
        (
            *("bands.layers", "bands.reference_cells", "bands.reference_layers", "contrasts", "controls.conditions"),
            *("pooling.heads", "query_types", "statistics", "steps.selector", "tests"),
        ),
    ),
    "causal": Step(
        (
            *("analysis.causal_tables", "analysis.causal", "analysis.corrected_maps", "analysis.corrections"),
            *("analysis.blocks", "analysis.focus", "analysis.pooling", "analysis.contrasts"),
            *("analysis.hypothesis_tests", "analysis.statistics", "analysis.validation"),
        ),
        (
            *("causal.checks", "causal.random_orders", "causal.random_regions", "causal.random_sets"),
            *("causal.regions", "causal.steps", "pooling.heads", "statistics"),
            *("tests.alpha", "tests.margins.logprob", "tests.permutations", "tests.simulations"),
        ),
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
