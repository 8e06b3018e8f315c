"""The demo study: reproducible, balanced, and with answers that its objects determine."""

import collections
import csv
from pathlib import Path

import pytest
from attention_atlas.inputs import scenes, shapes_study

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "data" / "shapes"
SEED = 2026


def rows(path):
    with path.open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


SAMPLES = rows(COMMITTED / "samples.csv")
OBJECTS = collections.defaultdict(list)
for row in rows(COMMITTED / "objects.csv"):
    OBJECTS[row["image"]].append(row)


def of_query(query_id):
    return [row for row in SAMPLES if row["query_id"] == query_id]


def centre(row):
    return (int(row["x_min"]) + int(row["x_max"])) / 2, (int(row["y_min"]) + int(row["y_max"])) / 2


def targets(sample):
    wanted = sample["target_object"].split("+") if sample["target_object"] else []
    return [row for row in OBJECTS[sample["image"]] if row["object_id"] in wanted]


@pytest.mark.parametrize("table", ["samples.csv", "objects.csv"])
def test_the_generator_writes_the_committed_bytes(table, tmp_path):
    shapes_study.write_study(tmp_path, SEED)
    assert (tmp_path / table).read_bytes() == (COMMITTED / table).read_bytes()


def test_drawing_gives_the_committed_pixels(tmp_path):
    (tmp_path / "objects.csv").write_bytes((COMMITTED / "objects.csv").read_bytes())
    scenes.draw_study(tmp_path)
    for folder in ("images", "masks"):
        drawn = sorted((tmp_path / folder).iterdir())
        assert [p.name for p in drawn] == sorted(p.name for p in (COMMITTED / folder).iterdir())
        assert all(p.read_bytes() == (COMMITTED / folder / p.name).read_bytes() for p in drawn)


def test_every_scene_is_asked_the_eight_questions():
    asked = collections.Counter((row["image"], row["query_id"]) for row in SAMPLES)
    assert len(OBJECTS) == 48
    assert asked == {(image, f"q{q}"): 1 for image in OBJECTS for q in range(8)}


def test_purple_and_red_are_present_in_equal_quarters():
    quarters = collections.Counter(
        tuple(any(row["colour"] == colour for row in objects) for colour in ("purple", "red"))
        for objects in OBJECTS.values()
    )
    assert quarters == {(purple, red): 12 for purple in (True, False) for red in (True, False)}


@pytest.mark.parametrize("query_id", ["q3", "q4", "q5"])
def test_yes_and_no_are_equally_frequent(query_id):
    assert collections.Counter(row["expected_answer"] for row in of_query(query_id)) == {"yes": 24, "no": 24}


def test_left_and_right_are_equally_frequent():
    assert collections.Counter(row["expected_answer"] for row in of_query("q6")) == {"left": 24, "right": 24}


def test_scenes_hold_two_to_six_objects():
    assert {len(objects) for objects in OBJECTS.values()} == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("sample", of_query("q0") + of_query("q1"), ids=lambda s: s["sample_id"])
def test_counts_are_those_of_the_objects(sample):
    colours = [colour for colour in scenes.COLOURS if colour in sample["query"]]
    counted = [row for row in OBJECTS[sample["image"]] if not colours or row["colour"] in colours]
    assert int(sample["expected_answer"]) == len(counted)
    assert targets(sample) == counted


@pytest.mark.parametrize("sample", of_query("q2"), ids=lambda s: s["sample_id"])
def test_the_colour_asked_for_is_of_the_only_shape_of_its_kind(sample):
    (shape,) = [row for row in OBJECTS[sample["image"]] if row["label"] in sample["query"]]
    assert sample["expected_answer"] == shape["colour"]
    assert targets(sample) == [shape]


@pytest.mark.parametrize("sample", of_query("q3") + of_query("q4") + of_query("q5"), ids=lambda s: s["sample_id"])
def test_presence_is_what_the_objects_say(sample):
    colour = next(colour for colour in scenes.COLOURS if colour in sample["query"])
    kinds = [kind for kind in scenes.KINDS if kind in sample["query"]] or list(scenes.KINDS)
    found = [row for row in OBJECTS[sample["image"]] if row["colour"] == colour and row["label"] in kinds]
    assert (sample["expected_answer"] == "yes") == bool(found)
    assert targets(sample) == found


@pytest.mark.parametrize("sample", of_query("q6"), ids=lambda s: s["sample_id"])
def test_the_side_is_that_of_the_centres(sample):
    first, second = sorted(targets(sample), key=lambda row: sample["query"].index(f"{row['colour']} {row['label']}"))
    distance = centre(first)[0] - centre(second)[0]
    assert abs(distance) >= 60
    assert sample["expected_answer"] == ("left" if distance < 0 else "right")


@pytest.mark.parametrize("sample", of_query("q7"), ids=lambda s: s["sample_id"])
def test_the_place_is_clear_of_the_borders_between_places(sample):
    (target,) = targets(sample)
    same_name = [
        r for r in OBJECTS[sample["image"]] if (r["colour"], r["label"]) == (target["colour"], target["label"])
    ]
    assert same_name == [target]
    x, y = centre(target)
    assert all(abs(at - border) >= 24 for at in (x, y) for border in (448 / 3, 896 / 3))
    column = "left" if x < 448 / 3 else "right" if x > 896 / 3 else ""
    row = "top" if y < 448 / 3 else "bottom" if y > 896 / 3 else ""
    assert sample["expected_answer"] == (f"{row} {column}".strip() or "centre")
