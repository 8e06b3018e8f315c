"""What reruns and what does not, on the real DAG: Snakemake and DVC together, in temporary clones."""

import csv
import json
import re
import zipfile

import pytest
import yaml

from .conftest import ANALYSIS, MODEL, PAPER, PARTS, ROOT, UP_TO_DATE, Clone, small_study

pytestmark = pytest.mark.xdist_group("dag")
# What follows new maps; a new query or picture is a change of the study, which is checked anew.
BEHIND_MAPS = {**PARTS, **ANALYSIS, **PAPER}
# Of one shard: its own samples, their control conditions, random weights.
ONE_SHARD = dict.fromkeys(MODEL, 1)


def read(path):
    with path.open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def test_dvc_repro_computes_everything(origin):
    jobs = yaml.safe_load((origin.folder.parent / "origin.jobs").read_text())
    assert jobs == {"check_study": 1, **MODEL, **BEHIND_MAPS}
    assert origin.status() == UP_TO_DATE


def test_the_numbers_of_the_small_study_are_the_golden_ones(origin):
    """Computed once, looked at, and kept: a change of any number between image and table shows here."""
    golden = read(ROOT / "tests" / "workflow" / "golden_table1.csv")
    found = read(origin.folder / "results/paper/tables/shapes/shapes-tiny/table1.csv")
    assert [row["query_id"] for row in found] == ["q0", "q3"]
    for row, expected in zip(found, golden, strict=True):
        for name, value in expected.items():
            if name.startswith(("entropy_m", "profile_min")):  # nats; methods: 1e-3 on another machine, and rounding
                assert float(row[name]) == pytest.approx(float(value), abs=2e-3), (row["query_id"], name)
            else:
                assert row[name] == value, (row["query_id"], name)


def test_after_clone_and_pull_there_is_nothing_to_be_done(pulled):
    assert pulled.planned() == {}
    assert pulled.status() == UP_TO_DATE
    for path in pulled.folder.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            path.touch()
    assert pulled.planned() == {}, "time stamps alone must rerun nothing"


def test_one_more_query_runs_its_shard_alone(pulled):
    samples = pulled.folder / "data/shapes/samples.csv"
    before = len(read(samples))
    pulled.append(
        "data/shapes/samples.csv",
        "scene_000-q9,scene_000.png,q9,counting,How many red shapes are in the image?,,,object_0,\n",
    )
    assert pulled.repro() == {"check_study": 1, **ONE_SHARD, **BEHIND_MAPS}
    summary = json.loads((pulled.folder / "results/summary.json").read_text())
    assert summary["shapes"]["shapes-tiny"]["samples"] == before + 1
    assert pulled.status() == UP_TO_DATE


def test_another_pooling_redraws_tables_and_figures_without_maps_or_focus(fresh):
    before = (fresh.folder / "results/paper/tables/shapes/shapes-tiny/table1.csv").read_text()
    fresh.edit("config/config.yaml", "heads: max", "heads: mean")
    fresh.run("dvc", "pull", "-q")  # the edit came first: the pull must not hide it
    jobs = fresh.repro()
    # The table of heads has both poolings; perturbations take cells in the order of the map for `deletion` alone.
    kept = {"focus", "mass", "heads", "intervene"}
    behind = {name: count for name, count in ANALYSIS.items() if name not in kept}
    assert jobs == {**behind, **PAPER, "table": 10, "printed_table": 11, "figure": 11}
    assert (fresh.folder / "results/paper/tables/shapes/shapes-tiny/table1.csv").read_text() != before
    assert fresh.status() == UP_TO_DATE
    assert "entropy_mean" in fresh.run("dvc", "metrics", "diff")


def test_a_moved_object_is_drawn_again_and_runs_its_shard_alone(pulled):
    first = read(pulled.folder / "data/shapes/objects.csv")[0]
    other = "green" if first["colour"] != "green" else "blue"
    line = f"{first['image']},{first['object_id']},{first['label']},{first['colour']}"
    pulled.edit("data/shapes/objects.csv", line, line.replace(first["colour"], other))
    assert pulled.jobs("dvc", "repro", "--downstream", "--single-item", "inputs") == {}
    planned = pulled.planned()
    assert planned.pop("extract_controls") in (1, 2)  # the image is shown to the questions of another one too
    assert planned == {"check_study": 1, "extract": 1, "extract_random_weights": 1, **BEHIND_MAPS}


def test_code_of_the_maps_reruns_all_maps(pulled):
    pulled.append("workflow/attention_atlas/attention/capture.py", "# edited\n")
    assert pulled.planned() == {**MODEL, **BEHIND_MAPS}


def test_a_figures_code_redraws_that_figure_alone(pulled):
    pulled.append("workflow/attention_atlas/paper/layer_step.py", "# edited\n")
    assert pulled.planned() == {"figure": 1, "contents": 1}  # and the list of what lies there


@pytest.mark.parametrize("edit", ["expected answer", "vocabulary"])
def test_answers_rerun_analysis_and_paper_but_no_model(pulled, edit):
    if edit == "expected answer":
        row = read(pulled.folder / "data/shapes/samples.csv")[0]
        line = f"{row['query']},{row['expected_answer']}"
        pulled.edit(
            "data/shapes/samples.csv",
            f"{row['sample_id']},{row['image']},{row['query_id']},{row['query_type']},{line}",
            f"{row['sample_id']},{row['image']},{row['query_id']},{row['query_type']},{row['query']},0",
        )
    else:
        pulled.edit("config/config.yaml", "- yeah", "- yeah\n      - aye")
    planned = pulled.planned()
    assert {*MODEL, "focus", "mass", "transcript"}.isdisjoint(planned)
    assert {"answers", "summaries", "printed_table"} <= set(planned)


def test_a_caption_or_the_log_level_reruns_nothing(pulled):
    pulled.append("workflow/report/figure.rst", "\nEdited.\n")
    pulled.edit("config/config.yaml", "log_level: info", "log_level: debug")
    assert pulled.planned() == {}


def test_without_a_remote_everything_is_computed_to_the_same_bytes(fresh, origin):
    """Although git brought the tables: they must not make missing maps look done.

    By the commands as installed, each in a process of its own: what the other tests' forks make has the same bytes.
    """
    fresh = Clone(fresh.folder)
    assert fresh.jobs("snakemake", "--cores", "2") == {"check_study": 1, **MODEL, **BEHIND_MAPS}
    assert fresh.run("git", "status", "--short", "results") == ""
    assert fresh.bytes_made() == origin.bytes_made()
    assert fresh.repro() == {}
    assert fresh.status() == UP_TO_DATE


def test_an_own_study_and_a_second_model_run_their_own_jobs_alone(pulled, tmp_path):
    own = pulled.folder / "data" / "mine"
    small_study(own)
    photographs = {path.name: path.read_bytes() for path in (own / "images").iterdir()}
    pulled.run("dvc", "add", "-q", "data/mine/images", "data/mine/masks")
    pulled.append("config/models.yaml", "  other:\n    path: data/models/other\n    dtype: float32\n    grid: [8, 8]\n")
    pulled.run("cp", "-r", "data/models/shapes-tiny", "data/models/other")
    pulled.edit(
        "config/config.yaml", "runs:\n", "runs:\n- {study: mine, model: shapes-tiny}\n- {study: shapes, model: other}\n"
    )
    of_two_runs = {name: 2 * count for name, count in BEHIND_MAPS.items() if name not in ("numbers", "summary")}
    of_models = {name: 2 * count for name, count in MODEL.items()}
    assert pulled.repro() == {"check_study": 1, **of_models, **of_two_runs, "numbers": 1, "summary": 1}
    assert {path.name: path.read_bytes() for path in (own / "images").iterdir()} == photographs
    assert pulled.status() == UP_TO_DATE
    pulled.commit("more runs")
    pulled.run("dvc", "push", "-q")
    third = Clone(tmp_path / "third", pulled.commands)
    pulled.run("git", "clone", "-q", ".", str(third.folder))
    remote = pulled.run("dvc", "remote", "list").split()[1]
    third.run("dvc", "remote", "add", "-q", "-f", "-d", "folder", remote)
    third.run("dvc", "pull", "-q")
    assert third.planned() == {}


def test_one_run_of_the_command_line_replaces_the_list(pulled):
    planned = pulled.jobs("snakemake", "-n", "--config", "study=shapes", "model=shapes-tiny")
    assert planned == {}
    told = pulled.run("snakemake", "-n", "--config", "study=shapes", fails=True)
    assert "--config needs both study=... and model=..., or neither" in told


def test_planning_does_not_import_torch(pulled, tmp_path):
    for name in ("torch", "transformers"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('planning must not need it')\n")
    blocked = f"{tmp_path}:{pulled.folder / 'workflow'}"
    assert "nothing to be done" in Clone(pulled.folder).run("snakemake", "-n", PYTHONPATH=blocked).lower()


def test_a_file_that_no_rule_makes_is_refused_with_the_command_that_removes_it(pulled):
    stranger = pulled.folder / "results/attention/shapes/shapes-tiny/copy of 000.nc"
    stranger.write_bytes(b"x")
    (pulled.folder / "results/attention/shapes/shapes-tiny/manifest.json").unlink()
    told = pulled.run("snakemake", "--cores", "1", "attention", fails=True)
    assert "rm 'results/attention/shapes/shapes-tiny/copy of 000.nc'" in told


def test_a_file_among_the_figures_that_no_rule_makes_fails_its_rule(pulled):
    (pulled.folder / "results/paper/figures/shapes/shapes-tiny/layer_profile_final.png").write_bytes(b"x")
    assert pulled.planned() == {"contents": 1}
    told = pulled.run("snakemake", "--cores", "1", fails=True)
    assert "rm results/paper/figures/shapes/shapes-tiny/layer_profile_final.png" in told


def test_without_control_conditions_and_causal_checks_no_model_is_asked_for_them(pulled):
    path = pulled.folder / "config/config.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings["controls"]["conditions"], settings["causal"]["checks"] = [], []
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    planned = pulled.planned()
    assert {*MODEL, "intervene", "focus", "transcript"}.isdisjoint(planned)
    assert {"ground", "conditions", "causal", "compare", "findings"} <= set(planned)


def test_a_mistake_in_the_tables_is_told_before_any_job_and_loses_nothing(pulled):
    before = pulled.bytes_made()
    row = read(pulled.folder / "data/shapes/samples.csv")[0]
    pulled.append(
        "data/shapes/samples.csv",
        f"{row['sample_id']},{row['image']},q0,countng,How many <|image_pad|>?,,,,\n",
    )
    told = pulled.run("snakemake", "--cores", "2", fails=True)
    for part in ("line 18", "occurs already in line 2", "'countng'", "Did you mean 'counting'?", "<|image_pad|>"):
        assert part in told
    assert pulled.bytes_made() == before


def test_an_image_that_cannot_be_decoded_is_told_before_a_model_is_loaded(pulled):
    (pulled.folder / "data/shapes/images/scene_003.png").write_bytes(b"no picture")
    told = pulled.run("snakemake", "--cores", "2", "--keep-going", fails=True)
    assert "samples.csv, line 8: image 'scene_003.png'" in told
    assert "samples/s" not in told


def test_a_missing_image_is_told_by_its_row(pulled):
    (pulled.folder / "data/shapes/images/scene_003.png").unlink()
    told = pulled.run("snakemake", "-n", fails=True)
    assert "data/shapes/samples.csv: 1 image(s) missing" in told
    assert "line 8: data/shapes/images/scene_003.png is not there" in told


def test_a_mistyped_setting_is_told_with_the_nearest_name(pulled):
    pulled.edit("config/config.yaml", "resamples:", "resample:")
    assert "statistics.resample: unknown setting. Did you mean 'resamples'?" in pulled.run(
        "snakemake", "-n", fails=True
    )


def test_metrics_plots_and_the_report_show_the_run(pulled, tmp_path):
    assert "shapes-tiny" in pulled.run("dvc", "metrics", "show")
    pulled.run("dvc", "plots", "show", "-o", str(tmp_path / "plots"))
    shown = (tmp_path / "plots" / "index.html").read_text()
    assert all(name in shown for name in ("entropy_by_layer", "entropy_by_step", "vision_mass_by_layer"))
    (tmp_path / "template.html").write_text(pulled.run("python", "workflow/report/plots.py"))
    pulled.run("dvc", "plots", "show", "--html-template", str(tmp_path / "template.html"))
    offline = (pulled.folder / "dvc_plots" / "index.html").read_text()
    assert "vision_mass_by_layer" in offline
    assert not re.search(r"<(script|link)[^>]*(src|href)=", offline)
    assert "dvc_plots" not in pulled.run("git", "status", "--short")
    pulled.run("snakemake", "--report", str(tmp_path / "report.zip"))
    names = zipfile.ZipFile(tmp_path / "report.zip").namelist()
    opened = zipfile.ZipFile(tmp_path / "report.zip").read("report/report.html").decode()
    # Without metadata Snakemake's page opens on the graph of rules.
    assert '"Read first"' in opened
    assert "Findings: study shapes asked of model shapes-tiny" in opened
    assert sum(name.endswith(".png") for name in names) == PAPER["figure"] + PAPER["overlay_figure"]
