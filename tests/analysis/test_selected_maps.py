"""Selected maps: which samples the gallery and the page show, and that their maps are the planted ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_atlas import store
from attention_atlas.analysis import selected_maps, summaries

from tests.synthetic import Planted, even_map, node, settings_of, study_of, tables_of, tree_of, with_map

END = "<|im_end|>"
ANSWER_STEP = 1
WIDTHS = (8, 2, 16)
SAID = {
    "q0": ("counting", " 3", "3"),
    "q1": ("recognition", " yes", "yes"),
    "q2": ("attribute", " red", "red"),
    "q3": ("spatial", " left", "left"),
}


def asked(name, image, query_id, **parts):
    query_type, token, expected = SAID[query_id]
    every = np.array([[16, 16, 16], WIDTHS, [4, 4, 4]])
    given = {"query_id": query_id, "query_type": query_type, "expected_answer": expected, **parts}
    return Planted(name, image, given.pop("tokens", ["It is", token, END]), every, **given)


SAMPLES = [asked(f"image_{k}-{query}", f"image_{k}.png", query) for k in range(5) for query in SAID]
SILENT = asked("silent", "image_5.png", "q0", tokens=["It is", " dark", END])
FAILED = asked("failed", "image_6.png", "q0", error="out of memory")
CONTROL = asked("control", "image_0.png", "q0", condition="other_image")
DEFAULT_GALLERY = ["image_0-q0", "image_1-q1", "image_2-q2", "image_3-q3"]


def selected(samples=SAMPLES, dataset=None, scores=None, **sections):
    settings = settings_of(**sections)
    tree = tree_of(node(samples) if dataset is None else dataset)
    tables = tables_of(tree, samples, settings)
    table1 = summaries.table1(summaries.read_run(tables, 3, settings))
    given = tables["samples"], tables["answers"], table1, no_scores() if scores is None else scores
    return selected_maps.selected_maps(tree, study_of(samples), *given, settings)


def no_scores():
    """The grounding scores of a study without any target."""
    keys = {key: pd.Series(dtype=object) for key in ("sample_id", "layer", "map", "correction", "score")}
    return pd.DataFrame({**keys, "value": pd.Series(dtype=float)})


def scores_of(by_sample, pooling="max"):
    """Grounding scores in which a sample's AUROC by layer are the given ones, and all else is misleading."""
    rows = []
    for name, values in by_sample.items():
        for layer, value in enumerate(values):
            rows.append((name, layer, pooling, "raw", "auroc", value))
            rows += [
                (name, layer, "head 0", "raw", "auroc", 1 - value),
                (name, layer, pooling, "raw", "mass", 1 - value),
            ]
            rows += [(name, layer, pooling, "without_sinks", "auroc", 1 - value)]
        rows.append((name, -1, "uniform", "raw", "auroc", 0.5))
    table = pd.DataFrame(rows, columns=["sample_id", "layer", "map", "correction", "score", "value"])
    return table.astype(dict.fromkeys(("sample_id", "map", "correction", "score"), "category"))


def shown(tree, group):
    return list(tree.children[group].children) if group in tree.children else []


def maps_of(tree, name, group="gallery"):
    return tree[f"{group}/{name}"].to_dataset()


def test_the_gallery_has_one_sample_a_query_each_of_another_image():
    tree = selected()
    assert shown(tree, "gallery") == DEFAULT_GALLERY
    assert shown(tree, "layers_page") == ["image_2-q2"]


def test_samples_without_an_answer_failed_ones_and_controls_are_not_chosen():
    samples = [SILENT, FAILED, CONTROL, *SAMPLES]
    assert shown(selected(samples), "gallery") == DEFAULT_GALLERY


def test_the_page_shows_the_first_of_a_gallery_of_fewer_than_three():
    tree = selected([sample for sample in SAMPLES if sample.query_id in ("q0", "q1")])
    assert shown(tree, "gallery") == ["image_0-q0", "image_1-q1"]
    assert shown(tree, "layers_page") == ["image_0-q0"]


def test_the_settings_name_other_samples_in_their_own_order():
    tree = selected(figures={"gallery": ["image_4-q3", "image_0-q0"], "layers_page": "image_1-q0"})
    assert shown(tree, "gallery") == ["image_4-q3", "image_0-q0"]
    assert shown(tree, "layers_page") == ["image_1-q0"]


def test_each_study_shows_those_named_samples_that_are_its_own():
    """The settings are those of all studies; one that has none of the samples named shows what it does by default."""
    tree = selected(figures={"gallery": ["of another study", "image_4-q3"], "layers_page": "of another study"})
    assert shown(tree, "gallery") == ["image_4-q3"]
    assert shown(tree, "layers_page") == ["image_4-q3"]
    others = {"gallery": ["of another study"], "layers_page": "of another study"}
    assert shown(selected(figures=others), "gallery") == shown(selected(), "gallery")
    assert shown(selected(figures=others), "layers_page") == shown(selected(), "layers_page")


@pytest.mark.parametrize(("name", "why"), [("silent", "no answer found"), ("failed", "failed")])
def test_a_sample_without_a_step_to_show_is_left_out_with_the_reason(name, why):
    """What a model says is known once it was asked: no reason to end a run."""
    samples = [*SAMPLES, SILENT, FAILED]
    tree = selected(samples, figures={"gallery": [name, "image_0-q0"], "layers_page": name})
    assert shown(tree, "gallery") == ["image_0-q0"]
    assert tree["gallery/image_0-q0"].attrs["left_out"] == f"{name} ({why})"
    assert shown(tree, "layers_page") == []
    assert shown(selected(samples, figures={"gallery": [name]}), "gallery") == [], "not those of the default instead"


def test_a_sample_without_an_answer_can_be_shown_at_its_first_step():
    tree = selected([*SAMPLES, SILENT], figures={"gallery": ["silent"]}, steps={"selector": "first"})
    assert maps_of(tree, "silent").attrs["correct"] == 0
    assert maps_of(tree, "silent").attrs["step"] == 0


def test_a_control_sample_can_be_shown_though_no_table_has_its_query():
    control = asked("generic", "image_0.png", "q0", condition="generic")
    control.query_id = "generic"
    tree = selected([*SAMPLES, control], figures={"gallery": ["generic"]})
    assert maps_of(tree, "generic").attrs["shown_layer"] == 0


def test_maps_are_the_planted_ones_at_the_step_of_the_answer():
    """The stronger of the planted heads puts 0.8 on the image, the other 0.4 on the same cells."""
    maps = maps_of(selected(), "image_1-q1")
    expected = [0.8 * even_map(width).reshape(4, 4) for width in WIDTHS]
    assert maps["map"].dims == ("layer", "row", "col")
    np.testing.assert_allclose(maps["map"], expected, rtol=1e-6)
    np.testing.assert_allclose(maps["entropy"], np.log(WIDTHS), rtol=1e-6)
    np.testing.assert_allclose(maps["vision_mass"], 0.6, rtol=1e-6)
    np.testing.assert_allclose(maps["row_edge"], [0, 16, 32, 48, 64])
    np.testing.assert_allclose(maps["col_edge"], [0, 16, 32, 48, 64])


def test_rows_stay_rows_where_a_grid_is_not_square():
    sample = SAMPLES[0]
    maps = np.arange(12, dtype=float).reshape(2, 2, 3) / 100
    dataset = with_map(node([sample], 2, 3), sample.sample_id, ANSWER_STEP, 1, maps)
    found = maps_of(selected([sample], dataset), sample.sample_id)
    np.testing.assert_allclose(found["map"].sel(layer=1), [[0.06, 0.07, 0.08], [0.09, 0.10, 0.11]], rtol=1e-6)
    np.testing.assert_allclose(found["row_edge"], [0, 32, 64])
    np.testing.assert_allclose(found["col_edge"], [0, 64 / 3, 128 / 3, 64])


def test_the_page_has_the_same_maps_as_the_gallery():
    tree = selected()
    xr.testing.assert_identical(maps_of(tree, "image_2-q2"), maps_of(tree, "image_2-q2", "layers_page"))


def test_heads_are_pooled_as_the_settings_say():
    maps = maps_of(selected(pooling={"heads": "mean"}), "image_0-q0")
    np.testing.assert_allclose(maps["map"].sel(layer=0), 0.6 * even_map(8).reshape(4, 4), rtol=1e-6)
    assert maps.attrs["pooling"] == "mean"


def test_several_steps_are_averaged_map_by_map():
    maps = maps_of(selected(steps={"selector": "mean"}), "image_0-q0")
    expected = 0.8 * (even_map(16) + even_map(8) + even_map(4)).reshape(4, 4) / 3
    np.testing.assert_allclose(maps["map"].sel(layer=0), expected, rtol=1e-6)
    assert (maps.attrs["step"], maps.attrs["token_text"]) == (-1, "mean of steps")


def test_a_map_says_what_was_asked_answered_and_expected():
    sample = asked("wrong", "image_9.png", "q0", expected_answer="5", query="How many stars?")
    sample.target_object = "object_0"
    attrs = maps_of(selected([*SAMPLES, sample], figures={"gallery": ["wrong"]}), "wrong").attrs
    told = {
        **{"sample_id": "wrong", "image": "image_9.png", "query": "How many stars?", "query_id": "q0"},
        **{"query_type": "counting", "generated_text": "It is 3", "expected_answer": "5", "correct": 0},
        **{"target_object": "object_0", "step": ANSWER_STEP, "token_text": " 3", "selector": "answer"},
        **{"pooling": "max", "shown_layer": 1},
    }
    assert attrs == told


def test_the_layer_shown_alone_is_table_1s():
    """Planted widths of 8, 2 and 16 cells: the lowest entropy is at layer 1."""
    assert {maps_of(selected(), name).attrs["shown_layer"] for name in DEFAULT_GALLERY} == {1}


def test_the_file_holds_the_tree_as_it_is(tmp_path):
    tree = selected()
    store.write_tree(tmp_path / "selected_maps.nc", tree)
    with xr.open_datatree(tmp_path / "selected_maps.nc", engine="netcdf4") as again:
        for group in ("gallery", "layers_page"):
            assert shown(again, group) == shown(tree, group)
            for name in shown(tree, group):
                xr.testing.assert_equal(again[f"{group}/{name}"].to_dataset(), maps_of(tree, name, group))
                assert again[f"{group}/{name}"].attrs == maps_of(tree, name, group).attrs


def ranked(tree):
    return {name: maps_of(tree, name, "best_worst").attrs["rank"] for name in shown(tree, "best_worst")}


def split_of(names):
    """The planted samples, on the split that `names` says of each image."""
    return [replace(sample, split=names[int(sample.image[6])]) for sample in SAMPLES]


def test_the_best_and_the_worst_are_of_different_images():
    """Of image 0 the better of its two high samples; of image 4 the lower one; two a kind of five images."""
    scores = {"image_0-q0": 0.9, "image_0-q1": 0.95, "image_1-q0": 0.8, "image_2-q2": 0.5, "image_3-q3": 0.3}
    scores |= {"image_4-q0": 0.2, "image_4-q1": 0.1, "image_0-q2": 0.0}
    tree = selected(scores=scores_of({name: [value] * 3 for name, value in scores.items()}))
    assert ranked(tree) == {"image_0-q1": "best", "image_1-q0": "best", "image_4-q1": "worst", "image_3-q3": "worst"}
    assert list(ranked(tree)) == ["image_0-q1", "image_1-q0", "image_4-q1", "image_3-q3"]
    told = maps_of(tree, "image_0-q1", "best_worst").attrs
    assert (told["score"], told["ranked"]) == (0.95, 8)


def test_at_most_four_of_a_kind_are_shown():
    samples = [asked(f"image_{k:02d}-q1", f"image_{k:02d}.png", "q1") for k in range(12)]
    tree = selected(samples, scores=scores_of({s.sample_id: [k / 12] * 3 for k, s in enumerate(samples)}))
    assert [int(name[6:8]) for name in ranked(tree)] == [11, 10, 9, 8, 0, 1, 2, 3]


def test_the_score_of_a_sample_is_that_of_the_map_that_is_shown():
    """Layer 2 is the query's best on average: 0.7, against 0.575 and 0.25; the worst sample's own best is layer 0."""
    scores = {"image_0-q0": [0.2, 0.4, 0.9], "image_1-q0": [0.95, 0.1, 0.5]}
    tree = selected(scores=scores_of(scores))
    best, worst = (maps_of(tree, name, "best_worst").attrs for name in scores)
    assert [(one["rank"], one["shown_layer"], one["score"]) for one in (best, worst)] == [
        ("best", 2, 0.9),
        ("worst", 2, 0.5),
    ]
    assert (best["mean_score"], worst["mean_score"]) == (pytest.approx(0.5), pytest.approx(1.55 / 3, abs=1e-6))
    assert best["layer_chosen_on"] == "the same samples"


def test_each_query_has_a_layer_of_its_own():
    scores = {"image_0-q0": [0.9, 0.1, 0.1], "image_1-q0": [0.8, 0.1, 0.1], "image_2-q1": [0.1, 0.7, 0.2]}
    scores |= {"image_3-q1": [0.95, 0.6, 0.2], "image_4-q1": [0.1, 0.6, 0.2]}
    tree = selected(scores=scores_of(scores))
    shown_layers = {name: maps_of(tree, name, "best_worst").attrs["shown_layer"] for name in ranked(tree)}
    assert shown_layers == {"image_0-q0": 0, "image_1-q0": 0, "image_3-q1": 1, "image_4-q1": 1}


def test_the_layer_is_chosen_on_one_split_and_samples_are_ranked_on_the_other():
    """On `select` layer 0 is the best, on `evaluate` it is layer 2; shown is layer 0 of images 2 to 4 alone."""
    samples = split_of(["select", "select", "evaluate", "evaluate", "evaluate"])
    scores = {f"image_{k}-q0": [0.9, 0.5, 0.1] for k in (0, 1)}
    scores |= {"image_2-q0": [0.6, 0.5, 0.9], "image_3-q0": [0.4, 0.5, 1.0], "image_4-q0": [0.5, 0.5, 0.9]}
    tree = selected(samples, scores=scores_of(scores))
    assert ranked(tree) == {"image_2-q0": "best", "image_3-q0": "worst"}
    told = [maps_of(tree, name, "best_worst").attrs for name in ranked(tree)]
    assert [(one["shown_layer"], one["score"], one["ranked"]) for one in told] == [(0, 0.6, 3), (0, 0.4, 3)]
    assert {one["layer_chosen_on"] for one in told} == {"split select"}


def test_of_equal_scores_the_mean_over_layers_decides():
    scores = {"image_0-q0": [1.0, 0.2, 0.2], "image_1-q0": [1.0, 0.9, 0.9], "image_2-q0": [1.0, 0.5, 0.5]}
    assert list(ranked(selected(scores=scores_of(scores)))) == ["image_1-q0", "image_0-q0"]


def test_maps_are_ranked_as_the_settings_pool_heads():
    scores = pd.concat([scores_of({"image_0-q0": [0.9] * 3, "image_1-q0": [0.2] * 3}, "mean")])
    assert list(ranked(selected(scores=scores, pooling={"heads": "mean"}))) == ["image_0-q0", "image_1-q0"]
    assert "best_worst" not in selected(scores=scores).children


def test_a_sample_with_an_undefined_map_is_not_ranked():
    tree = selected(scores=scores_of({"image_0-q0": [0.9, 0.9, np.nan], "image_1-q0": [0.6] * 3}))
    assert ranked(tree) == {"image_1-q0": "best"}
    assert maps_of(tree, "image_1-q0", "best_worst").attrs["ranked"] == 1


def test_of_equal_scores_the_first_sample_ranks_first():
    tree = selected(scores=scores_of({f"image_{k}-q0": [0.7] * 3 for k in (3, 1, 2, 0)}))
    assert list(ranked(tree)) == ["image_0-q0", "image_1-q0", "image_2-q0", "image_3-q0"]


def test_the_best_have_the_same_maps_as_the_gallery():
    tree = selected(scores=scores_of({"image_0-q0": [0.7] * 3}))
    np.testing.assert_array_equal(maps_of(tree, "image_0-q0")["map"], maps_of(tree, "image_0-q0", "best_worst")["map"])


def test_a_study_without_targets_has_no_best_and_worst():
    assert set(selected().children) == {"gallery", "layers_page"}


def test_a_run_without_any_answer_has_no_maps():
    tree = selected([SILENT, FAILED])
    assert not list(tree.children)
