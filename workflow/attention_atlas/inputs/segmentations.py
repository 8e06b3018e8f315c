"""Segmentations of COCO annotations as masks: polygons, run lengths, and run lengths packed into a string."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from skimage.draw import polygon2mask

from attention_atlas.errors import AtlasError


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray | None:
    """A segmentation as a mask (height, width), bool; None where there is none.

    A list holds polygons whose union is the object, a mapping holds run lengths `counts` of a mask of `size`
    [height, width] (https://cocodataset.org/#format-data). Raises AtlasError for anything else.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        return polygons_mask([polygon_points(polygon) for polygon in segmentation], height, width)
    if isinstance(segmentation, Mapping) and {"size", "counts"} <= segmentation.keys():
        size, counts = segmentation["size"], segmentation["counts"]
        if size != [height, width]:
            raise AtlasError(f"segmentation is of size {size}, its image [{height}, {width}]")
        return run_lengths_mask(unpacked(counts) if isinstance(counts, str) else counts, height, width)
    raise AtlasError("segmentation must be a list of polygons, or a mapping with size and counts")


def polygon_points(polygon: Any) -> np.ndarray:
    """The corners (n, 2), x and y, of a polygon [x, y, x, y, ...]."""
    numbers = isinstance(polygon, list) and all(isinstance(value, int | float) for value in polygon)
    if not numbers or len(polygon) % 2 or len(polygon) < 6 or not np.isfinite(polygon).all():
        raise AtlasError(f"segmentation: the polygon {polygon!r} must be x, y of three corners or more, all finite")
    return np.asarray(polygon, dtype=float).reshape(-1, 2)


def polygons_mask(polygons: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """The pixels whose centres lie in one of the polygons: corners (n, 2), x and y in pixels -> (height, width)."""
    rows_and_columns = [corners[:, ::-1] - 0.5 for corners in polygons]  # centres of pixels lie on whole numbers there
    return np.any([polygon2mask((height, width), corners) for corners in rows_and_columns], axis=0)


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
        number = sum((digit & 31) << 5 * power for power, digit in enumerate(digits[start:end]))
        negative = digits[end - 1] & 16
        numbers.append(number - (1 << 5 * (end - start)) if negative else number)
    return numbers
