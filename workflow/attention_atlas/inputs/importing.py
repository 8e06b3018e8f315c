"""Writing an imported study: its tables, its images and masks, once all of it is known to be in order."""

import filecmp
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from attention_atlas.errors import AtlasError
from attention_atlas.files import write_text
from attention_atlas.inputs.box_units import clip_rounding
from attention_atlas.inputs.files import file_problem, inside, is_missing
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.study import (
    BOX,
    MOST_PROBLEMS,
    OBJECT_COLUMNS,
    SAMPLE_COLUMNS,
    check_conditions,
    check_objects,
    check_samples,
    check_splits,
    check_targets,
    same_to_readers,
)
from attention_atlas.inputs.views import all_images, images_of
from attention_atlas.reading import control_character, other_form, shown

Row = dict[str, Any]
HALVES = ("select", "evaluate")
LONGEST_ID = 100  # characters of a name in an id: ids are parts of file names


@dataclass(frozen=True)
class ImportedStudy:
    """Rows of both tables, each with the `line` it is told by; masks as PNG by file name; what was counted on the way.

    `told` has what was left out or changed, and how often; `doubts` what looks wrong, a sentence each.
    """

    samples: list[Row]
    objects: list[Row]
    masks: dict[str, bytes] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)
    doubts: tuple[str, ...] = ()


def write_imported(
    study: ImportedStudy, images: Path, output: Path, *, link: bool = False, overwrite: bool = False
) -> None:
    """Write samples.csv, objects.csv, images/ and masks/ into `output`; images are copied or hard-linked from `images`.

    Raises AtlasError, before anything is written, where a file is there already and differs.
    """
    refuse_existing(output, overwrite)
    names = all_images(row["image"] for row in (*study.samples, *study.objects))
    pictures = {name: inside(images, name) for name in sorted(names)}
    targets = {name: inside(output / "images", name) for name in pictures}
    refuse([told for name, source in pictures.items() if (told := in_the_way(source, targets[name], overwrite))])
    try:
        for name, source in pictures.items():
            place(source, targets[name], link)
        for name, content in study.masks.items():
            fresh(output / "masks" / name).write_bytes(content)
        write_rows(output / "objects.csv", OBJECT_COLUMNS, study.objects)
        write_rows(output / "samples.csv", SAMPLE_COLUMNS, study.samples)  # last: it is what makes a folder a study
    except OSError as error:
        raise AtlasError(f"{error.filename or output}: cannot be written ({error.strerror})") from None


def refuse_existing(output: Path, overwrite: bool) -> None:
    """Refuse a folder that has a study already."""
    there = [name for name in ("samples.csv", "objects.csv") if (output / name).exists()]
    if there and not overwrite:
        raise AtlasError(f"{output / there[0]} is there already; choose another --output, or give --overwrite")


def in_the_way(source: Path, target: Path, overwrite: bool) -> str | None:
    """Say what keeps a file from its place, if anything."""
    if not os.path.lexists(target):
        return None
    problem = None if is_missing(target) else file_problem(target)
    if problem:
        return f"{target} {problem}; choose another --output"
    if overwrite or (not is_missing(target) and filecmp.cmp(source, target, shallow=False)):
        return None
    return f"{target} is there already and differs from {source}; choose another --output, or give --overwrite"


def fresh(path: Path) -> Path:
    """Make room for a file: writing into a link of an earlier import, or of DVC's cache, would change its original."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def place(source: Path, target: Path, link: bool) -> None:
    """Copy or hard-link a file; a file that is the source itself stays."""
    if target.exists() and target.samefile(source):
        return
    fresh(target)
    if not link:
        shutil.copyfile(source, target)
        return
    try:
        target.hardlink_to(source.resolve())
    except OSError as error:
        raise AtlasError(f"{target} cannot be linked to {source} ({error.strerror}); give --copy") from None


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a table as CSV, its further columns after the standard ones, without `line`."""
    table = pd.DataFrame(rows).drop(columns="line", errors="ignore")
    further = [name for name in table.columns if name not in columns]
    text = table.reindex(columns=[*columns, *further]).to_csv(index=False, lineterminator="\n")
    write_text(path, text)


def check_rows(
    samples_path: Path,
    objects_path: Path,
    samples: Sequence[Row],
    objects: Sequence[Row],
    query_types: Mapping[str, Any],
    sizes: Mapping[str, tuple[int, int]],
) -> list[str]:
    """What is wrong with rows that are to be written, told by the paths and lines they come from."""
    sample_table = pd.DataFrame(samples, columns=[*SAMPLE_COLUMNS, "line"])
    object_table = pd.DataFrame(objects, columns=[*OBJECT_COLUMNS, "line"])
    return [
        *odd_characters(samples_path, samples),
        *odd_characters(objects_path, objects),
        *check_samples(samples_path, sample_table, query_types),
        *check_conditions(samples_path, sample_table),
        *check_splits(samples_path, sample_table),
        *same_to_readers((samples_path, sample_table), (objects_path, object_table)),
        *check_targets(samples_path, sample_table, object_table),
        *check_objects(objects_path, object_table, sizes),
    ]


def odd_characters(path: Path, rows: Iterable[Row]) -> Iterator[str]:
    """Texts with characters that the table could not be read back with."""
    for row in rows:
        for name, value in row.items():
            odd = control_character(value) if isinstance(value, str) else None
            if odd is not None:
                yield f"{path}, line {row['line']}: {name} {shown(value)} holds the character {odd!r}; take it out"


def sizes_of(images: Path, names: Mapping[str, str]) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """(width, height) of images by name, and what is wrong with the others; `names` has where each is named."""
    sizes, problems = {}, []
    first: dict[str, str] = {}
    for named, here in names.items():
        for name in images_of(named):
            first.setdefault(name, here)
    for name, here in first.items():
        try:
            sizes[name] = read_image(inside(images, name)).size
        except AtlasError as error:
            problems.append(f"{here}: image {name!r}: {error}{other_form(images / name)}")
    return sizes, problems


def clipped_to_images(objects: Sequence[Row], sizes: Mapping[str, tuple[int, int]]) -> list[Row]:
    """Objects whose boxes end where their image does where no more than rounding is between."""
    return [{**row, **clipped_box(row, sizes[row["image"]])} if row["image"] in sizes else row for row in objects]


def clipped_box(row: Row, size: tuple[int, int]) -> dict[str, str]:
    """The edges of one box, as texts of a table."""
    x_min, y_min, x_max, y_max = (float(row[edge]) for edge in BOX)
    clipped = clip_rounding((x_min, y_min, x_max, y_max), size)
    return {edge: f"{value:.10g}" for edge, value in zip(BOX, clipped, strict=True)}


def divided_by_image(path: Path, samples: Sequence[Row], seed: int) -> list[Row]:
    """Samples with splits, drawn by seed: about as many images in each, and images of one question in the same.

    Raises AtlasError where a sample has a split already, with its line in `path`.
    """
    given = next((row for row in samples if row["split"]), None)
    if given:
        raise AtlasError(
            f"{path}, line {given['line']}: split is {given['split']!r} already; leave out --split or that column"
        )
    group = groups(images_of(row["image"]) for row in samples)
    members: dict[str, list[str]] = {}
    for image in sorted(group):
        members.setdefault(group[image], []).append(image)
    order = list(members)
    Random(f"split {seed}").shuffle(order)
    images_in = dict.fromkeys(HALVES, 0)
    split_of: dict[str, str] = {}
    for name in order:
        smaller = min(HALVES, key=images_in.__getitem__)
        split_of[name] = smaller
        images_in[smaller] += len(members[name])
    return [{**row, "split": split_of[group[images_of(row["image"])[0]]]} for row in samples]


def groups(lists: Iterable[Sequence[str]]) -> dict[str, str]:
    """Name -> the first name of its group: names that stand in one list are of one group, and so on."""
    leader: dict[str, str] = {}

    def lead(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for first, *others in lists:
        for other in others:
            one, two = sorted((lead(first), lead(other)))
            leader[two] = one
        lead(first)
    return {name: lead(name) for name in leader}


def lacking_splits(samples: pd.DataFrame) -> str | None:
    """Say which splits have no image, and what follows, if so."""
    empty = [split for split in HALVES if split not in set(samples["split"])]
    if not empty:
        return None
    what = f"no sample is in the split {' or '.join(empty)}"
    return (
        f"{what}: heads are chosen on select and evaluated on evaluate, so their tables will say that they lack images"
    )


def refuse(problems: Sequence[str], source: Path | None = None) -> None:
    """Raise one AtlasError that lists the problems, if there are any."""
    if problems:
        told = list(problems[:MOST_PROBLEMS])
        more = [f"... and {len(problems) - len(told)} more"] if len(problems) > len(told) else []
        what = f"{source}: " if source else ""
        raise AtlasError(f"{what}{len(problems)} problem(s)\n  " + "\n  ".join([*told, *more]))


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as a part of an id: letters, digits, '.', '_' and '-', no two alike."""
    safe: dict[str, str] = {}
    taken: set[str] = set()
    for number, name in enumerate(dict.fromkeys(names)):
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:LONGEST_ID]
        while not plain or plain in taken:
            plain = f"{plain}_{number}".lstrip("_")
        taken.add(plain)
        safe[name] = plain
    return safe


def in_words(told: Mapping[str, int]) -> list[str]:
    """What was counted, a line each: "3 boxes left out: crowds"."""
    return [f"{count} {what}" for what, count in told.items()]
