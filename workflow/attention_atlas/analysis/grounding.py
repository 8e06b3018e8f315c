"""Grounding: how well maps agree with a target's cells. NumPy kernels on whole arrays of maps.

Maps are p (..., N), normalised over their cells (NaN = no distribution, every score NaN); a target is the cover c of
each cell (..., N), the share of the cell's area that the target takes, broadcast against the maps. Where a score needs
a set, the target set is the k = max(1, round(sum c)) most covered cells, equal covers in row-major order.
"""

import numpy as np
from scipy import stats
from skimage.filters import threshold_otsu

PERCENTILE = 90
# Random sets behind the expected IoU of the uniform map.
RANDOM_SETS = 2000
SEED = 0


def cell_cover(coverage: np.ndarray, row_edge: np.ndarray, col_edge: np.ndarray) -> np.ndarray:
    """Share of each cell that a target takes: (height, width) of pixel coverage in [0, 1] -> (rows, cols), exact.

    Edges are in pixels and may fall inside one: the integral of a picture of constant pixels is linear within each.
    """
    down = np.vstack([np.zeros(coverage.shape[1]), np.cumsum(coverage, axis=0, dtype=np.float64)])
    rows = np.diff(at_edges(down, row_edge), axis=0)
    right = np.hstack([np.zeros((len(rows), 1)), np.cumsum(rows, axis=1)])
    area = np.diff(at_edges(right.T, col_edge), axis=0).T
    return area / np.outer(np.diff(row_edge), np.diff(col_edge))


def at_edges(integral: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """An integral over whole pixels, (pixels + 1, columns), at positions between pixels: linear interpolation."""
    low = np.clip(np.floor(edges).astype(int), 0, len(integral) - 2)
    share = (edges - low)[:, None]
    return integral[low] * (1 - share) + integral[low + 1] * share


def box_coverage(box: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """Pixel coverage of a half-open box (x_min, y_min, x_max, y_max) in pixels: (height, width) in [0, 1], exact."""
    x_min, y_min, x_max, y_max = box
    return np.outer(overlap(y_min, y_max, height), overlap(x_min, x_max, width))


def overlap(low: float, high: float, pixels: int) -> np.ndarray:
    """Length of [low, high) within each unit interval of 0 ... pixels."""
    start = np.arange(pixels)
    return np.clip(np.minimum(high, start + 1) - np.maximum(low, start), 0, None)


def target_size(cover: np.ndarray) -> np.ndarray:
    """Number of cells of the target set: max(1, round(sum c))."""
    return np.maximum(1, np.rint(cover.sum(axis=-1)).astype(int))


def target_set(cover: np.ndarray) -> np.ndarray:
    """The target set as booleans: the most covered cells, equal covers in row-major order."""
    return largest(cover, target_size(cover))


def largest(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The `count` largest cells of each array as booleans; of equal ones the first."""
    order = np.argsort(-values, axis=-1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(values.shape[-1]), order.shape), axis=-1)
    return place < np.asarray(count)[..., None]


def defined(p: np.ndarray) -> np.ndarray:
    """Which maps have a distribution."""
    return np.isfinite(p).all(axis=-1)


def mass_in_target(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Sum of p c: the attention on the target."""
    return (p * cover).sum(axis=-1)


def enrichment(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Mass in the target over its share of the area; 1 = chance."""
    return mass_in_target(p, cover) / cover.mean(axis=-1)


def pointing(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Whether the largest cell (of equal ones the first) touches the target: 1 or 0 (Zhang et al. 2018)."""
    hit = np.take_along_axis(np.broadcast_to(cover, p.shape), argmax(p)[..., None], axis=-1)[..., 0] > 0
    return np.where(defined(p), hit, np.nan)


def pointing_tolerant(p: np.ndarray, cover: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Whether the largest cell or one of its eight neighbours touches the target."""
    return pointing(p, dilated(cover, grid))


def dilated(cover: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """1 for the cells that touch the target or have a neighbour that does, 0 elsewhere."""
    touched = np.pad((cover > 0).reshape(*cover.shape[:-1], *grid), [(0, 0)] * (cover.ndim - 1) + [(1, 1), (1, 1)])
    rows, cols = grid
    near = [touched[..., r : r + rows, c : c + cols] for r in range(3) for c in range(3)]
    return np.any(near, axis=0).reshape(cover.shape).astype(float)


def argmax(p: np.ndarray) -> np.ndarray:
    """The largest cell of each map; 0 where a map has no distribution."""
    return np.where(np.isfinite(p), p, -1).argmax(axis=-1)


def intersection_over_union(chosen: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """IoU of a set of cells (booleans) and the target: sum_T c / (|T| + sum c - sum_T c)."""
    inside = (chosen * cover).sum(axis=-1)
    return inside / (chosen.sum(axis=-1) + cover.sum(axis=-1) - inside)


def iou_above(p: np.ndarray, cover: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """IoU of the cells above a threshold per map."""
    return np.where(defined(p), intersection_over_union(p > threshold[..., None], cover), np.nan)


def iou_mean(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """IoU of the cells above the map's mean."""
    # A uniform map stands above its mean by rounding alone.
    return iou_above(p, cover, p.mean(axis=-1) + 1e-12)


def iou_otsu(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """IoU of the cells above Otsu's threshold (1979; scikit-image)."""
    flat = p.reshape(-1, p.shape[-1])
    thresholds = [threshold_otsu(one) if np.isfinite(one).all() else np.nan for one in flat]
    return iou_above(p, cover, np.reshape(thresholds, p.shape[:-1]))


def iou_percentile(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """IoU of the cells above the 90th percentile."""
    return iou_above(p, cover, np.percentile(p, PERCENTILE, axis=-1))


def iou_area_matched(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """IoU of the k largest cells, k that of the target set."""
    size = np.broadcast_to(target_size(cover), p.shape[:-1])
    return np.where(defined(p), intersection_over_union(largest(np.nan_to_num(p), size), cover), np.nan)


def attainable_iou(cover: np.ndarray) -> np.ndarray:
    """The best IoU that any set of cells reaches on this grid."""
    descending = -np.sort(-cover, axis=-1)
    inside = descending.cumsum(axis=-1)
    sizes = np.arange(1, cover.shape[-1] + 1)
    return (inside / (sizes + cover.sum(axis=-1, keepdims=True) - inside)).max(axis=-1)


def attainable_iou_area_matched(cover: np.ndarray) -> np.ndarray:
    """The best IoU that a set of k cells reaches."""
    return intersection_over_union(target_set(cover), cover)


def auroc(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of p against the target set, ties averaged; NaN where the target fills the grid.

    By the rank sum of Mann & Whitney (1947).
    """
    positive = np.broadcast_to(target_set(cover), p.shape)
    k = positive.sum(axis=-1)
    ranks = stats.rankdata(p, axis=-1, nan_policy="propagate")
    others = p.shape[-1] - k
    with np.errstate(invalid="ignore", divide="ignore"):
        area = ((ranks * positive).sum(axis=-1) - k * (k + 1) / 2) / (k * others)
    return np.where(others > 0, area, np.nan)


def average_precision(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Average precision of p against the target set; cells of equal p enter together, as in scikit-learn."""
    positive = np.broadcast_to(target_set(cover), p.shape)
    order, _, last = ranked(p)
    hits = np.take_along_axis(positive, order, axis=-1)
    precision = hits.cumsum(axis=-1) / np.arange(1, p.shape[-1] + 1)
    at_group_end = np.take_along_axis(precision, last, axis=-1)
    return np.where(defined(p), (at_group_end * hits).sum(axis=-1) / positive.sum(axis=-1), np.nan)


def ranked(p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells by descending p, and for each place the first and the last place of its group of equal p."""
    order = np.argsort(-p, axis=-1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=-1)
    cells = p.shape[-1]
    places = np.broadcast_to(np.arange(cells), p.shape)
    changes = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*p.shape[:-1], 1), dtype=bool)
    first = np.maximum.accumulate(np.where(np.concatenate([edge, changes], axis=-1), places, 0), axis=-1)
    ends = np.where(np.concatenate([changes, edge], axis=-1), places, cells - 1)
    last = np.minimum.accumulate(ends[..., ::-1], axis=-1)[..., ::-1]
    return order, first, last


def ndcg(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Normalised discounted cumulative gain with gain c; equal p share their discounts (Järvelin & Kekäläinen 2002)."""
    gains = np.broadcast_to(cover, p.shape)
    discount = 1 / np.log2(np.arange(p.shape[-1]) + 2)
    order, first, last = ranked(p)
    total = np.concatenate([[0], discount.cumsum()])
    shared = (total[last + 1] - total[first]) / (last - first + 1)
    ideal = (-np.sort(-gains, axis=-1) * discount).sum(axis=-1)
    found = (np.take_along_axis(gains, order, axis=-1) * shared).sum(axis=-1)
    return np.where(defined(p), found / ideal, np.nan)


def nss(p: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Normalised scanpath saliency: mean of the standardised map over the target set; NaN for a constant map."""
    positive = np.broadcast_to(target_set(cover), p.shape)
    spread = p.std(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        standard = (p - p.mean(axis=-1, keepdims=True)) / spread[..., None]
        mean = (standard * positive).sum(axis=-1) / positive.sum(axis=-1)
    return np.where(spread > 1e-12, mean, np.nan)


def scores(p: np.ndarray, cover: np.ndarray, grid: tuple[int, int]) -> dict[str, np.ndarray]:
    """Every score of maps (..., N) against covers (..., N) on a grid of (rows, cols)."""
    return {
        "mass": mass_in_target(p, cover),
        "enrichment": enrichment(p, cover),
        "pointing": pointing(p, cover),
        "pointing_tolerant": pointing_tolerant(p, cover, grid),
        "iou_mean": iou_mean(p, cover),
        "iou_otsu": iou_otsu(p, cover),
        "iou_percentile": iou_percentile(p, cover),
        "iou_area_matched": iou_area_matched(p, cover),
        "auroc": auroc(p, cover),
        "average_precision": average_precision(p, cover),
        "ndcg": ndcg(p, cover),
        "nss": nss(p, cover),
    }


def uniform_scores(cover: np.ndarray, grid: tuple[int, int]) -> dict[str, np.ndarray]:
    """What the scores of a map without any information are on average: their expectation under random order.

    Average precision: [H_N + (k - 1) / (N - 1) (N - H_N)] / N with the harmonic number H_N, not k / N.
    """
    cells, k = cover.shape[-1], target_size(cover)
    harmonic = (1 / np.arange(1, cells + 1)).sum()
    discount = 1 / np.log2(np.arange(cells) + 2)
    ideal = (-np.sort(-cover, axis=-1) * discount).sum(axis=-1)
    share = cover.mean(axis=-1)
    iou = random_iou(cover)
    return {
        "mass": share,
        "enrichment": np.ones_like(share),
        "pointing": (cover > 0).mean(axis=-1),
        "pointing_tolerant": dilated(cover, grid).mean(axis=-1),
        **dict.fromkeys(("iou_mean", "iou_otsu", "iou_percentile", "iou_area_matched"), iou),
        "auroc": np.where(k < cells, 0.5, np.nan),
        "average_precision": (harmonic + (k - 1) / max(1, cells - 1) * (cells - harmonic)) / cells,
        "ndcg": share * discount.sum() / ideal,
        "nss": np.zeros_like(share),
    }


def random_iou(cover: np.ndarray, sets: int = RANDOM_SETS, seed: int = SEED) -> np.ndarray:
    """Mean IoU of random sets of k cells; the same random orders for every target."""
    orders = np.argsort(np.random.default_rng(seed).random((sets, cover.shape[-1])), axis=-1)
    flat = cover.reshape(-1, cover.shape[-1])
    sizes = target_size(flat)
    means = [intersection_over_union(orders < size, one).mean() for one, size in zip(flat, sizes, strict=True)]
    return np.reshape(means, cover.shape[:-1])


def gaussian_map(grid: tuple[int, int]) -> np.ndarray:
    """The centred Gaussian, sigma a quarter of each side, at the cells' centres: (rows x cols,), summing to 1."""
    down, across = (np.exp(-0.5 * (((np.arange(n) + 0.5) / n - 0.5) / 0.25) ** 2) for n in grid)
    weights = np.outer(down, across).ravel()
    return weights / weights.sum()
