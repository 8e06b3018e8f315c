"""Verification: published tables of two runs, value by value, within the tolerances of reproduction.

Methods, reproducibility of numbers: on the same machine tables are identical; on another, entropies agree within
1e-3 nats before rounding, layers and counts exactly, answers unless two best tokens are all but tied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from attention_atlas.errors import AtlasError
from attention_atlas.paper.columns import COLUMNS, DECIMALS, TEXT, read_published

# Half a unit of the last published digit on either side comes on top of what the values themselves may differ by.
ROUNDING = 10.0**-DECIMALS
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Line:
    """One table compared: how many values are equal, near, or differ, and the first that differ."""

    table: str
    equal: int
    near: int
    different: tuple[str, ...]

    def __str__(self) -> str:
        verdict = "DIFFERS" if self.different else "ok" if self.near == 0 else "ok, within tolerance"
        return f"{verdict:22}{self.table}: {self.equal} equal, {self.near} near, {len(self.different)} different"


def compare_folders(found: Path, published: Path) -> Iterator[Line]:
    """Every published table of `published` (results/paper/tables) against the one of the same name in `found`."""
    tables = sorted(path for path in published.glob("*/*/*.csv") if path.stem in COLUMNS)
    if not tables:
        raise AtlasError(f"{published}: holds no published tables; name the folder results/paper/tables of a run")
    for path in tables:
        name = path.relative_to(published)
        if not (found / name).exists():
            yield Line(str(name), 0, 0, (f"{found / name} is not there; `snakemake tables` makes it",))
        else:
            yield compare(str(name), read_published(found / name, path.stem), read_published(path, path.stem))


def compare(table: str, found: pd.DataFrame, published: pd.DataFrame) -> Line:
    """Two tables, value by value: texts and counts exactly, numbers within rounding and tolerance."""
    if len(found) != len(published):
        return Line(table, 0, 0, (f"{len(found)} rows instead of {len(published)}",))
    equal = near = 0
    different: list[str] = []
    for column in published:
        for row, (ours, theirs) in enumerate(zip(found[column], published[column], strict=True)):
            if ours == theirs or (pd.isna(ours) and pd.isna(theirs)):
                equal += 1
            elif is_near(column, ours, theirs):
                near += 1
            else:
                different.append(f"row {row + 1}, {column}: {ours} instead of {theirs}")
    return Line(table, equal, near, tuple(different))


def is_near(column: str, ours: object, theirs: object) -> bool:
    """Whether two unequal values are within what another machine may change."""
    if column in TEXT or not isinstance(ours, float) or not isinstance(theirs, float):
        return False
    return abs(ours - theirs) <= TOLERANCE + ROUNDING + 1e-9
