"""What the causal checks are told of a sample: its tokens, the order of its cells, its target set and the layers."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_atlas.analysis import causal_subjects, corrected_maps, step_maps
from attention_atlas.analysis.causal_subjects import generated_tokens, subjects, window
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.study import read_study

from tests.synthetic import Planted, node, settings_of, tree_of, write_run, write_study

TOKENS = ["There", " are", " 3", "<|im_end|>"]
BANDS = settings_of()["bands"]


def planted(number, **options):
    options = {"target_object": "object_0", "tokens": TOKENS, **options}
    return Planted(f"s{number}", f"image_{number}.png", width=np.full((4, 3), 4), **options)


@pytest.fixture
def run(tmp_path):
    """A planted run: its study, shards and step maps, their weights random."""
    samples = [planted(0), planted(1, target_object=""), planted(2, error="broken"), planted(3, tokens=TOKENS[1:])]
    study = read_study(write_study(tmp_path, samples), query_types=None, images=())
    (shard,) = write_run(tmp_path, samples, shards=1)
    steps = pd.DataFrame({"sample_id": ["s0", "s1", "s3"], "step": 1})
    maps = {"grid_4x4": step_maps.step_maps(tree_of(node(samples)), steps)["grid_4x4"].to_dataset().load()}
    shape = maps["grid_4x4"]["attention"].shape
    maps["grid_4x4"]["attention"][:] = np.random.default_rng(0).random(shape).astype(np.float32) / 16
    return study, shard, maps


def test_the_tokens_of_a_shard_are_those_generated_without_padding(run):
    tokens = generated_tokens(run[1])
    assert {name: len(ids) for name, ids in tokens.items()} == {"s0": 4, "s1": 4, "s2": 0, "s3": 3}
    assert all((ids == 1).all() for ids in tokens.values())


@pytest.mark.parametrize("how", ["max", "mean"])
def test_cells_are_ordered_by_the_mean_over_layers_of_the_raw_pooled_map(run, how):
    study, shard, maps = run
    found = subjects(study, generated_tokens(shard), maps, ["s0", "s1", "s3"], how)
    assert [subject.sample_id for subject in found] == ["s0", "s1", "s3"]
    expected = corrected_maps.pooled_maps(maps["grid_4x4"], how)["raw"].mean(axis=1)
    for subject, p in zip(found, expected, strict=True):
        assert sorted(subject.order) == list(range(16))
        assert (np.diff(p[subject.order]) <= 0).all()


def test_the_target_set_is_of_the_cells_that_the_target_covers_most(run):
    study, shard, maps = run
    first, without, _ = subjects(study, generated_tokens(shard), maps, ["s0", "s1", "s3"], "max")
    assert first.targets == ("object_0",)
    assert np.flatnonzero(first.target_cells).tolist() == [0, 1, 4, 5]  # 32 x 32 px of 64 x 64, cells of 16 px
    assert without.targets == ()
    assert without.target_cells.shape == (16,)
    assert not without.target_cells.any()
    assert (first.query, first.image) == ("How many shapes are in the image?", "image_0.png")


def test_samples_without_a_map_or_out_of_the_shard_are_no_subjects(run):
    study, shard, maps = run
    tokens = generated_tokens(shard)
    assert [s.sample_id for s in subjects(study, tokens, maps, ["s3", "s2", "s0"], "max")] == ["s0", "s3"]
    del tokens["s0"]
    assert [s.sample_id for s in subjects(study, tokens, maps, ["s3", "s2", "s0"], "max")] == ["s3"]
    assert subjects(study, tokens, maps, [], "max") == []


def test_a_map_that_is_not_finite_in_some_layer_makes_no_subject(run):
    study, shard, maps = run
    maps["grid_4x4"]["attention"].loc[{"sample": "s0", "layer": 2}] = 0
    assert [s.sample_id for s in subjects(study, generated_tokens(shard), maps, ["s0", "s1"], "max")] == ["s1"]


def layered(layers, num_layers):
    return {"grid_4x4": xr.Dataset(coords={"layer": layers}, attrs={"num_layers": num_layers})}


def test_the_window_is_the_captured_layers_of_a_band():
    whole = layered(range(36), 36)
    assert window(whole, "all", BANDS) == list(range(36))
    assert window(whole, "early", BANDS) == list(range(11))
    assert window(whole, "middle", BANDS) == list(range(11, 25))
    assert window(whole, "late", BANDS) == list(range(25, 36))
    assert window(layered([3, 11, 19, 27, 35], 36), "middle", BANDS) == [11, 19]
    assert window(layered(range(6), 6), "early", BANDS) == [0, 1]


def test_a_band_without_a_captured_layer_is_refused():
    with pytest.raises(AtlasError, match=r"causal.layers.*\[3, 7\].*early"):
        causal_subjects.window(layered([3, 7], 8), "early", BANDS)
