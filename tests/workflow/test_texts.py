"""Nothing that a user writes is expanded on its way to a command: not by Snakemake, str.format or a shell."""

import csv
import shutil

import pytest
import xarray as xr
import yaml
from attention_atlas.declared import as_values
from attention_atlas.wiring import settings_of
from PIL import Image
from tokenizers import Tokenizer

from .conftest import small_project
from .stand_in import stand_in_project

pytestmark = pytest.mark.xdist_group("stand_in")
TEXT = "You are {model}, part {shard}. {{x}} {a, b} {} {0} $HOME `id` $(id) %s \\w{3} \\n 'q\" ; & > * # $x^2$ é 图 \t."
# What a text may not hold where it is a regular expression, or has no further spelling.
EXPRESSION = "Is \\{model\\} in \\w{3} .{1,9}\\$HOME \"'%s\\?"
QUERY = "Is {model} in abc it$HOME \"'%s?"
MODEL_FOLDER = "data/models/my {model} {x} 'tiny' \"$HOME\" `id` %s"


def hostile(settings):
    """Settings with that text wherever any text may stand."""
    settings["extraction"]["system_prompt"] = TEXT
    settings["controls"] |= {
        "conditions": ["generic", "paraphrase", "random_weights"],
        "generic_query": f"generic {TEXT}",
        "paraphrases": {EXPRESSION: "Does \\g<0> show {shard} $HOME?"},
    }
    settings["query_types"]["recognition"] = {
        "answers": {f"yes {TEXT}": [f"other {TEXT}"], "no": []},
        "needs_target": False,
        "without_target": f"yes {TEXT}",
    }
    settings["contrasts"] = {
        "c.x": {
            "family": f"family {TEXT}",
            "first": {"query_ids": [f"id {TEXT}"]},
            "claim": f"claim {TEXT}",
            "original": f"original {TEXT}",
        }
    }
    return settings


def hostile_study(folder):
    """One image of that name, two samples; query, query id, answer and label are that text."""
    image = "a {model} 'b' \"c\" $HOME `id` %s #.png"
    Image.new("RGB", (128, 128), "white").save(folder / "images" / image)
    samples = [
        {
            **{"sample_id": name, "image": image, "query_id": f"id {TEXT}", "query_type": "recognition"},
            **{"query": QUERY, "expected_answer": f"yes {TEXT}", "condition": "", "target_object": "o", "split": ""},
        }
        for name in ("s0", "s1")
    ]
    box = {"x_min": 0, "y_min": 0, "x_max": 64, "y_max": 64}
    objects = [{"image": image, "object_id": "o", "label": f"label {TEXT}", "colour": TEXT, **box}]
    for name, rows in (("samples", samples), ("objects", objects)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


def made_hostile(project):
    """A project with that text in its settings, its study and the path of its model; returns the settings."""
    path, models = project.folder / "config/config.yaml", project.folder / "config/models.yaml"
    settings = hostile(yaml.safe_load(path.read_text(encoding="utf-8")))
    path.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    shutil.copytree(project.folder / "data/models/shapes-tiny", project.folder / MODEL_FOLDER)
    entry = {"path": MODEL_FOLDER, "dtype": "float32", "grid": [8, 8], "device": "cpu"}
    models.write_text(yaml.safe_dump({"models": {"shapes-tiny": entry}}), encoding="utf-8")
    shutil.rmtree(project.folder / "data/shapes")
    (project.folder / "data/shapes/images").mkdir(parents=True)
    hostile_study(project.folder / "data/shapes")
    return settings


def texts_in(value):
    """Every text in nested data, keys of mappings too."""
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts_in(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in texts_in(part)]
    return [value] if isinstance(value, str) else []


def test_every_text_of_the_settings_reaches_every_command_to_the_byte(tmp_path):
    """The folder of the project is called so too."""
    project = stand_in_project(tmp_path / "my project 'q' \"$HOME\" %s")
    written = made_hostile(project)
    project.compute()
    calls = [call for call in project.calls() if "settings" in call]
    assert {call["arguments"][0] for call in calls} >= {
        "extract",
        "intervene",
        "answers",
        "compare",
        "figure",
        "validate",
    }
    expected = as_values(settings_of(written))
    for call in calls:
        found = call["settings"]
        for name in ("extraction", "controls", "contrasts"):
            assert found[name] == expected[name], call["arguments"]
        assert found["query_types"] == {"recognition": expected["query_types"]["recognition"]}
    models = [call["models"] for call in calls if "models" in call]
    assert len(models) >= 4
    assert all(given["models"]["shapes-tiny"]["path"] == MODEL_FOLDER for given in models)
    assert sum(TEXT in text for text in texts_in(expected)) == 9  # the test means something
    assert project.planned() == {}


def test_a_project_in_a_folder_with_braces_is_refused_in_a_sentence(tmp_path):
    """Snakemake itself formats the path of the conda file of each rule."""
    project = stand_in_project(tmp_path / "my {project}")
    told = project.run("snakemake", "-n", fails=True)
    assert "my {project}: Snakemake expands braces in the path of a project; move it to a folder without" in told


def test_a_weight_of_a_model_whose_path_has_braces_is_still_compared(tmp_path):
    project = stand_in_project(tmp_path / "project")
    made_hostile(project)
    project.compute("attention")
    config = project.folder / MODEL_FOLDER / "generation_config.json"
    config.write_text(config.read_text() + "\n")
    plan = project.run("snakemake", "-n", "attention")
    assert "rule extract:" in plan
    assert "before: 'weights = " in plan


def test_the_model_is_asked_what_was_written(tmp_path):
    """One real shard: system prompt and query as the tokens say them that the model was given."""
    project = small_project(tmp_path / "project")
    made_hostile(project)
    shard = "results/attention/shapes/shapes-tiny/000.nc"
    project.run("snakemake", "--cores", "1", "--config", "shards=1", "--", shard)
    with xr.open_datatree(project.folder / shard, engine="netcdf4") as tree:
        node = next(iter(tree.leaves)).to_dataset().load()
    tokens = Tokenizer.from_file(str(project.folder / MODEL_FOLDER / "tokenizer.json"))
    prompt = tokens.decode(node["input_ids"].values[0].tolist(), skip_special_tokens=False)
    assert node["query"].values.tolist() == [QUERY] * 2
    assert QUERY in prompt
    assert TEXT in prompt
