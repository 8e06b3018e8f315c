"""Intervals against scipy one column at a time, Wilson's formula, and coverage of a known mean."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from attention_atlas.analysis.statistics import bca, mean_intervals, proportion_interval

STATISTICS = {"confidence": 0.95, "resamples": 999, "seed": 3, "min_images": 6}


def frame(**columns):
    return pd.DataFrame(columns)


def test_each_column_has_the_interval_that_scipy_gives_it_alone():
    random = np.random.default_rng(0)
    table = frame(a=random.normal(size=12), b=random.gamma(1, size=12), c=random.normal(size=12))
    table.loc[[2, 5], "c"] = np.nan
    found = mean_intervals(table, STATISTICS)
    for name in table:
        values = table[name].dropna().to_numpy()
        alone = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(3), vectorized=True
        ).confidence_interval
        assert (found[name].low, found[name].high) == pytest.approx(tuple(alone))
        assert found[name].mean == pytest.approx(values.mean())
        assert found[name].n == len(values)
        assert found[name].note == ""


def test_too_few_images_are_refused_with_the_reason():
    interval = mean_intervals(frame(a=[1.0, 2, 3, 4, 5]), STATISTICS)["a"]
    assert interval.mean == 3
    assert np.isnan([interval.low, interval.high]).all()
    assert interval.note == "5 image(s); an interval needs 6"


def test_equal_values_have_no_interval_but_their_neighbours_do():
    found = mean_intervals(frame(same=[2.5] * 8, different=np.arange(8.0)), STATISTICS)
    assert found["same"].note == "all values are equal"
    assert np.isnan(found["same"].low)
    assert found["different"].low < 3.5 < found["different"].high


def test_no_image_at_all():
    interval = mean_intervals(frame(a=[np.nan, np.nan]), STATISTICS)["a"]
    assert (interval.n, interval.note) == (0, "no image")
    assert np.isnan(interval.mean)


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    random = np.random.default_rng(1)
    table = pd.DataFrame(random.normal(size=(48, 400)))
    covered = [interval.low < 0 < interval.high for interval in mean_intervals(table, STATISTICS).values()]
    assert 0.90 < np.mean(covered) < 0.98


def test_wilson_of_48_of_48():
    interval = proportion_interval(pd.Series([1.0] * 48), STATISTICS)
    assert (interval.low, interval.high) == pytest.approx((0.926, 1.0), abs=5e-4)


def test_wilson_by_its_formula():
    n, p, z = 40, 0.75, scipy.stats.norm.ppf(0.975)
    centre, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    interval = proportion_interval(pd.Series([1.0] * 30 + [0.0] * 10 + [np.nan]), STATISTICS)
    assert (interval.low, interval.high) == pytest.approx(
        ((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n))
    )
    assert interval.n == 40


def test_a_proportion_of_few_images_has_no_interval():
    interval = proportion_interval(pd.Series([1.0, 0.0]), STATISTICS)
    assert interval.mean == 0.5
    assert np.isnan(interval.low)
    assert "needs 6" in interval.note


@pytest.mark.parametrize("n", [6, 8, 24])
def test_resamples_with_the_mean_of_all_are_ties_whatever_the_rounding(n):
    """Another processor adds in another order: values moved by their last bits, and their order, give one interval."""
    random = np.random.default_rng(n)
    few = dict(STATISTICS, resamples=199)
    for decimals in (0, 1, 6):
        values = np.round(random.normal(3, 1, (n, 40)), decimals)
        moved = values * (1 + 2e-16 * random.choice([-1, 0, 1], values.shape))
        expected, found = (np.array(bca(each, few)) for each in (values, moved))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
