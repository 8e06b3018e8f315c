"""A table of questions with columns of any name as an imported study: CSV, or JSON with an object a line."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attention_atlas.errors import AtlasError, nearest
from attention_atlas.inputs.importing import ImportedStudy, Row, check_rows, clipped_to_images, refuse, sizes_of
from attention_atlas.inputs.study import BOX, SAMPLE_COLUMNS, numbered_rows
from attention_atlas.reading import parse_json, read_text, shown

NEEDED = ("image", "query_type", "query")
OF_OBJECTS = ("label", "colour", "box", *BOX)
COLUMNS = (*SAMPLE_COLUMNS, *OF_OBJECTS)


def import_table(path: Path, images: Path, columns: Mapping[str, str], query_types: Mapping[str, Any]) -> ImportedStudy:
    """The study that a table of questions holds; nothing is written. `columns` has the table's column for each of ours.

    A row with a box, `x_min, y_min, x_max, y_max` in pixels, is about that object; one box of one image is one object.
    Raises AtlasError listing every problem with its line.
    """
    header, rows = read_rows(path)
    source = sources(path, header, columns)
    told = Counter({f"column(s) not used: {name[:100]}": 1 for name in header if name not in source.values()})
    given = [(line, {ours: row.get(theirs) for ours, theirs in source.items()}) for line, row in rows]
    refuse([f"{path}, line {line}: {problem}" for line, row in given for problem in check_values(row)])
    samples = sample_rows(given, told)
    objects, problems = add_objects(path, samples, given)
    first = pd.DataFrame(samples).groupby("image", sort=False)["line"].first()
    sizes, image_problems = sizes_of(images, {str(name): f"{path}, line {line}" for name, line in first.items()})
    objects = clipped_to_images(objects, sizes)
    refuse([*problems, *check_rows(path, path, samples, objects, query_types, sizes), *image_problems], path)
    return ImportedStudy(samples, objects, told=+told)


def parse_columns(text: str) -> dict[str, str]:
    """What `--columns` says: "query=question,image=file" -> our column: the table's."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    for ours, _, theirs in pairs:
        if not theirs.strip():
            raise AtlasError(f"--columns: {ours!r} must be written column=column of the table")
        if ours.strip() not in COLUMNS:
            raise AtlasError(f"--columns: unknown column {ours.strip()!r}.{nearest(ours.strip(), list(COLUMNS))}")
    named = Counter(ours.strip() for ours, _, _ in pairs)
    for ours, times in named.items():
        if times > 1:
            both = " and ".join(repr(theirs.strip()) for name, _, theirs in pairs if name.strip() == ours)
            raise AtlasError(f"--columns: {ours!r} is given {times} times, as {both}; leave all but one out")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    """The columns of a table and its rows, each with its line."""
    readers = {".csv": read_csv, ".jsonl": read_json_lines}
    if path.suffix.lower() not in readers:
        raise AtlasError(f"{path}: is neither .csv nor .jsonl; save the table as one of them")
    header, rows = readers[path.suffix.lower()](path)
    if not rows:
        raise AtlasError(f"{path}: has no rows")
    return header, rows


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    """The header and rows of a CSV."""
    (_, header), *rows = numbered_rows(path) or [(1, ())]
    refuse([f"{path}, line 1: column {shown(name)} occurs {n} times" for name, n in Counter(header).items() if n > 1])
    odd = [(line, len(row)) for line, row in rows if len(row) != len(header)]
    refuse([f"{path}, line {line}: has {fields} fields, the header has {len(header)}" for line, fields in odd])
    return list(header), [(line, dict(zip(header, row, strict=True))) for line, row in rows]


def read_json_lines(path: Path) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    """The keys and objects of a file with a JSON object a line."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        raise AtlasError(f"{path}: holds a JSON list; write its objects one a line, without brackets and commas")
    if re.match(r"\s*\{[ \t]*\n", text):
        raise AtlasError(f"{path}, line 1: its first object goes over several lines; write each object on one line")
    rows, problems = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            content = parse_json(line, path, number)
        except AtlasError as error:
            problems.append(str(error))
            continue
        if isinstance(content, dict):
            rows.append((number, content))
        else:
            problems.append(f"{path}, line {number}: must be a JSON object, not {shown(content)}")
    refuse(problems)
    return list(dict.fromkeys(name for _, row in rows for name in row)), rows


def sources(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """The table's column of each of ours: the one said, else the one of the same name."""
    problems = [
        f"{path}: has no column {theirs!r} for {ours}.{nearest(theirs, list(header))}"
        for ours, theirs in columns.items()
        if theirs not in header
    ]
    source = {name: name for name in COLUMNS if name in header} | dict(columns)
    problems += [
        f"{path}: has no column {name!r}; say which it is, as in --columns {name}=..., among {shown(list(header))}"
        for name in NEEDED
        if name not in source
    ]
    if "target_object" in source and {"box", *BOX} & source.keys():
        problems.append(f"{path}: has target_object and boxes, whose objects are made; leave one of them out")
    if 0 < len(set(BOX) & source.keys()) < len(BOX) or ("box" in source and "x_min" in source):
        problems.append(f"{path}: a box is one column box, or the four columns {', '.join(BOX)}")
    refuse(problems)
    return source


def check_values(row: Mapping[str, Any]) -> Iterator[str]:
    """Values of a row that no cell of a table can hold."""
    for name, value in row.items():
        if name != "box" and isinstance(value, list | dict):
            several = "; join the names of several images by |" if name == "image" else ""
            yield f"{name} {shown(value)} must be a text, a number, true or false{several}"


def sample_rows(given: Sequence[tuple[int, Mapping[str, Any]]], told: Counter[str]) -> list[Row]:
    """The rows of samples.csv, their missing ids made: of the row's number, and of the query type."""
    digits = len(str(len(given)))
    rows = []
    for number, (line, values) in enumerate(given, start=1):
        row = {name: as_text(values.get(name)) for name in SAMPLE_COLUMNS}
        told["sample ids made of row numbers"] += not row["sample_id"]
        row["sample_id"] = row["sample_id"] or f"row_{number:0{digits}d}"
        row["query_id"] = row["query_id"] or row["query_type"]
        rows.append({**row, "line": line})
    return rows


def add_objects(
    path: Path, samples: Sequence[Row], given: Sequence[tuple[int, Mapping[str, Any]]]
) -> tuple[list[Row], list[str]]:
    """The rows of objects.csv, which become the targets of the samples, and what is wrong with the boxes."""
    objects: dict[str, dict[tuple[str, ...], Row]] = {sample["image"]: {} for sample in samples}
    problems = []
    for sample, (line, values) in zip(samples, given, strict=True):
        label, colour = as_text(values.get("label")), as_text(values.get("colour"))
        there = objects[sample["image"]]
        try:
            keys = [(label, colour, *box) for box in boxes_of(values)]
        except ValueError as error:
            problems.append(f"{path}, line {line}: {error}")
            continue
        for key in keys:
            there.setdefault(key, object_row(sample["image"], f"object_{len(there)}", key, line))
        if keys:
            sample["target_object"] = "+".join(dict.fromkeys(there[key]["object_id"] for key in keys))
    return [row for there in objects.values() for row in there.values()], problems


def object_row(image: str, object_id: str, key: tuple[str, ...], line: int) -> Row:
    """A row of objects.csv; `key` is label, colour and box."""
    return {
        "image": image,
        "object_id": object_id,
        **dict(zip(("label", "colour", *BOX), key, strict=True)),
        "line": line,
    }


def boxes_of(values: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The boxes of a row: none, one, or a list of them, as the texts of a table. Raises ValueError."""
    given = values["box"] if "box" in values else [as_text(values.get(edge)) for edge in BOX]
    if given in (None, "", [], [""] * len(BOX)):
        return []
    try:
        parts = (
            json.loads(given if given.lstrip().startswith("[") else f"[{given}]") if isinstance(given, str) else given
        )
        boxes = parts if all(isinstance(part, list) for part in parts) else [parts]
        if any(isinstance(edge, bool) for box in boxes for edge in box):
            raise TypeError
        return [tuple(f"{float(edge):.10g}" for _, edge in zip(BOX, box, strict=True)) for box in boxes]
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError(f"box {shown(given)} must be four numbers {', '.join(BOX)}, or a list of such boxes") from None


def as_text(value: Any) -> str:
    """A value of a table as the text that a CSV has."""
    return "" if value is None else str(value)
