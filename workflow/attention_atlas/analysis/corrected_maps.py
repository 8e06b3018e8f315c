"""Corrected maps: the step maps of one token grid, normalised and corrected head by head, then pooled."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from attention_atlas.analysis import corrections
from attention_atlas.analysis.blocks import blocks
from attention_atlas.analysis.focus import normalised


@dataclass(frozen=True)
class ImageBias:
    """The position bias that applies to each image, that of the other images; in the order of its sorted `images`."""

    images: np.ndarray
    bias: corrections.PositionBias

    def of(self, images: np.ndarray) -> corrections.PositionBias:
        """The bias that applies to each sample, by its image."""
        own = np.searchsorted(self.images, images)
        return corrections.PositionBias(self.bias.mean[own], self.bias.standard_error[own])


def of_condition(nodes: Mapping[str, xr.Dataset], condition: str) -> dict[str, xr.Dataset]:
    """The nodes with the maps of one condition alone; grids without any are left out."""
    chosen = {
        name: node.isel(sample=np.flatnonzero(node["condition"].values == condition)) for name, node in nodes.items()
    }
    return {name: node for name, node in chosen.items() if node.sizes["sample"]}


def head_maps(
    node: xr.Dataset, generic: xr.Dataset | None = None, bias: ImageBias | None = None
) -> dict[str, np.ndarray]:
    """Normalised maps of each head, (sample, layer, head, cell), by correction; methods, corrections.

    raw; without_sinks (position bias of the other images); without_massive (sinks by massive dimensions, where hidden
    states were kept); relative (to the map of a generic query about the same image, where `generic` has one; else NaN);
    value_weighted (where those weights were kept). `bias` is that of all samples where `node` holds some of them.
    """
    raw = cells_of(node, "attention")
    own = (bias or image_bias(node)).of(node["image"].values)
    made = {"raw": raw, "without_sinks": corrections.without_sinks(raw, own.mean, own.standard_error)}
    if "sink_phi" in node:
        made["without_massive"] = corrections.without_massive_sinks(raw, *sinks_of(node))
    if generic is not None:
        made["relative"] = corrections.relative_to(raw, of_image(generic, node["image"].values))
    if "value_weighted_attention" in node:
        made["value_weighted"] = cells_of(node, "value_weighted_attention")
    return made


def pooled_maps(node: xr.Dataset, how: str, generic: xr.Dataset | None = None) -> dict[str, np.ndarray]:
    """Maps pooled over heads, (sample, layer, cell), normalised, by correction."""
    mass = node["vision_mass"].values
    return {name: corrections.pooled(heads, mass, how) for name, heads in head_maps(node, generic).items()}


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


def image_bias(node: xr.Dataset) -> ImageBias:
    """The position bias of the samples of one grid, read block by block."""
    parts = ((place["sample"], cells_of(node.isel(place), "attention")) for place in blocks(node["attention"]))
    means, labels = corrections.image_means_of_blocks(parts, node["image"].values)
    return ImageBias(labels, corrections.position_bias(means))


def of_image(generic: xr.Dataset, images: np.ndarray) -> np.ndarray:
    """The generic query's map of each image, (sample, layer, head, cell); NaN where there is none."""
    generic = generic.isel(sample=np.flatnonzero(np.isin(generic["image"].values, images)))
    maps = cells_of(generic, "attention")
    place = {image: number for number, image in enumerate(generic["image"].values)}
    none = np.full(maps.shape[1:], np.nan)
    return np.stack([maps[place[image]] if image in place else none for image in images])
