"""Reading a study: tables as they are written, and every problem told at once with its file, line and value."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.inputs import study
from attention_atlas.inputs.study import OBJECT_COLUMNS, SAMPLE_COLUMNS, read_study
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

QUERY_TYPES = {
    "counting": {"needs_target": False, "answers": {"1": ["one"], "2": ["two"], "3": ["three"]}},
    "attribute": {"needs_target": True, "answers": {"red": [], "grey": ["gray"]}},
}
WIDTH, HEIGHT = 12, 8
SAMPLE = {
    "sample_id": "a-q0",
    "image": "a.png",
    "query_id": "q0",
    "query_type": "counting",
    "query": "How many shapes are in the image?",
    "expected_answer": "2",
    "condition": "",
    "target_object": "object_0+object_1",
    "split": "select",
}
COLOUR = {
    **SAMPLE,
    "sample_id": "b-q2",
    "image": "sub/b.png",
    "query_id": "q2",
    "query_type": "attribute",
    "query": "What colour is it?",
    "expected_answer": "gray",
    "target_object": "object_0",
    "split": "",
}
OBJECT = {
    **{"image": "a.png", "object_id": "object_0", "label": "circle", "colour": "red"},
    **{"x_min": "0", "y_min": "0", "x_max": "4.5", "y_max": "8"},
}
SECOND = {**OBJECT, "object_id": "object_1", "x_min": "6", "x_max": "12"}
OTHER = {**OBJECT, "image": "sub/b.png", "colour": "grey"}


def as_csv(rows, columns):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def draw(path, width=WIDTH, height=HEIGHT, value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width), value, dtype=np.uint8)).save(path)


def write_tables(folder, samples=(SAMPLE, COLOUR), objects=(OBJECT, SECOND, OTHER), sample_columns=SAMPLE_COLUMNS):
    further = [name for name in objects[0] if name not in OBJECT_COLUMNS] if objects else []
    (folder / "samples.csv").write_bytes(as_csv(samples, sample_columns))
    (folder / "objects.csv").write_bytes(as_csv(objects, [*OBJECT_COLUMNS, *further]))


@pytest.fixture
def folder(tmp_path):
    """A study in order: two images, three objects, two samples; its rows are lines 2 to 4."""
    study = tmp_path / "study"
    draw(study / "images" / "a.png")
    draw(study / "images" / "sub" / "b.png")
    write_tables(study)
    return study


def problems(folder, query_types=QUERY_TYPES, images=None):
    """The lines of the one error that a study is refused with, after its first; each names a file of the study."""
    with pytest.raises(AtlasError) as caught:
        read_study(folder, query_types, images)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{folder}: {len(lines)} problem(s)"
    prefix = f"  {folder}/"
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


def only_problem(folder, **kwargs):
    (line,) = problems(folder, **kwargs)
    return line


def test_a_study_in_order_is_read_as_it_is_written(folder):
    study = read_study(folder, QUERY_TYPES)
    assert study.name == "study"
    assert study.samples.to_dict("records") == [{**SAMPLE, "line": 2}, {**COLOUR, "line": 3}]
    boxes = [(0.0, 0.0, 4.5, 8.0), (6.0, 0.0, 12.0, 8.0), (0.0, 0.0, 4.5, 8.0)]
    expected = [
        {**row, **dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True)), "line": line}
        for line, (row, box) in enumerate(zip((OBJECT, SECOND, OTHER), boxes, strict=True), start=2)
    ]
    assert study.objects.to_dict("records") == expected
    assert study.image_path("sub/b.png") == folder / "images" / "sub" / "b.png"


def test_targets_are_the_named_objects_of_the_samples_own_image(folder):
    free = {**SAMPLE, "sample_id": "free", "target_object": ""}
    reversed_names = {**SAMPLE, "sample_id": "reversed", "target_object": "object_1+object_0"}
    write_tables(folder, [SAMPLE, COLOUR, free, reversed_names])
    study = read_study(folder, QUERY_TYPES)
    assert study.targets("a-q0")["line"].tolist() == [2, 3]
    assert study.targets("b-q2")["line"].tolist() == [4]
    assert study.targets("reversed")["line"].tolist() == [2, 3]
    assert len(study.targets("free")) == 0


def test_words_that_look_like_missing_values_stay_words(folder):
    odd = [
        {**SAMPLE, "sample_id": name, "condition": name, "query": f"{name}, ünï — 数?"} for name in ("NA", "nan", "007")
    ]
    odd.append(SAMPLE)
    write_tables(folder, odd, [{**OBJECT, "label": "None"}, {**SECOND, "label": "null"}])
    study = read_study(folder, QUERY_TYPES)
    assert study.samples.drop(columns="line").to_dict("records") == odd
    assert study.objects["label"].tolist() == ["None", "null"]


def test_further_columns_of_objects_are_kept(folder):
    write_tables(folder, objects=[{**row, "background": "white"} for row in (OBJECT, SECOND, OTHER)])
    assert read_study(folder, QUERY_TYPES).objects["background"].tolist() == ["white"] * 3


def test_byte_order_mark_windows_lines_and_blank_rows_are_no_part_of_the_values(folder):
    table = folder / "samples.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert read_study(folder, QUERY_TYPES).samples["sample_id"].tolist() == ["a-q0", "b-q2"]


def test_lines_are_those_of_the_file_after_a_row_of_several_lines(folder):
    write_tables(folder, [{**SAMPLE, "query": "How many\nshapes\nare there?"}, {**COLOUR, "split": "train"}])
    assert only_problem(folder).startswith("samples.csv, line 5: split 'train'")


def test_without_query_types_neither_types_nor_answers_are_held_against_them(folder):
    write_tables(folder, [{**SAMPLE, "query_type": "unheard", "expected_answer": "purple"}, COLOUR])
    assert len(read_study(folder, None).samples) == 2
    write_tables(folder, [{**SAMPLE, "query_type": "unheard", "query": ""}, COLOUR])
    assert only_problem(folder, query_types=None) == "samples.csv, line 2: query is empty"


@pytest.mark.parametrize("expected", ["2", "two", " TWO ", ""])
def test_expected_answers_may_be_any_spelling_or_none(folder, expected):
    write_tables(folder, [{**SAMPLE, "expected_answer": expected}])
    assert read_study(folder, QUERY_TYPES).samples["expected_answer"].tolist() == [expected]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sample_id": "a-q0"}, ["sample_id 'a-q0'", "line 2"]),
        ({"sample_id": ""}, ["sample_id ''"]),
        ({"sample_id": "../a"}, ["sample_id '../a'"]),
        ({"sample_id": "a b"}, ["sample_id 'a b'"]),
        ({"query_id": ""}, ["query_id is empty"]),
        ({"query": ""}, ["query is empty"]),
        ({"query": " \t"}, ["query is empty"]),
        ({"query": "Is <|image_pad|> here?"}, ["'<|image_pad|>'", "'Is <|image_pad|> here?'"]),
        ({"query": "Stop<|im_end|>"}, ["'<|im_end|>'", "'Stop<|im_end|>'"]),
        ({"query": "<think>Why?"}, ["'<think>'", "'<think>Why?'"]),
        ({"query": "Why?</think>"}, ["'</think>'"]),
        ({"query": "<tool_call> now"}, ["'<tool_call>'"]),
        ({"split": "train"}, ["split 'train'", "select", "evaluate"]),
        ({"query_type": "atribute"}, ["query_type 'atribute'", "Did you mean 'attribute'?"]),
        ({"query_type": ""}, ["query_type ''", "'counting'", "'attribute'"]),
        ({"expected_answer": "reed"}, ["expected_answer 'reed'", "Did you mean 'red'?", "query_types.attribute"]),
        ({"expected_answer": "3"}, ["expected_answer '3'", "'attribute'"]),
        ({"target_object": ""}, ["'attribute'", "target_object"]),
        ({"target_object": "object_3"}, ["target_object 'object_3'", "'sub/b.png'", "Did you mean 'object_0'?"]),
        ({"target_object": "object_0+object_1"}, ["target_object 'object_1'", "'sub/b.png'"]),
        ({"target_object": "object_0+"}, ["target_object ''"]),
    ],
    ids=lambda value: " ".join(map("=".join, value.items())) if isinstance(value, dict) else "",
)
def test_a_sample_out_of_order_is_told_with_line_and_value(folder, change, told):
    write_tables(folder, [SAMPLE, {**COLOUR, **change}])
    line = only_problem(folder)
    assert line.startswith("samples.csv, line 3: ")
    assert all(part in line for part in told), line


def test_an_image_is_not_named_as_pictures_made_of_images_are(folder):
    write_tables(folder, [{**SAMPLE, "image": "without:a.png"}])
    with pytest.raises(AtlasError, match=r"line 2: image 'without:a.png' contains ':'.* rename the file"):
        read_study(folder, QUERY_TYPES, images=())


@pytest.mark.parametrize(
    "query", ["Is 3 < 4 | 5 > 2?", "Where does he think it is?", "<b>Where?</b>", "<|", "a <think"]
)
def test_angles_and_bars_that_form_no_special_token_are_text(folder, query):
    write_tables(folder, [{**SAMPLE, "query": query}])
    assert read_study(folder, QUERY_TYPES).samples["query"].tolist() == [query]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"x_max": "12.5"}, ["box [6, 0, 12.5, 8]", "outside", "'a.png'", "12 x 8 px"]),
        ({"y_max": "9"}, ["box [6, 0, 12, 9]", "outside"]),
        ({"x_min": "-1"}, ["box [-1, 0, 12, 8]", "outside"]),
        ({"y_min": "-0.5"}, ["box [6, -0.5, 12, 8]", "outside"]),
        ({"x_max": "6"}, ["box [6, 0, 6, 8]", "no area"]),
        ({"y_min": "8"}, ["box [6, 8, 12, 8]", "no area"]),
        ({"x_min": "12", "x_max": "6"}, ["box [12, 0, 6, 8]", "no area"]),
        ({"x_min": "nan"}, ["box [nan, 0, 12, 8]", "finite"]),
        ({"y_max": "inf"}, ["box [6, 0, 12, inf]", "finite"]),
        ({"y_max": ""}, ["''", "four numbers"]),
        ({"x_min": "left"}, ["'left'", "four numbers"]),
        ({"object_id": "object_0"}, ["object_id 'object_0'", "'a.png'", "line 2"]),
        ({"object_id": "a+b"}, ["object_id 'a+b'"]),
        ({"object_id": ""}, ["object_id ''"]),
    ],
    ids=lambda value: " ".join(map("=".join, value.items())) if isinstance(value, dict) else "",
)
def test_an_object_out_of_order_is_told_with_line_and_value(folder, change, told):
    write_tables(folder, [{**SAMPLE, "target_object": ""}], [OBJECT, {**SECOND, **change}])
    line = only_problem(folder)
    assert line.startswith("objects.csv, line 3: ")
    assert all(part in line for part in told), line


def test_a_target_on_an_image_without_objects_is_told(folder):
    write_tables(folder, [SAMPLE, COLOUR], [OBJECT, SECOND])
    line = only_problem(folder)
    assert line.startswith("samples.csv, line 3: target_object 'object_0'")
    assert "no objects" in line


def png(folder):
    return folder / "images" / "a.png"


def missing(folder):
    png(folder).unlink()


def undecodable(folder):
    png(folder).write_bytes(b"no image at all")


def empty(folder):
    png(folder).write_bytes(b"")


def truncated(folder):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(png(folder))
    png(folder).write_bytes(png(folder).read_bytes()[:5000])


def a_folder(folder):
    missing(folder)
    png(folder).mkdir()


@pytest.mark.parametrize("damage", [missing, undecodable, empty, truncated, a_folder])
def test_an_image_that_cannot_be_read_is_told_once_with_its_first_line(folder, damage):
    damage(folder)
    write_tables(folder, [COLOUR, SAMPLE, {**SAMPLE, "sample_id": "again"}])
    line = only_problem(folder)
    assert line.startswith("samples.csv, line 3: image 'a.png': ")
    assert str(png(folder)) in line


def test_an_image_that_only_objects_name_is_checked_too(folder):
    write_tables(folder, objects=[OBJECT, SECOND, OTHER, {**OBJECT, "image": "gone.png"}])
    assert only_problem(folder).startswith("objects.csv, line 5: image 'gone.png': ")


def test_only_the_images_asked_for_are_opened(folder):
    missing(folder)
    assert len(read_study(folder, QUERY_TYPES, images=()).samples) == 2
    assert len(read_study(folder, QUERY_TYPES, images=["sub/b.png"]).samples) == 2
    assert "'a.png'" in only_problem(folder, images=["a.png"])


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png", "{outside}", "linked/../../secret.png"])
def test_a_name_that_leads_out_of_the_studys_images_is_refused(folder, name):
    outside = folder / "secret.png"
    draw(outside)
    (folder / "images" / "linked").symlink_to(folder)
    name = name.format(outside=outside)
    write_tables(folder, [{**SAMPLE, "image": name, "target_object": ""}], [])
    line = only_problem(folder)
    assert line.startswith(f"samples.csv, line 2: image {name!r}: ")
    assert "leads out of" in line


def test_a_name_with_a_nul_byte_is_refused_by_its_row(folder):
    write_tables(folder, [{**SAMPLE, "image": "a\0.png", "target_object": ""}], [])
    assert only_problem(folder) == r"samples.csv, line 2: holds the character '\x00'; take it out"


def test_an_absolute_name_is_refused_even_inside_the_folder(folder):
    write_tables(folder, [{**SAMPLE, "image": str(png(folder)), "target_object": ""}], [])
    assert "leads out of" in only_problem(folder)


@pytest.mark.parametrize("place", ["images/of_the_study.png", "cache/ab/cdef"])
def test_images_and_masks_may_be_links_to_files_anywhere(folder, place):
    draw(folder / "drawn.png")
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / "drawn.png").rename(folder / place)
    for name in ("images/link.png", "masks/m.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(folder / place)
    objects = [{**OBJECT, "image": "link.png", "mask": "m.png", "x_max": "12"}]
    write_tables(folder, [{**SAMPLE, "image": "link.png", "target_object": "object_0"}], objects)
    study = read_study(folder, QUERY_TYPES)
    assert study.samples["image"].tolist() == ["link.png"]
    assert study.doubts == ()


def test_a_link_to_nothing_is_told_in_one_line(folder):
    missing(folder)
    png(folder).symlink_to("/gone/a.png")
    write_tables(folder, [SAMPLE])
    assert "a.png: is a link to /gone/a.png, which is not there" in only_problem(folder)


def test_an_image_is_found_under_its_name_in_another_unicode_form(folder):
    png(folder).rename(folder / "images" / "Ko\u0308ln.png")
    (folder / "masks").mkdir()
    draw(folder / "masks" / "e\u0301.png")
    objects = [{**OBJECT, "image": "K\u00f6ln.png", "mask": "\u00e9.png", "x_max": "12"}]
    write_tables(folder, [{**SAMPLE, "image": "K\u00f6ln.png", "target_object": "object_0"}], objects)
    study = read_study(folder, QUERY_TYPES)
    assert study.image_path("K\u00f6ln.png").is_file()


@pytest.mark.parametrize("other", ["./a.png", ".//a.png", "a.png/"])
def test_one_image_is_not_named_in_two_ways_so_that_it_stands_in_both_splits(folder, other):
    first = {**SAMPLE, "target_object": "", "split": "select"}
    write_tables(folder, [first, {**first, "sample_id": "s2", "image": other, "split": "evaluate"}])
    line = only_problem(folder, images=())
    assert line == f"samples.csv, line 3: image {other!r} is written in another way than in samples.csv, line 2; " + (
        "write both alike"
    )


def test_one_image_is_not_named_in_two_unicode_forms(folder):
    png(folder).rename(folder / "images" / "e\u0301.png")
    samples = [{**SAMPLE, "image": "\u00e9.png", "target_object": ""}]
    write_tables(folder, samples, [{**OBJECT, "image": "e\u0301.png"}])
    line = only_problem(folder, images=())
    assert line.startswith("objects.csv, line 2: image 'e\u0301.png' is written in another Unicode form")
    assert "samples.csv, line 2; write both alike" in line


@pytest.mark.parametrize("orientation", [2, 3, 4, 6])
def test_images_that_exif_turns_are_doubted_where_they_have_boxes(folder, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (WIDTH, WIDTH)).save(png(folder), exif=exif)
    (told,) = read_study(folder, QUERY_TYPES).doubts
    assert told.startswith("1 image with boxes is turned or mirrored by EXIF orientation, first 'a.png'")
    assert "boxes are taken as upright" in told
    assert told.endswith(f"; look with `atlas boxes {folder}`")
    write_tables(folder, objects=[OTHER], samples=[{**SAMPLE, "target_object": ""}, COLOUR])
    assert read_study(folder, QUERY_TYPES).doubts == ()


def test_boxes_as_fractions_are_refused_before_any_image_is_opened(folder):
    fractions = dict(zip(("x_min", "y_min", "x_max", "y_max"), ("0.23", "0.23", "0.78", "0.78"), strict=True))
    write_tables(folder, objects=[OBJECT, {**SECOND, **fractions}, OTHER])
    line = only_problem(folder, images=())
    assert line.startswith("objects.csv, line 3: box [0.23, 0.23, 0.78, 0.78] is smaller than a pixel; boxes are")
    assert "these look like fractions of its sides" in line


def test_a_mask_that_lies_outside_its_box_is_doubted(folder):
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[:, :6] = 255
    (folder / "masks").mkdir()
    Image.fromarray(mask).save(folder / "masks" / "m.png")
    masked(folder, "m.png")  # of the box from column 6 on
    (told,) = read_study(folder, QUERY_TYPES).doubts
    assert told.startswith("1 mask lies mostly outside the box of its object")
    Image.fromarray(mask[:, ::-1]).save(folder / "masks" / "m.png")
    assert read_study(folder, QUERY_TYPES).doubts == ()


def test_an_image_without_a_name_is_told(folder):
    write_tables(folder, [{**SAMPLE, "image": "", "target_object": ""}], [])
    assert only_problem(folder).startswith("samples.csv, line 2: image '': is empty")


def masked(folder, name):
    write_tables(folder, objects=[{**OBJECT, "mask": ""}, {**SECOND, "mask": name}, {**OTHER, "mask": ""}])


def test_a_mask_of_its_images_size_is_kept_by_name(folder):
    draw(folder / "masks" / "m.png")
    masked(folder, "m.png")
    assert read_study(folder, QUERY_TYPES).objects["mask"].tolist() == ["", "m.png", ""]


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        ({"width": HEIGHT, "height": WIDTH}, ["(8, 12)", "(12, 8)"]),
        ({"value": 0}, ["empty"]),
        (None, ["m.png"]),
    ],
    ids=["wrong size", "empty", "missing"],
)
def test_a_mask_that_marks_nothing_of_its_image_is_told(folder, mask, told):
    if mask is not None:
        draw(folder / "masks" / "m.png", **mask)
    masked(folder, "m.png")
    line = only_problem(folder)
    assert line.startswith("objects.csv, line 3: mask 'm.png'")
    assert all(part in line for part in told), line


def test_a_mask_outside_the_studys_masks_is_refused(folder):
    masked(folder, "../images/a.png")
    line = only_problem(folder)
    assert line.startswith("objects.csv, line 3: mask '../images/a.png'")
    assert "leads out of" in line


@pytest.mark.parametrize("table", ["samples.csv", "objects.csv"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"image\nM\xfcnchen.png\n", ": is not UTF-8"),
        (b'image\na.png\n"b.png"x\nc.png\n', ", line 3: is not CSV"),
        (b'image\na.png\n"b.png\n', ", line 3: is not CSV"),
        (None, ": there is no such file"),
        (b"", ", line 1: names none of the columns"),
    ],
    ids=["not UTF-8", "text after a quote", "open quote", "no file", "no content"],
)
def test_a_table_that_cannot_be_read_is_told(folder, table, content, told):
    (folder / table).unlink()
    if content is not None:
        (folder / table).write_bytes(content)
    assert any(line.startswith(table + told) for line in problems(folder))


@pytest.mark.parametrize("table", ["samples.csv", "objects.csv"])
def test_missing_columns_are_all_told(folder, table):
    columns = {"samples.csv": SAMPLE_COLUMNS, "objects.csv": OBJECT_COLUMNS}[table]
    (folder / table).write_text(",".join(columns[2:]) + "\n")
    told = [line for line in problems(folder) if line.startswith(f"{table}, line 1: column ")]
    assert len(told) == 2
    assert all(f"column {name!r} is missing" in line for name, line in zip(columns[:2], told, strict=True))


def test_an_unknown_column_of_samples_is_told_with_the_nearest_name(folder):
    write_tables(folder, [{**SAMPLE, "expected_anser": "2"}], sample_columns=[*SAMPLE_COLUMNS, "expected_anser"])
    line = only_problem(folder)
    assert line.startswith("samples.csv, line 1: unknown column 'expected_anser'.")
    assert "Did you mean 'expected_answer'?" in line


@pytest.mark.parametrize("table", ["samples.csv", "objects.csv"])
def test_a_column_that_occurs_twice_is_told(folder, table):
    header, *rows = (folder / table).read_text().splitlines()
    (folder / table).write_text("\n".join([f"{header},image", *(f"{row},a.png" for row in rows)]) + "\n")
    assert any(line.startswith(f"{table}, line 1: column 'image' occurs 2 times") for line in problems(folder))


@pytest.mark.parametrize(("change", "fields"), [("{row},more", 10), ("a-q9,a.png", 2)], ids=["longer", "shorter"])
def test_a_row_of_another_length_is_told_and_the_others_are_checked_still(folder, change, fields):
    header, first, second = (folder / "samples.csv").read_text().splitlines()
    rows = [header, first, change.format(row=second), second.replace("gray", "purple")]
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")
    wrong_length, wrong_answer = problems(folder)
    assert wrong_length == f"samples.csv, line 3: has {fields} fields, the header has 9"
    assert wrong_answer.startswith("samples.csv, line 4: expected_answer 'purple'")


def test_a_study_without_samples_is_told(folder):
    write_tables(folder, [])
    assert only_problem(folder) == "samples.csv: has no rows"


def test_a_study_may_have_no_objects(folder):
    write_tables(folder, [{**SAMPLE, "target_object": ""}], [])
    assert len(read_study(folder, QUERY_TYPES).objects) == 0


def test_all_problems_of_all_files_are_told_at_once(folder):
    undecodable(folder)
    samples = [
        {**SAMPLE, "split": "train", "query": ""},
        {**COLOUR, "expected_answer": "purple", "target_object": "object_9"},
        {**COLOUR, "query_type": "colour"},
    ]
    objects = [OBJECT, {**SECOND, "x_max": "6", "object_id": "object 1"}, {**OTHER, "x_max": "99"}]
    write_tables(folder, samples, objects)
    expected = [
        ("samples.csv, line 2", "'a.png'"),
        ("samples.csv, line 2", "'object_1'"),
        ("samples.csv, line 2", "'train'"),
        ("samples.csv, line 2", "query is empty"),
        ("samples.csv, line 3", "'object_9'"),
        ("samples.csv, line 3", "'purple'"),
        ("samples.csv, line 4", "'b-q2'"),
        ("samples.csv, line 4", "'colour'"),
        ("objects.csv, line 3", "[6, 0, 6, 8]"),
        ("objects.csv, line 3", "'object 1'"),
        ("objects.csv, line 4", "[0, 0, 99, 8]"),
    ]
    told = problems(folder)
    assert len(told) == len(expected)
    for place, value in expected:
        assert [line for line in told if line.startswith(f"{place}: ") and value in line], (place, value)


def test_of_very_many_problems_the_first_are_told_and_the_rest_counted(folder):
    write_tables(folder, [{**SAMPLE, "sample_id": f"s{number}", "split": "train"} for number in range(60)])
    with pytest.raises(AtlasError) as caught:
        read_study(folder, QUERY_TYPES)
    first, *lines, last = str(caught.value).splitlines()
    assert (first, len(lines), last.strip()) == (f"{folder}: 60 problem(s)", 50, "... and 10 more")


# A box that is in order, of which one edge may be something else.
EDGES = st.sampled_from(["0", "4", "-1", "1e3", "nan", "inf", "-inf", "", "x", " 2 ", "1_0"])
BOXES = st.builds(lambda at, edge: [*"1144"[:at], edge, *"1144"[at + 1 :]], st.integers(0, 3), EDGES)
ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["o", "p", "q", "o o", ""]), BOXES), max_size=4)


@settings(deadline=None)
@given(ROWS, st.booleans())
@example([("b", "o", ["1", "1", "inf", "4"]), ("b", "p", ["1", "1", "4", "inf"])], False)
def test_objects_that_are_passed_by_their_columns_have_no_problem(rows, sized):
    flat = [(image, name, *box) for image, name, box in rows]
    table = pd.DataFrame(flat, columns=["image", "object_id", *study.BOX], dtype=str).assign(
        line=range(2, 2 + len(rows))
    )
    sizes = {"a": (3, 3)} if sized else {}
    found = list(study.check_objects("objects.csv", table, sizes))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study, "plainly_right", lambda objects, _: pd.Series(False, index=objects.index, dtype=bool))
        assert list(study.check_objects("objects.csv", table, sizes)) == found


def test_a_part_of_a_study_has_the_rows_of_its_images_in_order(tmp_path):
    samples = pd.DataFrame({"sample_id": ["1", "2", "3"], "image": ["b", "a", "b"]})
    objects = pd.DataFrame({"image": ["c", "b"], "object_id": ["o", "p"]})
    part = study.Study(tmp_path, samples, objects).on({"b"})
    assert (part.samples["sample_id"].tolist(), part.objects["object_id"].tolist()) == (["1", "3"], ["p"])


def test_an_image_of_both_splits_is_told_once_with_its_lines(folder):
    rows = [{**SAMPLE, "sample_id": f"s{n}", "split": split} for n, split in enumerate(("select", "", "evaluate") * 2)]
    write_tables(folder, samples=rows)
    told = only_problem(folder)
    assert "lines 2 and 4" in told
    assert f"image {SAMPLE['image']!r} has samples in both splits, select and evaluate" in told
    assert told.endswith("put all samples of an image into one split")


def test_an_image_of_both_splits_is_found_among_the_several_images_of_a_sample(folder):
    rows = [
        {**SAMPLE, "image": "a.png|sub/b.png", "split": "select"},
        {**SAMPLE, "sample_id": "other", "image": "sub/b.png", "target_object": "", "split": "evaluate"},
    ]
    write_tables(folder, samples=rows)
    assert "image 'sub/b.png' has samples in both splits" in only_problem(folder)


def test_splits_of_control_conditions_choose_no_head_and_may_differ(folder):
    write_tables(
        folder,
        samples=[
            {**SAMPLE, "split": "select"},
            {**SAMPLE, "sample_id": "turned", "condition": "turned", "split": "evaluate"},
        ],
    )
    assert len(read_study(folder, QUERY_TYPES).samples) == 2


def test_a_study_of_conditions_alone_is_refused(folder):
    """Every control is one of a sample of the study itself; of none there is nothing to tell."""
    write_tables(folder, samples=[{**SAMPLE, "condition": "turned"}])
    assert "every row names a condition" in only_problem(folder)


def test_the_part_of_a_study_without_objects_has_the_columns_of_the_whole(folder):
    """pandas takes an empty list for a choice of columns, not of rows."""
    write_tables(folder, samples=[{**SAMPLE, "target_object": ""}], objects=[])
    study = read_study(folder, QUERY_TYPES)
    part = study.on({SAMPLE["image"]})
    assert list(part.objects) == list(study.objects)
    assert part.samples["sample_id"].tolist() == [SAMPLE["sample_id"]]
    assert study.on(set()).samples.empty
    assert list(study.on(set()).samples) == list(study.samples)
