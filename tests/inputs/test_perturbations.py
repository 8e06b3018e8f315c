"""Perturbed pictures against pictures painted by hand, and random draws against what they must keep."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from attention_atlas.config import Causal
from attention_atlas.inputs import perturbations
from attention_atlas.inputs.causal_samples import Subject
from attention_atlas.inputs.painting import box_mask
from attention_atlas.inputs.perturbations import Picture, knocked_out_cells, perturbed_pictures
from attention_atlas.inputs.study import Study
from PIL import Image, ImageDraw

HEIGHT, WIDTH = 30, 50
BACKGROUND, RED, BLUE, GREEN = (200, 210, 220), (250, 0, 0), (0, 0, 250), (0, 250, 0)
BOXES = {"red": (4, 3, 14, 11), "blue": (30, 5, 41, 13), "green": (20, 18, 29, 27)}
ORDER = np.array([5, 0, 3, 1, 4, 2])
GRID = (2, 3)


def drawn(**fills):
    """The picture with its objects, or others, drawn by hand."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    for name, colour in {"red": RED, "blue": BLUE, "green": GREEN, **fills}.items():
        left, top, right, bottom = BOXES[name]
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=colour)
    return image


def picture():
    masks = {name: box_mask(box, HEIGHT, WIDTH) for name, box in BOXES.items()}
    boxes = pd.DataFrame(list(BOXES.values()), columns=["x_min", "y_min", "x_max", "y_max"]).astype(float)
    return Picture(np.asarray(drawn()), boxes.assign(object_id=list(BOXES)), masks)


def subject(sample_id="s", targets=("red",), order=ORDER, target_cells=(0,)):
    cells = np.isin(np.arange(len(order)), target_cells)
    return Subject(sample_id, "?", "a.png", np.array([1]), targets, cells, order)


def made(checks, own=None, grid=GRID, **settings):
    """Every picture of some checks, by kind and index."""
    pictures = perturbed_pictures(picture(), own or subject(), grid, Causal(checks=checks, **settings))
    return {(one.kind, one.index): one.pixels for one in pictures}


def cells_painted(cells):
    """The picture with cells of the 2 x 3 grid painted by hand: borders at 50/3 = 16.7 and 33.3 px."""
    image, lefts, tops = drawn(), (0, 17, 33, 50), (0, 15, 30)
    for cell in cells:
        row, col = divmod(cell, 3)
        box = (lefts[col], tops[row], lefts[col + 1] - 1, tops[row + 1] - 1)
        ImageDraw.Draw(image).rectangle(box, fill=BACKGROUND)
    return np.asarray(image)


def test_the_unperturbed_picture_comes_first_and_as_it_is():
    pixels = made(())
    assert list(pixels) == [("none", 0)]
    assert (pixels["none", 0] == np.asarray(drawn())).all()


def test_occlusion_paints_one_region_after_the_other_with_the_background():
    pixels = made(("occlusion",), regions=GRID)
    assert [index for kind, index in pixels if kind == "occlusion"] == list(range(6))
    for region in range(6):
        np.testing.assert_array_equal(pixels["occlusion", region], cells_painted([region]))


@pytest.mark.parametrize(("grid", "size"), [((4, 4), (448, 448)), ((13, 7), (301, 222)), ((5, 3), (4, 2))])
def test_every_pixel_is_in_one_part_and_parts_are_even(grid, size):
    place = perturbations.part_of_pixel(grid, *size)
    assert place.shape == size
    assert (np.diff(place, axis=1) >= 0).all()
    assert (np.diff(place[:, 0]) % grid[1] == 0).all()
    areas = np.bincount(place.ravel(), minlength=grid[0] * grid[1])
    assert len(areas) == grid[0] * grid[1]
    even = size[0] / grid[0] * size[1] / grid[1]
    assert abs(areas - even).max() <= size[0] / grid[0] + size[1] / grid[1] + 1


def test_borders_of_parts_are_rounded_to_whole_pixels():
    place = perturbations.part_of_pixel(GRID, 4, 50)  # 16.7 and 33.3
    np.testing.assert_array_equal(place[0], [0] * 17 + [1] * 16 + [2] * 17)
    np.testing.assert_array_equal(place[:, 0], [0, 0, 3, 3])


def test_the_background_is_the_colour_outside_of_all_objects_however_large_they_are():
    large = {"a": box_mask((0, 0, 40, 30), HEIGHT, WIDTH), "b": box_mask((40, 0, 50, 20), HEIGHT, WIDTH)}
    pixels = np.full((HEIGHT, WIDTH, 3), RED, dtype=np.uint8)
    pixels[20:, 40:] = BLUE
    assert tuple(Picture(pixels, pd.DataFrame(), large).background) == BLUE


def test_deletion_paints_the_first_cells_of_the_order_and_insertion_shows_them_alone():
    pixels = made(("deletion",), steps=4)
    firsts = {1: 2, 2: 3, 3: 4, 4: 6}  # round(k 6 / 4), halves to even
    for step, count in firsts.items():
        np.testing.assert_array_equal(pixels["deletion", step], cells_painted(ORDER[:count]))
        if step < 4:
            np.testing.assert_array_equal(pixels["insertion", step], cells_painted(ORDER[count:]))
    assert ("insertion", 4) not in pixels
    assert (pixels["deletion", 4] == BACKGROUND).all()


def test_random_orders_delete_one_cell_more_each_step_and_insert_the_same_ones():
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    causal = Causal(checks=("deletion",), steps=6, random_orders=3)
    one = Picture(noise, pd.DataFrame(), {})
    pixels = {(p.kind, p.index): p.pixels for p in perturbed_pictures(one, subject(), GRID, causal)}
    place = perturbations.part_of_pixel(GRID, HEIGHT, WIDTH)
    gone = {
        key: {cell for cell in range(6) if (values[place == cell] == one.background).all()}
        for key, values in pixels.items()
    }
    for order in range(3):
        deleted = [gone["deletion_random", 6 * order + step] for step in range(1, 7)]
        assert [len(cells) for cells in deleted] == [1, 2, 3, 4, 5, 6]
        assert all(fewer < more for fewer, more in pairwise(deleted))
        for step in range(1, 6):
            assert gone["insertion_random", 6 * order + step] == set(range(6)) - deleted[step - 1]
    assert len({frozenset(gone["deletion_random", 6 * order + 2]) for order in range(3)}) > 1
    assert len(pixels) == 1 + 4 * (6 + 5)


def test_twins_are_the_picture_drawn_without_their_objects():
    pixels = made(("counterfactual",), random_regions=2)
    assert list(pixels) == [("none", 0), ("twin", 0), ("control_twin", 0), ("random_region", 1), ("random_region", 2)]
    np.testing.assert_array_equal(pixels["twin", 0], np.asarray(drawn(red=BACKGROUND)))
    # areas 80, 88, 81: green is nearest to red
    np.testing.assert_array_equal(pixels["control_twin", 0], np.asarray(drawn(green=BACKGROUND)))


def test_each_object_of_a_twin_takes_the_colour_around_it():
    image = drawn()
    wall = np.where((np.arange(WIDTH) < 18)[None, :, None], np.uint8(20), np.asarray(image))
    masks = picture().masks
    scene = wall.copy()
    scene[masks["red"]], scene[masks["blue"]] = RED, BLUE
    made_by_hand = wall.copy()
    made_by_hand[masks["blue"]] = BACKGROUND
    made_by_hand[masks["red"]] = 20
    twin = perturbations.twin(Picture(scene, pd.DataFrame(), masks), ["red", "blue"])
    np.testing.assert_array_equal(twin, made_by_hand)


def test_without_enough_other_objects_the_control_twin_is_left_out():
    pixels = made(("counterfactual",), subject(targets=("red", "blue")), random_regions=1)
    assert list(pixels) == [("none", 0), ("twin", 0), ("random_region", 1)]
    np.testing.assert_array_equal(pixels["twin", 0], np.asarray(drawn(red=BACKGROUND, blue=BACKGROUND)))


def test_a_sample_without_a_target_has_no_counterfactual():
    assert list(made(("counterfactual",), subject(targets=()))) == [("none", 0)]


def test_a_random_region_has_the_targets_shape_and_leaves_the_target_alone():
    target = np.zeros((40, 60), dtype=bool)
    target[3:9, 5:8], target[8, 5:15] = True, True
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(50):
        moved = perturbations.moved(target, rng)
        rows, cols = (np.flatnonzero(moved.any(axis)) for axis in (1, 0))
        np.testing.assert_array_equal(moved[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1], target[3:9, 5:15])
        assert not (moved & target).any()
        places.add((rows[0], cols[0]))
    rows, cols = (np.array(values) for values in zip(*places, strict=True))
    assert len(places) > 40
    assert rows.max() > 28  # of 0 to 34
    assert cols.max() > 40  # of 0 to 50


def test_a_target_that_leaves_no_free_place_is_overlapped_least():
    target = box_mask((0, 0, 8, 5), 5, 10)
    moved = perturbations.moved(target, np.random.default_rng(0))
    np.testing.assert_array_equal(moved, box_mask((2, 0, 10, 5), 5, 10))
    whole = np.ones((4, 4), dtype=bool)
    np.testing.assert_array_equal(perturbations.moved(whole, np.random.default_rng(0)), whole)


def test_a_place_that_meets_the_target_is_no_control():
    """A target that fills most of the picture leaves no free place: rather none is painted than the target itself."""
    checks = Causal(random_regions=4)
    free = [part.kind for part in perturbations.counterfactuals(picture(), subject(), checks)]
    assert free.count("random_region") == 4
    wide = box_mask((0, 0, WIDTH - 2, HEIGHT - 2), HEIGHT, WIDTH)
    crowded = replace(picture(), masks={**picture().masks, "red": wide})
    kinds = [part.kind for part in perturbations.counterfactuals(crowded, subject(), checks)]
    assert kinds == ["twin", "control_twin"]


def test_knockouts_are_the_target_set_and_random_sets_of_its_size():
    own = subject(order=np.arange(64), target_cells=(3, 4, 11, 12, 60))
    sets = knocked_out_cells(own, Causal(random_sets=400))
    assert sets.shape == (401, 64)
    np.testing.assert_array_equal(np.flatnonzero(sets[0]), [3, 4, 11, 12, 60])
    assert (sets.sum(axis=1) == 5).all()
    # each cell is in 5 of 64 sets: 31 of 400, standard deviation 5.4
    assert abs(sets[1:].sum(axis=0) - 400 * 5 / 64).max() < 5 * 5.4


def test_random_draws_depend_on_the_seed_and_the_sample_alone():
    def draws(sample_id, seed=0):
        own = subject(sample_id, order=np.arange(64), target_cells=range(9))
        pixels = made(("deletion", "counterfactual"), own, (8, 8), seed=seed)
        random = [values for (kind, _), values in pixels.items() if "random" in kind]
        return np.stack(random), knocked_out_cells(own, Causal(seed=seed))

    first = draws("a")
    draws("b")
    for again, before in zip(draws("a"), first, strict=True):
        np.testing.assert_array_equal(again, before)
    for other in (draws("b"), draws("a", seed=1)):
        assert (other[0] != first[0]).any()
        assert (other[1][1:] != first[1][1:]).any()


def test_checks_do_not_change_each_others_draws():
    alone, together = made(("counterfactual",)), made(("occlusion", "deletion", "counterfactual"))
    for key, pixels in alone.items():
        np.testing.assert_array_equal(together[key], pixels)


def test_a_picture_is_read_with_its_masks_and_the_background_is_outside_all_objects(tmp_path):
    (tmp_path / "images").mkdir()
    drawn().save(tmp_path / "images/a.png")
    rows = [("a.png", name, *map(float, box)) for name, box in BOXES.items()]
    rows.append(("b.png", "red", 0.0, 0.0, 50.0, 30.0))
    objects = pd.DataFrame(rows, columns=["image", "object_id", "x_min", "y_min", "x_max", "y_max"])
    read = perturbations.read_picture(Study(tmp_path, pd.DataFrame(), objects), "a.png")
    np.testing.assert_array_equal(read.pixels, np.asarray(drawn()))
    assert read.objects["object_id"].tolist() == list(BOXES)
    for name, box in BOXES.items():
        np.testing.assert_array_equal(read.masks[name], box_mask(box, HEIGHT, WIDTH))
    assert tuple(read.background) == BACKGROUND
