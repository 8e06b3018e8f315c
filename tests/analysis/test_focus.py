"""Focus measures against closed forms, scipy and independent code."""

import numpy as np
import pytest
import scipy.stats
from attention_atlas.analysis import focus
from attention_atlas.analysis.focus import MEASURES
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

N = 64
UNIFORM = np.full(N, 0.3 / N)
ONE_HOT = np.eye(N)[5] * 0.2


@pytest.fixture
def maps():
    return np.random.default_rng(0).gamma(0.3, size=(5, 3, N)).astype(np.float32)


@pytest.mark.parametrize(
    ("measure", "uniform", "one_hot"),
    [
        ("entropy", np.log(N), 0),
        ("entropy_normalised", 1, 0),
        ("effective_tokens", N, 1),
        ("gini", 0, 1 - 1 / N),
        ("top_5_mass", 5 / N, 1),
        ("tokens_for_90pct", 58, 1),  # 57 / 64 = 0.89, 58 / 64 = 0.906
    ],
)
def test_closed_forms(measure, uniform, one_hot):
    np.testing.assert_allclose(MEASURES[measure](np.stack([UNIFORM, ONE_HOT])), [uniform, one_hot], atol=1e-12)


@pytest.mark.parametrize("measure", [*MEASURES, "spatial_entropy"])
def test_scale_changes_nothing(measure, maps):
    kernel = MEASURES.get(measure, focus.spatial_entropy)
    shaped = maps.reshape(5, 3, 8, 8) if measure == "spatial_entropy" else maps
    np.testing.assert_allclose(kernel(shaped.astype(float) * 0.01), kernel(shaped.astype(float)), rtol=1e-6)


@pytest.mark.parametrize("measure", [*MEASURES, "spatial_entropy"])
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_map_without_finite_positive_mass_has_no_value(measure, bad):
    both = np.stack([np.full((8, 8), bad), np.eye(8)])
    kernel = MEASURES.get(measure, focus.spatial_entropy)
    values = kernel(both if measure == "spatial_entropy" else both.reshape(2, N))
    assert np.isnan(values[0])
    assert np.isfinite(values[1])


def test_entropy_is_scipys(maps):
    np.testing.assert_allclose(focus.entropy(maps), scipy.stats.entropy(maps.astype(float), axis=-1), rtol=1e-12)


def test_gini_is_half_the_relative_mean_difference(maps):
    """The definition by pairs: mean absolute difference over twice the mean."""
    p = maps.astype(float)
    pairs = np.abs(p[..., :, None] - p[..., None, :]).mean((-2, -1)) / (2 * p.mean(-1))
    np.testing.assert_allclose(focus.gini(maps), pairs, rtol=1e-9)


def test_top_mass_and_tokens_for_share_by_plain_counting(maps):
    for one in maps.reshape(-1, N):
        p = sorted((one.astype(float) / one.astype(float).sum()).tolist(), reverse=True)
        assert focus.top_mass(one) == pytest.approx(sum(p[:5]))
        count, held = 0, 0.0
        while held < 0.9:
            held += p[count]
            count += 1
        assert focus.tokens_for_share(one) == count


def test_nine_tenths_of_ten_equal_cells_are_nine():
    assert focus.tokens_for_share(np.full(10, 0.1)) == 9


def test_entropy_normalised_of_a_single_cell_is_undefined():
    assert np.isnan(focus.entropy_normalised(np.ones((2, 1)))).all()


def test_spatial_entropy_of_planted_components():
    one, two, touching, flat = np.zeros((4, 8, 8))
    one[2:4, 2:4] = 1
    two[0, 0] = two[7, 7] = 1
    touching[3, 3] = touching[4, 4] = 1  # corners touch: 8-connected
    flat[:] = 1
    values = focus.spatial_entropy(np.stack([one, two, touching, flat]))
    np.testing.assert_allclose(values[:3], [0, np.log(2), 0], atol=1e-9)
    assert np.isnan(values[3])


def test_spatial_entropy_is_that_of_scikit_image_components():
    maps = np.random.default_rng(1).gamma(0.5, size=(20, 6, 7))
    for one, value in zip(maps, focus.spatial_entropy(maps), strict=True):
        above = np.maximum(one - one.mean(), 0)
        components = label(above > 0, connectivity=2)
        masses = [above[components == number].sum() for number in range(1, components.max() + 1)]
        assert value == pytest.approx(scipy.stats.entropy(masses), abs=1e-8)


def test_pooled_and_single_head_measures_are_different_quantities():
    """Two heads on different cells: the pooled map has two cells, each head one."""
    attention = np.zeros((1, 2, 4, 4))
    attention[0, 0, 0, 0] = 0.4
    attention[0, 1, 3, 3] = 0.2
    values = focus.focus_of_maps(attention)
    assert values["max", "entropy"] == pytest.approx(scipy.stats.entropy([2 / 3, 1 / 3]))
    assert values["mean", "effective_tokens"] == pytest.approx(np.exp(scipy.stats.entropy([2 / 3, 1 / 3])))
    assert values["head_mean", "entropy"] == pytest.approx(0)
    assert values["head_min", "entropy"] == pytest.approx(0)


def test_max_pooling_of_disjoint_and_equal_heads():
    attention = np.zeros((2, 2, 2))
    attention[0] = [[0.5, 0.1], [0, 0]]
    attention[1] = [[0.1, 0.3], [0, 0]]
    values = focus.focus_of_maps(attention)
    assert values["max", "entropy"] == pytest.approx(scipy.stats.entropy([0.5, 0.3]))
    assert values["mean", "entropy"] == pytest.approx(scipy.stats.entropy([0.6, 0.4]))
    assert values["head_min", "entropy"] == pytest.approx(scipy.stats.entropy([0.5, 0.1]))
    assert values["head_mean", "entropy"] == pytest.approx(
        (scipy.stats.entropy([0.5, 0.1]) + scipy.stats.entropy([0.1, 0.3])) / 2
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=40))
def test_measures_stay_within_their_bounds(weights):
    one = np.array(weights)
    assert -1e-12 <= focus.entropy(one) <= np.log(len(one)) + 1e-12
    assert 1 - 1e-9 <= focus.effective_tokens(one) <= len(one) + 1e-9
    assert -1e-9 <= focus.gini(one) <= 1 - 1 / len(one) + 1e-9
    assert 1 <= focus.tokens_for_share(one) <= len(one)
