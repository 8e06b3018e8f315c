"""What reruns after which edit: the table of docs/reruns.md, row by row, planned by the real Snakemake.

A stand-in did the jobs, so that the plans are had in seconds; that real results are right then, test_dag shows.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from PIL import Image

from .conftest import ROOT
from .stand_in import stand_in_project

pytestmark = pytest.mark.xdist_group("stand_in")
SETTINGS = "config/config.yaml"
MAPS = {"extract", "extract_controls", "extract_random_weights"}
PARTS = {"manifest", "transcript", "answers", "step_maps"}
OF_STUDY = {"focus", "mass", "summaries", "heads"}
OF_MAPS = {"ground", "conditions", "condition_summary", "causal", "compare", "selected_maps"}
PAPER = {"table", "printed_table", "figure", "findings", "numbers", "contents"}
ALL_PAPER = {*PAPER, "overlay_figure", "summary"}
BEHIND_ANSWERS = {"answers", "step_maps", "summaries", "heads", *OF_MAPS, "intervene", *ALL_PAPER}
BEHIND_MAPS = {*PARTS, *OF_STUDY, *OF_MAPS, "intervene", *ALL_PAPER}
TESTED = {"compare", *PAPER}
BEHIND_CONTROLS = {"ground", "conditions", "condition_summary", "causal", "compare", "selected_maps", *PAPER} | {
    "overlay_figure"
}
LISTS = {"numbers", "contents"}


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """The small project, computed by the stand-in, with every causal check."""
    project = stand_in_project(tmp_path_factory.mktemp("stand_in") / "project")
    change(project, {"causal": {"checks": ["occlusion", "knockout", "deletion", "counterfactual"]}})
    project.compute()
    return project


@pytest.fixture
def edited(project):
    """The project to edit; every edited file is restored."""
    kept: dict[Any, bytes | None] = {}

    class Edited:
        folder = project.folder
        planned = staticmethod(project.planned)
        run = staticmethod(project.run)

        def keep(self, name):
            path = project.folder / name
            kept.setdefault(path, path.read_bytes() if path.exists() else None)
            return path

    yield Edited()
    for path, content in kept.items():
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)


def change(project, sections):
    """Replace settings, as in {"steps": {"selector": "first"}}."""
    path = project.folder / SETTINGS
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, value in sections.items():
        settings[name] = {**settings[name], **value} if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def setting(**sections) -> Callable[[Any], None]:
    """An edit of the settings."""

    def edit(project):
        project.keep(SETTINGS)
        change(project, sections)

    return edit


def replaced(name, pattern, new) -> Callable[[Any], None]:
    """An edit of a file: the first match of an expression."""

    def edit(project):
        path = project.keep(name)
        text, count = re.subn(pattern, new, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
        assert count == 1, f"{pattern!r} is not in {name}"
        path.write_text(text, encoding="utf-8")

    return edit


def appended(name, text) -> Callable[[Any], None]:
    """An edit of a file: a text more."""

    def edit(project):
        path = project.keep(name)
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    return edit


def repainted(project):
    path = project.keep("data/shapes/images/scene_000.png")
    Image.new("RGB", (384, 384), "red").save(path)


def touched(project):
    for path in project.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()


SAMPLES, OBJECTS = "data/shapes/samples.csv", "data/shapes/objects.csv"
MODELS, PACKAGE = "config/models.yaml", "workflow/attention_atlas"
UNUSED = {"smell": {"answers": {"sweet": [], "sour": []}}}
VOCABULARY = {"recognition": {"answers": {"yes": ["aye"], "no": []}, "without_target": "no"}}
# The first column of the table of docs/reruns.md -> edits of that kind, each with the rules that are planned.
ROWS: dict[str, list[tuple[Callable[[Any], None], set[str]]]] = {
    "an image": [(repainted, {"check_study", *MAPS, *BEHIND_MAPS})],
    "a row's query, query type, query id, condition or image; a row more or less": [
        (
            replaced(SAMPLES, "How many shapes are in the image", "How many shapes are there"),
            {"check_study", *MAPS, *BEHIND_MAPS},
        ),
        (
            appended(SAMPLES, "new-q9,scene_000.png,q9,recognition,Is there a dog?,,,,\n"),
            {"check_study", *MAPS, *BEHIND_MAPS},
        ),
    ],
    "an expected answer, a split": [
        (replaced(SAMPLES, r"^(scene_000-q3,.*),(yes|no),", r"\1,,"), {"check_study", *BEHIND_ANSWERS}),
        (replaced(SAMPLES, r"(select|evaluate)$", ""), {"check_study", *BEHIND_ANSWERS}),
    ],
    "a target, an object": [
        (
            replaced(OBJECTS, r"^(scene_000\.png,object_0,[^,]*,[^,]*,)[\d.]+", r"\g<1>0"),
            {
                "check_study",
                "extract_controls",
                *PARTS,
                *OF_STUDY - {"focus", "mass"},
                *OF_MAPS,
                "intervene",
                *ALL_PAPER,
            },
        ),
    ],
    "an answer vocabulary": [(setting(query_types=VOCABULARY), {"check_study", *BEHIND_ANSWERS})],
    "a query type, a paraphrase or a sample id in the settings that the study does not use": [
        (setting(query_types=UNUSED), set()),
        (setting(controls={"paraphrases": {"Who is there": "Who"}}), set()),
    ],
    "`pooling.heads`": [
        (
            setting(pooling={"heads": "mean"}),
            {"summaries", "intervene", *OF_MAPS, *ALL_PAPER},
        ),
    ],
    "`steps.selector`": [
        (setting(steps={"selector": "first"}), {"step_maps", "summaries", "heads", "intervene", *OF_MAPS, *ALL_PAPER})
    ],
    "`bands.entropy`, `bands.reference_cells`": [
        (setting(bands={"entropy": [1.0, 2.0]}), {"summaries", "selected_maps", *ALL_PAPER}),
        (setting(bands={"reference_cells": 100}), {"summaries", "selected_maps", "compare", *ALL_PAPER}),
    ],
    "`bands.layers`, `bands.reference_layers`": [
        (setting(bands={"layers": [10, 20]}), {"summaries", "selected_maps", "compare", *ALL_PAPER}),
        (setting(bands={"reference_layers": 40}), {"summaries", "selected_maps", "compare", *ALL_PAPER}),
    ],
    "`statistics`": [
        (
            setting(statistics={"seed": 5}),
            {"summaries", "condition_summary", "heads", "causal", "compare", "selected_maps", *ALL_PAPER},
        )
    ],
    "`controls`": [
        (setting(controls={"generic_query": "What is it?"}), {"extract_controls", *PARTS, *BEHIND_CONTROLS}),
        (setting(controls={"seed": 4}), {"extract_controls", "extract_random_weights", *PARTS, *BEHIND_CONTROLS}),
    ],
    "`causal`": [(setting(causal={"steps": 8}), {"intervene", "causal", *TESTED})],
    "`heads`": [(setting(heads={"count": 3}), {"heads", "table", "printed_table", "figure", "findings", *LISTS})],
    "`tests`": [(setting(tests={"alpha": 0.04}), {"causal", *TESTED})],
    "`contrasts`": [
        (setting(contrasts={"new": {"first": {"layers": "late"}}}), TESTED),
        (setting(contrasts={"q3_vs_q4": {"claim": "other words"}}), TESTED),
    ],
    "`figures.dpi`": [(setting(figures={"dpi": 90}), {"figure", "overlay_figure", "contents"})],
    "`figures.smoothing`": [(setting(figures={"smoothing": True}), {"overlay_figure", "contents"})],
    "`figures.gallery`, `figures.layers_page`": [
        (setting(figures={"gallery": ["scene_000-q0"]}), {"selected_maps", "overlay_figure", "contents"}),
        (setting(figures={"layers_page": "scene_000-q0"}), {"selected_maps", "overlay_figure", "contents"}),
    ],
    "`extraction`, `shards`, `capture.keep_bits`; the model's entry or files; the lockfile": [
        (setting(extraction={"system_prompt": "Be {brief}."}), {*MAPS, *BEHIND_MAPS}),
        (setting(capture={"keep_bits": 9}), {*MAPS, *BEHIND_MAPS}),
        (replaced(MODELS, r"path: data/models/shapes-tiny", r"path: ./data/models/shapes-tiny"), {*MAPS, *BEHIND_MAPS}),
        (appended("data/models/shapes-tiny/generation_config.json", "\n"), {*MAPS, *BEHIND_MAPS}),
        (appended("envs/requirements.lock", "# edited\n"), {*MAPS, *BEHIND_MAPS}),
    ],
    "`generation`": [(setting(generation={"max_new_tokens": 9}), {"extract", "extract_controls", *BEHIND_MAPS})],
    "`capture`, but for `keep_bits`": [
        (setting(capture={"value_weighted": False}), {"extract", *BEHIND_MAPS}),
        (setting(capture={"rows": "all", "full_samples": ["scene_000-q0"]}), {"extract", *BEHIND_MAPS}),
    ],
    "code of a figure": [(appended(f"{PACKAGE}/paper/layer_step.py", "# edited\n"), {"figure", "contents"})],
    "code behind the maps (the list is `EXTRACTION_MODULES`)": [
        (appended(f"{PACKAGE}/attention/capture.py", "# edited\n"), {*MAPS, *BEHIND_MAPS})
    ],
    "a profile; what a job asks of a scheduler": [
        (appended("profiles/default/profile.yaml", "default-resources: [mem_mb=1000]\n"), set())
    ],
    "a caption, the report's page, an installed font, `log_level`, the command line's code": [
        (appended("workflow/report/figure.rst", "\nEdited.\n"), set()),
        (setting(log_level="debug"), set()),
        (appended(f"{PACKAGE}/cli/analysis.py", "# edited\n"), set()),
    ],
    "time stamps alone (a checkout, a pull)": [(touched, set())],
}
EDITS = [
    pytest.param(edit, planned, id=f"{row} {number}")
    for row, edits in ROWS.items()
    for number, (edit, planned) in enumerate(edits, start=1)
]


@pytest.mark.parametrize(("edit", "planned"), EDITS)
def test_an_edit_reruns_what_the_docs_say(edited, edit, planned):
    edit(edited)
    assert set(edited.planned()) == planned


@pytest.mark.parametrize("sections", [{"capture": {"rows": "all", "full_samples": ["scene_000-q0"]}}, {}])
def test_a_sample_that_the_settings_name_reaches_its_own_shard_alone(edited, sections):
    """`causal.samples` first leaves every other shard without a sample, then names one more."""
    if sections:
        setting(**sections)(edited)
        assert edited.planned()["extract"] == 1
        return
    setting(causal={"samples": ["scene_000-q3", "scene_001-q3"]})(edited)
    several = edited.planned()["intervene"]
    setting(causal={"samples": ["scene_000-q3"]})(edited)
    assert (several, edited.planned()["intervene"]) == (2, 1)


def test_one_study_and_model_on_two_grids_are_two_runs(project, tmp_path):
    """The second run computes its own maps into folders of its own; of the first, nothing is made again."""
    both = project.copy_to(tmp_path / "both")
    runs = [{"study": "shapes", "model": "shapes-tiny"}, {"study": "shapes", "model": "shapes-tiny", "grid": "native"}]
    change(both, {"runs": runs})
    plan = both.run("snakemake", "-n")
    assert len(re.findall(r"^rule extract:$", plan, flags=re.MULTILINE)) == 2
    before = len(both.calls())
    both.compute()
    made = [call for call in both.calls()[before:] if "models" in call]
    assert {call["arguments"][call["arguments"].index("--model") + 1] for call in made} == {"shapes-tiny"}
    assert {str(call["models"]["models"]["shapes-tiny"]["grid"]) for call in made} == {"native"}
    for phase in ("attention", "analysis", "paper/tables", "paper/figures"):
        folders = {path.name for path in (both.folder / "results" / phase / "shapes").iterdir() if path.is_dir()}
        assert folders == {"shapes-tiny", "shapes-tiny-native"}
    assert both.planned() == {}


def test_settings_that_are_left_out_have_their_defaults(edited, tmp_path):
    """In every command, and in the captions of the report."""
    path = edited.keep(SETTINGS)
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("steps", "pooling", "bands", "heads", "extraction", "generation", "query_types", "contrasts"):
        del settings[name]
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert edited.planned() == {}
    assert "Report created" in edited.run("snakemake", "--report", str(tmp_path / "report.zip"))


def test_a_job_that_plans_anew_elsewhere_has_its_settings_too(project, tmp_path):
    """As a scheduler starts it: another process, which has nothing but the sources and the inputs."""
    remote = project.copy_to(tmp_path / "remote")
    for path in (remote.folder / "scratch/settings").iterdir():
        path.unlink()
    before = len(remote.calls())
    job = ("--target-jobs", "extract:study=shapes,model=shapes-tiny,shard=001", "--allowed-rules", "extract")
    remote.run("snakemake", "--mode", "remote", "--cores", "1", "--force", *job, "--nolock", "--ignore-incomplete")
    (call,) = remote.calls()[before:]
    (here,) = [own for own in project.calls() if own["arguments"] == call["arguments"]]
    assert call == here


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (setting(statistics={"seed": 5}), "before: 'statistics.seed = 0' now: 'statistics.seed = 5'"),
        (setting(query_types=VOCABULARY), "before: 'query_types.recognition = ("),
        (setting(contrasts={"new": {}}), "before: <nothing exclusive> now: 'contrasts.new = ("),
        (replaced(MODELS, "grid: .8, 8.", "grid: [9, 9]"), "before: 'model.grid = [8, 8]' now: 'model.grid = [9, 9]'"),
        (replaced(SAMPLES, "How many shapes are in", "How many are in"), "before: 'rows = "),
    ],
)
def test_a_reason_names_the_key_and_is_short(edited, edit, told):
    edit(edited)
    reasons = re.findall(r"reason: Params have changed.*", edited.run("snakemake", "-n"))
    assert any(told in reason for reason in reasons), reasons
    assert max(map(len, reasons)) < 400


def test_the_docs_have_these_rows():
    lines = (ROOT / "docs/reruns.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| ")][2:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table] == list(ROWS)
