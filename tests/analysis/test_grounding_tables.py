"""Grounding of a planted run: maps whose overlap with the target is known by construction."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_atlas import store
from attention_atlas.analysis import grounding_summaries, grounding_tables, step_maps, transcript
from attention_atlas.analysis.summaries import read_run
from attention_atlas.analysis.targets import covers
from attention_atlas.config import Settings
from attention_atlas.inputs.study import read_study
from PIL import Image

from ..synthetic import LAYERS, Planted, grounding_table, node, write_run, write_study

SETTINGS = Settings.model_validate({"runs": [{"study": "planted", "model": "tiny"}]}).model_dump(mode="json")
WIDTHS = (1, 2, 4)
# The target is the upper left quarter: cells 0, 1, 4 and 5 of 16. A map is even over the first `width` cells.
TARGET = {0, 1, 4, 5}


def planted(image, query_id="q0", target="object_0", **more):
    """One sample whose three layers have maps of 1, 2 and 4 cells at both of its steps."""
    sample = Planted(
        f"{image}-{query_id}", f"{image}.png", ["3", "<|im_end|>"], np.array([WIDTHS, WIDTHS]), query_id, **more
    )
    sample.target_object = target
    return sample


@pytest.fixture
def made(tmp_path):
    samples = [planted(f"image_{number}") for number in range(8)]
    samples += [planted("image_0", "q1", target=""), planted("image_1", "q2", condition="blank")]
    return make(tmp_path, samples)


def make(root, samples):
    """The run's scores and what they were made from."""
    shards = write_run(root, samples)
    folder = write_study(root, samples)
    query_types = SETTINGS["query_types"]
    study = read_study(folder, query_types, images=())
    tree = store.open_shards(shards)
    described, tokens = transcript.samples_table(tree), transcript.tokens_table(tree)
    answers = transcript.judged(study, described, tokens, query_types)
    nodes = nodes_of(tree, described, answers)
    return {
        "table": grounding_table(nodes, study, "max"),
        "nodes": nodes,
        "samples": described,
        "tokens": tokens,
        "answers": answers,
        "tree": tree,
        "study": study,
    }


def nodes_of(tree, described, answers):
    """The step maps of a run, as if read from their file."""
    made = step_maps.step_maps(tree, step_maps.steps_of(described, answers, "answer"))
    return {node.name: node.to_dataset() for node in made.leaves}


def value(table, score, layer, which="max", correction="raw"):
    rows = table[
        (table["score"] == score)
        & (table["layer"] == layer)
        & (table["map"] == which)
        & (table["correction"] == correction)
    ]
    return rows["value"].unique()


def test_scores_of_planted_maps_are_those_of_plain_counting(made):
    for layer, width in enumerate(WIDTHS):
        inside = len(TARGET & set(range(width)))
        hits = [cell < width for cell in range(16)]
        pairs = [(p, n) for p in TARGET for n in set(range(16)) - TARGET]
        auroc = np.mean([1.0 if hits[p] > hits[n] else 0.5 if hits[p] == hits[n] else 0.0 for p, n in pairs])
        assert value(made["table"], "mass", layer) == pytest.approx(inside / width)
        assert value(made["table"], "enrichment", layer) == pytest.approx(inside / width / 0.25)
        assert value(made["table"], "auroc", layer) == pytest.approx(auroc)
        assert value(made["table"], "iou_mean", layer) == pytest.approx(inside / (width + 4 - inside))


def test_samples_without_a_target_and_those_of_controls_have_no_rows(made):
    assert set(made["table"]["sample_id"].astype(str)) == {f"image_{number}-q0" for number in range(8)}


def test_a_map_that_every_image_shares_is_its_own_position_mean(made):
    """Every taken cell is a sink of the same strength, so scaling them changes nothing after renormalising."""
    np.testing.assert_allclose(value(made["table"], "mass", 1, "head 0", "without_sinks"), 1.0)
    np.testing.assert_allclose(value(made["table"], "auroc", 1, "position_mean"), value(made["table"], "auroc", 1))


def test_baselines_stand_beside_every_sample(made):
    table = made["table"]
    for name in ("uniform", "gaussian"):
        rows = table[(table["map"] == name) & (table["score"] == "auroc")]
        assert len(rows) == 8
    assert value(table, "auroc", -1, "uniform") == pytest.approx(0.5)
    assert value(table, "enrichment", -1, "uniform") == pytest.approx(1.0)


def controls_of(made, condition, width, numbers=(0,)):
    """Step maps of a control condition of every q0 sample: even over the first `width` cells."""
    ids = [f"image_{n}-q0.{condition}" + (f".{k}" if k else "") for n in range(8) for k in numbers]
    maps = np.array([[width] * LAYERS] * 2)
    samples = [
        Planted(name, name.split("-")[0] + ".png", ["3", "<|im_end|>"], maps, condition=condition) for name in ids
    ]
    return {"grid_4x4": step_maps.node_maps(node(samples), pd.Series({name: [0] for name in ids}))}


def test_the_same_text_on_other_images_is_scored_against_the_samples_own_target_and_averaged(made):
    """One other map of one cell (mass 1 in the target), one even over sixteen (mass 1/4)."""
    one, all_cells = (controls_of(made, "other_image", width, (number,)) for width, number in ((1, 1), (16, 2)))
    both = {
        "grid_4x4": xr.concat(
            [one["grid_4x4"], all_cells["grid_4x4"]],
            dim="sample",
            data_vars="all",
            join="exact",
            compat="equals",
            coords="different",
        )
    }
    table = grounding_table(made["nodes"], made["study"], "max", both)
    np.testing.assert_allclose(value(table, "mass", 1, "other_image"), (1 + 0.25) / 2)
    assert (table.loc[table["map"] == "other_image", "sample_id"].value_counts() > 0).sum() == 8


def test_random_weights_are_a_baseline_of_their_own(made):
    table = grounding_table(made["nodes"], made["study"], "max", None, controls_of(made, "random_weights", 16))
    np.testing.assert_allclose(value(table, "mass", 0, "random_weights"), 0.25)
    np.testing.assert_allclose(value(table, "auroc", 0, "random_weights"), 0.5)


def test_summaries_read_every_row_that_is_of_no_single_head(made, tmp_path):
    others = controls_of(made, "other_image", 1), controls_of(made, "random_weights", 16)
    given = made["nodes"], made["study"], "max", *others
    store.write_parts(grounding_tables.grounding_parts(*given), tmp_path / "scores.parquet")
    whole, pooled = (
        pd.read_parquet(tmp_path / "scores.parquet"),
        grounding_tables.read_pooled(tmp_path / "scores.parquet"),
    )
    of_heads = whole["map"].astype(str).str.startswith("head ")
    assert 0 < of_heads.sum() < len(whole)
    pd.testing.assert_frame_equal(
        pooled.astype({"map": str}), whole[~of_heads].reset_index(drop=True).astype({"map": str})
    )


def test_a_map_relative_to_itself_is_even_over_the_cells_that_it_takes(made):
    """Generic maps of one cell: where the sample's own map is that one cell, the ratio is one there and 0 elsewhere."""
    generic = controls_of(made, "generic", 1)
    table = grounding_table(made["nodes"], made["study"], "max", generic)
    np.testing.assert_allclose(value(table, "mass", 0, correction="relative"), 1.0)
    # Two cells of 1/2 over (1, 0) + epsilon: all weight goes to the cell that the generic map leaves out.
    np.testing.assert_allclose(value(table, "mass", 1, correction="relative"), 1.0, atol=1e-4)
    assert "relative" not in set(made["table"]["correction"]), "without a generic query there is no such map"


def test_the_best_attainable_iou_stands_beside(made):
    """The target is four whole cells: a set of cells reaches it exactly."""
    np.testing.assert_allclose(value(made["table"], "iou_area_matched", -1, "attainable"), 1.0)


def test_the_mask_is_the_target_where_there_is_one(tmp_path):
    samples = [planted("image_0")]
    folder = write_study(tmp_path, samples)
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[:, 48:] = 255
    (folder / "masks").mkdir()
    Image.fromarray(mask).save(folder / "masks" / "right.png")
    (folder / "objects.csv").write_text(
        "image,object_id,label,colour,x_min,y_min,x_max,y_max,mask\n"
        "image_0.png,object_0,bar,red,48,0,64,64,right.png\n"
        "image_0.png,object_1,box,red,0,0,8,16,\n"
    )
    study = read_study(folder, SETTINGS["query_types"], images=())
    maps = store.open_shards(write_run(tmp_path, samples, shards=1))["grid_4x4"].to_dataset().load()
    assert covers(study, maps).reshape(4, 4).tolist() == [[0, 0, 0, 1]] * 4
    study.samples.loc[0, "target_object"] = "object_0+object_1"
    assert covers(study, maps).reshape(4, 4)[0].tolist() == [0.5, 0, 0, 1]


def test_the_summary_is_the_mean_over_layers_then_over_images(made):
    tables = {"samples": made["samples"], "tokens": made["tokens"], "answers": made["answers"]}
    focus = pd.DataFrame({"sample_id": ["image_0-q0"], "layer": [0]})
    run = read_run({**tables, "focus": focus, "mass": focus}, LAYERS, SETTINGS)
    summary = grounding_summaries.grounding_summary(run, made["table"]).set_index("score")
    expected = np.mean([len(TARGET & set(range(width))) / width for width in WIDTHS])
    assert summary.loc["mass", "raw"] == pytest.approx(expected)
    assert summary.loc["mass", "n"] == 8
    assert summary.loc["mass", "interval_note"] == "all values are equal"
    assert summary.loc["auroc", "uniform"] == pytest.approx(0.5)
    # A map that every image shares is its own position mean: no difference, and nothing surely above it.
    assert summary.loc["mass", "nearest_baseline"] == "position_mean"
    assert summary.loc["mass", "above_nearest"] == pytest.approx(0)
    profile = grounding_summaries.grounding_profile(run, made["table"])
    assert profile.loc[profile["score"] == "auroc", "uniform"].tolist() == pytest.approx([0.5] * LAYERS)
    by_layer = profile[profile["score"] == "mass"].set_index("layer")["raw"]
    assert by_layer.tolist() == pytest.approx([len(TARGET & set(range(width))) / width for width in WIDTHS])
