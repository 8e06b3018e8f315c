"""numbers.tex: every number that a paper's text would quote, as a LaTeX macro.

A macro is \\atlas<Study><Model><Query><Quantity> in letters alone; digits are spelled, as LaTeX allows none in a name.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attention_atlas.errors import AtlasError
from attention_atlas.files import write_text
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
    write_text(output, HEADER + latex_note("".join(lines)) + "".join(lines))


def same_macros(queries: Mapping[tuple[str, str], Iterable[str]], contrasts: Iterable[str]) -> Iterator[str]:
    """Names that no rule can write numbers of side by side, told before there is any number.

    `queries` are the query ids of each run (study, model); the contrasts are those of every run.
    """
    sources: dict[str, str] = {}
    told: set[tuple[str, str]] = set()
    of_query, of_contrast = (macro_ends(table) for table in (("table1", "ablation"), ("contrasts",)))
    for (study, model), names in queries.items():
        run = f"run {study} x {model}"
        ends = [(run, name) for name in map(letters, TOTALS)]
        ends += [(f"query {query!r} of {run}", letters(query) + end) for query in names for end in of_query]
        ends += [(f"contrast {name!r} of {run}", letters(name) + end) for name in contrasts for end in of_contrast]
        for source, end in ends:
            macro = macro_of_run(study, model) + end
            other = sources.setdefault(macro, source)
            if other != source and (other, source) not in told:
                told.add((other, source))
                yield (
                    f"the {other} and the {source} would have the same macros in numbers.tex, for example \\{macro}: "
                    "names differ in LaTeX by their letters alone; rename one of them"
                )


def macro_of_run(study: str, model: str) -> str:
    """What the macros of a run begin with."""
    return "atlas" + letters(study) + letters(model)


def macro_ends(tables: Iterable[str]) -> list[str]:
    """What the macros of a row of tables end in: their quantities."""
    blank = {table: dict.fromkeys(COLUMNS[table], np.nan) for table in tables}
    texts = {table: {name: "" for name in COLUMNS[table] if name in TEXT} for table in tables}
    rows = {table: {**blank[table], **texts[table]} for table in tables}
    return [letters(name) for table, row in rows.items() for name, _ in quantities(row, table)]


def macros_of(path: Path) -> Iterator[tuple[str, str, str]]:
    """(source, macro name, value) of every number of one table."""
    if path.stem not in NUMBERS_TABLES:
        known = ", ".join(f"{name}.csv" for name in NUMBERS_TABLES)
        raise AtlasError(f"{path}: numbers are taken from {known}; leave this table out")
    frame = read_published(path, path.stem)
    run = macro_of_run(path.parent.parent.name, path.parent.name)
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
