"""Units of boxes: they are in pixels of the upright image, and much of what is not looks right number by number.

What no box in pixels can be is refused box by box. What all boxes of a study together make unlikely is told as a doubt,
one sentence for all of them, since small objects in a corner are no error.
"""

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TypeVar

import numpy as np
import pandas as pd

Box = tuple[float, float, float, float]
Size = tuple[int, int]
Numbers = TypeVar("Numbers", float, pd.Series)
BOX = ("x_min", "y_min", "x_max", "y_max")
UNITS = "boxes are x_min, y_min, x_max, y_max in pixels of the image"
FRACTIONS = "these look like fractions of its sides: multiply them by its width and height"
# Fractions of a side that rounding, or a box a little too large, has beyond the side.
MOST_FRACTION = 1.05
ROUNDING = 1e-3  # px; boxes are written with two decimals, their edges are sums
# Boxes of a hundredth or a thousandth of a side as unit, and how likely boxes in pixels, each anywhere in its image,
# may be to lie within that many pixels by chance for this to be told. Thousandths are what models are trained to write.
SCALES = ((1000, "thousandths", 0.9), (100, "percentages", 0.1))
CORNER = 0.5  # of both sides
CHANCE = 0.1
CHANCE_OF_AN_IMAGE, FEWEST_IMAGES, PART_OF_IMAGES = 1e-3, 2, 0.1
SHARE = 0.95  # of all boxes: one outlier among many hides nothing


def is_under_a_pixel(x_min: Numbers, y_min: Numbers, x_max: Numbers, y_max: Numbers) -> Numbers:
    """Whether both sides of a box are shorter than a pixel, of a single box or of columns."""
    return (x_max - x_min < 1) & (y_max - y_min < 1)


def are_fractions(numbers: Box) -> bool:
    """Whether four numbers, in whatever order and meaning, can be fractions of an image's sides."""
    return all(0 <= number <= MOST_FRACTION for number in numbers) and any(number % 1 for number in numbers)


def box_problem(box: Box, image: str, size: Size | None) -> str | None:
    """Say what is wrong with a box on an image of this (width, height), None where the size is not known."""
    x_min, y_min, x_max, y_max = box
    told = written(box)
    if not all(map(math.isfinite, box)):
        return f"{told} must be four finite numbers"
    hint = f"; {UNITS}, {FRACTIONS}" if are_fractions(box) else ""
    if not (x_min < x_max and y_min < y_max):
        return f"{told} has no area; x_min < x_max and y_min < y_max must hold{hint or other_order(box, size)}"
    if is_under_a_pixel(*box):
        return f"{told} is smaller than a pixel{hint or f'; {UNITS}'}"
    width, height = size or (math.inf, math.inf)
    if size and min(size) > 1 and max(box) <= MOST_FRACTION:
        return f"{told} ends at the first pixel of {image!r} of {width} x {height} px; {UNITS}, {FRACTIONS}"
    if min(box) < 0 or x_max > width or y_max > height:
        of_size = f" of {width} x {height} px" if size else ""
        return f"{told} reaches outside the image {image!r}{of_size}{other_order(box, size)}"
    return None


def written(box: Box) -> str:
    """Return a box for an error, with enough digits to see what is wrong."""
    return f"box [{', '.join(f'{edge:.10g}' for edge in box)}]"


def other_order(box: Box, size: Size | None) -> str:
    """Return a hint at the meaning in which the numbers of a box that does not fit would fit."""
    width, height = size or (math.inf, math.inf)
    a, b, c, d = box
    if 0 <= b < d <= width and 0 <= a < c <= height:
        return f"; {UNITS}: it would fit with x and y exchanged"
    if min(box) >= 0 and c > 0 and d > 0 and a + c <= width and b + d <= height:
        return f"; {UNITS}: it would fit as x, y, width, height"
    if size is not None and min(box) >= 0 and max(box) <= SCALES[0][0]:
        return f"; {UNITS}, not of a resized copy, and not thousandths of its sides"
    return ""


def clip_rounding(box: Box, size: Size) -> Box:
    """Return a box whose edges lie on the image's where no more than rounding is between."""
    limits = (*size, *size)
    return tuple(  # type: ignore[return-value]
        next((limit for limit in (0.0, float(most)) if abs(edge - limit) <= ROUNDING), edge)
        for edge, most in zip(box, limits, strict=True)
    )


def lies_outside(mask: np.ndarray, box: Sequence[str]) -> bool:
    """Whether most of a mask (height, width) lies outside a box; False of a box that is no box."""
    try:
        x_min, y_min, x_max, y_max = (float(edge) for edge in box)
        rows = slice(max(0, math.floor(y_min)), max(0, math.ceil(y_max)))
        columns = slice(max(0, math.floor(x_min)), max(0, math.ceil(x_max)))
    except (ValueError, OverflowError):
        return False
    return bool(mask[rows, columns].sum() < mask.sum() / 2)


def doubts_about_boxes(
    objects: pd.DataFrame, sizes: Mapping[str, Size], turned: Set[str], strays: int
) -> Iterator[str]:
    """Say what is unlikely of boxes (numbers) on images of known sizes (width, height).

    `turned` are the images that EXIF turns, `strays` counts the masks that lie mostly outside their box.
    """
    seen = objects[objects["image"].isin(sizes)]
    if seen.empty:
        return
    size = np.array([sizes[image] for image in seen["image"].tolist()], dtype=float)
    far = seen[["x_max", "y_max"]].to_numpy(dtype=float)
    doubt = doubt_about_scale(far, size) or doubt_about_some_images(seen["image"], (far / size).max(axis=1))
    yield from filter(None, [doubt])
    twice = int(seen.duplicated(["image", "label", *BOX]).sum())
    if twice:
        yield (
            f"{twice} of {len(seen)} objects have label and box of another object of their image: a thing that stands "
            "twice is counted twice"
        )
    if strays:
        told = counted(strays, "mask lies", "masks lie")
        yield f"{told} mostly outside the box of its object: masks are the targets, boxes are drawn; {UNITS}"
    images = sorted(turned & set(seen["image"].tolist()))
    if images:
        yield (
            f"{counted(len(images), 'image with boxes is', 'images with boxes are')} turned or mirrored by EXIF "
            f"orientation, first {images[0]!r}: boxes are taken as upright, as viewers show the image"
        )


def doubt_about_scale(far: np.ndarray, size: np.ndarray) -> str | None:
    """Say in which other unit boxes seem to be: their lower right corners and their images' sizes, (n, 2) each."""
    for most, unit, chance in SCALES:
        larger = np.any(size > most, axis=1)
        within = np.all(far[larger] <= most * 1.001, axis=1)
        if larger.any() and mostly(within) and by_chance(most / size[larger]) <= chance:
            told = f"lie within 0 to {most}, as {unit} of the sides would"
            return f"{share(within)} on images of more than {most} px {told}; {UNITS}"
    reach = (far / size).max(axis=1)
    in_corner = reach <= CORNER
    if mostly(in_corner) and by_chance(np.full((in_corner.sum(), 2), reach[in_corner].max())) <= CHANCE:
        told = "lie in the upper left quarter of their image, as boxes in another unit or of a smaller copy would"
        return f"{share(in_corner)} {told}; {UNITS}"
    return None


def doubt_about_some_images(images: pd.Series, reach: np.ndarray) -> str | None:
    """Say how many images have boxes in their corner alone, as where studies in two units were joined.

    `reach` is how far each box goes to the right or down, as a share of the side, whichever is more.
    """
    of_images = pd.Series(reach).groupby(images.to_numpy()).agg(["max", "size"])
    odd = (of_images["max"] <= CORNER) & (of_images["max"] ** (2 * of_images["size"]) <= CHANCE_OF_AN_IMAGE)
    if odd.sum() < FEWEST_IMAGES or odd.mean() < PART_OF_IMAGES:
        return None
    return (
        f"{odd.sum()} of {len(odd)} images have all of several boxes in their upper left quarter, first "
        f"{odd.index[odd][0]!r}, as boxes in another unit or of a smaller copy would be; {UNITS}"
    )


def share(within: np.ndarray) -> str:
    """Return how many boxes are meant."""
    return f"all {len(within)} boxes" if within.all() and len(within) > 1 else f"{within.sum()} of {len(within)} boxes"


def mostly(within: np.ndarray) -> bool:
    """Whether nearly all boxes are within."""
    return bool(within.mean() >= SHARE)


def by_chance(parts: np.ndarray) -> float:
    """Chance that boxes anywhere in their images end within these parts of width and height, (n, 2)."""
    return float(np.exp(np.log(np.minimum(parts, 1)).sum()))


def counted(number: int, one: str, several: str) -> str:
    """Return a number with its noun."""
    return f"{number} {one if number == 1 else several}"
