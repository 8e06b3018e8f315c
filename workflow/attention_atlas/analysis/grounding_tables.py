"""Grounding of a run: scores of every map that has a target, raw and corrected, and of the baselines beside them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attention_atlas.analysis import corrections, grounding
from attention_atlas.analysis.focus import normalised
from attention_atlas.analysis.pooling import HEAD_POOLINGS
from attention_atlas.analysis.steps import selected_steps
from attention_atlas.analysis.targets import covers
from attention_atlas.inputs.study import Study

KEYS = ["sample_id", "layer", "map", "correction", "score"]
READ = ["attention", "vision_mass", "image", "condition", "image_height", "image_width", "row_edge", "col_edge"]
CORRECTIONS = ("raw", "without_sinks")


def grounding_table(
    tree: xr.DataTree, study: Study, samples: pd.DataFrame, answers: pd.DataFrame, settings: Mapping[str, Any]
) -> pd.DataFrame:
    """Long table: sample_id, layer, map ("max", "mean", "head 0", ...), correction, score, value.

    Maps are those of the selected step, the mean over steps where the selector picks several. The baselines are rows
    with `map` "uniform", "gaussian" (layer -1, no correction) and "position_mean" (every layer, heads pooled by max).
    Samples without a target or without such a step have no rows.
    """
    steps = selected_steps(samples, answers, settings["steps"]["selector"]).groupby("sample_id")["step"].agg(list)
    parts = [part for node in tree.leaves for part in node_parts(node.to_dataset(), study, steps)]
    if not parts:
        return pd.DataFrame({**{key: pd.Series(dtype=object) for key in KEYS}, "value": pd.Series(dtype=float)})
    table = pd.concat(parts, ignore_index=True).sort_values(KEYS, ignore_index=True)
    return table.astype({name: "category" for name in KEYS if name != "layer"})[[*KEYS, "value"]]


def node_parts(node: xr.Dataset, study: Study, steps: pd.Series) -> Iterator[pd.DataFrame]:
    """The rows of one grid."""
    node = node[READ].load()
    cover = covers(study, node)
    has_step = np.isin(node["sample"].values, steps.index)
    own = node["condition"].values == ""
    chosen = np.flatnonzero(has_step & own)
    if not chosen.size or not np.isfinite(cover[chosen]).any():
        return
    attention, mass = selected_rows(node.isel(sample=chosen), steps)
    grid = (node.sizes["row"], node.sizes["col"])
    p = normalised(attention)  # sample, layer, head, cell
    bias = bias_of(p, node["image"].values[chosen])
    targeted = np.isfinite(cover[chosen]).all(axis=-1)
    names, c = node["sample"].values[chosen][targeted], cover[chosen][targeted]
    layers = node["layer"].values
    corrected = corrections.without_sinks(p, bias.mean, bias.standard_error)
    for correction, heads in (("raw", p), ("without_sinks", corrected)):
        for label, maps in maps_of(heads[targeted], mass[targeted]):
            yield rows(names, layers, label, correction, grounding.scores(maps, c[:, None], grid))
    position = corrections.pooled(bias.mean[targeted], mass[targeted], "max")
    yield rows(names, layers, "position_mean", "raw", grounding.scores(position, c[:, None], grid))
    fixed = {
        "uniform": grounding.uniform_scores(c, grid),
        "gaussian": grounding.scores(np.broadcast_to(grounding.gaussian_map(grid), c.shape), c, grid),
    }
    for label, values in fixed.items():
        yield rows(names, np.array([-1]), label, "raw", {score: one[:, None] for score, one in values.items()})


def selected_rows(node: xr.Dataset, steps: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Weights (sample, layer, head, cell) and vision mass (sample, layer, head) at each sample's own steps."""
    wanted = np.zeros((node.sizes["sample"], node.sizes["step"]), dtype=bool)
    for number, name in enumerate(node["sample"].values):
        wanted[number, steps[name]] = True
    attention = node["attention"].transpose("sample", "step", "layer", "head", "row", "col").values
    mass = node["vision_mass"].transpose("sample", "step", "layer", "head").values
    flat = attention.reshape(*attention.shape[:4], -1)
    weights = wanted / wanted.sum(axis=1, keepdims=True)
    chosen = [np.tensordot(weights[n][wanted[n]], flat[n][wanted[n]], axes=1) for n in range(len(flat))]
    masses = [np.tensordot(weights[n][wanted[n]], mass[n][wanted[n]], axes=1) for n in range(len(flat))]
    return np.stack(chosen), np.stack(masses)


def bias_of(p: np.ndarray, image: np.ndarray) -> corrections.PositionBias:
    """The position bias that applies to each sample: that of the other images."""
    means, labels = corrections.image_means(p, image)
    bias = corrections.position_bias(means)
    own = np.searchsorted(labels, image)
    return corrections.PositionBias(bias.mean[own], bias.standard_error[own])


def maps_of(heads: np.ndarray, mass: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The pooled maps and each head's, (sample, layer, cell), of head maps p and their masses."""
    for how in HEAD_POOLINGS:
        yield how, corrections.pooled(heads, mass, how)
    for head in range(heads.shape[2]):
        yield f"head {head}", heads[:, :, head]


def rows(
    names: np.ndarray, layers: np.ndarray, label: str, correction: str, scores: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Scores (sample, layer) as rows of the long table."""
    keys = {"sample_id": np.repeat(names.astype(object), len(layers)), "layer": np.tile(layers, len(names))}
    wide = pd.DataFrame({**keys, **{score: values.ravel() for score, values in scores.items()}})
    long = wide.melt(id_vars=["sample_id", "layer"], var_name="score", value_name="value")
    return long.assign(map=label, correction=correction)
