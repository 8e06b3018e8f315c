"""Verification: every published file of two runs, value by value, within what another processor may change.

Methods, reproducibility: on one machine all files are identical. Elsewhere the last bits of sums differ; what that does
to a published column is said in `TOLERANCES`, each with its reason. Texts, counts and layers are exact. So are
verdicts, unless a q value that decided lies within 0.005 of the level of the tests.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from attention_atlas.errors import AtlasError
from attention_atlas.paper.catalogue import FINDINGS, FINDINGS_TABLES, NUMBERS_TABLES, PRINTED_TABLES
from attention_atlas.paper.columns import COLUMNS, DECIMALS, INTEGERS, P_VALUES, TEXT, read_published
from attention_atlas.paper.findings import write_findings
from attention_atlas.paper.numbers import write_numbers
from attention_atlas.paper.summary import write_summary
from attention_atlas.paper.tables import P_DECIMALS, as_latex, as_markdown, printed

TABLES, SUMMARY, NUMBERS = Path("paper", "tables"), "summary.json", "numbers.tex"
# How near to the level of the tests a q value leaves a verdict open (methods, reproducibility).
OPEN = 0.005
FLOATING_POINT = 1e-9
Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One file compared: how many values are equal, near, or differ, and which differ; none at all: the same bytes."""

    file: str
    equal: int = 0
    near: int = 0
    different: tuple[str, ...] = ()

    def __str__(self) -> str:
        verdict = "DIFFERS" if self.different else "ok" if self.near == 0 else "ok, within tolerance"
        counts = f"{self.equal} equal, {self.near} near, {len(self.different)} different"
        return f"{verdict:22}{self.file}: {counts if self.equal or self.near or self.different else 'the same bytes'}"


@dataclass(frozen=True)
class Level:
    """The level of the tests and of intervals in percent, as the settings of the published run have them."""

    alpha: float = 0.05
    confidence: float = 0.95


@dataclass(frozen=True)
class Tolerance:
    """How far two values of a column may be apart: units of the last printed digit, and a share of the value."""

    units: float
    share: float
    reason: str

    def of(self, value: float, decimals: int) -> float:
        """The largest difference from a value."""
        return max(self.units * 10.0**-decimals, self.share * abs(value)) + FLOATING_POINT


PRINTED = Tolerance(1, 0, "changes by less than a printed digit, so that rounding moves it by one at most")
TOLERANCES: dict[str, Tolerance] = {
    "effect": Tolerance(1, 0.01, "multiples of a standard deviation that simulations round to three digits"),
    **dict.fromkeys(
        P_VALUES,
        Tolerance(1, 0.02, "a permutation more or less among ten thousand; a tail moves with its statistic"),
    ),
}
# Of grounding scores, by the score.
OF_SCORES: dict[str, Tolerance] = {
    "iou_otsu": Tolerance(
        6,
        0,
        "a cell at the edge of one of Otsu's 256 bins moves one map's score by up to 0.14, and"
        " a mean over 24 images by 0.006",
    ),
}
# Shares of simulated datasets: a column that counts them stands in the same row.
SIMULATED = frozenset(["rejections", "size", "coverage", "moved", "equivalent", "undecided"])
# What a verdict says and what is read off it, with the q values that decide it.
JUDGED = frozenset(["verdict", "sign", "verdict_note", "reading"])
Q_VALUES = ("q_difference", "q_equivalence")
# The same in tables that name no q value: they rest on the causal checks of the query type.
RESTING = frozenset(["verdict", "verdict_note", "cause_state", "cause_reason", "uses", "why"])
# Sentences with numbers in them; other texts are names.
SENTENCES = frozenset(
    ["verdict_note", "interval_note", "note", "why", "chance_reason", "attention_reason", "cause_reason"]
)


def compare_folders(found: Path, published: Path, level: Level = Level()) -> Iterator[Line]:
    """Compare every published file with the one of the same name: two folders `results`, or two of tables in it."""
    theirs, ours = files_of(published), files_of(found)
    if not theirs:
        raise AtlasError(f"{published}: holds no published tables; name the folder results of a run")
    names = sorted(theirs | ours)
    lines = {name: compare_file(name, found, published, level) for name in names if not is_derived(name)}
    for name in names:
        yield lines[name] if name in lines else compare_derived(name, found, published, lines, level)


def files_of(folder: Path) -> set[str]:
    """Names of the published files: those in a folder `results` itself and its tables, or all in a folder of tables."""
    tables = folder / TABLES
    found = [*folder.glob("*"), *tables.rglob("*")] if tables.is_dir() else folder.rglob("*")
    paths = [path.relative_to(folder) for path in found if not path.is_dir()]
    return {str(path) for path in paths if not any(part.startswith(".") for part in path.parts)}


def is_derived(name: str) -> bool:
    """Whether a file is made from published tables alone."""
    return Path(name).suffix in (".md", ".tex") or Path(name).name == SUMMARY


def compare_file(name: str, found: Path, published: Path, level: Level) -> Line:
    """Compare one file, whatever it holds."""
    ours, theirs = found / name, published / name
    for path, said in ((ours, "is not there; `snakemake --cores all` makes it"), (theirs, "is not published")):
        if not path.is_file():
            return Line(name, different=(f"{ours} {said}",))
    if ours.read_bytes() == theirs.read_bytes():
        return Line(name)
    if not ours.read_bytes().strip():
        return Line(name, different=(f"{ours} is empty",))
    try:
        return compare_by_kind(name, found, published, level)
    except (AtlasError, ValueError) as error:
        return Line(name, different=(f"cannot be compared: {' '.join(str(error).split())}",))


def compare_by_kind(name: str, found: Path, published: Path, level: Level) -> Line:
    """Compare one file by what its name says it is; ValueError or AtlasError where it is something else."""
    path = Path(name)
    if path.suffix == ".csv" and path.stem in COLUMNS:
        mine, other = (read_published(folder / path, path.stem) for folder in (found, published))
        open_types = open_query_types([folder / path.with_name("causal.csv") for folder in (found, published)], level)
        return compare_tables(name, mine, other, level, open_types)
    ours, theirs = ((folder / path).read_text(encoding="utf-8") for folder in (found, published))
    if path.suffix == ".json":
        return compare_json(name, json.loads(ours), json.loads(theirs))
    return compare_texts(name, ours, theirs)


def compare_tables(
    name: str,
    found: pd.DataFrame,
    published: pd.DataFrame,
    level: Level = Level(),
    open_types: frozenset[str] = frozenset(),
) -> Line:
    """Compare two tables value by value; `open_types` are query types whose causal verdicts another run may turn."""
    if len(found) != len(published):
        return Line(name, different=(f"{len(found)} rows instead of {len(published)}",))
    equal = near = 0
    different: list[str] = []
    rows = zip(found.to_dict("records"), published.to_dict("records"), strict=True)
    for number, (ours, theirs) in enumerate(rows, start=1):
        for column in published:
            if same(ours[column], theirs[column]):
                equal += 1
            elif is_near(column, ours, theirs, level, open_types):
                near += 1
            else:
                different.append(f"row {number}, {column}: {ours[column]} instead of {theirs[column]}")
    return Line(name, equal, near, tuple(different))


def same(ours: Any, theirs: Any) -> bool:
    """Whether two values are equal, or both missing."""
    missing = pd.isna(ours), pd.isna(theirs)
    return all(missing) if any(missing) else bool(ours == theirs)


def is_near(column: str, ours: Row, theirs: Row, level: Level, open_types: frozenset[str]) -> bool:
    """Whether two unequal values of a column, each in its row, are within what another processor may change."""
    if pd.isna(ours[column]) or pd.isna(theirs[column]):
        return False
    if column in TEXT:
        judged = column in JUDGED and (is_open(ours, level) or is_open(theirs, level))
        resting = column in RESTING and not set(Q_VALUES) & set(ours) and ours.get("query_type") in open_types
        return judged or resting or (column in SENTENCES and texts_near(ours[column], theirs[column]))
    if column in SIMULATED:
        return abs(ours[column] - theirs[column]) <= simulated_tolerance(column, theirs)
    if column in INTEGERS:
        return False
    decimals = P_DECIMALS if column in P_VALUES else DECIMALS
    tolerance = rule_of(column, theirs).of(theirs[column], decimals)
    if column == "p_binomial":
        tolerance += binomial_tolerance(ours, theirs, level)
    return abs(ours[column] - theirs[column]) <= tolerance


def rule_of(column: str, row: Row) -> Tolerance:
    """The tolerance of a column in a row."""
    return TOLERANCES.get(column) or OF_SCORES.get(row.get("score", ""), PRINTED)


def is_open(row: Row, level: Level) -> bool:
    """Whether a q value of a row is so near to the level that last bits may turn its verdict."""
    return any(abs(row[name] - level.alpha) <= OPEN + FLOATING_POINT for name in Q_VALUES if name in row)


def open_query_types(causal: list[Path], level: Level) -> frozenset[str]:
    """Query types with a causal check whose verdict is open, in any of the tables of causal checks that are there."""
    tables = [read_published(path, "causal") for path in causal if path.is_file()]
    return frozenset(row["query_type"] for table in tables for row in table.to_dict("records") if is_open(row, level))


def simulated_tolerance(column: str, row: Row) -> float:
    """The Monte Carlo standard error of a count of simulated datasets, or of its share with the rounding of print."""
    datasets = row["datasets"]
    share = row[column] / datasets if column == "rejections" else row[column]
    error = max(1.0, math.sqrt(datasets * share * (1 - share)))
    return error if column == "rejections" else error / datasets + 10.0**-DECIMALS


def binomial_tolerance(ours: Row, theirs: Row, level: Level) -> float:
    """What the difference of two counts of rejections does at most to their binomial p."""
    datasets = theirs["datasets"]
    steepest = stats.binom.pmf(math.floor((datasets + 1) * level.alpha), datasets, level.alpha)
    return float(abs(ours["rejections"] - theirs["rejections"]) * steepest)


# A number as tables and sentences print it: "<0.0001", escaped or not, counts as 0; a minus sign in LaTeX is $-$.
NUMBER = re.compile(
    r"(?P<below>(?:\\textless\{\}|\\?<)(?=\d))?(?P<sign>\$-\$|(?<![\w)\]])[-−](?=\d))?"
    r"(?P<number>\d+(?:\.(?P<digits>\d+))?(?:e(?P<exponent>[+-]?\d+))?)"
)


def compare_texts(name: str, found: str, published: str) -> Line:
    """Compare two texts line by line."""
    equal = near = 0
    different: list[str] = []
    pairs = zip_longest(found.splitlines(), published.splitlines())
    for number, (ours, theirs) in enumerate(pairs, start=1):
        if ours == theirs:
            equal += 1
        elif ours is not None and theirs is not None and texts_near(ours, theirs):
            near += 1
        else:
            different.append(f"line {number}: {excerpt(ours, theirs)} instead of {excerpt(theirs, ours)}")
    return Line(name, equal, near, tuple(different))


def texts_near(ours: str, theirs: str) -> bool:
    """Whether two texts are the same between their numbers, and their numbers are within what is printed of them."""
    if NUMBER.sub("#", ours) != NUMBER.sub("#", theirs):
        return False
    pairs = zip(NUMBER.finditer(ours), NUMBER.finditer(theirs), strict=True)
    return all(mine.group() == other.group() or numbers_near(mine, other) for mine, other in pairs)


def numbers_near(ours: re.Match, theirs: re.Match) -> bool:
    """Whether two unequal numbers of a text are decimals within the tolerance of their printed digits."""
    decimals = [match["digits"] is not None and len(match["digits"]) for match in (ours, theirs)]
    exponents = [int(match["exponent"] or 0) for match in (ours, theirs)]
    if decimals[0] != decimals[1] or not decimals[0] or abs(exponents[0] - exponents[1]) > 1:
        return False
    rule = TOLERANCES["p"] if decimals[0] == P_DECIMALS or any(exponents) else PRINTED
    value = valued(theirs)
    return abs(valued(ours) - value) <= rule.of(value, decimals[0] - max(exponents))


def valued(match: re.Match) -> float:
    """The value of a number in a text."""
    return 0.0 if match["below"] else float(match["number"]) * (-1 if match["sign"] else 1)


def excerpt(text: str | None, other: str | None, around: int = 40) -> str:
    """A line near the place where it begins to differ from another."""
    if text is None:
        return "no line"
    start = next((at for at, (a, b) in enumerate(zip_longest(text, other or "")) if a != b), 0)
    cut = text[max(0, start - around) : start + around]
    return repr(cut if len(cut) == len(text) else f"…{cut}…")


def compare_json(name: str, found: Any, published: Any) -> Line:
    """Compare two JSON documents: decimal numbers within a printed digit, all else exactly."""
    ours, theirs = dict(leaves(found)), dict(leaves(published))
    equal = near = 0
    different: list[str] = []
    for place in {**theirs, **ours}:
        mine, other = ours.get(place, "nothing"), theirs.get(place, "nothing")
        if mine == other and type(mine) is type(other):
            equal += 1
        elif isinstance(mine, float) and isinstance(other, float) and abs(mine - other) <= PRINTED.of(other, DECIMALS):
            near += 1
        else:
            different.append(f"{place}: {mine} instead of {other}")
    return Line(name, equal, near, tuple(different))


def leaves(document: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """(place, value) of every value of a JSON document that holds no others."""
    parts = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    if not parts:
        yield place or "document", document
    for key, part in parts:
        yield from leaves(part, f"{place}.{key}" if place else str(key))


def compare_derived(name: str, found: Path, published: Path, tables: dict[str, Line], level: Level) -> Line:
    """Compare a file that is made from tables: by its numbers, else by whether its tables, all near, give this file.

    The second holds where words follow from numbers: a verdict that is open, the test of the largest error.
    """
    line = compare_file(name, found, published, level)
    if not line.different or not ((found / name).is_file() and (published / name).is_file()):
        return line
    try:
        sources, text = remade(found / name, level)
        of_tables = [tables[str(path.relative_to(found))] for path in sources]
        follows = text == (found / name).read_text(encoding="utf-8") and any(each.near for each in of_tables)
    except (AtlasError, KeyError, ValueError):
        return line
    if not follows or any(each.different for each in of_tables):
        return line
    return Line(name, line.equal, line.near + len(line.different))


def remade(path: Path, level: Level) -> tuple[list[Path], str]:
    """The tables that a file is made from, and what they give."""
    if path.name == SUMMARY:
        return written(write_summary, path, sorted((path.parent / TABLES).glob("*/*/table1.csv")))
    if path.name == NUMBERS:
        runs = sorted(table.parent for table in path.parent.glob("*/*/table1.csv"))
        return written(write_numbers, path, [run / f"{name}.csv" for run in runs for name in NUMBERS_TABLES])
    if path.name == FINDINGS:
        sources = [path.parent / f"{name}.csv" for name in FINDINGS_TABLES]
        return sources, written(partial(write_findings, confidence=level.confidence), path, path.parent)[1]
    if path.stem not in PRINTED_TABLES:
        raise AtlasError(f"{path}: no table has this name")
    source = path.with_suffix(".csv")
    table = printed(
        path.stem, read_published(source, path.stem), path.parent.parent.name, path.parent.name, level.confidence
    )
    return [source], (as_markdown if path.suffix == ".md" else as_latex)(table)


def written(write: Callable[[Path, Any], None], path: Path, sources: Any) -> tuple[Any, str]:
    """What a function that writes a file writes, and what it makes it from."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, path.name)
        write(output, sources)
        return sources, output.read_text(encoding="utf-8")
