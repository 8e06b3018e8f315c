"""A study: its samples, objects and images, read with every problem listed before anything runs."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from attention_atlas.errors import AtlasError, nearest
from attention_atlas.files import write_json
from attention_atlas.inputs.answers import canonical, nearest_answer
from attention_atlas.inputs.box_units import box_problem, doubts_about_boxes, is_under_a_pixel, lies_outside
from attention_atlas.inputs.files import composed, inside, located
from attention_atlas.inputs.images import read_mask, upright_size
from attention_atlas.inputs.views import all_images, images_of, view_of, views
from attention_atlas.reading import control_character, other_form, read_text, shown, shown_path

SAMPLE_COLUMNS = (
    *("sample_id", "image", "query_id", "query_type", "query"),
    *("expected_answer", "condition", "target_object", "split"),
)
OBJECT_COLUMNS = ("image", "object_id", "label", "colour", "x_min", "y_min", "x_max", "y_max")
BOX = ("x_min", "y_min", "x_max", "y_max")
SPLITS = ("", "select", "evaluate")
# What Qwen's tokenizers turn into one control id wherever it stands in a text.
SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>|</?(?:tool_call|tool_response|think)>")
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MOST_PROBLEMS = 50
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "'|'"}
SEPARATOR_LINE = re.compile(r"sep=(.)")  # by which some spreadsheets begin
LONGEST_HEADER = 10_000


@dataclass(frozen=True)
class Study:
    """Samples and objects as tables; the column `line` is a row's line in its file.

    `doubts` say what passes every check and still looks wrong, a sentence each, for the commands that check a study.
    """

    folder: Path
    samples: pd.DataFrame
    objects: pd.DataFrame
    doubts: tuple[str, ...] = ()

    @property
    def views(self) -> "Study":
        """The same with a row for each image of each sample, as the maps are kept."""
        return replace(self, samples=views(self.samples, self.objects))

    @property
    def name(self) -> str:
        """The study's name: that of its folder."""
        return self.folder.name

    def image_path(self, image: str) -> Path:
        """The file of an image."""
        return located(self.folder / "images", image)

    def on(self, images: Set[str]) -> "Study":
        """The part of the study on some of its images, rows in the tables' order."""
        samples, objects = (rows[rows["image"].isin(images)] for rows in (self.samples, self.objects))
        return Study(self.folder, samples, objects)

    def targets(self, sample_id: str) -> pd.DataFrame:
        """The target objects of a sample, in the order of the objects table; no rows where it names none."""
        sample = self.samples.loc[self.samples["sample_id"] == sample_id].iloc[0]
        wanted = sample["target_object"].split("+") if sample["target_object"] else []
        mine = self.objects["image"] == sample["image"]
        return self.objects[mine & self.objects["object_id"].isin(wanted)]


@dataclass(frozen=True)
class Pictures:
    """What was seen of images: (width, height) of each, those that EXIF turns, and what is wrong with the others.

    `strays` counts the masks that lie mostly outside the box of their object.
    """

    sizes: Mapping[str, tuple[int, int]]
    turned: Set[str]
    strays: int
    problems: Sequence[str]


def read_study(folder: Path, query_types: Mapping[str, Any] | None, images: Collection[str] | None = None) -> Study:
    """Read and check a study. Raises one AtlasError that lists every problem.

    `query_types` are the settings' entries, None = do not hold types and expected answers against them; `images` names
    those to open and check, None = all (a shard opens its own, the analysis none).
    """
    samples, sample_problems = read_table(folder / "samples.csv", SAMPLE_COLUMNS, further_columns=False)
    objects, object_problems = read_table(folder / "objects.csv", OBJECT_COLUMNS, further_columns=True)
    if samples.empty and not sample_problems:
        sample_problems = [f"{folder / 'samples.csv'}: has no rows"]
    pictures = look_at_images(folder, samples, objects, images)
    problems = [
        *sample_problems,
        *object_problems,
        *check_samples(folder / "samples.csv", samples, query_types),
        *check_conditions(folder / "samples.csv", samples),
        *check_splits(folder / "samples.csv", samples),
        *(check_targets(folder / "samples.csv", samples, objects) if not object_problems else []),
        *check_objects(folder / "objects.csv", objects, pictures.sizes),
        *same_to_readers((folder / "samples.csv", samples), (folder / "objects.csv", objects)),
        *pictures.problems,
    ]
    if problems:
        told = problems[:MOST_PROBLEMS]
        more = [f"... and {len(problems) - len(told)} more"] if len(problems) > len(told) else []
        raise AtlasError(f"{folder}: {len(problems)} problem(s)\n  " + "\n  ".join([*told, *more]))
    objects = objects.astype(dict.fromkeys(BOX, float))
    doubts = doubts_about_boxes(objects, pictures.sizes, pictures.turned, pictures.strays)
    return Study(folder, samples, objects, tuple(f"{doubt}; look with `atlas boxes {folder}`" for doubt in doubts))


def write_inventory(study: Study, path: Path) -> None:
    """Write what a study holds, as JSON: samples by query and condition, images and objects."""
    by_query = study.samples.groupby("query_id").size()
    by_condition = study.samples.groupby("condition").size()
    inventory = {
        "study": study.name,
        "samples": len(study.samples),
        "images": len(all_images(study.samples["image"])),
        "objects": len(study.objects),
        "samples_by_query": {str(name): int(count) for name, count in by_query.items()},
        "samples_by_condition": {str(name): int(count) for name, count in by_condition.items()},
    }
    write_json(path, inventory)


def read_table(path: Path, columns: tuple[str, ...], further_columns: bool) -> tuple[pd.DataFrame, list[str]]:
    """A CSV as text columns with each row's `line`, and what is wrong with its shape.

    Rows of another length than the header are left out; the table is empty where the header itself is wrong.
    """
    empty = pd.DataFrame(columns=[*columns, "line"])
    try:
        (_, header), *rows = numbered_rows(path) or [(1, ())]
    except AtlasError as error:
        return empty, [str(error)]
    problems = list(check_header(path, header, columns, further_columns))
    if problems:
        return empty, problems
    problems = [
        f"{path}, line {line}: has {len(row)} fields, the header has {len(header)}"
        for line, row in rows
        if len(row) != len(header)
    ]
    whole = [(line, row) for line, row in rows if len(row) == len(header)]
    return pd.DataFrame([row for _, row in whole], columns=header).assign(line=[line for line, _ in whole]), problems


def records(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a table one by one: of text, `to_dict("records")` takes several times as long, and keeps all rows."""
    names = table.columns.tolist()
    for row in zip(*(table[name].tolist() for name in names), strict=True):
        yield dict(zip(names, row, strict=True))


def numbered_rows(path: Path) -> list[tuple[int, tuple[str, ...]]]:
    """The rows of a CSV, blank ones left out, each with the line that it ends in.

    As tuples: of lists, Python's garbage collection would walk through all of a large table again and again.
    """
    text = read_text(path)
    odd = control_character(text)
    if odd is not None:
        line = text.count("\n", 0, text.index(odd)) + 1
        raise AtlasError(f"{shown_path(path)}, line {line}: holds the character {odd!r}; take it out")
    check_separator(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, begin = [], 1
    try:
        for row in reader:
            if row:
                rows.append((reader.line_num, tuple(row)))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise AtlasError(
            f"{shown_path(path)}, line {reader.line_num}: is not CSV ({error}); check the quotation marks of its row, "
            f"which begins in line {begin}"
        ) from None
    return rows


def check_separator(path: Path, text: str) -> None:
    """Refuse a table whose header is parted by another sign than commas, as spreadsheets write it in some countries."""
    header = text.partition("\n")[0][:LONGEST_HEADER]
    names = SEPARATOR_LINE.match(header)
    parts = {separator: number_of_cells(header, separator) for separator in (",", *OTHER_SEPARATORS)}
    other = max(OTHER_SEPARATORS, key=lambda separator: parts[separator])
    if names or (parts[other] > 1 and (parts[","] == 1 or parts[other] >= 2 * parts[","])):
        sign = names.group(1) if names else OTHER_SEPARATORS[other]
        raise AtlasError(
            f"{shown_path(path)}, line 1: its cells are parted by {sign}, not commas; save it as CSV with commas"
        )


def number_of_cells(line: str, separator: str) -> int:
    """How many cells a line has; one where its quotation marks do not fit the separator."""
    try:
        return len(next(csv.reader([line], delimiter=separator, strict=True), [""]))
    except csv.Error:
        return 1


def check_header(path: Path, header: Sequence[str], columns: tuple[str, ...], further_columns: bool) -> Iterator[str]:
    """What is wrong with the names of the columns."""
    here = f"{path}, line 1: "
    if not set(header) & set(columns):
        yield f"{here}names none of the columns; write a first line that does: {','.join(columns)}"
        return
    if "line" in header:
        yield f"{here}column 'line' has the name of the line number that is kept for errors; call it differently"
    for name in columns:
        if name not in header:
            yield f"{here}column {name!r} is missing; columns: {', '.join(columns)}"
    for name in dict.fromkeys(header):
        if header.count(name) > 1:
            yield f"{here}column {shown(name)} occurs {header.count(name)} times"
        if name not in columns and not further_columns:
            yield f"{here}unknown column {shown(name)}.{nearest(name, list(columns))}"


def check_samples(path: Path, samples: pd.DataFrame, query_types: Mapping[str, Any] | None) -> Iterator[str]:
    """What is wrong with single samples."""
    first_line = samples.groupby("sample_id")["line"].first().to_dict()
    of_answers: dict[tuple[str, str, bool], list[str]] = {}  # there are few different ones, however many samples
    for row in records(samples):
        here = f"{path}, line {row['line']}"
        if not SAFE_ID.fullmatch(row["sample_id"]):
            yield f"{here}: sample_id {shown(row['sample_id'])} must be letters, digits, '.', '_' or '-'"
        elif first_line[row["sample_id"]] != row["line"]:
            yield f"{here}: sample_id {shown(row['sample_id'])} occurs already in line {first_line[row['sample_id']]}"
        if ":" in row["image"]:
            image = shown(row["image"])
            yield f"{here}: image {image} contains ':', which names the pictures made of it; rename the file"
        for number in range(2, 1 + len(images_of(row["image"]))):
            name = view_of(row["sample_id"], row["condition"], number)
            if name in first_line:
                yield f"{here}: image {number} of this sample is called {shown(name)}, as line {first_line[name]} is"
        if not row["query_id"]:
            yield f"{here}: query_id is empty"
        if not row["query"].strip():
            yield f"{here}: query is empty"
        special = SPECIAL_TOKEN.search(row["query"])
        if special:
            token = shown(special.group())
            yield f"{here}: query {shown(row['query'])} contains the special token {token}; write it differently"
        if row["split"] not in SPLITS:
            yield f"{here}: split {shown(row['split'])} is not select, evaluate or empty"
        if query_types is not None:
            asked = row["query_type"], row["expected_answer"], bool(row["target_object"])
            if asked not in of_answers:
                of_answers[asked] = list(check_answer(*asked, query_types))
            yield from (f"{here}: {problem}" for problem in of_answers[asked])


def check_conditions(path: Path, samples: pd.DataFrame) -> Iterator[str]:
    """A study of control conditions alone: nothing is left that they are controls of."""
    if len(samples) and (samples["condition"] != "").all():
        yield (
            f"{path}: every row names a condition, so no row is of the study itself; leave `condition` empty in those "
            "that are (the settings' controls.conditions are made without any row)"
        )


def check_splits(path: Path, samples: pd.DataFrame) -> Iterator[str]:
    """Images that have samples in both splits: heads would be evaluated on what they were chosen on."""
    own = samples[(samples["condition"] == "") & samples["split"].isin(SPLITS[1:])]
    first: dict[str, tuple[str, int]] = {}
    told: set[str] = set()
    for row in records(own[["image", "split", "line"]]):
        for image in images_of(row["image"]):
            split, line = first.setdefault(image, (row["split"], row["line"]))
            if split != row["split"] and image not in told:
                told.add(image)
                yield (
                    f"{path}, lines {line} and {row['line']}: image {image!r} has samples in both splits, {split} and "
                    f"{row['split']}; put all samples of an image into one split"
                )


def check_answer(name: str, expected: str, has_target: bool, query_types: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a sample's query type, expected answer and need of a target."""
    query_type = query_types.get(name)
    if query_type is None:
        yield f"unknown query_type {shown(name)}.{nearest(name, list(query_types))}"
        return
    answers = query_type["answers"]
    if expected and canonical(expected, answers) is None:
        yield (
            f"expected_answer {shown(expected)} is not in the vocabulary of query type {name!r}."
            f"{nearest_answer(expected, answers)} (config: query_types.{name}.answers)"
        )
    if query_type["needs_target"] and not has_target:
        yield f"query type {name!r} needs a target_object (an object_id of objects.csv, several joined by +)"


def check_targets(path: Path, samples: pd.DataFrame, objects: pd.DataFrame) -> Iterator[str]:
    """Targets that no object of the sample's image answers to."""
    known = set(zip(objects["image"].tolist(), objects["object_id"].tolist(), strict=True))
    for row in records(samples.loc[samples["target_object"] != "", ["image", "line", "target_object"]]):
        image = row["image"]
        for target in row["target_object"].split("+"):
            if not any((one, target) in known for one in images_of(image)):
                there = objects["object_id"][objects["image"].isin(images_of(image))].tolist()
                hint = nearest(target, there) if there else " The image has no objects."
                here = f"{path}, line {row['line']}"
                yield f"{here}: target_object {shown(target)} is not an object of {shown(image)}.{hint}"


def check_objects(path: Path, objects: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """What is wrong with single objects; boxes are held against the sizes of the images that are known."""
    first_line = objects.groupby(["image", "object_id"])["line"].first().to_dict()
    for row in objects[~plainly_right(objects, sizes)].to_dict("records"):
        here, key = f"{path}, line {row['line']}", (row["image"], row["object_id"])
        if not SAFE_ID.fullmatch(row["object_id"]):
            yield f"{here}: object_id {shown(row['object_id'])} must be letters, digits, '.', '_' or '-'"
        elif first_line[key] != row["line"]:
            name = f"object_id {shown(row['object_id'])} of {shown(row['image'])}"
            yield f"{here}: {name} occurs already in line {first_line[key]}"
        try:
            x_min, y_min, x_max, y_max = (float(row[edge]) for edge in BOX)
        except ValueError:
            yield f"{here}: the box {', '.join(shown(row[edge]) for edge in BOX)} must be four numbers"
            continue
        problem = box_problem((x_min, y_min, x_max, y_max), row["image"], sizes.get(row["image"]))
        if problem:
            yield f"{here}: {problem}"


def plainly_right(objects: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]) -> pd.Series:
    """Objects that columns alone show to be in order: a box on an image of unknown size, an id of its own.

    Of hundreds of thousands of objects few are left to be looked at one by one.
    """
    try:
        x_min, y_min, x_max, y_max = (objects[edge].astype(float) for edge in BOX)
    except ValueError:
        return pd.Series(False, index=objects.index)
    box = (x_min >= 0) & (y_min >= 0) & (x_min < x_max) & (y_min < y_max) & np.isfinite(x_max) & np.isfinite(y_max)
    named = objects["object_id"].str.fullmatch(SAFE_ID) & ~objects.duplicated(["image", "object_id"])
    small = is_under_a_pixel(x_min, y_min, x_max, y_max)
    return box & named & ~small & ~objects["image"].isin(sizes)


def same_to_readers(*tables: tuple[Path, pd.DataFrame]) -> Iterator[str]:
    """Images whose names differ in their Unicode form, or as ./a.png and a.png: one picture would be two."""
    first: dict[str, tuple[str, str]] = {}
    for path, rows in tables:
        for named, line in rows.groupby("image", sort=False)["line"].first().items():
            for image in images_of(str(named)):
                plain = str(PurePosixPath(image))
                other, place = first.setdefault(composed(plain), (image, f"{path.name}, line {line}"))
                if other != image:
                    way = "in another way" if plain == str(PurePosixPath(other)) else "in another Unicode form"
                    yield (f"{path}, line {line}: image {image!r} is written {way} than in {place}; write both alike")


def look_at_images(
    folder: Path, samples: pd.DataFrame, objects: pd.DataFrame, wanted: Collection[str] | None
) -> Pictures:
    """Open the wanted images and the masks of their objects."""
    sizes: dict[str, tuple[int, int]] = {}
    turned, problems, tried = set(), [], set()
    for table, rows in (("samples.csv", samples), ("objects.csv", objects)):
        for named, line in rows.groupby("image", sort=False)["line"].first().items():
            for image in images_of(str(named)):
                if image in tried or (wanted is not None and image not in wanted):
                    continue
                tried.add(image)
                try:
                    sizes[image], is_turned = upright_size(inside(folder / "images", image))
                except AtlasError as error:
                    hint = other_form(folder / "images" / image)
                    problems.append(f"{folder / table}, line {line}: image {shown(image)}: {error}{hint}")
                else:
                    turned |= {image} if is_turned else set()
    opened = objects[objects["image"].isin(sizes)]
    strays, of_masks = look_at_masks(folder, opened, sizes) if "mask" in objects else (0, [])
    return Pictures(sizes, frozenset(turned), strays, [*problems, *of_masks])


def look_at_masks(folder: Path, objects: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, list[str]]:
    """Count the masks that lie outside their boxes; say which cannot be read, are of another size, or are empty."""
    strays, problems = 0, []
    for row in objects[objects["mask"] != ""].to_dict("records"):
        here = f"{folder / 'objects.csv'}, line {row['line']}: mask {shown(row['mask'])}"
        try:
            mask = read_mask(inside(folder / "masks", row["mask"]))
        except AtlasError as error:
            problems.append(f"{here}: {error}")
            continue
        if mask.shape[::-1] != sizes[row["image"]]:
            problems.append(f"{here} is {mask.shape[::-1]}, its image {sizes[row['image']]} px")
        elif not mask.any():
            problems.append(f"{here} is empty")
        else:
            strays += lies_outside(mask, [row[edge] for edge in BOX])
    return strays, problems
