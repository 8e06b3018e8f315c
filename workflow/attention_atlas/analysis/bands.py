"""Bands: low, medium or high entropy; early, middle or late layers."""

import math
from collections.abc import Mapping
from typing import Any

ENTROPY_BANDS = ("low", "medium", "high")
LAYER_BANDS = ("early", "middle", "late")


def entropy_cuts(bands: Mapping[str, Any], measure: str, num_cells: int) -> tuple[float, float]:
    """The two cuts of entropy, in the unit of `measure`: nats at `num_cells` cells, or shares of ln N.

    The cuts of the settings hold at `reference_cells`; for any other N the same cuts of H / ln N apply.
    """
    low, high = (cut / math.log(bands["reference_cells"]) for cut in bands["entropy"])
    scale = 1.0 if measure == "entropy_normalised" else math.log(num_cells)
    return low * scale, high * scale


def entropy_band(value: float, cuts: tuple[float, float]) -> str:
    """low below the first cut, high above the second, medium between; empty for NaN."""
    if math.isnan(value):
        return ""
    return ENTROPY_BANDS[0] if value < cuts[0] else ENTROPY_BANDS[2] if value > cuts[1] else ENTROPY_BANDS[1]


def layer_cuts(bands: Mapping[str, Any], num_layers: int) -> tuple[int, int]:
    """The first middle and the first late layer of a model of `num_layers`."""
    first, second = (round(num_layers * cut / bands["reference_layers"]) for cut in bands["layers"])
    return first, second


def layer_band(layer: int, cuts: tuple[int, int]) -> str:
    """early, middle or late."""
    return LAYER_BANDS[(layer >= cuts[0]) + (layer >= cuts[1])]
