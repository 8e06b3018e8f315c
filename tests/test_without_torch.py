"""Analysis and paper, and reading a dataset, run where torch and transformers cannot be imported."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from attention_atlas.analysis.catalogue import CAUSAL, COMPARISONS, HEAD_TABLES, SUMMARIES
from attention_atlas.paper import catalogue

from tests.synthetic import Planted, draw_images, interventions_of, settings_file, settings_of, write_run, write_study

ABSENT = ("torch", "torchvision", "transformers", "safetensors", "tokenizers")
TOKENS = ["There", " are", " 3", "<|im_end|>"]
# The commands one after the other in one interpreter; the exit code of each, as a shell would see it.
DRIVER = """
import json, sys
from attention_atlas.cli import app

codes = []
for command in json.load(sys.stdin):
    try:
        app(command)
    except SystemExit as ended:
        codes.append(ended.code)
json.dump(codes, sys.stdout)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Run code by an interpreter without torch, its input and folder given; returns what it printed."""
    stubs = tmp_path_factory.mktemp("stubs")
    for name in ABSENT:
        (stubs / f"{name}.py").write_text(f"raise ImportError('{name} is not installed')\n")

    def run(code, folder, text=""):
        paths = os.pathsep.join(filter(None, [str(stubs), os.environ.get("PYTHONPATH", "")]))
        ran = subprocess.run(
            [sys.executable, "-c", code],
            **{"cwd": folder, "input": text, "capture_output": True, "text": True},
            env={**os.environ, "PYTHONPATH": paths},
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a planted run of six images and its study, and nothing else."""
    root = tmp_path_factory.mktemp("project")
    samples = [
        Planted(f"s{k}", f"image_{k}.png", TOKENS, np.full((4, 3), 4 + k), target_object="object_0") for k in range(6)
    ]
    write_run(root, samples)
    draw_images(write_study(root, samples), samples)
    (root / "given").mkdir()
    drops = {sample.sample_id: {"twin": {0: -1.0 - k}} for k, sample in enumerate(samples)}
    interventions_of(drops, steps=4, step=2).to_parquet(root / "given/000.parquet")
    return root


def commands(root):
    """Every command of both phases for one run, by name: its arguments and the files it must write."""
    shards = sorted(str(path) for path in root.glob("results/attention/planted/tiny/*.nc"))
    manifest = "results/attention/planted/tiny/manifest.json"
    made, tables, figures = (f"results/{part}/planted/tiny" for part in ("analysis", "paper/tables", "paper/figures"))
    samples, tokens, answers, focus, mass, maps = (
        f"{made}/{name}"
        for name in (
            "samples.parquet",
            "tokens.parquet",
            "answers.parquet",
            "focus.parquet",
            "mass.parquet",
            "selected_maps.nc",
        )
    )
    given = ["--settings", settings_file(root, settings_of(figures={"dpi": 80}, tests={"simulations": 100}))]
    study = ["--study", "data/planted"]
    described = ["--samples", samples, "--tokens", tokens, "--answers", answers, "--focus", focus, "--mass", mass]
    yield ["transcript", "--samples", samples, "--tokens", tokens, *shards], [samples, tokens]
    yield ["answers", *study, "--samples", samples, "--tokens", tokens, *given, "--output", answers], [answers]
    yield ["focus", "--output", focus, *shards], [focus]
    yield ["mass", "--output", mass, *shards], [mass]
    yield (
        ["summary-tables", *described, "--manifest", manifest, *given, "--output", made],
        [f"{made}/{name}.parquet" for name in SUMMARIES],
    )
    judged, maps_of_step = ["--samples", samples, "--answers", answers], f"{made}/step_maps.nc"
    scores = f"{made}/grounding_scores.parquet"
    yield ["step-maps", *judged, *given, "--output", maps_of_step, *shards], [maps_of_step]
    yield ["ground", "--maps", maps_of_step, *study, *given, "--output", scores], [scores]
    controls = f"{made}/condition_scores.parquet"
    yield ["conditions", "--maps", maps_of_step, *study, *given, "--output", controls], [controls]
    summed = f"{made}/conditions.parquet"
    yield (
        ["condition-summary", "--scores", controls, *described, "--manifest", manifest, *given, "--output", summed],
        [summed],
    )
    tested = ["--grounding", scores, "--conditions", controls, "--maps", maps_of_step, *study]
    yield (
        ["compare", *described, *tested, "--manifest", manifest, *given, "--output", made],
        [f"{made}/{name}.parquet" for name in COMPARISONS],
    )
    heads = [f"{made}/heads.json", *(f"{made}/{name}.parquet" for name in HEAD_TABLES)]
    written = [
        part for option, path in zip(("--heads", "--table", "--scores"), heads, strict=True) for part in (option, path)
    ]
    yield ["heads", "--maps", maps_of_step, *study, *given, *written], heads
    perturbed = ["--maps", maps_of_step, *judged, *given, "--output", made]
    yield (
        ["causal", *perturbed, "given/000.parquet"],
        [f"{made}/{name}.parquet" for name in (*CAUSAL, "causal_samples")],
    )
    chosen = ["--samples", samples, "--answers", answers, "--table1", f"{made}/table1.parquet", "--grounding", scores]
    yield ["selected-maps", *study, *chosen, *given, "--output", maps, *shards], [maps]
    options = {"csv": "--csv", "md": "--markdown", "tex": "--latex"}
    for name, formats in catalogue.TABLE_FORMATS.items():
        paths = {ending: f"{tables}/{name}.{ending}" for ending in formats}
        written = [part for ending, path in paths.items() for part in (options[ending], path)]
        yield ["table", "--name", name, "--input", f"{made}/{name}.parquet", *given, *written], list(paths.values())
    quoted = [f"{tables}/{name}.csv" for name in catalogue.NUMBERS_TABLES]
    yield ["findings", "--tables", tables, *given, "--output", f"{tables}/findings.md"], [f"{tables}/findings.md"]
    numbers, summary = "results/paper/tables/numbers.tex", "results/summary.json"
    yield ["numbers", "--output", numbers, *quoted], [numbers]
    yield ["summary", "--output", summary, quoted[0]], [summary]
    for name, sources in catalogue.FIGURES.items():
        drawn = ["--maps", maps, *study] if sources.maps else ["--tables", tables]
        pdf, png = f"{figures}/{name}.pdf", f"{figures}/{name}.png"
        yield ["figure", name, *given, *drawn, "--pdf", pdf, "--png", png], [pdf, png]


@pytest.fixture(scope="module")
def ran(python, project):
    """Every command run, as (command, files, exit code)."""
    every = list(commands(project))
    codes = json.loads(python(DRIVER, project, json.dumps([command for command, _ in every])))
    return [(*parts, code) for parts, code in zip(every, codes, strict=True)]


@pytest.mark.parametrize("name", ABSENT[:1] + ABSENT[2:3])
def test_the_interpreter_of_these_tests_really_lacks_it(name, python, project):
    code = f"try:\n    import {name}\nexcept ImportError as error:\n    print(error)"
    assert python(code, project).strip() == f"{name} is not installed"


def test_every_command_ends_well(ran):
    assert [(command[0], code) for command, _, code in ran] == [(command[0], 0) for command, _, _ in ran]
    assert {command[0] for command, _, _ in ran} == {
        *("transcript", "answers", "focus", "mass", "summary-tables", "selected-maps"),
        *(
            "step-maps",
            "ground",
            "heads",
            "conditions",
            "condition-summary",
            "causal",
            "compare",
            "table",
            "findings",
            "numbers",
            "summary",
            "figure",
        ),
    }


def test_every_command_writes_its_files(ran, project):
    for command, files, _ in ran:
        missing = [name for name in files if not (project / name).is_file() or not (project / name).stat().st_size]
        assert not missing, command[:2]


def test_nothing_else_is_written_and_nothing_half_written_stays(ran, project):
    made = {str(path.relative_to(project)) for path in project.glob("results/*/**/*") if path.is_file()}
    told = {name for _, files, _ in ran for name in files}
    attention = {name for name in made if name.startswith("results/attention/")}
    records = {name for name in made if name.startswith("results/written/")}
    assert made - attention - records == told - {"results/summary.json"}
    recorded = {name.replace("/written/", "/").removesuffix(".sha256") for name in records}
    assert recorded == told | attention - {"results/attention/given/000.parquet"}
    assert {name.rpartition("/")[2] for name in attention} == {"000.nc", "001.nc", "manifest.json"}


def test_the_published_number_is_the_planted_one(ran, project):
    """Maps of 4 to 9 cells, even over them: the mean of ln 4 ... ln 9."""
    summary = json.loads((project / "results/summary.json").read_text())
    query = summary["planted"]["tiny"]["queries"]["q0"]
    assert query["entropy_mean"] == pytest.approx(np.log(np.arange(4, 10)).mean(), abs=5e-4)
    assert (query["accuracy"], query["n"]) == (1, 6)


def test_a_dataset_opens_with_its_answers(ran, python, project):
    """The dims of the contract, and the answer's step marked, where its table has been made."""
    code = """
import attention_atlas as atlas

tree = atlas.open("results/attention/planted/tiny")
sample = atlas.sample(tree, "s3")
print(*sample["attention"].dims, *sample["attention"].shape)
print(*sample["is_answer"].values, int(sample["correct"]))
"""
    assert python(code, project).splitlines() == ["step layer head row col 4 3 2 4 4", "0 0 1 0 1"]
