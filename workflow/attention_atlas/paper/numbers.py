"""numbers.tex: every number that a paper's text would quote, as a LaTeX macro.

A macro is \\atlas<Study><Model><Query><Quantity> in letters alone; digits are spelled, as LaTeX allows none in a name.
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attention_atlas.errors import AtlasError
from attention_atlas.paper.catalogue import NUMBERS_TABLES
from attention_atlas.paper.columns import COLUMNS, DECIMALS, P_VALUES, TEXT, read_published
from attention_atlas.paper.tables import shown, shown_interval, shown_p
from attention_atlas.paper.texts import latex_note, latex_text

HEADER = """\
% Numbers of the published tables. Use: \\input{numbers}, then for example \\atlas<Study><Model><Query>EntropyMean.
% Quantities are the columns of table1.csv and ablation.csv; -- stands where there is no value. Other tables have in
% place of the query: contrasts their name, <Contrast>Difference, Interval, Verdict, ...; grounding the query and the
% score, <Query><Score>Raw, ...; heads the method; causal checks the query type and the check.
"""
# What a row is about, by the columns that name it.
SUBJECTS = {
    "contrasts": ("name",),
    "grounding": ("query_id", "score"),
    "heads": ("method",),
    "causal": ("query_type", "check"),
}
DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
NOT_QUOTED = TEXT - {"entropy_band", "layer_band", "verdict", "reading"}
TOTALS = ("samples", "failed", "no_answer", "undefined", "other_conditions")


def write_numbers(output: Path, tables: list[Path]) -> None:
    """Write the macros of published tables results/paper/tables/<study>/<model>/{table1, ablation}.csv."""
    macros: dict[str, str] = {}
    sources: dict[str, str] = {}
    for path in tables:
        for source, name, value in macros_of(path):
            if name in macros:
                raise AtlasError(
                    f"two numbers would have the macro \\{name}: {sources[name]} and {source}. "
                    "Names differ in LaTeX by their letters alone; rename the study, the model or the query."
                )
            macros[name], sources[name] = value, source
    lines = [f"\\newcommand{{\\{name}}}{{{value}}}\n" for name, value in macros.items()]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(HEADER + latex_note("".join(lines)) + "".join(lines), encoding="utf-8")


def macros_of(path: Path) -> Iterator[tuple[str, str, str]]:
    """(source, macro name, value) of every number of one table."""
    if path.stem not in NUMBERS_TABLES:
        known = ", ".join(f"{name}.csv" for name in NUMBERS_TABLES)
        raise AtlasError(f"{path}: numbers are taken from {known}; leave this table out")
    frame = read_published(path, path.stem)
    run = "atlas" + letters(path.parent.parent.name) + letters(path.parent.name)
    if path.stem == "table1":
        for name in TOTALS:
            yield f"{path}, {name} in all", run + letters(name), str(frame[name].sum())
    for row in frame.to_dict("records"):
        subject = " ".join(row[name] for name in SUBJECTS.get(path.stem, ("query_id",)))
        for quantity, value in quantities(row, path.stem):
            yield f"{path}, {subject} {quantity}", run + letters(subject) + letters(quantity), value


def quantities(row: dict[str, Any], table: str) -> Iterator[tuple[str, str]]:
    """(name, value as LaTeX) of the numbers of one row; a quantity with an interval gives its ends in brackets too."""
    if table in ("contrasts", "causal"):
        yield "interval", latex_text(shown_interval(row["low"], row["high"], DECIMALS))
    for name in COLUMNS[table]:
        decimals = {"decimals": DECIMALS} if name.startswith("difference") or name in ("low", "high") else {}
        if name in NOT_QUOTED:
            continue
        # The ablation's n is that of its pairs; Table 1 has an n of its own.
        quoted = "pairs" if (table, name) == ("ablation", "n") else name
        value = row[name] if name in TEXT else shown_p(row[name]) if name in P_VALUES else shown(row[name], **decimals)
        yield quoted, latex_text(value)
        if f"{name}_low" in row:
            ends = shown_interval(row[f"{name}_low"], row[f"{name}_high"], **decimals)
            yield f"{name}_interval", latex_text(ends)


def letters(name: str) -> str:
    """A name in letters: parts capitalised, digits spelled, any other character by its Unicode name."""
    ascii_name = "".join(char if char.isascii() else f" {unicode_name(char)} " for char in name)
    parts = re.findall(r"[A-Za-z]+|[0-9]", ascii_name)
    return "".join(DIGITS[int(part)] if part.isdigit() else part[0].upper() + part[1:] for part in parts)


def unicode_name(char: str) -> str:
    """The name of a character in lower case, its code point where it has none."""
    return unicodedata.name(char, f"u{ord(char):x}").lower()
