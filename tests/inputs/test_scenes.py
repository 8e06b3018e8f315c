"""The demo's pictures: deterministic, exact in their boxes and masks, drawn as their table says."""

from random import Random

import numpy as np
import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.inputs import scenes
from attention_atlas.inputs.scenes import COLOURS, KINDS, SIZE, Scene, Shape
from PIL import Image, ImageColor

SCENES = [scenes.random_scene(Random(seed), 2 + seed % 5) for seed in range(40)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [63, 64, 90, 119])
def test_a_mask_fills_its_box_exactly(kind, side):
    box = (17, 30, 17 + side, 30 + side)
    assert scenes.draw_mask(Shape(kind, "red", *box)).getbbox() == box


# Areas as shares of the box: pi/4, 1, 1/2, and the star's by the shoelace formula on its corners, once by hand.
@pytest.mark.parametrize(
    ("kind", "share"), [("circle", np.pi / 4), ("square", 1.0), ("triangle", 0.5), ("star", 0.3263)]
)
def test_a_shape_covers_its_share_of_the_box(kind, share):
    covered = np.asarray(scenes.coverage(kind, 100, 100), dtype=float) / 255
    assert covered.mean() == pytest.approx(share, abs=0.008)


@pytest.mark.parametrize("scene", SCENES[:10])
def test_pixels_are_background_colour_or_a_blend_at_an_edge(scene):
    picture = np.asarray(scenes.draw_scene(scene)).reshape(-1, 3)
    flat = {ImageColor.getrgb(scene.background), *(ImageColor.getrgb(COLOURS[s.colour]) for s in scene.shapes)}
    pure = np.isin(picture @ [65536, 256, 1], [r * 65536 + g * 256 + b for r, g, b in flat])
    assert 0.97 < pure.mean() < 1


@pytest.mark.parametrize("scene", SCENES)
def test_objects_lie_inside_and_never_overlap(scene):
    taken = np.zeros((SIZE, SIZE), dtype=int)
    for shape in scene.shapes:
        taken[shape.y_min : shape.y_max, shape.x_min : shape.x_max] += 1
        assert min(shape.x_min, shape.y_min) >= 0
        assert max(shape.x_max, shape.y_max) <= SIZE
    assert taken.max() == 1


def test_the_middle_of_each_shape_has_its_colour():
    scene = Scene(
        "#ffffff",
        tuple(
            Shape(kind, colour, 100 * i, 50, 100 * i + 80, 130)
            for i, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=False))
        ),
    )
    picture = scenes.draw_scene(scene)
    for shape in scene.shapes:
        assert picture.getpixel(tuple(map(int, shape.centre))) == ImageColor.getrgb(COLOURS[shape.colour])


def test_the_same_seed_draws_the_same_scene_and_another_seed_another():
    assert scenes.random_scene(Random(7), 5) == scenes.random_scene(Random(7), 5)
    assert scenes.random_scene(Random(7), 5) != scenes.random_scene(Random(8), 5)


def test_a_shape_that_cannot_be_drawn_is_refused_by_file_line_and_value(tmp_path):
    (tmp_path / "objects.csv").write_text(
        ",".join(scenes.OBJECT_COLUMNS) + "\na.png,o,hexagon,red,0,0,70,70,a_o.png,#ffffff\n", encoding="utf-8"
    )
    with pytest.raises(AtlasError, match=r"objects.csv, line 2: .*'hexagon'"):
        scenes.draw_study(tmp_path)


def test_pictures_are_drawn_from_the_table(tmp_path):
    rows = "a.png,o,square,blue,10,20,90,100,a_o.png,#eaf2f8\n"
    (tmp_path / "objects.csv").write_text(",".join(scenes.OBJECT_COLUMNS) + "\n" + rows, encoding="utf-8")
    scenes.draw_study(tmp_path)
    expected = np.full((SIZE, SIZE, 3), ImageColor.getrgb("#eaf2f8"), dtype=np.uint8)
    expected[20:100, 10:90] = ImageColor.getrgb(COLOURS["blue"])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "images" / "a.png")), expected)
    mask = np.asarray(Image.open(tmp_path / "masks" / "a_o.png"))
    np.testing.assert_array_equal(mask, (expected == ImageColor.getrgb(COLOURS["blue"])).all(axis=-1))
