"""Condition scores: each control's map beside its source's, and on its source's target."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_atlas.analysis import conditions, focus, step_maps
from attention_atlas.analysis.conditions import condition_scores, told, without_source
from attention_atlas.store import write_tree
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import roc_auc_score

from ..synthetic import LAYERS
from .controlled import GRID, control, controlled, joined, own_maps, random_node, samples_of

IMAGES = 8
TARGET_CELL = 0  # object_0 fills the upper left cell


@pytest.fixture(scope="module")
def case():
    return controlled(samples_of(IMAGES))


def other_weights(case, seed=5):
    shape = case.nodes[GRID]["attention"].shape
    return np.random.default_rng(seed).uniform(0.001, 0.01, shape).astype(np.float32)


def scored(case, *controls, study=None):
    return condition_scores(case.nodes, joined(*controls), study or case.study, "max")


def values(table, measure, condition, sample_id, number=0):
    keys = {"measure": measure, "condition": condition, "sample_id": sample_id, "number": number}
    chosen = table[np.logical_and.reduce([table[name] == wanted for name, wanted in keys.items()])]
    return chosen.sort_values("layer")["value"].to_numpy()


def pooled(weights, place):
    one = weights[place].astype(float).max(axis=1).reshape(LAYERS, -1)
    return one / one.sum(-1, keepdims=True)


@pytest.mark.parametrize("how", ["max", "mean"])
def test_entropy_of_step_maps_is_that_of_the_focus_table_at_the_selected_step(case, how):
    table = focus.focus_table(case.tree).astype({"sample_id": str, "pooling": str, "measure": str})
    node = case.nodes[GRID]
    for measure, found in conditions.pooled_focus(node, how).items():
        mine = table[(table["pooling"] == how) & (table["measure"] == measure)]
        wide = mine.pivot(index=["sample_id", "step"], columns="layer", values="value")
        keys = list(zip(node["sample"].values, node["step"].values, strict=True))
        np.testing.assert_allclose(found, wide.loc[keys].to_numpy(), atol=1e-7)


def test_a_control_with_its_sources_own_maps_is_at_distance_zero_and_as_focused(case):
    own = case.nodes[GRID]
    table = scored(case, control(own, "twin", own["attention"].values))
    entropy = focus.entropy(np.stack(list(own_maps(case).values())))
    for place, name in enumerate(own["sample"].values):
        np.testing.assert_allclose(values(table, "js_divergence", "twin", name), 0, atol=1e-9)
        np.testing.assert_allclose(values(table, "centre_shift", "twin", name), 0, atol=1e-9)
        np.testing.assert_allclose(values(table, "entropy", "twin", name), entropy[place], atol=1e-6)


def test_distances_are_those_of_scipy_for_each_map(case):
    own, weights = case.nodes[GRID], other_weights(case)
    table, maps = scored(case, control(own, "blank", weights)), own_maps(case)
    for place, name in enumerate(own["sample"].values):
        p = pooled(weights, place)
        expected = [jensenshannon(p[layer], maps[name][layer]) ** 2 for layer in range(LAYERS)]
        np.testing.assert_allclose(values(table, "js_divergence", "blank", name), expected, rtol=1e-4)


def test_the_centre_moves_by_as_many_cells_as_the_mass(case):
    """All mass on the upper left cell against all on the lower right one: 3 cells down and 3 to the right."""
    own = case.nodes[GRID]
    corner = np.zeros(own["attention"].shape, dtype=np.float32)
    corner[..., 0, 0] = 0.1
    moved = replace(case, nodes={GRID: control(own, "", corner).assign_coords(sample=own["sample"])})
    table = scored(moved, control(own, "twin", corner[..., ::-1, ::-1]))
    np.testing.assert_allclose(table.loc[table["measure"] == "centre_shift", "value"], np.sqrt(18))


def test_a_control_is_scored_on_its_sources_target(case):
    own, weights = case.nodes[GRID], other_weights(case)
    table = scored(case, control(own, "other_image", weights, 3, np.roll(own["image"].values, 1)))
    for place, name in enumerate(own["sample"].values):
        p = pooled(weights, place)
        positive = np.arange(p.shape[-1]) == TARGET_CELL
        auroc = [roc_auc_score(positive, one) for one in p]
        np.testing.assert_allclose(values(table, "auroc", "other_image", name, 3), auroc)
        enrichment = p[:, TARGET_CELL] * p.shape[-1]
        np.testing.assert_allclose(values(table, "enrichment", "other_image", name, 3), enrichment, rtol=1e-5)


def test_sources_without_a_target_are_described_but_not_scored(case):
    own = case.nodes[GRID]
    bare = replace(case.study, samples=case.study.samples.assign(target_object=""))
    table = scored(case, control(own, "twin", other_weights(case)), study=bare)
    assert set(table["measure"]) == {"entropy", "entropy_normalised", "js_divergence", "centre_shift"}


def donors(case, table):
    return table[table["measure"] == "shares_target"].set_index("sample_id")["value"]


def test_whether_the_other_images_own_target_meets_the_sources(case):
    """Image 1 is asked of image 0's text, 2 of 1's, ...; image 1's target lies elsewhere, image 2 has none for q0."""
    samples = case.study.samples.copy()
    samples.loc[samples["image"] == "image_01.png", "target_object"] = "object_1"
    samples.loc[samples["sample_id"] == "image_02-q0", "target_object"] = ""
    samples = samples[samples["sample_id"] != "image_03-q0"]
    own = case.nodes[GRID]
    other = [f"image_{(int(name[6:8]) + 1) % IMAGES:02d}.png" for name in own["sample"].values]
    table = scored(
        case, control(own, "other_image", other_weights(case), 1, other), study=replace(case.study, samples=samples)
    )
    shared = donors(case, table)
    assert shared["image_00-q0"] == 0  # the target of image 1 is object_1
    assert shared["image_01-q0"] == 0  # image 2 names no target
    assert "image_02-q0" not in shared  # no target of its own: nothing to share
    assert shared["image_04-q0"] == 1
    assert shared["image_02-q1"] == 1
    assert (table.loc[table["measure"] == "shares_target", "layer"] == conditions.NO_LAYER).all()


@pytest.mark.parametrize(("there", "met"), [(("object_0", "object_1"), 1), (("object_1",), 0), ((), 0)])
def test_an_image_that_is_not_asked_in_these_words_shares_where_any_of_its_objects_lies(case, there, met):
    """What the words would be about there is not known; object_0 lies on the sources' target, object_1 does not."""
    own = case.nodes[GRID]
    samples = case.study.samples.assign(query=case.study.samples["query_id"])
    samples = samples[samples["sample_id"] != "image_01-q0"]
    samples.loc[samples["image"] == "image_01.png", "target_object"] = ""
    objects = case.study.objects
    objects = objects[(objects["image"] != "image_01.png") | objects["object_id"].isin(there)]
    shown = ["like:image_00.png:image_01.png"] * own.sizes["sample"]
    controls = control(own, "other_image", other_weights(case), 1, shown)
    shared = donors(case, scored(case, controls, study=replace(case.study, samples=samples, objects=objects)))
    assert shared["image_00-q0"] == met


def test_an_image_whose_size_is_not_known_may_share_any_cell(case):
    own = case.nodes[GRID]
    controls = control(own, "other_image", other_weights(case), 1, ["image_99.png"] * own.sizes["sample"])
    new = case.study.objects.iloc[:1].assign(image="image_99.png")
    study = replace(case.study, objects=pd.concat([case.study.objects, new]))
    assert set(donors(case, scored(case, controls, study=study))) == {1}


def test_controls_are_numbered_by_their_names(case):
    own, weights = case.nodes[GRID], other_weights(case)
    table = scored(case, *(control(own, "other_image", weights, k) for k in (1, 2, 10)), control(own, "twin", weights))
    numbers = table.groupby("condition")["number"].unique()
    assert sorted(numbers["other_image"]) == [1, 2, 10]
    assert list(numbers["twin"]) == [0]


def test_names_with_dots_keep_them():
    node = xr.Dataset(
        {"condition": ("sample", ["twin", "other_image"])}, {"sample": ["a.twin.b.1.twin", "x.2.other_image.4"]}
    )
    assert conditions.described(node).values.tolist() == [["a.twin.b.1", "twin", 0], ["x.2", "other_image", 4]]


def test_a_control_without_its_sources_map_has_entropies_alone_and_is_counted(case):
    own = case.nodes[GRID]
    less = {GRID: own.isel(sample=slice(1, None))}
    controls = joined(control(own, "twin", other_weights(case)))
    table = condition_scores(less, controls, case.study, "max")
    lost = table[table["sample_id"] == own["sample"].values[0]]
    assert set(lost["measure"]) == {"entropy", "entropy_normalised"}
    name = str(own["sample"].values[0])
    alone = without_source(less, controls)
    assert alone[["sample_id", "condition"]].values.tolist() == [[f"{name}.twin", "twin"]]
    (sentence,) = told(alone)
    assert sentence.startswith("1 map(s) of condition twin are described by their entropy alone")
    assert "no map at the selected step" in sentence
    assert sentence.endswith(f": {name}.twin")


def test_a_control_on_another_grid_has_entropies_alone_and_is_counted(case):
    own = case.nodes[GRID]
    controls = {"grid_3x3": control(own, "twin", other_weights(case)).isel(row=slice(3), col=slice(3))}
    table = condition_scores(case.nodes, controls, case.study, "max")
    assert set(table["measure"]) == {"entropy", "entropy_normalised"}
    alone = without_source(case.nodes, controls)
    assert sorted(alone["sample_id"]) == sorted(f"{name}.twin" for name in own["sample"].values)
    (sentence,) = told(alone)
    assert sentence.startswith(f"{own.sizes['sample']} map(s) of condition twin")
    assert "the source's map is on another token grid" in sentence
    assert sentence.endswith(f"and {own.sizes['sample'] - 5} more")


def test_a_map_without_mass_is_kept_as_undefined(case):
    own, weights = case.nodes[GRID], other_weights(case)
    weights[0] = 0
    table = scored(case, control(own, "twin", weights))
    lost = table[table["sample_id"] == own["sample"].values[0]]
    assert lost["value"].isna().all()
    assert len(lost) == 6 * LAYERS
    assert table["value"].isna().sum() == len(lost)


def test_the_order_of_the_maps_changes_nothing(case):
    own = case.nodes[GRID]
    controls = joined(control(own, "twin", other_weights(case)), control(own, "other_image", other_weights(case, 6), 1))
    order = np.random.default_rng(1).permutation(controls[GRID].sizes["sample"])
    shuffled = {GRID: controls[GRID].isel(sample=order)}
    turned = {GRID: own.isel(sample=slice(None, None, -1))}
    pd.testing.assert_frame_equal(
        condition_scores(turned, shuffled, case.study, "max"), condition_scores(case.nodes, controls, case.study, "max")
    )


@pytest.mark.parametrize("kept", [True, False])
def test_without_controls_the_table_is_empty_with_its_columns(case, tmp_path, kept):
    """No file, or a file without any node."""
    write_tree(tmp_path / "controls_step_maps.nc", xr.DataTree())
    with step_maps.reading(tmp_path / "controls_step_maps.nc" if kept else None) as (controls,):
        table = condition_scores(case.nodes, controls, case.study, "max")
        assert table.empty
        assert list(table) == ["sample_id", "condition", "number", "layer", "measure", "value"]
        assert without_source(case.nodes, controls).empty


def test_the_mean_of_several_steps_is_described_as_one_map():
    """Under the selector `mean` a control's map is the mean over its steps, as the study's own step map is."""
    samples = samples_of(6)
    dataset = random_node(samples)
    case = controlled(samples, dataset, steps={"selector": "mean"})
    own = case.nodes[GRID]
    first = dataset["attention"].sel(sample=own["sample"].values[0]).values
    steps = int(np.isfinite(first).all(axis=(1, 2, 3, 4)).sum())
    expected = focus.entropy(first[:steps].astype(float).mean(axis=0).max(axis=1).reshape(LAYERS, -1))
    np.testing.assert_allclose(conditions.pooled_focus(own, "max")["entropy"][0], expected, atol=1e-6)
