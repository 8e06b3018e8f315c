# Attention Atlas: inputs -> attention -> analysis -> paper. The settings are config/config.yaml; `snakemake -n` shows
# what a run would do, `snakemake --cores all` does it.
from attention_atlas.analysis import catalogue as analysis
from attention_atlas.attention import catalogue as attention
from attention_atlas.paper import catalogue as paper
from attention_atlas.wiring import (
    Workflow,
    any_of,
    check_config_files,
    folders,
    modules,
    option,
)

check_config_files(workflow.configfiles)


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


atlas = Workflow(config)
config.update(atlas.values)  # with every default: captions of the report show them
shell.prefix(atlas.environment())


wildcard_constraints:
    study=any_of(study for study, _ in atlas.runs),
    model=any_of(model for _, model in atlas.runs),  # the name of a run: its model's, with its grid where it has one
    shard=r"\d{3}",
    part="(?:/controls|/random_weights)?",  # of a run: the study itself, its control conditions, random weights


include: "workflow/rules/inputs.smk"
include: "workflow/rules/attention.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/paper.smk"


atlas.refuse_strange_results(workflow)


rule all:
    default_target: True
    input:  # every phase by name: tables that git brought along must not make missing maps look done
        rules.attention.input,
        rules.analysis.input,
        rules.tables.input,
        rules.figures.input,
        atlas.of_each_run("results/paper/tables/{study}/{model}/contents.json"),


localrules:
    all,
    attention,
    analysis,
    tables,
    figures,
    report,
