"""Which samples the causal checks perturb: declared turns, counted by hand."""

import pandas as pd
import pytest
from attention_atlas.config import Causal
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.causal_samples import causal_samples
from attention_atlas.inputs.study import Study

DEFAULT = Causal()


def study_of(tmp_path, *rows):
    """Rows of (sample_id, image, query_type, target_object, condition)."""
    columns = ["sample_id", "image", "query_type", "target_object", "condition"]
    return Study(tmp_path, pd.DataFrame(rows, columns=columns), pd.DataFrame())


def test_the_types_take_turns_and_then_the_samples_within_them(tmp_path):
    rows = [
        (f"{image}-{name}", image, query_type, "object_0", "")
        for image in ("i", "h", "g", "f", "e", "d")  # the table's order counts, not that of names
        for name, query_type in (("c0", "counting"), ("s0", "spatial"), ("s1", "spatial"), ("c1", "counting"))
    ]
    assert causal_samples(study_of(tmp_path, *rows), DEFAULT) == ["i-c0", "h-s0", "g-c1", "f-s1", "e-c0", "d-s0"]


def test_a_type_that_an_image_has_no_targeted_sample_of_gives_its_turn_to_the_next(tmp_path):
    rows = [
        ("a-1", "a", "counting", "", ""),
        ("a-2", "a", "spatial", "object_0", ""),
        ("b-1", "b", "counting", "object_0", ""),
        ("b-2", "b", "recognition", "object_0", ""),
        ("c-1", "c", "counting", "object_0", ""),
    ]
    # counting, recognition, spatial: a has neither of the first two; c's turn is spatial, then counting again
    assert causal_samples(study_of(tmp_path, *rows), DEFAULT) == ["a-2", "b-2", "c-1"]


def test_images_without_a_target_have_no_sample_but_keep_their_number(tmp_path):
    rows = [
        ("a-1", "a", "counting", "", ""),
        ("b-1", "b", "counting", "object_0", ""),
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


def test_an_unknown_sample_is_refused_with_the_nearest_name(tmp_path):
    study = study_of(tmp_path, ("scene_001-q0", "a", "counting", "", ""), ("scene_002-q0", "b", "counting", "", ""))
    with pytest.raises(AtlasError, match=r"causal.samples: 'scene_02-q0'.*samples.csv.*'scene_002-q0'"):
        causal_samples(study, Causal(samples=("scene_001-q0", "scene_02-q0")))
