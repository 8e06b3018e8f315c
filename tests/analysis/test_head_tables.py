"""Heads that localise: planted heads are found, and every number is what plain counting or scikit-learn gives."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_atlas.analysis.head_scores import head_scores
from attention_atlas.analysis.head_tables import METHODS, localising_heads
from attention_atlas.analysis.heads import random_sets
from attention_atlas.cells import cell_edges
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.study import Study
from scipy import stats
from sklearn.metrics import roc_auc_score

from tests.synthetic import settings_of

LAYERS, HEADS, SIDE = 4, 3, 4
PLANTED = [(2, 1), (1, 0)]
SETTINGS = settings_of(heads={"count": 2, "random_sets": 199, "most_focused": 4, "most_frequent": 2})


def run_of(images=16, queries=2, side=SIDE, seed=0, planted=PLANTED, first=0):
    """A node of step maps and the rows of its study: random maps, but heads that look at the target of each sample.

    Every second image is of the split `select`. The target is a box of 2 x 2 cells.
    """
    random = np.random.default_rng(seed)
    total = images * queries
    names = [f"s{first + k}" for k in range(total)]
    image = [f"image_{first + k // queries}.png" for k in range(total)]
    attention = random.gamma(1.0, size=(total, LAYERS, HEADS, side, side))
    cell = 64 / side
    corner = random.integers(0, side - 1, size=(total, 2))
    for number, (row, col) in enumerate(corner):
        for strength, (layer, head) in zip((3.0, 1.5), planted, strict=False):
            attention[number, layer, head, row : row + 2, col : col + 2] += strength
    attention *= random.uniform(0.2, 0.9, size=(total, LAYERS, HEADS, 1, 1)) / attention.sum((-2, -1), keepdims=True)
    samples = pd.DataFrame(
        {
            "sample_id": names,
            "image": image,
            "condition": "",
            "target_object": [f"object_{k}" for k in range(total)],
            "split": ["select" if (k // queries) % 2 else "evaluate" for k in range(total)],
        }
    )
    boxes = np.column_stack([corner[:, 1], corner[:, 0], corner[:, 1] + 2, corner[:, 0] + 2]) * cell
    objects = pd.DataFrame(boxes, columns=["x_min", "y_min", "x_max", "y_max"])
    objects = objects.assign(image=image, object_id=samples["target_object"])
    return node_of(samples, attention), Study(Path("planted"), samples, objects)


def node_of(samples, attention):
    """Maps as a node of step maps, on pictures of 64 x 64 pixels."""
    total, rows, cols = len(samples), *attention.shape[-2:]
    variables = {
        "image": ("sample", samples["image"].to_numpy().astype(str)),
        "condition": ("sample", samples["condition"].to_numpy().astype(str)),
        "image_height": ("sample", np.full(total, 64)),
        "image_width": ("sample", np.full(total, 64)),
        "row_edge": (("sample", "row_border"), np.tile(cell_edges(rows, 64), (total, 1))),
        "col_edge": (("sample", "col_border"), np.tile(cell_edges(cols, 64), (total, 1))),
        "attention": (("sample", "layer", "head", "row", "col"), attention.astype(np.float32)),
        "vision_mass": (("sample", "layer", "head"), attention.sum((-2, -1)).astype(np.float32)),
    }
    layers = {"layer": np.arange(attention.shape[1]), "head": np.arange(attention.shape[2])}
    names = samples["sample_id"].to_numpy().astype(str)
    cells = {"row": np.arange(rows), "col": np.arange(cols)}
    return xr.Dataset(variables, coords={"sample": names, **layers, **cells})


def target_cells(study, name, side=SIDE):
    """Which cells a sample's box covers: boxes lie on the borders of cells."""
    box = study.targets(name).iloc[0]
    inside = np.zeros((side, side), dtype=int)
    left, top, right, bottom = (round(box[edge] / (64 / side)) for edge in ("x_min", "y_min", "x_max", "y_max"))
    inside[top:bottom, left:right] = 1
    return inside.ravel()


def area(study, name, values, side=SIDE):
    return roc_auc_score(target_cells(study, name, side), np.ravel(values))


def mean_over_images(study, split, score):
    """Mean over the images of a split of the mean over their samples of a score by sample id."""
    rows = study.samples[study.samples["split"] == split]
    return rows.assign(value=[score(name) for name in rows["sample_id"]]).groupby("image")["value"].mean().mean()


def with_samples(study, **columns):
    return Study(study.folder, study.samples.assign(**columns), study.objects)


@pytest.fixture(scope="module")
def run():
    return run_of()


@pytest.fixture(scope="module")
def made(run):
    node, study = run
    return localising_heads({"grid_4x4": node}, study, SETTINGS)


def row_of(methods, method):
    return methods.set_index("method").loc[method]


def test_every_heads_score_is_scikit_learns(run):
    node, study = run
    table = head_scores({"grid_4x4": node}, study)
    assert len(table) == len(study.samples) * LAYERS * HEADS
    assert list(table) == ["sample_id", "image", "layer", "head", "auroc"]
    for row in table.sample(60, random_state=0).itertuples():
        one = node["attention"].sel(sample=row.sample_id, layer=row.layer, head=row.head)
        assert row.auroc == pytest.approx(area(study, row.sample_id, one))
        assert row.image == str(node["image"].sel(sample=row.sample_id).item())


def test_the_heads_that_look_at_the_target_are_found_and_frozen_the_best_first(made):
    frozen, methods, scores = made
    assert [(head["layer"], head["head"]) for head in frozen["heads"]] == PLANTED
    assert row_of(methods, "selected heads")["heads"] == "L2H1, L1H0"
    chosen = scores[scores["selected"] == "yes"]
    assert set(zip(chosen["layer"], chosen["head"], strict=True)) == set(PLANTED)
    assert set(scores["selected"]) == {"yes", "no"}


def test_the_frozen_file_is_json_with_the_score_of_every_head_on_the_selection_images(run, made):
    node, study = run
    frozen = json.loads(json.dumps(made[0], allow_nan=False))
    assert list(frozen) == ["split", "score", "n", "heads", "all"]
    assert (frozen["split"], frozen["score"], frozen["n"]) == ("select", "auroc", 8)
    assert [(layer, head) for layer, head, _ in frozen["all"]] == [(k // 3, k % 3) for k in range(12)]
    for layer, head, score in frozen["all"]:
        maps = node["attention"].sel(layer=layer, head=head)
        expected = mean_over_images(study, "select", lambda name, maps=maps: area(study, name, maps.sel(sample=name)))
        assert score == round(expected, 6)


def test_a_set_of_heads_is_scored_by_its_summed_attention_on_the_other_images(run, made):
    node, study = run

    def score(name):
        one = node["attention"].sel(sample=name)
        return area(study, name, sum(one.sel(layer=layer, head=head) for layer, head in PLANTED))

    row = row_of(made[1], "selected heads")
    assert row["auroc"] == pytest.approx(mean_over_images(study, "evaluate", score))
    assert row["select_auroc"] == pytest.approx(mean_over_images(study, "select", score))
    assert (row["n"], row["n_select"], row["number"]) == (8, 8, 2)


def test_all_heads_are_pooled_by_layer_and_together(run, made):
    node, study = run

    def layers(name, how):
        one = getattr(node["attention"].sel(sample=name), how)("head")
        return np.mean([area(study, name, one.sel(layer=layer)) for layer in range(LAYERS)])

    def together(name):
        return area(study, name, node["attention"].sel(sample=name).sum(["layer", "head"]))

    for how in ("max", "mean"):
        expected = mean_over_images(study, "evaluate", lambda name, how=how: layers(name, how))
        assert row_of(made[1], f"all heads, {how}")["auroc"] == pytest.approx(expected)
    expected = mean_over_images(study, "evaluate", together)
    assert row_of(made[1], "all heads together")["auroc"] == pytest.approx(expected)


def test_vea_takes_the_layer_whose_mean_map_agrees_best_on_the_selection_images(run, made):
    node, study = run
    means = node["attention"].mean("head")
    profile = [
        mean_over_images(study, "select", lambda name, k=k: area(study, name, means.sel(sample=name, layer=k)))
        for k in range(LAYERS)
    ]
    best = int(np.argmax(profile))
    row = row_of(made[1], "VEA layers")
    assert (row["heads"], row["number"]) == (f"L{best}", HEADS)
    expected = mean_over_images(study, "evaluate", lambda name: area(study, name, means.sel(sample=name, layer=best)))
    assert row["auroc"] == pytest.approx(expected)


def test_the_layers_of_vea_are_judged_by_the_mean_over_heads(run):
    """At layer 0 every head has two own cells beside the target: the strongest of the maximum, not of the mean."""
    node, study = run
    planted = node.copy(deep=True)
    for name in planted["sample"].values:
        target = target_cells(study, name)
        beside = np.flatnonzero(target == 0)[: 2 * HEADS].reshape(HEADS, 2)
        maps = np.stack([3.0 * target + 4.0 * np.isin(np.arange(16), cells) for cells in beside]) / 40
        planted["attention"].loc[{"sample": name, "layer": 0}] = maps.reshape(HEADS, SIDE, SIDE)
    planted["vision_mass"].values[:] = planted["attention"].sum(["row", "col"])
    row = row_of(localising_heads({"g": planted}, study, SETTINGS)[1], "VEA layers")
    assert (row["heads"], row["auroc"]) == ("L0", 1)


def test_a_head_of_too_few_images_is_not_chosen_however_good(run):
    """The best head is defined in five selection images alone."""
    node, study = run
    rare = node.copy(deep=True)
    without = ~rare["image"].isin([f"image_{k}.png" for k in (1, 3, 5, 7, 9)])
    rare["attention"].loc[{"layer": 2, "head": 1}] = rare["attention"].sel(layer=2, head=1).where(~without, 0)
    rare["vision_mass"].loc[{"layer": 2, "head": 1}] = rare["vision_mass"].sel(layer=2, head=1).where(~without, 0)
    frozen, _, scores = localising_heads({"g": rare}, study, SETTINGS)
    assert (frozen["heads"][0]["layer"], frozen["heads"][0]["head"]) == PLANTED[1]
    assert [2, 1, None] in frozen["all"]
    assert scores.set_index(["layer", "head"]).loc[(2, 1), "n"] == 5


def test_p_counts_the_random_sets_that_are_at_least_as_good(run):
    """Among heads without any planted one, by brute force over the same sets."""
    node, study = run_of(images=12, planted=[], queries=1, seed=3)
    settings = settings_of(heads={"count": 2, "random_sets": 150, "seed": 5}, statistics={"resamples": 99})
    row, selected = (
        row_of(localising_heads({"g": node}, study, settings)[1], name) for name in ("random heads", "selected heads")
    )
    weights = node["attention"].values.reshape(12, LAYERS * HEADS, -1)
    place = {str(name): number for number, name in enumerate(node["sample"].values)}
    means = [
        mean_over_images(study, "evaluate", lambda name, own=own: area(study, name, weights[place[name]][own].sum(0)))
        for own in random_sets(LAYERS * HEADS, 2, 150, 5)
    ]
    as_good = (np.array(means) >= selected["auroc"] - 1e-9).sum()
    assert 0 < as_good < 150
    assert row["p"] == pytest.approx((1 + as_good) / 151)
    assert row["auroc"] == pytest.approx(np.mean(means))
    assert (row["random_low"], row["random_high"]) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_the_gaussian_and_the_uniform_map_stand_beside(run, made):
    _, study = run
    down = np.exp(-0.5 * (((np.arange(4) + 0.5) / 4 - 0.5) / 0.25) ** 2)
    expected = mean_over_images(study, "evaluate", lambda name: area(study, name, np.outer(down, down)))
    assert row_of(made[1], "Gaussian")["auroc"] == pytest.approx(expected)
    assert row_of(made[1], "uniform")["auroc"] == 0.5
    assert row_of(made[1], "uniform")["note"] == "all values are equal"


def test_random_sets_of_equal_size_hardly_reach_the_planted_heads(run, made):
    """Of 66 pairs one is the planted one; sets that hold neither head are blind."""
    row, selected = row_of(made[1], "random heads"), row_of(made[1], "selected heads")
    assert row["number"] == 2
    assert 1 / 200 <= row["p"] <= 0.05
    assert row["random_low"] < row["auroc"] < row["random_high"] <= selected["auroc"] + 1e-9
    assert made[1]["p"].notna().sum() == 1


def test_p_of_random_sets_is_one_where_every_set_is_the_selected_one(run):
    node, study = run
    settings = settings_of(heads={"count": LAYERS * HEADS, "random_sets": 99})
    _, methods, _ = localising_heads({"grid_4x4": node}, study, settings)
    row = row_of(methods, "random heads")
    assert row["p"] == 1
    assert row["random_low"] == pytest.approx(row_of(methods, "selected heads")["auroc"])
    assert row["auroc"] == pytest.approx(row_of(methods, "all heads together")["auroc"])


def test_p_is_evenly_spread_where_no_head_looks_at_the_target():
    """Planted truth: without any localising head, p is that of a draw among equals."""
    found = []
    for seed in range(40):
        node, study = run_of(seed=seed, planted=[], queries=1)
        settings = settings_of(heads={"count": 2, "random_sets": 99}, statistics={"resamples": 99})
        found.append(row_of(localising_heads({"grid": node}, study, settings)[1], "random heads")["p"])
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_differences_are_paired_by_image_with_scipys_interval(run, made):
    node, study = run
    scored = head_scores({"grid_4x4": node}, study)
    frozen, methods, _ = localising_heads({"grid_4x4": node}, study, settings_of(heads={"count": 1, "random_sets": 99}))
    (head,) = frozen["heads"]
    own = scored[(scored["layer"] == head["layer"]) & (scored["head"] == head["head"])]
    rows = study.samples[study.samples["split"] == "evaluate"]

    def pooled(name):
        return area(study, name, node["attention"].sel(sample=name).mean(("layer", "head")))

    values = rows.assign(value=own.set_index("sample_id")["auroc"].loc[rows["sample_id"]].to_numpy())
    values["value"] -= [pooled(name) for name in rows["sample_id"]]
    by_image = values.groupby("image")["value"].mean().to_numpy()
    interval = stats.bootstrap(
        (by_image,), np.mean, n_resamples=199, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    row = row_of(methods, "selected heads")
    assert row["difference"] == pytest.approx(by_image.mean())
    # The order of sums decides ties of resampled means, which BCa counts.
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(interval), abs=2e-3)
    assert np.isnan(row_of(methods, "all heads together")["difference"])
    assert np.isnan(row_of(methods, "Gaussian")["over_gaussian"])


def test_the_table_of_heads_is_over_every_image_with_a_target(run, made):
    node, study = run
    scored = head_scores({"grid_4x4": node}, study)
    expected = scored.groupby(["layer", "head", "image"])["auroc"].mean().groupby(["layer", "head"]).mean()
    table = made[2].set_index(["layer", "head"])
    pd.testing.assert_series_equal(table["auroc"], expected)
    assert set(table["n"]) == {16}
    mass = node["vision_mass"].mean("sample").to_series()
    np.testing.assert_allclose(table["vision_mass"], mass.loc[table.index], rtol=1e-6)


def assert_same(first, second):
    assert first[0] == second[0]
    for one, other in zip(first[1:], second[1:], strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_samples_and_of_the_studys_rows_changes_nothing(run, made, seed):
    node, study = run
    random = np.random.default_rng(seed)
    shuffled = Study(study.folder, study.samples.sample(frac=1, random_state=seed), study.objects)
    again = localising_heads({"grid": node.isel(sample=random.permutation(32))}, shuffled, SETTINGS)
    assert_same(made, again)


def test_a_samples_strength_of_attention_changes_no_score(run):
    node, study = run
    strength = xr.DataArray(2.0 ** np.random.default_rng(5).integers(-3, 4, 32), dims="sample")
    stronger = node.assign(attention=node["attention"] * strength, vision_mass=node["vision_mass"] * strength)
    pd.testing.assert_frame_equal(head_scores({"g": node}, study), head_scores({"g": stronger}, study))
    kept = ["method", "heads", "auroc", "select_auroc", "p"]
    methods = [localising_heads({"g": one}, study, SETTINGS)[1] for one in (node, stronger)]
    boxless = methods[0]["method"] != "LocalizationHeads"
    pd.testing.assert_frame_equal(methods[0].loc[boxless, kept], methods[1].loc[boxless, kept])


def test_samples_of_several_grids_are_scored_on_their_own_cells(run):
    node, study = run
    other, theirs = run_of(images=4, side=6, seed=9, first=100)
    both = Study(
        study.folder,
        pd.concat([study.samples, theirs.samples], ignore_index=True),
        pd.concat([study.objects, theirs.objects], ignore_index=True),
    )
    table = head_scores({"grid_4x4": node, "grid_6x6": other}, both)
    assert table["sample_id"].nunique() == 32 + 8
    for row in table[table["sample_id"].isin(theirs.samples["sample_id"])].sample(20, random_state=0).itertuples():
        one = other["attention"].sel(sample=row.sample_id, layer=row.layer, head=row.head)
        assert row.auroc == pytest.approx(area(both, row.sample_id, one, side=6))
    _, methods, _ = localising_heads({"grid_4x4": node, "grid_6x6": other}, both, SETTINGS)
    assert set(methods["n"]) == {10}


def test_blocks_of_samples_and_of_sets_change_no_number(run, made, monkeypatch):
    from attention_atlas.analysis import head_scores as scores
    from attention_atlas.analysis import head_tables as tables

    monkeypatch.setattr(scores, "SAMPLES_AT_ONCE", 5)
    monkeypatch.setattr(tables, "SETS_AT_ONCE", 7)
    node, study = run
    assert_same(made, localising_heads({"g": node}, study, SETTINGS))


def test_controls_are_no_part_of_it(run, made):
    node, study = run
    twin = node.isel(sample=slice(4)).assign_coords(sample=[f"twin_{k}" for k in range(4)])
    twin = twin.assign(condition=("sample", np.full(4, "twin")), attention=twin["attention"] * 0 + 1)
    rows = study.samples.iloc[:4].assign(sample_id=[f"twin_{k}" for k in range(4)], condition="twin", split="select")
    more = Study(study.folder, pd.concat([study.samples, rows], ignore_index=True), study.objects)
    both = xr.concat([node, twin], dim="sample")
    assert_same(made, localising_heads({"g": both}, more, SETTINGS))


def test_localization_heads_need_no_boxes(run, made):
    """Boxes of the selection images that lie elsewhere choose other heads by AUROC, but the same by focus."""
    node, study = run
    moved = study.objects.copy()
    select = moved["image"].isin(study.samples.loc[study.samples["split"] == "select", "image"])
    moved.loc[select, ["x_min", "y_min"]] = 0.0
    moved.loc[select, ["x_max", "y_max"]] = 16.0
    frozen, methods, _ = localising_heads({"g": node}, Study(study.folder, study.samples, moved), SETTINGS)
    assert row_of(methods, "LocalizationHeads")["heads"] == row_of(made[1], "LocalizationHeads")["heads"]
    assert [(head["layer"], head["head"]) for head in frozen["heads"]] != PLANTED


def test_more_heads_than_the_model_has_are_refused(run):
    node, study = run
    with pytest.raises(AtlasError, match=r"heads\.count is 13, but the model has 12 heads"):
        localising_heads({"g": node}, study, settings_of(heads={"count": 13}))


def assert_nothing_chosen(made, note):
    frozen, methods, scores = made
    assert frozen["heads"] == []
    assert list(methods["method"]) == list(METHODS)
    chosen = methods[methods["method"].isin(["selected heads", "random heads", "LocalizationHeads", "VEA layers"])]
    assert set(chosen["heads"]) == {"-"}
    assert set(chosen["number"]) == {0}
    assert chosen["auroc"].isna().all()
    assert set(chosen["note"]) == {note}
    assert set(scores["selected"]) <= {""}


@pytest.mark.parametrize(
    ("splits", "images"), [({"select": ""}, 0), ({"select": "", "evaluate": ""}, 0), ({"evaluate": "select"}, None)]
)
def test_splits_that_are_not_filled_are_told(run, splits, images):
    node, study = run
    made = localising_heads({"g": node}, with_samples(study, split=study.samples["split"].replace(splits)), SETTINGS)
    if images is not None:
        assert_nothing_chosen(made, f"{images} image(s) with a target in the split select; choosing needs 6")
    else:
        assert len(made[0]["heads"]) == 2
        assert set(made[1]["note"]) == {"no image"}
        assert set(made[1]["n"]) == {0}
    assert made[2]["auroc"].notna().all()
    json.dumps(made[0], allow_nan=False)


def test_too_few_images_choose_nothing_and_have_no_interval(run):
    node, study = run
    few = study.samples["image"].isin([f"image_{k}.png" for k in range(10)])
    made = localising_heads({"g": node}, Study(study.folder, study.samples[few], study.objects), SETTINGS)
    assert_nothing_chosen(made, "5 image(s) with a target in the split select; choosing needs 6")
    row = row_of(made[1], "all heads, max")
    assert row["n"] == 5
    assert np.isfinite(row["auroc"])
    assert np.isnan(row["auroc_low"])
    assert row["note"] == "5 image(s); an interval needs 6"


def test_too_few_images_to_evaluate_on_have_means_but_neither_interval_nor_p(run):
    node, study = run
    few = (study.samples["split"] == "select") | study.samples["image"].isin([f"image_{k}.png" for k in range(10)])
    frozen, methods, _ = localising_heads({"g": node}, Study(study.folder, study.samples[few], study.objects), SETTINGS)
    assert len(frozen["heads"]) == 2
    assert set(methods["note"]) == {"5 image(s); an interval needs 6"}
    assert methods["auroc"].notna().all()
    missing = ["auroc_low", "auroc_high", "difference_low", "over_gaussian_high", "random_low", "random_high", "p"]
    assert methods[missing].isna().all(axis=None)


def test_a_study_without_targets_has_tables_that_say_so(run):
    node, study = run
    made = localising_heads({"g": node}, with_samples(study, target_object=""), SETTINGS)
    assert_nothing_chosen(made, "0 image(s) with a target in the split select; choosing needs 6")
    assert made[1]["auroc"].isna().all()
    assert set(made[2]["n"]) == {0}
    assert head_scores({"g": node}, with_samples(study, target_object="")).empty


@pytest.mark.parametrize("nodes", ["none", "controls alone"])
def test_a_run_without_any_map_of_the_study_has_tables_with_their_columns(run, made, nodes):
    node, study = run
    controls = {"g": node.assign(condition=("sample", np.full(32, "blank")))} if nodes != "none" else {}
    empty = localising_heads(controls, study, SETTINGS)
    assert_nothing_chosen(empty, "0 image(s) with a target in the split select; choosing needs 6")
    assert empty[0]["all"] == []
    assert list(empty[1]) == list(made[1])
    assert list(empty[2]) == list(made[2])
    assert empty[2].empty
    assert list(head_scores(controls, study)) == ["sample_id", "image", "layer", "head", "auroc"]


def test_heads_without_mass_have_no_score_and_are_counted(run):
    node, study = run
    dark = node.copy(deep=True)
    dark["attention"].loc[{"layer": 0, "head": 2}] = 0
    dark["vision_mass"].loc[{"layer": 0, "head": 2}] = 0
    dark["attention"].loc[{"layer": 3, "head": 0, "sample": "s0"}] = np.nan
    frozen, methods, scores = localising_heads({"g": dark}, study, SETTINGS)
    table = scores.set_index(["layer", "head"])
    assert table.loc[(0, 2), "n"] == 0
    assert np.isnan(table.loc[(0, 2), "auroc"])
    assert frozen["all"][2] == [0, 2, None]
    json.dumps(frozen, allow_nan=False)
    assert row_of(methods, "all heads, max")["note"] == "no image; 16 of 16 samples undefined"
    assert row_of(methods, "all heads together")["note"] == "1 of 16 samples undefined"
    assert row_of(methods, "selected heads")["note"] == ""
