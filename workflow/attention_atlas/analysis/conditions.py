"""Conditions: the maps of control conditions, each beside the study's sample that it is a control of.

The unit of pairing is the source sample: a control's own picture may be another one.
"""

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
import pandas as pd
import xarray as xr

from attention_atlas.analysis import focus, grounding
from attention_atlas.analysis.blocks import blocks
from attention_atlas.analysis.contrasts import centre_shift, js_divergence
from attention_atlas.analysis.corrected_maps import raw_alone, raw_pooled
from attention_atlas.analysis.pooling import pool_heads
from attention_atlas.analysis.targets import cover_of, covers
from attention_atlas.inputs.conditions import image_of, source_of
from attention_atlas.inputs.study import Study

KEYS = ["sample_id", "condition", "number", "layer", "measure"]
FOCUS = ("entropy", "entropy_normalised")
OTHER_IMAGE = "other_image"
# Layer of a measure that is not of a map.
NO_LAYER = -1
# Of an image whose size is not known: whatever the target, it may be there.
ALL_CELLS = np.array(True)
NO_MAP = "the source has no map at the selected step (it failed, or no answer was found in it)"
OTHER_GRID = "the source's map is on another token grid"
# Names in a message at most.
MOST_TOLD = 5
Nodes = Mapping[str, xr.Dataset]


def condition_scores(own: Nodes, controls: Nodes, study: Study, how: str) -> pd.DataFrame:
    """Long table: sample_id (the source's), condition, number (k of other_image, else 0), layer, measure, value.

    `own` and `controls` are step maps by token grid, heads pooled by `how`. Measures: entropy and entropy_normalised of
    the control's map; js_divergence (nats) and centre_shift (cells) from it to its source's; auroc and enrichment of it
    on its source's target; shares_target (layer -1): 1 where the target that the other image has for the same query
    shares a cell with the source's, else 0. Where a source has no map on the same grid: entropies alone.
    """
    sizes = image_sizes(own)
    parts = [
        part
        for grid, node in with_maps(controls)
        for place in blocks(node["attention"])
        for part in node_parts(own.get(grid), raw_alone(node).isel(place).load(), study, how, sizes)
    ]
    if not parts:
        kinds = {"sample_id": object, "condition": object, "number": int, "layer": int, "measure": object}
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in {**kinds, "value": float}.items()})
    return pd.concat(parts, ignore_index=True)[[*KEYS, "value"]].sort_values(KEYS, ignore_index=True)


def without_source(own: Nodes, controls: Nodes) -> pd.DataFrame:
    """The controls that have no map of their source on the same grid beside them: sample_id, condition, reason.

    What follows: they have entropies, but no distance to their source's map and no score on its target.
    """
    mapped = {name for node in own.values() for name in node["sample"].values.astype(str)}
    alone = []
    for grid, node in with_maps(controls):
        known = set(own[grid]["sample"].values.astype(str)) if grid in own else set()
        keys = described(node)
        for name, source, condition in zip(node["sample"].values, keys["sample_id"], keys["condition"], strict=True):
            if source not in known:
                alone.append((str(name), condition, OTHER_GRID if source in mapped else NO_MAP))
    return pd.DataFrame(alone, columns=["sample_id", "condition", "reason"]).sort_values("sample_id", ignore_index=True)


def told(alone: pd.DataFrame) -> Iterator[str]:
    """The controls of `without_source` in words: which, why, and what follows."""
    for (condition, reason), rows in alone.groupby(["condition", "reason"]):
        names = rows["sample_id"].tolist()
        more = f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
        yield (
            f"{len(names)} map(s) of condition {condition} are described by their entropy alone, without distance to "
            f"their source's map or score on its target, since {reason}: {', '.join(names[:MOST_TOLD])}{more}"
        )


def with_maps(nodes: Nodes) -> Iterator[tuple[str, xr.Dataset]]:
    """The nodes that hold maps: a run without controls has a file with none."""
    return ((grid, node) for grid, node in nodes.items() if node.get("attention", xr.DataArray([])).size)


def described(node: xr.Dataset) -> pd.DataFrame:
    """sample_id (the source's), condition and number of each control of a node."""
    pairs = list(zip(node["sample"].values.astype(str), node["condition"].values.astype(str), strict=True))
    sources = [source_of(name, condition) for name, condition in pairs]
    tails = [
        name.removeprefix(f"{source}.{condition}").lstrip(".")
        for (name, condition), source in zip(pairs, sources, strict=True)
    ]
    return pd.DataFrame(
        {
            "sample_id": pd.Series(sources, dtype=object),
            "condition": pd.Series([condition for _, condition in pairs], dtype=object),
            "number": [int(tail or 0) for tail in tails],
        }
    )


def image_sizes(nodes: Nodes) -> dict[str, tuple[int, int]]:
    """(height, width) in pixels of the images that step maps are of."""
    names = ("image", "image_height", "image_width")
    rows = (row for node in nodes.values() for row in zip(*(node[name].values for name in names), strict=True))
    return {str(image): (int(height), int(width)) for image, height, width in rows}


def node_parts(
    own: xr.Dataset | None, node: xr.Dataset, study: Study, how: str, sizes: Mapping[str, tuple[int, int]]
) -> Iterator[pd.DataFrame]:
    """The rows of the controls of one grid."""
    keys, layers = described(node), node["layer"].values
    yield rows(keys, layers, pooled_focus(node, how))
    if own is None:
        return
    known = {name: place for place, name in enumerate(own["sample"].values)}
    paired = np.flatnonzero(keys["sample_id"].isin(list(known)))
    node, keys = node.isel(sample=paired), keys.iloc[paired]
    source = raw_alone(own).isel(sample=[known[name] for name in keys["sample_id"]]).load()
    maps, grid = raw_pooled(node, how), (node.sizes["row"], node.sizes["col"])
    of_source = raw_pooled(source, how)
    yield rows(
        keys,
        layers,
        {"js_divergence": js_divergence(maps, of_source), "centre_shift": centre_shift(maps, of_source, grid)},
    )
    cover = covers(study, source)
    aimed = np.isfinite(cover).all(axis=-1)
    c = cover[aimed][:, None]
    scores = {"auroc": grounding.auroc(maps[aimed], c), "enrichment": grounding.enrichment(maps[aimed], c)}
    yield rows(keys[aimed], layers, scores)
    elsewhere = aimed & (keys["condition"] == OTHER_IMAGE).to_numpy()
    others = source.isel(sample=elsewhere), node.isel(sample=elsewhere)
    shared = shares_target(*others, cover[elsewhere], study, sizes)
    yield rows(keys[elsewhere], np.array([NO_LAYER]), {"shares_target": shared[:, None]})


def pooled_focus(node: xr.Dataset, how: str) -> dict[str, np.ndarray]:
    """Entropies (sample, layer) of raw weights pooled over heads, as in the focus table."""
    weights = node["attention"].transpose("sample", "layer", "head", "row", "col").values
    pooled = pool_heads(weights.reshape(*weights.shape[:3], -1), how, axis=-2)
    return {name: focus.MEASURES[name](pooled) for name in FOCUS}


def shares_target(
    source: xr.Dataset, node: xr.Dataset, cover: np.ndarray, study: Study, sizes: Mapping[str, tuple[int, int]]
) -> np.ndarray:
    """1 where what the source's question is about may lie in its target's cells of the control's image too, else 0.

    That is the target of the same question on that image, where it is asked there in the same words; else, what the
    words would mean there being unknown, any of its objects. `sizes` are (height, width) of images; 1 where unknown.
    """
    asked = study.samples[study.samples["condition"] == ""]
    targets = asked.groupby(["image", "query"])["target_object"].first()
    words = asked.set_index("sample_id")["query"].loc[source["sample"].values.astype(str)]
    grid = (node.sizes["row"], node.sizes["col"])

    @cache
    def cells(image: str, query: str) -> np.ndarray:
        objects = study.objects[study.objects["image"] == image]
        if (image, query) in targets.index:
            objects = objects[objects["object_id"].isin(targets[image, query].split("+"))]
        if objects.empty:
            return np.zeros(grid[0] * grid[1], dtype=bool)
        return grounding.target_set(cover_of(study, objects, sizes[image], grid)) if image in sizes else ALL_CELLS

    shown = [image_of(name) for name in node["image"].values]
    theirs = [cells(image, query) for image, query in zip(shown, words, strict=True)]
    own = grounding.target_set(cover)
    return np.array([float((mine & other).any()) for mine, other in zip(own, theirs, strict=True)])


def rows(keys: pd.DataFrame, layers: np.ndarray, values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Values (sample, layer) by measure as rows of the long table."""
    repeated = keys.loc[keys.index.repeat(len(layers))].assign(layer=np.tile(layers, len(keys)))
    parts = [repeated.assign(measure=measure, value=array.ravel()) for measure, array in values.items()]
    return pd.concat(parts, ignore_index=True)
