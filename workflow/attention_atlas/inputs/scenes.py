"""Scenes of coloured shapes: how they are laid out, and how their pictures and masks are drawn.

A scene is a light background and 2-6 objects that do not overlap; an object is a kind, a colour and a box in pixels,
which its shape fills. Everything is a function of the seed, in integers, so the same Pillow
draws the same bytes everywhere.
"""

import csv
import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from attention_atlas.errors import AtlasError

SIZE = 448
KINDS = ("circle", "square", "triangle", "star")
COLOURS = {
    "red": "#d62828",
    "green": "#2a9d3a",
    "blue": "#2456d6",
    "yellow": "#f2c811",
    "purple": "#8a2be2",
    "orange": "#f77f00",
}
BACKGROUNDS = ("#ffffff", "#f5f1e8", "#eaf2f8", "#eef5ea", "#f7ecef", "#ececec")
SMALLEST, LARGEST = 63, 119
MARGIN, GAP = 4, 10
SUPERSAMPLING = 8
OBJECT_COLUMNS = (
    *("image", "object_id", "label", "colour", "x_min", "y_min", "x_max", "y_max"),
    *("mask", "background"),
)


@dataclass(frozen=True)
class Shape:
    """One object of a scene; the box is half-open, in pixels of the picture."""

    kind: str
    colour: str
    x_min: int
    y_min: int
    x_max: int
    y_max: int

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle of the box."""
        return (self.x_min + self.x_max) / 2, (self.y_min + self.y_max) / 2


@dataclass(frozen=True)
class Scene:
    """A background colour and the objects on it, in reading order of their centres' rows and columns."""

    background: str
    shapes: tuple[Shape, ...]


def random_scene(random: Random, num_shapes: int, colours: tuple[str, ...] = tuple(COLOURS)) -> Scene:
    """A scene of `num_shapes` objects, kinds and colours drawn independently, boxes at least `GAP` px apart."""
    boxes: list[tuple[int, int, int, int]] = []
    for attempt in itertools.count(1):
        if len(boxes) == num_shapes:
            break
        if attempt % 500 == 0:  # the boxes so far may leave no room for another
            boxes.clear()
        box = random_box(random)
        if all(apart(box, other) for other in boxes):
            boxes.append(box)
    shapes = [Shape(random.choice(KINDS), random.choice(colours), *box) for box in boxes]
    shapes.sort(key=lambda shape: (shape.y_min, shape.x_min))
    return Scene(random.choice(BACKGROUNDS), tuple(shapes))


def random_box(random: Random) -> tuple[int, int, int, int]:
    """A square box inside the picture, clear of its edge."""
    side = random.randint(SMALLEST, LARGEST)
    x, y = (random.randint(MARGIN, SIZE - MARGIN - side) for _ in range(2))
    return x, y, x + side, y + side


def apart(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    """Whether two boxes leave at least `GAP` px between them."""
    return a[2] + GAP <= b[0] or b[2] + GAP <= a[0] or a[3] + GAP <= b[1] or b[3] + GAP <= a[1]


@lru_cache(maxsize=4096)
def coverage(kind: str, width: int, height: int) -> Image.Image:
    """How much of each pixel of its box a shape covers: a grey image of (width, height), 255 = all of it."""
    large = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING), 0)
    draw, right, bottom = ImageDraw.Draw(large), large.width - 1, large.height - 1
    if kind == "circle":
        draw.ellipse((0, 0, right, bottom), fill=255)
    elif kind == "square":
        draw.rectangle((0, 0, right, bottom), fill=255)
    elif kind == "triangle":
        draw.polygon([(right // 2, 0), (right, bottom), (0, bottom)], fill=255)
    elif kind == "star":
        draw.polygon([(round(x * right), round(y * bottom)) for x, y in star_corners()], fill=255)
    else:
        raise AtlasError(f"unknown shape {kind!r}; known: {', '.join(KINDS)}")
    return large.reduce(SUPERSAMPLING)


@lru_cache(maxsize=1)
def star_corners() -> tuple[tuple[float, float], ...]:
    """The ten corners of a regular five-pointed star, stretched to fill the unit square."""
    inner = math.sin(math.radians(18)) / math.sin(math.radians(54))
    points = [
        (radius * math.sin(math.radians(36 * k)), -radius * math.cos(math.radians(36 * k)))
        for k, radius in enumerate([1.0, inner] * 5)
    ]
    (left, right), (top, bottom) = ((min(values), max(values)) for values in zip(*points, strict=True))
    return tuple(((x - left) / (right - left), (y - top) / (bottom - top)) for x, y in points)


def draw_scene(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, edges anti-aliased."""
    picture = Image.new("RGB", (SIZE, SIZE), scene.background)
    for shape in scene.shapes:
        picture.paste(COLOURS[shape.colour], (shape.x_min, shape.y_min), box_coverage(shape))
    return picture


def draw_mask(shape: Shape) -> Image.Image:
    """The mask of one object: 1-bit, set on every pixel that the shape touches, so that it fills its box exactly."""
    mask = Image.new("1", (SIZE, SIZE), 0)
    mask.paste(1, (shape.x_min, shape.y_min), box_coverage(shape).point(lambda value: 255 * (value > 0), mode="1"))
    return mask


def box_coverage(shape: Shape) -> Image.Image:
    """`coverage` of a shape in its own box."""
    return coverage(shape.kind, shape.x_max - shape.x_min, shape.y_max - shape.y_min)


def draw_study(folder: Path) -> None:
    """Draw images/*.png and masks/*.png of a study of scenes from its objects.csv."""
    for image, rows in rows_by_image(folder / "objects.csv").items():
        scene = Scene(rows[0]["background"], tuple(shape_of(row) for row in rows))
        save(draw_scene(scene), folder / "images" / image)
        for row, shape in zip(rows, scene.shapes, strict=True):
            save(draw_mask(shape), folder / "masks" / row["mask"])


def rows_by_image(objects_csv: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of objects.csv, by image, in their order; refuses a table without the columns that drawing needs."""
    images: dict[str, list[dict[str, str]]] = {}
    if not objects_csv.is_file():
        raise AtlasError(f"{objects_csv}: there is no such file; scenes are drawn from it")
    with objects_csv.open(newline="", encoding="utf-8-sig") as table:
        reader = csv.DictReader(table)
        missing = [column for column in OBJECT_COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise AtlasError(f"{objects_csv}: cannot draw scenes without the column(s) {', '.join(missing)}")
        for line, row in enumerate(reader, start=2):
            if row["label"] not in KINDS or row["colour"] not in COLOURS:
                raise AtlasError(
                    f"{objects_csv}, line {line}: cannot draw a {row['colour']!r} {row['label']!r}; "
                    f"shapes: {', '.join(KINDS)}; colours: {', '.join(COLOURS)}"
                )
            images.setdefault(row["image"], []).append(row)
    return images


def shape_of(row: dict[str, str]) -> Shape:
    """The shape that a row of objects.csv describes."""
    return Shape(row["label"], row["colour"], *(int(row[edge]) for edge in ("x_min", "y_min", "x_max", "y_max")))


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG; its bytes depend on the pixels and the Pillow version alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, format="PNG", optimize=False, compress_level=9)
