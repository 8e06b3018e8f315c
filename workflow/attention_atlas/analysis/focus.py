"""Focus: how concentrated a map is. NumPy kernels over the cells of maps, and the long table of a run.

Every kernel takes maps with cells on the last axis (`spatial_entropy`: rows and columns on the last two), raw weights
of any scale, and returns NaN for a map whose mass is 0 or not finite.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import xarray as xr
from scipy import ndimage, special

from attention_atlas.analysis.blocks import blocks
from attention_atlas.analysis.pooling import HEAD_POOLINGS, pool_heads
from attention_atlas.analysis.rows import joined, layer_rows, long_table
from attention_atlas.readers import check_attention

Kernel = Callable[[np.ndarray], np.ndarray]
TOP_TOKENS = 5
SHARE = 0.9
KEYS, LABELS = ["sample_id", "step", "layer"], ["pooling", "measure"]


def normalised(maps: np.ndarray) -> np.ndarray:
    """p = a / sum a over the last axis in fp64; NaN for a map without finite, positive mass."""
    maps = np.asarray(maps, dtype=np.float64)
    mass = maps.sum(axis=-1, keepdims=True)
    usable = np.isfinite(mass) & (mass > 0)
    return np.divide(maps, mass, out=np.full_like(maps, np.nan), where=usable)


def entropy(maps: np.ndarray) -> np.ndarray:
    """Shannon entropy H = -sum p ln p in nats, 0 ln 0 = 0; at most ln N."""
    return special.entr(normalised(maps)).sum(axis=-1)


def entropy_normalised(maps: np.ndarray) -> np.ndarray:
    """H / ln N, in [0, 1]; NaN for maps of one cell, whose entropy says nothing."""
    cells = maps.shape[-1]
    return entropy(maps) / np.log(cells) if cells > 1 else np.full(maps.shape[:-1], np.nan)


def effective_tokens(maps: np.ndarray) -> np.ndarray:
    """exp(H): the number of tokens of a uniform map of the same entropy."""
    return np.exp(entropy(maps))


def gini(maps: np.ndarray) -> np.ndarray:
    """Gini index, 0 = uniform, 1 - 1/N = one token: 1 - 2 sum_k p_(k) (N - k + 1/2) / N (Hurley & Rickard 2009)."""
    ascending = np.sort(normalised(maps), axis=-1)
    cells = maps.shape[-1]
    return 1 - 2 * (ascending * (cells - np.arange(1, cells + 1) + 0.5)).sum(axis=-1) / cells


def top_mass(maps: np.ndarray, tokens: int = TOP_TOKENS) -> np.ndarray:
    """Share of the mass on the `tokens` largest cells; 1 where a map has no more cells."""
    return np.sort(normalised(maps), axis=-1)[..., -tokens:].sum(axis=-1)


def tokens_for_share(maps: np.ndarray, share: float = SHARE) -> np.ndarray:
    """The fewest tokens that hold `share` of the mass."""
    descending = -np.sort(-normalised(maps), axis=-1)
    held = descending.cumsum(axis=-1)
    # A sum that reaches the share up to rounding has reached it: nine tenths of ten equal cells are nine cells.
    count = (held < share - 1e-9).sum(axis=-1) + 1.0
    return np.where(np.isfinite(held[..., -1]), count, np.nan)


def spatial_entropy(maps: np.ndarray) -> np.ndarray:
    """Entropy of the masses of the 8-connected components of ReLU(m - mean m), (..., rows, cols), in nats.

    NaN where no component is left. LocalizationHeads (Kang et al., CVPR 2025).
    """
    rows, cols = maps.shape[-2:]
    flat = normalised(maps.reshape(-1, rows * cols))
    # A uniform map stands above its mean by rounding alone.
    above = np.maximum(flat - flat.mean(axis=-1, keepdims=True) - 1e-12, 0).reshape(-1, rows, cols)
    within_one_map = np.zeros((3, 3, 3), dtype=bool)
    within_one_map[1] = True
    labels, count = ndimage.label(np.nan_to_num(above) > 0, structure=within_one_map)
    mass = np.bincount(labels.ravel(), weights=np.nan_to_num(above).ravel(), minlength=count + 1)[1:]
    owner = np.zeros(count + 1, dtype=np.intp)
    owner[labels.ravel()] = np.repeat(np.arange(len(flat)), rows * cols)
    owner = owner[1:]
    total = np.bincount(owner, weights=mass, minlength=len(flat))
    terms = special.entr(mass / total[owner])
    value = np.bincount(owner, weights=terms, minlength=len(flat))
    return np.where(total > 0, value, np.nan).reshape(maps.shape[:-2])


MEASURES: dict[str, Kernel] = {
    "entropy": entropy,
    "entropy_normalised": entropy_normalised,
    "effective_tokens": effective_tokens,
    "gini": gini,
    "top_5_mass": top_mass,
    "tokens_for_90pct": tokens_for_share,
}
OF_SINGLE_HEADS = ("entropy", "entropy_normalised", "effective_tokens")


def focus_of_maps(attention: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """(pooling, measure) -> values (...,) of raw weights (..., head, row, col).

    `head_mean` and `head_min` are over the heads' own measures, a different quantity from those of a pooled map.
    """
    cells = attention.reshape(*attention.shape[:-2], -1)
    values: dict[tuple[str, str], np.ndarray] = {}
    for how in HEAD_POOLINGS:
        pooled = pool_heads(cells, how, axis=-2)
        values |= {(how, name): kernel(pooled) for name, kernel in MEASURES.items()}
        values[how, "spatial_entropy"] = spatial_entropy(pooled.reshape(*pooled.shape[:-1], *attention.shape[-2:]))
    for name in OF_SINGLE_HEADS:
        of_heads = MEASURES[name](cells)
        values["head_mean", name] = of_heads.mean(axis=-1)
        values["head_min", name] = of_heads.min(axis=-1)
    return values


def focus_table(tree: xr.DataTree) -> pd.DataFrame:
    """The long table of a run: sample_id, step, layer, pooling, measure, value; no rows past a sample's last step."""
    return long_table(wide_table(tree), KEYS, LABELS)


def wide_table(tree: xr.DataTree) -> pd.DataFrame:
    """The same with a column a (pooling, measure)."""
    return joined((part for node in tree.leaves for part in node_parts(node.to_dataset())), KEYS)


def node_parts(node: xr.Dataset) -> Iterator[pd.DataFrame]:
    """The rows of one node, a block at a time."""
    for place in blocks(node["attention"], ("sample", "step")):
        block = node[["attention", "vision_mass", "num_steps"]].isel(place).load()
        check_attention(block["attention"], block["vision_mass"])
        yield layer_rows(block, focus_of_maps(block["attention"].transpose(..., "head", "row", "col").values))
