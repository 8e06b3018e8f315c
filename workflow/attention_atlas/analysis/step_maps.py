"""Step maps: each sample's attention at its selected step, by layer and head: what the analyses of maps read.

One node per token grid: attention (sample, layer, head, row, col), vision_mass (sample, layer, head), the
projected values' weights where they were kept, and what each sample is. Averaged over steps where several are selected.
Where hidden states were kept, what they tell of sinks: sink_phi (sample, layer, row, col), the same for every step, and
by layer the number of massive dimensions, massive_dims, and sink_threshold.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
import numpy as np
import pandas as pd
import xarray as xr

from attention_atlas import store
from attention_atlas.analysis import massive_sinks
from attention_atlas.analysis.blocks import blocks
from attention_atlas.analysis.steps import selected_steps
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.conditions import AT_FIRST_STEP
from attention_atlas.readers import check_attention, check_netcdf, cure

MAPS = ("attention", "value_weighted_attention")
SINKS = "massive_dims"
DESCRIBED = (
    *("image", "query_id", "query_type", "condition"),
    *("image_height", "image_width", "row_edge", "col_edge"),
)
Shards = Callable[[], Iterable[xr.DataTree]]


def steps_of(samples: pd.DataFrame, answers: pd.DataFrame, selector: str) -> pd.DataFrame:
    """The steps of samples of any condition by the selector; of those that ask no question of the study, the first."""
    at_first = samples["condition"].isin(AT_FIRST_STEP)
    parts = [
        selected_steps(samples[~at_first], answers, selector),
        selected_steps(samples[at_first], answers, "first"),
    ]
    return pd.concat(parts, ignore_index=True)


def step_maps(tree: xr.DataTree, steps: pd.DataFrame) -> xr.DataTree:
    """The maps of a run at the selected `steps` (rows of sample_id, step); samples without one have no map.

    The variable `step` is -1 where several steps are averaged.
    """
    return as_tree(of_shards(lambda: [tree], steps))


def write(path: Path, shards: Shards, steps: pd.DataFrame, scratch: Path) -> dict[str, tuple[int, int]]:
    """Write the maps of a run's shards; returns in how many layers, of how many, each node has massive dimensions.

    Memory is that of one shard: each one's maps lie in a folder in `scratch` until all are there.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(dir=scratch, prefix="step_maps.") as folder,
        ExitStack() as files,
        dask.config.set(scheduler="synchronous"),
    ):
        parts = []
        for number, maps in enumerate(of_shards(shards, steps)):
            part = Path(folder, f"{number}.nc")
            store.write_tree(part, as_tree([maps]))
            del maps  # before the next shard's are made
            parts.append(store.lazy_nodes(part, files))
        made = as_tree(parts)
        store.write_tree(path, made)
        found = {node.path.strip("/"): node.to_dataset() for node in made.leaves if SINKS in node}
        return {name: (int((node[SINKS] > 0).sum()), node.sizes["layer"]) for name, node in found.items()}


def of_shards(shards: Shards, steps: pd.DataFrame) -> Iterator[dict[str, xr.Dataset]]:
    """The nodes of each shard, its maps in memory; each call of `shards` gives the shards anew, one after the other."""
    by_sample = steps.groupby("sample_id")["step"].agg(list)
    massive = massive_sinks.discover(lambda: (node.to_dataset() for tree in shards() for node in tree.leaves))
    for tree in shards():
        yield {node.path.strip("/"): node_maps(node.to_dataset(), by_sample, massive) for node in tree.leaves}


def as_tree(parts: Iterable[Mapping[str, xr.Dataset]]) -> xr.DataTree:
    """The nodes of shards as one tree, those of one grid one after the other."""
    nodes: dict[str, list[xr.Dataset]] = {}
    for part in parts:
        for name, node in part.items():
            nodes.setdefault(name, []).append(node)
    return xr.DataTree.from_dict({f"/{name}": joined(own) for name, own in sorted(nodes.items())})


def joined(parts: list[xr.Dataset]) -> xr.Dataset:
    """Maps of one grid, one after the other; parts without any, which may lack variables, are left out."""
    kept = [part for part in parts if part.sizes["sample"]] or parts[:1]
    return kept[0] if len(kept) == 1 else xr.concat(kept, "sample", "minimal", "minimal", "override")


def node_maps(node: xr.Dataset, steps: pd.Series, massive: massive_sinks.MassiveDimensions | None = None) -> xr.Dataset:
    """The maps of one grid."""
    node = node.isel(sample=np.flatnonzero(np.isin(node["sample"].values, steps.index)))
    sinks = {} if massive is None else massive_sinks.sink_variables(node, massive)
    kept = [name for name in (*MAPS, "vision_mass") if name in node]
    chosen = [steps[name] for name in node["sample"].values]
    wanted = np.zeros((node.sizes["sample"], node.sizes["step"]))
    for number, own in enumerate(chosen):
        wanted[number, own] = 1 / len(own)
    means = {name: at_steps(node[name], wanted) for name in kept}
    one = np.array([own[0] if len(own) == 1 else -1 for own in chosen], dtype=np.int32)
    made = node[list(DESCRIBED)].load().assign(means).assign(sinks).assign(step=("sample", one))
    check_attention(made["attention"], made["vision_mass"])
    return made.reset_coords(drop=True)


def at_steps(values: xr.DataArray, weights: np.ndarray) -> xr.DataArray:
    """The weighted mean over steps, (sample, step) of weights; steps of weight 0 take no part, whatever they hold."""
    ordered = values.transpose("sample", "step", ...)
    mean = np.zeros((ordered.shape[0], *ordered.shape[2:]))
    for place in blocks(ordered, ("sample", "step")):
        here = weights[place["sample"], place.get("step", slice(None))]
        if here.any():
            block = ordered.isel(place).values
            for sample, step in np.argwhere(here > 0):
                mean[place["sample"]][sample] += here[sample, step] * block[sample, step]
    return ordered.isel(step=0, drop=True).copy(data=mean.astype(ordered.dtype))


@contextmanager
def reading(*paths: Path | None) -> Iterator[list[dict[str, xr.Dataset]]]:
    """The nodes of files of step maps by their names; their maps stay on disk, to be read while the block lasts.

    None stands for a file that was not made, which has no nodes.
    """
    for path in filter(None, paths):
        check_netcdf(path)
    with ExitStack() as files, dask.config.set(scheduler="synchronous"):  # the netCDF library crashes under threads
        yield [{} if path is None else checked(path, store.lazy_nodes(path, files)) for path in paths]


def checked(path: Path, nodes: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """The nodes of a file; refuses one that does not hold step maps. Without any map its root is all there is."""
    for name, node in nodes.items():
        missing = [part for part in (*DESCRIBED, "attention", "vision_mass", "sample", "layer") if part not in node]
        if missing and node.variables:
            raise AtlasError(f"{path} does not hold step maps: group /{name} has no {', '.join(missing)}. {cure(path)}")
    return nodes
