"""What can be known before any job is told then: names that no study has, and what a model cannot do."""

import json

import pytest
import yaml
from attention_atlas import preflight, wiring
from attention_atlas.attention.checkpoints import architecture_of
from attention_atlas.cli import app
from attention_atlas.config import ModelEntry, Settings
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.shards import shard_of
from typer.testing import CliRunner

from tests.synthetic import Planted, draw_images, write_study

QWEN = {"model_type": "qwen3_vl", "text_config": {"num_hidden_layers": 4, "num_attention_heads": 3}}
PROCESSOR = {"size": {"shortest_edge": 65536, "longest_edge": 1048576}, "patch_size": 16, "merge_size": 2}
QUERY = "How many shapes are in the image?"


def write_model(folder, config=QWEN, processor=PROCESSOR):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a study of two images that name their target, a model's small files, and no weights."""
    samples = [
        Planted(f"scene_00{k}-q0", f"image_{k}.png", [], None, query=QUERY, target_object="object_0") for k in range(2)
    ]
    draw_images(write_study(tmp_path, samples), samples)
    write_model(tmp_path / "model")
    models = {"models": {"tiny": {"path": "model", "device": "cpu"}}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config/models.yaml").write_text(yaml.safe_dump(models))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_with(**sections):
    settings = Settings(runs=[{"study": "planted", "model": "tiny"}]).model_dump(mode="json")
    for name, values in sections.items():
        settings[name] = {**settings[name], **values} if isinstance(values, dict) else values
    settings["contrasts"] = {name: entry for name, entry in settings["contrasts"].items() if entry is not None}
    return settings


def refused(**sections):
    """The problems that runs are refused with while Snakemake parses."""
    with pytest.raises(AtlasError) as caught:
        wiring.Workflow(settings_with(**sections))
    first, *lines = str(caught.value).splitlines()
    assert first == f"config/config.yaml: {len(lines)} problem(s)"
    return [line.strip() for line in lines]


def test_runs_in_order_are_not_refused(project):
    wiring.Workflow(settings_with())


UNKNOWN = [
    ("capture.full_samples", {"capture": {"rows": "all", "full_samples": ["scene_00-q0"]}}),
    ("causal.samples", {"causal": {"samples": ["scene_00-q0"]}}),
    ("figures.gallery", {"figures": {"gallery": ["scene_00-q0"]}}),
    ("figures.layers_page", {"figures": {"layers_page": "scene_00-q0"}}),
]


@pytest.mark.parametrize(("setting", "sections"), UNKNOWN, ids=[name for name, _ in UNKNOWN])
def test_a_sample_that_no_study_has_is_refused_with_the_nearest_name(project, setting, sections):
    (told,) = refused(**sections)
    assert told.startswith(f"{setting}: 'scene_00-q0' is no sample of data/planted/samples.csv.")
    assert "Did you mean 'scene_00" in told


def test_samples_of_any_study_of_the_list_may_be_named(project):
    """Also where `--config study=... model=...` takes the place of the list."""
    other = [Planted("other-q0", "image_0.png", [], None, query=QUERY)]
    study = write_study(project / "elsewhere", other)
    study.rename(project / "data/second")
    runs = [{"study": "planted", "model": "tiny"}, {"study": "second", "model": "tiny"}]
    named = settings_with(runs=runs, figures={"gallery": ["other-q0", "scene_000-q0"]})
    wiring.Workflow(named)
    wiring.Workflow({**named, "study": "planted", "model": "tiny"})
    (project / "data/second/samples.csv").unlink()
    with pytest.raises(AtlasError, match=r"figures\.gallery: 'other-q0' is no sample"):
        wiring.Workflow({**named, "study": "planted", "model": "tiny"})


MODEL = [
    ({"heads": {"count": 13}}, "heads.count is 13, but the model 'tiny' has 12 heads; lower it"),
    ({"causal": {"layers": "late"}, "bands": {"layers": [1, 35]}}, "causal.layers: none of the 4 layers"),
    ({"runs": [{"study": "planted", "model": "tiny", "grid": [7, 9]}]}, "grid [7, 9] means 224 x 288 px"),
    ({"runs": [{"study": "planted", "model": "tiny", "grid": [33, 32]}]}, "64 to 1024 cells. Choose another grid"),
    ({"runs": [{"study": "planted", "model": "tiny", "grid": [1, 300]}]}, "sides of at most 200 to 1"),
    ({"extraction": {"system_prompt": "<|im_end|>"}}, "extraction.system_prompt '<|im_end|>' contains the special"),
    ({"controls": {"generic_query": "See <|image_pad|>"}}, "controls.generic_query 'See <|image_pad|>' contains"),
    ({"controls": {"generic_query": " "}}, "controls.generic_query is empty"),
    ({"controls": {"paraphrases": {"How .*": "x", ".*image.*": "y"}}}, "is matched by '.*image.*' and 'How .*'"),
    ({"controls": {"paraphrases": {".*": "<|im_end|>"}}}, "with the special token '<|im_end|>'"),
    ({"controls": {"paraphrases": {".*": " "}}}, "becomes an empty text"),
    (
        {"contrasts": {"q0": {"first": {}, "second": {"layers": "late"}}}},
        "the query 'q0' of run planted x tiny and the contrast 'q0' of run planted x tiny would have the same macros",
    ),
]


@pytest.mark.parametrize(("sections", "expected"), MODEL, ids=[str(sections)[:60] for sections, _ in MODEL])
def test_what_a_later_job_would_refuse_is_refused_before_any(project, sections, expected):
    (told,) = refused(**sections)
    assert expected in told


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({"layer_types": ["full_attention", "sliding_attention"] * 2}, "Leave knockout out of causal.checks"),
        ({"layer_types": ["full_attention"] * 4}, ""),
    ],
)
def test_knockouts_need_layers_of_full_attention_alone(project, layers, expected):
    write_model(project / "model", {**QWEN, "text_config": {**QWEN["text_config"], **layers}})
    if expected:
        assert expected in refused()[0]
        wiring.Workflow(settings_with(causal={"checks": ["occlusion"]}))
    else:
        wiring.Workflow(settings_with())


def test_heads_are_counted_in_the_captured_layers_alone(project):
    kinds = ["full_attention", "linear_attention"] * 2
    write_model(project / "model", {**QWEN, "text_config": {**QWEN["text_config"], "layer_types": kinds}})
    wiring.Workflow(settings_with(heads={"count": 6}, causal={"checks": []}))
    (told,) = refused(heads={"count": 7}, causal={"checks": []})
    assert "has 6 heads" in told


def test_a_study_without_targets_has_no_heads_and_no_knockouts_to_refuse(project):
    samples = [Planted("s", "image_0.png", [], None, query=QUERY)]
    write_study(project, samples)
    wiring.Workflow(settings_with(heads={"count": 1000}))


def test_a_type_of_model_that_cannot_be_asked_is_told_with_those_that_can(project):
    write_model(project / "model", {**QWEN, "model_type": "llama"})
    (told,) = refused()
    assert "is of model_type 'llama'; those that can be asked: qwen3_vl, " in told


def test_values_of_a_gated_family_are_not_kept(project):
    write_model(project / "model", {**QWEN, "model_type": "qwen3_5"})
    (told,) = refused(capture={"value_weighted": True})
    assert told.endswith("Set capture.value_weighted to false")


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", '{"text_config": 3}', '{"num_hidden_layers": "many"}'),
        '{"model_type": "qwen3_vl", "num_hidden_layers": 2, "num_attention_heads": 2, "layer_types": [[]]}',
    ],
)
def test_of_a_model_whose_files_do_not_say_nothing_is_refused(project, content):
    """The job that loads it tells what is wrong with them."""
    (project / "model/config.json").write_text(content)
    wiring.Workflow(settings_with(heads={"count": 1000}))


def test_a_model_of_the_hub_is_known_once_its_files_are_in_the_cache(tmp_path, monkeypatch):
    entry = ModelEntry(hub="some/model", revision="a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert architecture_of(entry) is None
    write_model(tmp_path / "models--some--model/snapshots" / ("a" * 40))
    found = preflight.architecture_of(entry)
    assert (found.num_layers, found.num_heads, found.captured) == (4, 3, [0, 1, 2, 3])


def test_of_very_many_problems_the_first_are_told_and_the_rest_counted(project):
    with pytest.raises(AtlasError) as caught:
        wiring.Workflow(settings_with(figures={"gallery": [f"x{k}" for k in range(60)]}))
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("60 problem(s)")
    assert len(lines) == 51
    assert lines[-1] == "  ... and 10 more"


def validated(project, **sections):
    """What `atlas validate` prints, and its exit code."""
    (project / "config/config.yaml").write_text(yaml.safe_dump(settings_with(**sections)))
    ended = CliRunner().invoke(app, ["validate", "data/planted"])
    return ended.output, ended.exit_code


def test_validating_a_study_tells_the_same(project):
    told, code = validated(project, heads={"count": 13}, causal={"samples": ["scene_00-q0"]})
    assert code == 1
    assert "heads.count is 13, but the model 'tiny' has 12 heads" in told
    assert "causal.samples: 'scene_00-q0' is no sample of data/planted/samples.csv" in told


def test_validating_a_study_tells_of_contrasts_that_it_cannot_make(project):
    contrasts = {
        "typing_error": {"first": {"query_ids": ["q9"]}, "second": {"query_types": ["counting"]}},
        "layers": {"first": {"layers": "late"}, "second": {"layers": "early"}},
    }
    sections = dict.fromkeys(settings_with()["contrasts"]) | contrasts
    told, code = validated(project, contrasts=sections)
    assert code == 0
    assert "1 declared contrasts are left without a verdict: typing_error: no query q9" in told
    assert "data/planted is in order" in told


def test_validating_a_study_warns_of_types_without_any_answer_to_look_at(project):
    write_study(project, [Planted("s", "image_0.png", [], None, query=QUERY, expected_answer="")])
    types = {"counting": {"answers": {}}}
    told, code = validated(project, query_types=types)
    assert code == 0
    assert "WARNING query_types: counting: no answers are named" in told
    told, _ = validated(project, query_types=types, steps={"selector": "first"})
    assert "no answers are named" not in told


def test_a_shard_of_conditions_alone_asks_nothing_of_random_weights(project):
    """Random weights are asked the study's own samples, and a shard without any cannot be written."""
    rows = [
        Planted("s", "image_0.png", [], None, query=QUERY),
        Planted("mine", "image_1.png", [], None, query=QUERY, condition="mine"),
    ]
    write_study(project, rows)
    flow = wiring.Workflow(settings_with(shards=999))
    own = shard_of("image_0.png", 999)
    assert flow.shards("planted") == sorted([own, shard_of("image_1.png", 999)])
    assert flow.maps("planted", "tiny", "/random_weights") == [
        f"results/attention/planted/tiny/random_weights/{own}.nc"
    ]
    off = wiring.Workflow(settings_with(shards=999, controls={"conditions": ["generic"]}))
    assert off.parts("planted") == ["/controls"]
