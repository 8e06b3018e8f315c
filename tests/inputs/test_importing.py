"""Importing COCO annotations and tables of questions: rows worked out by hand, nothing dropped without being told."""

import csv
import json
import os
from pathlib import Path

import pytest
import yaml
from attention_atlas.cli import app
from attention_atlas.config import load_settings
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.coco import Choice, import_coco
from attention_atlas.inputs.importing import divided_by_image, safe_names, write_imported
from attention_atlas.inputs.query_templates import check_templates, read_templates
from attention_atlas.inputs.question_tables import import_table, parse_columns
from attention_atlas.inputs.study import read_study
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

CONFIG = "config/config.yaml"
QUERY_TYPES = load_settings(CONFIG).model_dump(mode="json")["query_types"]
WIDTH, HEIGHT = 20, 10
HOW_MANY = {
    "query_id": "how_many",
    "query_type": "counting",
    "query": "How many {plural} are there?",
    "for_each": "label",
    "expected_answer": "{count}",
}
PRESENT = {
    "query_id": "is_there",
    "query_type": "recognition",
    "query": "Is there {a_label} here?",
    "for_each": "label",
    "expected_answer": "yes",
}
ABSENT = {key: value for key, value in PRESENT.items() if key != "expected_answer"} | {"absent": True}
WHERE = {"query_id": "where", "query_type": "spatial", "query": "Where is the {label}?", "for_each": "object"}
EVERYTHING = {
    "query_id": "all",
    "query_type": "counting",
    "query": "How many things?",
    "expected_answer": "{count}",
}


def annotation(image, category, bbox, **more):
    return {"image_id": image, "category_id": category, "bbox": bbox, "iscrowd": 0, **more}


# a.png: two dogs and an apple; b.png: an apple, a hot dog; c.png: nothing
ANNOTATIONS = (
    annotation(1, 18, [1, 2, 4, 3], id=11, area=12),
    annotation(1, 18, [6.5, 0, 3.25, 10], id=12),
    annotation(1, 53, [10, 1, 5, 5], id=13, segmentation=[[10, 1, 15, 1, 15, 4, 10, 4]]),
    annotation(2, 53, [0, 0, 5, 5], id=14),
    annotation(2, 58, [10, 0, 10, 10], id=15),
)


POLYGON = [annotation(1, 18, [1, 1, 4, 4], segmentation=[[1, 1, 9e4, 1, 9e4, 9e4]])]


def image_of(number, name):
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}


def coco_of(annotations=ANNOTATIONS, **changes):
    return {
        "images": [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(("a.png", "b.png", "c.png"), start=1)
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 53, "name": "apple"}, {"id": 58, "name": "hot dog"}],
        "annotations": list(annotations),
        **changes,
    }


@pytest.fixture
def source(tmp_path):
    """A folder with three pictures of 20 x 10 px."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("a.png", "red"), ("b.png", "green"), ("c.png", "blue")):
        Image.new("RGB", (WIDTH, HEIGHT), colour).save(folder / name)
    return folder


@pytest.fixture
def make(tmp_path, source):
    """Import COCO content with templates; returns what was imported."""

    def run(content, *queries, **choice):
        (tmp_path / "coco.json").write_text(json.dumps(content))
        (tmp_path / "queries.yaml").write_text(yaml.safe_dump(list(queries)))
        templates = read_templates(tmp_path / "queries.yaml")
        output = tmp_path / "data" / "study"
        return import_coco(tmp_path / "coco.json", source, templates, QUERY_TYPES, output, Choice(**choice))

    return run


def told(made):
    return dict(made.told)


def asked(made, *columns):
    return [tuple(row[column] for column in columns) for row in made.samples]


def test_the_rows_of_a_small_file_are_those_worked_out_by_hand(make):
    made = make(coco_of(), HOW_MANY, {**ABSENT, "labels": ["dog"]})
    columns = ("sample_id", "query", "expected_answer", "target_object", "split")
    assert asked(made, *columns) == [
        ("a-how_many-dog", "How many dogs are there?", "2", "object_0+object_1", "select"),
        ("a-how_many-apple", "How many apples are there?", "1", "object_2", "select"),
        ("b-how_many-apple", "How many apples are there?", "1", "object_0", "evaluate"),
        ("b-how_many-hot_dog", "How many hot dogs are there?", "1", "object_1", "evaluate"),
        ("b-is_there-dog", "Is there a dog here?", "no", "", "evaluate"),
        ("c-is_there-dog", "Is there a dog here?", "no", "", "select"),
    ]
    boxes = [tuple(row[name] for name in ("label", "x_min", "y_min", "x_max", "y_max")) for row in made.objects]
    assert boxes == [
        ("dog", "1", "2", "5", "5"),
        ("dog", "6.5", "0", "9.75", "10"),
        ("apple", "10", "1", "15", "6"),
        ("apple", "0", "0", "5", "5"),
        ("hot dog", "10", "0", "20", "10"),
    ]
    assert [row["area"] for row in made.objects] == ["12", "", "", "", ""]
    assert told(made) == {}


def test_an_imported_study_passes_every_check_of_a_study(make, source, tmp_path):
    made = make(coco_of(), HOW_MANY, PRESENT, ABSENT, WHERE, EVERYTHING)
    write_imported(made, source, tmp_path / "study")
    study = read_study(tmp_path / "study", QUERY_TYPES)
    assert len(study.samples) == len(made.samples)
    assert study.samples["image"].nunique() == 3
    assert study.objects["mask"].tolist() == ["", "", "a-object_2.png", "", ""]
    with Image.open(tmp_path / "study/masks/a-object_2.png") as mask:
        assert (mask.mode, mask.size, mask.getbbox(), mask.histogram()[255]) == ("1", (20, 10), (10, 1, 15, 4), 15)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_choice(make, source, tmp_path):
    names = [f"{number}.png" for number in range(12)]
    for name in names:
        Image.new("RGB", (WIDTH, HEIGHT), "white").save(source / name)
    images = [{"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT} for k, name in enumerate(names)]
    boxes = [annotation(k, category, [k, 0, 4, 4]) for k in range(12) for category in (18, 53)]
    written = {}
    for folder, seed in (("one", 3), ("again", 3), ("other", 4)):
        made = make(coco_of(boxes, images=images), {**PRESENT, "most_per_image": 1}, most_images=5, seed=seed)
        assert len(made.samples) == 5
        assert told(made)["images left out: beyond the most images"] == 7
        assert told(made)["questions of is_there left out: beyond most_per_image"] == 5
        write_imported(made, source, tmp_path / folder)
        files = sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file())
        written[folder] = {path.relative_to(tmp_path / folder): path.read_bytes() for path in files}
    assert written["one"] == written["again"]
    assert written["one"] != written["other"]


def test_another_seed_draws_other_images_in_the_files_order_and_other_questions(make, source):
    names = [f"{number:02d}.png" for number in range(12)]
    for name in names:
        Image.new("RGB", (WIDTH, HEIGHT), "white").save(source / name)
    images = [{"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT} for k, name in enumerate(names)]
    content = coco_of([annotation(k, c, [k, 0, 4, 4]) for k in range(12) for c in (18, 53)], images=images)
    chosen = [[row["image"] for row in make(content, EVERYTHING, most_images=5, seed=k).samples] for k in range(3)]
    assert all(images == sorted(images) for images in chosen)
    assert len({tuple(images) for images in chosen}) == 3
    drawn = [asked(make(content, {**PRESENT, "most_per_image": 1}, seed=k), "query") for k in range(3)]
    assert len({tuple(queries) for queries in drawn}) == 3


def test_a_segmentation_that_holds_no_pixels_centre_leaves_the_box(make):
    made = make(coco_of([annotation(1, 18, [1, 1, 4, 4], segmentation=[[1, 1, 1.2, 1, 1, 1.2]])]), PRESENT)
    assert [row["mask"] for row in made.objects] == [""]
    assert told(made) == {
        "images left out: no query fits": 2,
        "masks left out: no pixel's centre inside": 1,
    }


def test_the_demo_study_written_as_coco_comes_back_with_its_boxes_and_labels(make, source):
    with Path("data/shapes/objects.csv").open(encoding="utf-8", newline="") as file:
        objects = [row for row in csv.DictReader(file) if row["image"] < "scene_004.png"]
    names = sorted({row["image"] for row in objects})
    labels = sorted({row["label"] for row in objects})
    for name in names:
        Image.new("RGB", (448, 448), "white").save(source / name)
    content = {
        "images": [{"id": name, "file_name": name, "width": 448, "height": 448} for name in names],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels)],
        "annotations": [
            {
                "image_id": row["image"],
                "category_id": labels.index(row["label"]),
                "bbox": [x := int(row["x_min"]), y := int(row["y_min"]), int(row["x_max"]) - x, int(row["y_max"]) - y],
                "attributes": {"colour": row["colour"]},
            }
            for row in objects
        ],
    }
    kept = ("image", "object_id", "label", "colour", "x_min", "y_min", "x_max", "y_max")
    made = make(content, EVERYTHING)
    assert [[row[name] for name in kept] for row in made.objects] == [[row[name] for name in kept] for row in objects]
    counts = [str(sum(row["image"] == name for row in objects)) for name in names]
    assert asked(made, "expected_answer") == [(count,) for count in counts]


def test_the_questions_of_an_image_do_not_change_when_others_join(make):
    query = {**PRESENT, "most_per_image": 1}
    few = make(coco_of(ANNOTATIONS[:3]), query)
    assert few.samples == make(coco_of(), query).samples[:1]


def test_a_box_that_reaches_outside_is_clipped_and_counted_but_rounding_is_not(make):
    boxes = [annotation(1, 18, [-2, 8, 5, 4]), annotation(2, 18, [10, 0, 10.0004, 10])]
    made = make(coco_of(boxes), HOW_MANY)
    assert [tuple(row[name] for name in ("x_min", "y_min", "x_max", "y_max")) for row in made.objects] == [
        ("0", "8", "3", "10"),
        ("10", "0", "20", "10"),
    ]
    assert told(made)["boxes clipped to their image"] == 1


def test_a_crowd_is_no_object_and_leaves_numbers_and_targets_open(make):
    crowd = annotation(1, 18, [0, 0, 20, 5], iscrowd=1)
    presence = {**PRESENT, "target": "none"}
    made = make(coco_of([*ANNOTATIONS[:3], crowd]), HOW_MANY, presence, ABSENT, WHERE)
    assert asked(made, "sample_id", "target_object") == [
        ("a-how_many-apple", "object_2"),
        ("a-is_there-dog", ""),
        ("a-is_there-apple", ""),
        ("a-is_there-hot_dog", ""),
        ("a-where-object_2", "object_2"),
        *((f"{image}-is_there-{label}", "") for image in "bc" for label in ("dog", "apple", "hot_dog")),
    ]
    assert told(made) == {
        "boxes left out: crowds": 1,
        "questions of how_many left out: a crowd, or a box without area, leaves the number open": 1,
        "questions of where left out: the object is not the only one of its label": 2,
    }
    assert len(make(coco_of([crowd]), PRESENT, ABSENT).samples) == 2 + 3 + 3


def test_a_crowd_that_is_kept_is_part_of_targets_but_still_not_of_numbers(make):
    crowd = annotation(1, 18, [0, 0, 20, 5], iscrowd=1)
    made = make(coco_of([*ANNOTATIONS[:3], crowd]), HOW_MANY, PRESENT, WHERE, keep_crowds=True)
    assert asked(made, "sample_id", "target_object") == [
        ("a-how_many-apple", "object_2"),
        ("a-is_there-dog", "object_0+object_1+object_3"),
        ("a-is_there-apple", "object_2"),
        ("a-where-object_2", "object_2"),
    ]
    assert [row["iscrowd"] for row in made.objects] == [0, 0, 0, 1]


@pytest.mark.parametrize(("keep_crowds", "about_crowds"), [(True, 1), (False, 0)])
def test_no_question_is_about_one_crowd_nor_names_the_one_object_beside_it(make, keep_crowds, about_crowds):
    boxes = [annotation(1, 18, [0, 0, 2, 2]), annotation(1, 18, [0, 0, 20, 5], iscrowd=1)]
    unnamed = {**WHERE, "query_id": "what", "query": "Where is it?"}
    made = make(coco_of(boxes), WHERE, unnamed, keep_crowds=keep_crowds)
    assert asked(made, "sample_id") == [("a-what-object_0",)]
    assert told(made)["questions of where left out: the object is not the only one of its label"] == 1
    assert made.told["questions of what left out: the object is a crowd"] == about_crowds


@pytest.mark.parametrize("bbox", [[3, 3, 0, 4], [25, 0, 5, 5], [3, 3, -2, 4]])
def test_a_box_without_area_is_left_out_and_its_label_is_neither_counted_nor_absent(make, bbox):
    made = make(coco_of([annotation(1, 53, [0, 0, 2, 2]), annotation(1, 18, bbox)]), HOW_MANY, ABSENT)
    assert asked(made, "sample_id")[:2] == [("a-how_many-apple",), ("a-is_there-hot_dog",)]
    assert told(made)["boxes left out: no area inside their image"] == 1


def test_an_object_is_asked_about_only_where_its_name_means_no_other(make):
    made = make(coco_of(), WHERE)
    assert asked(made, "sample_id", "query") == [
        ("a-where-object_2", "Where is the apple?"),
        ("b-where-object_0", "Where is the apple?"),
        ("b-where-object_1", "Where is the hot dog?"),
    ]


def test_colours_of_attributes_are_asked_for_where_they_are_known(make):
    query = {**WHERE, "query_type": "attribute", "query": "What colour is it?", "expected_answer": "{colour}"}
    boxes = [annotation(1, 18, [0, 0, 2, 2], attributes={"color": "red"}), annotation(1, 53, [3, 3, 2, 2])]
    made = make(coco_of(boxes), query)
    assert asked(made, "sample_id", "expected_answer") == [("a-where-object_0", "red")]
    assert [row["colour"] for row in made.objects] == ["red", ""]
    assert told(made)["questions of where left out: the object has no colour"] == 1


def test_an_answer_outside_the_vocabulary_is_left_out_and_counted(make):
    boxes = [annotation(1, 18, [k % 10, 0, 2, 2]) for k in range(21)] + [annotation(2, 18, [0, 0, 2, 2])]
    made = make(coco_of(boxes), HOW_MANY)
    assert asked(made, "expected_answer") == [("1",)]
    assert told(made)["questions of how_many left out: the answer is not in the vocabulary of counting"] == 1


def test_a_question_of_an_image_is_about_all_of_its_labels(make):
    animals = {**EVERYTHING, "query_id": "two", "labels": ["dog", "hot dog"]}
    none = {**EVERYTHING, "query_id": "two", "labels": ["dog", "hot dog"], "absent": True}
    made = make(coco_of(), EVERYTHING, animals, none)
    assert asked(made, "sample_id", "expected_answer", "target_object") == [
        ("a-all", "3", "object_0+object_1+object_2"),
        ("a-two", "2", "object_0+object_1"),
        ("b-all", "2", "object_0+object_1"),
        ("b-two", "1", "object_1"),
        ("c-two", "0", ""),
    ]


def test_plurals_are_as_the_entry_says(make):
    made = make(coco_of(), {**HOW_MANY, "plurals": {"dog": "huskies"}})
    assert asked(made, "query")[:2] == [("How many huskies are there?",), ("How many apples are there?",)]


def test_the_queries_of_the_documentation_are_in_order(tmp_path):
    text = Path("docs/studies.md").read_text(encoding="utf-8")
    start = "- query_id:"
    (tmp_path / "queries.yaml").write_text(start + text.partition(f"```yaml\n{start}")[2].partition("```")[0])
    templates = read_templates(tmp_path / "queries.yaml")
    assert [template.query_id for template in templates] == ["how_many", "is_there", "is_there", "where"]
    assert list(check_templates(templates, QUERY_TYPES, ["dog", "person"])) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({**HOW_MANY, "query_type": "countin"}, "unknown query_type 'countin'. Did you mean 'counting'?"),
        ({**HOW_MANY, "query": "How many {labl}?"}, "unknown placeholder {labl} for_each label. Did you mean 'label'?"),
        ({**HOW_MANY, "query": "How many {label:s}?"}, "write the placeholder {label} without ':' and '!'"),
        ({**HOW_MANY, "query": "How many {label?"}, "expected '}' before end of string"),
        ({**HOW_MANY, "quary": "x"}, "unknown setting. Did you mean 'query'?"),
        ({**HOW_MANY, "labels": ["dgo"]}, "unknown label 'dgo'. Did you mean 'dog'?"),
        ({**HOW_MANY, "expected_answer": "fiv"}, "'fiv' is no answer of 'counting'."),
        ({**PRESENT, "expected_answer": True}, "True is not a text (yes, no, on and off"),
        ({**HOW_MANY, "target": "object"}, "target 'object' for_each label; give label, all, none"),
        ({**ABSENT, "target": "label"}, "absent: true asks for what is not there"),
        ({**WHERE, "absent": True}, "absent: true asks for what is not there"),
        ({**EVERYTHING, "absent": True}, "absent: true for_each image needs the labels"),
        ({**WHERE, "target": "none"}, "query type 'spatial' needs a target"),
        ({**HOW_MANY, "query_id": "how many"}, "queries.1.query_id"),
        ({**EVERYTHING}, "query 1 has this query_id too"),
    ],
)
def test_a_queries_file_is_refused_with_the_entry_and_the_nearest_name(make, query, problem):
    with pytest.raises(AtlasError) as caught:
        make(coco_of(), EVERYTHING, query)
    message = str(caught.value)
    assert problem in message
    assert "query 2 " in message or "queries.1" in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "must hold a mapping with images, annotations and categories"),
        ({"images": []}, "categories: is missing"),
        (coco_of([annotation(9, 18, [0, 0, 1, 1])]), "annotations.0: image_id 9 is no id of images"),
        (coco_of([annotation(1, 9, [0, 0, 1, 1])]), "annotations.0: category_id 9 is no id of categories"),
        (coco_of([annotation(1, 18, [0, 0, 1])]), "annotations.0.bbox"),
        (coco_of([annotation(1, 18, [0, 0, 1, float("nan")])]), "NaN is no JSON number (line 1 column "),
        (coco_of(images=[{**coco_of()["images"][0], "id": k} for k in (1, 2)]), "file_name 'a.png' occurs 2 times"),
        (
            coco_of([annotation(1, 18, [0, 0, 9, 9], id=5, segmentation={"size": [9, 20], "counts": [180]})]),
            "annotation 5 of 'a.png': segmentation is of size [9, 20], its image [10, 20]",
        ),
        (
            coco_of([annotation(1, 18, [0.1, 0.2, 0.2, 0.4], id=5)]),
            "annotation 5 of 'a.png': bbox [0.1, 0.2, 0.2, 0.4]",
        ),
        (coco_of([annotation(1, 18, [0.5, 0.5, 0.9, 0.8])]), "these look like fractions of its sides"),
        (coco_of([annotation(1, 18, [0, 0, 1, 1])]), "these look like fractions of its sides"),
        (
            coco_of([annotation(1, 18, [0, 0, 9, 9], id=5), annotation(1, 18, [0, 0, 9, 8], id=5)]),
            "annotation id 5 occurs",
        ),
        (coco_of(categories=[{"id": 18, "name": "dog"}, {"id": 18, "name": "cat"}]), "category id 18 occurs 2 times"),
        (coco_of(categories=[{"id": 18, "name": "Dog"}, {"id": 53, "name": "dog"}]), "'Dog' and 'dog' differ in case"),
        (coco_of(categories=[{"id": 18, "name": 5}]), "1 problem(s)\n  categories.0.name: 5 is not a text (a number)"),
        (
            coco_of(categories=[{"id": None, "name": "dog"}]),
            "1 problem(s)\n  categories.0.id: must be a whole number or",
        ),
        (coco_of(categories=[{"id": 18, "name": " \t"}]), "categories.0.name"),
        (coco_of(categories=[{"id": 18, "name": "\ud800"}]), "half of a surrogate pair"),
        (coco_of([annotation(1, 18, [0, 0, 9, 9], attributes={"colour": "\udc00"})]), "half of a surrogate pair"),
        (coco_of([annotation(1, 18, [0, 0, 9, 9], attributes=["red"])]), "annotations.0.attributes"),
        (coco_of(images=[{"id": 1, "width": 20, "height": 10}]), "images.0.file_name: is missing"),
        (coco_of(images=[image_of(1, "a.png"), image_of(1, "b.png")]), "image id 1 occurs 2 times"),
        (coco_of(images=[image_of(1, "a.png"), image_of(2, "./a.png")]), "file_name 'a.png' occurs 2 times"),
        (coco_of(images=[image_of(1, "http://x.org/a.png")], annotations=()), "is an address; download"),
        (coco_of(images=[image_of(1, "sub\\a.png")], annotations=()), "folders are written with '/'"),
        (coco_of(images=[image_of(1, "x" * 300)], annotations=()), "is a name of 300 bytes"),
        (
            coco_of(images=[{**image_of(1, "a.png"), "width": 200_000, "height": 200_000}], annotations=POLYGON),
            "200000",
        ),
        (coco_of(images=[{**coco_of()["images"][0], "width": 21}], annotations=()), "'a.png' is 20 x 10 px"),
        (coco_of(images=[{**coco_of()["images"][0], "file_name": "x.png"}], annotations=()), "x.png: there is no such"),
        (coco_of(images=[{**coco_of()["images"][0], "file_name": "../x.png"}], annotations=()), "leads out of"),
    ],
)
def test_a_coco_file_is_refused_with_what_is_wrong_in_it(make, tmp_path, content, problem):
    with pytest.raises(AtlasError) as caught:
        make(content, ABSENT)
    assert problem in str(caught.value)
    assert str(tmp_path / "coco.json") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"images": ' + "[" * 100_000, "its lists and objects are nested too deep"),
        (
            '{"images": [], "annotations": [], "images": []}',
            "the key 'images' stands twice in one object, line 1 column 2 and line 1 column 35",
        ),
        ("7", "must hold a mapping with images, annotations and categories; it holds int"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_file_that_json_alone_would_take_or_choke_on_is_refused(tmp_path, source, text, problem):
    (tmp_path / "coco.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AtlasError, match=f"coco.json: {problem}"):
        import_coco(tmp_path / "coco.json", source, [], QUERY_TYPES, tmp_path, Choice())


def test_an_entry_that_stands_twice_is_read_once_and_told(make):
    content = coco_of()
    for part in ("images", "categories", "annotations"):
        content[part] = [*content[part], content[part][1]]
    made, once = make(content, HOW_MANY, WHERE), make(coco_of(), HOW_MANY, WHERE)
    assert (made.samples, made.objects) == (once.samples, once.objects)
    assert set(told(made).items()) - set(told(once).items()) == {
        (f"{part} that stand twice: read once", 1) for part in ("images", "categories", "annotations")
    }


def test_annotations_without_ids_are_never_the_same(make):
    made = make(coco_of([annotation(1, 18, [0, 0, 5, 5], id=None), annotation(1, 18, [5, 0, 5, 5])]), HOW_MANY)
    assert asked(made, "expected_answer") == [("2",)]


def test_what_is_null_is_not_given(make):
    null = dict.fromkeys(("iscrowd", "area", "segmentation", "attributes"))
    made = make(coco_of([annotation(1, 18, [1, 2, 4, 3], id=11) | null]), HOW_MANY)
    assert asked(made, "expected_answer") == [("1",)]
    assert [(row["colour"], row["area"], row["iscrowd"], row["mask"]) for row in made.objects] == [("", "", 0, "")]


@pytest.mark.parametrize(
    ("segmentation", "rings", "mask"),
    [
        ([[10, 1, 15, 1, 15, 4, 10, 4], [12, 5]], 1, "a-object_0.png"),
        ([[10, 1, 15, 1]], 1, ""),
        ([[10, 1, 5, 5]], 1, ""),
        ([[]], 1, ""),
        ([[], []], 2, ""),
        ([], 0, ""),
    ],
)
def test_a_degenerate_ring_leaves_the_box_and_the_other_rings(make, segmentation, rings, mask):
    made = make(coco_of([annotation(1, 53, [10, 1, 5, 5], segmentation=segmentation)]), PRESENT)
    assert [(row["x_min"], row["y_max"], row["mask"]) for row in made.objects] == [("10", "6", mask)]
    assert made.told["polygons left out: fewer than three corners"] == rings


@pytest.mark.parametrize(
    ("bbox", "reason"),
    [
        (None, "not given"),
        ([], "not given"),
        ([3, 3, 0.2, 0.3], "smaller than a pixel"),
        ([3, 3, 0, 0], "no area inside"),
    ],
)
def test_an_annotation_without_a_box_of_a_pixel_is_left_out_and_its_label_not_counted(make, bbox, reason):
    made = make(coco_of([annotation(1, 53, [0, 0, 2, 2]), annotation(1, 18, bbox)]), HOW_MANY, PRESENT)
    assert asked(made, "sample_id") == [("a-how_many-apple",), ("a-is_there-apple",)]
    assert sum(count for what, count in told(made).items() if what.startswith(f"boxes left out: {reason}")) == 1


def test_an_annotation_lacking_its_box_is_left_out_too(make):
    lacking = {"image_id": 1, "category_id": 18}
    assert told(make(coco_of([*ANNOTATIONS[2:3], lacking]), PRESENT))["boxes left out: not given"] == 1


def test_names_of_categories_are_read_without_needless_spaces(make):
    categories = [{"id": 18, "name": " dog"}, {"id": 53, "name": "apple"}, {"id": 58, "name": "hot  dog\t"}]
    made = make(coco_of(categories=categories), HOW_MANY)
    assert asked(made, "query") == asked(make(coco_of(), HOW_MANY), "query")
    assert told(made)["category names read without needless spaces"] == 2
    categories[1] = {"id": 53, "name": "dog "}
    made = make(coco_of(categories=categories), HOW_MANY)
    assert asked(made, "query", "expected_answer")[0] == ("How many dogs are there?", "3")
    assert told(made)["categories of the name of another: read as one"] == 1


def test_labels_of_queries_are_read_as_names_of_categories_are(make):
    categories = [{"id": 18, "name": "pâté "}, {"id": 53, "name": "apple"}, {"id": 58, "name": "hot dog"}]
    label = "pa\u0302te\u0301"
    made = make(
        coco_of(categories=categories), {**HOW_MANY, "labels": [f" {label}"], "plurals": {label: "pâtés maison"}}
    )
    assert asked(made, "query") == [("How many pâtés maison are there?",)]


def test_boxes_written_as_corners_are_doubted(make):
    corners = [annotation(1, 18, [8, 1, 15, 8]), annotation(1, 53, [10, 2, 19, 9]), annotation(2, 53, [0, 0, 20, 10])]
    (doubt,) = make(coco_of(corners[:2]), PRESENT).doubts
    assert doubt.startswith("2 of 2 boxes reach more than a pixel outside their image as COCO's x, y, width, height,")
    assert "all of them would fit as x_min, y_min, x_max, y_max; look with `atlas boxes`" in doubt
    assert make(coco_of(corners[2:]), PRESENT).doubts == ()


def test_boxes_many_of_which_reach_outside_are_doubted_and_a_few_are_not(make):
    right = [annotation(image, 18, [k, 0, 4, 4]) for k in range(15) for image in (1, 2)]
    thousandths = annotation(1, 53, [250, 500, 300, 400])
    (doubt,) = make(coco_of([*right[:2], thousandths]), PRESENT).doubts
    assert doubt.startswith("1 of 3 boxes reach more than a pixel outside")
    assert "unit, order of the numbers or files may be others" in doubt
    assert make(coco_of([*right, thousandths]), PRESENT).doubts == ()
    with pytest.raises(AtlasError, match=r"no query fits any image \(.*2 of 2 boxes reach more than a pixel outside"):
        make(coco_of([thousandths, annotation(2, 18, [30, 200, 20, 20])]), PRESENT)


def test_a_missing_image_is_a_link_to_nothing_too_but_nothing_else(make, source):
    for name in ("b.png", "c.png"):
        (source / name).unlink()
    (source / "b.png").symlink_to("gone.png")
    (source / "c.png").mkdir()
    content = coco_of([*ANNOTATIONS, annotation(3, 18, [0, 0, 5, 5])])
    with pytest.raises(AtlasError, match=r"1 problem\(s\)\n  images: image 'c.png': .* is a folder, not a file"):
        make(content, PRESENT, skip_missing=True)
    (source / "c.png").rmdir()
    assert told(make(content, PRESENT, skip_missing=True)) == {"images left out: not in the folder": 2}


def test_images_that_are_links_are_imported_as_files(make, source, tmp_path):
    (tmp_path / "cache").mkdir()
    for name in ("a.png", "b.png"):
        (source / name).rename(tmp_path / "cache" / name)
        (source / name).symlink_to(tmp_path / "cache" / name)
    for link in (False, True):
        write_imported(make(coco_of(), HOW_MANY), source, tmp_path / f"study{link}", link=link)
        image = tmp_path / f"study{link}/images/a.png"
        assert not image.is_symlink()
        assert image.read_bytes() == (tmp_path / "cache/a.png").read_bytes()
        assert image.samefile(tmp_path / "cache/a.png") == link


def test_an_image_in_another_unicode_form_is_imported_under_the_name_of_the_annotations(make, source, tmp_path):
    (source / "a.png").rename(source / "Ko\u0308ln.png")
    made = make(coco_of(ANNOTATIONS[:3], images=[image_of(1, "K\u00f6ln.png")]), HOW_MANY)
    write_imported(made, source, tmp_path / "study")
    assert [path.name for path in (tmp_path / "study/images").iterdir()] == ["K\u00f6ln.png"]
    assert len(read_study(tmp_path / "study", QUERY_TYPES).samples) == 2


def test_a_file_name_as_long_as_can_be_gives_ids_and_masks_that_fit(make, source, tmp_path):
    name = "x" * 251 + ".png"
    (source / "a.png").rename(source / name)
    (source / "b.png").rename(source / ("x" * 250 + "y.png"))
    images = [image_of(1, name), image_of(2, "x" * 250 + "y.png")]
    content = coco_of(images=images)
    content["annotations"][3]["segmentation"] = [[0, 0, 5, 0, 5, 5]]
    made = make(content, HOW_MANY)
    write_imported(made, source, tmp_path / "study")
    assert len(made.masks) == 2
    assert len(read_study(tmp_path / "study", QUERY_TYPES).samples) == 4


def test_what_is_written_anew_never_changes_the_cache_that_it_was_linked_to(make, source, tmp_path):
    output, cache = tmp_path / "study", tmp_path / "cache"
    write_imported(make(coco_of(), HOW_MANY), source, output)
    cache.mkdir()
    for number, path in enumerate(sorted(path for path in output.rglob("*") if path.is_file())):
        path.rename(cache / str(number))
        path.symlink_to(cache / str(number))
    before = {path: path.read_bytes() for path in cache.iterdir()}
    content = coco_of([{**ANNOTATIONS[2], "segmentation": [[10, 1, 15, 1, 15, 3]], "id": k} for k in range(3)])
    write_imported(make(content, PRESENT), source, output, overwrite=True)
    assert {path: path.read_bytes() for path in cache.iterdir()} == before
    assert not (output / "samples.csv").is_symlink()


@pytest.mark.parametrize("make_it", ["folder", "pipe"])
def test_what_is_no_file_is_never_replaced_by_an_image(make, source, tmp_path, make_it):
    place = tmp_path / "study/images/a.png"
    place.parent.mkdir(parents=True)
    os.mkfifo(place) if make_it == "pipe" else place.mkdir()
    for overwrite in (False, True):
        with pytest.raises(AtlasError, match=f"a.png is a {make_it}, not a file.*; choose another --output"):
            write_imported(make(coco_of(), HOW_MANY), source, tmp_path / "study", overwrite=overwrite)


DAMAGE = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10**12), st.floats(), st.sampled_from(["", "a.png", "\ud800", "x" * 300]),
    st.just([]), st.just({}), st.just([[]]), st.just([1, 2, 3, 4]), st.just([[1, 2, 3, 4, 5, 6]]),
    st.just({"size": [10, 20], "counts": "0"}), st.just({"size": [10**6, 10**6], "counts": [10**12]}),
)  # fmt: skip


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_whatever_a_coco_file_holds_it_is_a_study_or_one_error(make, tmp_path, source, data):
    content = json.loads(json.dumps(coco_of()))
    for _ in range(data.draw(st.integers(1, 3))):
        part = content[data.draw(st.sampled_from(("images", "categories", "annotations")))]
        keys = [*part[0], "segmentation", "attributes", "iscrowd", "area"]
        entry = part[data.draw(st.integers(0, len(part) - 1))]
        entry[data.draw(st.sampled_from(keys))] = data.draw(DAMAGE)
    told = ""
    try:
        made = make(content, HOW_MANY, PRESENT, WHERE)
    except AtlasError as error:
        told = str(error)
        told.encode()
    else:
        output = tmp_path / "out"
        write_imported(made, source, output, overwrite=True)
        read_study(output, QUERY_TYPES)
    assert not told or "coco.json" in told or "objects.csv" in told or "samples.csv" in told


def test_what_is_not_json_is_told_with_its_place(make, tmp_path, source):
    (tmp_path / "broken.json").write_text('{"images": [}')
    with pytest.raises(AtlasError, match=r"broken\.json: is not JSON .*line 1 column 13"):
        import_coco(tmp_path / "broken.json", source, [], QUERY_TYPES, tmp_path, Choice())


def test_a_missing_image_can_be_left_out_and_is_counted(make, source):
    (source / "b.png").unlink()
    made = make(coco_of(), HOW_MANY, skip_missing=True)
    assert {row["image"] for row in made.samples} == {"a.png"}
    assert told(made) == {"images left out: not in the folder": 1, "images left out: no query fits": 1}


def test_names_become_ids_that_differ_and_are_safe():
    assert safe_names(["a b", "a_b", "犬", ".x", "a b"]) == {"a b": "a_b", "a_b": "a_b_1", "犬": "2", ".x": "x"}


def test_files_that_differ_in_their_ending_alone_keep_it_in_their_ids(make, source):
    Image.new("RGB", (WIDTH, HEIGHT)).save(source / "a.jpg")
    images = [
        {"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT} for k, name in ((1, "a.png"), (2, "a.jpg"))
    ]
    assert asked(make(coco_of(ANNOTATIONS[:1], images=images), PRESENT), "sample_id") == [("a.png-is_there-dog",)]


def run_coco(tmp_path, source, *more):
    (tmp_path / "coco.json").write_text(json.dumps(coco_of()))
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump([HOW_MANY]))
    arguments = ["import", "coco", str(tmp_path / "coco.json"), "--images", str(source), "--output"]
    arguments += [str(tmp_path / "study"), "--queries", str(tmp_path / "queries.yaml"), *more]
    return CliRunner().invoke(app, arguments)


def test_the_command_writes_the_study_and_tells_what_was_left_out(tmp_path, source):
    ran = run_coco(tmp_path, source, "--log", str(tmp_path / "import.log"))
    assert ran.exit_code == 0, ran.output
    log = (tmp_path / "import.log").read_text()
    assert "1 images left out: no query fits" in log
    assert "4 samples of 2 images, 5 objects" in log
    assert not (tmp_path / "study/images/c.png").exists()
    assert not (source / "a.png").samefile(tmp_path / "study/images/a.png")


def test_a_study_that_is_there_is_replaced_only_when_told_to(tmp_path, source):
    assert run_coco(tmp_path, source).exit_code == 0
    (tmp_path / "study/samples.csv").write_text("mine\n")
    refused = run_coco(tmp_path, source)
    assert refused.exit_code == 1
    assert "samples.csv is there already" in refused.output
    assert (tmp_path / "study/samples.csv").read_text() == "mine\n"
    assert run_coco(tmp_path, source, "--overwrite").exit_code == 0
    assert (tmp_path / "study/samples.csv").read_text() != "mine\n"


def test_linked_images_are_the_files_themselves_and_survive_a_later_copy(tmp_path, source):
    before = (source / "a.png").read_bytes()
    assert run_coco(tmp_path, source, "--link").exit_code == 0
    assert (source / "a.png").samefile(tmp_path / "study/images/a.png")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (WIDTH, HEIGHT), "black").save(other / name)
    assert run_coco(tmp_path, other, "--overwrite").exit_code == 0
    assert (tmp_path / "study/images/a.png").read_bytes() == (other / "a.png").read_bytes()
    assert (source / "a.png").read_bytes() == before


def test_a_study_is_not_written_over_another(make, source, tmp_path):
    write_imported(make(coco_of(), HOW_MANY), source, tmp_path / "study")
    with pytest.raises(AtlasError, match=r"samples\.csv is there already"):
        write_imported(make(coco_of(), PRESENT), source, tmp_path / "study")


def test_another_picture_of_the_same_name_is_not_replaced(make, source, tmp_path):
    (tmp_path / "study/images").mkdir(parents=True)
    (tmp_path / "study/images/b.png").write_bytes(b"mine")
    with pytest.raises(AtlasError, match=r"images/b\.png is there already and differs"):
        write_imported(make(coco_of(), HOW_MANY), source, tmp_path / "study")
    assert {path.name for path in (tmp_path / "study").rglob("*")} == {"images", "b.png"}


def test_images_that_lie_in_the_study_already_stay(make, source, tmp_path):
    (tmp_path / "study").mkdir()
    source.rename(tmp_path / "study/images")
    (tmp_path / "pictures").symlink_to(tmp_path / "study/images")
    before = {path: path.read_bytes() for path in (tmp_path / "study/images").iterdir()}
    write_imported(make(coco_of(), HOW_MANY), tmp_path / "study/images", tmp_path / "study")
    assert {path: path.read_bytes() for path in (tmp_path / "study/images").iterdir()} == before
    assert len(read_study(tmp_path / "study", QUERY_TYPES).samples) == 4


TABLE = """id,file,question,kind,truth,x_min,y_min,x_max,y_max,note
one,a.png,"How many, please?",counting,2,1,2,5,6.5,x
,a.png,Wo ist der Hund — links?,spatial,left,1,2,5,6.5,x
,b.png,How many?,counting,,,,,,x
,a.png,Where?,spatial,right,10,0,20,10,x
"""
MAPPED = "sample_id=id,image=file,query=question,query_type=kind,expected_answer=truth"


@pytest.fixture
def table(tmp_path, source):
    """Import a table of this text; returns what was imported."""

    def run(text, columns=MAPPED, name="questions.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return import_table(tmp_path / name, source, parse_columns(columns), QUERY_TYPES)

    return run


def test_the_rows_of_a_table_are_those_worked_out_by_hand(table, source, tmp_path):
    made = table(TABLE)
    columns = ("sample_id", "image", "query_id", "query", "expected_answer", "target_object")
    assert asked(made, *columns) == [
        ("one", "a.png", "counting", "How many, please?", "2", "object_0"),
        ("row_2", "a.png", "spatial", "Wo ist der Hund — links?", "left", "object_0"),
        ("row_3", "b.png", "counting", "How many?", "", ""),
        ("row_4", "a.png", "spatial", "Where?", "right", "object_1"),
    ]
    assert told(made) == {"column(s) not used: note": 1, "sample ids made of row numbers": 3}
    write_imported(made, source, tmp_path / "study")
    study = read_study(tmp_path / "study", QUERY_TYPES)
    assert study.objects[["object_id", "x_min", "y_max"]].values.tolist() == [
        ["object_0", 1, 6.5],
        ["object_1", 10, 10],
    ]
    assert study.samples["query"].tolist()[1] == "Wo ist der Hund — links?"


@pytest.mark.parametrize("box", ["[1, 2, 5, 6.5]", "1,2,5,6.5", [1, 2, 5, 6.5], [[1, 2, 5, 6.5]]])
def test_a_box_may_be_written_in_several_ways(table, box):
    row = {"image": "a.png", "query_type": "spatial", "query": "Where?", "box": box, "label": "dog"}
    made = table(json.dumps(row) + "\n\n", "", "questions.jsonl")
    assert made.objects == [
        {
            **{"image": "a.png", "object_id": "object_0", "label": "dog", "colour": ""},
            **{"x_min": "1", "y_min": "2", "x_max": "5", "y_max": "6.5", "line": 1},
        }
    ]
    assert asked(made, "sample_id", "target_object") == [("row_1", "object_0")]


def test_ids_made_of_row_numbers_sort_as_the_rows(table):
    assert told(table("sample_id,image,query_type,query\na,a.png,counting,How many?\n", "")) == {}
    made = table("image,query_type,query\n" + "a.png,counting,How many?\n" * 10, "")
    assert asked(made, "sample_id")[::9] == [("row_01",), ("row_10",)]


@pytest.mark.parametrize("box", [5, {"x": 1}, [1, 2, 3, None], [[1, 2, 3]], [True, 2, 3, 4], "a,b,c,d", "1,2,3,4]"])
def test_a_box_that_is_not_four_numbers_is_told(table, box):
    row = {"image": "a.png", "query_type": "counting", "query": "?", "box": box}
    with pytest.raises(AtlasError, match=r"line 1: box .* must be four numbers x_min, y_min, x_max, y_max"):
        table(json.dumps(row), "", "questions.jsonl")


def test_an_image_in_both_splits_or_under_two_names_is_told_by_its_line_before_anything_is_written(table):
    rows = "image,query_type,query,split\na.png,counting,How many?,select\n\n{},counting,How?,evaluate\n"
    with pytest.raises(AtlasError, match=r"questions\.csv, lines 2 and 4: image 'a\.png' has samples in both splits"):
        table(rows.format("a.png"), "")
    with pytest.raises(
        AtlasError, match=r"questions\.csv, line 4: image '\./a\.png' is written in another way than in"
    ):
        table(rows.format("./a.png"), "")
    with pytest.raises(AtlasError, match=r"questions\.csv: every row names a condition"):
        table("image,query_type,query,condition\na.png,counting,How many?,mine\n", "")


def test_an_object_over_several_lines_and_a_list_of_images_are_told_in_one_sentence(table):
    row = {"image": "a.png", "query_type": "counting", "query": "?"}
    with pytest.raises(AtlasError, match="over several lines; write each object on one line") as raised:
        table(json.dumps(row, indent=1), "", "questions.jsonl")
    assert "\n" not in str(raised.value)
    with pytest.raises(AtlasError, match=r"line 1: image .* join the names of several images by \|"):
        table(json.dumps({**row, "image": ["a.png", "b.png"]}), "", "questions.jsonl")


def test_several_boxes_are_one_target(table):
    row = {"image": "a.png", "query_type": "counting", "query": "?", "expected_answer": 2, "condition": None}
    made = table(json.dumps({**row, "box": [[0, 0, 2, 2], [4, 4, 6, 6], [0, 0, 2, 2]]}), "", "questions.jsonl")
    assert asked(made, "expected_answer", "condition", "target_object") == [("2", "", "object_0+object_1")]


def test_every_bad_row_of_a_table_is_told_with_its_line(table, tmp_path):
    text = "id,image,query_type,query,truth,box\n"
    text += "a,a.png,counting,How many?,2,\n"  # the one in order
    text += "a,a.png,countin,How many?,2,\n"
    text += "b,x.png,counting,How many?,2,\n"
    text += "c c,a.png,counting,,fifty,\n"
    text += 'd,a.png,spatial,Where?,left,"1,2,3"\n'
    text += 'e,a.png,spatial,Where?,left,"1,2,30,4"\n'
    with pytest.raises(AtlasError) as caught:
        table(text, "sample_id=id,expected_answer=truth")
    first, *lines = str(caught.value).splitlines()
    here = f"  {tmp_path / 'questions.csv'}, line "
    assert first == f"{tmp_path / 'questions.csv'}: {len(lines)} problem(s)"
    assert {line.removeprefix(here).partition(":")[0] for line in lines} == {"3", "4", "5", "6", "7"}
    for expected in (
        "3: sample_id 'a' occurs already in line 2",
        "3: unknown query_type 'countin'. Did you mean 'counting'?",
        "4: image 'x.png': ",
        "5: sample_id 'c c' must be",
        "5: query is empty",
        "5: expected_answer 'fifty' is not in the vocabulary",
        "6: box '1,2,3' must be four numbers",
        "7: box [1, 2, 30, 4] reaches outside the image 'a.png' of 20 x 10 px",
    ):
        assert any(line.startswith(here + expected) for line in lines), expected


@pytest.mark.parametrize(
    ("text", "columns", "name", "problem"),
    [
        (TABLE, "quary=question", "q.csv", "unknown column 'quary'. Did you mean 'query'?"),
        (TABLE, "query", "q.csv", "'query' must be written column=column of the table"),
        (TABLE, "query=questio", "q.csv", "has no column 'questio' for query. Did you mean 'question'?"),
        (TABLE, "query=question,image=file", "q.csv", "has no column 'query_type'; say which it is"),
        (TABLE + "short,row\n", MAPPED, "q.csv", "line 6: has 2 fields, the header has 10"),
        (TABLE, MAPPED + ",target_object=note", "q.csv", "has target_object and boxes"),
        (TABLE, MAPPED + ",box=note", "q.csv", "a box is one column box, or the four columns"),
        ('{"a": 1}\n{"a": \n[1]\n', "", "q.jsonl", "line 2: is not JSON"),
        ('{"a": 1}\n[1]\n', "", "q.jsonl", "line 2: must be a JSON object"),
        (TABLE, MAPPED, "q.xlsx", "is neither .csv nor .jsonl"),
        ("image,query_type,query\n", "", "q.csv", "has no rows"),
        ("image,image\n", "", "q.csv", "column 'image' occurs 2 times"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_with_what_to_do(table, text, columns, name, problem):
    with pytest.raises(AtlasError) as caught:
        table(text, columns, name)
    assert problem in str(caught.value)


def test_an_edge_beyond_the_image_by_rounding_alone_is_the_images(table):
    row = {"image": "a.png", "query_type": "spatial", "query": "Where?"}
    made = table(json.dumps({**row, "box": [-0.0004, 2, 20.0003, 9.9999]}), "", "questions.jsonl")
    assert [made.objects[0][edge] for edge in ("x_min", "y_min", "x_max", "y_max")] == ["0", "2", "20", "10"]
    with pytest.raises(AtlasError, match=r"line 1: box \[0, 2, 20.01, 9\] reaches outside"):
        table(json.dumps({**row, "box": [0, 2, 20.01, 9]}), "", "questions.jsonl")


@pytest.mark.parametrize("name", ["questions.csv", "questions.jsonl"])
def test_fractions_in_a_table_of_questions_are_refused_with_their_line(table, name):
    row = {"image": "a.png", "query_type": "spatial", "query": "Where?", "box": [0.23, 0.23, 0.78, 0.78]}
    text = json.dumps(row)
    if name.endswith("csv"):
        text = 'image,query_type,query,x_min,y_min,x_max,y_max\n"a.png",spatial,Where?,0.23,0.23,0.78,0.78\n'
    with pytest.raises(
        AtlasError, match=r"line [12]: box \[0.23, 0.23, 0.78, 0.78\] is smaller than a pixel; boxes are"
    ):
        table(text, "", name)


def test_a_question_about_several_images_is_imported_with_all_of_them(table, source, tmp_path):
    made = table("image,query_type,query\na.png|b.png,counting,How many in both?\n", "")
    write_imported(made, source, tmp_path / "study")
    assert sorted(path.name for path in (tmp_path / "study/images").iterdir()) == ["a.png", "b.png"]
    assert len(read_study(tmp_path / "study", QUERY_TYPES).samples) == 1


def rows_about(*images):
    return [{"image": image, "split": "", "line": line} for line, image in enumerate(images, start=2)]


def test_images_are_divided_into_halves_and_none_is_in_both():
    rows = rows_about(*(f"{number}.png" for number in range(20)), *(f"{number}.png" for number in range(20)))
    divided = divided_by_image(Path("q.csv"), rows, 0)
    split_of = {row["image"]: row["split"] for row in divided}
    assert all(row["split"] == split_of[row["image"]] for row in divided)
    assert sorted(split_of.values()) == ["evaluate"] * 10 + ["select"] * 10
    assert divided_by_image(Path("q.csv"), rows, 0) == divided
    assert divided_by_image(Path("q.csv"), rows, 1) != divided
    assert [{**row, "split": ""} for row in divided] == rows


def test_images_of_one_question_are_in_one_split_and_so_are_all_that_hang_together():
    rows = rows_about("d", "a|b", "e", "b|c", "f", "c", "g|h", "h|g", "g")
    for seed in range(20):
        split_of = {
            name: row["split"]
            for row in divided_by_image(Path("q.csv"), rows, seed)
            for name in row["image"].split("|")
        }
        assert split_of["a"] == split_of["b"] == split_of["c"]
        assert split_of["g"] == split_of["h"]
        assert 3 <= sum(split == "select" for split in split_of.values()) <= 5


def test_a_split_that_is_given_is_never_drawn_anew():
    rows = rows_about("a", "b")
    rows[1]["split"] = "select"
    with pytest.raises(AtlasError, match=r"q\.csv, line 3: split is 'select' already; leave out --split"):
        divided_by_image(Path("q.csv"), rows, 0)


def run_table(tmp_path, source, *more, text=TABLE):
    (tmp_path / "questions.csv").write_text(text, encoding="utf-8")
    arguments = ["import", "table", str(tmp_path / "questions.csv"), "--images", str(source), "--columns", MAPPED]
    return CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "study"), *more])


def test_a_table_without_splits_says_what_is_missing_and_can_be_divided(tmp_path, source):
    ran = run_table(tmp_path, source)
    assert ran.exit_code == 0
    assert "no sample is in the split select or evaluate: heads are chosen on select" in ran.output
    assert "; --split divides the images" in ran.output
    ran = run_table(tmp_path, source, "--overwrite", "--split", "--seed", "3")
    assert "no sample is in the split" not in ran.output
    study = read_study(tmp_path / "study", QUERY_TYPES)
    assert study.samples.groupby("image")["split"].unique().map(list).tolist() in (
        [["select"], ["evaluate"]],
        [["evaluate"], ["select"]],
    )


def test_an_import_tells_the_doubts_about_its_boxes_once(tmp_path, source):
    Image.new("RGB", (2000, 1500)).save(source / "a.png")
    text = TABLE.replace("10,0,20,10", "100,100,900,900").replace("1,2,5,6.5", "230,230,780,780")
    ran = run_table(tmp_path, source, text=text)
    assert ran.exit_code == 0
    assert ran.output.count("all 2 boxes on images of more than 1000 px lie within 0 to 1000, as thousandths") == 1
    assert f"look with `atlas boxes {tmp_path / 'study'}`" in ran.output


def test_the_command_imports_a_table(tmp_path, source):
    (tmp_path / "questions.csv").write_text(TABLE, encoding="utf-8")
    arguments = ["import", "table", str(tmp_path / "questions.csv"), "--images", str(source), "--columns", MAPPED]
    ran = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "study")])
    assert ran.exit_code == 0, ran.output
    with (tmp_path / "study/samples.csv").open(encoding="utf-8", newline="") as file:
        assert [row["sample_id"] for row in csv.DictReader(file)] == ["one", "row_2", "row_3", "row_4"]
