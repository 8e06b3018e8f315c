"""Intervals over images: BCa bootstrap for means, Wilson for proportions; refused, with the reason, where undefined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

# Resamples drawn at a time times values: bounds memory to some 100 MB, changes no number.
VALUES_AT_ONCE = 4_000_000
# Decimals of means, of values up to 1, at which a resample's mean is compared with the mean of all. Few images often
# have resamples with the same mean: last bits, in which processors differ, must not decide which is larger.
TIE_DECIMALS = 12


@dataclass(frozen=True)
class MeanInterval:
    """A mean over images with its interval (NaN and the reason where there is none), and the number of images."""

    mean: float
    low: float
    high: float
    n: int
    note: str


def mean_intervals(by_image: pd.DataFrame, statistics: Mapping[str, Any]) -> dict[Any, MeanInterval]:
    """Column -> mean over images (rows; NaN = image left out) with its BCa bootstrap interval.

    Columns that have the same images are resampled together; each column's interval is what it would be alone.
    """
    values = by_image.to_numpy(dtype=float)
    present = np.isfinite(values)
    intervals: dict[Any, MeanInterval] = {}
    for pattern in np.unique(present, axis=1).T:
        columns = np.flatnonzero((present == pattern[:, None]).all(axis=0))
        found = intervals_of(values[pattern][:, columns], statistics)
        intervals |= dict(zip(by_image.columns[columns], found, strict=True))
    return {column: intervals[column] for column in by_image.columns}


def intervals_of(values: np.ndarray, statistics: Mapping[str, Any]) -> list[MeanInterval]:
    """Intervals of the means of the columns of (images, columns), all finite."""
    n, count = values.shape
    if n == 0:
        return [MeanInterval(np.nan, np.nan, np.nan, 0, "no image")] * count
    means = values.mean(axis=0)
    low, high = np.full(count, np.nan), np.full(count, np.nan)
    constant = np.ptp(values, axis=0) <= 1e-10 * np.abs(means)
    notes = np.where(constant, "all values are equal", "").astype(object)
    if n < statistics["min_images"]:
        notes[:] = f"{n} image(s); an interval needs {statistics['min_images']}"
    elif not constant.all():
        low[~constant], high[~constant] = bca(values[:, ~constant], statistics)
    return [MeanInterval(*parts) for parts in zip(means, low, high, [n] * count, notes, strict=True)]


def bca(values: np.ndarray, statistics: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Bias-corrected and accelerated bootstrap interval of the mean over the first axis (Efron 1987; scipy)."""
    scale = np.abs(values).max(axis=0)
    result = stats.bootstrap(
        (values / scale,),
        mean_with_ties,
        axis=0,
        vectorized=True,
        method="BCa",
        n_resamples=statistics["resamples"],
        confidence_level=statistics["confidence"],
        batch=max(1, VALUES_AT_ONCE // values.size),
        rng=np.random.default_rng(statistics["seed"]),
    )
    low, high = (np.round(end, TIE_DECIMALS) * scale for end in result.confidence_interval)
    return low, high


def mean_with_ties(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of values up to 1, the same for means that differ by rounding alone."""
    return np.round(values.mean(axis=axis), TIE_DECIMALS)


def proportion_interval(by_image: pd.Series, statistics: Mapping[str, Any]) -> MeanInterval:
    """The mean of values in [0, 1] over images with its Wilson interval (statsmodels); NaN = image left out."""
    values = by_image.dropna().to_numpy(dtype=float)
    n = len(values)
    if n < statistics["min_images"]:
        mean = values.mean() if n else np.nan
        return MeanInterval(mean, np.nan, np.nan, n, f"{n} image(s); an interval needs {statistics['min_images']}")
    low, high = proportion_confint(values.sum(), n, alpha=1 - statistics["confidence"], method="wilson")
    return MeanInterval(values.mean(), float(low), float(high), n, "")
