"""A planted run with massive dimensions: they are found, their sinks lose their weight, and nothing else moves."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_atlas import store
from attention_atlas.analysis import corrected_maps, grounding_summaries, massive_sinks, step_maps, transcript
from attention_atlas.analysis.summaries import read_run
from attention_atlas.cli import app
from attention_atlas.inputs.study import read_study
from typer.testing import CliRunner

from ..synthetic import HEADS, LAYERS, Planted, grounding_table, node, settings_file, settings_of, tree_of, write_study

SETTINGS = settings_of()
DIM = 256
# The first token is massive in these dims, by layer; layer 0 has none.
MASSIVE = {1: [7], 2: [3, 200]}
# The cells that share them, with the value in the last of the dims; cell 5 has some of it, too little for a sink.
SINKS, MILD = {1: [1], 2: [2, 3]}, 5
STRONG, MILD_VALUE = 800.0, 4.0
WIDTHS = (1, 2, 4)


def planted(number, **more):
    """A sample of maps of 1, 2 and 4 cells in its three layers; its target covers cells 0, 1, 4 and 5."""
    name = f"image_{number}"
    tokens = ["3", "<|im_end|>"]
    return Planted(f"{name}-q0", f"{name}.png", tokens, np.array([WIDTHS] * 2), target_object="object_0", **more)


def with_states(dataset, massive=MASSIVE, strength=STRONG, seed=0):
    """A node with hidden states of coordinates between 0.5 and 1.5, massive where planted, and none where it failed."""
    random = np.random.default_rng(seed)
    samples, rows, cols = (dataset.sizes[dim] for dim in ("sample", "row", "col"))
    first = random.uniform(0.5, 1.5, (samples, LAYERS, DIM))
    states = random.uniform(0.5, 1.5, (samples, LAYERS, rows * cols, DIM))
    for layer, dims in massive.items():
        first[:, layer, dims] = strength
        states[:, layer, SINKS[layer], dims[-1]] = -strength
        states[:, layer, MILD, dims[-1]] = MILD_VALUE
    failed = dataset["error"].values != ""
    first[failed], states[failed] = np.nan, np.nan
    by_cell = states.reshape(samples, LAYERS, rows, cols, DIM).astype(np.float32)
    variables = {"first_token_hidden_state": first.astype(np.float32), "hidden_state": by_cell}
    made = {name: (store.SCHEMA[name].dims, values) for name, values in variables.items()}
    return dataset.assign(made).assign_coords(dim=np.arange(DIM))


def maps_of(tree, step=0):
    """The step maps of a run at one step, as if read from their file."""
    ids = [name for leaf in tree.leaves for name in leaf["sample"].values[leaf["num_steps"].values > 0]]
    made = step_maps.step_maps(tree, pd.DataFrame({"sample_id": ids, "step": step}))
    return {leaf.name: leaf.to_dataset() for leaf in made.leaves}


@pytest.fixture
def samples():
    return [planted(number) for number in range(8)]


@pytest.fixture
def made(samples):
    return maps_of(tree_of(with_states(node(samples))))["grid_4x4"]


def test_planted_dimensions_are_found_by_layer_and_the_threshold_is_half_the_first_tokens_phi(samples):
    found = massive_sinks.discover(lambda: [with_states(node(samples))])
    assert [np.flatnonzero(layer).tolist() for layer in found.massive] == [[], [7], [3, 200]]
    # A state of k equal entries and next to nothing else has phi sqrt(dim / k): 16 and 11.3 for 256 dims.
    np.testing.assert_allclose(found.threshold, [np.nan, 16 / 2, 16 / np.sqrt(2) / 2], rtol=1e-3)


def test_phi_is_kept_by_cell_and_the_hidden_states_are_not(made):
    assert not {"hidden_state", "first_token_hidden_state"} & set(made.data_vars)
    assert made["massive_dims"].values.tolist() == [0, 1, 2]
    phi = made["sink_phi"].transpose("sample", "layer", "row", "col").values.reshape(8, LAYERS, 16)
    assert (phi[:, 0] == 0).all()
    for layer, cells in SINKS.items():
        np.testing.assert_allclose(phi[:, layer, cells], 16, rtol=0.01)
        assert ((phi[:, layer, MILD] > 3) & (phi[:, layer, MILD] < 5)).all()
        assert (np.delete(phi[:, layer], [*cells, MILD], axis=-1) < 2).all()


def test_planted_sinks_are_held_to_an_even_share_and_other_cells_keep_their_proportions(made):
    heads = corrected_maps.head_maps(made)
    corrected = heads["without_massive"]
    np.testing.assert_allclose(corrected[:, 0], heads["raw"][:, 0])
    expected = np.zeros((2, 16))
    expected[0, :2] = 8 / 9, 1 / 9  # halves, of which the second becomes 1/16
    expected[1, :4] = 0.4, 0.4, 0.1, 0.1  # quarters, of which two become 1/16
    np.testing.assert_allclose(corrected[:, 1:], np.broadcast_to(expected[:, None], (8, 2, HEADS, 16)))


def test_scores_without_massive_sinks_stand_beside_the_raw_ones(samples, made, tmp_path):
    """Layer 2: half of the raw map lies in the target, 0.8 of the corrected one; the other layers' maps all do."""
    study = read_study(write_study(tmp_path, samples), SETTINGS["query_types"], images=())
    scores = grounding_table({"grid_4x4": made}, study, "max")
    tree = tree_of(node(samples))
    described, tokens = transcript.samples_table(tree), transcript.tokens_table(tree)
    answers = transcript.judged(study, described, tokens, SETTINGS["query_types"])
    layers = pd.DataFrame({"sample_id": ["image_0-q0"], "layer": [0]})
    own = {"samples": described, "tokens": tokens, "answers": answers, "focus": layers, "mass": layers}
    run = read_run(own, LAYERS, SETTINGS)
    profile = grounding_summaries.grounding_profile(run, scores)
    by_layer = profile[profile["score"] == "mass"].set_index("layer")
    assert by_layer["raw"].tolist() == pytest.approx([1, 1, 0.5])
    assert by_layer["without_massive"].tolist() == pytest.approx([1, 1, 0.8])
    summary = grounding_summaries.grounding_summary(run, scores).set_index("score")
    assert summary.loc["mass", "without_massive"] == pytest.approx(2.8 / 3)


def test_without_hidden_states_there_is_no_such_version(samples):
    maps = maps_of(tree_of(node(samples)))["grid_4x4"]
    assert not {"sink_phi", "massive_dims", "sink_threshold"} & set(maps.variables)
    assert "without_massive" not in corrected_maps.head_maps(maps)


def test_a_model_without_massive_dimensions_has_its_maps_as_they_are(samples):
    maps = maps_of(tree_of(with_states(node(samples), massive={})))["grid_4x4"]
    assert maps["massive_dims"].values.tolist() == [0] * LAYERS
    assert maps["sink_threshold"].isnull().all()
    heads = corrected_maps.head_maps(maps)
    np.testing.assert_allclose(heads["without_massive"], heads["raw"])


def test_every_step_has_the_same_sinks(samples, made):
    other = maps_of(tree_of(with_states(node(samples))), step=1)["grid_4x4"]
    xr.testing.assert_identical(other["sink_phi"], made["sink_phi"])


def test_dimensions_are_those_of_all_grids_together(samples):
    """In the second grid the first token is 15 times as large there as elsewhere: too little alone."""
    one = with_states(node(samples))
    weak = with_states(node([planted(number) for number in range(10, 18)], rows=2, cols=8), strength=15)
    assert not massive_sinks.discover(lambda: [weak]).massive.any()
    nodes = maps_of(tree_of(one, weak))
    for maps in nodes.values():
        assert maps["massive_dims"].values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(nodes["grid_4x4"]["sink_threshold"], nodes["grid_2x8"]["sink_threshold"])
    first = weak["first_token_hidden_state"].values[:, 1].astype(float)
    phi = 15 / np.sqrt((first**2).mean(axis=-1))
    np.testing.assert_allclose(nodes["grid_2x8"]["sink_threshold"][1], (16 + phi.mean()) / 4, rtol=1e-3)


def test_a_failed_sample_has_no_part_in_the_discovery(samples):
    failed = [*samples, planted(8, error="broken")]
    kept = massive_sinks.discover(lambda: [with_states(node(samples))])
    found = massive_sinks.discover(lambda: [with_states(node(failed))])
    np.testing.assert_array_equal(found.massive, kept.massive)
    np.testing.assert_allclose(found.threshold, kept.threshold, rtol=1e-3)


def test_a_sample_whose_states_were_not_kept_is_undefined_and_the_others_are_not(samples):
    """As where one shard was made without them; a layer that has no massive dimension needs none."""
    parts = [with_states(node(samples[:4])), node(samples[4:])]
    heads = corrected_maps.head_maps(maps_of(tree_of(store.joined(parts)))["grid_4x4"])
    assert np.isfinite(heads["without_massive"][:4]).all()
    assert np.isnan(heads["without_massive"][4:, 1:]).all()
    np.testing.assert_allclose(heads["without_massive"][4:, 0], heads["raw"][4:, 0])
    assert np.isfinite(heads["raw"]).all()


def test_a_grid_without_hidden_states_has_no_such_version_beside_one_with_them(samples):
    other = node([planted(number) for number in range(10, 18)], rows=2, cols=8)
    nodes = maps_of(tree_of(with_states(node(samples)), other))
    assert {name for name, maps in nodes.items() if "without_massive" in corrected_maps.head_maps(maps)} == {"grid_4x4"}


def test_blocks_of_samples_change_no_number(samples, made, monkeypatch):
    monkeypatch.setattr(massive_sinks, "BLOCK_BYTES", 3 * 8 * LAYERS * 16 * DIM)
    dataset = with_states(node(samples))
    assert len(list(massive_sinks.blocks(dataset["hidden_state"]))) == 3
    again = maps_of(tree_of(dataset))["grid_4x4"]
    xr.testing.assert_allclose(again, made)


def test_the_log_tells_how_many_layers_have_massive_dimensions(samples, tmp_path):
    shard, log = tmp_path / "000.nc", tmp_path / "log.txt"
    store.write_shard(shard, {"grid_4x4": with_states(node(samples))})
    tree = store.open_shards([shard])
    described, tokens = transcript.samples_table(tree), transcript.tokens_table(tree)
    tree.close()
    study = read_study(write_study(tmp_path, samples), SETTINGS["query_types"], images=())
    store.write_table(described, tmp_path / "samples.parquet")
    store.write_table(
        transcript.judged(study, described, tokens, SETTINGS["query_types"]), tmp_path / "answers.parquet"
    )
    options = {
        **{f"--{name}": tmp_path / f"{name}.parquet" for name in ("samples", "answers")},
        **{"--settings": settings_file(tmp_path, SETTINGS), "--output": tmp_path / "maps.nc", "--log": log},
    }
    arguments = [str(part) for option in options.items() for part in option]
    result = CliRunner().invoke(app, ["step-maps", *arguments, str(shard)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "grid_4x4: massive dimensions in 2 of 3 layers" in log.read_text()
    with step_maps.reading(tmp_path / "maps.nc") as (nodes,):
        assert nodes["grid_4x4"]["massive_dims"].values.tolist() == [0, 1, 2]


def test_step_maps_written_shard_by_shard_are_those_of_the_whole_run(tmp_path):
    """Two grids, one of them in one shard alone; a shard whose samples have no step; sinks in all but it."""
    nodes = [
        {"grid_4x4": with_states(node([planted(0), planted(1)]))},
        {"grid_4x4": node([planted(2, error="broken")]), "grid_2x6": with_states(node([planted(3)], 2, 6), seed=1)},
        {"grid_4x4": with_states(node([planted(4)]), seed=2)},
    ]
    shards = [tmp_path / f"{number:03d}.nc" for number in range(3)]
    for path, of_shard in zip(shards, nodes, strict=True):
        store.write_shard(path, of_shard)
    steps = pd.DataFrame({"sample_id": [f"image_{number}-q0" for number in (0, 1, 3, 4)], "step": 0})
    tree = store.open_shards(shards)
    whole = step_maps.step_maps(tree, steps).load()
    tree.close()
    told = step_maps.write(tmp_path / "maps.nc", lambda: store.each_shard(shards), steps, tmp_path)
    assert told == {"grid_2x6": (2, LAYERS), "grid_4x4": (2, LAYERS)}
    with step_maps.reading(tmp_path / "maps.nc") as (written,):
        assert set(written) == set(whole.children)
        for name, maps in written.items():
            xr.testing.assert_identical(maps.load(), whole[name].to_dataset())
