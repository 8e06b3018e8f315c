"""The small study through a real Slurm: a killed job is submitted again, and every byte is that of a local run."""

import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ..workflow.conftest import SHARDS, small_project
from . import slurm

# All that runs a model; of analysis and paper, whose jobs are many and light, what one table and one figure need.
TARGETS = (
    *("attention", "results/paper/tables/shapes/shapes-tiny/table1.csv"),
    "results/paper/figures/shapes/shapes-tiny/layer_profile.png",
)
MODEL_RULES = ("extract", "extract_controls", "intervene")
# What one changes on another cluster: its cores and memory, how often it is asked. Each replaces the profile's entry.
OWN = (
    *("--cores", "2", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"),
    *("--default-resources", "mem_mb=1000", "runtime=10"),
    *("--set-resources", "extract:gpu=1", *(f"{rule}:mem_mb=2000" for rule in MODEL_RULES)),
)
VICTIM = "rule_extract_controls_wildcards_shapes_shapes-tiny_000"
WITHIN_S = 900


@pytest.fixture
def cluster(monkeypatch):
    """A Slurm that accepts jobs, for every command of the test."""
    try:
        with slurm.running() as environment:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            yield
    except slurm.SlurmUnavailableError as reason:
        pytest.fail(str(reason), pytrace=False)


def test_a_study_on_slurm_outlives_a_killed_job_and_equals_the_local_run(cluster, tmp_path):
    remote, local = (without_random_weights(small_project(tmp_path / name)) for name in ("slurm", "local"))
    # An interrupted Snakemake ends its jobs; a hanging one must not hang the test.
    patient = ("timeout", "--signal=INT", "--kill-after=30", str(WITHIN_S))
    with ThreadPoolExecutor() as pool:
        other = pool.submit(local.run, *patient, "snakemake", "--cores", "1", *TARGETS)
        run = pool.submit(remote.run, *patient, "snakemake", *TARGETS, "--workflow-profile", "profiles/slurm", *OWN)
        victim_log = remote.folder / "logs/extract_controls/shapes/shapes-tiny/000.log"
        while not (victim_log.exists() or run.done()):
            time.sleep(0.2)
        if not run.done():
            kill(VICTIM)
        told = run.result()
        other.result()

    jobs = submissions()
    assert [state for name, state, _ in jobs if name == VICTIM] == ["CANCELLED", "COMPLETED"], told
    assert {state for name, state, _ in jobs if name != VICTIM} == {"COMPLETED"}, told
    with_gpu = {name for name, _, gpus in jobs if gpus}
    assert with_gpu == {f"rule_extract_wildcards_shapes_shapes-tiny_{shard:03}" for shard in range(SHARDS)}
    assert sum(name.startswith("rule_paper") for name, _, _ in jobs) == 1, "tables and figures are grouped"

    made, expected = remote.bytes_made(), local.bytes_made()
    assert made.keys() == expected.keys()
    assert [name for name in expected if made[name] != expected[name]] == []
    for path in remote.folder.rglob("*"):
        if path.is_file():
            path.touch()
    assert remote.jobs("snakemake", "-n", *TARGETS) == {}, "made on Slurm, up to date here, whatever the time stamps"


def without_random_weights(project):
    """The project with fewer jobs that load a model: a third of them would show nothing that the others do not."""
    project.edit("config/config.yaml", "  - random_weights\n", "")
    return project


def kill(comment):
    """Kill every process of a running job, as a crash does."""
    (job,) = [line.split()[0] for line in squeue("--states=RUNNING", "--format=%i %k") if line.endswith(comment)]
    subprocess.run(["scancel", "--full", "--signal=KILL", job], check=True)


def submissions():
    """Every job that Slurm was given, in order: (comment, state, asked for GPUs)."""
    shown = [re.split(r"\s+", line) for line in squeue("--states=all", "--sort=i", "--format=%k %T %i")]
    return [(comment, state, "gres:gpu" in describe(job)) for comment, state, job in shown]


def squeue(*options):
    return subprocess.run(
        ["squeue", "--noheader", *options], check=True, text=True, stdout=subprocess.PIPE
    ).stdout.splitlines()


def describe(job):
    """What Slurm knows of a job."""
    return subprocess.run(["scontrol", "show", "job", job], check=True, text=True, stdout=subprocess.PIPE).stdout
