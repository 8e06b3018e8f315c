"""Pooling: from one map per head to one map. Max over heads is the headline, mean the ablation."""

from typing import Any

import numpy as np

HEAD_POOLINGS = ("max", "mean")


def pool_heads(attention: np.ndarray, how: str, axis: int) -> np.ndarray:
    """Raw weights over an axis of heads as one map, m_i = max_h a or mean_h a; NaN where any head is NaN.

    Raises KeyError for a pooling other than `HEAD_POOLINGS`.
    """
    kernels: dict[str, Any] = {"max": np.max, "mean": np.mean}
    return kernels[how](attention, axis=axis)
