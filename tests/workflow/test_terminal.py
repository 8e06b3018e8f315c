"""What a person sees of a run: a line a job, and the error of a failed one last."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from snakemake_logger_plugin_atlas import duration, reason_of, sentence_of, title

WORKFLOW = """
    rule all:
        input: "a.txt", "b.txt"
    rule good:
        output: "{name}.txt"
        log: "logs/{name}.log"
        resources: mem_mb=32000
        shell: "echo made > {output}"
    rule bad:
        input: "a.txt"
        output: "b.txt"
        log: "logs/bad.log"
        shell: "echo 'Error: samples.csv, line 3: has no query; write one' > {log}; exit 1"
    ruleorder: bad > good
"""


def run(folder, *options):
    (folder / "Snakefile").write_text(textwrap.dedent(WORKFLOW))
    command = [Path(sys.executable).with_name("snakemake"), "--logger", "atlas", "--cores", "1", *options]
    done = subprocess.run(
        command,
        cwd=folder,
        env=dict(os.environ),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.strip().splitlines()


def test_a_failed_run_ends_in_the_sentence_of_its_job(tmp_path):
    code, lines = run(tmp_path)
    assert code == 1
    assert lines[-1] == "bad failed: samples.csv, line 3: has no query; write one"
    assert not any("Traceback" in line or "resources" in line or "Exiting" in line for line in lines)
    assert sum("no query" in line for line in lines) == 1


def test_a_run_has_a_line_a_job_and_none_of_what_jobs_ask_for(tmp_path):
    code, lines = run(tmp_path, "a.txt")
    assert code == 0
    assert lines[-1].startswith("all 1 jobs done in")
    assert len(lines) == 2
    assert run(tmp_path, "a.txt")[1][-1].startswith("Nothing to be done")


def test_an_error_of_the_whole_run_is_told_in_full(tmp_path):
    code, lines = run(tmp_path, "--", "nothing.that/is.made")
    assert code == 1
    assert any("MissingRuleException" in line for line in lines)
    assert any("nothing.that/is.made" in line for line in lines)


def test_an_error_while_planning_is_its_sentence_alone():
    message = (
        'AtlasError in file "/a/Snakefile", line 24:\ndata/x: 1 problem(s)\n  no rows\n  File "/a/b.py", line 3, in c'
    )
    assert sentence_of(message) == "Error: data/x: 1 problem(s)\n  no rows"
    other = 'ValueError in file "/a/Snakefile", line 24:\nx\n  File "/a/b.py", line 3, in c'
    assert sentence_of(other) == other


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("08:00:00 INFO begun\nError: one\n  two\n", "one\n  two"),
        ("Traceback (most recent call last):\n  x\nKeyError: 'a'\n", "KeyError: 'a' (a fault of the program"),
        ("08:00:00 INFO begun\n", "stopped before it was done"),
    ],
)
def test_a_failed_jobs_reason_is_read_from_its_log(tmp_path, log, told):
    (tmp_path / "job.log").write_text(log)
    assert told in reason_of([str(tmp_path / "job.log")])


def test_a_job_killed_before_its_log_is_told_as_such(tmp_path):
    assert "before it wrote a log" in reason_of([str(tmp_path / "nothing.log")])


def test_titles_and_times_are_those_of_people():
    wildcards = {"study": "shapes", "model": "tiny", "part": "/controls"}
    assert title("manifest", wildcards) == "manifest shapes x tiny controls"
    assert (duration(45.2), duration(177)) == ("45 s", "2 min 57 s")
