"""The example study of photographs: pictures of scikit-image, boxes drawn by hand, answers that follow from boxes."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from attention_atlas.config import load_settings
from attention_atlas.inputs.controls import paraphrased
from attention_atlas.inputs.study import read_study
from PIL import Image
from scipy import ndimage
from skimage import data, filters, measure, segmentation

FOLDER = Path("data/photographs")
QUERY_TYPES = load_settings("config/config.yaml").model_dump(mode="json")["query_types"]
STUDY = read_study(FOLDER, QUERY_TYPES)
SAMPLES = STUDY.samples.set_index("sample_id", drop=False)
# Cut out of the picture of the same name; all others are whole.
CUTS = {"rocket.png": np.s_[:, 150:490]}


def pixels(image):
    with Image.open(FOLDER / "images" / image) as opened:
        return np.asarray(opened)


def asked(query_id):
    return [
        pytest.param(row, id=row["sample_id"]) for row in SAMPLES[SAMPLES["query_id"] == query_id].to_dict("records")
    ]


def targets(sample):
    """The target's rows in the order in which the sample names them."""
    rows = STUDY.targets(sample["sample_id"]).set_index("object_id", drop=False)
    return [rows.loc[name] for name in sample["target_object"].split("+") if name]


def centre(row):
    return (row["x_min"] + row["x_max"]) / 2, (row["y_min"] + row["y_max"]) / 2


def test_every_type_of_query_is_asked_and_every_image_is_of_one_split():
    assert set(STUDY.samples["query_type"]) == set(QUERY_TYPES)
    assert (STUDY.samples.groupby("image")["split"].nunique() == 1).all()
    assert set(STUDY.samples["split"]) == {"select", "evaluate"}
    assert set(STUDY.objects["image"]) == set(STUDY.samples["image"]) == {p.name for p in FOLDER.glob("images/*")}


@pytest.mark.parametrize("image", sorted(set(STUDY.samples["image"])))
def test_a_picture_is_that_of_scikit_image(image):
    original = getattr(data, image.removesuffix(".png"))()[CUTS.get(image, ...)].astype(int)
    # The rocket is a JPEG, and decoders of different versions may round differently; the rest is lossless.
    np.testing.assert_allclose(pixels(image), original, atol=2 if image == "rocket.png" else 0)


def test_boxes_of_coins_are_where_a_segmentation_finds_them():
    """Watershed on the gradient from dark and bright markers, as in scikit-image's own guide to segmentation."""
    grey = data.coins()
    markers = np.select([grey < 30, grey > 150], [1, 2])
    filled = ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(grey), markers) == 2)
    found = np.array([region.bbox for region in measure.regionprops(measure.label(filled)) if region.area > 300])
    drawn = STUDY.objects.loc[STUDY.objects["image"] == "coins.png", ["y_min", "x_min", "y_max", "x_max"]].to_numpy()
    assert len(found) == len(drawn) == 24
    farthest_edge = np.abs(drawn[:, None] - found[None]).max(axis=2)
    assert (farthest_edge.min(axis=1) <= 3).all()
    assert len(set(farthest_edge.argmin(axis=1))) == 24


@pytest.mark.parametrize("sample", asked("count"))
def test_a_count_is_that_of_the_targets(sample):
    assert int(sample["expected_answer"]) == len(targets(sample))


@pytest.mark.parametrize("sample", asked("colour"))
def test_a_colour_is_that_of_its_targets(sample):
    assert {target["colour"] for target in targets(sample)} == {sample["expected_answer"]}


@pytest.mark.parametrize("sample", asked("there"))
def test_what_is_asked_for_is_the_target_where_it_is_there(sample):
    labels = {target["label"] for target in targets(sample)} - {"stroke"}  # strokes are the handwriting
    assert all(label in sample["query"] for label in labels)
    assert bool(targets(sample)) == (sample["expected_answer"] == "yes")
    everything = STUDY.objects[STUDY.objects["image"] == sample["image"]]
    assert sum(everything["label"].isin(labels)) in (0, len(targets(sample)))


def test_each_picture_is_asked_for_what_is_there_and_for_what_is_not():
    there = SAMPLES[SAMPLES["query_id"] == "there"]
    assert (there.groupby("image")["expected_answer"].agg(sorted).map(tuple) == ("no", "yes")).all()


@pytest.mark.parametrize("sample", asked("beside"))
def test_a_side_is_that_of_the_centres(sample):
    first, second = targets(sample)
    distance = centre(first)[0] - centre(second)[0]
    assert abs(distance) > 0.1 * pixels(sample["image"]).shape[1]
    assert sample["expected_answer"] == ("left" if distance < 0 else "right")


@pytest.mark.parametrize("sample", asked("place"))
def test_a_place_is_the_ninth_of_the_picture_that_the_centre_is_in(sample):
    (target,) = targets(sample)
    height, width = pixels(sample["image"]).shape[:2]
    column = ("left", "", "right")[int(3 * centre(target)[0] / width)]
    row = ("top", "", "bottom")[int(3 * centre(target)[1] / height)]
    assert sample["expected_answer"] == (f"{row} {column}".strip() or "centre")


def test_the_pattern_that_the_docs_tell_gives_counts_another_wording_and_leaves_the_demo_alone():
    told = Path("docs/studies.md").read_text(encoding="utf-8")
    expression, wording = re.search(r"`(How many [^`]*\?): (How many [^`]*\?)`", told).groups()
    shipped = load_settings("config/config.yaml").controls.paraphrases
    more = {**shipped, expression: wording}
    assert paraphrased("How many spoons are in the image?", more) == "How many spoons can be seen?"
    for query in read_study(Path("data/shapes"), QUERY_TYPES, images=()).samples["query"].unique():
        assert paraphrased(query, more) == paraphrased(query, shipped)


def test_the_readme_names_every_picture():
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    with (FOLDER / "samples.csv").open(newline="", encoding="utf-8") as table:
        assert all(f"`{row['image']}`" in told for row in csv.DictReader(table))
