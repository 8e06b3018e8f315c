# Phase analysis: the maps of a run -> results/analysis/<study>/<model>/*.parquet and selected_maps.nc.


rule transcript:
    input:
        maps=lambda w: atlas.maps(w.study, w.model, w.part),
        code=modules(analysis.STEPS["transcript"].modules),
    output:
        samples="results/analysis/{study}/{model}{part}/samples.parquet",
        tokens="results/analysis/{study}/{model}{part}/tokens.parquet",
    log:
        "logs/transcript/{study}/{model}{part}.log",
    benchmark:
        "logs/transcript/{study}/{model}{part}.tsv"
    conda:
        "../../envs/atlas.yaml"
    shell:
        "atlas transcript --samples {output.samples} --tokens {output.tokens} --log {log} {input.maps}"


rule answers:
    input:
        study=["data/{study}/samples.csv", "data/{study}/objects.csv"],
        samples="results/analysis/{study}/{model}{part}/samples.parquet",
        tokens="results/analysis/{study}/{model}{part}/tokens.parquet",
        code=modules(analysis.STEPS["answers"].modules),
    output:
        "results/analysis/{study}/{model}{part}/answers.parquet",
    log:
        "logs/answers/{study}/{model}{part}.log",
    benchmark:
        "logs/answers/{study}/{model}{part}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["answers"].settings),
        settings=atlas.settings_file,
    shell:
        "atlas answers --study data/{wildcards.study} --samples {input.samples} --tokens {input.tokens} "
        "--settings {params.settings} --output {output} --log {log}"


rule step_maps:
    input:
        maps=lambda w: atlas.maps(w.study, w.model, w.part),
        samples="results/analysis/{study}/{model}{part}/samples.parquet",
        answers="results/analysis/{study}/{model}{part}/answers.parquet",
        code=modules(analysis.STEPS["step_maps"].modules),
    output:
        "results/analysis/{study}/{model}{part}/step_maps.nc",
    log:
        "logs/step_maps/{study}/{model}{part}.log",
    benchmark:
        "logs/step_maps/{study}/{model}{part}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["step_maps"].settings),
        settings=atlas.settings_file,
    shell:
        "atlas step-maps --samples {input.samples} --answers {input.answers} --settings {params.settings} "
        "--output {output} --log {log} {input.maps}"


rule focus:
    input:
        maps=lambda w: atlas.maps(w.study, w.model),
        code=modules(analysis.STEPS["focus"].modules),
    output:
        "results/analysis/{study}/{model}/focus.parquet",
    log:
        "logs/focus/{study}/{model}.log",
    benchmark:
        "logs/focus/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    shell:
        "atlas focus --output {output} --log {log} {input.maps}"


rule mass:
    input:
        maps=lambda w: atlas.maps(w.study, w.model),
        code=modules(analysis.STEPS["mass"].modules),
    output:
        "results/analysis/{study}/{model}/mass.parquet",
    log:
        "logs/mass/{study}/{model}.log",
    benchmark:
        "logs/mass/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    shell:
        "atlas mass --output {output} --log {log} {input.maps}"


rule summaries:
    input:
        samples="results/analysis/{study}/{model}/samples.parquet",
        tokens="results/analysis/{study}/{model}/tokens.parquet",
        answers="results/analysis/{study}/{model}/answers.parquet",
        focus="results/analysis/{study}/{model}/focus.parquet",
        mass="results/analysis/{study}/{model}/mass.parquet",
        manifest="results/attention/{study}/{model}/manifest.json",
        code=modules(analysis.STEPS["summaries"].modules),
    output:
        expand(
            "results/analysis/{{study}}/{{model}}/{summary}.parquet",
            summary=analysis.SUMMARIES,
        ),
    log:
        "logs/summaries/{study}/{model}.log",
    benchmark:
        "logs/summaries/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["summaries"].settings),
        settings=atlas.settings_file,
        folder=subpath(output[0], parent=True),
    shell:
        "atlas summary-tables --samples {input.samples} --tokens {input.tokens} --answers {input.answers} "
        "--focus {input.focus} --mass {input.mass} --manifest {input.manifest} --settings {params.settings} "
        "--output {params.folder} --log {log}"


rule selected_maps:
    input:
        maps=lambda w: atlas.maps(w.study, w.model),
        study=["data/{study}/samples.csv", "data/{study}/objects.csv"],
        samples="results/analysis/{study}/{model}/samples.parquet",
        answers="results/analysis/{study}/{model}/answers.parquet",
        table1="results/analysis/{study}/{model}/table1.parquet",
        grounding="results/analysis/{study}/{model}/grounding_scores.parquet",
        code=modules(analysis.STEPS["selected_maps"].modules),
    output:
        "results/analysis/{study}/{model}/selected_maps.nc",
    log:
        "logs/selected_maps/{study}/{model}.log",
    benchmark:
        "logs/selected_maps/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["selected_maps"].settings),
        settings=atlas.settings_file,
    shell:
        "atlas selected-maps --study data/{wildcards.study} --samples {input.samples} --answers {input.answers} "
        "--table1 {input.table1} --grounding {input.grounding} --settings {params.settings} --output {output} --log {log} {input.maps}"


rule ground:
    input:
        maps="results/analysis/{study}/{model}/step_maps.nc",
        controls=lambda w: atlas.part(w.study, w.model, "controls", "step_maps.nc"),
        random=lambda w: atlas.part(w.study, w.model, "random_weights", "step_maps.nc"),
        study=["data/{study}/samples.csv", "data/{study}/objects.csv"],
        masks=lambda w: ancient(atlas.masks(w.study)),
        code=modules(analysis.STEPS["ground"].modules),
    output:
        "results/analysis/{study}/{model}/grounding_scores.parquet",
    log:
        "logs/ground/{study}/{model}.log",
    benchmark:
        "logs/ground/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["ground"].settings),
        masks=lambda w: atlas.masks_digest(w.study),
        settings=atlas.settings_file,
        controls=lambda w, input: option("--controls", input.controls),
        random=lambda w, input: option("--random-weights", input.random),
    shell:
        "atlas ground --maps {input.maps} {params.controls} {params.random} --study data/{wildcards.study} "
        "--settings {params.settings} --output {output} --log {log}"


rule conditions:
    input:
        maps="results/analysis/{study}/{model}/step_maps.nc",
        controls=lambda w: atlas.part(w.study, w.model, "controls", "step_maps.nc"),
        study=["data/{study}/samples.csv", "data/{study}/objects.csv"],
        masks=lambda w: ancient(atlas.masks(w.study)),
        code=modules(analysis.STEPS["conditions"].modules),
    output:
        "results/analysis/{study}/{model}/condition_scores.parquet",
    log:
        "logs/conditions/{study}/{model}.log",
    benchmark:
        "logs/conditions/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["conditions"].settings),
        masks=lambda w: atlas.masks_digest(w.study),
        settings=atlas.settings_file,
        controls=lambda w, input: option("--controls", input.controls),
    shell:
        "atlas conditions --maps {input.maps} {params.controls} --study data/{wildcards.study} "
        "--settings {params.settings} --output {output} --log {log}"


rule condition_summary:
    input:
        scores="results/analysis/{study}/{model}/condition_scores.parquet",
        controls=lambda w: [
            path
            for name in ("samples", "answers")
            for path in atlas.part(w.study, w.model, "controls", f"{name}.parquet")
        ],
        samples="results/analysis/{study}/{model}/samples.parquet",
        tokens="results/analysis/{study}/{model}/tokens.parquet",
        answers="results/analysis/{study}/{model}/answers.parquet",
        focus="results/analysis/{study}/{model}/focus.parquet",
        mass="results/analysis/{study}/{model}/mass.parquet",
        manifest="results/attention/{study}/{model}/manifest.json",
        code=modules(analysis.STEPS["condition_summary"].modules),
    output:
        "results/analysis/{study}/{model}/conditions.parquet",
    log:
        "logs/condition_summary/{study}/{model}.log",
    benchmark:
        "logs/condition_summary/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["condition_summary"].settings),
        settings=atlas.settings_file,
        controls=lambda w, input: option("--controls", folders(input.controls)),
    shell:
        "atlas condition-summary --scores {input.scores} {params.controls} --samples {input.samples} "
        "--tokens {input.tokens} --answers {input.answers} --focus {input.focus} --mass {input.mass} "
        "--manifest {input.manifest} --settings {params.settings} --output {output} --log {log}"


rule heads:
    input:
        maps="results/analysis/{study}/{model}/step_maps.nc",
        study=["data/{study}/samples.csv", "data/{study}/objects.csv"],
        masks=lambda w: ancient(atlas.masks(w.study)),
        code=modules(analysis.STEPS["heads"].modules),
    output:
        heads="results/analysis/{study}/{model}/heads.json",
        table="results/analysis/{study}/{model}/heads.parquet",
        scores="results/analysis/{study}/{model}/head_auroc.parquet",
    log:
        "logs/heads/{study}/{model}.log",
    benchmark:
        "logs/heads/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["heads"].settings),
        masks=lambda w: atlas.masks_digest(w.study),
        settings=atlas.settings_file,
    shell:
        "atlas heads --maps {input.maps} --study data/{wildcards.study} --settings {params.settings} "
        "--heads {output.heads} --table {output.table} --scores {output.scores} --log {log}"


rule causal:
    input:
        interventions=lambda w: atlas.interventions(w.study, w.model),
        maps="results/analysis/{study}/{model}/step_maps.nc",
        controls=lambda w: atlas.part(w.study, w.model, "controls", "step_maps.nc"),
        samples="results/analysis/{study}/{model}/samples.parquet",
        answers="results/analysis/{study}/{model}/answers.parquet",
        code=modules(analysis.STEPS["causal"].modules),
    output:
        expand(
            "results/analysis/{{study}}/{{model}}/{table}.parquet",
            table=["causal_samples", *analysis.CAUSAL],
        ),
    log:
        "logs/causal/{study}/{model}.log",
    benchmark:
        "logs/causal/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["causal"].settings),
        settings=atlas.settings_file,
        generic=lambda w, input: option("--generic", input.controls),
        folder=subpath(output[0], parent=True),
    shell:
        "atlas causal --maps {input.maps} {params.generic} --samples {input.samples} --answers {input.answers} "
        "--settings {params.settings} --output {params.folder} --log {log} {input.interventions}"


rule compare:
    input:
        samples="results/analysis/{study}/{model}/samples.parquet",
        tokens="results/analysis/{study}/{model}/tokens.parquet",
        answers="results/analysis/{study}/{model}/answers.parquet",
        focus="results/analysis/{study}/{model}/focus.parquet",
        mass="results/analysis/{study}/{model}/mass.parquet",
        maps="results/analysis/{study}/{model}/step_maps.nc",
        grounding="results/analysis/{study}/{model}/grounding_scores.parquet",
        conditions="results/analysis/{study}/{model}/condition_scores.parquet",
        causal="results/analysis/{study}/{model}/causal_samples.parquet",
        manifest="results/attention/{study}/{model}/manifest.json",
        study=["data/{study}/samples.csv", "data/{study}/objects.csv"],
        masks=lambda w: ancient(atlas.masks(w.study)),
        code=modules(analysis.STEPS["compare"].modules),
    output:
        expand(
            "results/analysis/{{study}}/{{model}}/{table}.parquet",
            table=analysis.COMPARISONS,
        ),
    log:
        "logs/compare/{study}/{model}.log",
    benchmark:
        "logs/compare/{study}/{model}.tsv"
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(analysis.STEPS["compare"].settings),
        masks=lambda w: atlas.masks_digest(w.study),
        settings=atlas.settings_file,
        folder=subpath(output[0], parent=True),
    shell:
        "atlas compare --samples {input.samples} --tokens {input.tokens} --answers {input.answers} "
        "--focus {input.focus} --mass {input.mass} --maps {input.maps} --grounding {input.grounding} "
        "--conditions {input.conditions} --causal {input.causal} --manifest {input.manifest} "
        "--study data/{wildcards.study} --settings {params.settings} --output {params.folder} --log {log}"


rule analysis:
    input:
        atlas.of_each_run(
            "results/analysis/{study}/{model}/{name}.parquet",
            name=[
                "samples",
                "tokens",
                "answers",
                "focus",
                "mass",
                *analysis.SUMMARIES,
                "grounding_scores",
                "condition_scores",
                "conditions",
                "head_auroc",
                "causal_samples",
                *analysis.CAUSAL,
                *analysis.COMPARISONS,
            ],
        ),
        atlas.of_each_run("results/analysis/{study}/{model}/heads.json"),
        atlas.of_each_run("results/analysis/{study}/{model}/selected_maps.nc"),
