"""Targets: the cells that a sample's target objects cover, from their masks or boxes in original pixels."""

import numpy as np
import pandas as pd
import xarray as xr

from attention_atlas.analysis.grounding import box_coverage, cell_cover
from attention_atlas.cells import cell_edges
from attention_atlas.inputs.files import inside
from attention_atlas.inputs.images import read_mask
from attention_atlas.inputs.study import BOX, Study


def covers(study: Study, node: xr.Dataset) -> np.ndarray:
    """The cover of each cell by each sample's target, (sample, row x col); NaN for a sample that names none.

    The target is the union of the objects that the sample names: their masks where there are any, else their boxes.
    """
    cells = node.sizes["row"] * node.sizes["col"]
    named = study.samples.set_index("sample_id")["target_object"]
    known: dict[tuple[str, str], np.ndarray] = {}
    found = np.full((node.sizes["sample"], cells), np.nan)
    for number, name in enumerate(node["sample"].values):
        target = named.get(name, "")
        if not target:
            continue
        sample = node[["image", "image_height", "image_width"]].isel(sample=number)
        key = (str(sample["image"].item()), target)
        if key not in known:
            size = int(sample["image_height"]), int(sample["image_width"])
            known[key] = cover_of(study, study.targets(name), size, (node.sizes["row"], node.sizes["col"]))
        found[number] = known[key]
    return found


def cover_of(study: Study, objects: pd.DataFrame, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """The cover of each cell of a grid (rows, cols) by objects of an image of `size` (height, width): (row x col,)."""
    edges = (cell_edges(cells, pixels) for cells, pixels in zip(grid, size, strict=True))
    return cell_cover(union(study, objects, *size), *edges).ravel()


def union(study: Study, objects: pd.DataFrame, height: int, width: int) -> np.ndarray:
    """Share of each pixel that any of the objects covers: (height, width) in [0, 1]."""
    parts = [coverage(study, row, height, width) for row in objects.to_dict("records")]
    return np.maximum.reduce(parts)


def coverage(study: Study, row: dict, height: int, width: int) -> np.ndarray:
    """Share of each pixel that one object covers: its mask where there is one, else its box."""
    if row.get("mask"):
        return read_mask(inside(study.folder / "masks", row["mask"])).astype(float)
    x_min, y_min, x_max, y_max = (float(row[edge]) for edge in BOX)
    return box_coverage((x_min, y_min, x_max, y_max), height, width)
