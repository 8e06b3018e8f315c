"""Painting over, held against scenes whose background is known, and closed forms."""

import numpy as np
import pytest
from attention_atlas.inputs import painting, scenes
from PIL import Image, ImageColor

BACKGROUND = "#eaf2f8"
SHAPES = (
    scenes.Shape("circle", "red", 30, 40, 130, 140),
    scenes.Shape("star", "blue", 150, 40, 240, 130),
    scenes.Shape("square", "green", 300, 300, 400, 400),
)


def picture(shapes):
    return np.asarray(scenes.draw_scene(scenes.Scene(BACKGROUND, shapes)))


def masks(shapes):
    return [np.asarray(scenes.draw_mask(shape)) for shape in shapes]


def test_a_scene_without_an_object_is_the_scene_drawn_without_it():
    everything = painting.union(masks(SHAPES), scenes.SIZE, scenes.SIZE)
    for number, shape in enumerate(SHAPES):
        rest = tuple(other for other in SHAPES if other is not shape)
        painted = painting.without_objects(picture(SHAPES), masks(SHAPES)[number : number + 1], everything)
        assert (painted == picture(rest)).all()


def test_painting_every_object_leaves_the_background_alone():
    everything = painting.union(masks(SHAPES), scenes.SIZE, scenes.SIZE)
    painted = painting.without_objects(picture(SHAPES), masks(SHAPES), everything)
    assert (painted == ImageColor.getrgb(BACKGROUND)).all()
    assert tuple(painting.background_colour(picture(SHAPES), everything)) == ImageColor.getrgb(BACKGROUND)


def test_the_fill_is_what_surrounds_an_object_not_the_whole_pictures_background():
    pixels = np.zeros((100, 100, 3), dtype=np.uint8)
    pixels[:, 60:] = 200
    mask = painting.box_mask((75, 40, 85, 50), 100, 100)
    assert tuple(painting.surrounding_colour(pixels, mask, mask)) == (200, 200, 200)
    assert tuple(painting.background_colour(pixels, mask)) == (0, 0, 0)


def test_a_neighbour_that_fills_the_ring_does_not_colour_the_fill():
    pixels = np.full((60, 60, 3), 9, dtype=np.uint8)
    neighbour = painting.box_mask((20, 20, 40, 40), 60, 60)
    pixels[neighbour] = 255
    mask = painting.box_mask((27, 27, 33, 33), 60, 60)
    assert tuple(painting.surrounding_colour(pixels, mask, neighbour)) == (9, 9, 9)


def test_objects_that_fill_the_picture_leave_its_own_median():
    pixels = np.full((4, 4, 3), 7, dtype=np.uint8)
    assert tuple(painting.background_colour(pixels, np.ones((4, 4), dtype=bool))) == (7, 7, 7)


@pytest.mark.parametrize(("box", "touched"), [((1, 2, 3, 4), 4), ((0.5, 0.5, 1.5, 1.5), 4), ((0, 0, 5, 5), 25)])
def test_a_box_touches_every_pixel_that_it_overlaps(box, touched):
    assert painting.box_mask(box, 5, 5).sum() == touched


def test_an_objects_mask_file_counts_before_its_box(tmp_path):
    (tmp_path / "masks").mkdir()
    drawn = np.zeros((8, 8), dtype=np.uint8)
    drawn[2, 3] = 255
    Image.fromarray(drawn).save(tmp_path / "masks/one.png")
    box = {"x_min": "0", "y_min": "0", "x_max": "8", "y_max": "8"}
    assert painting.object_mask(tmp_path, {**box, "mask": "one.png"}, 8, 8).sum() == 1
    assert painting.object_mask(tmp_path, {**box, "mask": ""}, 8, 8).sum() == 64
