"""Twins: which objects are painted over in the picture that a scene without its targets is held against."""

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

# Up to so many sets of objects, the nearest in area is found by trying them all.
MOST_SETS = 10_000


def control_objects(objects: pd.DataFrame, targets: list[str]) -> list[str] | None:
    """As many other objects of an image as it has targets, nearest to them in total area of their boxes.

    `objects` are one image's rows of objects.csv, `targets` ids among them; the answer is in the table's order, None
    where fewer others than targets are there. Of equally near sets the first in that order. With more than `MOST_SETS`
    sets each target takes the nearest of the objects that are left.
    """
    area = (objects["x_max"] - objects["x_min"]).to_numpy() * (objects["y_max"] - objects["y_min"]).to_numpy()
    ids = objects["object_id"].to_numpy()
    mine = np.isin(ids, targets)
    if (~mine).sum() < mine.sum():
        return None
    chosen = nearest_set if comb((~mine).sum(), mine.sum()) <= MOST_SETS else nearest_one_by_one
    return ids[~mine][chosen(area[~mine], area[mine])].tolist()


def nearest_set(areas: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Positions of as many `areas` as are wanted, of the total nearest to that of `wanted`."""
    sets = np.array(list(combinations(range(len(areas)), len(wanted))), dtype=int)
    return sets[np.argmin(np.abs(areas[sets].sum(axis=1) - wanted.sum()))]


def nearest_one_by_one(areas: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Positions of as many `areas` as are wanted, each the nearest to one of `wanted` among those left."""
    left = areas.astype(float)
    taken = []
    for area in wanted:
        taken.append(int(np.argmin(np.abs(left - area))))
        left[taken[-1]] = np.inf
    return np.sort(taken)
