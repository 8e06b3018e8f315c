"""Painting over: pictures without some of their objects, filled with what surrounds them. NumPy on pixels.

Pixels are (height, width, 3), 0 to 255; masks are (height, width) booleans.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from attention_atlas.inputs.files import inside
from attention_atlas.inputs.images import read_mask
from attention_atlas.inputs.study import BOX

# Width of the ring around an object whose colour it is filled with, as a share of the object's size.
RING = 0.1
LEAST_RING = 3  # pixels


def object_mask(folder: Path, row: Mapping[Hashable, Any], height: int, width: int) -> np.ndarray:
    """The pixels that an object of objects.csv touches: its mask where there is one, else its box."""
    if row.get("mask"):
        return read_mask(inside(folder / "masks", row["mask"]))
    return box_mask(tuple(float(row[edge]) for edge in BOX), height, width)


def box_mask(box: Sequence[float], height: int, width: int) -> np.ndarray:
    """The pixels that a half-open box (x_min, y_min, x_max, y_max) touches."""
    x_min, y_min, x_max, y_max = box
    mask = np.zeros((height, width), dtype=bool)
    mask[int(np.floor(y_min)) : int(np.ceil(y_max)), int(np.floor(x_min)) : int(np.ceil(x_max))] = True
    return mask


def union(masks: Iterable[np.ndarray], height: int, width: int) -> np.ndarray:
    """The pixels of any of the masks."""
    return np.logical_or.reduce([np.zeros((height, width), dtype=bool), *masks])


def background_colour(pixels: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """The median colour, (3,), of the pixels outside of all objects; of all pixels where objects fill the picture."""
    outside = pixels[~objects] if not objects.all() else pixels.reshape(-1, 3)
    return np.median(outside, axis=0).astype(np.uint8)


def surrounding_colour(pixels: np.ndarray, mask: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """The median colour, (3,), of a ring around a mask without other objects; of the background where none is left."""
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    width = max(LEAST_RING, round(RING * max(np.ptp(rows), np.ptp(cols))))
    top, left = max(0, rows[0] - width), max(0, cols[0] - width)
    near = np.s_[top : rows[-1] + width + 1, left : cols[-1] + width + 1]
    ring = ndimage.binary_dilation(mask[near], iterations=width) & ~objects[near] & ~mask[near]
    return np.median(pixels[near][ring], axis=0).astype(np.uint8) if ring.any() else background_colour(pixels, objects)


def without_objects(pixels: np.ndarray, masks: Sequence[np.ndarray], objects: np.ndarray) -> np.ndarray:
    """A picture with objects painted over, each with the colour around it; `objects` are the pixels of all objects."""
    painted = pixels.copy()
    for mask in masks:
        painted[mask] = surrounding_colour(pixels, mask, objects)
    return painted
