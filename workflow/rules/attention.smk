# Phase attention: a study and a model -> results/attention/<study>/<model>/{<shard>.nc, manifest.json}, and the same in
# controls/ and random_weights/ below it; perturbed samples in interventions/.


rule extract:
    input:
        samples=ancient("data/{study}/samples.csv"),  # an edited row reaches its own shard alone, by params
        images=lambda w: ancient(atlas.images(w.study, w.shard)),
        weights=lambda w: atlas.weights(w.study, w.model),
        lock="envs/requirements.lock",
        code=modules(attention.EXTRACTION_MODULES),
    output:
        "results/attention/{study}/{model}/{shard}.nc",
    log:
        "logs/extract/{study}/{model}/{shard}.log",
    benchmark:
        "logs/extract/{study}/{model}/{shard}.tsv"
    conda:
        "../../envs/atlas.yaml"
    threads: atlas.settings.extraction.threads
    resources:
        gpu=lambda w: atlas.gpus(w.study, w.model),
        mem_mb=32000,
        runtime=240,
    params:
        **atlas.entry_read(),
        **atlas.read(attention.EXTRACTION_SETTINGS),
        rows=lambda w: atlas.rows_digest(w.study, w.shard),
        images=lambda w: atlas.images_digest(w.study, w.shard),
        weights=lambda w: atlas.weights_digest(w.study, w.model),
        model=atlas.model,
        models=atlas.models_file,
        settings=atlas.settings_file,
    shell:
        "atlas extract --study data/{wildcards.study} --shard {wildcards.shard} "
        "--model {params.model} --models {params.models} --settings {params.settings} "
        "--output {output} --log {log}"


rule extract_controls:
    input:
        study=ancient(["data/{study}/samples.csv", "data/{study}/objects.csv"]),
        images=lambda w: ancient(atlas.control_images(w.study, w.shard)),
        masks=lambda w: ancient(atlas.masks(w.study, w.shard)),
        weights=lambda w: atlas.weights(w.study, w.model),
        lock="envs/requirements.lock",
        code=modules(attention.CONTROL_MODULES),
    output:
        "results/attention/{study}/{model}/controls/{shard}.nc",
    log:
        "logs/extract_controls/{study}/{model}/{shard}.log",
    benchmark:
        "logs/extract_controls/{study}/{model}/{shard}.tsv"
    conda:
        "../../envs/atlas.yaml"
    threads: atlas.settings.extraction.threads
    resources:
        gpu=lambda w: atlas.gpus(w.study, w.model),
        mem_mb=32000,
        runtime=240,
    params:
        **atlas.entry_read(),
        **atlas.read(attention.CONTROL_SETTINGS),
        rows=lambda w: atlas.control_digest(w.study, w.shard),
        images=lambda w: atlas.control_images_digest(w.study, w.shard),
        masks=lambda w: atlas.masks_digest(w.study, w.shard),
        weights=lambda w: atlas.weights_digest(w.study, w.model),
        model=atlas.model,
        models=atlas.models_file,
        settings=atlas.settings_file,
    shell:
        "atlas extract --asked controls --study data/{wildcards.study} --shard {wildcards.shard} "
        "--model {params.model} --models {params.models} "
        "--settings {params.settings} --output {output} --log {log}"


rule extract_random_weights:
    input:
        samples=ancient("data/{study}/samples.csv"),
        images=lambda w: ancient(atlas.images(w.study, w.shard)),
        weights=lambda w: atlas.weights(w.study, w.model),
        lock="envs/requirements.lock",
        code=modules(attention.CONTROL_MODULES),
    output:
        "results/attention/{study}/{model}/random_weights/{shard}.nc",
    log:
        "logs/extract_random_weights/{study}/{model}/{shard}.log",
    benchmark:
        "logs/extract_random_weights/{study}/{model}/{shard}.tsv"
    conda:
        "../../envs/atlas.yaml"
    threads: atlas.settings.extraction.threads
    resources:
        gpu=lambda w: atlas.gpus(w.study, w.model),
        mem_mb=32000,
        runtime=240,
    params:
        **atlas.entry_read(),
        **atlas.read(attention.RANDOM_WEIGHTS_SETTINGS),
        rows=lambda w: atlas.rows_digest(w.study, w.shard),
        images=lambda w: atlas.images_digest(w.study, w.shard),
        weights=lambda w: atlas.weights_digest(w.study, w.model),
        model=atlas.model,
        models=atlas.models_file,
        settings=atlas.settings_file,
    shell:
        "atlas extract --asked random_weights --study data/{wildcards.study} "
        "--shard {wildcards.shard} --model {params.model} "
        "--models {params.models} --settings {params.settings} --output {output} --log {log}"


rule intervene:
    input:
        study=ancient(["data/{study}/samples.csv", "data/{study}/objects.csv"]),
        images=lambda w: ancient(atlas.images(w.study, w.shard)),
        masks=lambda w: ancient(atlas.masks(w.study, w.shard)),
        weights=lambda w: atlas.weights(w.study, w.model),
        lock="envs/requirements.lock",
        tokens="results/attention/{study}/{model}/{shard}.nc",
        maps="results/analysis/{study}/{model}/step_maps.nc",  # which cells to take first
        code=modules(attention.INTERVENTION_MODULES),
    output:
        "results/attention/{study}/{model}/interventions/{shard}.parquet",
    log:
        "logs/intervene/{study}/{model}/{shard}.log",
    benchmark:
        "logs/intervene/{study}/{model}/{shard}.tsv"
    conda:
        "../../envs/atlas.yaml"
    threads: atlas.settings.extraction.threads
    resources:
        gpu=lambda w: atlas.gpus(w.study, w.model),
        mem_mb=32000,
        runtime=240,
    params:
        **atlas.entry_read(),
        **atlas.read(attention.INTERVENTION_SETTINGS, of=atlas.perturbations_read),
        rows=lambda w: atlas.intervention_digest(w.study, w.shard),
        images=lambda w: atlas.images_digest(w.study, w.shard),
        masks=lambda w: atlas.masks_digest(w.study, w.shard),
        weights=lambda w: atlas.weights_digest(w.study, w.model),
        model=atlas.model,
        models=atlas.models_file,
        settings=atlas.settings_file,
    shell:
        "atlas intervene --study data/{wildcards.study} --shard-maps {input.tokens} --step-maps {input.maps} "
        "--model {params.model} --models {params.models} --settings {params.settings} "
        "--output {output} --log {log}"


rule manifest:
    input:
        shards=lambda w: atlas.maps(w.study, w.model, w.part),
        code=modules(attention.MANIFEST_MODULES),
    output:
        "results/attention/{study}/{model}{part}/manifest.json",
    log:
        "logs/manifest/{study}/{model}{part}.log",
    conda:
        "../../envs/atlas.yaml"
    shell:
        "atlas manifest --output {output} --log {log} {input.shards}"


rule attention:
    input:
        [f"results/attention/{study}/study.json" for study in atlas.studies],
        atlas.manifests(),
        atlas.all_maps(),
        [path for run in atlas.runs for path in atlas.interventions(*run)],
