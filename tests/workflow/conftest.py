"""The real DAG on a small study, in temporary clones: what ran, what is clean, which bytes came out."""

import collections
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from attention_atlas.inputs import scenes, shapes_study

ROOT = Path(__file__).parents[2]
SEED = 7
UP_TO_DATE = "Data and pipelines are up to date."
MADE = ("results/attention", "results/analysis", "results/paper")
# Shards, and what is asked of a model beside the study itself: control conditions, random weights, perturbations.
SHARDS = 2
MODEL = {"extract": SHARDS, "extract_controls": SHARDS, "extract_random_weights": SHARDS}
# The jobs of one run behind its maps; of every part of it, of the study itself, of tables and figures.
PARTS = {"manifest": 3, "transcript": 3, "answers": 3, "step_maps": 3}
ANALYSIS = {
    **{"focus": 1, "mass": 1, "summaries": 1, "selected_maps": 1, "ground": 1, "conditions": 1},
    **{"condition_summary": 1, "heads": 1, "intervene": SHARDS, "causal": 1, "compare": 1},
}
PAPER = {
    **{"table": 11, "printed_table": 12, "figure": 12, "overlay_figure": 3, "findings": 1, "numbers": 1},
    **{"summary": 1, "contents": 1},
}


@dataclass(frozen=True)
class Clone:
    """A folder with the project in it, and the commands that a user types there."""

    folder: Path
    commands: tuple[Path, ...] = (Path(sys.executable).parent,)

    def run(self, *command, fails=False, **environment):
        """A command's output; its package is the clone's own, whatever is installed."""
        own = {
            **os.environ,
            "PATH": os.pathsep.join([*map(str, self.commands), os.environ["PATH"]]),
            "PYTHONPATH": str(self.folder / "workflow"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **environment,
        }
        own.pop("PYTEST_XDIST_WORKER", None)
        done = subprocess.run(
            command, cwd=self.folder, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        assert (done.returncode != 0) == fails, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout

    def jobs(self, *command):
        """The jobs that a command ran (or, dry, would run), counted by rule."""
        started = re.findall(r"^(?:local)?rule (\w+):$", self.run(*command), flags=re.MULTILINE)
        return dict(collections.Counter(name for name in started if name != "all"))

    def planned(self):
        """The jobs that Snakemake would run."""
        return self.jobs("snakemake", "-n")

    def repro(self):
        """The jobs that `dvc repro` ran."""
        return self.jobs("dvc", "repro")

    def status(self):
        """The last line of `dvc status`."""
        return self.run("dvc", "status").strip().splitlines()[-1]

    def commit(self, message):
        """Commit everything that git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", message)

    def edit(self, name, old, new):
        """Replace a text that occurs once in a file."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def append(self, name, text):
        """Add to the end of a file."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def bytes_made(self):
        """Every result by its path."""
        files = [path for made in MADE for path in sorted((self.folder / made).rglob("*")) if path.is_file()]
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in files if p.name != ".gitignore"}


@pytest.fixture(scope="session")
def commands():
    """Where the commands of clones are looked for: those that fork from one process come first."""
    with forking() as folder:
        yield (folder, Path(sys.executable).parent)


@contextlib.contextmanager
def forking() -> Iterator[Path]:
    """A folder with the project's commands as forks of one server, while it runs."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="fork") as folder:  # pytest's folders are too long for a socket's address
        address = Path(folder, "socket")
        start = [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(address), folder]
        server = subprocess.Popen(start, env=own)
        try:
            while not Path(folder, "dvc").exists():
                assert server.poll() is None, "the server of commands ended"
                time.sleep(0.05)
            yield Path(folder)
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def origin(tmp_path_factory, commands):
    """The project with a study of eight scenes, computed, committed and pushed to a remote that is a folder."""
    work = tmp_path_factory.mktemp("dag")
    clone = small_project(work / "origin", commands)
    clone.run("git", "init", "-q", ".")
    clone.run("dvc", "remote", "add", "-q", "-d", "folder", str(work / "remote"))
    clone.commit("sources")
    (work / "origin.jobs").write_text(yaml.safe_dump(clone.repro()))
    clone.commit("results")
    clone.run("dvc", "push", "-q")
    return clone


def small_project(folder, commands=Clone.commands):
    """The project's files with the small study and settings in the place of the demo's, without any result."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True
    )
    for name in listed.stdout.splitlines():
        if not name.startswith(("results/", "data/shapes/", "tests/", "dvc.lock")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    small_study(folder / "data" / "shapes")
    small_settings(folder / "config" / "config.yaml")
    return Clone(folder, commands)


def small_study(folder):
    """Eight scenes of the demo's generator with their pictures, two of the demo's questions each."""
    shapes_study.write_study(folder, SEED, scenes_per_quarter=2)
    lines = (folder / "samples.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.startswith("sample_id") or "-q0," in line or "-q3," in line]
    (folder / "samples.csv").write_text("".join(kept), encoding="utf-8")
    scenes.draw_study(folder)


def small_settings(path):
    """The shipped settings, but fewer shards and resamples and coarse figures: they cost time, and prove nothing."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings["shards"] = SHARDS
    settings["statistics"]["resamples"] = 199
    settings["figures"]["dpi"] = 72
    settings["tests"]["simulations"] = 100
    settings["controls"] |= {"other_images": 1, "conditions": ["other_image", "generic", "twin", "random_weights"]}
    settings["causal"] |= {"checks": ["knockout", "counterfactual"], "random_regions": 1}
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


@pytest.fixture
def fresh(origin, tmp_path):
    """A clone of the origin, before any pull."""
    subprocess.run(["git", "clone", "-q", str(origin.folder), str(tmp_path / "clone")], check=True)
    return Clone(tmp_path / "clone", origin.commands)


@pytest.fixture
def pulled(fresh):
    """A clone of the origin with everything pulled."""
    fresh.run("dvc", "pull", "-q")
    return fresh
