"""Pictures by content: what makes a digest change, which files are read again, what is told of missing ones."""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from attention_atlas import provenance
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.picture_files import PictureFiles
from attention_atlas.provenance import file_hashes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three pictures in the project's folder, long settled, as far as the memory asks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "LATELY_NS", 0)
    images = tmp_path / "images"
    images.mkdir()
    for name in "abc":
        (images / name).write_bytes(name.encode())
    return images


@pytest.fixture
def read(monkeypatch):
    """The names of the files that were read."""
    names = []
    hashed = provenance.file_sha256
    monkeypatch.setattr(provenance, "file_sha256", lambda path: names.append(path.name) or hashed(path))
    return names


def hashes(folder):
    return file_hashes([str(path) for path in sorted(folder.iterdir())], folder.parent / "memory.json")


def test_hashes_are_those_of_the_contents_and_files_are_read_once(folder, read):
    expected = [hashlib.sha256(name).hexdigest() for name in (b"a", b"b", b"c")]
    assert list(hashes(folder).values()) == expected
    assert list(hashes(folder).values()) == expected
    assert sorted(read) == ["a", "b", "c"]


def test_an_edit_is_seen_though_size_and_time_of_the_content_are_as_they_were(folder, read):
    before, status = hashes(folder), (folder / "b").stat()
    (folder / "b").write_bytes(b"B")
    os.utime(folder / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
    after = hashes(folder)
    assert [path for path in before if before[path] != after[path]] == [str(folder / "b")]
    assert sorted(read) == ["a", "b", "b", "c"]


def test_a_link_that_is_pointed_elsewhere_or_whose_file_is_edited_is_seen(folder, read):
    cache = folder.parent / "cache"
    cache.mkdir()
    link = folder / "link"
    for name in ("one", "two"):
        (cache / name).write_bytes(name.encode())
        os.utime(cache / name, (1, 1))
    link.symlink_to(cache / "one")
    seen = [hashes(folder)[str(link)]]
    (cache / "one").write_bytes(b"ONE")
    os.utime(cache / "one", (1, 1))
    seen.append(hashes(folder)[str(link)])
    link.unlink()
    link.symlink_to(cache / "two")
    seen.append(hashes(folder)[str(link)])
    assert seen == [hashlib.sha256(content).hexdigest() for content in (b"one", b"ONE", b"two")]


def test_a_name_in_another_unicode_form_is_the_file_and_its_content(folder):
    (folder / "Ko\u0308ln.png").write_bytes(b"a")
    named = files(folder, "K\u00f6ln.png", "a")
    assert named.folder_of({"K\u00f6ln.png"}) == str(folder)
    before = named.digest({"K\u00f6ln.png"})
    (folder / "Ko\u0308ln.png").write_bytes(b"b")
    assert files(folder, "K\u00f6ln.png").digest({"K\u00f6ln.png"}) != before


def test_two_files_of_one_size_and_one_time_have_different_stamps(folder, monkeypatch):
    real = Path.stat

    def at_once(path):
        status = list(real(path))
        return SimpleNamespace(st_dev=status[2], st_ino=status[1], st_size=status[6], st_mtime_ns=0, st_ctime_ns=0)

    monkeypatch.setattr(Path, "stat", at_once)
    assert provenance.stamp(str(folder / "a")) != provenance.stamp(str(folder / "b"))


def test_a_touched_file_is_read_again_to_the_same_hash(folder, read):
    before = hashes(folder)
    os.utime(folder / "a", ns=(1, 1))
    assert hashes(folder) == before
    assert sorted(read) == ["a", "a", "b", "c"]


def test_a_file_that_changed_just_now_is_not_remembered(folder, read, monkeypatch):
    monkeypatch.setattr(provenance, "LATELY_NS", 3600 * 10**9)
    hashes(folder)
    hashes(folder)
    assert sorted(read) == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', "\0"])
def test_a_damaged_memory_is_forgotten(folder, content):
    (folder.parent / "memory.json").write_text(content)
    assert len(hashes(folder)) == 3


def files(folder, *names):
    return PictureFiles(folder, folder.parent / "samples.csv", pd.Series(names), pd.Series(range(2, 2 + len(names))))


def test_a_digest_is_of_names_and_contents_whatever_their_order(folder):
    digest = files(folder, "a", "b", "c").digest({"a", "b"})
    assert files(folder, "c", "b", "a", "a").digest(["b", "a"]) == digest
    assert files(folder, "a", "b", "c").digest({"a", "c"}) != digest
    (folder / "c").write_bytes(b"of another shard")
    assert files(folder, "a", "b", "c").digest({"a", "b"}) == digest
    (folder / "b").write_bytes(b"edited")
    assert files(folder, "a", "b", "c").digest({"a", "b"}) != digest


def test_missing_files_are_told_with_the_first_line_that_names_them(folder):
    named = files(folder, "a", "x", "x", "", "b")
    assert named.folder_of({"a", "b"}) == str(folder)
    with pytest.raises(
        AtlasError, match=r"samples.csv: 1 image\(s\) missing; .* `dvc pull .*images`\n  line 3: .*/x is"
    ):
        named.folder_of({"a", "x"})
    with pytest.raises(AtlasError, match=r"line 5: '': is empty; it must name a file"):
        named.folder_of({""})
