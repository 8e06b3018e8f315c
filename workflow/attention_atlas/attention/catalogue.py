"""What this phase makes, and from what code; imported while Snakemake parses, so nothing heavy is imported here."""

# The modules whose code decides what a shard holds: inputs of the rule `extract`, fingerprinted in every shard.
EXTRACTION_MODULES = (
    *("cells", "store", "inputs.images", "inputs.shards", "attention.capture", "attention.extraction"),
    *("attention.generation", "attention.models", "attention.prompts", "attention.vision_tokens"),
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
