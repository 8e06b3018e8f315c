"""What this phase makes, and from what code; imported while Snakemake parses, so nothing heavy is imported here."""

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
# Sections of the settings that a shard depends on.
EXTRACTION_SETTINGS = ("extraction", "generation", "capture")
CONTROL_SETTINGS = (*EXTRACTION_SETTINGS, "controls")
MANIFEST_MODULES = ("store",)
# The modules whose code decides what perturbations do, and the sections of the settings that they depend on.
INTERVENTION_MODULES = (
    *("cells", "inputs.causal_samples", "inputs.images", "inputs.painting", "inputs.perturbations"),
    *("inputs.conditions", "inputs.study", "inputs.twins", "inputs.views"),
    *("analysis.bands", "analysis.causal_subjects", "analysis.corrections", "analysis.focus", "analysis.grounding"),
    *("analysis.pooling", "analysis.corrected_maps", "analysis.targets"),
    *("attention.capture", "attention.checkpoints", "attention.device_errors", "attention.families"),
    *("attention.interventions", "attention.models"),
    *("attention.prompts", "attention.scoring", "attention.vision_tokens"),
)
INTERVENTION_SETTINGS = ("bands", "causal", "extraction", "pooling", "query_types")
