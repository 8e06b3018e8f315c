"""Contrasts of control conditions and of distances: planted differences get the verdict that they deserve."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from attention_atlas.analysis import arms, blocks, conditions, distances
from attention_atlas.analysis.comparisons import comparisons
from attention_atlas.analysis.conditions import condition_scores
from attention_atlas.config import Settings
from scipy.spatial.distance import jensenshannon

from ..synthetic import LAYERS
from .controlled import GRID, control, controlled, joined, own_maps, samples_of

IMAGES = 8
DECLARED = {
    "scene_vs_twin": {"family": "conditions", "second": {"condition": "twin"}},
    "scene_vs_blank": {"family": "conditions", "second": {"condition": "blank"}},
    "recognition_vs_twin": {
        "family": "conditions",
        "first": {"query_types": ["recognition"]},
        "second": {"query_types": ["recognition"], "condition": "twin"},
    },
    "late_vs_twin": {"family": "conditions", "first": {"layers": "late"}, "second": {"condition": "twin"}},
    "on_target": {"family": "target", "measure": "ln_enrichment", "second": {"condition": "twin"}},
    "auroc_on_target": {"family": "target", "measure": "auroc", "second": {"condition": "twin"}},
    "maps": {
        "family": "distances",
        "measure": "js_excess",
        "first": {"query_ids": ["q0"]},
        "second": {"query_ids": ["q2"]},
    },
    "centres": {
        "family": "distances",
        "measure": "centre_excess",
        "first": {"query_ids": ["q0"]},
        "second": {"query_ids": ["q2"]},
    },
    "type_maps": {
        "family": "distances",
        "measure": "js_excess",
        "first": {"query_types": ["counting"]},
        "second": {"query_types": ["recognition"]},
    },
}


def settings_with(**contrasts):
    content = {"runs": [{"study": "planted", "model": "tiny"}], "contrasts": {**DECLARED, **contrasts}}
    return Settings.model_validate(content).model_dump(mode="json")["contrasts"]


def varied(weights, seed, size=0.1):
    """Weights that differ a little, of each image by as much as chance has it."""
    noise = np.random.default_rng(seed).normal(0, size, weights.shape)
    return (weights * np.exp(noise)).astype(np.float32)


@pytest.fixture(scope="module")
def case():
    made = controlled(samples_of(IMAGES))
    run = replace(made.run, settings={**made.run.settings, "contrasts": settings_with()})
    return replace(made, run=run)


def scores_of(case, *controls):
    return condition_scores(case.nodes, joined(*controls), case.study, "max")


@pytest.fixture(scope="module")
def scores(case):
    own = case.nodes[GRID]
    weights = own["attention"].values
    return scores_of(
        case,
        control(own, "twin", weights),
        control(own, "blank", weights),
        control(own, "paraphrase", varied(weights, 1)),
    )


def raised(scores, condition, by, seed=0):
    """Condition scores with an entropy that is higher by `by` nats, give or take a little of each sample."""
    mine = (scores["condition"] == condition) & (scores["measure"] == "entropy")
    luck = pd.Series(np.random.default_rng(seed).normal(by, 0.01, scores["sample_id"].nunique()))
    of_sample = luck.set_axis(sorted(scores["sample_id"].unique()))
    return scores.assign(value=scores["value"] + np.where(mine, scores["sample_id"].map(of_sample), 0))


def compared(case, scores, nodes=None, **contrasts):
    run = case.run
    if contrasts:
        run = replace(run, settings={**run.settings, "contrasts": settings_with(**contrasts)})
    return comparisons(run, case.grounding, case.nodes if nodes is None else nodes, scores)


@pytest.fixture(scope="module")
def found(case, scores):
    return compared(case, raised(scores, "twin", 0.3))["contrasts"].set_index("name")


def test_a_twin_planted_three_tenths_of_a_nat_above_is_moved(found):
    row = found.loc["scene_vs_twin"]
    assert row["difference"] == pytest.approx(-0.3, abs=0.02)
    assert (row["verdict"], row["sign"], row["n_first"]) == ("moved", "-", IMAGES)
    assert (row["arm_first"], row["arm_second"]) == ("all queries", "twin")


def test_the_same_maps_under_another_condition_are_never_moved(found):
    row = found.loc["scene_vs_blank"]
    assert row["difference"] == pytest.approx(0, abs=1e-9)
    assert row["verdict"] == "equivalent"


def test_the_filter_of_an_arm_is_about_the_source_sample(case, scores):
    only = scores.assign(
        value=scores["value"]
        + 0.3
        * ((scores["condition"] == "twin") & (scores["measure"] == "entropy") & scores["sample_id"].str.endswith("q2"))
    )
    rows = compared(case, only)["contrasts"].set_index("name")
    assert rows.loc["recognition_vs_twin", "difference"] == pytest.approx(-0.3, abs=1e-6)
    assert rows.loc["scene_vs_twin", "difference"] == pytest.approx(-0.1, abs=1e-6)
    assert rows.loc["recognition_vs_twin", "arm_second"] == "recognition, twin"


def test_each_arm_keeps_its_own_band_of_layers(case, found):
    """Of three layers the last is late."""
    maps = own_maps(case)
    entropy = {name: -(p * np.log(p)).sum(-1) for name, p in maps.items()}
    late = np.mean([one[2] for one in entropy.values()])
    every = np.mean([one.mean() for one in entropy.values()])
    assert found.loc["late_vs_twin", "difference"] == pytest.approx(late - every - 0.3, abs=0.02)


def test_scores_on_the_target_are_compared_with_those_of_the_grounding_table(found):
    for name in ("on_target", "auroc_on_target"):
        assert found.loc[name, "difference"] == pytest.approx(0, abs=1e-6)
        assert found.loc[name, "n_first"] == IMAGES


def test_only_questions_with_a_value_in_both_conditions_are_compared_and_the_rest_is_counted(case, scores):
    """Twins of q0 alone: the scene's q1 and q2 take no part, or the difference would be theirs."""
    less = scores[~((scores["condition"] == "twin") & ~scores["sample_id"].str.endswith("q0"))]
    row = compared(case, less)["contrasts"].set_index("name").loc["scene_vs_twin"]
    assert row["difference"] == pytest.approx(0, abs=1e-6)
    assert f"{2 * IMAGES} of {3 * IMAGES} sample(s) without a value in both conditions left out" in row["note"]


def test_a_control_without_a_defined_map_counts_as_missing(case, scores):
    lost = (scores["condition"] == "twin") & (scores["sample_id"] == "image_00-q0")
    row = compared(case, scores.assign(value=scores["value"].where(~lost)))["contrasts"].set_index("name")
    assert f"1 of {3 * IMAGES} sample(s) without a value in both" in row.loc["scene_vs_twin", "note"]
    assert row.loc["scene_vs_twin", "n_first"] == IMAGES


def test_a_question_without_a_map_in_either_condition_is_counted_too(case, scores):
    less = {GRID: case.nodes[GRID].isel(sample=slice(1, None))}
    lost = (scores["condition"] == "twin") & (scores["sample_id"] == case.nodes[GRID]["sample"].values[0])
    row = compared(case, scores[~lost], nodes=less)["contrasts"].set_index("name").loc["scene_vs_twin"]
    assert f"1 of {3 * IMAGES} sample(s) without a value in both" in row["note"]


def test_enrichment_is_compared_by_its_logarithm(case, scores):
    """Twins enriched e times as much as their scenes: one below in ln."""
    twice = scores["value"].where(scores["measure"] != "enrichment", scores["value"] * np.e)
    rows = compared(case, scores.assign(value=twice))["contrasts"].set_index("name")
    assert rows.loc["on_target", "difference"] == pytest.approx(-1, abs=1e-6)


def test_too_few_images_with_a_control_are_refused(case, scores):
    few = scores[(scores["condition"] != "twin") | (scores["sample_id"] < "image_05")]
    row = compared(case, few)["contrasts"].set_index("name").loc["scene_vs_twin"]
    assert row["verdict"] == "no verdict"
    assert "5 image(s) in an arm; a test needs 6" in row["note"]


def test_without_controls_each_contrast_says_which_condition_is_missing(case, scores):
    """Left out by the settings, or made of no sample, or without an answer in any: not one and the same."""
    rows = compared(case, scores.iloc[:0], nodes={})["contrasts"].set_index("name")
    assert (rows["verdict"] == "no verdict").all()
    needed = {"scene_vs_twin": "twin, which needs a target", "maps": "paraphrase, which needs a known wording"}
    for name, told in needed.items():
        assert rows.loc[name, "verdict_note"].startswith(f"no sample has a map under condition {told}")
    settings = {**case.run.settings, "controls": {**case.run.settings["controls"], "conditions": []}}
    off = replace(case, run=replace(case.run, settings=settings))
    rows = compared(off, scores.iloc[:0], nodes={})["contrasts"].set_index("name")
    assert rows.loc["scene_vs_twin", "verdict_note"] == "condition twin was not made (controls.conditions)"
    assert rows.loc["maps", "verdict_note"] == "condition paraphrase was not made (controls.conditions)"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"first": {"query_ids": ["q8", "q9"]}}, "the study has no query q8, q9"),
        ({"second": {"query_types": ["spatial"]}}, "the study has no query of type spatial"),
        ({"kind": "unpaired", "first": {"query_ids": ["q9"]}}, "the study has no query q9"),
        ({"kind": "lowest_step", "first": {"query_ids": ["q9"]}}, "the study has no query q9"),
        (
            {"kind": "lowest_step", "first": {"condition": "twin"}},
            "control conditions have maps at the selected step alone",
        ),
        (
            {"measure": "js_excess", "first": {"layers": "late"}, "second": {"layers": "early"}},
            "distances are between maps of the same layers; give both arms the same band",
        ),
    ],
)
def test_a_contrast_that_cannot_be_made_says_why_and_stops_no_other(case, scores, entry, told):
    rows = compared(case, scores, other={"family": "conditions", **entry})["contrasts"].set_index("name")
    assert (rows.loc["other", "verdict"], rows.loc["other", "verdict_note"]) == ("no verdict", told)
    assert rows.loc["scene_vs_blank", "verdict"] == "equivalent"


def evidence_of(case, scores):
    return arms.Evidence(case.run, case.grounding, case.nodes, scores)


def test_blocks_of_maps_change_no_contrast(case, scores, monkeypatch):
    evidence, entries = evidence_of(case, scores), case.run.settings["contrasts"]
    distances_of = {name: distances.pair_distances(evidence, entries[name]) for name in ("type_maps", "centres")}
    entropies = arms.step_map_profiles(evidence)
    assert all(pairs["between"].notna().all() and len(pairs) for pairs in distances_of.values())
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    for name, expected in distances_of.items():
        found = distances.pair_distances(evidence, entries[name])
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    pd.testing.assert_frame_equal(arms.step_map_profiles(evidence), entropies, check_exact=True)


def layer_mean_distance(p, q):
    return np.mean([jensenshannon(p[layer], q[layer]) ** 2 for layer in range(LAYERS)])


def test_the_excess_is_that_of_loops_over_images_and_pairs(case, scores):
    """counting has two samples an image, recognition one: two pairs; scipy's distance of single maps."""
    own, maps = case.nodes[GRID], own_maps(case)
    other = control(own, "paraphrase", varied(own["attention"].values, 1))["attention"].values.astype(float).max(axis=2)
    flat = other.reshape(len(other), LAYERS, -1)
    rephrased = dict(zip(own["sample"].values, flat / flat.sum(-1, keepdims=True), strict=True))
    entry = case.run.settings["contrasts"]["type_maps"]
    table, note = distances.excess(evidence_of(case, scores), entry)
    assert note == ""
    wide = table.pivot(index="image", columns="arm", values="value")
    for image in (f"image_{k:02d}" for k in range(IMAGES)):
        pairs = [(f"{image}-{a}", f"{image}-q2") for a in ("q0", "q1")]
        between = np.mean([layer_mean_distance(maps[a], maps[b]) for a, b in pairs])
        within = np.mean(
            [np.mean([layer_mean_distance(maps[name], rephrased[name]) for name in pair]) for pair in pairs]
        )
        assert wide.loc[f"{image}.png", "between"] == pytest.approx(between, rel=1e-4)
        assert wide.loc[f"{image}.png", "paraphrases"] == pytest.approx(within, rel=1e-4)


def test_maps_that_differ_by_more_than_their_paraphrases_are_moved(found):
    row = found.loc["maps"]
    assert row["difference"] == pytest.approx(row["mean_first"] - row["mean_second"])
    assert (row["verdict"], row["sign"]) == ("moved", "+")
    assert (row["arm_first"], row["arm_second"]) == ("q0 to q2", "paraphrases")


@pytest.mark.parametrize("measure", ["js_excess", "centre_excess"])
def test_two_queries_with_the_same_maps_have_no_excess(case, measure):
    """All queries and paraphrases of an image share one map: every distance is 0."""
    own = case.nodes[GRID]
    image = pd.factorize(own["image"].values)[0]
    same = own["attention"].values[image]
    alike = replace(case, nodes={GRID: control(own, "", same).assign_coords(sample=own["sample"])})
    table = scores_of(alike, control(own, "paraphrase", same))
    entry = {**case.run.settings["contrasts"]["maps"], "measure": measure}
    made, _ = distances.excess(evidence_of(alike, table), entry)
    np.testing.assert_allclose(made["value"], 0, atol=1e-9)


def test_the_excess_of_centres_is_in_cells(case, scores):
    """q0 lies on the upper left cell, q2 on the lower left one, their paraphrases where they do: 3 cells."""
    own = case.nodes[GRID]
    place = np.zeros(own["attention"].shape, dtype=np.float32)
    lower = np.char.endswith(own["sample"].values.astype(str), "q2")
    place[~lower, ..., 0, 0] = 0.1
    place[lower, ..., 3, 0] = 0.1
    moved = replace(case, nodes={GRID: control(own, "", place).assign_coords(sample=own["sample"])})
    table = scores_of(moved, control(own, "paraphrase", place))
    made, _ = distances.excess(evidence_of(moved, table), case.run.settings["contrasts"]["centres"])
    assert made.groupby("arm")["value"].agg(["min", "max"]).to_numpy().tolist() == [[3, 3], [0, 0]]


def test_only_the_band_of_layers_of_the_arms_is_averaged(case, scores):
    entry = case.run.settings["contrasts"]["maps"]
    entry = {**entry, **{arm: {**entry[arm], "layers": "late"} for arm in ("first", "second")}}
    made, _ = distances.excess(evidence_of(case, scores), entry)
    maps = own_maps(case)
    expected = jensenshannon(maps["image_00-q0"][2], maps["image_00-q2"][2]) ** 2
    between = made[(made["arm"] == "between") & (made["image"] == "image_00.png")]
    assert between["value"].item() == pytest.approx(expected, rel=1e-4)
    own = scores[
        (scores["condition"] == "paraphrase") & (scores["measure"] == "js_divergence") & (scores["layer"] == 2)
    ]
    within = own.set_index("sample_id")["value"][["image_00-q0", "image_00-q2"]].mean()
    paraphrases = made[(made["arm"] == "paraphrases") & (made["image"] == "image_00.png")]
    assert paraphrases["value"].item() == pytest.approx(within)


def test_pairs_without_both_paraphrases_are_left_out_and_counted(case, scores):
    """q0 of image 0 has no paraphrase: its pair is left out, that of q1 stays."""
    lost = (scores["condition"] == "paraphrase") & (scores["sample_id"] == "image_00-q0")
    made, note = distances.excess(evidence_of(case, scores[~lost]), case.run.settings["contrasts"]["type_maps"])
    assert note == f"1 of {2 * IMAGES} pair(s) of samples without all four maps left out"
    maps = own_maps(case)
    first = made[(made["image"] == "image_00.png") & (made["arm"] == "between")]
    assert first["value"].item() == pytest.approx(
        layer_mean_distance(maps["image_00-q1"], maps["image_00-q2"]), rel=1e-4
    )
    assert made["value"].notna().all()


def test_an_image_without_paraphrases_is_described_but_not_tested(case, scores):
    lost = (scores["condition"] == "paraphrase") & (scores["sample_id"] == "image_00-q2")
    made, _ = distances.excess(evidence_of(case, scores[~lost]), case.run.settings["contrasts"]["maps"])
    wide = made.pivot(index="image", columns="arm", values="value")
    assert np.isfinite(wide.loc["image_00.png", "between"])
    assert np.isnan(wide.loc["image_00.png", "paraphrases"])
    row = compared(case, scores[~lost])["contrasts"].set_index("name").loc["maps"]
    assert row["n_first"] == IMAGES - 1
    assert "1 image(s) without a value in both arms left out" in row["note"]


def test_an_image_with_a_query_that_has_no_map_is_counted(case, scores):
    """q0 of image 0 has no map: no distance, but its image is told of."""
    own = case.nodes[GRID]
    less = {GRID: own.isel(sample=own["sample"].values != "image_00-q0")}
    row = compared(case, scores, nodes=less)["contrasts"].set_index("name").loc["maps"]
    assert row["n_first"] == IMAGES - 1
    assert f"1 of {IMAGES} pair(s) of samples without all four maps left out" in row["note"]
    assert "1 image(s) without a value in both arms left out" in row["note"]


def test_without_the_studys_step_maps_there_is_no_distance(case, scores):
    row = compared(case, scores, nodes={})["contrasts"].set_index("name").loc["maps"]
    assert row["verdict"] == "no verdict"


def test_every_new_contrast_of_two_arms_is_validated(case, scores):
    made = compared(case, raised(scores, "twin", 0.3))
    assert {"scene_vs_twin", "maps", "centres", "type_maps"} <= set(made["validation"]["contrast"])
    assert {"scene_vs_twin", "maps"} <= set(made["power"]["contrast"])


def test_the_order_of_the_rows_changes_nothing(case, scores, found):
    table = raised(scores, "twin", 0.3).sample(frac=1, random_state=3)
    turned = {GRID: case.nodes[GRID].isel(sample=slice(None, None, -1))}
    again = compared(case, table, nodes=turned)["contrasts"].set_index("name")
    pd.testing.assert_frame_equal(again, found)


def test_entropies_of_step_maps_are_those_of_the_focus_table(case, scores):
    """So a scene that is compared with its twin is the scene that other contrasts are about."""
    evidence = evidence_of(case, scores)
    maps, table = arms.step_map_profiles(evidence), arms.entropy_profiles(case.run)
    merged = maps.droplevel("step").sort_index(), table.droplevel("step").sort_index()
    pd.testing.assert_frame_equal(*merged, atol=1e-6)


def test_several_steps_are_compared_as_mean_maps_on_both_sides():
    """Under `mean` the focus table averages entropies; a control's step map is a mean map, and so is its scene's."""
    case = controlled(samples_of(IMAGES), steps={"selector": "mean"}, contrasts={"twin": DECLARED["scene_vs_twin"]})
    own = case.nodes[GRID]
    scores = scores_of(case, control(own, "twin", own["attention"].values))
    rows = comparisons(case.run, case.grounding, case.nodes, scores)["contrasts"].set_index("name")
    assert rows.loc["twin", "difference"] == pytest.approx(0, abs=1e-9)
    assert conditions.pooled_focus(own, "max")["entropy"].mean() > arms.entropy_profiles(case.run).to_numpy().mean()
