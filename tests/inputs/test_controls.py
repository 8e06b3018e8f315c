"""Control conditions of a study: rows worked out by hand, pictures drawn by the scene's own generator."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from attention_atlas.config import Controls, Settings
from attention_atlas.errors import AtlasError
from attention_atlas.inputs import conditions, controls, scenes
from attention_atlas.inputs.control_pictures import picture
from attention_atlas.inputs.study import BOX, Study
from PIL import Image, ImageColor

SETTINGS = Settings.model_validate({"runs": [{"study": "shapes", "model": "shapes-tiny"}]})
QUERY_TYPES = SETTINGS.model_dump(mode="json")["query_types"]
BACKGROUND = "#eaf2f8"
SHAPES = (
    scenes.Shape("circle", "red", 30, 40, 130, 140),
    scenes.Shape("star", "blue", 150, 40, 240, 130),
    scenes.Shape("square", "green", 300, 300, 400, 400),
)
ROWS = [
    ("a-q1", "a.png", "q1", "counting", "How many red shapes are in the image?", "1", "", "object_0", "select"),
    ("a-q3", "a.png", "q3", "recognition", "Is there a purple shape in the image?", "no", "", "", "select"),
    ("a-q7", "a.png", "q7", "spatial", "Where is it all?", "left", "", "object_0+object_1", "select"),
    ("b-q3", "b.png", "q3", "recognition", "Is there a red shape in the image?", "yes", "", "object_0", "evaluate"),
]
COLUMNS = ["sample_id", "image", "query_id", "query_type", "query", "expected_answer", "condition", "target_object"]


@pytest.fixture
def study(tmp_path):
    """Two images with three objects each, b.png smaller than a.png."""
    (tmp_path / "images").mkdir()
    drawn = scenes.draw_scene(scenes.Scene(BACKGROUND, SHAPES))
    drawn.save(tmp_path / "images/a.png")
    drawn.resize((224, 112)).save(tmp_path / "images/b.png")
    samples = pd.DataFrame(ROWS, columns=[*COLUMNS, "split"]).assign(line=range(2, 6))
    objects = pd.DataFrame(
        [
            {"image": image, "object_id": f"object_{n}", "label": shape.kind, "colour": shape.colour, "line": n}
            | dict(zip(BOX, np.divide((shape.x_min, shape.y_min, shape.x_max, shape.y_max), scale), strict=True))
            for image, scale in (("a.png", (1, 1, 1, 1)), ("b.png", (2, 4, 2, 4)))
            for n, shape in enumerate(SHAPES)
        ]
    )
    return Study(tmp_path, samples, objects)


def made(study, *wanted, images=("a.png", "b.png"), **settings):
    given = Controls(conditions=wanted, **settings)
    others = controls.donors(study.samples["image"], given.other_images, given.seed)
    return {row["sample_id"]: row for row in controls.control_rows(study.on(images), given, others)}


def test_every_sample_is_asked_of_a_blank_picture_and_of_the_other_images(study):
    rows = made(study, "blank", "other_image")
    assert set(rows) == {f"{row[0]}{end}" for row in ROWS for end in (".blank", ".other_image.1")}
    assert rows["a-q1.blank"] == {
        "sample_id": "a-q1.blank",
        "image": "blank:a.png",
        "query": "How many red shapes are in the image?",
        "query_id": "q1",
        "query_type": "counting",
        "condition": "blank",
    }
    assert rows["b-q3.other_image.1"]["image"] == "like:b.png:a.png"


def test_a_generic_query_is_asked_once_an_image(study):
    rows = made(study, "generic")
    assert {name: row["query"] for name, row in rows.items()} == dict.fromkeys(
        ("a-q1.generic", "b-q3.generic"), "Write a general description of the image."
    )


def test_a_paraphrase_is_that_of_the_expression_that_matches_the_whole_query(study):
    rows = made(study, "paraphrase")
    assert rows["a-q1.paraphrase"]["query"] == "How many red shapes are there?"
    assert rows["a-q3.paraphrase"]["query"] == "Does the image show a purple shape?"
    assert "a-q7.paraphrase" not in rows, "no expression matches"
    other = made(study, "paraphrase", paraphrases={"red": "blue", ".*(red|purple).*": r"\1?"})
    assert other["a-q1.paraphrase"]["query"] == "red?"


def test_a_twin_loses_its_targets_and_a_control_twin_as_many_others(study):
    rows = made(study, "twin", "control_twin")
    assert {name: row["image"] for name, row in rows.items()} == {
        "a-q1.twin": "without:a.png:object_0",
        "a-q1.control_twin": "without:a.png:object_2",  # of the same area as object_0
        "a-q7.twin": "without:a.png:object_0+object_1",  # and no control: one other object is left for two
        "b-q3.twin": "without:b.png:object_0",
        "b-q3.control_twin": "without:b.png:object_2",
    }


def test_the_picture_of_a_twin_is_the_scene_without_the_object(study):
    shown, name = picture(study, "without:a.png:object_1")
    rest = scenes.Scene(BACKGROUND, (SHAPES[0], SHAPES[2]))
    assert (np.asarray(shown) == np.asarray(scenes.draw_scene(rest))).all()
    assert name != picture(study, "without:a.png:object_0")[1]


def test_a_blank_picture_has_the_size_and_the_background_of_its_image(study):
    shown, _ = picture(study, "blank:a.png")
    assert shown.size == (scenes.SIZE, scenes.SIZE)
    assert set(shown.get_flattened_data()) == {ImageColor.getrgb(BACKGROUND)}


def test_another_image_comes_at_the_size_of_the_first(study):
    shown, _ = picture(study, "like:b.png:a.png")
    assert shown.size == (224, 112)
    own = Image.open(study.folder / "images/a.png").convert("RGB").resize((224, 112), Image.Resampling.BICUBIC)
    assert (np.asarray(shown) == np.asarray(own)).all()
    same, own_name = picture(study, "like:a.png:a.png")
    assert own_name == picture(study, "a.png")[1], "of the same size it is that image itself, encoded once"
    assert same.size == (scenes.SIZE, scenes.SIZE)


@pytest.mark.parametrize("name", ["a.png", "blank:a.png", "without:a.png:object_0+object_1", "like:b.png:a.png"])
def test_the_name_of_a_picture_tells_the_image_that_it_shows(name):
    assert conditions.image_of(name) == "a.png"


def test_other_images_are_drawn_evenly_and_one_more_changes_few_draws():
    images = [f"{number}.png" for number in range(40)]
    drawn = controls.donors(images, 4, seed=0)
    assert all(len(set(others)) == 4 and image not in others for image, others in drawn.items())
    assert set(pd.Series([other for others in drawn.values() for other in others]).value_counts()) == {4}
    more = controls.donors([*images, "new.png"], 4, seed=0)
    assert sum(more[image] != drawn[image] for image in images) == 4
    assert controls.donors(images, 4, seed=1) != drawn
    assert controls.donors(images[::-1], 4, seed=0) == drawn
    assert controls.donors(["alone.png"], 4, seed=0) == {"alone.png": ()}


@pytest.mark.parametrize(
    ("name", "condition", "source"),
    [
        ("a-q1.twin", "twin", "a-q1"),
        ("a-q1.other_image.12", "other_image", "a-q1"),
        ("a.twin.control_twin", "control_twin", "a.twin"),
        ("a.twin", "", "a.twin"),
        ("mine", "blank", "mine"),
    ],
)
def test_a_control_tells_the_sample_that_it_is_of(name, condition, source):
    assert conditions.source_of(name, condition) == source


def test_expected_answers_follow_from_what_was_done_to_the_picture(study):
    names = [
        *(("a-q1", ""), ("a-q1.twin", "twin"), ("a-q1.control_twin", "control_twin"), ("a-q1.blank", "blank")),
        *(("b-q3.twin", "twin"), ("a-q7.twin", "twin"), ("a-q3.paraphrase", "paraphrase")),
        *(("a-q1.generic", "generic"), ("a-q1.other_image.1", "other_image")),
    ]
    found = conditions.expected_answers(
        study.samples, pd.DataFrame(names, columns=["sample_id", "condition"]), QUERY_TYPES
    )
    assert found == {
        "a-q1": "1",
        "a-q1.twin": "0",
        "a-q1.control_twin": "1",
        "a-q1.blank": "",
        "b-q3.twin": "no",
        "a-q7.twin": "",
        "a-q3.paraphrase": "no",
        "a-q1.generic": "",
        "a-q1.other_image.1": "",
    }


def test_rows_of_a_study_that_name_a_condition_themselves_get_no_controls_and_keep_their_answers(study):
    study.samples.loc[0, "condition"] = "blank"
    assert not any(name.startswith("a-q1") for name in made(study, "blank", "twin", "paraphrase"))
    table = pd.DataFrame({"sample_id": ["a-q1"], "condition": ["blank"]})
    assert conditions.expected_answers(study.samples, table, QUERY_TYPES) == {"a-q1": "1"}
    assert controls.rows_with_random_weights(study.samples.to_dict("records"))[0]["sample_id"].startswith("a-q3.")


def test_the_digest_changes_with_what_controls_depend_on_and_with_nothing_else(study):
    others = controls.donors(study.samples["image"], 1, 0)
    first = controls.digest(study.on({"a.png"}), others)
    changed = []
    for table, column in (("samples", "query"), ("samples", "target_object"), ("objects", "x_max")):
        frame = getattr(study, table).copy()
        frame.loc[0, column] = frame.loc[0, column] * 2
        edited = Study(study.folder, **{"samples": study.samples, "objects": study.objects, table: frame})
        changed.append(controls.digest(edited.on({"a.png"}), others))
    changed.append(controls.digest(study.on({"a.png"}), {"a.png": ("c.png",)}))
    assert len({first, *changed}) == 5
    study.samples.loc[0, ["expected_answer", "split"]] = "2", ""
    study.samples.loc[3, "query"] = "of another image"
    study.objects["line"] += 1
    assert controls.digest(study.on({"a.png"}), others) == first
    assert len(first) == len(hashlib.sha256(b"").hexdigest()) // 4


def test_a_query_that_two_expressions_match_is_refused(study):
    both = {"How many .*": "x", ".*image.*": "y"}
    with pytest.raises(AtlasError, match=r"How many red shapes.*is matched by .* and .*; make them exclusive"):
        made(study, "paraphrase", paraphrases=both)
