"""Shortcut: three planted legs, each alone, give the verdict that the methods say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from attention_atlas.analysis import shortcut
from attention_atlas.analysis.comparisons import comparisons, plan_of
from scipy import stats

from .controlled import controlled, samples_of

IMAGES = 12


@pytest.fixture(scope="module")
def case():
    """Answers are all right; expected answers of q0 and q1 are one number, so each query is given its own below."""
    return controlled(samples_of(IMAGES), contrasts={})


def with_answers(case, right=IMAGES, constant=6, query_id="q2"):
    """A study and run where `right` images of a query are answered rightly, and `constant` expect the same."""
    mine = [f"image_{k:02d}-{query_id}" for k in range(IMAGES)]
    samples = case.study.samples.set_index("sample_id")
    samples.loc[mine, "expected_answer"] = ["yes"] * constant + ["no"] * (IMAGES - constant)
    answers = case.run.answers.astype({"correct": int}).set_index("sample_id")
    answers.loc[mine, "correct"] = [1] * right + [0] * (IMAGES - right)
    return replace(
        case,
        study=replace(case.study, samples=samples.reset_index()),
        run=replace(case.run, answers=answers.reset_index()),
    )


def enrichment_rows(case, shift, seed=2, noise=0.05):
    """other_image scores: the own enrichment times exp(-shift) and some luck; four other images a sample."""
    own = case.grounding[
        (case.grounding["map"] == "max")
        & (case.grounding["correction"] == "raw")
        & (case.grounding["score"] == "enrichment")
    ].astype({"sample_id": str})
    random = np.random.default_rng(seed)
    parts = []
    for number in range(1, 5):
        luck = np.exp(random.normal(-shift, noise, len(own)))
        parts.append(own.assign(value=own["value"] * luck, number=number, measure="enrichment"))
        names = sorted(own["sample_id"].unique())
        parts.append(
            pd.DataFrame({"sample_id": names, "number": number, "layer": -1, "measure": "shares_target", "value": 0.0})
        )
    table = pd.concat(parts, ignore_index=True).assign(condition="other_image")
    return table[["sample_id", "condition", "number", "layer", "measure", "value"]]


def causal_rows(case, effect, images=IMAGES, seed=3):
    """Causal checks of one sample an image and query: the target's removal changes log p by `effect` more."""
    random = np.random.default_rng(seed)
    samples = case.run.samples[case.run.samples["image"] < f"image_{images:02d}"]
    about = samples[["sample_id", "image", "query_id", "query_type"]]
    parts = [
        about.assign(quantity=name, value=random.normal(mean, 0.02, len(about)))
        for name, mean in (("twin", -0.5 + effect), ("random_region", -0.5), ("occlusion", 9.0))
    ]
    return pd.concat(parts, ignore_index=True)


def made(case, scores, causal, **further):
    table = shortcut.shortcut_table(
        case.run, case.study, scores, case.grounding, causal, plan_of(case.run.settings), **further
    )
    return table.set_index("query_type")


def test_three_legs_that_hold_are_a_shortcut(case):
    ready = with_answers(case)
    row = made(ready, enrichment_rows(ready, 0), causal_rows(ready, 0)).loc["recognition"]
    assert [row[f"{leg}_state"] for leg in ("chance", "attention", "cause")] == ["holds"] * 3
    assert (row["verdict"], row["verdict_note"]) == ("shortcut", "")
    assert (row["n_chance"], row["n_attention"], row["n_cause"]) == (IMAGES,) * 3


def test_attention_that_follows_the_target_is_no_shortcut(case):
    """Enriched 0.6 ln units more on the own image than on others."""
    ready = with_answers(case)
    row = made(ready, enrichment_rows(ready, 0.6), causal_rows(ready, 0)).loc["recognition"]
    assert (row["attention_state"], row["verdict"]) == ("fails", "no shortcut")
    assert row["attention_difference"] == pytest.approx(0.6, abs=0.05)
    assert row["attention_low"] < row["attention_difference"] < row["attention_high"]
    assert row["verdict_note"].startswith("attention on the target")


def test_an_answer_that_needs_the_target_is_no_shortcut(case):
    ready = with_answers(case)
    row = made(ready, enrichment_rows(ready, 0), causal_rows(ready, -1.5)).loc["recognition"]
    assert (row["cause_state"], row["verdict"]) == ("fails", "no shortcut")
    assert row["cause_difference"] == pytest.approx(-1.5, abs=0.05)


def test_answers_below_the_best_constant_answer_are_no_shortcut(case):
    ready = with_answers(case, right=1, constant=9)
    row = made(ready, enrichment_rows(ready, 0), causal_rows(ready, 0)).loc["recognition"]
    assert (row["chance_state"], row["verdict"]) == ("fails", "no shortcut")


def test_the_chance_leg_is_the_exact_binomial_test_against_the_best_constant_answer(case):
    """10 of 12 right, 7 expect yes."""
    ready = with_answers(case, right=10, constant=7)
    row = made(ready, enrichment_rows(ready, 0), None).loc["recognition"]
    p = stats.binomtest(10, IMAGES, 7 / 12, alternative="greater").pvalue
    assert row["chance_reason"] == f"q2: 10 of 12, constant answer 0.583, p = {p:.3g}"
    assert row["chance_state"] == ("holds" if p <= 0.05 else "undecided")


def test_a_query_whose_answer_is_always_the_same_shows_nothing(case):
    row = made(case, enrichment_rows(case, 0), None).loc["counting"]
    assert row["chance_state"] == "undecided"


def test_the_worst_query_of_a_type_decides(case):
    """q0 all right against chance one half, q1 at chance."""
    ready = case
    for query_id, right in (("q0", IMAGES), ("q1", 6)):
        ready = with_answers(ready, right=right, query_id=query_id)
    spelled = replace(
        ready,
        study=replace(
            ready.study,
            samples=ready.study.samples.assign(
                expected_answer=ready.study.samples["expected_answer"].replace({"yes": "3", "no": "4"})
            ),
        ),
    )
    row = made(spelled, enrichment_rows(spelled, 0), None).loc["counting"]
    assert row["chance_state"] == "undecided"
    assert row["chance_reason"].startswith("q1: 6 of 12, constant answer 0.5")


def test_an_image_is_right_where_all_its_samples_of_the_query_are():
    known = pd.DataFrame({"image": list("aabbc"), "correct": [1, 0, 1, 1, 1], "expected": ["1", "1", "1", "2", "1"]})
    assert shortcut.best_constant(known) == pytest.approx(2 / 3)  # a and c expect 1 throughout, b does not
    plan = replace(plan_of(controlled_settings()), min_images=2)
    n, _, leg = shortcut.query_leg("q", known, plan)
    assert n == 3
    assert leg.reason.startswith("q: 2 of 3")


def controlled_settings():
    return controlled(samples_of(6), contrasts={}).run.settings


def test_samples_without_an_expected_answer_take_no_part(case):
    answers = case.run.answers.assign(correct=-1)
    row = made(replace(case, run=replace(case.run, answers=answers)), enrichment_rows(case, 0), None).loc["counting"]
    assert (row["chance_state"], row["n_chance"]) == ("not defined", 0)


def test_the_attention_leg_is_the_paired_difference_by_hand(case):
    scores = enrichment_rows(case, 0.2)
    row = made(case, scores, None).loc["counting"]
    own = case.grounding[
        (case.grounding["map"] == "max")
        & (case.grounding["correction"] == "raw")
        & (case.grounding["score"] == "enrichment")
    ].astype({"sample_id": str})
    differences = []
    for image in range(IMAGES):
        of_image = []
        for query in ("q0", "q1"):
            name = f"image_{image:02d}-{query}"
            mine = np.log(own.loc[own["sample_id"] == name, "value"]).mean()
            theirs = scores[(scores["sample_id"] == name) & (scores["measure"] == "enrichment")]
            of_image.append(mine - np.mean([np.log(one["value"]).mean() for _, one in theirs.groupby("number")]))
        differences.append(np.mean(of_image))
    assert row["attention_difference"] == pytest.approx(np.mean(differences))
    assert row["n_attention"] == IMAGES


def test_other_images_that_share_a_target_cell_take_no_part(case):
    """The second image's map is far off, but its own target shares a cell."""
    scores = enrichment_rows(case, 0)
    second = scores["number"] == 2
    scores.loc[second & (scores["measure"] == "enrichment"), "value"] *= 50
    with_it = made(case, scores, None).loc["counting", "attention_difference"]
    scores.loc[second & (scores["measure"] == "shares_target"), "value"] = 1
    without = made(case, scores, None).loc["counting", "attention_difference"]
    assert with_it == pytest.approx(without - np.log(50) / 4, abs=0.05)
    assert without == pytest.approx(0, abs=0.05)


def test_fewer_than_six_images_with_a_partner_are_not_defined(case):
    scores = enrichment_rows(case, 0)
    shared = (scores["measure"] == "shares_target") & (scores["sample_id"] >= "image_05")
    row = made(case, scores.assign(value=scores["value"].where(~shared, 1)), None).loc["recognition"]
    assert (row["attention_state"], row["n_attention"], row["verdict"]) == ("not defined", 5, "no verdict")
    assert "5 image(s) in an arm; a test needs 6" in row["attention_reason"]


def test_where_every_other_image_shares_a_cell_there_is_no_partner(case):
    scores = enrichment_rows(case, 0)
    shared = scores["measure"] == "shares_target"
    row = made(case, scores.assign(value=scores["value"].where(~shared, 1)), None).loc["recognition"]
    assert (row["attention_state"], row["n_attention"]) == ("not defined", 0)
    assert "0 image(s) in an arm; a test needs 6" in row["attention_reason"]


def test_a_target_over_a_quarter_of_the_grid_is_not_defined(case):
    large = case.grounding.copy()
    area = (large["map"] == "uniform") & (large["score"] == "mass")
    large.loc[area, "value"] = 0.3
    row = made(replace(case, grounding=large), enrichment_rows(case, 0), None).loc["recognition"]
    assert (row["attention_state"], row["attention_reason"]) == (
        "not defined",
        "the median target covers 30% of the grid",
    )
    large.loc[area, "value"] = 0.25
    row = made(replace(case, grounding=large), enrichment_rows(case, 0), None).loc["recognition"]
    assert row["attention_state"] == "holds"


def test_without_other_images_or_causal_checks_there_is_no_verdict(case):
    ready = with_answers(case)
    row = made(ready, enrichment_rows(ready, 0).iloc[:0], None).loc["recognition"]
    assert (row["attention_state"], row["cause_state"], row["verdict"]) == ("not defined", "not defined", "no verdict")
    assert "no sample has a map under condition other_image, which needs a second image" in row["verdict_note"]
    assert "no causal checks of its samples" in row["verdict_note"]
    assert (row["n_attention"], row["n_cause"]) == (0, 0)


def test_causal_checks_of_fewer_than_six_images_are_not_defined(case):
    row = made(case, enrichment_rows(case, 0), causal_rows(case, 0, images=5)).loc["recognition"]
    assert (row["cause_state"], row["n_cause"]) == ("not defined", 5)


def test_a_sample_with_half_of_a_causal_check_takes_no_part(case):
    rows = causal_rows(case, 0)
    half = (rows["quantity"] == "random_region") & (rows["image"] == "image_00.png")
    assert made(case, enrichment_rows(case, 0), rows[~half]).loc["recognition", "n_cause"] == IMAGES - 1


def test_query_types_without_a_target_have_no_row(case):
    samples = case.study.samples
    bare = samples.assign(target_object=samples["target_object"].where(samples["query_type"] != "recognition", ""))
    table = made(replace(case, study=replace(case.study, samples=bare)), enrichment_rows(case, 0), None)
    assert table.index.tolist() == ["counting"]


def test_a_study_without_targets_has_an_empty_table_with_its_columns(case):
    bare = replace(case.study, samples=case.study.samples.assign(target_object=""))
    table = shortcut.shortcut_table(
        case.run, bare, enrichment_rows(case, 0).iloc[:0], case.grounding.iloc[:0], None, plan_of(case.run.settings)
    )
    assert table.empty
    assert list(table) == shortcut.COLUMNS


def test_a_leg_whose_test_is_not_valid_is_undecided(case):
    ready = with_answers(case)
    failed = {("recognition, attention leg", "equivalence")}
    row = made(ready, enrichment_rows(ready, 0), causal_rows(ready, 0), not_valid=failed).loc["recognition"]
    assert (row["attention_state"], row["verdict"]) == ("undecided", "undecided")
    assert row["attention_reason"] == "test not valid at this n"


def test_the_tests_of_the_legs_are_validated_with_those_of_the_contrasts(case):
    scores, causal = enrichment_rows(case, 0.2), causal_rows(case, -0.3)
    legs = shortcut.observations(case.run, case.study, scores, case.grounding, causal)
    run = replace(
        case.run, settings={**case.run.settings, "contrasts": {"a": case.run.settings["contrasts"]["q3_vs_q4"]}}
    )
    tables = comparisons(run, case.grounding, case.nodes, scores, legs)
    legs_of = ("attention leg", "counterfactual, random region")
    names = {f"{kind}, {leg}" for leg in legs_of for kind in ("counting", "recognition")}
    assert names == set(tables["validation"]["contrast"])
    assert tables["contrasts"]["name"].tolist() == ["a"]


def test_the_order_of_the_rows_changes_nothing(case):
    ready = with_answers(case)
    scores, causal = enrichment_rows(ready, 0.2), causal_rows(ready, -0.3)
    shuffled = replace(ready, grounding=ready.grounding.sample(frac=1, random_state=1))
    again = made(shuffled, scores.sample(frac=1, random_state=2), causal.sample(frac=1, random_state=3))
    pd.testing.assert_frame_equal(again, made(ready, scores, causal))
