"""A command reads the settings that its catalogue declares and no other; a job is compared by exactly these."""

import json

import pytest
import yaml
from attention_atlas import declared
from attention_atlas.analysis.catalogue import STEPS
from attention_atlas.attention import catalogue as attention
from attention_atlas.cli import app
from attention_atlas.config import Capture, Extraction, Settings
from attention_atlas.errors import AtlasError
from attention_atlas.paper import catalogue as paper
from typer.testing import CliRunner

RUNS = [{"study": "shapes", "model": "tiny"}]
VALUES = declared.as_values(Settings(runs=RUNS))
DECLARED = {
    **{name: step.settings for name, step in STEPS.items()},
    **{f"figure {name}": sources.settings for name, sources in paper.FIGURES.items()},
    **{"table": paper.TABLE_SETTINGS, "extract": attention.EXTRACTION_SETTINGS, "controls": attention.CONTROL_SETTINGS},
    **{"random_weights": attention.RANDOM_WEIGHTS_SETTINGS, "intervene": attention.INTERVENTION_SETTINGS},
}


@pytest.mark.parametrize("name", DECLARED)
def test_every_declared_key_is_a_setting_and_stands_once(name):
    keys = declared.expanded(DECLARED[name])
    assert len(set(keys)) == len(keys)
    for key in keys:
        declared.at(VALUES, key)


@pytest.mark.parametrize("key", ["steps.selektor", "nothing", "steps.selector.first"])
def test_a_key_that_is_no_setting_is_refused(key):
    with pytest.raises(AtlasError, match=f"declares the setting '{key}', which does not exist"):
        declared.expanded([key])


def test_a_setting_that_is_not_declared_cannot_be_read():
    given = declared.declared(VALUES, ["steps", "bands.layers", "tests.margins.auroc"])
    assert given == {
        "steps": {"selector": "answer"},
        "bands": {"layers": [11, 25]},
        "tests": {"margins": {"auroc": 0.05}},
    }
    for read, name in (
        (lambda: given["pooling"], "pooling"),
        (lambda: given.get("pooling", {}), "pooling"),
        (lambda: given["bands"]["entropy"], "bands.entropy"),
        (lambda: given["tests"]["margins"].get("entropy", 0.1), "tests.margins.entropy"),
    ):
        with pytest.raises(declared.UndeclaredSettingError, match=f"the setting {name} is read, but not declared"):
            read()


def test_a_field_that_is_not_declared_cannot_be_read_either():
    given = declared.declared(VALUES, ["extraction.threads", "capture"])
    extraction = declared.typed(Extraction, given["extraction"])
    assert extraction.threads == 1
    with pytest.raises(AttributeError, match="batch_size"):
        _ = extraction.batch_size
    assert declared.typed(Capture, given["capture"]) == Capture()


def test_what_a_job_is_compared_by_names_its_key_and_is_short():
    texts = {key: text for name in Settings.model_fields if name != "runs" for key, text in shown(name)}
    assert texts["steps.selector"] == 'steps.selector = "answer"'
    assert texts["bands.entropy"] == "bands.entropy = [1.5, 3.0]"
    for name in VALUES["query_types"]:
        assert texts[f"query_types.{name}"].startswith(f"query_types.{name} = (")
    for key, text in texts.items():
        assert text.startswith(f"{key} = ")
        assert len(text) <= len(f"{key} = ") + declared.LONGEST_SHOWN


def shown(name):
    """Each key of a section with its text."""
    return [pair for key in declared.expanded([name]) for pair in declared.compared(VALUES, key).items()]


def test_long_values_that_differ_are_told_apart():
    one, other = (declared.short("a.b", f"{'x' * 100}{end}") for end in "12")
    assert one != other
    assert len(one) == len("a.b = (123456789012)")


TEXTS = (
    *("{x} {{y}} $HOME 'q' \"", "é 图 \U0001f600", "\x00\x07\x85\u2028\ufeff", "a\r\nb\t", "C:\\new"),
    *("yes", "1.0", "null", "- a", "# b", ""),
)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_survives_the_file_that_a_command_is_given(tmp_path, text):
    values = {**VALUES, "runs": RUNS, "extraction": {"system_prompt": text}}
    path = declared.write_once(tmp_path, "name", values)
    assert declared.write_once(tmp_path, "name", values) == path
    assert declared.read_declared(path, ["extraction.system_prompt"]) == {"extraction": {"system_prompt": text}}


def test_the_order_of_entries_means_nothing(tmp_path):
    types = {"size": {"answers": {"small": [], "large": []}}, "age": {"answers": {"old": [], "new": []}}}
    given = []
    for number, ordered in enumerate((types, dict(reversed(types.items())))):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump({"runs": RUNS, "query_types": ordered}, sort_keys=False))
        given.append(declared.read_declared(path, ["query_types", "contrasts"]))
    assert json.dumps(given[0]) == json.dumps(given[1])
    assert list(given[0]["query_types"]) == ["age", "size"]


WRONG = {
    "is not there": None,
    "is not JSON": '{"runs": ',
    "must hold a mapping of settings": "[1, 2]",
    "runs: is missing": "{}",
    "statistics.seeds: unknown setting": json.dumps({"runs": RUNS, "statistics": {"seeds": 1}}),
}


@pytest.mark.parametrize("told", WRONG)
def test_a_file_of_settings_that_cannot_be_used_is_told_in_a_sentence(tmp_path, told):
    path = tmp_path / "settings.json"
    if WRONG[told] is not None:
        path.write_text(WRONG[told])
    ran = CliRunner().invoke(app, [*TABLE, "--settings", str(path), "--csv", str(tmp_path / "made.csv")])
    assert ran.exit_code == 1
    assert f"Error: {path}" in ran.output
    assert told in ran.output
    assert "Traceback" not in ran.output


TABLE = ["table", "--name", "table1", "--input", "nowhere.parquet"]


def test_a_folder_in_the_place_of_settings_is_told(tmp_path):
    ran = CliRunner().invoke(app, [*TABLE, "--settings", str(tmp_path), "--csv", str(tmp_path / "made.csv")])
    assert (ran.exit_code, "is a folder; give a file" in ran.output) == (1, True)
