"""Segmentations of COCO annotations as masks: polygons, run lengths, and run lengths packed into a string."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from skimage.draw import polygon

from attention_atlas.errors import AtlasError

LONGEST_NUMBER = 8  # digits in base 32 of a packed number: more pixels than any image has
FEWEST_CORNERS = 3
FAR = 1e6  # px from the image's corner: further than any image reaches, and NaN is no number of pixels


def mask_of(segmentation: Any, height: int, width: int, told: Counter[str] | None = None) -> np.ndarray | None:
    """A segmentation as a mask (height, width), bool; None where there is none.

    A list holds polygons whose union is the object, a mapping holds run lengths `counts` of a mask of `size`
    [height, width] (https://cocodataset.org/#format-data). Polygons that are none are left out and counted in `told`;
    where none is left, there is no mask. Raises AtlasError for anything else.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        if all(is_number(value) for value in segmentation):
            segmentation = [segmentation]  # one polygon without the list around it
        polygons, left_out = sorted_out(segmentation)
        if told is not None:
            told += left_out
        return polygons_mask(polygons, height, width) if polygons else None
    if isinstance(segmentation, Mapping) and {"size", "counts"} <= segmentation.keys():
        size, counts = segmentation["size"], segmentation["counts"]
        if size != [height, width]:
            raise AtlasError(f"segmentation is of size {str(size)[:60]}, its image [{height}, {width}]")
        counts = unpacked(counts) if isinstance(counts, str) else counts
        return None if counts == [] else run_lengths_mask(counts, height, width)
    raise AtlasError("segmentation must be a list of polygons, or a mapping with size and counts")


def sorted_out(polygons: Iterable[Any]) -> tuple[list[np.ndarray], Counter[str]]:
    """Return the corners (n, 2), x and y, of each polygon [x, y, x, y, ...], and how many are none, by reason."""
    kept = []
    left_out: Counter[str] = Counter()
    for corners in polygons:
        reason = why_no_polygon(corners)
        if reason:
            left_out[f"polygons left out: {reason}"] += 1
        else:
            kept.append(np.asarray(corners, dtype=float).reshape(-1, 2))
    return kept, left_out


def why_no_polygon(corners: Any) -> str:
    """Say why a list is no polygon x, y, x, y, ..., empty where it is one."""
    if not isinstance(corners, list) or not all(is_number(value) for value in corners):
        return "not a list of numbers"
    if not all(-FAR <= value <= FAR for value in corners):
        return "corners that are no places in an image"
    if len(corners) % 2:
        return "an x without its y"
    return "fewer than three corners" if len(corners) < 2 * FEWEST_CORNERS else ""


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def polygons_mask(polygons: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """The pixels whose centres lie in one of the polygons: corners (n, 2), x and y in pixels -> (height, width)."""
    mask = np.zeros((height, width), dtype=bool)
    for corners in polygons:
        columns, rows = corners.T - 0.5  # centres of pixels lie on whole numbers there
        mask[polygon(rows, columns, mask.shape)] = True
    return mask


def run_lengths_mask(counts: Any, height: int, width: int) -> np.ndarray:
    """The mask (height, width) of runs of unset and set pixels in turn, down the columns from the left."""
    whole = isinstance(counts, list) and all(isinstance(count, int) and count >= 0 for count in counts)
    if not whole or sum(counts) != height * width:
        raise AtlasError(f"segmentation: the counts must be whole numbers that add up to {height * width} pixels")
    is_set = np.arange(len(counts)) % 2 == 1
    return np.repeat(is_set, counts).reshape((height, width), order="F")


def unpacked(text: str) -> list[int]:
    """Run lengths from their string: base 32, low digits first, from the fourth on the difference to the last but one.

    A character is 48 + digit, + 32 where another follows; the last digit's bit 16 is the sign (rleFrString of
    https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c).
    """
    digits = [ord(character) - 48 for character in text]
    if any(not 0 <= digit < 64 for digit in digits) or (digits and digits[-1] & 32):
        raise AtlasError("segmentation: the string of counts is damaged; export the annotations again")
    counts: list[int] = []
    for number in numbers_of(digits):
        counts.append(number + counts[-2] if len(counts) > 2 else number)
    return counts


def numbers_of(digits: Sequence[int]) -> list[int]:
    """The signed numbers that digits in base 32 make up; the bit 32 of a digit says that another follows."""
    ends = [0, *(place for place, digit in enumerate(digits, start=1) if not digit & 32)]
    numbers = []
    for start, end in pairwise(ends):
        if end - start > LONGEST_NUMBER:
            raise AtlasError("segmentation: the string of counts is damaged; export the annotations again")
        number = sum((digit & 31) << 5 * power for power, digit in enumerate(digits[start:end]))
        negative = digits[end - 1] & 16
        numbers.append(number - (1 << 5 * (end - start)) if negative else number)
    return numbers
