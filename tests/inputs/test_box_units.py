"""Units of boxes: a planted unit is refused or doubted, and boxes in pixels anywhere in their images are not."""

import numpy as np
import pandas as pd
import pytest
from attention_atlas.inputs.box_units import box_problem, doubts_about_boxes

SIZE = (1600, 1200)
# Boxes as shares of width and height, over the whole image.
SHARES = np.array([[0.05, 0.1, 0.3, 0.4], [0.5, 0.5, 0.95, 0.9], [0.6, 0.05, 0.98, 0.3], [0.02, 0.7, 0.2, 0.99]])


def doubts(boxes, sizes, turned=(), strays=0, **more):
    names = [f"{number}.png" for number in range(len(boxes))]
    objects = pd.DataFrame(boxes, columns=["x_min", "y_min", "x_max", "y_max"], dtype=float)
    objects = objects.assign(image=names, label=[f"label {name}" for name in names], **more)
    of = dict(zip(names, sizes, strict=True)) if isinstance(sizes, list) else dict.fromkeys(names, sizes)
    return list(doubts_about_boxes(objects, of, frozenset(turned), strays))


@pytest.mark.parametrize("size", [SIZE, (448, 448), (640, 480), (150, 150), (4000, 3000)])
def test_boxes_in_pixels_over_their_images_raise_no_doubt(size):
    assert doubts(SHARES * [*size, *size], size) == []


def test_boxes_in_pixels_of_a_picture_little_larger_than_a_thousand_raise_no_doubt_by_one_box():
    assert doubts([[100, 100, 700, 600]], (1024, 768)) == []


@pytest.mark.parametrize("boxes", [SHARES, SHARES[1:2]], ids=["several boxes", "one box"])
@pytest.mark.parametrize("size", [SIZE, (1200, 1200), (4000, 3000)])
def test_thousandths_of_the_sides_are_doubted_once(boxes, size):
    (told,) = doubts(boxes * 1000, size)
    assert told.startswith("all 4 boxes" if len(boxes) == 4 else "1 of 1 boxes")
    assert " on images of more than 1000 px lie within 0 to 1000, as thousandths of the sides would; boxes are" in told


def test_thousandths_are_doubted_beside_small_images_whose_boxes_are_right():
    (told,) = doubts([*SHARES * 1000, [0, 0, 50, 40], [60, 60, 100, 100]], [*[SIZE] * 4, (100, 100), (100, 100)])
    assert told.startswith("all 4 boxes on images of more than 1000 px")


@pytest.mark.parametrize(("size", "number"), [((448, 448), 1), ((448, 448), 4), ((200, 150), 4)])
def test_percentages_of_the_sides_are_doubted(size, number):
    (told,) = doubts((SHARES * 100)[:number], size)
    assert f"{number} boxes on images of more than 100 px lie within 0 to 100, as percentages" in told


def test_boxes_of_a_smaller_copy_are_doubted():
    (told,) = doubts(SHARES * 224, (448, 448))
    assert told.startswith("all 4 boxes lie in the upper left quarter of their image")


def test_one_box_of_many_that_leaves_the_corner_hides_nothing():
    boxes = np.vstack([np.tile(SHARES * 224, (10, 1)), [[300, 300, 440, 440]]])
    (told,) = doubts(boxes, (448, 448))
    assert told.startswith("40 of 41 boxes lie in the upper left quarter")
    assert doubts(boxes[-5:], (448, 448)) == []


def test_some_images_whose_boxes_are_in_another_unit_are_doubted_beside_others():
    shares = np.vstack([SHARES, SHARES[:, [1, 0, 3, 2]]])
    boxes = np.vstack([shares * 1000, shares * 1000, *[shares * 4000] * 8])
    objects = pd.DataFrame(boxes, columns=["x_min", "y_min", "x_max", "y_max"])
    objects = objects.assign(image=np.repeat([f"{n}.png" for n in range(10)], 8), label="dog")
    sizes = {f"{n}.png": (4000, 4000) for n in range(10)}
    (told,) = doubts_about_boxes(objects, sizes, frozenset(), 0)
    assert told.startswith("2 of 10 images have all of several boxes in their upper left quarter, first '0.png'")
    assert list(doubts_about_boxes(objects.iloc[8:], sizes, frozenset(), 0)) == []  # one image may be so
    alone = objects.groupby("image").nth(1)
    assert list(doubts_about_boxes(alone, sizes, frozenset(), 0)) == []


def test_random_boxes_in_pixels_are_seldom_doubted():
    rng = np.random.default_rng(7)
    doubted = 0
    for _ in range(200):
        corner = rng.uniform(0, 0.8, size=(3, 2))
        boxes = np.hstack([corner, corner + rng.uniform(0.05, 0.2, size=(3, 2))])
        doubted += bool(doubts(boxes * 448, (448, 448)))
    assert doubted <= 6  # 0.25 ** 3 of 200 are 3


def test_turned_images_with_boxes_and_masks_outside_boxes_are_counted():
    boxes = SHARES * [*SIZE, *SIZE]
    turned, strays = doubts(boxes, SIZE, turned=("1.png", "3.png", "other.png"), strays=2)[::-1]
    assert turned.startswith("2 images with boxes are turned or mirrored by EXIF orientation, first '1.png'")
    assert "taken as upright" in turned
    assert strays.startswith("2 masks lie mostly outside the box")


def test_an_object_that_stands_twice_is_told():
    boxes = np.repeat(SHARES * [*SIZE, *SIZE], 2, axis=0)
    objects = pd.DataFrame(boxes, columns=["x_min", "y_min", "x_max", "y_max"]).assign(image="a.png", label="dog")
    (told,) = doubts_about_boxes(objects, {"a.png": SIZE}, frozenset(), 0)
    assert told.startswith("4 of 8 objects have label and box of another object of their image")


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ((0.23, 0.23, 0.78, 0.78), "smaller than a pixel; boxes are x_min, y_min, x_max, y_max in pixels"),
        ((0.23, 0.23, 0.78, 0.78), "look like fractions of its sides"),
        ((0, 0.1, 1, 0.9), "ends at the first pixel of 'a.png' of 448 x 300 px"),
        ((0, 0, 1, 1), "look like fractions"),
        ((0.5, 0.5, 1.003, 0.9), "look like fractions"),
        ((0.5, 0.5, 0.2, 0.3), "has no area; x_min < x_max and y_min < y_max must hold; boxes are"),
        ((0.5, 0.5, 0.2, 0.3), "look like fractions"),
        ((200.2, 100.2, 200.9, 100.9), "is smaller than a pixel; boxes are x_min"),
        (
            (100, 50, 60, 40),
            "has no area; x_min < x_max and y_min < y_max must hold; boxes are x_min, y_min, x_max, y_max",
        ),
        ((100, 50, 60, 40), "it would fit as x, y, width, height"),
        ((10, 20, 290, 440), "it would fit with x and y exchanged"),
        ((500, 500, 900, 900), "not thousandths of its sides"),
        ((10, 10, 448.00001, 200), "box [10, 10, 448.00001, 200] reaches outside the image 'a.png' of 448 x 300 px"),
        ((-0.4, 10, 40, 200), "box [-0.4, 10, 40, 200] reaches outside"),
    ],
)
def test_a_box_that_cannot_be_in_pixels_is_refused_with_the_unit_it_seems_to_have(box, told):
    assert told in box_problem(box, "a.png", (448, 300))


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 448, 300), (448, 300)),
        ((3, 4, 4, 5), (448, 300)),
        ((3.25, 4, 3.5, 90), (448, 300)),
        ((0, 0, 1, 1), (1, 1)),
        ((0, 0, 1, 1), None),
        ((0, 0, 2, 1), (448, 300)),
    ],
)
def test_a_box_of_a_pixel_or_more_is_in_order(box, size):
    assert box_problem(box, "a.png", size) is None
