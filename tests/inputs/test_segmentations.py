"""Masks of segmentations: areas in closed form, matplotlib's polygons, and strings that pycocotools wrote."""

import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.segmentations import mask_of, unpacked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon


def test_a_rectangle_of_whole_pixels_is_exactly_those_pixels():
    expected = np.zeros((8, 10), dtype=bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(mask_of([[2, 1, 6, 1, 6, 4, 2, 4]], 8, 10), expected)


def test_a_polygon_has_the_pixels_whose_centres_lie_in_it():
    corners = np.random.default_rng(5).uniform(-3, 33, size=(9, 2))
    rows, columns = np.indices((25, 30))
    centres = np.stack([columns + 0.5, rows + 0.5], axis=-1).reshape(-1, 2)
    closed = np.vstack([corners, corners[:1]])
    crossings = np.zeros(len(centres), dtype=int)
    for (x0, y0), (x1, y1) in pairwise(closed):
        spans = (y0 > centres[:, 1]) != (y1 > centres[:, 1])
        crossings += spans & (centres[:, 0] < x0 + (centres[:, 1] - y0) * (x1 - x0) / (y1 - y0))
    expected = (crossings % 2 == 1).reshape(25, 30)
    np.testing.assert_array_equal(mask_of([corners.ravel().tolist()], 25, 30), expected)


def test_a_convex_polygon_agrees_with_matplotlib_and_with_its_area():
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    circle = np.stack([50.3 + 30 * np.cos(angles), 40.7 + 30 * np.sin(angles)], axis=1)
    rows, columns = np.indices((80, 100))
    centres = np.stack([columns + 0.5, rows + 0.5], axis=-1).reshape(-1, 2)
    mask = mask_of([circle.ravel().tolist()], 80, 100)
    np.testing.assert_array_equal(mask, Polygon(circle).contains_points(centres).reshape(80, 100))
    assert mask.sum() == pytest.approx(np.pi * 30**2, rel=0.01)


def test_several_polygons_are_their_union():
    mask = mask_of([[0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 6, 2, 6, 6, 2, 6]], 10, 10)
    assert mask.sum() == 16 + 16 - 4


def test_runs_go_down_the_columns_from_an_unset_one():
    expected = [[False, True, False], [True, True, False]]
    assert mask_of({"size": [2, 3], "counts": [1, 3, 2]}, 2, 3).tolist() == expected


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("061M", [0, 6, 1, 3]),
        ("0610", [0, 6, 1, 6]),
        ("011101010", [0, 1, 1, 2, 1, 3, 1, 4, 1]),
        ("0PP1", [0, 1024]),
        ("", []),
    ],
)
def test_strings_of_runs_that_others_packed_are_unpacked(text, counts):
    assert unpacked(text) == counts


@pytest.mark.parametrize(
    ("text", "first", "last"), [("05d00000000d?", 0, 5), ("R45d00000000b;", 5, 10), ("X`05d00000000", 20, 25)]
)
def test_strings_that_pycocotools_wrote_are_squares_on_the_diagonal(text, first, last):
    expected = np.zeros((25, 25), dtype=bool)
    expected[first:last, first:last] = True
    np.testing.assert_array_equal(mask_of({"size": [25, 25], "counts": text}, 25, 25), expected)


@pytest.mark.parametrize(
    "nothing", [None, [], {}, [[]], {"size": [5, 5], "counts": ""}, {"size": [5, 5], "counts": []}]
)
def test_no_segmentation_is_no_mask(nothing):
    assert mask_of(nothing, 5, 5) is None


SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]


@pytest.mark.parametrize(
    ("ring", "reason"),
    [
        ([], "fewer than three corners"),
        ([2, 2], "fewer than three corners"),
        ([0, 0, 1, 1], "fewer than three corners"),
        ([0, 0, 1, 1, 2, 2, 3], "an x without its y"),
        ([0, 0, 1, 1, 2, float("nan")], "corners that are no places in an image"),
        ([0, 0, 1, 1, 2, float("inf")], "corners that are no places in an image"),
        ([0, 0, 1, 1, 2, 10**400], "corners that are no places in an image"),
        ("x", "not a list of numbers"),
        ([0, 0, 1, 1, 2, "2"], "not a list of numbers"),
        ([0, 0, 1, 1, 2, None], "not a list of numbers"),
        ([[0, 0], [1, 1], [2, 0]], "not a list of numbers"),
        (None, "not a list of numbers"),
    ],
)
def test_a_ring_that_is_none_is_left_out_and_counted_and_the_others_are_the_mask(ring, reason):
    told = Counter()
    expected = np.zeros((5, 5), dtype=bool)
    expected[1:4, 1:4] = True
    np.testing.assert_array_equal(mask_of([ring, SQUARE, ring], 5, 5, told), expected)
    assert told == {f"polygons left out: {reason}": 2}
    assert mask_of([ring], 5, 5, told) is None
    assert told == {f"polygons left out: {reason}": 3}


def test_a_polygon_without_a_list_around_it_is_that_polygon():
    np.testing.assert_array_equal(mask_of(SQUARE, 5, 5), mask_of([SQUARE], 5, 5))


def test_very_many_polygons_take_the_memory_of_one_mask():
    tracemalloc.start()
    mask_of([SQUARE] * 200, 1000, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 1000 * 1000  # bytes of five masks


NUMBERS = st.one_of(st.integers(-3, 12), st.floats(), st.sampled_from([10**400, True, None, "1", 1e18]))
RINGS = st.one_of(st.lists(NUMBERS, max_size=9), NUMBERS, st.lists(st.lists(NUMBERS, max_size=3), max_size=3))
RUNS = st.one_of(st.lists(NUMBERS, max_size=4), st.text(alphabet="0o?P1M\ud800 ", max_size=9), NUMBERS)
RLES = st.fixed_dictionaries({"size": st.sampled_from([[5, 6], [6, 5], 5, [10**9, 10**9], None]), "counts": RUNS})


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.lists(RINGS, max_size=4), RLES, RINGS, st.dictionaries(st.text(max_size=3), NUMBERS, max_size=2)))
def test_whatever_a_segmentation_is_it_is_a_mask_or_none_or_an_error_that_says_so(segmentation):
    mask, told = None, "segmentation"
    try:
        mask = mask_of(segmentation, 5, 6, Counter())
    except AtlasError as error:
        told = str(error)
    assert told.startswith("segmentation")
    assert mask is None or (mask.shape, mask.dtype) == ((5, 6), bool)


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ({"size": [5, 6], "counts": [30]}, "is of size [5, 6], its image [5, 5]"),
        ({"size": [5, 5], "counts": [24]}, "add up to 25 pixels"),
        ({"size": [5, 5], "counts": [30, -5]}, "add up to 25 pixels"),
        ({"size": [5, 5], "counts": [12.5, 12.5]}, "whole numbers"),
        ({"size": [5, 5], "counts": 25}, "whole numbers"),
        ({"size": 5, "counts": [25]}, "is of size 5"),
        ({"size": [5, 5], "counts": "P"}, "damaged"),
        ({"size": [5, 5], "counts": "o" * 1_000_000 + "0"}, "damaged"),  # one number of five million bits
        ({"size": [5, 5], "counts": "0 0"}, "damaged"),
        ({"counts": [25]}, "must be a list of polygons"),
        ("polygon", "must be a list of polygons"),
    ],
)
def test_a_segmentation_that_cannot_be_understood_is_refused(segmentation, problem):
    with pytest.raises(AtlasError) as caught:
        mask_of(segmentation, 5, 5)
    assert problem in str(caught.value)
