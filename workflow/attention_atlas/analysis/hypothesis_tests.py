"""Tests of a difference and of equivalence, on whole batches of datasets: arrays (..., n), n images in an arm.

All datasets of a batch share their permutations and resamples, so each has the result that it would have alone.
Values are finite; two-sided p throughout. Fewer than `min_images` images in an arm: NaN, and a note that says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import ceil, comb
from typing import Any

import numpy as np
from scipy import ndimage, special, stats

# Up to this many sign flips (16 images) or divisions into two arms are enumerated, not drawn.
MOST_ENUMERATED = 2**16
PERMUTATIONS_AT_ONCE = 10_000
# Datasets times permutations or resamples at a time: bounds memory, keeps them in the processor's cache.
VALUES_AT_ONCE = 1_000_000
# What floating point may add to sums that are equal on paper, relative to their size.
ROUNDING = 1e-12
# Neighbours within a (layer, step) plane share a side; planes of different permutations never touch.
WITHIN_PLANE = np.stack([np.zeros((3, 3), int), ndimage.generate_binary_structure(2, 1).astype(int), np.zeros((3, 3))])


@dataclass(frozen=True)
class Plan:
    """How tests are made: level, interval, numbers of resamples and (at least) of permutations, seed, fewest images."""

    alpha: float = 0.05
    confidence: float = 0.95
    resamples: int = 9999
    permutations: int = 9999
    seed: int = 0
    min_images: int = 6


@dataclass(frozen=True)
class Results:
    """A batch of tests: arrays (...), the smallest p of a difference that these sizes allow, and why values are NaN."""

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_difference: np.ndarray
    p_equivalence: np.ndarray
    effect_size: np.ndarray
    smallest_p: float
    note: str


@dataclass(frozen=True)
class ClusterTest:
    """Clusters of a (layer, step) plane: t (NaN = cell left out), labels (0 = in none, else 1 ... in the order of p),
    their masses (signed sum of t) and p, corrected for the whole plane; the number of images, and why there is none."""

    t: np.ndarray
    labels: np.ndarray
    mass: np.ndarray
    p: np.ndarray
    n: int
    note: str


def plan_of(settings: Mapping[str, Any]) -> Plan:
    """The settings of tests as a plan."""
    statistics, tests = settings["statistics"], settings["tests"]
    return Plan(
        alpha=tests["alpha"],
        confidence=statistics["confidence"],
        resamples=statistics["resamples"],
        permutations=tests["permutations"],
        seed=statistics["seed"],
        min_images=statistics["min_images"],
    )


def paired_tests(differences: np.ndarray, margin: np.ndarray | float, plan: Plan) -> Results:
    """Sign-flip p, BCa interval, d_z and paired TOST of differences (..., n); margin (...), NaN = no equivalence."""
    n = differences.shape[-1]
    if n < plan.min_images:
        return refused(differences, differences, plan)
    return Results(
        differences.mean(axis=-1),
        *bca_mean(differences, plan.confidence, plan.resamples, plan.seed),
        sign_flip_p(differences, plan.permutations, plan.seed),
        tost_paired(differences, margin),
        cohen_dz(differences),
        smallest_sign_flip_p(n, plan.permutations),
        "",
    )


def unpaired_tests(first: np.ndarray, second: np.ndarray, margin: np.ndarray | float, plan: Plan) -> Results:
    """Label-permutation p, BCa interval, Hedges g and Welch's TOST of arms (..., n1) and (..., n2)."""
    sizes = first.shape[-1], second.shape[-1]
    if min(sizes) < plan.min_images:
        return refused(first, second, plan)
    return Results(
        first.mean(axis=-1) - second.mean(axis=-1),
        *bca_difference(first, second, plan.confidence, plan.resamples, plan.seed),
        label_permutation_p(first, second, plan.permutations, plan.seed),
        tost_welch(first, second, margin),
        hedges_g(first, second),
        smallest_label_p(*sizes, plan.permutations),
        "",
    )


def refused(first: np.ndarray, second: np.ndarray, plan: Plan) -> Results:
    """The results of a batch with too few images: NaN and the reason."""
    fewest = min(first.shape[-1], second.shape[-1])
    none = np.full(first.shape[:-1], np.nan)
    note = f"{fewest} image(s) in an arm; a test needs {plan.min_images}"
    return Results(none, none, none, none, none, none, smallest_p=np.nan, note=note)


def permutations_for(tests: int, plan: Plan) -> int:
    """Random permutations for a family of tests: enough that the smallest p passes its correction tenfold."""
    return max(plan.permutations, ceil(round(10 * tests / plan.alpha, 6)))


def sign_flip_p(differences: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """p of a mean of zero under flips of the signs of differences (..., n): exact up to 16 images, else random.

    Random flips count the observed one as well (Phipson & Smyth 2010).
    """
    n = differences.shape[-1]
    flat = differences.reshape(-1, n)
    least = np.abs(flat.sum(axis=-1)) - ROUNDING * np.abs(flat).sum(axis=-1)
    hits, drawn = np.zeros(len(flat)), 0
    for flips in sign_blocks(n, permutations, seed):
        for rows in chunks(len(flat), flips.shape[1]):
            hits[rows] += (np.abs(flat[rows] @ flips) >= least[rows, None]).sum(axis=-1)
        drawn += flips.shape[1]
    return share_of(hits, drawn, 2**n <= MOST_ENUMERATED).reshape(differences.shape[:-1])


def label_permutation_p(first: np.ndarray, second: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """p of equal arms (..., n1), (..., n2) under permutations of their labels, by Welch's t (Janssen 1997).

    Exact where there are at most 2^16 divisions, else random as in `sign_flip_p`. Compared without a division,
    d^2 e_observed >= d_observed^2 e, so that arms without any spread need no special case.
    """
    sizes = first.shape[-1], second.shape[-1]
    flat = standardised(np.concatenate([first, second], axis=-1).reshape(-1, sum(sizes)))
    squares = (flat**2).sum(axis=-1, keepdims=True)
    own = np.repeat([1.0, 0.0], sizes)[:, None]
    observed, error = welch_parts(flat @ own, flat**2 @ own, squares, sizes)
    hits, drawn = np.zeros(len(flat)), 0
    for labels in label_blocks(*sizes, permutations, seed):
        for rows in chunks(len(flat), labels.shape[1]):
            values = flat[rows]
            d2, e = welch_parts(values @ labels, values**2 @ labels, squares[rows], sizes)
            hits[rows] += (d2 * error[rows] >= observed[rows] * e * (1 - ROUNDING) - ROUNDING).sum(axis=-1)
        drawn += labels.shape[1]
    return share_of(hits, drawn, comb(sum(sizes), sizes[0]) <= MOST_ENUMERATED).reshape(first.shape[:-1])


def welch_parts(
    total: np.ndarray, squares_first: np.ndarray, squares: np.ndarray, sizes: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Square and squared standard error of the difference of two means of values that sum to zero.

    From the first arm's sum, its sum of squares, and that of both arms.
    """
    n1, n2 = sizes
    scatter_first = squares_first - total**2 / n1
    scatter_second = squares - squares_first - total**2 / n2
    error = scatter_first / (n1 * (n1 - 1)) + scatter_second / (n2 * (n2 - 1))
    return (total * (1 / n1 + 1 / n2)) ** 2, error


def standardised(values: np.ndarray) -> np.ndarray:
    """Values (..., n) with mean 0 and standard deviation 1; zeros where all are equal."""
    centred = values - values.mean(axis=-1, keepdims=True)
    scale = spread(values)[..., None]
    return np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)


def spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation (n - 1) over the last axis; exactly 0 where values differ by rounding alone."""
    constant = np.ptp(values, axis=-1) <= ROUNDING * np.abs(values).max(axis=-1)
    return np.where(constant, 0, values.std(axis=-1, ddof=1))


def chunks(datasets: int, columns: int) -> Iterator[slice]:
    """Slices of datasets such that each, times `columns`, is worked on at once."""
    step = max(1, VALUES_AT_ONCE // columns)
    return (slice(start, start + step) for start in range(0, datasets, step))


def share_of(hits: np.ndarray, drawn: int, enumerated: bool) -> np.ndarray:
    """p from the number of permutations at least as extreme; random ones are joined by the observed one."""
    return hits / drawn if enumerated else (hits + 1) / (drawn + 1)


def sign_blocks(n: int, permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Sign flips as blocks of columns (n, flips): all that differ in more than the overall sign, or random ones."""
    if 2**n <= MOST_ENUMERATED:
        # The last image's bit is never set: its sign stays.
        yield 1.0 - 2.0 * ((np.arange(2 ** (n - 1)) >> np.arange(n)[:, None]) & 1)
        return
    random = np.random.default_rng([seed, 1])
    for size in blocks(permutations):
        yield 1.0 - 2.0 * random.integers(0, 2, (size, n), dtype=np.int8).T


def label_blocks(n1: int, n2: int, permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Divisions into two arms as blocks of columns (n1 + n2, divisions), 1 = first arm: all, or random ones."""
    n = n1 + n2
    if comb(n, n1) <= MOST_ENUMERATED:
        yield all_labels(n, n1)
        return
    random = np.random.default_rng([seed, 2])
    own = np.repeat(np.array([1, 0], dtype=np.int8), (n1, n2))
    for size in blocks(permutations):
        yield random.permuted(np.tile(own, (size, 1)), axis=1).T.astype(float)


@lru_cache(maxsize=1)
def all_labels(n: int, n1: int) -> np.ndarray:
    """Every division of n images into two arms, the first of n1: (n, divisions)."""
    chosen = np.array(list(combinations(range(n), n1)))
    labels = np.zeros((n, len(chosen)))
    labels[chosen.T, np.arange(len(chosen))] = 1
    return labels


def blocks(total: int) -> Iterator[int]:
    """Sizes of the blocks that permutations are drawn in."""
    return (min(PERMUTATIONS_AT_ONCE, total - start) for start in range(0, total, PERMUTATIONS_AT_ONCE))


def smallest_sign_flip_p(n: int, permutations: int) -> float:
    """The smallest p that `sign_flip_p` can give: the observed flip and its mirror image of 2^n, or 1 of the random."""
    return 2.0 ** (1 - n) if 2**n <= MOST_ENUMERATED else 1 / (permutations + 1)


def smallest_label_p(n1: int, n2: int, permutations: int) -> float:
    """The smallest p that `label_permutation_p` can give; arms of equal size can be exchanged."""
    divisions = comb(n1 + n2, n1)
    return (1 + (n1 == n2)) / divisions if divisions <= MOST_ENUMERATED else 1 / (permutations + 1)


def tost_paired(differences: np.ndarray, margin: np.ndarray | float) -> np.ndarray:
    """p of two one-sided paired t tests (Schuirmann 1987): is the mean of (..., n) within -margin ... margin?"""
    n = differences.shape[-1]
    return tost(differences.mean(axis=-1), spread(differences) / np.sqrt(n), np.asarray(n - 1), margin)


def tost_welch(first: np.ndarray, second: np.ndarray, margin: np.ndarray | float) -> np.ndarray:
    """p of two one-sided Welch tests: is the difference of the means of (..., n1), (..., n2) within the margin?"""
    parts = [spread(values) ** 2 / values.shape[-1] for values in (first, second)]
    squared = parts[0] + parts[1]
    below = parts[0] ** 2 / (first.shape[-1] - 1) + parts[1] ** 2 / (second.shape[-1] - 1)
    freedom = np.divide(squared**2, below, out=np.ones_like(squared), where=below > 0)
    return tost(first.mean(axis=-1) - second.mean(axis=-1), np.sqrt(squared), freedom, margin)


def tost(difference: np.ndarray, error: np.ndarray, freedom: np.ndarray, margin: np.ndarray | float) -> np.ndarray:
    """The larger p of two one-sided t tests; NaN where the margin is. Without spread: 0 inside the margin, else 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        above = stats.t.sf((difference + margin) / error, freedom)
        below = stats.t.cdf((difference - margin) / error, freedom)
    without_spread = np.where(np.abs(difference) < margin, 0.0, 1.0)
    p = np.where(error > 0, np.maximum(above, below), without_spread)
    return np.where(np.isnan(margin), np.nan, p)


def cohen_dz(differences: np.ndarray) -> np.ndarray:
    """Mean over standard deviation of paired differences (..., n); NaN without spread."""
    return ratio(differences.mean(axis=-1), spread(differences))


def hedges_g(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Difference of means over the pooled standard deviation, without its bias at small n (Hedges 1981, exact form)."""
    n1, n2 = first.shape[-1], second.shape[-1]
    freedom = n1 + n2 - 2
    pooled = np.sqrt(((n1 - 1) * spread(first) ** 2 + (n2 - 1) * spread(second) ** 2) / freedom)
    unbiased = np.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2)
    return ratio(first.mean(axis=-1) - second.mean(axis=-1), pooled) * unbiased


def ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Quotient; NaN where the denominator is 0."""
    return np.divide(over, under, out=np.full_like(under, np.nan, dtype=float), where=under > 0)


def bca_mean(values: np.ndarray, confidence: float, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """BCa bootstrap interval of the means of (..., n) (Efron 1987); NaN where all values are equal.

    The resamples are those of scipy.stats.bootstrap for a generator of the same seed.
    """
    return bca((values,), confidence, resamples, seed)


def bca_difference(
    first: np.ndarray, second: np.ndarray, confidence: float, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """BCa bootstrap interval of the difference of the means of (..., n1) and (..., n2); as `bca_mean`."""
    return bca((first, -second), confidence, resamples, seed)


def bca(arms: tuple[np.ndarray, ...], confidence: float, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """BCa interval of the sum of the means of arms (..., n of the arm), each resampled on its own."""
    shape = arms[0].shape[:-1]
    flat = [values.reshape(-1, values.shape[-1]) for values in arms]
    means = sum(values.mean(axis=-1) for values in flat)
    centred = [values - values.mean(axis=-1, keepdims=True) for values in flat]
    random = np.random.default_rng(seed)
    weights = [resample_weights(values.shape[-1], resamples, random) for values in flat]
    limits = np.full((len(flat[0]), 2), np.nan)
    for rows in chunks(len(limits), resamples):
        replicates = sum(values[rows] @ weight for values, weight in zip(centred, weights, strict=True))
        scale = sum(np.abs(values[rows]).max(axis=-1) for values in centred)
        levels = bca_levels(replicates, scale, acceleration([values[rows] for values in centred]), confidence)
        limits[rows] = quantiles(replicates, levels)
    varies = np.any([spread(values) > 0 for values in flat], axis=0)
    ends = means + limits.T
    # An end that is 0 on paper, as few values often give, must not exclude 0 by its last bits.
    ends[np.abs(ends) <= ROUNDING * sum(np.abs(values).max(axis=-1) for values in flat)] = 0
    low, high = np.where(varies, ends, np.nan)
    return low.reshape(shape), high.reshape(shape)


def resample_weights(n: int, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Weights (n, resamples) of the values in the means of bootstrap resamples."""
    drawn = random.integers(0, n, (resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).T / n


def acceleration(centred: list[np.ndarray]) -> np.ndarray:
    """The constant a of a sum of means, from the jackknife (Efron & Tibshirani 1993, 14.15, over arms); 0 for none."""
    skew = sum((values**3).sum(axis=-1) / values.shape[-1] ** 3 for values in centred)
    variance = np.asarray(sum((values**2).sum(axis=-1) / values.shape[-1] ** 2 for values in centred))
    return np.divide(skew, 6 * variance**1.5, out=np.zeros_like(variance), where=variance > 0)


def bca_levels(replicates: np.ndarray, scale: np.ndarray, a: np.ndarray, confidence: float) -> np.ndarray:
    """Levels (datasets, 2) of the quantiles of replicates (datasets, resamples) of an estimate of 0.

    The share below counts half of the ties, as scipy does (Efron & Tibshirani 1993, 14.10).
    """
    tie = (ROUNDING * scale)[:, None]
    below = ((replicates < -tie).mean(axis=-1) + (replicates <= tie).mean(axis=-1)) / 2
    bias = special.ndtri(below)[:, None]
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        moved = bias + special.ndtri([tail, 1 - tail])
        return special.ndtr(bias + moved / (1 - a[:, None] * moved))


def quantiles(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Quantiles of each row, (rows, values) at (rows, levels), interpolated linearly; NaN at the level NaN."""
    ordered = np.sort(values, axis=-1)
    position = np.nan_to_num(levels) * (values.shape[-1] - 1)
    floor = np.minimum(position.astype(int), values.shape[-1] - 2)
    lower = np.take_along_axis(ordered, floor, axis=-1)
    upper = np.take_along_axis(ordered, floor + 1, axis=-1)
    return np.where(np.isnan(levels), np.nan, lower + (upper - lower) * (position - floor))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q values of one family (Benjamini & Hochberg 1995; scipy); NaN = not tested, and not part of the family."""
    q = np.full(len(p), np.nan)
    present = np.isfinite(p)
    if present.any():
        q[present] = stats.false_discovery_control(p[present], method="bh")
    return q


def cluster_test(differences: np.ndarray, plan: Plan) -> ClusterTest:
    """Cluster permutation test of paired differences (image, layer, step) (Maris & Oostenveld 2007).

    Cells pass where |t| is significant at alpha; neighbours of one sign form a cluster; the largest mass under sign
    flips of whole images is what a cluster's mass is compared with. A value that is NaN is left out of its cell, and a
    cell with fewer than `min_images` values out of the plane.
    """
    differences = differences[np.isfinite(differences).any(axis=(1, 2))]
    n = len(differences)
    count = np.isfinite(differences).sum(axis=0)
    usable = count >= plan.min_images
    own = t_maps(differences, np.ones((n, 1)), usable)
    if not usable.any():
        none = np.zeros(own[0].shape, dtype=int), np.zeros(0), np.zeros(0)
        return ClusterTest(own[0], *none, n, f"{n} image(s); a test needs {plan.min_images} in a cell")
    threshold = stats.t.isf(plan.alpha / 2, np.maximum(count - 1, 1))
    labels, mass = clusters(own, threshold)
    largest = np.concatenate(
        [
            largest_mass(t_maps(differences, flips[:, columns], usable), threshold)
            for flips in sign_blocks(n, plan.permutations, plan.seed)
            for columns in chunks(flips.shape[1], count.size)
        ]
    )
    hits = (largest[None] >= np.abs(mass)[:, None] * (1 - ROUNDING)).sum(axis=-1)
    p = share_of(hits, len(largest), 2**n <= MOST_ENUMERATED)
    order = np.argsort(p, kind="stable")
    rank = np.concatenate([[0], np.argsort(order) + 1])
    return ClusterTest(own[0], rank[labels[0]], mass[order], p[order], n, "")


def t_maps(differences: np.ndarray, flips: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """t of the mean difference under each flip: (image, layer, step), (image, flips) -> (flips, layer, step)."""
    count = np.isfinite(differences).sum(axis=0)
    values = np.nan_to_num(differences, nan=0.0)
    total = np.tensordot(flips.T, values, axes=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scatter = np.clip((values**2).sum(axis=0) - total**2 / count, 0, None)
        t = total / np.sqrt(count * scatter / (count - 1))
    return np.where(usable, np.where(total == 0, 0.0, t), np.nan)


def clusters(t: np.ndarray, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the clusters of planes (planes, layer, step), 0 = in none, and each cluster's sum of t."""
    positive, count = ndimage.label(t > threshold, structure=WITHIN_PLANE)
    negative, more = ndimage.label(t < -threshold, structure=WITHIN_PLANE)
    labels = positive + np.where(negative > 0, negative + count, 0)
    return labels, np.bincount(labels.ravel(), np.nan_to_num(t, nan=0.0).ravel(), count + more + 1)[1:]


def largest_mass(t: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """The largest absolute cluster mass of each plane; 0 where there is no cluster."""
    labels, mass = clusters(t, threshold)
    size = np.concatenate([[0.0], np.abs(mass)])
    return size[labels].max(axis=(1, 2))
