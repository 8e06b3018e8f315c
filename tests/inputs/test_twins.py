"""Control twins against brute force over sets of objects, and closed forms."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from attention_atlas.inputs import twins
from attention_atlas.inputs.twins import control_objects


def table(areas):
    """Objects named a, b, c, ... with boxes of the given areas."""
    names = [chr(ord("a") + number) for number in range(len(areas))]
    return pd.DataFrame({"object_id": names, "x_min": 1.0, "y_min": 2.0, "x_max": 2.0, "y_max": 2.0 + np.array(areas)})


@pytest.mark.parametrize("seed", range(20))
def test_no_other_set_is_nearer_in_total_area(seed):
    rng = np.random.default_rng(seed)
    objects = table(rng.integers(1, 50, size=8))
    area = dict(zip(objects["object_id"], objects["y_max"] - 2.0, strict=True))
    targets = list(rng.choice(objects["object_id"], size=rng.integers(1, 5), replace=False))
    found = control_objects(objects, targets)

    def distance(names):
        return abs(sum(area[name] for name in names) - sum(area[name] for name in targets))

    others = [name for name in objects["object_id"] if name not in targets]
    assert len(set(found)) == len(targets)
    assert set(found) <= set(others)
    assert distance(found) == min(distance(names) for names in combinations(others, len(targets)))


def test_of_equally_near_sets_the_first_in_the_tables_order_is_taken():
    assert control_objects(table([5, 7, 3, 7]), ["a"]) == ["b"]
    assert control_objects(table([10, 1, 9, 4, 6, 10]), ["a", "f"]) == ["c", "e"]
    assert control_objects(table([4, 4, 4, 4]), ["d", "b"]) == ["a", "c"]


def test_too_few_other_objects_have_no_control():
    assert control_objects(table([5, 5, 5]), ["a", "b"]) is None
    assert control_objects(table([5]), ["a"]) is None
    assert control_objects(table([5, 5, 5, 1]), ["a", "b"]) == ["c", "d"]


def test_the_area_is_that_of_the_box_in_both_directions():
    objects = pd.DataFrame(
        {
            "object_id": ["a", "tall", "same"],
            "x_min": [0.0, 0.0, 10.0],
            "y_min": [0.0, 0.0, 20.0],
            "x_max": [4.0, 4.0, 12.0],
            "y_max": [3.0, 9.0, 26.0],
        }
    )
    assert control_objects(objects, ["a"]) == ["same"]


def test_with_too_many_sets_each_target_takes_the_nearest_object_that_is_left(monkeypatch):
    objects = table([10, 11, 12, 30, 29, 100])
    assert control_objects(objects, ["a", "b"]) == ["c", "e"]  # 41 of 21: nearer than any other two
    monkeypatch.setattr(twins, "MOST_SETS", 5)
    assert control_objects(objects, ["a", "b"]) == ["c", "e"]
    assert control_objects(objects, ["a", "d"]) == ["b", "e"]
    assert control_objects(objects, ["b", "c", "f"]) == ["a", "d", "e"]
    assert control_objects(table([30, 10, 11, 29, 90, 91]), ["a", "b"]) == ["c", "d"]  # the table's order


def test_a_crowded_picture_is_answered_at_once():
    assert len(control_objects(table(range(1, 101)), [chr(ord("a") + number) for number in range(40)])) == 40
