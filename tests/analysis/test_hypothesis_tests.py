"""Tests of difference and equivalence against scipy, statsmodels, enumeration by hand and closed forms."""

from itertools import combinations, product
from math import comb, gamma, sqrt

import numpy as np
import pytest
import scipy.stats
from attention_atlas.analysis.hypothesis_tests import (
    Plan,
    bca_difference,
    bca_mean,
    benjamini_hochberg,
    cluster_test,
    cohen_dz,
    hedges_g,
    label_permutation_p,
    paired_tests,
    permutations_for,
    sign_flip_p,
    smallest_label_p,
    smallest_sign_flip_p,
    tost_paired,
    tost_welch,
    unpaired_tests,
)
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

PLAN = Plan(resamples=999, permutations=999)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def welch(first, second, axis=-1):
    return np.abs(scipy.stats.ttest_ind(first, second, axis=axis, equal_var=False).statistic)


# Sign flips


def test_sign_flips_of_few_images_are_exact_as_in_scipy():
    first, second = normal(4, 9) + 0.5, normal(4, 9, seed=1)
    expected = scipy.stats.permutation_test(
        (first, second),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
        axis=-1,
    ).pvalue
    np.testing.assert_allclose(sign_flip_p(first - second, 99, 0), expected, rtol=1e-12)


def test_sign_flips_count_ties_by_enumeration():
    values = np.array([0.1, 0.2, 0.3, 0.3, -0.1, 0.6, -0.4])
    sums = [
        abs(sum(s * round(10 * v) for s, v in zip(signs, values, strict=True))) for signs in product((1, -1), repeat=7)
    ]
    assert sign_flip_p(values, 99, 0) == np.mean(np.array(sums) >= 10)


@pytest.mark.parametrize("n", [6, 16])
def test_differences_of_one_sign_have_the_smallest_p_of_all_flips(n):
    assert sign_flip_p(np.arange(1.0, n + 1), 99, 0) == 2 / 2**n == smallest_sign_flip_p(n, 99)


def test_sign_flips_of_many_images_are_random_and_count_the_observed_one():
    assert sign_flip_p(np.ones(40) + np.arange(40), 499, 0) == 1 / 500 == smallest_sign_flip_p(40, 499)


def test_random_sign_flips_agree_with_all_of_them():
    values = normal(17) + 0.7
    sums = np.array(list(product((1, -1), repeat=17))) @ values
    exact = np.mean(np.abs(sums) >= abs(values.sum()) - 1e-12)
    assert 0.02 < exact < 0.5
    assert sign_flip_p(values, 20_000, 3) == pytest.approx(exact, abs=4 * sqrt(exact * (1 - exact) / 20_000))


def test_sign_flips_of_gaussian_data_have_about_the_p_of_the_t_test():
    first, second = normal(6, 60), normal(6, 60, seed=1) + np.linspace(0, 0.5, 6)[:, None]
    expected = scipy.stats.ttest_rel(first, second, axis=-1).pvalue
    np.testing.assert_allclose(sign_flip_p(first - second, 9999, 0), expected, atol=0.02)


def test_equal_arms_have_p_1():
    assert sign_flip_p(np.zeros(8), 99, 0) == 1
    assert label_permutation_p(np.full(6, 0.1), np.full(8, 0.1), 99, 0) == 1


# Label permutations


@pytest.mark.parametrize(("n1", "n2"), [(6, 7), (6, 6)])
def test_label_permutations_of_few_images_are_exact_as_in_scipy(n1, n2):
    first, second = normal(n1) + 0.7, 2 * normal(n2, seed=1)
    expected = scipy.stats.permutation_test(
        (first, second),
        welch,
        permutation_type="independent",
        vectorized=True,
        n_resamples=np.inf,
        alternative="greater",
    ).pvalue
    assert label_permutation_p(first, second, 99, 0) == pytest.approx(expected, rel=1e-12)


def test_label_permutations_count_ties_by_enumeration():
    values = np.array([1.0, 2, 2, 3, 4, 4, 2, 5, 5, 6, 7, 4, 5])
    chosen = np.array(list(combinations(range(13), 6)))
    others = np.array([np.setdiff1d(np.arange(13), six) for six in chosen])
    expected = np.mean(welch(values[chosen], values[others]) >= welch(values[:6], values[6:]) - 1e-9)
    assert label_permutation_p(values[:6] / 10, values[6:] / 10, 99, 0) == pytest.approx(expected, rel=1e-12)


def test_arms_without_spread_that_differ_have_the_smallest_p():
    assert label_permutation_p(np.zeros(6), np.ones(7), 99, 0) == 1 / comb(13, 6) == smallest_label_p(6, 7, 99)
    assert label_permutation_p(np.zeros(6), np.ones(6), 99, 0) == 2 / comb(12, 6) == smallest_label_p(6, 6, 99)


def test_random_label_permutations_have_about_the_p_of_welch():
    first, second = normal(6, 30), 2 * normal(6, 40, seed=1) + np.linspace(0, 1, 6)[:, None]
    expected = scipy.stats.ttest_ind(first, second, axis=-1, equal_var=False).pvalue
    np.testing.assert_allclose(label_permutation_p(first, second, 9999, 0), expected, atol=0.025)
    assert label_permutation_p(normal(30), normal(40) + 9, 499, 0) == 1 / 500 == smallest_label_p(30, 40, 499)


# Equivalence


@pytest.mark.parametrize("margin", [0.2, 0.5, 1.5])
def test_equivalence_is_that_of_statsmodels(margin):
    first, second = normal(5, 12) + 0.1, normal(5, 12, seed=1)
    expected = [ttost_paired(a, b, -margin, margin)[0] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(tost_paired(first - second, margin), expected, rtol=1e-9)
    third = 3 * normal(5, 20, seed=2)
    expected = [ttost_ind(a, b, -margin, margin, usevar="unequal")[0] for a, b in zip(first, third, strict=True)]
    np.testing.assert_allclose(tost_welch(first, third, margin), expected, rtol=1e-9)


def test_each_dataset_has_its_own_margin_and_none_where_it_is_nan():
    values = normal(3, 12)
    found = tost_paired(values, np.array([0.5, np.nan, 2.0]))
    assert found[0] == tost_paired(values[0], 0.5)
    assert np.isnan(found[1])
    assert found[2] == tost_paired(values[2], 2.0)
    assert np.isnan(tost_paired(np.full(12, 0.1), np.nan))


@pytest.mark.parametrize(("difference", "p"), [(0.0, 0), (0.3, 0), (-0.5, 1), (0.7, 1)])
def test_without_spread_equivalence_is_a_comparison(difference, p):
    assert tost_paired(np.full(8, difference), 0.5) == p
    assert tost_welch(np.full(8, difference + 0.1), np.full(7, 0.1), 0.5) == p


# Effect sizes


def test_effect_sizes_by_their_formulas():
    first, second = np.array([1.0, 2, 3, 4, 9, 5]), np.array([2.0, 4, 4, 5, 1, 0, 8, 3])
    n1, n2 = 6, 8
    pooled = sqrt(((n1 - 1) * first.var(ddof=1) + (n2 - 1) * second.var(ddof=1)) / (n1 + n2 - 2))
    exact = gamma(6) / (sqrt(6) * gamma(5.5))
    assert hedges_g(first, second) == pytest.approx(exact * (first.mean() - second.mean()) / pooled)
    assert hedges_g(first, second) == pytest.approx(
        (1 - 3 / (4 * 12 - 1)) * (first.mean() - second.mean()) / pooled, rel=1e-3
    )
    assert cohen_dz(first) == pytest.approx(4 / sqrt(8))


def test_without_spread_an_effect_size_is_not_defined():
    assert np.isnan(cohen_dz(np.full(7, 0.1)))
    assert np.isnan(hedges_g(np.full(7, 0.1), np.full(9, 0.2)))


# Intervals


def test_intervals_are_exactly_those_of_scipy_for_the_same_resamples():
    first, second = normal(3, 20), np.random.default_rng(1).gamma(1, size=(3, 15))
    options = {"axis": -1, "n_resamples": 999, "method": "BCa", "vectorized": True, "confidence_level": 0.9}
    alone = scipy.stats.bootstrap((second,), np.mean, rng=np.random.default_rng(7), **options).confidence_interval
    np.testing.assert_allclose(bca_mean(second, 0.9, 999, 7), tuple(alone), rtol=1e-10)

    def difference(a, b, axis):
        return a.mean(axis=axis) - b.mean(axis=axis)

    both = scipy.stats.bootstrap((first, second), difference, rng=np.random.default_rng(7), **options)
    np.testing.assert_allclose(bca_difference(first, second, 0.9, 999, 7), tuple(both.confidence_interval), rtol=1e-10)


def test_intervals_of_other_resamples_differ_by_monte_carlo_error_alone():
    values = np.random.default_rng(1).gamma(1, size=30)
    expected = scipy.stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(8)).confidence_interval
    np.testing.assert_allclose(bca_mean(values, 0.95, 9999, 3), tuple(expected), atol=0.02)


def test_ties_of_the_bootstrap_count_half_whatever_the_rounding():
    values = np.array([0.1, 0.2, 0.3] * 4)
    low, high = bca_mean(values, 0.95, 1999, 0)
    exact_low, exact_high = bca_mean(values * 10, 0.95, 1999, 0)
    assert (low, high) == pytest.approx((exact_low / 10, exact_high / 10), rel=1e-12)
    assert low + high == pytest.approx(0.4, abs=0.01)


def test_an_end_of_an_interval_that_is_0_on_paper_is_0():
    """Tenths have no exact sums, their whole multiples have: the ends of both are 0 in the same datasets."""
    whole = np.random.default_rng(0).choice([-3, -2, -1, 1, 2, 7], (2000, 6))
    ends, exact = (np.stack(bca_mean(values, 0.95, 199, 0)) for values in (whole / 10, whole * 1.0))
    assert (exact == 0).sum() > 10
    np.testing.assert_array_equal(ends == 0, exact == 0)
    np.testing.assert_array_equal(np.sign(ends), np.sign(exact))


def test_equal_values_have_no_interval():
    low, high = bca_mean(np.array([[0.1] * 8, [1, 2, 3, 4, 5, 6, 7, 8]]), 0.95, 199, 0)
    assert np.isnan([low[0], high[0]]).all()
    assert low[1] < 4.5 < high[1]
    assert np.isnan(bca_difference(np.full(6, 0.1), np.full(7, 0.3), 0.95, 199, 0)).all()
    assert np.isfinite(bca_difference(np.full(6, 0.1), normal(7), 0.95, 199, 0)).all()


# Whole batches


def test_a_batch_gives_each_dataset_what_it_would_get_alone(monkeypatch):
    first, second = normal(2, 3, 20), normal(2, 3, 25, seed=1)
    margin = np.full((2, 3), 0.3)
    whole = [paired_tests(first, margin, PLAN), unpaired_tests(first, second, margin, PLAN)]
    monkeypatch.setattr("attention_atlas.analysis.hypothesis_tests.VALUES_AT_ONCE", 2000)
    alone = [paired_tests(first[1, 2], 0.3, PLAN), unpaired_tests(first[1, 2], second[1, 2], 0.3, PLAN)]
    for batch, one in zip(whole, alone, strict=True):
        for name in ("difference", "low", "high", "p_difference", "p_equivalence", "effect_size"):
            assert getattr(batch, name).shape == (2, 3)
            assert getattr(batch, name)[1, 2] == pytest.approx(float(getattr(one, name)), rel=1e-10)


def test_permuting_images_changes_nothing():
    values, order = normal(14) + 0.3, np.random.default_rng(5).permutation(14)
    before, after = paired_tests(values, 0.5, PLAN), paired_tests(values[order], 0.5, PLAN)
    for name in ("difference", "p_difference", "p_equivalence", "effect_size"):
        assert getattr(before, name) == pytest.approx(getattr(after, name), rel=1e-12)
    first, second = values[:7], values[7:]
    assert label_permutation_p(first[::-1], second, 99, 0) == label_permutation_p(first, second[::-1], 99, 0)


def test_exchanging_the_arms_changes_the_sign_alone():
    first, second = normal(20), normal(25, seed=1)
    there, back = unpaired_tests(first, second, 0.3, PLAN), unpaired_tests(second, first, 0.3, PLAN)
    assert there.difference == pytest.approx(-back.difference)
    assert there.effect_size == pytest.approx(-back.effect_size)
    assert there.p_equivalence == pytest.approx(back.p_equivalence)
    assert there.difference == pytest.approx(first.mean() - second.mean())


def test_fewer_than_six_images_are_refused_with_the_reason():
    paired, unpaired = paired_tests(normal(2, 5), 0.1, PLAN), unpaired_tests(normal(2, 9), normal(2, 4), 0.1, PLAN)
    assert paired.note == "5 image(s) in an arm; a test needs 6"
    assert unpaired.note == "4 image(s) in an arm; a test needs 6"
    assert np.isnan(paired.p_difference).all()
    assert paired_tests(normal(6), 0.1, PLAN).note == ""


@pytest.mark.parametrize(("tests", "expected"), [(1, 9999), (49, 9999), (57, 11_400), (1152, 230_400)])
def test_a_family_has_enough_permutations_for_its_correction(tests, expected):
    assert permutations_for(tests, Plan()) == expected


def test_q_values_are_those_of_statsmodels_over_the_tests_that_were_made():
    p = np.array([0.03, np.nan, 0.001, 0.2, 0.012, np.nan, 0.9])
    found = benjamini_hochberg(p)
    np.testing.assert_allclose(found[~np.isnan(p)], multipletests(p[~np.isnan(p)], method="fdr_bh")[1])
    np.testing.assert_array_equal(np.isnan(found), np.isnan(p))
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()


# Clusters


def islands(mask):
    """Sets of cells of a mask that are joined by sides, by flood fill."""
    left, found = set(map(tuple, np.argwhere(mask))), []
    while left:
        island, edge = set(), [left.pop()]
        while edge:
            row, col = cell = edge.pop()
            island.add(cell)
            near = {(row + 1, col), (row - 1, col), (row, col + 1), (row, col - 1)} & left
            left -= near
            edge += near
        found.append(island)
    return found


def islands_of(values):
    """Islands of significant cells of either sign with their masses, by scipy's t test."""
    t, threshold = scipy.stats.ttest_1samp(values, 0).statistic, scipy.stats.t.isf(0.025, len(values) - 1)
    both = islands(t > threshold) + islands(t < -threshold)
    return [(island, sum(t[cell] for cell in island)) for island in both]


def test_clusters_are_those_of_a_flood_fill_over_every_flip():
    values = normal(7, 4, 5, seed=3)
    values[:, 1, 1:4] += 1.5
    values[:, 2, 4] -= 2
    values[:, 3, 0] += 2
    own = islands_of(values)
    largest = []
    for signs in product((1, -1), repeat=7):
        flipped = islands_of(values * np.reshape(signs, (7, 1, 1)))
        largest.append(max((abs(mass) for _, mass in flipped), default=0))
    found = cluster_test(values, PLAN)
    np.testing.assert_allclose(found.t, scipy.stats.ttest_1samp(values, 0).statistic)
    assert len(found.p) == len(own) >= 3
    assert found.n == 7
    assert list(found.p) == sorted(found.p)
    for island, mass in own:
        label = found.labels[min(island)]
        assert set(map(tuple, np.argwhere(found.labels == label))) == island
        assert found.mass[label - 1] == pytest.approx(mass)
        assert found.p[label - 1] == np.mean(np.array(largest) >= abs(mass) - 1e-9)


def test_a_planted_block_is_found_with_random_flips_and_nothing_else():
    values = normal(30, 6, 8)
    values[:, 2:4, 3:6] -= 1.5
    found = cluster_test(values, PLAN)
    assert found.p[0] == 1 / 1000
    assert found.mass[0] < 0
    assert (found.labels[2:4, 3:6] == 1).all()
    assert (found.p[1:] > 0.05).all()


def test_cells_with_too_few_values_are_left_out_and_split_what_they_part():
    values = normal(10, 1, 5) + 5
    values[5:, 0, 2] = np.nan
    values[7:, 0, 4] = np.nan
    found = cluster_test(values, PLAN)
    assert found.labels.tolist() in [[[1, 1, 0, 2, 2]], [[2, 2, 0, 1, 1]]]
    assert np.isnan(found.t[0, 2])
    assert found.t[0, 4] == pytest.approx(scipy.stats.ttest_1samp(values[:7, 0, 4], 0).statistic)
    assert found.n == 10


def test_false_alarms_on_a_plane_without_effects_are_as_rare_as_alpha():
    plan = Plan(permutations=199)
    alarms = [cluster_test(normal(17, 3, 4, seed=seed), plan).p for seed in range(200)]
    count = sum(p.min(initial=1) <= 0.05 for p in alarms)
    assert scipy.stats.binomtest(count, 200, 0.05).pvalue > 0.001


def test_a_plane_of_too_few_images_is_refused():
    found = cluster_test(normal(5, 3, 4), PLAN)
    assert found.note == "5 image(s); a test needs 6 in a cell"
    assert len(found.p) == 0
    assert cluster_test(np.full((8, 2, 2), np.nan), PLAN).n == 0
