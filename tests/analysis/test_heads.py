"""Choosing heads: each method on cases worked out by hand, and maps of sets of heads against plain sums."""

import math

import numpy as np
import pytest
from attention_atlas.analysis import heads


def test_the_best_are_the_largest_and_of_equal_scores_the_first():
    scores = np.array([0.5, 0.9, np.nan, 0.9, 0.7])
    assert heads.best(scores, 3).tolist() == [1, 3, 4]
    assert heads.best(scores, 9).tolist() == [1, 3, 4, 0]


def test_scores_that_differ_by_rounding_alone_are_equal():
    assert heads.best(np.array([0.3, 0.1 + 0.2 + 1e-12]), 1).tolist() == [0]


def test_membership_marks_the_chosen_heads():
    assert heads.members(np.array([[0, 2], [1, 0]]), 3).tolist() == [[True, False, True], [True, True, False]]
    assert heads.members(np.zeros(0, dtype=int), 2).tolist() == [False, False]


def test_random_sets_are_of_one_size_even_over_heads_and_repeatable():
    sets = heads.random_sets(12, 5, 6000, seed=3)
    assert (sets.sum(axis=1) == 5).all()
    np.testing.assert_allclose(sets.mean(axis=0), 5 / 12, atol=4 * math.sqrt(5 / 12 * 7 / 12 / 6000))
    np.testing.assert_array_equal(sets, heads.random_sets(12, 5, 6000, seed=3))
    assert (sets != heads.random_sets(12, 5, 6000, seed=4)).any()


def test_the_map_of_a_set_is_the_normalised_sum_of_its_heads_weights():
    random = np.random.default_rng(0)
    attention = random.random((3, 4, 6))
    mass = attention.sum(axis=-1)
    belongs = np.array([[True, False, True, False], [False, True, False, False]])
    found = heads.set_maps(heads.weighted(attention / mass[..., None], mass), belongs)
    pair = attention[:, 0] + attention[:, 2]
    np.testing.assert_allclose(found[:, 0], pair / pair.sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(found[:, 1], attention[:, 1] / mass[:, 1, None])
    np.testing.assert_allclose(found.sum(axis=-1), 1)


def test_a_head_without_mass_adds_nothing_and_a_set_of_such_heads_has_no_map():
    p = np.array([[[0.25, 0.75], [np.nan, np.nan]]])
    mass = np.array([[0.4, 0.0]])
    found = heads.set_maps(heads.weighted(p, mass), np.array([[True, True], [False, True]]))
    np.testing.assert_allclose(found[0, 0], [0.25, 0.75])
    assert np.isnan(found[0, 1]).all()


def test_a_head_that_is_not_finite_is_not_taken_for_one_without_mass():
    weights = heads.weighted(np.array([[[0.5, 0.5], [np.nan, np.nan]]]), np.array([[0.4, np.nan]]))
    found = heads.set_maps(weights, np.array([[True, True], [True, False]]))
    assert np.isnan(found[0, 0]).all()
    np.testing.assert_allclose(found[0, 1], [0.5, 0.5])


@pytest.mark.parametrize(
    ("values", "at"),
    [
        # The chord falls by 1.8 a step from 10 to 1: the third value is 6.4 - 2 below it, the fourth 4.6 - 1.5.
        ([10, 9, 2, 1.5, 1.2, 1], 2),
        ([1, 0.95, 0.9, 0.85, 0.1, 0.05], 0.1),
        ([0.1, 0.9, 0.05, 0.95, 1, 0.85], 0.1),
    ],
)
def test_the_elbow_is_where_a_curve_begins_to_be_flat(values, at):
    assert heads.elbow(np.array(values)) == at


@pytest.mark.parametrize("values", [[0.5, 0.5, 0.5], [3, 2, 1], [1, 0.9, 0.7, 0.2], [0.4]])
def test_a_curve_that_is_nowhere_below_its_chord_has_no_elbow(values):
    assert heads.elbow(np.array(values)) == -math.inf


MASS = np.array([0.9, 0.1, 0.8, 0.7, 0.12, 0.85])
# Heads 0, 2, 3 and 5 are above the elbow at 0.12; each sample names two of them.
SPATIAL = np.array(
    [
        [0.5, 0.0, 0.1, 0.2, 0.0, 0.3],  # 2, 3
        [0.5, 0.0, 0.4, 0.2, 0.0, 0.3],  # 3, 5
        [0.1, 0.0, np.nan, 0.2, 0.0, 0.3],  # 0, 3
        [0.4, 0.0, 0.4, 0.4, 0.0, np.nan],  # 0, 2: of equal ones the first
    ]
)


def test_localization_heads_are_those_most_often_among_the_most_focused():
    """Named: head 3 three times, 0 and 2 twice, 5 once; heads 1 and 4 are focused but see too little of the image."""
    assert heads.elbow(MASS) == 0.12
    assert heads.localization_heads(MASS, SPATIAL, 2, 1).tolist() == [3]
    assert heads.localization_heads(MASS, SPATIAL, 2, 3).tolist() == [3, 0, 2]
    assert heads.localization_heads(MASS, SPATIAL, 2, 9).tolist() == [3, 0, 2, 5]


def test_more_focused_heads_than_are_kept_are_all_named():
    assert heads.localization_heads(MASS, SPATIAL, 10, 3).tolist() == [0, 3, 2]


def test_the_order_of_samples_does_not_matter():
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        assert heads.localization_heads(MASS, SPATIAL[order], 2, 4).tolist() == [3, 0, 2, 5]


def test_no_head_is_named_where_no_map_is_focused():
    assert heads.localization_heads(MASS, np.full((2, 6), np.nan), 2, 3).tolist() == []


@pytest.mark.parametrize(("share", "layers"), [(0.1, [4]), (0.5, [4, 1]), (0.6, [4, 1]), (0.8, [4, 1, 3])])
def test_the_top_layers_are_that_share_of_them_at_least_one(share, layers):
    profile = np.array([0.5, 0.7, 0.6, 0.65, 0.9])
    assert heads.top_layers(profile, share)[: len(layers)].tolist() == layers
    assert len(heads.top_layers(profile, share)) == max(1, round(share * 5))


def test_layers_of_a_set_count_alike():
    maps = np.array([[[0.5, 0.5, 0], [0.1, 0, 0.9], [1.0, 0, 0]]])
    np.testing.assert_allclose(heads.layer_set_map(maps, np.array([0, 1])), [[0.3, 0.25, 0.45]])
