"""Grounding of a run: scores of every map that has a target, raw and corrected, and of the baselines beside them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attention_atlas.analysis import corrected_maps, corrections, grounding
from attention_atlas.analysis.blocks import blocks, image_blocks
from attention_atlas.analysis.pooling import HEAD_POOLINGS
from attention_atlas.analysis.rows import joined, long_table
from attention_atlas.analysis.table_columns import read_table
from attention_atlas.analysis.targets import covers
from attention_atlas.inputs.conditions import RANDOM_WEIGHTS, source_of
from attention_atlas.inputs.study import Study

WIDE_KEYS = ["sample_id", "layer", "map", "correction"]
CORRECTIONS = ("raw", "without_sinks", "without_massive", "relative", "value_weighted")
ATTAINABLE = {
    **dict.fromkeys(("iou_mean", "iou_otsu", "iou_percentile"), grounding.attainable_iou),
    "iou_area_matched": grounding.attainable_iou_area_matched,
}
# The maps that are of no single head.
POOLED_MAPS = (*HEAD_POOLINGS, "position_mean", "other_image", RANDOM_WEIGHTS, "uniform", "gaussian", "attainable")
NO_ROWS = pd.DataFrame({"sample_id": [], "layer": [], "map": [], "correction": [], ("auroc",): []}).astype(
    {"sample_id": object, "layer": int, "map": object, "correction": object}
)
Nodes = Mapping[str, xr.Dataset]


def grounding_parts(
    nodes: Nodes, study: Study, how: str, controls: Nodes | None = None, random_weights: Nodes | None = None
) -> Iterator[pd.DataFrame]:
    """Long table: sample_id, layer, map ("max", "mean", "head 0", ...), correction, score, value; part by part.

    A sample of a large model has some 70,000 rows, so parts hold some images each, one after the other.

    `nodes` are the study's own step maps; a correction that needs what is not there (a generic query, value weights)
    has no rows. The baselines are rows with `map` "position_mean", "other_image", "random_weights" (every layer, heads
    pooled by `how`), "uniform", "gaussian", and "attainable", the best that a set of cells reaches (layer -1).
    Samples without a target or without a selected step have no rows.
    """
    generic = corrected_maps.of_condition(controls or {}, "generic")
    baselines = {
        "other_image": corrected_maps.of_condition(controls or {}, "other_image"),
        RANDOM_WEIGHTS: dict(random_weights or {}),
    }
    yield long_table(NO_ROWS, WIDE_KEYS, ["score"])
    for name, node in corrected_maps.of_condition(nodes, "").items():
        others = {label: other.get(name) for label, other in baselines.items()}
        for part in node_parts(node, study, how, generic.get(name), others):
            table = long_table(joined(part, WIDE_KEYS), WIDE_KEYS, ["score"])
            of_sets = (table["map"] != "attainable") | table["score"].isin(list(ATTAINABLE))
            yield table[of_sets].reset_index(drop=True)


def read_pooled(path: Path) -> pd.DataFrame:
    """The rows of a grounding table that are of no single head, by which a large model's table is small."""
    return read_table("grounding", path, filters=[("map", "in", POOLED_MAPS)])


def node_parts(
    node: xr.Dataset,
    study: Study,
    how: str,
    generic: xr.Dataset | None,
    baselines: Mapping[str, xr.Dataset | None],
) -> Iterator[list[pd.DataFrame]]:
    """The rows of one grid: those of some images, those of others, ..., those of each baseline."""
    cover = covers(study, node)
    targeted = np.isfinite(cover).all(axis=-1)
    if not targeted.any():
        return
    totals = corrected_maps.image_totals(node)
    for place in image_blocks(node["attention"], node["image"].values):
        if targeted[place].any():
            yield list(block_rows(node.isel(sample=place).load(), cover[place], how, generic, totals))
    aimed = dict(zip(node["sample"].values[targeted], cover[targeted], strict=True))
    for label, other in baselines.items():
        rows_of_other = [] if other is None else list(baseline_rows(other, aimed, label, how, grid_of(node)))
        if rows_of_other:
            yield rows_of_other


def grid_of(node: xr.Dataset) -> tuple[int, int]:
    """Rows and columns of a node's maps."""
    return node.sizes["row"], node.sizes["col"]


def block_rows(
    node: xr.Dataset, cover: np.ndarray, how: str, generic: xr.Dataset | None, totals: corrections.ImageTotals
) -> Iterator[pd.DataFrame]:
    """The rows of those samples of whole images that have a target, and of the baselines that are not of maps."""
    grid = grid_of(node)
    bias, aimed = corrected_maps.sample_bias(node, totals), np.isfinite(cover).all(axis=-1)
    names, layers, c = node["sample"].values[aimed], node["layer"].values, cover[aimed]
    mass = node["vision_mass"].values[aimed]
    for correction, heads in corrected_maps.head_maps(node, generic, bias).items():
        for label, maps in maps_of(heads[aimed], mass):
            yield rows(names, layers, label, correction, grounding.scores(maps, c[:, None], grid))
    position = corrections.pooled(bias.mean[aimed], mass, how)
    yield rows(names, layers, "position_mean", "raw", grounding.scores(position, c[:, None], grid))
    fixed = {
        "uniform": grounding.uniform_scores(c, grid),
        "gaussian": grounding.scores(np.broadcast_to(grounding.gaussian_map(grid), c.shape), c, grid),
        "attainable": {score: best(c) for score, best in ATTAINABLE.items()},
    }
    for label, values in fixed.items():
        yield rows(names, np.array([-1]), label, "raw", {score: one[:, None] for score, one in values.items()})


def baseline_rows(
    other: xr.Dataset, cover: Mapping[str, np.ndarray], label: str, how: str, grid: tuple[int, int]
) -> Iterator[pd.DataFrame]:
    """Scores of the maps of a condition against the targets of the samples that they are of, averaged a sample."""
    conditions = other["condition"].values
    sources = np.array(
        [source_of(*pair) for pair in zip(other["sample"].values, conditions, strict=True)], dtype=object
    )
    kept = np.flatnonzero([source in cover for source in sources])
    if not kept.size:
        return
    other, sources = corrected_maps.raw_alone(other).isel(sample=kept), sources[kept]
    parts = []
    for place in blocks(other["attention"]):
        own = sources[place["sample"]]
        c = np.stack([cover[source] for source in own])
        maps = corrected_maps.raw_pooled(other.isel(place).load(), how)
        scores = grounding.scores(maps, c[:, None], grid)
        parts.append(rows(own, other["layer"].values, label, "raw", scores))
    yield pd.concat(parts).groupby(WIDE_KEYS, sort=False, as_index=False).mean()


def maps_of(heads: np.ndarray, mass: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The pooled maps and each head's, (sample, layer, cell), of head maps p and their masses."""
    for how in HEAD_POOLINGS:
        yield how, corrections.pooled(heads, mass, how)
    for head in range(heads.shape[2]):
        yield f"head {head}", heads[:, :, head]


def rows(
    names: np.ndarray, layers: np.ndarray, label: str, correction: str, scores: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Scores (sample, layer) as rows, a column (score,) each."""
    keys: dict[Any, Any] = {
        "sample_id": np.repeat(names.astype(object), len(layers)),
        "layer": np.tile(layers, len(names)),
    }
    values = {(score,): one.ravel() for score, one in scores.items()}
    return pd.DataFrame({**keys, "map": label, "correction": correction, **values})
