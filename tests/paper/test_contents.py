"""The paper set holds what rules make, all of it, and nothing else."""

import json

import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.paper import catalogue, contents


@pytest.fixture
def folders(tmp_path):
    """The folders of a run with every file that the rules make."""
    tables, figures = tmp_path / "tables", tmp_path / "figures"
    for path in contents.expected(tables, figures):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    return tables, figures


def test_a_whole_set_is_listed_by_name(folders):
    tables, figures = folders
    (figures / ".gitignore").write_text("hidden")
    contents.write_contents(tables / "contents.json", tables, figures)
    contents.write_contents(tables / "contents.json", tables, figures)  # its own list is no stranger
    listed = json.loads((tables / "contents.json").read_text())
    assert "table1.csv" in listed["tables"]
    assert "findings.md" in listed["tables"]
    assert set(listed["figures"]) == {f"{name}.{kind}" for name in catalogue.FIGURES for kind in ("pdf", "png")}


@pytest.mark.parametrize("name", ["tables/old table.csv", "figures/layer_profile_v2.png", "figures/more/x.pdf"])
def test_a_file_that_no_rule_makes_is_refused_with_the_command_that_removes_it(folders, tmp_path, name):
    stranger = tmp_path / name
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_text("x")
    assert contents.strangers(*folders) == [stranger]
    with pytest.raises(AtlasError, match="no rule makes these files") as caught:
        contents.write_contents(folders[0] / "contents.json", *folders)
    assert str(caught.value).endswith((f"rm {stranger}", f"rm '{stranger}'"))
    assert not (folders[0] / "contents.json").exists()


def test_a_missing_file_is_told(folders):
    (folders[1] / "power.pdf").unlink()
    with pytest.raises(AtlasError, match=r"power\.pdf: not there"):
        contents.write_contents(folders[0] / "contents.json", *folders)


def test_folders_that_are_not_there_hold_no_strangers(tmp_path):
    assert contents.strangers(tmp_path / "a", tmp_path / "b") == []
