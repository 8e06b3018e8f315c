"""Grounding scores against scikit-learn map by map, closed forms, and simulation."""

import numpy as np
import pytest
from attention_atlas.analysis import grounding as g
from skimage.filters import threshold_otsu
from sklearn import metrics

GRID = (4, 6)
CELLS = 24


def maps(count=12, seed=0, ties=False):
    random = np.random.default_rng(seed)
    weights = random.gamma(0.4, size=(count, CELLS))
    if ties:
        weights = np.round(weights, 1) + 0.05
    return weights / weights.sum(-1, keepdims=True)


def covers(count=12, seed=1):
    """Fractional covers of random boxes."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        x, y = random.uniform(0, 4), random.uniform(0, 2.5)
        box = (x, y, x + random.uniform(0.3, 2), y + random.uniform(0.3, 1.5))
        found.append(g.cell_cover(g.box_coverage(box, 4, 6), np.arange(5.0), np.arange(7.0)).ravel())
    return np.array(found)


def target(cover):
    """The k most covered cells by plain sorting."""
    k = max(1, round(cover.sum()))
    return np.isin(np.arange(len(cover)), sorted(range(len(cover)), key=lambda i: (-cover[i], i))[:k])


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_average_precision_and_ndcg_are_scikit_learns(ties):
    p, c = maps(ties=ties), covers()
    for score, oracle, gains in (
        (g.auroc, metrics.roc_auc_score, None),
        (g.average_precision, metrics.average_precision_score, None),
        (g.ndcg, lambda y, s: metrics.ndcg_score(y[None], s[None]), c),
    ):
        expected = [oracle(target(c[i]) if gains is None else gains[i], p[i]) for i in range(len(p))]
        np.testing.assert_allclose(score(p, c), expected, rtol=1e-12, err_msg=score.__name__)


def test_whole_arrays_are_scored_as_their_maps_alone():
    p, c = maps(30).reshape(5, 6, CELLS), covers(5)
    whole = g.scores(p, c[:, None], GRID)
    for name, values in whole.items():
        alone = [[g.scores(p[i, j], c[i], GRID)[name] for j in range(6)] for i in range(5)]
        np.testing.assert_allclose(values, alone, rtol=1e-12, err_msg=name)


def test_a_box_covers_cells_by_its_exact_area():
    """Cells of 2 x 3 px; the box [1.5, 0.5, 4.5, 2.25) by hand."""
    cover = g.cell_cover(g.box_coverage((1.5, 0.5, 4.5, 2.25), 4, 6), np.array([0, 2.0, 4]), np.array([0, 3.0, 6]))
    np.testing.assert_allclose(cover, [[1.5 * 1.5 / 6, 1.5 * 1.5 / 6], [1.5 * 0.25 / 6, 1.5 * 0.25 / 6]])


def test_cell_borders_inside_a_pixel_share_it():
    coverage = np.zeros((3, 3))
    coverage[1, 1] = 1
    cover = g.cell_cover(coverage, np.linspace(0, 3, 3), np.linspace(0, 3, 3))
    np.testing.assert_allclose(cover, np.full((2, 2), 0.25 / 2.25))


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (3, 5), (7, 2), (8, 8)])
def test_covers_keep_the_area_of_a_mask(rows, cols):
    mask = np.random.default_rng(rows).random((50, 64)) > 0.7
    edges = np.linspace(0, 50, rows + 1), np.linspace(0, 64, cols + 1)
    cover = g.cell_cover(mask, *edges)
    cell = 50 / rows * 64 / cols
    assert (cover * cell).sum() == pytest.approx(mask.sum())
    assert cover.min() >= 0
    assert cover.max() <= 1 + 1e-12


def test_equal_covers_enter_the_target_set_in_row_major_order():
    assert g.target_set(np.array([0.0, 0.5, 0.5, 0.5, 0.5])).tolist() == [False, True, True, False, False]


def test_a_target_smaller_than_a_cell_still_has_one():
    assert g.target_size(np.array([0.1, 0.2, 0.0])) == 1


def test_iou_by_sets():
    """IoU of fractional covers by plain loops over the cells that each rule chooses."""
    p, c = maps(), covers()
    for i in range(len(p)):
        k = max(1, round(c[i].sum()))
        chosen = {
            "iou_mean": p[i] > p[i].mean(),
            "iou_otsu": p[i] > threshold_otsu(p[i]),
            "iou_percentile": p[i] > np.percentile(p[i], 90),
            "iou_area_matched": np.isin(np.arange(CELLS), np.argsort(-p[i])[:k]),
        }
        for name, cells in chosen.items():
            inside = sum(c[i][j] for j in range(CELLS) if cells[j])
            expected = inside / (cells.sum() + c[i].sum() - inside)
            assert g.scores(p[i], c[i], GRID)[name] == pytest.approx(expected), name


def test_the_attainable_iou_is_the_best_of_all_sets():
    import itertools

    cover = np.array([0.9, 0.2, 0.0, 0.6, 0.4])
    every = [np.isin(np.arange(5), s) for n in range(1, 6) for s in itertools.combinations(range(5), n)]
    best = max(g.intersection_over_union(chosen, cover) for chosen in every)
    assert g.attainable_iou(cover) == pytest.approx(best)
    best_of_size = max(g.intersection_over_union(chosen, cover) for chosen in every if chosen.sum() == 2)
    assert g.attainable_iou_area_matched(cover) == pytest.approx(best_of_size)


def test_a_map_that_is_the_cover_scores_best():
    cover = covers(1)[0]
    best = g.scores(cover / cover.sum(), cover, GRID)
    assert best["auroc"] == best["average_precision"] == best["pointing"] == 1
    assert best["ndcg"] == pytest.approx(1)
    assert best["iou_area_matched"] == pytest.approx(g.attainable_iou_area_matched(cover))


def test_enrichment_of_a_uniform_map_is_one_and_scale_of_the_target_does_not_matter():
    np.testing.assert_allclose(g.enrichment(np.full(CELLS, 1 / CELLS), covers()), 1)


def test_pointing_by_planted_maxima():
    cover = np.zeros(CELLS)
    cover[7] = 0.1  # row 1, column 1
    for cell, hit, near in ((7, 1, 1), (0, 0, 1), (14, 0, 1), (9, 0, 0), (6, 0, 1), (23, 0, 0)):
        p = np.full(CELLS, 0.01)
        p[cell] = 1
        p /= p.sum()
        assert (g.pointing(p, cover), g.pointing_tolerant(p, cover, GRID)) == (hit, near), cell


def test_neighbours_do_not_wrap_around_the_grid():
    cover = np.zeros(CELLS)
    cover[5] = 1  # the end of row 0; cell 6 begins row 1
    p = np.zeros(CELLS)
    p[6] = 1.0
    assert g.pointing_tolerant(p, cover, GRID) == 0


def test_nss_by_its_definition():
    p, c = maps(), covers()
    expected = [((p[i] - p[i].mean()) / p[i].std())[target(c[i])].mean() for i in range(len(p))]
    np.testing.assert_allclose(g.nss(p, c), expected)


def test_uniform_baselines_are_the_means_over_random_orders():
    """Theory against 20,000 random maps: for one fractional target, every score within five standard errors."""
    cover = covers(1, seed=5)[0]
    random = np.random.default_rng(3).random((20_000, CELLS))
    found = g.scores(random / random.sum(-1, keepdims=True), cover, GRID)
    expected = g.uniform_scores(cover, GRID)
    for name in ("pointing", "pointing_tolerant", "auroc", "average_precision", "ndcg", "nss", "mass", "enrichment"):
        error = found[name].std() / np.sqrt(len(random))
        assert abs(found[name].mean() - expected[name]) < 5 * error + 1e-12, name
    area_matched = found["iou_area_matched"]
    assert abs(area_matched.mean() - expected["iou_area_matched"]) < 5 * area_matched.std() * (1 / 2000) ** 0.5


def test_average_precision_of_no_information_is_not_the_share_of_positives():
    cover = np.array([1.0, 1.0, 0, 0, 0, 0, 0, 0])
    assert g.uniform_scores(cover, (2, 4))["average_precision"] > 2 / 8


def test_the_gaussian_is_symmetric_centred_and_of_a_quarter():
    weights = g.gaussian_map((8, 8)).reshape(8, 8)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1, ::-1])
    # two cells from the middle, 0.25 of a side: one sigma
    assert weights[5, 3] / weights[3, 3] == pytest.approx(np.exp(-0.5 * (0.1875**2 - 0.0625**2) / 0.25**2))


def test_a_map_without_a_distribution_scores_nothing():
    p = maps(2)
    p[1] = np.nan
    for name, values in g.scores(p, covers(2), GRID).items():
        assert np.isfinite(values[0]), name
        assert np.isnan(values[1]), name


def test_a_target_that_fills_the_grid_has_no_auroc():
    assert np.isnan(g.auroc(maps(1)[0], np.ones(CELLS)))
    assert np.isnan(g.uniform_scores(np.ones(CELLS), GRID)["auroc"])
