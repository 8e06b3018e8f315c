# Phase inputs: data/<study>/{samples.csv, objects.csv, images/, masks/} -> an inventory, once all of it is in order.
# The tables are read and checked while Snakemake parses (attention_atlas.wiring); this rule opens every picture too.
# Nothing depends on it: Snakemake passes over the changed parameters of a job below one that is to run, even where an
# ancient() file alone joins the two (9.27), and an edited vocabulary would hide an edited query. It comes first by
# priority, and each shard opens its own images before it loads a model.


rule check_study:
    input:
        samples="data/{study}/samples.csv",
        objects="data/{study}/objects.csv",
        images=lambda w: ancient(atlas.images(w.study)),
        code=modules(
            [
                "inputs.study",
                "inputs.images",
                "inputs.answers",
                "inputs.phrasing",
                "folding",
                "reading",
            ]
        ),
    output:
        "results/attention/{study}/study.json",
    log:
        "logs/check_study/{study}.log",
    benchmark:
        "logs/check_study/{study}.tsv"
    priority: 100
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(["query_types"]),
        images=lambda w: atlas.images_digest(w.study),
        settings=atlas.settings_file,
    shell:
        "atlas validate data/{wildcards.study} --settings {params.settings} --output {output} --log {log}"
