"""The first look: a folder that the workflow can be computed in, and nothing outside of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from attention_atlas.cli import app
from attention_atlas.config import load_models, load_settings
from attention_atlas.inputs.study import read_study
from typer.testing import CliRunner

from ..workflow.conftest import ROOT


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The folder, written from the project's root as `make demo` does."""
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, ["study", "first-look", str(tmp_path / "demo")], catch_exceptions=False)
    assert done.exit_code == 0
    return tmp_path / "demo"


def test_it_has_sixteen_scenes_eight_a_split_and_the_demos_questions(written):
    settings = load_settings(written / "config/config.yaml")
    study = read_study(written / "data/shapes", settings.model_dump(mode="json")["query_types"])
    assert study.samples["image"].nunique() == 16
    assert study.samples.drop_duplicates("image")["split"].value_counts().to_dict() == {"select": 8, "evaluate": 8}
    demo = read_study(ROOT / "data/shapes", settings.model_dump(mode="json")["query_types"])
    assert set(study.samples["query_id"]) == set(demo.samples["query_id"])


def test_its_model_is_the_projects(written):
    path = load_models(written / "config/models.yaml")["shapes-tiny"].path
    assert (written / path).resolve() == ROOT / "data/models/shapes-tiny"


def test_what_takes_long_is_not_planned_and_every_figure_is(written):
    command = [Path(sys.executable).with_name("snakemake"), "-n", "--directory", written]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    planned = set(re.findall(r"^(?:local)?rule (\w+):$", done.stdout + done.stderr, flags=re.MULTILINE))
    assert {"extract", "figure", "overlay_figure", "findings", "heads", "ground"} <= planned
    assert "intervene" not in planned
    settings = load_settings(written / "config/config.yaml")
    assert (settings.contrasts, settings.causal.checks, settings.tests.simulations) == ({}, (), 100)


def test_what_to_look_at_lies_in_the_folder_itself(written):
    for name in ("findings.md", "figures", "tables"):
        assert (written / name).is_symlink()
        assert str((written / name).readlink()).startswith("results/paper/")


def test_it_can_be_written_again_and_keeps_what_was_computed(written):
    (written / "results").mkdir()
    (written / "results/kept").write_text("x")
    assert CliRunner().invoke(app, ["study", "first-look", str(written)]).exit_code == 0
    assert (written / "results/kept").exists()


def test_a_folder_with_other_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "thesis.tex").write_text("mine")
    done = CliRunner().invoke(app, ["study", "first-look", str(tmp_path)])
    assert done.exit_code == 1
    assert "holds other files; name a folder that is not there" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_git_and_dvc_do_not_see_it():
    ignored = subprocess.run(["git", "check-ignore", "-q", "demo/findings.md"], cwd=ROOT, check=False)
    assert ignored.returncode == 0
