"""Which samples the causal checks perturb: declared turns, counted by hand."""

import pandas as pd
import pytest
from attention_atlas.config import Causal
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.causal_samples import causal_samples
from attention_atlas.inputs.study import Study

DEFAULT = Causal()


def study_of(tmp_path, *rows):
    """Rows of (sample_id, image, query_type, target_object, condition); the query is what the id ends in."""
    columns = ["sample_id", "image", "query_type", "target_object", "condition"]
    samples = pd.DataFrame(rows, columns=columns)
    return Study(tmp_path, samples.assign(query_id=samples["sample_id"].str.split("-").str[-1]), pd.DataFrame())


def test_types_and_the_queries_within_them_are_chosen_evenly_however_the_study_repeats(tmp_path):
    """Every fourth image has another design, as in the demo, and every query must have its share all the same."""
    rows = [
        (f"{number:02d}-{name}", f"{number:02d}.png", query_type, "object_0" if number % 4 in targeted else "", "")
        for number in range(48)
        for name, query_type, targeted in (
            *(("q0", "counting", range(4)), ("q3", "recognition", (0, 1)), ("q4", "recognition", (0, 2))),
            *(("q6", "spatial", range(4)), ("q7", "spatial", range(4))),
        )
    ]
    chosen = causal_samples(study_of(tmp_path, *rows), DEFAULT)
    assert [name.split("-")[0] for name in chosen] == [f"{number:02d}" for number in range(48)], (
        "one an image, in order"
    )
    counts = pd.Series([name.split("-")[1] for name in chosen]).value_counts()
    assert 15 <= counts["q0"] <= 17
    assert abs(counts["q3"] - counts["q4"]) <= 3
    assert abs(counts["q6"] - counts["q7"]) <= 1
    assert 14 <= counts["q3"] + counts["q4"] <= 17


def test_the_order_of_the_table_changes_no_choice(tmp_path):
    rows = [
        (f"{image}-{name}", image, name, "object_0", "") for image in "abcdefgh" for name in ("counting", "spatial")
    ]
    assert set(causal_samples(study_of(tmp_path, *rows), DEFAULT)) == set(
        causal_samples(study_of(tmp_path, *rows[::-1]), DEFAULT)
    )


def test_images_without_a_target_have_no_sample(tmp_path):
    rows = [
        ("a-1", "a", "counting", "", ""),
        ("b-1", "b", "counting", "", ""),
        ("b-2", "b", "spatial", "object_0", ""),
    ]
    assert causal_samples(study_of(tmp_path, *rows), DEFAULT) == ["b-2"]
    assert causal_samples(study_of(tmp_path, rows[0]), DEFAULT) == []


def test_controls_take_no_turn(tmp_path):
    rows = [("t-1", "t", "counting", "object_0", "twin"), ("a-1", "a", "spatial", "object_0", "")]
    assert causal_samples(study_of(tmp_path, *rows), DEFAULT) == ["a-1"]


def test_samples_that_the_settings_name_are_those_perturbed(tmp_path):
    study = study_of(tmp_path, ("a-1", "a", "counting", "", ""), ("a-2", "a", "spatial", "object_0", "twin"))
    assert causal_samples(study, Causal(samples=("a-2", "a-1", "a-2"))) == ["a-2", "a-1"]


def test_a_study_without_any_sample_named_has_one_an_image(tmp_path):
    """The settings are those of all studies, and may name samples of another one."""
    study = study_of(tmp_path, ("a-1", "a", "counting", "object_0", ""), ("b-1", "b", "counting", "object_0", ""))
    assert causal_samples(study, Causal(samples=("b-1", "of another study"))) == ["b-1"]
    assert causal_samples(study, Causal(samples=("of another study",))) == ["a-1", "b-1"]


def test_a_named_sample_of_several_images_is_refused(tmp_path):
    study = study_of(tmp_path, ("a-1", "a|b", "counting", "object_0", ""))
    with pytest.raises(AtlasError, match=r"causal\.samples: 'a-1' is about several images"):
        causal_samples(study, Causal(samples=("a-1",)))
