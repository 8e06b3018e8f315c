"""Results that are not what their jobs wrote, killed runs, a damaged object of a remote: on the real DAG."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from .conftest import MODEL, UP_TO_DATE

pytestmark = pytest.mark.xdist_group("dag")
TABLES, FIGURES = "results/paper/tables/shapes/shapes-tiny", "results/paper/figures/shapes/shapes-tiny"
ANALYSIS, MAPS = "results/analysis/shapes/shapes-tiny", "results/attention/shapes/shapes-tiny"


def test_an_edited_table_is_refused_by_name_and_removed_it_is_made_again_by_its_own_rule(pulled):
    path = pulled.folder / TABLES / "table1.csv"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"q0", b"q9"))
    for command in (("snakemake", "-n"), ("snakemake", "--cores", "1"), ("dvc", "repro")):
        told = pulled.run(*command, fails=True)
        assert f"{TABLES}/table1.csv: not what the job that made it wrote" in told
        assert f"rm {TABLES}/table1.csv" in told
    path.unlink()
    assert pulled.jobs("snakemake", "--cores", "2")["printed_table"] == 1
    assert path.read_bytes() == before
    assert pulled.planned() == {}


def test_no_result_is_taken_for_what_it_is_not(pulled):
    """A table of another version, an empty summary, a figure of garbage, a damaged shard, all told at once."""
    changed = {
        f"{TABLES}/steps.csv": b"query_id,step\n",
        f"{ANALYSIS}/steps.parquet": b"",
        f"{FIGURES}/power.pdf": b"no figure",
        f"{MAPS}/manifest.json": b"{}",
        "results/summary.json": b"{}",
    }
    for name, content in changed.items():
        (pulled.folder / name).write_bytes(content)
    shard = bytearray((pulled.folder / MAPS / "000.nc").read_bytes())
    shard[len(shard) // 2] ^= 1
    (pulled.folder / MAPS / "000.nc").write_bytes(shard)
    told = pulled.run("snakemake", "--cores", "1", fails=True)
    assert all(name in told for name in (*changed, f"{MAPS}/000.nc"))
    pulled.run("git", "checkout", "-q", "--", "results")
    pulled.run("dvc", "checkout", "-q", "--force")
    assert pulled.planned() == {}


def test_a_file_among_an_analysis_that_no_rule_makes_is_refused_before_any_job(pulled):
    (pulled.folder / ANALYSIS / "table1 (copy).parquet").write_bytes(b"x")
    told = pulled.run("snakemake", "-n", fails=True)
    assert f"rm '{ANALYSIS}/table1 (copy).parquet'" in told


def test_a_damaged_object_of_a_remote_is_told_by_verify_or_by_the_next_command(fresh):
    remote = fresh.run("dvc", "remote", "list").split()[1]
    copied = fresh.folder.parent / "damaged"
    shutil.copytree(remote, copied)
    fresh.run("dvc", "remote", "add", "-q", "-f", "-d", "folder", str(copied))
    largest = max((path for path in copied.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(content)
    fresh.run("dvc", "remote", "modify", "folder", "verify", "true")
    fresh.run("dvc", "pull", "-q", fails=True)
    shutil.rmtree(fresh.folder / ".dvc" / "cache")
    fresh.run("dvc", "remote", "modify", "folder", "verify", "false")
    fresh.run("dvc", "pull", "-q")
    told = fresh.run("snakemake", "-n", fails=True)
    assert "not what the job that made it wrote" in told


def killed(clone, *command):
    """Start a command, and kill it and all that it started while a model is asked."""
    environment = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",  # noqa: PTH120
        "PYTHONPATH": str(clone.folder / "workflow"),
    }
    incomplete = clone.folder / ".snakemake" / "incomplete"
    process = subprocess.Popen(
        command,
        cwd=clone.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not (incomplete.is_dir() and any(incomplete.iterdir())):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.1)
        time.sleep(2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_after_a_kill_unlocking_is_all_there_is_to_do(pulled):
    pulled.append("workflow/attention_atlas/attention/capture.py", "# edited\n")
    killed(pulled, "dvc", "repro")
    told = pulled.run("dvc", "repro", fails=True)
    assert "snakemake --unlock" in told or "LockException" in told
    pulled.run("snakemake", "--unlock")
    jobs = pulled.repro()
    assert {name: jobs[name] for name in MODEL} == MODEL
    assert pulled.status() == UP_TO_DATE
