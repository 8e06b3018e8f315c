"""What this phase makes, and from what code; imported while Snakemake parses, so nothing heavy is imported here."""

from collections.abc import Mapping
from typing import Any

# The modules whose code decides what a shard holds: inputs of the rule `extract`, fingerprinted in every shard.
EXTRACTION_MODULES = (
    *("cells", "store", "inputs.conditions", "inputs.images", "inputs.shards", "inputs.views"),
    *("attention.asking", "attention.batching", "attention.capture", "attention.checkpoints"),
    *("attention.device_errors", "attention.extraction", "attention.families"),
    *("attention.generation", "attention.kept_batches", "attention.models", "attention.nodes", "attention.prompts"),
    "attention.vision_tokens",
)
# Beside these, what decides a shard of control conditions.
CONTROL_MODULES = (
    *EXTRACTION_MODULES,
    *(
        "attention.control_conditions",
        "inputs.controls",
        "inputs.control_pictures",
        "inputs.painting",
        "inputs.study",
        "inputs.twins",
    ),
)
# The settings that a shard depends on: keys, or sections where every key is read. Of what `capture` can keep, control
# conditions and random weights have nothing; what random weights say means nothing, so one token of it is enough.
EXTRACTION_SETTINGS = ("shards", "extraction", "generation", "capture")
CONTROL_SETTINGS = ("shards", "extraction", "generation", "capture.keep_bits", "controls")
RANDOM_WEIGHTS_SETTINGS = (
    *("shards", "extraction", "generation.do_sample", "generation.seed", "generation.temperature"),
    *("capture.keep_bits", "controls.seed"),
)
MANIFEST_MODULES = ("store",)
# The modules whose code decides what perturbations do, and the settings that they may depend on.
INTERVENTION_MODULES = (
    *("cells", "inputs.causal_samples", "inputs.images", "inputs.painting", "inputs.perturbations"),
    *("inputs.conditions", "inputs.study", "inputs.twins", "inputs.views"),
    *("analysis.bands", "analysis.causal_subjects", "analysis.corrections", "analysis.focus", "analysis.grounding"),
    *("analysis.pooling", "analysis.corrected_maps", "analysis.targets"),
    *("attention.capture", "attention.checkpoints", "attention.device_errors", "attention.families"),
    *("attention.interventions", "attention.models"),
    *("attention.prompts", "attention.scoring", "attention.vision_tokens"),
)
LAYER_BANDS = ("bands.layers", "bands.reference_layers")
INTERVENTION_SETTINGS = (
    *(*LAYER_BANDS, "causal", "pooling.heads"),
    *("extraction.batch_size", "extraction.system_prompt", "extraction.threads"),
)


def intervention_settings(causal: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the settings that perturbations depend on, given the section `causal`.

    The pooled map says which cells are deleted first, and bands which layers are knocked out where not all are.
    """
    needless = [
        *([] if "deletion" in causal["checks"] else ["pooling.heads"]),
        *([] if "knockout" in causal["checks"] and causal["layers"] != "all" else LAYER_BANDS),
    ]
    return tuple(key for key in INTERVENTION_SETTINGS if key not in needless)
