"""Heads that localise: which heads are chosen, by three methods, and the map of a set of heads. NumPy kernels.

Heads are counted layer by layer, (layer, head) flattened; of equal values the first in this order is taken. Maps are
p (..., N), normalised over their cells.
"""

import math

import numpy as np

from attention_atlas.analysis.focus import normalised

# Scores are compared, and frozen, at this precision: rounding alone decides no choice.
DECIMALS = 6


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest of scores (n,), the largest first; NaN is never among them."""
    known = np.flatnonzero(np.isfinite(scores))
    return known[np.argsort(-scores[known].round(DECIMALS), kind="stable")][:count]


def members(chosen: np.ndarray, heads: int) -> np.ndarray:
    """Indices of chosen heads (..., size) as membership (..., heads) of booleans."""
    belongs = np.zeros((*chosen.shape[:-1], heads), dtype=bool)
    np.put_along_axis(belongs, chosen, True, axis=-1)
    return belongs


def random_sets(heads: int, size: int, sets: int, seed: int) -> np.ndarray:
    """Membership (sets, heads) of random sets of `size` heads, drawn without replacement within a set."""
    order = np.random.default_rng(seed).random((sets, heads)).argsort(axis=-1)
    return members(order[:, :size], heads)


def weighted(p: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Head maps p (..., N) times the heads' vision mass (...); a head without any mass adds nothing."""
    return np.where(mass[..., None] == 0, 0, p * mass[..., None])


def set_maps(weights: np.ndarray, belongs: np.ndarray) -> np.ndarray:
    """Maps (sample, set, N) of sets of heads: the mean of `weighted` maps (sample, heads, N) over (set, heads).

    NaN for a set with a head that is not finite.
    """
    finite = np.isfinite(weights).all(axis=-1)
    chosen = belongs.astype(float)
    broken = ~finite @ chosen.T > 0
    total = chosen @ np.where(finite[..., None], weights, 0)
    return normalised(np.where(broken[..., None], np.nan, total))


def elbow(values: np.ndarray) -> float:
    """The value at the elbow of a sorted curve (n,): where it lies farthest below the chord between its ends.

    Kneedle (Satopää et al. 2011) on values in descending order; -inf where the curve nowhere lies below its chord.
    """
    descending = -np.sort(-values)
    below = np.linspace(descending[0], descending[-1], len(descending)) - descending
    place = int(below.argmax())
    return float(descending[place]) if below[place] > 1e-12 * abs(descending[0]) else -math.inf


def localization_heads(
    mass: np.ndarray, spatial_entropy: np.ndarray, most_focused: int, most_frequent: int
) -> np.ndarray:
    """Indices of the LocalizationHeads (Kang et al., CVPR 2025), the most frequent first; boxes are not needed.

    Of the heads whose mean vision mass (heads,) is above the elbow, each sample names the `most_focused` of lowest
    spatial entropy (sample, heads; NaN = not focused at all); the `most_frequent` that are named most often are kept.
    Departs from the paper: maps are of the study's selected step, not of the last prompt token.
    """
    kept = np.where(mass > elbow(mass[np.isfinite(mass)]), 0, np.nan)
    named = [best(-entropies, most_focused) for entropies in spatial_entropy + kept]
    times = np.bincount(np.concatenate([np.zeros(0, dtype=int), *named]), minlength=len(mass))
    return best(np.where(times > 0, times, np.nan), most_frequent)


def top_layers(profile: np.ndarray, share: float) -> np.ndarray:
    """Indices of the layers of highest AUROC in a profile (layer,): this share of them, at least one.

    The layer profile of VEA (Liu et al. 2025, arXiv 2510.17771). Departs from the paper: maps are of the study's
    selected step, and the layers' maps count alike.
    """
    return best(profile, max(1, round(share * len(profile))))


def layer_set_map(layer_maps: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """The mean (sample, N) of normalised maps (sample, layer, N) over some layers."""
    return normalised(layer_maps[:, layers].mean(axis=1))
