"""Settings: generated files that cannot drift, and problems told with their place and the nearest valid name."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from attention_atlas.config import (
    Models,
    Settings,
    checked,
    effective_entry,
    load_models,
    load_settings,
)
from attention_atlas.errors import AtlasError
from attention_atlas.settings_files import generated_files, write_generated_files
from attention_atlas.wiring import settings_of

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "config"
COMMIT = "0123456789abcdef" * 2 + "01234567"
RUNS = [{"study": "shapes", "model": "tiny"}]


def problems(section, content):
    """The lines of the one error that content is refused with, after its first."""
    with pytest.raises(AtlasError) as caught:
        checked(section, content, "somewhere.yaml")
    first, *lines = str(caught.value).splitlines()
    assert first == f"somewhere.yaml: {len(lines)} problem(s)"
    return [line.strip() for line in lines]


def only_problem(section, content):
    (line,) = problems(section, content)
    return line


def written(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", generated_files())
def test_files_made_from_the_types_are_what_the_types_say(name):
    assert (ROOT / name).read_text(encoding="utf-8") == generated_files()[name], "run `atlas settings write`"


def test_writing_keeps_an_edited_config(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("mine", encoding="utf-8")
    assert {path.relative_to(tmp_path).as_posix() for path in write_generated_files(tmp_path)} == {
        *("config/config.schema.json", "config/models.schema.json", "docs/settings.md")
    }
    assert (tmp_path / "config" / "config.yaml").read_text(encoding="utf-8") == "mine"


def test_the_shipped_settings_are_the_defaults_for_the_demo():
    assert load_settings(CONFIG / "config.yaml") == Settings.model_validate(
        {"runs": [{"study": "shapes", "model": "shapes-tiny"}], "capture": {"value_weighted": True}}
    )


@pytest.mark.parametrize("name", ["config", "models"])
def test_the_json_schema_accepts_the_shipped_yaml_and_refuses_an_unknown_key(name):
    schema = json.loads((CONFIG / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    content = yaml.safe_load((CONFIG / f"{name}.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(content, schema)
    with pytest.raises(jsonschema.ValidationError, match="unheard"):
        jsonschema.validate({**content, "unheard": 1}, schema)


@pytest.mark.parametrize(
    ("place", "value"), [("batch_size", 0), ("batch_size", "many"), ("threads", 1.5), ("system_prompt", None)]
)
def test_the_json_schema_refuses_what_the_types_refuse(place, value):
    schema = json.loads((CONFIG / "config.schema.json").read_text(encoding="utf-8"))
    content = {"runs": RUNS, "extraction": {place: value}}
    assert only_problem(Settings, content).startswith(f"extraction.{place}: ")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


def leaves(schema, definitions, prefix=""):
    """Names of all settings of a JSON schema, sections joined by dots."""
    for name, value in schema["properties"].items():
        reference = value.get("$ref", "").removeprefix("#/$defs/")
        if reference:
            yield from leaves(definitions[reference], definitions, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize(
    ("section", "heading"),
    [
        (None, "config/config.yaml"),
        ("Run", "config/config.yaml: one entry of `runs`"),
        ("QueryType", "config/config.yaml: one entry of `query_types`"),
        ("ModelEntry", "config/models.yaml: one entry of `models`"),
    ],
)
def test_the_docs_describe_every_setting(section, heading):
    file = "models" if section == "ModelEntry" else "config"
    schema = json.loads((CONFIG / f"{file}.schema.json").read_text(encoding="utf-8"))
    wanted = set(leaves(schema["$defs"][section] if section else schema, schema["$defs"]))
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    table = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line) for line in table.splitlines() if line.startswith("| `")]
    assert {row[1].strip(" `") for row in rows} == wanted
    assert all(row[4].strip() for row in rows), "a setting without its meaning"


# Unknown names


@pytest.mark.parametrize(
    ("section", "content", "line"),
    [
        (Settings, {"runs": RUNS, "poolin": {}}, "poolin: unknown setting. Did you mean 'pooling'?"),
        (Settings, {"runs": RUNS, "pooling": {"head": "max"}}, "pooling.head: unknown setting. Did you mean 'heads'?"),
        (
            Settings,
            {"runs": [{**RUNS[0], "gird": "native"}]},
            "runs.0.gird: unknown setting. Did you mean 'grid'?",
        ),
        (
            Settings,
            {"runs": RUNS, "query_types": {"answers": {"answers": {}, "need_target": True}}},
            "query_types.answers.need_target: unknown setting. Did you mean 'needs_target'?",
        ),
        (
            Models,
            {"models": {"path": {"path": "x", "revison": COMMIT}}},
            "models.path.revison: unknown setting. Did you mean 'revision'?",
        ),
        (Models, {"models": {}, "model": {}}, "model: unknown setting. Did you mean 'models'?"),
        (
            Settings,
            {"runs": RUNS, "pooling": {"heads": "maximum"}},
            "pooling.heads: 'maximum' is not one of max, mean. Did you mean 'max'?",
        ),
        (
            Settings,
            {"runs": RUNS, "steps": {"selector": "answers"}},
            "steps.selector: 'answers' is not one of answer, first, final, last, all, mean. Did you mean 'answer'?",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_valid_one(section, content, line):
    assert only_problem(section, content) == line


def test_a_name_unlike_any_other_lists_those_that_there_are():
    assert only_problem(Settings, {"runs": RUNS, "pooling": {"zzz": 1}}).endswith("unknown setting. Known: 'heads'.")


def test_all_problems_are_told_at_once():
    content = {"runs": [], "shards": 0, "extraction": {"batch_size": -1, "threads": "x"}, "figure": {}}
    assert [line.split(":")[0] for line in problems(Settings, content)] == [
        *("runs", "shards", "extraction.batch_size", "extraction.threads", "figure")
    ]


# Impossible values


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"runs": RUNS, "shards": 1000}, "shards"),
        ({"runs": RUNS, "generation": {"max_new_tokens": 0}}, "generation.max_new_tokens"),
        ({"runs": RUNS, "generation": {"temperature": 0}}, "generation.temperature"),
        ({"runs": RUNS, "statistics": {"confidence": 95}}, "statistics.confidence"),
        ({"runs": RUNS, "statistics": {"min_images": 1}}, "statistics.min_images"),
        ({"runs": RUNS, "bands": {"entropy": [3.0, 1.5]}}, "bands"),
        ({"runs": RUNS, "bands": {"layers": [11, 40]}}, "bands"),
        ({"runs": RUNS, "bands": {"layers": [11]}}, "bands.layers.1"),
        ({"runs": RUNS, "pooling": None}, "pooling"),
        ({"runs": [{"study": "../secret", "model": "x"}]}, "runs.0.study"),
        ({"runs": RUNS, "log_level": "loud"}, "log_level"),
    ],
)
def test_an_impossible_value_is_refused_at_its_place(content, place):
    assert only_problem(Settings, content).startswith(f"{place}: ")


@pytest.mark.parametrize("grid", [[0, 8], [8], [8, 8, 8], "8x8", [8.5, 8], [-1, 4]])
def test_a_grid_that_is_none_is_refused(grid):
    lines = problems(Settings, {"runs": [{**RUNS[0], "grid": grid}]})
    assert all(line.startswith("runs.0.grid") for line in lines)
    assert any(repr(grid) in line for line in lines)


@pytest.mark.parametrize(("grid", "kept"), [("native", "native"), ([6, 9], (6, 9)), (None, (8, 8))])
def test_a_run_may_have_its_own_grid(grid, kept):
    settings = checked(Settings, {"runs": [{**RUNS[0], "grid": grid}]}, "x")
    models = checked(Models, {"models": {"tiny": {"path": "x", "grid": [8, 8]}}}, "x").models
    assert effective_entry(settings.runs[0], models).grid == kept


def test_a_run_is_called_by_its_model_and_grid_or_by_its_name():
    """One study and model on several grids are several runs, each with folders of its own."""
    runs = [*RUNS, *({**RUNS[0], "grid": grid} for grid in ("native", [6, 9])), {**RUNS[0], "name": "again"}]
    settings = checked(Settings, {"runs": runs}, "x")
    assert [run.folder for run in settings.runs] == ["tiny", "tiny-native", "tiny-6x9", "again"]


@pytest.mark.parametrize(
    "other", [RUNS[0], {"study": "shapes", "model": "else", "name": "tiny"}, {**RUNS[0], "name": "tiny"}]
)
def test_two_runs_that_would_write_the_same_files_are_refused(other):
    runs = [*RUNS, {"study": "photos", "model": "tiny"}, {**RUNS[0], "grid": "native"}, other]
    told = "runs: two runs are called the same: shapes x tiny; leave one out, or give it a `name`"
    assert only_problem(Settings, {"runs": runs}) == told


def test_sampling_needs_a_seed():
    assert "seed" in only_problem(Settings, {"runs": RUNS, "generation": {"do_sample": True}})
    drawn = checked(Settings, {"runs": RUNS, "generation": {"do_sample": True, "seed": 0}}, "x")
    assert drawn.generation.seed == 0


def test_whole_matrices_need_the_samples_they_are_of():
    assert "capture.full_samples" in only_problem(Settings, {"runs": RUNS, "capture": {"rows": "all"}})


def test_a_spelling_of_two_answers_is_refused_in_any_case():
    def told(answers):
        return only_problem(Settings, {"runs": RUNS, "query_types": {"recognition": {"answers": answers}}})

    here = "query_types.recognition.answers"
    assert told({"yes": ["sure"], "no": ["sure"]}) == f"{here}: 'sure' is a spelling of both 'yes' and 'no'"
    for first, second in (
        ("Sure", "sure"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u00e9", "e\u0301"),
        ("a b", "A\u2011B"),
        ("３", "3"),
    ):
        assert told({"yes": [first], "no": [second]}) == (
            f"{here}: {second!r} of 'no' reads the same as {first!r} of 'yes'; leave one out"
        )
    assert told({"yes": ["\u200b"]}) == f"{here}: '\\u200b' of 'yes': a spelling needs a character to be found by"


def test_yaml_that_turns_yes_into_true_is_told_so(tmp_path):
    text = "runs: [{study: a, model: b}]\nquery_types:\n  seen:\n    answers:\n      yes: [yeah]\n      maybe: [no]\n"
    with pytest.raises(AtlasError) as caught:
        load_settings(written(tmp_path, text))
    assert str(caught.value).count("write it in quotes") == 2


@pytest.mark.parametrize(
    "revision", [None, "main", "v1.0", COMMIT[:-1], COMMIT + "0", COMMIT.upper().replace("0", "G")]
)
def test_a_hub_model_without_a_pinned_commit_is_refused(revision):
    told = only_problem(Models, {"models": {"big": {"hub": "Org/name", "revision": revision}}})
    assert told.startswith("models.big: needs a pinned revision")
    assert repr(revision) in told


def test_a_model_of_nowhere_is_refused():
    assert only_problem(Models, {"models": {"x": {"dtype": "float32"}}}) == (
        "models.x: needs `hub` with `revision`, or `path`"
    )


def test_every_shipped_hub_model_is_pinned():
    models = load_models(CONFIG / "models.yaml")
    assert {name for name, entry in models.items() if entry.hub} >= {"qwen3-vl-8b", "qwen3-vl-4b"}
    assert all(re.fullmatch("[0-9a-f]{40}", str(entry.revision)) for entry in models.values() if entry.hub)


def test_a_run_of_an_unknown_model_is_refused_with_the_nearest():
    models = load_models(CONFIG / "models.yaml")
    (run,) = checked(Settings, {"runs": [{"study": "shapes", "model": "qwen3-vl-8"}]}, "x").runs
    with pytest.raises(AtlasError, match=r"unknown model 'qwen3-vl-8'. Did you mean 'qwen3-vl-8b'\?"):
        effective_entry(run, models)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        *(({}, 1), ({"device": "cuda"}, 1), ({"device": "cuda:1"}, 1), ({"device": "cpu"}, 0), ({"device": "mps"}, 0)),
        *(({"gpus": 4}, 4), ({"gpus": 0}, 0), ({"device": "cuda", "gpus": 2}, 2)),
    ],
)
def test_a_job_asks_for_one_gpu_where_its_device_may_be_one_unless_told_otherwise(given, asked):
    models = checked(Models, {"models": {"x": {"path": "somewhere", **given}}}, "x").models
    assert models["x"].num_gpus == asked


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 1), ("mps", 1), ("cuda", 0), ("cuda:1", 2)])
def test_gpus_that_do_not_fit_the_device_are_refused(device, gpus):
    assert only_problem(Models, {"models": {"x": {"path": "somewhere", "device": device, "gpus": gpus}}}) == (
        f"models.x: `gpus: {gpus}` does not fit `device: {device}`; leave `gpus` out"
    )


# Files


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("runs: [\n", "cannot be read as YAML"),
        ("- a\n- b\n", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("1: 2\nruns: [{study: a, model: b}]\n", "keys should be strings"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused_by_its_name(tmp_path, text, told):
    path = written(tmp_path, text)
    with pytest.raises(AtlasError, match=told) as caught:
        load_settings(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path):
    with pytest.raises(AtlasError, match=r"none.yaml: is not there"):
        load_models(tmp_path / "none.yaml")


def test_overrides_replace_top_level_keys():
    other = [{"study": "photos", "model": "qwen3-vl-8b"}]
    settings = load_settings(CONFIG / "config.yaml", {"runs": other})
    assert [(run.study, run.model) for run in settings.runs] == [("photos", "qwen3-vl-8b")]


def test_one_run_of_the_command_line_may_have_its_own_grid():
    given = yaml.safe_load((CONFIG / "config.yaml").read_text(encoding="utf-8"))
    settings = settings_of({**given, "study": "photographs", "model": "shapes-tiny", "grid": "native"})
    assert [(run.study, run.model, run.grid) for run in settings.runs] == [("photographs", "shapes-tiny", "native")]
    with pytest.raises(AtlasError, match=r"grid=\.\.\. and name=\.\.\. go with both alone"):
        settings_of({**given, "grid": "native"})
