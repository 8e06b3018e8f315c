"""The sheet of a study's boxes: every picture in its own proportions, every box where objects.csv says."""

import numpy as np
import pytest
from attention_atlas.cli import app
from attention_atlas.inputs.study import read_study
from attention_atlas.paper import boxes
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image
from typer.testing import CliRunner

SIZES = {"wide.png": (400, 100), "tall.png": (60, 90), "square.png": (50, 50), "huge.png": (3000, 1500)}
HEADER = "image,object_id,label,colour,x_min,y_min,x_max,y_max\n"
OBJECTS = {
    "wide.png": [("coin", 0, 0, 10, 20), ("coin", 390, 80, 400, 100), ("cat", 30.5, 10, 60, 90)],
    "huge.png": [("cat", 1000, 500, 2999, 1499)],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name, size in SIZES.items():
        Image.new("RGB", size, "white").save(tmp_path / "images" / name)
    rows = [
        f"{name},object_{number},{label},,{','.join(map(str, box))}\n"
        for name, objects in OBJECTS.items()
        for number, (label, *box) in enumerate(objects)
    ]
    (tmp_path / "objects.csv").write_text(HEADER + "".join(rows))
    lines = ["sample_id,image,query_id,query_type,query,expected_answer,condition,target_object,split"]
    lines += [f"{name[:-4]},{name},q,free,Where?,,,," for name in SIZES]
    (tmp_path / "samples.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def sheet(folder):
    return boxes.draw(read_study(folder, None), SIZES)


def test_each_picture_has_its_proportions_and_the_boxes_of_its_objects(sheet):
    width, height = sheet.get_size_inches()
    assert width * 25.4 == pytest.approx(178)
    assert [axes.get_title(loc="left") for axes in sheet.get_axes()] == [
        f"{n}, {w} × {h}" for n, (w, h) in SIZES.items()
    ]
    for axes, (name, (wide, tall)) in zip(sheet.get_axes(), SIZES.items(), strict=True):
        place = axes.get_position()
        assert place.width * width / (place.height * height) == pytest.approx(wide / tall)
        assert 0 <= place.x0 < place.x1 <= 1
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, wide), (tall, 0))
        assert axes.get_images()[0].get_extent() == [0, wide, tall, 0]
        drawn = [
            (*patch.get_xy(), patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height())
            for patch in axes.patches
            if isinstance(patch, Rectangle)
        ]
        assert sorted(drawn) == sorted(tuple(box) for _, *box in OBJECTS.get(name, []))


def test_a_label_is_written_once_in_the_colour_of_its_boxes(sheet):
    written = {text.get_text(): text.get_color() for text in sheet.findobj(Text) if text in sheet.texts}
    assert set(written) == {"coin × 2", "cat"}
    colours = [patch.get_edgecolor() for patch in sheet.get_axes()[0].patches]
    assert colours[0] == colours[1] != colours[2]


def test_pictures_and_texts_stand_apart(sheet):
    sheet.draw_without_rendering()
    texts = [text.get_window_extent() for text in [*sheet.texts, *(axes._left_title for axes in sheet.get_axes())]]
    pictures = [axes.get_window_extent() for axes in sheet.get_axes()]
    for index, one in enumerate([*texts, *pictures]):
        assert not any(one.overlaps(other) for other in [*texts, *pictures][:index])
        assert np.all(one.min >= 0)
        assert np.all(one.max <= sheet.bbox.max)


def test_the_images_of_a_question_about_several_are_drawn_one_by_one(folder, tmp_path):
    with (folder / "samples.csv").open("a") as file:
        file.write("both,wide.png|tall.png,q,free,Which is wider?,,,,\n")
    output = tmp_path / "boxes.png"
    ran = CliRunner().invoke(app, ["boxes", str(folder), "--output", str(output), "--dpi", "50"])
    assert ran.exit_code == 0, ran.output
    assert "4 of 4 images" in ran.output


def test_boxes_that_look_wrong_are_doubted_by_the_commands_that_check_and_draw_them(folder, tmp_path):
    (folder / "objects.csv").write_text(HEADER + "huge.png,o,cat,,230,230,780,780\nhuge.png,p,dog,,30,500,600,990\n")
    header = (folder / "samples.csv").read_text().splitlines()[0]
    (folder / "samples.csv").write_text(f"{header}\nhuge,huge.png,q,spatial,Where?,,,o,\n")
    for command in (["validate", str(folder)], ["boxes", str(folder), "--output", str(tmp_path / "b.png")]):
        ran = CliRunner().invoke(app, command)
        assert ran.exit_code == 0, ran.output
        assert ran.output.count("all 2 boxes on images of more than 1000 px lie within 0 to 1000") == 1


def test_the_command_draws_the_wanted_images_and_refuses_an_unknown_one(folder, tmp_path):
    runner, output = CliRunner(), tmp_path / "sheet" / "boxes.png"
    asked = ["boxes", str(folder), "--output", str(output), "--dpi", "50", "--image", "tall.png"]
    assert runner.invoke(app, asked).exit_code == 0
    with Image.open(output) as image:
        assert image.width == round(178 / 25.4 * 50)
    refused = runner.invoke(app, [*asked, "--image", "tal.png"])
    assert refused.exit_code == 1
    assert "has no image 'tal.png'. Did you mean 'tall.png'?" in refused.output
