# Phase inputs: data/<study>/{samples.csv, objects.csv, images/, masks/} -> an inventory, once all of it is in order.


rule check_study:
    input:
        samples="data/{study}/samples.csv",
        objects="data/{study}/objects.csv",
        images=lambda w: atlas.images(w.study),
        code=modules(["inputs.study", "inputs.images", "inputs.answers"]),
    output:
        "results/attention/{study}/study.json",
    params:
        settings=atlas.sections("query_types"),
    log:
        "logs/check_study/{study}.log",
    benchmark:
        "logs/check_study/{study}.tsv"
    conda:
        "../../envs/atlas.yaml"
    shell:
        "atlas validate data/{wildcards.study} --settings {params.settings:q} --output {output} --log {log}"
