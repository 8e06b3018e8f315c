"""Corrections: maps without what does not depend on the question. NumPy kernels on p (..., N), normalised maps.

Order of use: each head's map is corrected, multiplied by that head's vision mass, then pooled.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from attention_atlas.analysis.pooling import pool_heads

EPSILON = 1e-6
RMS_EPSILON = 1e-6
# By how much a dimension must stand above the median one. The largest of 4,096 independent coordinates stands at 5 to 6
# times the median where they are normal, at 12 to 13 where they are exponential; massive activations at some 1,000 (Sun
# et al. 2024).
MASSIVE_FACTOR = 20.0
# Share of the first token's phi from which a token is a sink: the first token is the one that surely is.
SINK_SHARE = 0.5


@dataclass(frozen=True)
class PositionBias:
    """What cells take whatever is asked (images, ..., N): mean over all *other* images of each image, and its SE."""

    mean: np.ndarray
    standard_error: np.ndarray


@dataclass(frozen=True)
class ImageTotals:
    """Sums over images of their mean maps: `count` (..., 1) of those that have one, `total` and `squares` (..., N)."""

    count: np.ndarray
    total: np.ndarray
    squares: np.ndarray


def image_means(p: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean map of each image: p (samples, ..., N) and image labels (samples,) -> (images, ..., N), labels.

    Images in the order in which they come up. Maps without a distribution (NaN) are left out; an image without any has
    NaN.
    """
    index, labels = pd.factorize(image)
    total, count = np.zeros((len(labels), *p.shape[1:])), np.zeros((len(labels), *p.shape[1:-1], 1))
    usable = np.isfinite(p).all(axis=-1, keepdims=True)
    np.add.at(total, index, np.where(usable, p, 0))
    np.add.at(count, index, usable)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), labels


def image_totals(parts: Iterable[np.ndarray]) -> ImageTotals:
    """Sums over means (images, ..., N) that are given part by part; added image by image, so parts change no number."""
    count, total, squares = np.zeros(()), np.zeros(()), np.zeros(())
    for mean in (mean for means in parts for mean in means):
        usable = np.isfinite(mean).all(axis=-1, keepdims=True)
        filled = np.where(usable, mean, 0)
        count, total, squares = count + usable, total + filled, squares + filled**2
    return ImageTotals(count, total, squares)


def position_bias(means: np.ndarray, among: ImageTotals | None = None) -> PositionBias:
    """The leave-one-image-out bias b and its standard error over the other images' means.

    `means` (images, ..., N) are of images that the totals `among` are made of; these alone by default. NaN where fewer
    than three images have a map: no other mean has a spread.
    """
    among = among or image_totals([means])
    usable = np.isfinite(means).all(axis=-1, keepdims=True)
    filled = np.where(usable, means, 0)
    others = among.count - usable
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (among.total - filled) / others
        squares = (among.squares - filled**2) / others
        variance = np.clip(squares - mean**2, 0, None) * others / (others - 1)
        error = np.sqrt(variance / others)
    known = others >= 2
    return PositionBias(np.where(known, mean, np.nan), np.where(known, error, np.nan))


def without_sinks(p: np.ndarray, bias: np.ndarray, standard_error: np.ndarray) -> np.ndarray:
    """p with sinks scaled to an even share: p_i (1/N) / b_i where b_i - 2 SE > 1/N, p_i elsewhere; renormalised.

    A cell counts as a sink where it surely takes more than its share on average. Where the bias is unknown: NaN.
    """
    even = 1 / p.shape[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(bias - 2 * standard_error > even, p * even / bias, p)
        scaled = np.where(np.isfinite(bias), scaled, np.nan)
        return scaled / scaled.sum(axis=-1, keepdims=True)


def rms_normalised(x: np.ndarray) -> np.ndarray:
    """RMSNorm without gain over the last axis: x / sqrt(mean x^2 + 1e-6) (Zhang & Sennrich 2019)."""
    return x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + RMS_EPSILON)


def massive_dimensions(magnitudes: np.ndarray, factor: float = MASSIVE_FACTOR) -> np.ndarray:
    """Which dimensions are massive, (..., dim) of bool: those of at least `factor` times the median over dimensions.

    `magnitudes` (..., dim): mean over samples of the first token's |RMSNorm(x)|, by layer.
    """
    return (magnitudes > 0) & (magnitudes >= factor * np.median(magnitudes, axis=-1, keepdims=True))


def massive_activation(x: np.ndarray, massive: np.ndarray) -> np.ndarray:
    """phi = max over the massive dimensions of |RMSNorm(x_i)| (VisAttnSink, Kang et al., ICLR 2025); 0 without any.

    x (..., dim) hidden states, `massive` (..., dim) of bool.
    """
    return np.max(np.abs(rms_normalised(x)), axis=-1, where=massive, initial=0)


def without_massive_sinks(p: np.ndarray, phi: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """p with sinks held to an even share: min(p_i, 1/N) where phi_i >= threshold, p_i elsewhere; renormalised.

    Where the threshold is NaN (no massive dimension) p as it is; where phi is NaN (no hidden state): NaN.
    """
    sinks = phi >= threshold
    scaled = np.where(sinks, np.minimum(p, 1 / p.shape[-1]), p)
    scaled = np.where(np.isfinite(phi), scaled, np.nan)
    return scaled / scaled.sum(axis=-1, keepdims=True)


def relative_to(p: np.ndarray, generic: np.ndarray) -> np.ndarray:
    """p over the map of a generic query, p / (p_generic + 1e-6 / N), renormalised (Zhang et al., ICLR 2025)."""
    ratio = p / (generic + EPSILON / p.shape[-1])
    return ratio / ratio.sum(axis=-1, keepdims=True)


def pooled(p: np.ndarray, mass: np.ndarray, how: str) -> np.ndarray:
    """Corrected head maps p (..., head, N), weighted by the heads' vision mass (..., head), pooled and normalised."""
    weights = pool_heads(p * mass[..., None], how, axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return weights / weights.sum(axis=-1, keepdims=True)
