"""Masks of segmentations: areas in closed form, matplotlib's polygons, and strings that pycocotools wrote."""

from itertools import pairwise

import numpy as np
import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.segmentations import mask_of, unpacked
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


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_no_segmentation_is_no_mask(nothing):
    assert mask_of(nothing, 5, 5) is None


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([[0, 0, 1, 1]], "three corners or more"),
        ([[0, 0, 1, 1, 2, 2, 3]], "three corners or more"),
        ([[0, 0, 1, 1, 2, float("nan")]], "all finite"),
        (["x"], "three corners or more"),
        ({"size": [5, 6], "counts": [30]}, "is of size [5, 6], its image [5, 5]"),
        ({"size": [5, 5], "counts": [24]}, "add up to 25 pixels"),
        ({"size": [5, 5], "counts": [30, -5]}, "add up to 25 pixels"),
        ({"size": [5, 5], "counts": [12.5, 12.5]}, "whole numbers"),
        ({"size": [5, 5], "counts": 25}, "whole numbers"),
        ({"size": 5, "counts": [25]}, "is of size 5"),
        ({"size": [5, 5], "counts": "P"}, "damaged"),
        ({"size": [5, 5], "counts": "0 0"}, "damaged"),
        ({"counts": [25]}, "must be a list of polygons"),
        ("polygon", "must be a list of polygons"),
    ],
)
def test_a_segmentation_that_cannot_be_understood_is_refused(segmentation, problem):
    with pytest.raises(AtlasError) as caught:
        mask_of(segmentation, 5, 5)
    assert problem in str(caught.value)
