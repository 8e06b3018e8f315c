"""Writing an imported study: its tables, its images and masks, once all of it is known to be in order."""

import filecmp
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from attention_atlas.errors import AtlasError
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.study import (
    MOST_PROBLEMS,
    OBJECT_COLUMNS,
    SAMPLE_COLUMNS,
    check_objects,
    check_samples,
    check_targets,
    inside,
)
from attention_atlas.reading import control_character, other_form, shown

Row = dict[str, Any]


@dataclass(frozen=True)
class ImportedStudy:
    """Rows of both tables, each with the `line` it is told by; masks as PNG by file name; what was counted on the way.

    `told` has what was left out or changed, and how often.
    """

    samples: list[Row]
    objects: list[Row]
    masks: dict[str, bytes] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)


def write_imported(
    study: ImportedStudy, images: Path, output: Path, *, link: bool = False, overwrite: bool = False
) -> None:
    """Write samples.csv, objects.csv, images/ and masks/ into `output`; images are copied or hard-linked from `images`.

    Raises AtlasError, before anything is written, where a file is there already and differs.
    """
    refuse_existing(output, overwrite)
    pictures = {row["image"]: inside(images, row["image"]) for row in (*study.samples, *study.objects)}
    targets = {name: inside(output / "images", name) for name in pictures}
    if not overwrite:
        refuse([differs(source, targets[name]) for name, source in pictures.items() if clashes(source, targets[name])])
    for name, source in pictures.items():
        place(source, targets[name], link)
    for name, content in study.masks.items():
        (output / "masks").mkdir(parents=True, exist_ok=True)
        (output / "masks" / name).write_bytes(content)
    write_rows(output / "objects.csv", OBJECT_COLUMNS, study.objects)
    write_rows(output / "samples.csv", SAMPLE_COLUMNS, study.samples)  # last: it is what makes a folder a study


def refuse_existing(output: Path, overwrite: bool) -> None:
    """Refuse a folder that has a study already."""
    there = [name for name in ("samples.csv", "objects.csv") if (output / name).exists()]
    if there and not overwrite:
        raise AtlasError(f"{output / there[0]} is there already; choose another --output, or give --overwrite")


def clashes(source: Path, target: Path) -> bool:
    """Whether another file than the source lies where it is to go."""
    return target.exists() and not filecmp.cmp(source, target, shallow=False)


def differs(source: Path, target: Path) -> str:
    """How a clash is told."""
    return f"{target} is there already and differs from {source}; choose another --output, or give --overwrite"


def place(source: Path, target: Path, link: bool) -> None:
    """Copy or hard-link a file; a file that is the source itself stays."""
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # writing into a hard link of an earlier import would change its original
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
    path.parent.mkdir(parents=True, exist_ok=True)
    table.reindex(columns=[*columns, *further]).to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


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
    for name, here in names.items():
        try:
            sizes[name] = read_image(inside(images, name)).size
        except AtlasError as error:
            problems.append(f"{here}: image {name!r}: {error}{other_form(images / name)}")
    return sizes, problems


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
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")
        while not plain or plain in taken:
            plain = f"{plain}_{number}".lstrip("_")
        taken.add(plain)
        safe[name] = plain
    return safe


def in_words(told: Mapping[str, int]) -> list[str]:
    """What was counted, a line each: "3 boxes left out: crowds"."""
    return [f"{count} {what}" for what, count in told.items()]
