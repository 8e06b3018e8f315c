"""The smallest studies that users begin with go through every rule: what is left out is said, nothing fails.

One dry run plans the jobs of all of them; their commands, as Snakemake prints them, run one after the other in a single
process. A job of its own would spend seconds on imports, and there are some 70 a study.
"""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from attention_atlas.inputs.study import OBJECT_COLUMNS, SAMPLE_COLUMNS
from PIL import Image, ImageDraw

from .conftest import ROOT, Clone

pytestmark = pytest.mark.xdist_group("minimal")  # computed once, not by each worker

SIDE = 256
CIRCLE = (60, 60, 150, 150)
QUESTIONS = {
    "counting": ("q0", "How many shapes are in the image?"),
    "recognition": ("q3", "Is there a red circle in the image?"),
    "attribute": ("q2", "What colour is the circle?"),
    "mute": ("m", "How many shapes are in the image?"),  # a type of query none of whose answers is ever given
}
SPLITS = ("select", "evaluate")
# Runs commands like a shell, and notes every text of each figure beside it; prints [exit code, what it said] of each.
DRIVER = """
import contextlib, io, json, sys, traceback
from matplotlib.text import Text
from attention_atlas.cli import app
from attention_atlas.paper import style

save = style.save

def saving(figure, pdf, png, dpi):
    save(figure, pdf, png, dpi)
    texts = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
    png.with_name(f".{png.stem}.texts").write_text(json.dumps(texts))

style.save = saving
ended = []
for command in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            app(command[1:])
        except SystemExit as end:
            code = end.code
        except BaseException:
            code = 2
            traceback.print_exc(file=said)
    ended.append([code, said.getvalue()])
json.dump(ended, sys.stdout)
"""


def asked(image, kind="counting", **cells):
    """A row of samples.csv."""
    query_id, query = QUESTIONS[kind]
    row = {"sample_id": f"{image.split('.')[0]}-{query_id}", "image": image, "query_id": query_id, "query_type": kind}
    return {**dict.fromkeys(SAMPLE_COLUMNS, ""), **row, "query": query, **cells}


def target(image, box=CIRCLE):
    """A row of objects.csv."""
    return dict(zip(OBJECT_COLUMNS, (image, "o1", "circle", "red", *box), strict=True))


def images(count):
    return [f"i{number}.png" for number in range(count)]


# The rows of samples and objects of each study, the widths of its images where they differ, its grid where it is not
# the model's own, and what its findings must say.
STUDIES = {
    "row_alone": {
        "samples": [asked("a.png", "recognition")],
        "say": ["No map was scored: no sample has both a target and a map", "accuracy not known"],
    },
    "row_with_object": {
        "samples": [asked("a.png", expected_answer="1", target_object="o1")],
        "objects": [target("a.png")],
        "say": [
            "1 image(s) in an arm; a test needs 6",
            "no sample has a map under condition control_twin, which needs",
        ],
    },
    "without_boxes": {
        "samples": [asked("a.png", "recognition"), asked("a.png"), asked("b.png", expected_answer="1")],
        "say": ["No type of query is judged: no sample names its target."],
    },
    "all_right": {
        "samples": [
            asked(name, "attribute", expected_answer="red", target_object="o1", split=SPLITS[number % 2])
            for number, name in enumerate(images(7))
        ],
        "objects": [target(name) for name in images(7)],
        "say": ["accuracy 1.00 [0.65, 1.00], n = 7", "4 image(s) with a target in the split select; choosing needs 6"],
    },
    "all_wrong": {
        "samples": [asked(name, expected_answer="20", target_object="o1") for name in images(2)],
        "objects": [target(name) for name in images(2)],
        "say": ["accuracy 0.00 (no interval), n = 2"],
    },
    "unanswered": {
        "samples": [
            asked(name, "mute", expected_answer="zzz", target_object="o1", split=SPLITS[number])
            for number, name in enumerate(images(2))
        ],
        "objects": [target(name) for name in images(2)],
        "say": [
            "entropy (nats) undefined, since no sample has a map that can be described, n = 0 of 2 samples (left out: "
            "2 without an answer)"
        ],
    },
    "two_grids": {
        "samples": [asked(name, target_object="o1") for name in images(2)],
        "objects": [target(name) for name in images(2)],
        "widths": {"i1.png": SIDE + 64},
        "grid": "native",
        "say": ["normalised entropy"],
    },
    "one_object": {  # in one image of three, all over it; a row under a condition of the user's own, alone in its shard
        "samples": [
            asked("i0.png", expected_answer="1", target_object="o1", split="select"),
            asked("i1.png", split="select"),
            asked("i4.png", condition="mine"),
        ],
        "objects": [target("i0.png", (0, 0, SIDE, SIDE))],
        "say": ["the median target covers 100% of the grid"],
    },
    "pairs": {
        "samples": [asked("a.png|b.png", "recognition", expected_answer="yes", target_object="o1")],
        "objects": [target("a.png")],
        "say": ["**q3.image_2**"],
    },
}
BARE = {"row_alone": STUDIES["row_alone"], "row_with_object": STUDIES["row_with_object"]}
NOTHING_ELSE = {"controls": {"conditions": []}, "causal": {"checks": []}, "contrasts": {}}


def write_table(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_study(folder, samples, objects=(), widths=(), **_):
    """The tables of a study, and its images: a red circle each, further down from one to the next."""
    (folder / "images").mkdir(parents=True)
    write_table(folder / "samples.csv", SAMPLE_COLUMNS, samples)
    write_table(folder / "objects.csv", OBJECT_COLUMNS, objects)
    for number, name in enumerate(dict.fromkeys(name for row in samples for name in row["image"].split("|"))):
        picture = Image.new("RGB", (dict(widths).get(name, SIDE), SIDE), "white")
        x_min, y_min, x_max, y_max = CIRCLE
        ImageDraw.Draw(picture).ellipse((x_min, y_min + 5 * number, x_max, y_max + 5 * number), fill="red")
        picture.save(folder / "images" / name)


def write_project(folder, studies, **sections):
    """The project with these studies in the place of the demo's, as its runs; what costs time is small."""
    for name in ("Snakefile", "config", "data/models", "envs", "profiles", "workflow"):
        source = ROOT / name
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    path = folder / "config/config.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings["runs"], settings["shards"] = [], 2
    for name, study in studies.items():
        write_study(folder / "data" / name, **study)
        grid = {"grid": study["grid"]} if "grid" in study else {}
        settings["runs"].append({"study": name, "model": "shapes-tiny", **grid})
    settings["query_types"]["mute"] = {"answers": {"zzz": []}}
    small = {
        "statistics": {"resamples": 99},
        "figures": {"dpi": 72},
        "tests": {"simulations": 100, "permutations": 999},
        "causal": {"regions": [2, 2], "steps": 2, "random_regions": 1},
        "generation": {"max_new_tokens": 8},
        "controls": {"other_images": 1},
    }
    for section, values in [*small.items(), *sections.items()]:
        settings[section] = {**settings[section], **values} if values else {}
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return Clone(folder)


class Computed:
    """What came out of a project whose planned commands were run: jobs by study, and its folder."""

    def __init__(self, clone):
        self.folder = clone.folder
        plan = clone.run("snakemake", "-n", "-p", "--cores", "1")
        self.commands = [shlex.split(line) for line in re.findall(r"^Shell command: (atlas .*)$", plan, re.MULTILINE)]
        planned = re.findall(r"^    output: (.*)$", plan, re.MULTILINE)
        self.outputs = [path for line in planned for path in line.split(", ")]
        own = {**os.environ, "PYTHONPATH": str(clone.folder / "workflow"), "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", DRIVER],
            **{"cwd": clone.folder, "input": json.dumps(self.commands), "capture_output": True, "text": True},
            env=own,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        self.ended = json.loads(ran.stdout)

    def failed(self):
        """The first commands that did not end well, with what they said: later ones fail of these."""
        pairs = zip(self.commands, self.ended, strict=True)
        return [f"{shlex.join(command)[:200]}: {said[-2000:]}" for command, (code, said) in pairs if code][:2]

    def texts(self, study):
        """The texts of a run that readers see, by file: tables, findings, and what is written in figures."""
        found = {}
        for path in sorted((self.folder / "results/paper").rglob("*")):
            if study in path.parts and path.suffix in (".csv", ".md", ".tex", ".texts"):
                found[path.name] = path.read_text(encoding="utf-8")
        return found


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    return Computed(write_project(tmp_path_factory.mktemp("minimal"), STUDIES))


def test_every_planned_command_ends_well_and_makes_its_output(computed):
    assert not computed.failed()
    assert len(computed.commands) > 50 * len(STUDIES)
    assert [path for path in computed.outputs if not (computed.folder / path).is_file()] == []


@pytest.mark.parametrize("study", STUDIES)
def test_no_text_that_readers_see_is_a_missing_value(computed, study):
    texts = computed.texts(study)
    assert {"findings.md", "table1.tex", "power.csv", ".gallery.texts"} <= set(texts)
    missing = re.compile(r"(?<![A-Za-z])(?:nan|NaN|None|NaT|inf|<NA>)(?![A-Za-z])")
    assert {name: missing.search(text).group() for name, text in texts.items() if missing.search(text)} == {}


@pytest.mark.parametrize("study", STUDIES)
def test_every_figure_says_something(computed, study):
    """Values, or in words why there are none."""
    texts = {name: text for name, text in computed.texts(study).items() if name.endswith(".texts")}
    assert len(texts) == len(list((computed.folder / "results/paper/figures" / study).rglob("*.pdf")))
    assert [name for name, text in texts.items() if not any(map(str.strip, json.loads(text)))] == []


@pytest.mark.parametrize("study", STUDIES)
def test_findings_say_what_is_left_out_and_why(computed, study):
    findings = computed.texts(study)["findings.md"]
    for told in STUDIES[study]["say"]:
        assert told in findings


def test_a_study_without_controls_checks_and_contrasts_is_computed_too(tmp_path):
    computed = Computed(write_project(tmp_path, BARE, **NOTHING_ELSE))
    assert not computed.failed()
    assert [path for path in computed.outputs if not (tmp_path / path).is_file()] == []
    assert not (tmp_path / "results/attention/row_alone/shapes-tiny/controls").exists()
    findings = computed.texts("row_with_object")["findings.md"]
    for told in (
        "No declared contrast is about a claim",
        "No answer under a control condition can be compared: no such condition was made",
        "Nothing was validated",
    ):
        assert told in findings
