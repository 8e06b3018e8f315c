"""The small project with a stand-in for its command `atlas`, which computes nothing; plans and calls are real."""

import json
import os
import shutil
import sys
from pathlib import Path

from .conftest import Clone, small_project
from .stand_in_atlas import CALLS


class Project(Clone):
    """A project whose jobs are done by the stand-in."""

    def run(self, *command, **options):
        """A command's output, the stand-in first on its path."""
        folders = [self.folder / "bin", Path(sys.executable).parent, os.environ["PATH"]]
        return super().run(*command, **{"PATH": os.pathsep.join(map(str, folders)), **options})

    def compute(self, *options):
        """The jobs that Snakemake ran."""
        return self.jobs("snakemake", "--cores", "2", *options)

    def calls(self, command=None):
        """What the stand-in noted of each call, or of those of one command."""
        path = self.folder / CALLS
        calls = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in calls if command in (None, call["arguments"][0])]

    def copy_to(self, folder):
        """The same project elsewhere, with what was computed."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)


def stand_in_project(folder):
    """The small project's files with the stand-in, nothing computed yet."""
    small_project(folder)
    program = folder / "bin" / "atlas"
    program.parent.mkdir()
    source = Path(__file__).with_name("stand_in_atlas.py").read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    program.chmod(0o755)
    return Project(folder)
