"""Corrected maps: the step maps of one token grid, normalised and corrected head by head, then pooled."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from attention_atlas.analysis import corrections
from attention_atlas.analysis.blocks import image_blocks
from attention_atlas.analysis.focus import normalised


def of_condition(nodes: Mapping[str, xr.Dataset], condition: str) -> dict[str, xr.Dataset]:
    """The nodes with the maps of one condition alone; grids without any are left out."""
    chosen = {
        name: node.isel(sample=np.flatnonzero(node["condition"].values == condition)) for name, node in nodes.items()
    }
    return {name: node for name, node in chosen.items() if node.sizes["sample"]}


def head_maps(
    node: xr.Dataset, generic: xr.Dataset | None = None, bias: corrections.PositionBias | None = None
) -> dict[str, np.ndarray]:
    """Normalised maps of each head, (sample, layer, head, cell), by correction; methods, corrections.

    raw; without_sinks (position bias of the other images); without_massive (sinks by massive dimensions, where hidden
    states were kept); relative (to the map of a generic query about the same image, where `generic` has one; else NaN);
    value_weighted (where those weights were kept). `bias` is that of its samples where `node` does not hold all images.
    """
    raw = cells_of(node, "attention")
    own = bias or sample_bias(node)
    made = {"raw": raw, "without_sinks": corrections.without_sinks(raw, own.mean, own.standard_error)}
    if "sink_phi" in node:
        made["without_massive"] = corrections.without_massive_sinks(raw, *sinks_of(node))
    if generic is not None:
        made["relative"] = corrections.relative_to(raw, of_image(generic, node["image"].values))
    if "value_weighted_attention" in node:
        made["value_weighted"] = cells_of(node, "value_weighted_attention")
    return made


def pooled_maps(
    node: xr.Dataset, how: str, generic: xr.Dataset | None = None, bias: corrections.PositionBias | None = None
) -> dict[str, np.ndarray]:
    """Maps pooled over heads, (sample, layer, cell), normalised, by correction."""
    mass = node["vision_mass"].values
    return {name: corrections.pooled(heads, mass, how) for name, heads in head_maps(node, generic, bias).items()}


def raw_alone(node: xr.Dataset) -> xr.Dataset:
    """The node without what takes room and only corrections read."""
    return node.drop_vars(["value_weighted_attention", "sink_phi"], errors="ignore")


def raw_pooled(node: xr.Dataset, how: str) -> np.ndarray:
    """The raw maps alone, pooled over heads, (sample, layer, cell), normalised."""
    return corrections.pooled(cells_of(node, "attention"), node["vision_mass"].values, how)


def cells_of(node: xr.Dataset, name: str) -> np.ndarray:
    """A variable's maps, normalised over their cells: (sample, layer, head, cell)."""
    values = node[name].transpose("sample", "layer", "head", "row", "col").values
    return normalised(values.reshape(*values.shape[:3], values.shape[3] * values.shape[4]))


def sinks_of(node: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """phi of the cells and the threshold of sinks, both to be held against maps (sample, layer, head, cell)."""
    phi = node["sink_phi"].transpose("sample", "layer", "row", "col").values
    cells = phi.reshape(*phi.shape[:2], 1, -1)
    return cells, node["sink_threshold"].values[:, None, None]


def image_totals(node: xr.Dataset) -> corrections.ImageTotals:
    """What the position bias of any image of one grid is worked out from, read block by block."""
    parts = (node.isel(sample=place) for place in image_blocks(node["attention"], node["image"].values))
    return corrections.image_totals(
        corrections.image_means(cells_of(part, "attention"), part["image"].values)[0] for part in parts
    )


def sample_bias(node: xr.Dataset, among: corrections.ImageTotals | None = None) -> corrections.PositionBias:
    """The position bias of each sample, (sample, layer, head, cell): that of the other images.

    `node` holds all samples of its images; `among` are the totals of all images where it does not hold all.
    """
    means, labels = corrections.image_means(cells_of(node, "attention"), node["image"].values)
    bias = corrections.position_bias(means, among)
    own = pd.Index(labels).get_indexer(node["image"].values)
    return corrections.PositionBias(bias.mean[own], bias.standard_error[own])


def of_image(generic: xr.Dataset, images: np.ndarray) -> np.ndarray:
    """The generic query's map of each image, (sample, layer, head, cell); NaN where there is none."""
    generic = generic.isel(sample=np.flatnonzero(np.isin(generic["image"].values, images)))
    maps = cells_of(generic, "attention")
    place = {image: number for number, image in enumerate(generic["image"].values)}
    none = np.full(maps.shape[1:], np.nan)
    return np.stack([maps[place[image]] if image in place else none for image in images])
