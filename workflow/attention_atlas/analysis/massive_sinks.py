"""Massive sinks: which vision tokens carry the massive activations that make a token take weight whatever is asked.

The dimensions that they lie in are discovered on the first token of the prompts, which is such a sink in language
models of any kind (Sun et al. 2024); which vision tokens share them is then read off their hidden states (VisAttnSink,
Kang et al., ICLR 2025).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from attention_atlas.analysis import corrections
from attention_atlas.analysis.blocks import blocks as blocks_of

STATES, FIRST_STATES = "hidden_state", "first_token_hidden_state"
# Hidden states held at once, in fp64; a sample of a large model takes a hundred MB.
BLOCK_BYTES = 2**27
Nodes = Callable[[], Iterable[xr.Dataset]]


@dataclass(frozen=True)
class MassiveDimensions:
    """By layer: `massive` (layer, dim) of bool, and `threshold` (layer,), the least phi of a sink (NaN without any)."""

    massive: np.ndarray
    threshold: np.ndarray


def discover(nodes: Nodes) -> MassiveDimensions | None:
    """The massive dimensions of a model, from the first tokens of all samples of nodes that keep hidden states.

    `nodes` gives them anew at each call; None where none of them keeps any.
    """
    magnitudes = mean_over_samples(nodes, lambda states: np.abs(corrections.rms_normalised(states)))
    if not magnitudes.ndim:
        return None
    massive = corrections.massive_dimensions(magnitudes)
    phi = mean_over_samples(nodes, lambda states: corrections.massive_activation(states, massive))
    return MassiveDimensions(massive, np.where(massive.any(axis=-1), corrections.SINK_SHARE * phi, np.nan))


def mean_over_samples(nodes: Nodes, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Mean over samples of a kernel of first tokens' states (sample, layer, dim); failed samples have none."""
    total, count = np.zeros(()), 0
    for node in (node for node in nodes() if FIRST_STATES in node):
        for _, states in blocks(node[FIRST_STATES].transpose("sample", "layer", "dim")):
            known = np.isfinite(states).all(axis=(1, 2))
            total = total + kernel(states[known]).sum(axis=0)
            count += known.sum()
    return total / max(count, 1)


def sink_variables(node: xr.Dataset, found: MassiveDimensions) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """What step maps keep of states: phi of each cell and what holds by layer; nothing where no state was kept.

    phi is 0 in a layer without massive dimensions, else NaN where a sample's states were not kept.
    """
    if STATES not in node:
        return {}
    states = node[STATES].transpose("sample", "layer", "row", "col", "dim")
    phi = np.empty(states.shape[:-1], dtype=np.float32)
    for place, block in blocks(states):
        phi[place] = corrections.massive_activation(block, found.massive[:, None, None])
    return {
        "sink_phi": (("sample", "layer", "row", "col"), phi),
        "massive_dims": (("layer",), found.massive.sum(axis=-1).astype(np.int32)),
        "sink_threshold": (("layer",), found.threshold),
    }


def blocks(states: xr.DataArray) -> Iterator[tuple[slice, np.ndarray]]:
    """Hidden states, samples first, in fp64 by blocks of samples, each with its place."""
    for place in blocks_of(states, most=BLOCK_BYTES * states.dtype.itemsize // 8):
        yield place["sample"], states.isel(place).values.astype(np.float64)
