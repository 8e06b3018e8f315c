"""Files that tables name: links are followed, names may not lead out, and nothing but a file is ever opened."""

import os
import socket
import unicodedata

import pandas as pd
import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.files import file_problem, inside, is_missing, located
from attention_atlas.inputs.images import read_image, read_mask
from attention_atlas.inputs.picture_files import PictureFiles
from PIL import Image

NFC, NFD = (unicodedata.normalize(form, "Köln/é 1.png") for form in ("NFC", "NFD"))


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def listening(path):
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(path.parent)  # an address of a socket may not be long
        one.bind(path.name)


def folder_of_files(path):
    path.mkdir()


def dangling(path):
    path.symlink_to("gone.png")


def loop(path):
    path.symlink_to(path.name)


NO_FILES = {
    pipe: "is a pipe, not a file",
    device: "is a device, not a file",
    listening: "is a socket, not a file",
    folder_of_files: "is a folder, not a file",
    dangling: "is a link to gone.png, which is not there",
    loop: "is a link that leads back to itself",
}


@pytest.mark.parametrize("make", NO_FILES, ids=lambda make: make.__name__)
def test_what_is_no_file_is_never_opened_but_said_to_be_what_it_is(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "images" / "a.png"
    path.parent.mkdir()
    make(path)
    for read in (read_image, read_mask):
        with pytest.raises(AtlasError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: {NO_FILES[make]}")
    monkeypatch.chdir(tmp_path)
    pictures = PictureFiles(path.parent, tmp_path / "samples.csv", pd.Series(["a.png"]), pd.Series([2]))
    with pytest.raises(AtlasError, match=f"line 2: {path} {NO_FILES[make]}"):
        pictures.folder_of({"a.png"})


def test_a_link_to_a_file_anywhere_is_that_file(tmp_path):
    cache, images = tmp_path / "cache", tmp_path / "images"
    cache.mkdir()
    images.mkdir()
    Image.new("RGB", (3, 2), "red").save(cache / "0f", "PNG")
    (images / "a.png").symlink_to(cache / "0f")
    (images / "all").symlink_to(cache)
    for name in ("a.png", "all/0f"):
        assert read_image(inside(images, name)).size == (3, 2)
        assert file_problem(inside(images, name)) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../a.png", "leads out of"),
        ("sub/../../a.png", "leads out of"),
        ("sub/../a.png", "leads out of"),
        ("..", "leads out of"),
        ("/etc/passwd", "leads out of"),
        ("", "is empty"),
        (" \t", "is empty"),
        ("a\0.png", "holds a NUL byte"),
        ("\ud800.png", r"'\\ud800.png' holds half of a character"),
        ("http://images.cocodataset.org/a.png", "is an address; download the file"),
        (f"sub/{'x' * 252}.png", "is a name of 256 bytes, of which file systems take 255"),
        (f"{'é' * 126}.png", "is a name of 256 bytes"),
    ],
)
def test_a_name_that_no_file_of_the_folder_can_have_is_refused(tmp_path, name, problem):
    with pytest.raises(AtlasError, match=problem) as caught:
        inside(tmp_path, name)
    str(caught.value).encode()  # it can be printed and logged


def test_a_name_may_be_as_long_as_files_may_be_called(tmp_path):
    name = "x" * 251 + ".png"
    (tmp_path / name).touch()
    assert inside(tmp_path, name).is_file()


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFD, NFC), (NFC, NFD)], ids=["NFD on disk", "NFC on disk"])
def test_a_file_is_found_by_its_name_in_another_unicode_form(tmp_path, on_disk, in_table):
    file = tmp_path / on_disk
    file.parent.mkdir()
    file.touch()
    assert located(tmp_path, in_table).samefile(file)
    assert inside(tmp_path, in_table).samefile(file)


def test_the_file_of_the_very_name_comes_before_one_that_reads_the_same(tmp_path):
    for name in (NFC, NFD):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    assert located(tmp_path, NFC).read_text() == NFC
    assert located(tmp_path, NFD).read_text() == NFD


def test_another_name_is_not_found(tmp_path):
    (tmp_path / "é.png").touch()
    assert located(tmp_path, "e.png") == tmp_path / "e.png"
    assert located(tmp_path, "è.png") == tmp_path / "è.png"
    assert "there is no such file" in file_problem(tmp_path / "è.png")
    assert "folders are written with '/'" in file_problem(tmp_path / "sub\\a.png")


def test_missing_is_what_is_not_there_or_leads_nowhere(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    missing = [is_missing(tmp_path / name) for name in ("gone", "link", "file/below", "file", "loop", ".", "x" * 300)]
    assert missing == [True, True, True, False, False, False, False]
