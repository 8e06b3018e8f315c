"""Profiles of Snakemake: what each must say, and that Snakemake takes it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROFILES = {path.parent.name: path for path in sorted(ROOT.glob("profiles/*/profile.yaml"))}
ELSEWHERE = sorted(set(PROFILES) - {"default"})
MODEL_RULES = {"extract", "extract_controls", "extract_random_weights", "intervene"}


def content(name):
    return yaml.safe_load(PROFILES[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_profile_says_what_the_default_one_says_as_it_stands_in_its_place(name):
    assert content("default").items() <= content(name).items()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_every_option_of_a_profile_has_a_reason_and_a_link_above_it(name):
    text = PROFILES[name].read_text(encoding="utf-8")
    for key in content(name):
        above = text[: re.search(rf"^{key}:", text, re.MULTILINE).start()].splitlines()[-2:]
        assert all(line.startswith("#") for line in above), key
        assert "https://" in above[-1], key


def test_slurm_groups_every_rule_but_those_that_run_a_model():
    """A rule that is forgotten would be a submission for each of its jobs."""
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("workflow/rules/*.smk"))
    targets = re.search(r"localrules:\n((?: +\w+,\n)+)", (ROOT / "Snakefile").read_text(encoding="utf-8"))
    local = set(re.findall(r"\w+", targets[1]))
    rules = set(re.findall(r"^rule (\w+):", sources, re.MULTILINE)) - local
    assert set(content("slurm")["groups"]) == rules - MODEL_RULES - {"check_study"}


@pytest.mark.parametrize(("model", "gpus"), [("shapes-tiny", []), ("qwen3-vl-2b", ["gpu=1"])])
def test_slurm_is_asked_for_a_gpu_where_the_model_uses_one(model, gpus):
    """A dry run: Snakemake and its plugin take every option, and the job names what Slurm reads."""
    shard = f"results/attention/shapes/{model}/000.nc"
    asked = ["--config", "study=shapes", f"model={model}"]
    ran = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--forceall", shard, "--workflow-profile", "profiles/slurm", *asked],
        **{"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT},
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
    (resources,) = re.findall(r"^    resources: (.*)$", ran.stdout, re.MULTILINE)
    assert {"mem_mb=32000", "runtime=240"} <= set(resources.split(", "))
    assert [part for part in resources.split(", ") if part.startswith("gpu")] == gpus
