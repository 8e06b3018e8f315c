# Phase paper: analysis -> results/paper/{tables,figures}/<study>/<model>/, numbers.tex, results/summary.json.


rule table:
    input:
        summary="results/analysis/{study}/{model}/{table}.parquet",
        code=modules(paper.TABLE_MODULES),
    output:
        csv=report(
            "results/paper/tables/{study}/{model}/{table}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={
                "study": "{study}",
                "model": "{model}",
                "table": "{table}",
                "format": "CSV",
            },
        ),
    log:
        "logs/table/{study}/{model}/{table}.log",
    wildcard_constraints:
        table="|".join(paper.DATA_TABLES),
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(paper.TABLE_SETTINGS),
        settings=atlas.settings_file,
    shell:
        "atlas table --name {wildcards.table} --input {input.summary} --settings {params.settings} "
        "--csv {output.csv} --log {log}"


rule printed_table:
    input:
        summary="results/analysis/{study}/{model}/{table}.parquet",
        code=modules(paper.TABLE_MODULES),
    output:
        csv=report(
            "results/paper/tables/{study}/{model}/{table}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={
                "study": "{study}",
                "model": "{model}",
                "table": "{table}",
                "format": "CSV",
            },
        ),
        markdown="results/paper/tables/{study}/{model}/{table}.md",
        latex="results/paper/tables/{study}/{model}/{table}.tex",
    log:
        "logs/table/{study}/{model}/{table}.log",
    wildcard_constraints:
        table="|".join(paper.PRINTED_TABLES),
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(paper.TABLE_SETTINGS),
        settings=atlas.settings_file,
    shell:
        "atlas table --name {wildcards.table} --input {input.summary} --settings {params.settings} "
        "--csv {output.csv} --markdown {output.markdown} --latex {output.latex} --log {log}"


rule findings:
    input:
        tables=expand(
            "results/paper/tables/{{study}}/{{model}}/{table}.csv",
            table=paper.FINDINGS_TABLES,
        ),
        code=modules(paper.FINDINGS_MODULES),
    output:
        "results/paper/tables/{study}/{model}/findings.md",
    log:
        "logs/findings/{study}/{model}.log",
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(paper.TABLE_SETTINGS),
        folder=subpath(output[0], parent=True),
        settings=atlas.settings_file,
    shell:
        "atlas findings --tables {params.folder} --settings {params.settings} --output {output} --log {log}"


rule numbers:
    input:
        tables=atlas.of_each_run(
            "results/paper/tables/{study}/{model}/{table}.csv",
            table=paper.NUMBERS_TABLES,
        ),
        code=modules(paper.NUMBERS_MODULES),
    output:
        "results/paper/tables/numbers.tex",
    log:
        "logs/numbers.log",
    conda:
        "../../envs/atlas.yaml"
    shell:
        "atlas numbers --output {output} --log {log} {input.tables}"


rule summary:
    input:
        tables=atlas.of_each_run("results/paper/tables/{study}/{model}/table1.csv"),
        code=modules(paper.SUMMARY_MODULES),
    output:
        summary="results/summary.json",
        metrics="results/metrics.json",
    log:
        "logs/summary.log",
    conda:
        "../../envs/atlas.yaml"
    shell:
        "atlas summary --output {output.summary} --metrics {output.metrics} --log {log} {input.tables}"


rule figure:
    input:
        tables=lambda w: [
            f"results/paper/tables/{w.study}/{w.model}/{name}.csv"
            for name in paper.figure_tables(w.figure)
        ],
        code=lambda w: modules(paper.figure_modules(w.figure)),
    output:
        pdf="results/paper/figures/{study}/{model}/{figure}.pdf",
        png=report(
            "results/paper/figures/{study}/{model}/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"study": "{study}", "model": "{model}", "figure": "{figure}"},
        ),
    log:
        "logs/figure/{study}/{model}/{figure}.log",
    wildcard_constraints:
        figure="|".join(paper.TABLE_FIGURES),
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(
            paper.FIGURE_SETTINGS, of=lambda w: paper.figure_settings(w.figure)
        ),
        settings=atlas.settings_file,
        folder=lambda w: f"results/paper/tables/{w.study}/{w.model}",
    shell:
        "atlas figure {wildcards.figure} --tables {params.folder} --settings {params.settings} "
        "--pdf {output.pdf} --png {output.png} --log {log}"


rule overlay_figure:
    input:
        maps="results/analysis/{study}/{model}/selected_maps.nc",
        objects="data/{study}/objects.csv",
        images=lambda w: ancient(atlas.images(w.study)),
        code=lambda w: modules(paper.figure_modules(w.figure)),
    output:
        pdf="results/paper/figures/{study}/{model}/{figure}.pdf",
        png=report(
            "results/paper/figures/{study}/{model}/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"study": "{study}", "model": "{model}", "figure": "{figure}"},
        ),
    log:
        "logs/figure/{study}/{model}/{figure}.log",
    wildcard_constraints:
        figure="|".join(paper.MAP_FIGURES),
    conda:
        "../../envs/atlas.yaml"
    params:
        **atlas.read(
            paper.FIGURE_SETTINGS, of=lambda w: paper.figure_settings(w.figure)
        ),
        images=lambda w: atlas.images_digest(w.study),
        settings=atlas.settings_file,
    shell:
        "atlas figure {wildcards.figure} --maps {input.maps} --study data/{wildcards.study} "
        "--settings {params.settings} --pdf {output.pdf} --png {output.png} --log {log}"


rule contents:
    input:
        files=lambda w: atlas.paper_set(w.study, w.model),
        strangers=lambda w: atlas.strangers(w.study, w.model),  # a file that no rule makes runs this, and fails it
        code=modules(paper.CONTENTS_MODULES),
    output:
        "results/paper/tables/{study}/{model}/contents.json",
    log:
        "logs/contents/{study}/{model}.log",
    conda:
        "../../envs/atlas.yaml"
    params:
        figures="results/paper/figures/{study}/{model}",
        tables=subpath(output[0], parent=True),
    shell:
        "atlas contents --tables {params.tables} --figures {params.figures} --output {output} --log {log}"


rule tables:
    input:
        atlas.of_each_run(
            "results/paper/tables/{study}/{model}/{file}", file=paper.TABLE_FILES
        ),
        atlas.of_each_run("results/paper/tables/{study}/{model}/findings.md"),
        "results/paper/tables/numbers.tex",
        "results/summary.json",
        "results/metrics.json",


rule figures:
    input:
        atlas.of_each_run(
            "results/paper/figures/{study}/{model}/{figure}.{kind}",
            figure=paper.FIGURES,
            kind=("pdf", "png"),
        ),


rule report:
    input:  # what `snakemake --report` shows; `make report` makes both
        rules.tables.input,
        rules.figures.input,
