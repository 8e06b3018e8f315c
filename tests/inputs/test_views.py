"""A sample about several images is one question, and has a map, a target and a row of its own on each."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_atlas.analysis.targets import covers
from attention_atlas.analysis.transcript import judged
from attention_atlas.cli import app
from attention_atlas.config import Causal, Controls
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.causal_samples import causal_samples
from attention_atlas.inputs.controls import control_rows
from attention_atlas.inputs.shards import shard_of
from attention_atlas.inputs.study import OBJECT_COLUMNS, SAMPLE_COLUMNS, read_study
from attention_atlas.inputs.views import all_images, view_of
from attention_atlas.wiring import divided
from PIL import Image
from typer.testing import CliRunner

TYPES = {"recognition": {"answers": {"yes": (), "no": ()}, "needs_target": False, "without_target": "no"}}
SAMPLE = {"query_id": "q0", "query_type": "recognition", "query": "Same?", "expected_answer": "yes"}
BOX = {"label": "dog", "colour": "", "x_min": "0", "y_min": "0", "x_max": "20", "y_max": "20"}


def write(path, columns, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path):
    """One sample about a single image, one about two, whose targets are in both and in the second alone."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 40)).save(tmp_path / "images" / name)
    samples = [
        {**SAMPLE, "sample_id": "one", "image": "a.png", "target_object": "o1"},
        {**SAMPLE, "sample_id": "two", "image": "a.png|b.png", "target_object": "o1+o2"},
    ]
    objects = [
        {**BOX, "image": image, "object_id": name}
        for image, name in (("a.png", "o1"), ("b.png", "o1"), ("b.png", "o2"))
    ]
    write(tmp_path / "samples.csv", SAMPLE_COLUMNS, samples)
    write(tmp_path / "objects.csv", OBJECT_COLUMNS, objects)
    return tmp_path


def test_every_image_counts_once_where_a_study_is_told(folder):
    told = folder / "inventory.json"
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"runs": [{"study": "study", "model": "any"}], "query_types": TYPES}))
    arguments = ["validate", str(folder), "--settings", str(settings), "--output", str(told)]
    assert CliRunner().invoke(app, [*arguments, "--log", str(folder / "log")], catch_exceptions=False).exit_code == 0
    assert "2 samples of 2 images, 3 objects" in (folder / "log").read_text()
    assert json.loads(told.read_text())["images"] == 2
    assert all_images(["c.png", "a.png|b.png", "b.png"]) == {"a.png", "b.png", "c.png"}


def test_each_image_of_a_sample_has_its_own_row_with_the_targets_that_are_there(folder):
    study = read_study(folder, TYPES)
    assert study.samples["sample_id"].tolist() == ["one", "two"]
    found = study.views.samples[["sample_id", "query_id", "image", "target_object"]].values.tolist()
    assert found == [
        ["one", "q0", "a.png", "o1"],
        ["two", "q0", "a.png", "o1"],
        ["two.image_2", "q0.image_2", "b.png", "o1+o2"],
    ]


def test_a_study_of_single_images_is_its_own_views(folder):
    rows = [{**SAMPLE, "sample_id": "one", "image": "a.png"}]
    write(folder / "samples.csv", SAMPLE_COLUMNS, rows)
    study = read_study(folder, TYPES)
    assert study.views.samples is study.samples


def test_the_answer_is_judged_and_the_target_found_on_each_image(folder):
    study = read_study(folder, TYPES).views
    names = study.samples["sample_id"].tolist()
    samples = pd.DataFrame({"sample_id": names, "condition": "", "error": ""})
    tokens = pd.DataFrame({"sample_id": np.repeat(names, 2), "token_text": ["yes", "."] * 3})
    table = judged(study, samples, tokens, TYPES).set_index("sample_id")
    assert table["correct"].to_dict() == {"one": 1, "two": 1, "two.image_2": 1}
    node = xr.Dataset(
        {
            "attention": (("sample", "row", "col"), np.zeros((3, 2, 2))),
            "image": ("sample", study.samples["image"].to_numpy()),
            "image_height": ("sample", [40] * 3),
            "image_width": ("sample", [40] * 3),
        },
        coords={"sample": names},
    )
    np.testing.assert_allclose(covers(study, node), [[1, 0, 0, 0]] * 3)


def test_a_control_of_a_view_keeps_its_condition_last():
    assert view_of("two", "", 1) == "two"
    assert view_of("two", "", 2) == "two.image_2"
    assert view_of("two.random_weights", "random_weights", 2) == "two.image_2.random_weights"


def test_every_image_of_a_sample_is_checked(folder):
    (folder / "images" / "b.png").unlink()
    with pytest.raises(AtlasError, match=r"samples.csv, line 3: image 'b.png': .*there is no such file"):
        read_study(folder, TYPES)


def test_a_target_in_none_of_the_images_is_told(folder):
    rows = [{**SAMPLE, "sample_id": "two", "image": "a.png|b.png", "target_object": "o3"}]
    write(folder / "samples.csv", SAMPLE_COLUMNS, rows)
    with pytest.raises(AtlasError, match=r"target_object 'o3' is not an object of 'a.png\|b.png'"):
        read_study(folder, TYPES)


def test_samples_of_several_images_have_no_controls_and_no_causal_checks(folder):
    study = read_study(folder, TYPES)
    controls = Controls(conditions=("blank", "twin"))
    assert {row["sample_id"].split(".")[0] for row in control_rows(study, controls, {})} == {"one"}
    assert causal_samples(study, Causal()) == ["one"]
    with pytest.raises(AtlasError, match="'two' is about several images; name samples of one image alone"):
        causal_samples(study, Causal(samples=("two",)))


def test_a_shard_has_every_image_of_its_samples_and_the_objects_on_them(folder):
    shards = divided(read_study(folder, TYPES), 1000)
    assert {shard: part.samples["sample_id"].tolist() for shard, part in shards.items()} == {
        shard_of("a.png", 1000): ["one"],
        shard_of("a.png|b.png", 1000): ["two"],
    }
    both = shards[shard_of("a.png|b.png", 1000)].objects
    assert both[["image", "object_id"]].values.tolist() == [["a.png", "o1"], ["b.png", "o1"], ["b.png", "o2"]]
    assert shards[shard_of("a.png", 1000)].objects["image"].tolist() == ["a.png"]


def test_the_shard_of_a_single_sample_goes_by_its_number(folder):
    """pandas gives the groups of a list of length one tuples as names."""
    write(
        folder / "samples.csv", SAMPLE_COLUMNS, [{**SAMPLE, "sample_id": "one", "image": "a.png", "target_object": ""}]
    )
    (shard, part), *others = divided(read_study(folder, TYPES), 1000).items()
    assert (shard, others) == (shard_of("a.png", 1000), [])
    assert part.samples["sample_id"].tolist() == ["one"]


def test_a_sample_called_as_another_ones_view_is_refused(folder):
    rows = [
        {**SAMPLE, "sample_id": "two", "image": "a.png|b.png"},
        {**SAMPLE, "sample_id": "two.image_2", "image": "a.png"},
    ]
    write(folder / "samples.csv", SAMPLE_COLUMNS, rows)
    with pytest.raises(AtlasError, match=r"line 2: image 2 of this sample is called 'two.image_2', as line 3 is"):
        read_study(folder, TYPES)


def test_a_view_of_a_row_with_a_condition_of_its_own_is_called_as_in_the_maps(folder):
    rows = [{**SAMPLE, "sample_id": "s.swapped", "image": "a.png|b.png", "condition": "swapped"}]
    write(folder / "samples.csv", SAMPLE_COLUMNS, [{**SAMPLE, "sample_id": "s", "image": "a.png"}, *rows])
    names = read_study(folder, TYPES).views.samples["sample_id"].tolist()
    assert names == ["s", "s.swapped", view_of("s.swapped", "swapped", 2)]
