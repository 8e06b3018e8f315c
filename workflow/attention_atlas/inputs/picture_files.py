"""The picture files of a study by content: which are missing, and hashes by which an edited one is told.

As inputs of rules, 100,000 pictures would be looked at one by one for every rule at every planning. A hash of a job's
own pictures in its parameters tells the same; hashes are remembered, and a file is read again only when its size or
its times have changed.
"""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path

import pandas as pd

from attention_atlas.errors import AtlasError
from attention_atlas.inputs.files import file_problem, is_missing, located, name_problem
from attention_atlas.provenance import file_hashes, text_sha256
from attention_atlas.reading import other_form

MEMORY = Path("scratch", "hashes")
MOST_TOLD = 20


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
        missing = [(told, self.folder / name) for name, told in self._missing.items() if name in names]
        if missing:
            told = [f"{line}{other_form(path)}" for line, path in missing[:MOST_TOLD]]
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
