"""Blocks and shards: what bounds memory changes no number."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_atlas import store
from attention_atlas.analysis import blocks, focus, step_maps, transcript
from attention_atlas.analysis.rows import joined, long_table

from ..synthetic import CELLS, HEADS, LAYERS, Planted, grounding_table, node, study_of, tree_of, write_run

SAMPLE_BYTES, STEP_BYTES = (4 * LAYERS * HEADS * CELLS * steps for steps in (5, 1))
MOST = (None, 3 * SAMPLE_BYTES, 2 * STEP_BYTES, 1)


def planted(number):
    """A sample of one to five tokens, every map of another width."""
    steps = number % 5 + 1
    widths = 1 + (np.arange(steps * LAYERS).reshape(steps, LAYERS) + number) % CELLS
    image = f"i{number % 5}.png"
    return Planted(f"s{number}", image, ["x"] * steps, widths, target_object="object_0")


SAMPLES = [*map(planted, range(9)), Planted("failed", "i0.png", [], np.zeros((0, LAYERS), int), error="broken")]
STEPS = pd.DataFrame([(f"s{number}", step) for number in range(9) for step in range(number % 5 + 1)]).set_axis(
    ["sample_id", "step"], axis=1
)


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1000, [{"sample": slice(0, 2)}, {"sample": slice(2, 4)}, {"sample": slice(4, 6)}]),
        (399, [{"sample": slice(n, n + 1), "step": slice(s, s + 4)} for n in range(5) for s in (0, 4)]),
        (1, [{"sample": slice(n, n + 1), "step": slice(s, s + 1)} for n in range(5) for s in range(5)]),
    ],
)
def test_blocks_are_runs_of_samples_or_else_of_steps(most, expected):
    values = xr.DataArray(np.zeros((5, 5, 20), dtype="float32"), dims=("sample", "step", "cell"))
    assert list(blocks.blocks(values, ("sample", "step"), most)) == expected


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (80 * 10, [[0, 3, 1, 4, 2, 5]]),
        (80 * 4, [[0, 3, 1, 4], [2, 5]]),
        (80 * 3, [[0, 3], [1, 4], [2, 5]]),
        (1, [[0, 3], [1, 4], [2, 5]]),  # an image is never divided
    ],
)
def test_blocks_of_images_hold_all_samples_of_each(most, expected):
    values = xr.DataArray(np.zeros((6, 20), dtype="float32"), dims=("sample", "cell"))
    images = np.array(["z", "a", "b"] * 2, dtype=object)
    assert [place.tolist() for place in blocks.image_blocks(values, images, most)] == expected
    assert [place.tolist() for place in blocks.image_blocks(values[:0], images[:0], most)] == []


@pytest.fixture
def within(monkeypatch):
    """Sets the size of blocks."""

    def set_most(most):
        if most is not None:
            monkeypatch.setattr(blocks, "BLOCK_BYTES", most)

    return set_most


@pytest.mark.parametrize("most", MOST)
def test_blocks_change_no_table(most, within):
    tree = tree_of(node(SAMPLES))
    expected = focus.focus_table(tree), step_maps.step_maps(tree, STEPS)
    within(most)
    pd.testing.assert_frame_equal(focus.focus_table(tree), expected[0], check_exact=True)
    xr.testing.assert_identical(step_maps.step_maps(tree, STEPS), expected[1])


@pytest.mark.parametrize("most", MOST)
def test_blocks_change_no_score(most, within):
    objects = [
        {"image": f"i{number}.png", "object_id": "object_0", "x_min": 0, "y_min": 0, "x_max": 32, "y_max": 32}
        for number in range(5)
    ]
    study = replace(study_of(SAMPLES), objects=pd.DataFrame(objects))
    made = step_maps.step_maps(tree_of(node(SAMPLES)), STEPS)
    nodes = {"grid_4x4": made["grid_4x4"].to_dataset()}
    expected = grounding_table(nodes, study, "max")
    within(most)
    pd.testing.assert_frame_equal(grounding_table(nodes, study, "max"), expected, check_exact=True)
    assert expected["sample_id"].nunique() == 9


def test_a_run_described_shard_by_shard_is_that_of_the_whole_run(tmp_path):
    paths = write_run(tmp_path, SAMPLES, shards=3)
    tree = store.open_shards(paths)
    samples, tokens, mass = (
        of(tree) for of in (transcript.samples_table, transcript.tokens_table, transcript.mass_table)
    )
    table, maps = focus.focus_table(tree), step_maps.step_maps(tree, STEPS).load()
    tree.close()
    by_shard = {
        "samples": joined(map(transcript.samples_table, store.each_shard(paths)), transcript.SAMPLE_KEYS),
        "tokens": joined(map(transcript.tokens_table, store.each_shard(paths)), transcript.TOKEN_KEYS),
        "mass": joined(map(transcript.mass_table, store.each_shard(paths)), transcript.MASS_KEYS),
    }
    for name, expected in {"samples": samples, "tokens": tokens, "mass": mass}.items():
        pd.testing.assert_frame_equal(by_shard[name], expected, check_exact=True)
    wide = joined(map(focus.wide_table, store.each_shard(paths)), focus.KEYS)
    pd.testing.assert_frame_equal(long_table(wide, focus.KEYS, focus.LABELS), table, check_exact=True)
    scratch = tmp_path / "scratch"
    assert step_maps.write(tmp_path / "maps.nc", lambda: store.each_shard(paths), STEPS, scratch) == {}
    assert not list(scratch.iterdir())
    with step_maps.reading(tmp_path / "maps.nc", None) as (written, none):
        assert not none
        assert written["grid_4x4"]["attention"].chunks
        xr.testing.assert_identical(written["grid_4x4"].load(), maps["grid_4x4"].to_dataset())


def test_a_long_table_has_a_row_a_value_in_the_order_of_rows_and_labels():
    wide = pd.DataFrame({"sample_id": ["a", "b"], "layer": [1, 0], ("y",): [1.0, 2.0], ("x",): [3.0, 4.0]})
    table = long_table(wide, ["sample_id", "layer"], ["score"])
    assert table.astype({"sample_id": str, "score": str}).to_numpy().tolist() == [
        ["a", 1, "x", 3.0],
        ["a", 1, "y", 1.0],
        ["b", 0, "x", 4.0],
        ["b", 0, "y", 2.0],
    ]
