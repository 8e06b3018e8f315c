"""Corrections on planted truth: a sink goes, maps without position bias stay, and nothing else changes."""

import numpy as np
import pytest
from attention_atlas.analysis import corrections as c

CELLS, IMAGES, QUERIES = 64, 48, 8


def content(random, samples):
    """Maps without position bias: a few random cells hold most of the mass."""
    weights = random.gamma(0.3, size=(samples, CELLS)) + 0.05
    return weights / weights.sum(-1, keepdims=True)


def corrected(p, image):
    means, labels = c.image_means(p, image)
    bias = c.position_bias(means)
    own = np.searchsorted(labels, image)
    return c.without_sinks(p, bias.mean[own], bias.standard_error[own])


@pytest.fixture
def images():
    return np.repeat([f"image_{i:02d}" for i in range(IMAGES)], QUERIES)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_sink_of_varying_share_is_left_with_little(images, seed):
    """Its share varies between 0.2 and 0.8 from map to map; at most 0.06 may be left on average."""
    random = np.random.default_rng(seed)
    p = content(random, len(images))
    share = random.uniform(0.2, 0.8, size=len(p))
    p *= (1 - share)[:, None]
    p[:, 17] += share
    assert corrected(p, images)[:, 17].mean() <= 0.06


@pytest.mark.parametrize("seed", range(5))
def test_maps_without_position_bias_hardly_move(images, seed):
    p = content(np.random.default_rng(seed), len(images))
    moved = 0.5 * np.abs(corrected(p, images) - p).sum(-1)
    assert moved.mean() <= 0.02


def test_a_sure_sink_is_scaled_by_its_bias_and_an_unsure_one_is_left():
    """Four cells, an even share of 1/4: b = (0.4, 0.3, 0.2, 0.1); 0.4 is surely above it, 0.3 within two SE."""
    p, bias = np.array([0.5, 0.3, 0.1, 0.1]), np.array([0.4, 0.3, 0.2, 0.1])
    found = c.without_sinks(p, bias, np.full(4, 0.03))
    scaled = np.array([0.5 * 0.25 / 0.4, 0.3, 0.1, 0.1])
    np.testing.assert_allclose(found, scaled / scaled.sum())


def test_the_bias_of_an_image_is_that_of_the_others_by_plain_means():
    p = content(np.random.default_rng(0), 12)
    image = np.repeat(list("abcd"), 3)
    means, labels = c.image_means(p, image)
    bias = c.position_bias(means)
    for number, label in enumerate(labels):
        others = np.array([p[image == other].mean(0) for other in labels if other != label])
        np.testing.assert_allclose(bias.mean[number], others.mean(0), rtol=1e-10)
        expected = others.std(0, ddof=1) / np.sqrt(len(others))
        np.testing.assert_allclose(bias.standard_error[number], expected, atol=1e-9)


def test_an_undefined_map_is_left_out_of_the_bias_and_stays_undefined():
    p = content(np.random.default_rng(1), 12)
    image = np.repeat(list("abcd"), 3)
    p[4] = np.nan
    means, _ = c.image_means(p, image)
    np.testing.assert_allclose(means[1], p[[3, 5]].mean(0))
    result = corrected(p, image)
    assert np.isnan(result[4]).all()
    assert np.isfinite(np.delete(result, 4, axis=0)).all()


def test_the_bias_of_some_images_is_that_among_all_whatever_parts_the_totals_come_from():
    p = content(np.random.default_rng(2), 12)
    p[4] = np.nan
    means, _ = c.image_means(p, np.repeat(list("abcd"), 3))
    whole, totals = c.position_bias(means), c.image_totals([means[:1], means[1:1], means[1:]])
    for part in (slice(0, 1), slice(1, 3), slice(3, 4)):
        some = c.position_bias(means[part], totals)
        np.testing.assert_array_equal(some.mean, whole.mean[part])
        np.testing.assert_array_equal(some.standard_error, whole.standard_error[part])


def test_two_images_have_no_bias():
    means, _ = c.image_means(content(np.random.default_rng(1), 4), np.array(["a", "a", "b", "b"]))
    assert np.isnan(c.position_bias(means).mean).all()


def test_relative_attention_takes_the_generic_map_out():
    random = np.random.default_rng(2)
    signal, generic = content(random, 1)[0], content(random, 1)[0]
    product = signal * generic
    found = c.relative_to(product / product.sum(), generic)
    np.testing.assert_allclose(found, signal, atol=1e-5)


def test_a_map_equal_to_the_generic_one_becomes_even():
    generic = content(np.random.default_rng(3), 1)[0]
    np.testing.assert_allclose(c.relative_to(generic, generic), 1 / CELLS, rtol=1e-4)


def test_a_normalised_state_is_the_state_over_its_root_mean_square():
    np.testing.assert_allclose(c.rms_normalised(np.array([[3.0, -4.0], [0.0, 0.0]])), [[3, -4], [0, 0]] / np.sqrt(12.5))
    np.testing.assert_allclose(c.rms_normalised(np.array([1e-3, 0.0])), [1 / np.sqrt(1.5), 0])  # eps 1e-6


def test_phi_is_the_largest_magnitude_in_the_massive_dimensions():
    """Fifteen ones and a seven: the mean square is 64 / 16 = 4. A state of one entry alone has phi sqrt(dim)."""
    state, alone = np.ones(16), np.zeros(16)
    state[3], alone[3] = -7, 1000
    first, second, both = (np.isin(np.arange(16), dims) for dims in ([3], [5], [3, 5]))
    found = [
        c.massive_activation(np.array([state, alone]), massive) for massive in (first, second, both, first & second)
    ]
    np.testing.assert_allclose(found, [[3.5, 4], [0.5, 0], [3.5, 4], [0, 0]], atol=1e-6)


def test_a_dimension_is_massive_from_twenty_times_the_median():
    magnitudes = np.array([[1.0, 1.0, 1.0, 19.9, 20.0], [0.1, 0.1, 0.1, 0.1, 1.99], [0.0] * 5])
    assert c.massive_dimensions(magnitudes).tolist() == [[False] * 4 + [True], [False] * 5, [False] * 5]


@pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential"])
def test_states_without_outliers_have_no_massive_dimension(draw):
    """A hundred layers of 4,096 dims, each state one draw, as of a first token that is the same in every prompt."""
    states = getattr(np.random.default_rng(0), draw)((100, 4096))
    assert c.massive_dimensions(np.abs(c.rms_normalised(states))).any(axis=-1).mean() <= 0.01


def test_massive_sinks_are_held_to_an_even_share_and_the_rest_keeps_its_proportions():
    """An even share is 1/4; the last cell is a sink below it, and a phi at the threshold makes one."""
    p, phi = np.array([0.6, 0.2, 0.15, 0.05]), np.array([50.0, 1.0, 0.0, 20.0])
    np.testing.assert_allclose(
        c.without_massive_sinks(p, phi, np.array(20.0)), np.array([0.25, 0.2, 0.15, 0.05]) / 0.65
    )
    np.testing.assert_allclose(c.without_massive_sinks(p, phi[::-1], np.array(20.0)), [0.25 / 0.65, *p[1:] / 0.65])
    np.testing.assert_allclose(c.without_massive_sinks(p, np.ones(4), np.array(20.0)), p)


def test_without_massive_dimensions_a_map_is_as_it_was_and_without_states_undefined():
    p = content(np.random.default_rng(4), 3)
    phi = np.array([[100.0], [0.0], [np.nan]]) + np.zeros(CELLS)
    found = c.without_massive_sinks(p, phi, np.array(np.nan))
    np.testing.assert_allclose(found[:2], p[:2])
    assert np.isnan(found[2]).all()


def test_heads_are_weighted_by_their_mass_before_they_are_pooled():
    p = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(c.pooled(p, np.array([0.9, 0.3]), "max"), [0.75, 0.25])
    np.testing.assert_allclose(c.pooled(p, np.array([0.9, 0.3]), "mean"), [0.75, 0.25])
