"""Subjects of the causal checks: samples with what their maps and targets say about which cells to perturb."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attention_atlas.analysis import corrected_maps, corrections
from attention_atlas.analysis.bands import layer_band, layer_cuts
from attention_atlas.analysis.grounding import target_set
from attention_atlas.analysis.targets import covers
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.causal_samples import Subject
from attention_atlas.inputs.study import Study
from attention_atlas.readers import check_netcdf, open_netcdf


def generated_tokens(shard: Path) -> dict[str, np.ndarray]:
    """The ids that each sample of a shard generated, the end token included; failed samples have none."""
    check_netcdf(shard)
    with open_netcdf(shard) as tree:
        nodes = [node.to_dataset()["token_id"].load() for node in tree.leaves]
    rows = {str(name): ids for node in nodes for name, ids in zip(node["sample"].values, node.values, strict=True)}
    return {name: ids[ids >= 0] for name, ids in rows.items()}


def subjects(
    study: Study, tokens: Mapping[str, np.ndarray], maps: Mapping[str, xr.Dataset], wanted: Collection[str], how: str
) -> list[Subject]:
    """Those of the `wanted` samples that have tokens and a map, grid by grid in the order of the maps.

    `maps` are the nodes of the step maps; `how` is the pooling over heads. A sample whose map is not finite in some
    layer is left out, as is one without a map.
    """
    chosen = set(wanted) & set(tokens)
    return [subject for node in maps.values() for subject in of_grid(study, tokens, node, chosen, how)]


def of_grid(
    study: Study, tokens: Mapping[str, np.ndarray], node: xr.Dataset, chosen: Collection[str], how: str
) -> list[Subject]:
    """The subjects of one grid."""
    node = node.isel(sample=np.flatnonzero(np.isin(node["sample"].values, list(chosen))))
    maps = corrections.pooled(corrected_maps.cells_of(node, "attention"), node["vision_mass"].values, how).mean(axis=1)
    queries = study.samples.set_index("sample_id")["query"]
    return [
        Subject(
            sample_id=name,
            query=queries[name],
            image=image,
            token_id=tokens[name],
            targets=tuple(study.targets(name)["object_id"]),
            target_cells=target_set(cover) if np.isfinite(cover).all() else np.zeros(len(cover), dtype=bool),
            order=np.argsort(-p, kind="stable"),
        )
        for name, image, cover, p in zip(
            node["sample"].values.tolist(), node["image"].values.tolist(), covers(study, node), maps, strict=True
        )
        if np.isfinite(p).all()
    ]


def window(maps: Mapping[str, xr.Dataset], band: str, bands: Mapping[str, Any]) -> list[int]:
    """The captured layers in a band: all, which reads no `bands`, early, middle or late.

    Raises AtlasError where none is.
    """
    node = next(iter(maps.values()))
    captured: list[int] = node["layer"].values.tolist()
    if band == "all":
        return captured
    cuts = layer_cuts(bands, int(node.attrs["num_layers"]))
    layers = [layer for layer in captured if band == layer_band(layer, cuts)]
    if not layers:
        raise AtlasError(f"causal.layers: none of the captured layers {captured} is {band}; name another band, or all")
    return layers
