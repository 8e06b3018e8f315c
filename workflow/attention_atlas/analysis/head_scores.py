"""Scores of heads: how well each head's map agrees with its sample's target, and what else choosing heads needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attention_atlas.analysis import corrections, grounding
from attention_atlas.analysis.corrected_maps import cells_of
from attention_atlas.analysis.focus import spatial_entropy
from attention_atlas.analysis.targets import covers
from attention_atlas.inputs.study import Study

# The split that heads are chosen on.
SELECT = "select"
# Samples whose maps are in memory together: bounds memory, changes no number.
SAMPLES_AT_ONCE = 64


@dataclass(frozen=True)
class Block:
    """Samples of one grid: their rows of a node, and the cover (sample, N) of their targets, NaN for none."""

    node: xr.Dataset
    cover: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """Normalised maps (sample, layer, head, N)."""
        return cells_of(self.node, "attention")

    @property
    def mass(self) -> np.ndarray:
        """Vision mass (sample, layer, head)."""
        return self.node["vision_mass"].transpose("sample", "layer", "head").values

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of its maps."""
        return self.node.sizes["row"], self.node.sizes["col"]


@dataclass(frozen=True)
class Measured:
    """What choosing heads needs of each sample: a row of `samples` (sample_id, image, split, target) and arrays.

    auroc, mass, spatial_entropy (sample, heads), layer_auroc (sample, layer); spatial_entropy is of the selection
    split alone. `names` are the (layer, head) of the heads.
    """

    samples: pd.DataFrame
    names: np.ndarray
    auroc: np.ndarray
    mass: np.ndarray
    spatial_entropy: np.ndarray
    layer_auroc: np.ndarray


def head_scores(nodes: Mapping[str, xr.Dataset], study: Study) -> pd.DataFrame:
    """AUROC of each head's raw map against its sample's target: sample_id, image, layer, head, auroc.

    Samples of control conditions and samples without a target have no rows; a map without a distribution has NaN.
    """
    return score_rows(measured(blocks_of(nodes, study), study))


def score_rows(known: Measured) -> pd.DataFrame:
    """The long table of head scores."""
    has = known.samples["target"].to_numpy(dtype=bool)
    own, scores = known.samples[has], known.auroc[has]
    return pd.DataFrame(
        {
            "sample_id": np.repeat(own["sample_id"].to_numpy(), scores.shape[1]),
            "image": np.repeat(own["image"].to_numpy(), scores.shape[1]),
            "layer": np.tile(known.names[:, 0], len(own)),
            "head": np.tile(known.names[:, 1], len(own)),
            "auroc": scores.ravel(),
        }
    )


def blocks_of(nodes: Mapping[str, xr.Dataset], study: Study) -> list[Block]:
    """The study's own samples, those of control conditions left out, in blocks of one grid each."""
    return [block for node in nodes.values() for block in node_blocks(node, study)]


def node_blocks(node: xr.Dataset, study: Study) -> Iterator[Block]:
    """The blocks of one grid."""
    node = node.isel(sample=np.flatnonzero(node["condition"].values == ""))
    cover = covers(study, node)
    for start in range(0, len(cover), SAMPLES_AT_ONCE):
        part = slice(start, start + SAMPLES_AT_ONCE)
        yield Block(node.isel(sample=part), cover[part])


def measured(blocks: list[Block], study: Study) -> Measured:
    """What choosing heads needs, of every sample of every block."""
    splits = study.samples.set_index("sample_id")["split"]
    samples, arrays = [], []
    for block in blocks:
        names = block.node["sample"].values.astype(object)
        rows = pd.DataFrame({"sample_id": names, "image": block.node["image"].values.astype(object)})
        rows["split"] = rows["sample_id"].map(splits)
        rows["target"] = np.isfinite(block.cover).all(axis=-1)
        samples.append(rows)
        arrays.append(block_measures(block, (rows["split"] == SELECT).to_numpy()))
    if not samples:
        none = pd.DataFrame({name: pd.Series(dtype=object) for name in ("sample_id", "image", "split")})
        empty = np.zeros((0, 0))
        return Measured(none.assign(target=False), np.zeros((0, 2), dtype=int), empty, empty, empty, empty)
    node = blocks[0].node
    names = np.array([(layer, head) for layer in node["layer"].values for head in node["head"].values])
    joined = (np.concatenate(parts) for parts in zip(*arrays, strict=True))
    return Measured(pd.concat(samples, ignore_index=True), names, *joined)


def block_measures(block: Block, select: np.ndarray) -> tuple[np.ndarray, ...]:
    """AUROC, mass and spatial entropy (sample, heads) and AUROC by layer (sample, layer) of one block."""
    p, mass = block.p, block.mass
    count = len(p)
    spatial = np.full(p.shape[:3], np.nan)
    spatial[select] = spatial_entropy(p[select].reshape(-1, *p.shape[1:3], *block.grid))
    flat = (values.reshape(count, -1) for values in (auroc(p, block.cover), mass, spatial))
    return *flat, auroc(corrections.pooled(p, mass, "mean"), block.cover)


def auroc(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """AUROC of maps (sample, ..., N) against each sample's cover (sample, N); NaN for a sample without a target."""
    values = np.full(p.shape[:-1], np.nan)
    has = np.isfinite(cover).all(axis=-1)
    if has.any():
        shape = (has.sum(), *[1] * (p.ndim - 2), p.shape[-1])
        values[has] = grounding.auroc(p[has], cover[has].reshape(shape))
    return values


def by_image(values: Any, samples: pd.DataFrame) -> pd.DataFrame:
    """Values (sample, columns) as means over each image's samples; NaN = sample left out."""
    return pd.DataFrame(values).groupby(samples["image"].to_numpy()).mean()
