"""Annotations in the COCO format as an imported study (https://cocodataset.org/#format-data)."""

import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from random import Random
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainValidator,
    ValidationError,
)

from attention_atlas.config import Section, describe, told_once
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.box_units import FRACTIONS, MOST_FRACTION, ROUNDING, Box, are_fractions, is_under_a_pixel
from attention_atlas.inputs.files import composed, is_missing, located, name_problem
from attention_atlas.inputs.importing import (
    HALVES,
    ImportedStudy,
    Row,
    check_rows,
    in_words,
    refuse,
    safe_names,
    sizes_of,
)
from attention_atlas.inputs.query_templates import (
    AnnotatedImage,
    AnnotatedObject,
    Label,
    Template,
    ask,
    check_templates,
    plain_label,
)
from attention_atlas.inputs.segmentations import mask_of
from attention_atlas.inputs.study import BOX
from attention_atlas.reading import parse_json, read_text

MOST_OUTSIDE = 0.1  # of all boxes: some datasets draw a few beyond the edge
COLOUR_NAMES = ("colour", "color")


class Record(Section):
    """A part of a COCO file; keys that are not needed are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def id_of(value: Any) -> int | str:
    """A number or a text; one message for both."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError(f"must be a whole number or a text, not {value!r}")
    return value


def or_else(default: Any) -> BeforeValidator:
    """What null, or an empty list, stands for."""
    return BeforeValidator(lambda value: default if value is None or value == [] else value)


Id = Annotated[int | str, PlainValidator(id_of)]


class Picture(Record):
    """An entry of `images`."""

    id: Id
    file_name: str = Field(min_length=1)
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class Category(Record):
    """An entry of `categories`."""

    id: Id
    name: Label = Field(min_length=1)


class Annotation(Record):
    """An entry of `annotations`; the box is x, y, width, height. What is null is not given."""

    id: Annotated[Id, or_else("")] = ""
    image_id: Id
    category_id: Id
    bbox: Annotated[tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None, or_else(None)] = None
    iscrowd: Annotated[bool, or_else(False)] = False
    area: float | None = None
    segmentation: Any = None
    attributes: Annotated[dict[str, Any], or_else({})] = Field(default_factory=dict)


class Coco(Record):
    """A COCO file of boxes."""

    images: tuple[Picture, ...] = Field(min_length=1)
    categories: tuple[Category, ...] = Field(min_length=1)
    annotations: tuple[Annotation, ...]

    @property
    def labels(self) -> list[str]:
        """The names of the categories, each once."""
        return list(dict.fromkeys(category.name for category in self.categories))


@dataclass(frozen=True)
class Choice:
    """Which images are imported: at most `most_images` of them, drawn by `seed`; what is done with crowds and gaps."""

    most_images: int | None = None
    seed: int = 0
    keep_crowds: bool = False
    skip_missing: bool = False


@dataclass(frozen=True)
class AskedImage:
    """An image with the annotations behind its objects, the questions of each template, and what was left out."""

    picture: Picture
    image: AnnotatedImage
    annotations: dict[str, Annotation]
    questions: list[tuple[Template, dict[str, Any]]]
    told: Counter[str]


def import_coco(
    annotations: Path,
    images: Path,
    templates: Sequence[Template],
    query_types: Mapping[str, Any],
    output: Path,
    choice: Choice,
) -> ImportedStudy:
    """The study that query templates make of a COCO file and its images; nothing is written.

    `output` is where it is to go, for errors. The same arguments give the same study. Raises AtlasError listing every
    problem.
    """
    coco, changed = read_coco(annotations)
    refuse(list(check_templates(templates, query_types, coco.labels)))
    asked, left_out = ask_images(coco, images, templates, query_types, choice)
    told = changed + left_out
    if not asked:
        why = "; ".join([*in_words(told), *doubts_about_edges(coco)])
        raise AtlasError(f"{annotations}: no query fits any image ({why})")
    ids = image_ids(coco)
    refuse(size_problems(images, asked), annotations)  # before masks of a size that no image has fill the memory
    masks, mask_problems = masks_of(asked, ids, told)
    refuse(mask_problems, annotations)
    samples = with_lines(sample_rows(asked, ids, safe_names(coco.labels)))
    objects = with_lines(object_rows(asked, ids, masks))
    sizes = {one.picture.file_name: (one.picture.width, one.picture.height) for one in asked}
    refuse(check_rows(output / "samples.csv", output / "objects.csv", samples, objects, query_types, sizes))
    return ImportedStudy(samples, objects, masks, told, tuple(doubts_about_edges(coco)))


def read_coco(path: Path) -> tuple[Coco, Counter[str]]:
    """A COCO file of boxes, every problem listed, and what was changed in reading it."""
    content = parse_json(read_text(path), path)
    if not isinstance(content, dict):
        raise AtlasError(
            f"{path}: must hold a mapping with images, annotations and categories; it holds {type(content).__name__}"
        )
    try:
        coco = Coco.model_validate(content)
    except ValidationError as error:
        problems = filter(told_once, error.errors(include_url=False))
        refuse([describe(Coco, problem) for problem in problems], path)
        raise
    told = Counter({"category names read without needless spaces": needless_spaces(content["categories"])})
    coco = read_once(coco, told)
    refuse([*repeated(coco), *alike(coco.labels), *unknown_references(coco), *unit_problems(coco)], path)
    told["categories of the name of another: read as one"] = len(coco.categories) - len(coco.labels)
    return coco, +told


def needless_spaces(categories: Sequence[Mapping[str, Any]]) -> int:
    """How many names of categories are written with spaces around them or doubled in them."""
    return sum(composed(category["name"]) != plain_label(category["name"]) for category in categories)


def read_once(coco: Coco, told: Counter[str]) -> Coco:
    """The file without entries that are the same as an earlier one of their id, which are counted."""
    parts: dict[str, tuple[Any, ...]] = {}
    for what in ("images", "categories", "annotations"):
        first: dict[int | str, Any] = {}
        entries = getattr(coco, what)
        parts[what] = tuple(
            one for one in entries if one.id == "" or first.setdefault(one.id, one) is one or one != first[one.id]
        )
        told[f"{what} that stand twice: read once"] = len(entries) - len(parts[what])
    return coco.model_copy(update=parts)


def repeated(coco: Coco) -> Iterator[str]:
    """Ids and files that occur more than once."""
    for what, names in (
        ("image id", [picture.id for picture in coco.images]),
        ("file_name", [composed(str(PurePosixPath(picture.file_name))) for picture in coco.images]),
        ("category id", [category.id for category in coco.categories]),
        ("annotation id", [annotation.id for annotation in coco.annotations if annotation.id != ""]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{what} {name!r} occurs {count} times, with different entries; keep the right one"


def alike(labels: Sequence[str]) -> Iterator[str]:
    """Names of categories that differ in case alone: their objects would be counted apart."""
    first: dict[str, str] = {}
    for label in labels:
        other = first.setdefault(label.casefold(), label)
        if other != label:
            yield f"categories {other!r} and {label!r} differ in case alone; give them one name"


def unknown_references(coco: Coco) -> Iterator[str]:
    """Annotations of images or categories that are not in the file."""
    images, categories = ({part.id for part in parts} for parts in (coco.images, coco.categories))
    for number, annotation in enumerate(coco.annotations):
        if annotation.image_id not in images:
            yield f"annotations.{number}: image_id {annotation.image_id!r} is no id of images"
        if annotation.category_id not in categories:
            yield f"annotations.{number}: category_id {annotation.category_id!r} is no id of categories"


def unit_problems(coco: Coco) -> Iterator[str]:
    """Boxes that are fractions of the sides of their image."""
    pictures = {picture.id: picture for picture in coco.images}
    for annotation in coco.annotations:
        picture = pictures.get(annotation.image_id)
        if annotation.bbox is None or picture is None or min(picture.width, picture.height) == 1:
            continue
        has_area = min(annotation.bbox[2:]) > 0
        if has_area and (are_fractions(annotation.bbox) or max(edges(annotation.bbox)) <= MOST_FRACTION):
            yield (
                f"annotation {annotation.id!r} of {picture.file_name!r}: bbox {list(annotation.bbox)} is smaller than "
                f"a pixel, or ends at the first; COCO's bbox is x, y, width, height in pixels, {FRACTIONS}"
            )


def ask_images(
    coco: Coco, images: Path, templates: Sequence[Template], query_types: Mapping[str, Any], choice: Choice
) -> tuple[list[AskedImage], Counter[str]]:
    """The images that get questions, in the order of the file, and what was left out."""
    there = [one for one in coco.images if not (choice.skip_missing and is_absent(images, one.file_name))]
    told = Counter({"images left out: not in the folder": len(coco.images) - len(there)})
    annotations: dict[int | str, list[Annotation]] = {picture.id: [] for picture in there}
    for annotation in coco.annotations:
        if annotation.image_id in annotations:
            annotations[annotation.image_id].append(annotation)
    order = list(range(len(there)))
    if choice.most_images is not None:
        Random(f"images {choice.seed}").shuffle(order)
    asked: dict[int, AskedImage] = {}
    for tried, place in enumerate(order):
        if len(asked) == choice.most_images:
            told["images left out: beyond the most images"] = len(order) - tried
            break
        picture = there[place]
        one = ask_image(picture, annotations[picture.id], coco, templates, query_types, choice)
        told += one.told
        if one.questions:
            asked[place] = one
        else:
            told["images left out: no query fits"] += 1
    return [asked[place] for place in sorted(asked)], +told


def ask_image(
    picture: Picture,
    annotations: Sequence[Annotation],
    coco: Coco,
    templates: Sequence[Template],
    query_types: Mapping[str, Any],
    choice: Choice,
) -> AskedImage:
    """One image with its objects and all its questions."""
    names = {category.id: category.name for category in coco.categories}
    image, kept, told = annotated_image(picture, annotations, names, choice.keep_crowds)
    questions = []
    for template in templates:
        random = Random(f"{choice.seed} {template.query_id} {template.absent} {picture.file_name}")
        answers = query_types[template.query_type]["answers"]
        some, left_out = ask(template, image, coco.labels, answers, random)
        questions += [(template, one) for one in some]
        told += left_out
    return AskedImage(picture, image, kept, questions, told)


def annotated_image(
    picture: Picture, annotations: Sequence[Annotation], names: Mapping[int | str, str], keep_crowds: bool
) -> tuple[AnnotatedImage, dict[str, Annotation], Counter[str]]:
    """The objects of an image, the annotation behind each by object id, and what was left out or changed."""
    objects: list[AnnotatedObject] = []
    kept: dict[str, Annotation] = {}
    uncounted, incomplete = set(), set()
    told: Counter[str] = Counter()
    for annotation in annotations:
        label = names[annotation.category_id]
        reason = "crowds" if annotation.iscrowd and not keep_crowds else why_no_box(annotation.bbox, picture)
        if annotation.iscrowd or reason:
            uncounted.add(label)
        if reason or annotation.bbox is None:
            incomplete.add(label)
            told[f"boxes left out: {reason}"] += 1
            continue
        box = clipped(annotation.bbox, picture)
        told["boxes clipped to their image"] += was_clipped(annotation.bbox, box)
        one = AnnotatedObject(f"object_{len(objects)}", label, colour_of(annotation), box, annotation.iscrowd)
        objects.append(one)
        kept[one.object_id] = annotation
    return AnnotatedImage(picture.file_name, tuple(objects), frozenset(uncounted), frozenset(incomplete)), kept, told


def is_absent(images: Path, name: str) -> bool:
    """Whether a name is one of a file that is not in the folder, nor a link to it."""
    return not name_problem(images, name) and is_missing(located(images, name))


def why_no_box(bbox: Box | None, picture: Picture) -> str:
    """Why an annotation has no box that an object can have, empty where it has one."""
    if bbox is None:
        return "not given"
    box = clipped(bbox, picture)
    if not (box[0] < box[2] and box[1] < box[3]):
        return "no area inside their image"
    return "smaller than a pixel" if is_under_a_pixel(*box) and (picture.width, picture.height) != (1, 1) else ""


def edges(bbox: Box) -> Box:
    """x, y, width, height -> x_min, y_min, x_max, y_max, without the last digits that adding makes up."""
    x, y, width, height = bbox
    return round(x, 6), round(y, 6), round(x + width, 6), round(y + height, 6)


def clipped(bbox: Box, picture: Picture) -> Box:
    """The edges of a box, inside its image."""
    x_min, y_min, x_max, y_max = edges(bbox)
    return max(x_min, 0.0), max(y_min, 0.0), min(x_max, float(picture.width)), min(y_max, float(picture.height))


def was_clipped(bbox: Box, box: Box) -> bool:
    """Whether clipping changed a box by more than rounding."""
    return any(not math.isclose(a, b, abs_tol=ROUNDING, rel_tol=0) for a, b in zip(edges(bbox), box, strict=True))


def doubts_about_edges(coco: Coco) -> Iterator[str]:
    """Say so where boxes seem not to be x, y, width, height in pixels, which COCO's are."""
    pictures = {picture.id: (picture.width, picture.height) for picture in coco.images}
    boxes = [(*pictures[one.image_id], *one.bbox) for one in coco.annotations if one.bbox]
    outside = sum(min(x, y) < -1 or x + w > width + 1 or y + h > height + 1 for width, height, x, y, w, h in boxes)
    told = f"{outside} of {len(boxes)} boxes reach more than a pixel outside their image as COCO's x, y, width, height"
    if outside and all(0 <= x < w <= width and 0 <= y < h <= height for width, height, x, y, w, h in boxes):
        yield f"{told}, and all of them would fit as x_min, y_min, x_max, y_max; look with `atlas boxes`"
    elif outside > MOST_OUTSIDE * len(boxes):
        yield f"{told} in pixels: unit, order of the numbers or files may be others; look with `atlas boxes`"


def colour_of(annotation: Annotation) -> str:
    """The colour among an annotation's attributes, where annotators gave one."""
    return next((str(annotation.attributes[name]) for name in COLOUR_NAMES if annotation.attributes.get(name)), "")


def size_problems(images: Path, asked: Sequence[AskedImage]) -> list[str]:
    """Images that are missing, cannot be read, or are not of the size that their boxes are for."""
    sizes, problems = sizes_of(images, {one.picture.file_name: "images" for one in asked})
    for picture in (one.picture for one in asked):
        size, annotated = sizes.get(picture.file_name), (picture.width, picture.height)
        if size is not None and size != annotated:
            problems.append(
                f"images: image {picture.file_name!r} is {size[0]} x {size[1]} px, upright by its EXIF orientation; "
                f"its boxes are for {annotated[0]} x {annotated[1]}: annotate this file, or bring the one annotated"
            )
    return problems


def masks_of(
    asked: Sequence[AskedImage], ids: Mapping[str, str], told: Counter[str]
) -> tuple[dict[str, bytes], list[str]]:
    """The masks as PNG by file name, and what is wrong with the others."""
    masks: dict[str, bytes] = {}
    problems = []
    for one in asked:
        for object_id, annotation in one.annotations.items():
            try:
                mask = mask_of(annotation.segmentation, one.picture.height, one.picture.width, told)
            except AtlasError as error:
                problems.append(f"annotation {annotation.id!r} of {one.picture.file_name!r}: {error}")
                continue
            if mask is not None and mask.any():
                masks[mask_name(ids, one.picture.file_name, object_id)] = png(mask)
            elif mask is not None:
                told["masks left out: no pixel's centre inside"] += 1
    return masks, problems


def png(mask: np.ndarray) -> bytes:
    """A mask as a 1-bit PNG."""
    content = io.BytesIO()
    Image.fromarray(mask).save(content, format="PNG", compress_level=9)
    return content.getvalue()


def image_ids(coco: Coco) -> dict[str, str]:
    """What ids of samples and masks call each image: its file, without its ending where that leaves all different."""
    files = [picture.file_name for picture in coco.images]
    stems = [str(PurePosixPath(file).with_suffix("")) for file in files]
    called = stems if len(set(stems)) == len(files) else files
    safe = safe_names(called)
    return {file: safe[name] for file, name in zip(files, called, strict=True)}


def sample_rows(asked: Sequence[AskedImage], ids: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[Row]:
    """The rows of samples.csv; the splits take turns from image to image."""
    for number, one in enumerate(asked):
        for template, question in one.questions:
            about = question["object_id"] or labels.get(question["label"], "")
            yield {
                "sample_id": "-".join(filter(None, (ids[one.picture.file_name], template.query_id, about))),
                "image": one.picture.file_name,
                "query_id": template.query_id,
                "query_type": template.query_type,
                "query": question["query"],
                "expected_answer": question["expected_answer"],
                "condition": "",
                "target_object": question["target_object"],
                "split": HALVES[number % len(HALVES)],
            }


def mask_name(ids: Mapping[str, str], image: str, object_id: str) -> str:
    """The file of a mask."""
    return f"{ids[image]}-{object_id}.png"


def object_rows(asked: Sequence[AskedImage], ids: Mapping[str, str], masks: Mapping[str, bytes]) -> Iterator[Row]:
    """The rows of objects.csv."""
    for one in asked:
        image = one.picture.file_name
        for thing in one.image.objects:
            annotation, mask = one.annotations[thing.object_id], mask_name(ids, image, thing.object_id)
            yield {
                "image": image,
                "object_id": thing.object_id,
                "label": thing.label,
                "colour": thing.colour,
                **{edge: f"{value:.10g}" for edge, value in zip(BOX, thing.box, strict=True)},
                "mask": mask if mask in masks else "",
                "area": "" if annotation.area is None else f"{annotation.area:.10g}",
                "iscrowd": int(thing.is_crowd),
            }


def with_lines(rows: Iterator[Row]) -> list[Row]:
    """Rows with the lines that they will have in their table."""
    return [{**row, "line": line} for line, row in enumerate(rows, start=2)]
