"""The picture files of a study by content: which are missing, and hashes by which an edited one is told.

As inputs of rules, 100,000 pictures would be looked at one by one for every rule at every planning. A hash of a job's
own pictures in its parameters tells the same; hashes are remembered, and a file is read again only when its size or
its times have changed.
"""

import json
import os
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain
from pathlib import Path

import pandas as pd

from attention_atlas.errors import AtlasError
from attention_atlas.inputs.files import file_problem, is_missing, located, name_problem
from attention_atlas.provenance import file_sha256, text_sha256

MEMORY = Path("scratch", "hashes")
# A file that changed so lately may change again within one tick of its clock, unseen: it is not remembered yet. Two
# seconds is the coarsest clock of a file system in use (FAT).
LATELY_NS = 2_000_000_000
MOST_TOLD = 20
THREADS = 8


class PictureFiles:
    """The images, or the masks, that a table of a study names; files are looked at when they are first asked for."""

    def __init__(self, folder: Path, table: Path, names: pd.Series, lines: pd.Series) -> None:
        self.folder, self.table = folder, table
        self._lines = dict(zip(names[::-1], lines[::-1], strict=True))  # the first line that names each

    @cached_property
    def _missing(self) -> dict[str, str]:
        paths = {name: self.folder / name for name in sorted(self._lines, key=self._lines.__getitem__)}
        problems = {name: why_missing(self.folder, name) for name in paths}
        return {name: f"line {self._lines[name]}: {told}" for name, told in problems.items() if told}

    @cached_property
    def _hashes(self) -> dict[str, str]:
        paths = {name: str(located(self.folder, name)) for name in self._lines if name not in self._missing}
        hashes = file_hashes(paths.values(), MEMORY / f"{'_'.join(self.folder.parts)}.json")
        return {name: hashes[path] for name, path in paths.items()}

    def folder_of(self, names: Collection[str]) -> str:
        """The folder; refuses names whose file is not there."""
        missing = [told for name, told in self._missing.items() if name in names]
        if missing:
            told = missing[:MOST_TOLD]
            more = [f"... and {len(missing) - MOST_TOLD} more"] if len(missing) > MOST_TOLD else []
            what = f"{self.folder.name.removesuffix('s')}(s)"
            raise AtlasError(
                f"{self.table}: {len(missing)} {what} missing; put them there, or fetch them with "
                f"`dvc pull {self.folder}`\n  " + "\n  ".join([*told, *more])
            )
        return str(self.folder)

    def digest(self, names: Collection[str]) -> str:
        """One hash of pictures, by their names and contents."""
        return text_sha256({name: self._hashes[name] for name in names})[:16]


def why_missing(folder: Path, name: str) -> str | None:
    """Say why a name of a table has no file in a folder, if so."""
    path = folder / name
    problem = name_problem(folder, name)
    if problem:
        return f"{name!r}: {problem}"
    problem = file_problem(located(folder, name))
    return f"{path} {'is not there' if is_missing(path) and not path.is_symlink() else problem}" if problem else None


def file_hashes(paths: Iterable[str], memory: Path) -> dict[str, str]:
    """SHA-256 of files by path. `memory` is the file that remembers them; without it all are read."""
    remembered = recall(memory)
    stamps = {path: stamp(path) for path in paths}
    unknown = [path for path, seen in stamps.items() if path not in remembered or remembered[path][0] != seen]
    with ThreadPoolExecutor(THREADS) as threads:  # a task for each file would cost more than a small file does
        parts = threads.map(read_all, [unknown[number::THREADS] for number in range(THREADS)])
        read = dict(chain.from_iterable(parts))
    hashes = {path: read.get(path) or remembered[path][1] for path in stamps}
    before = time.time_ns() - LATELY_NS
    settled = {path: (stamps[path], hashes[path]) for path in unknown if max(stamps[path][-2:]) < before}
    if settled:
        remember(memory, {**remembered, **settled})
    return hashes


def read_all(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Files with their SHA-256."""
    return [(path, file_sha256(Path(path))) for path in paths]


def stamp(path: str) -> tuple[int, ...]:
    """Return which file a path leads to, its size and its times in ns.

    A copy can set back the time of its content, never that of its last change. A link can be pointed at another file
    of the same size and time.
    """
    status = Path(path).stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def recall(memory: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Stamp and hash of files by path; nothing where `memory` is not there or damaged."""
    try:
        return {path: (tuple(seen), sha256) for path, (seen, sha256) in json.loads(memory.read_text("utf-8")).items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def remember(memory: Path, hashes: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Write the memory, never seen half-written though jobs of a cluster plan side by side."""
    memory.parent.mkdir(parents=True, exist_ok=True)
    partial = memory.with_name(f".{memory.name}.{os.getpid()}")
    partial.write_text(json.dumps(hashes), "utf-8")
    partial.replace(memory)
