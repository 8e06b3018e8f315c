"""Contrasts against scipy and statsmodels, verdicts by their definition, and planted truth."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from attention_atlas.analysis.contrasts import (
    Contrast,
    Leg,
    Outcome,
    centre_shift,
    chance_leg,
    equivalence_leg,
    excess_arms,
    js_divergence,
    judged,
    ln_enrichment,
    lowest,
    observations,
    outcomes,
    share_in_band,
    shortcut_verdict,
    top_layers,
)
from attention_atlas.analysis.hypothesis_tests import Plan
from attention_atlas.errors import AtlasError
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

PLAN = Plan(resamples=999, permutations=999)
PAIRED = Contrast("a - b", "queries", "paired", "entropy", ("a", "b"), 0.1)
UNPAIRED = replace(PAIRED, kind="unpaired")


def table(**arms):
    """A table of image, arm, value; the values of an arm belong to img_0, img_1 ... unless a dict names the images."""
    rows = []
    for arm, values in arms.items():
        named = values if isinstance(values, dict) else {f"img_{i}": value for i, value in enumerate(values)}
        rows += [{"image": image, "arm": arm, "value": value} for image, value in named.items()]
    return pd.DataFrame(rows)


def apart(first, second):
    """A table whose arms have different images."""
    return table(a={f"a{i}": v for i, v in enumerate(first)}, b={f"b{i}": v for i, v in enumerate(second)})


def normal(n, mean=0.0, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, scale, n)


def row(name="a - b", **parts):
    """A tested contrast that differs clearly and is not equivalent."""
    usual = {
        **{"name": name, "family": "queries", "kind": "paired", "measure": "entropy", "direction": "", "margin": 0.1},
        **{"n_first": 48, "n_second": 48, "mean_first": 2.0, "mean_second": 1.5, "difference": 0.5, "low": 0.3},
        **{"high": 0.7, "p_difference": 0.001, "smallest_p": 0.0001, "p_equivalence": 0.99, "effect_size": 1.0},
        "note": "",
    }
    return Outcome(**{**usual, **parts})


UNCLEAR = {"difference": 0.1, "low": -0.1, "high": 0.3, "p_difference": 0.3, "p_equivalence": 0.5}


def verdict(*rows, **options):
    return judged(rows, PLAN, **options).iloc[0]


# From a table to numbers


def test_a_paired_contrast_has_the_numbers_of_scipy_and_statsmodels():
    a, b = normal(12, 2.2), normal(12, 2.0, seed=1)
    (found,) = outcomes([observations(PAIRED, table(a=a, b=b))], PLAN)
    assert (found.n_first, found.n_second, found.note) == (12, 12, "")
    assert (found.mean_first, found.mean_second) == pytest.approx((a.mean(), b.mean()))
    assert found.difference == pytest.approx((a - b).mean())
    assert found.effect_size == pytest.approx((a - b).mean() / (a - b).std(ddof=1))
    assert found.p_equivalence == pytest.approx(ttost_paired(a, b, -0.1, 0.1)[0])
    exact = scipy.stats.permutation_test(
        (a, b), lambda x, y: (x - y).mean(), permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    assert found.p_difference == pytest.approx(exact.pvalue)
    assert found.smallest_p == 2 / 2**12
    ordered = (a - b)[np.argsort([f"img_{i}" for i in range(12)])]
    interval = scipy.stats.bootstrap(
        (ordered,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(interval))


def test_an_unpaired_contrast_has_the_numbers_of_statsmodels():
    a, b = normal(9, 2.2), normal(30, 2.0, 2, seed=1)
    (found,) = outcomes([observations(UNPAIRED, apart(a, b))], PLAN)
    assert (found.n_first, found.n_second) == (9, 30)
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert found.p_equivalence == pytest.approx(ttost_ind(a, b, -0.1, 0.1, usevar="unequal")[0])
    assert found.low < found.difference < found.high


def test_samples_of_one_image_in_one_arm_are_averaged_first():
    twice = pd.concat([table(a=range(8), b=[0.0] * 8), table(a=[v + 1 for v in range(8)])])
    found = observations(PAIRED, twice)
    np.testing.assert_allclose(found.values[0], np.arange(8) + 0.5)


def test_images_without_a_partner_and_values_are_counted():
    found = observations(PAIRED, table(a=[*range(8), np.inf, 5], b=[0.0] * 8 + [np.nan]))
    assert len(found.values[0]) == 8
    assert found.note == "2 image(s) without a value in both arms left out"
    assert found.means == (3.5, 0)


def test_an_image_in_both_arms_is_not_independent_and_left_out():
    found = observations(UNPAIRED, table(a={"x": 9, "p": 1, "q": 3, "s": np.nan}, b={"x": 9, "r": 4}))
    assert [values.tolist() for values in found.values] == [[1, 3], [4]]
    assert found.note == "1 image(s) in both arms left out; 1 image(s) without a value left out"


@pytest.mark.parametrize("contrast", [PAIRED, UNPAIRED])
def test_the_order_of_rows_changes_nothing(contrast):
    rows = pd.concat([table(a=normal(30)), table(b=normal(30, seed=1))])
    rows["image"] = np.where(contrast.kind == "paired", rows["image"], rows["arm"] + rows["image"])
    shuffled = rows.sample(frac=1, random_state=0)
    assert outcomes([observations(contrast, rows)], PLAN) == outcomes([observations(contrast, shuffled)], PLAN)


def test_contrasts_tested_together_have_the_numbers_they_have_alone():
    tables = [table(a=normal(20, seed=i), b=normal(20 if i < 3 else 25, seed=9)) for i in range(4)]
    contrasts = [replace(PAIRED, name=f"c{i}", margin=0.1 * (i + 1)) for i in range(4)]
    observed = [observations(c, t) for c, t in zip(contrasts, tables, strict=True)]
    together = outcomes(observed, PLAN)
    for one, each in zip(together, observed, strict=True):
        (alone,) = outcomes([each], PLAN)
        assert one.name == alone.name
        assert (one.low, one.p_difference, one.p_equivalence) == pytest.approx(
            (alone.low, alone.p_difference, alone.p_equivalence)
        )


def test_a_large_family_has_more_permutations():
    observed = [observations(replace(PAIRED, name=str(i)), table(a=normal(20), b=[0.0] * 20)) for i in range(8)]
    assert outcomes(observed, PLAN)[0].smallest_p == 1 / (10 * 8 / 0.05 + 1)


def test_too_few_images_are_refused_but_described():
    (found,) = outcomes([observations(PAIRED, table(a=[1.0, 2, 3, 4, 5], b=[0.0] * 5))], PLAN)
    assert found.note == "5 image(s) in an arm; a test needs 6"
    assert (found.difference, found.mean_first) == (3, 3)
    assert np.isnan([found.p_difference, found.p_equivalence, found.low]).all()
    seen = verdict(found, row("other", **UNCLEAR))
    assert (seen.verdict, seen.verdict_note) == ("no verdict", found.note)
    (found,) = outcomes([observations(UNPAIRED, apart(range(8), [2.0, 4]))], PLAN)
    assert (found.difference, found.note) == (0.5, "2 image(s) in an arm; a test needs 6")


def test_without_a_margin_there_is_no_test_of_equivalence():
    (found,) = outcomes([observations(replace(PAIRED, margin=None), table(a=normal(9), b=normal(9, seed=1)))], PLAN)
    assert np.isnan([found.margin, found.p_equivalence]).all()
    assert found.p_difference > 0


def test_an_arm_that_is_not_there_is_refused():
    (found,) = outcomes([observations(PAIRED, table(a=range(8)))], PLAN)
    assert found.note == "0 image(s) in an arm; a test needs 6; 8 image(s) without a value in both arms left out"
    assert (found.n_first, found.mean_first) == (0, 3.5)
    assert np.isnan(found.difference)
    (found,) = outcomes([observations(PAIRED, table(c=range(8)))], PLAN)
    assert np.isnan(found.mean_first)


def test_equal_differences_have_no_interval_and_say_so():
    (found,) = outcomes([observations(PAIRED, table(a=np.arange(8) + 0.25, b=np.arange(8)))], PLAN)
    assert found.note == "all values are equal: no interval"
    assert found.p_difference == 2 / 2**8
    assert verdict(found).verdict == "undecided"
    assert verdict(found).verdict_note == "no interval"


def test_one_name_for_two_contrasts_is_refused():
    seen = observations(PAIRED, table(a=range(8), b=range(8)))
    with pytest.raises(AtlasError, match="the same name twice: a - b"):
        outcomes([seen, seen], PLAN)


# Verdicts


def test_q_values_are_corrected_over_each_family_and_each_test_apart():
    rows = [
        row(str(i), family="first" if i < 5 else "second", p_difference=p, p_equivalence=1 - p)
        for i, p in enumerate([0.01, 0.02, 0.03, 0.2, np.nan, 0.04, 0.3])
    ]
    found = judged(rows, PLAN)
    expected = np.concatenate(
        [
            multipletests([0.01, 0.02, 0.03, 0.2], method="fdr_bh")[1],
            [np.nan],
            multipletests([0.04, 0.3], method="fdr_bh")[1],
        ]
    )
    np.testing.assert_allclose(found["q_difference"], expected)
    expected = multipletests([0.99, 0.98, 0.97, 0.8], method="fdr_bh")[1]
    np.testing.assert_allclose(found["q_equivalence"][:4], expected)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, ("moved", "", "+")),
        ({"difference": -0.5, "low": -0.7, "high": -0.3}, ("moved", "", "-")),
        ({"p_equivalence": 0.01}, ("equivalent", "differs, but by less than the margin", "")),
        ({**UNCLEAR, "p_equivalence": 0.01}, ("equivalent", "", "")),
        (UNCLEAR, ("undecided", "neither difference nor equivalence shown", "")),
        ({**UNCLEAR, "margin": np.nan, "p_equivalence": np.nan}, ("undecided", "no margin declared", "")),
        ({"low": -0.01}, ("undecided", "the interval includes 0", "")),
        ({"low": np.nan, "high": np.nan}, ("undecided", "no interval", "")),
        ({**UNCLEAR, "smallest_p": 0.06}, ("undecided", "n too small", "")),
        ({"p_difference": np.nan, "p_equivalence": np.nan, "note": "why"}, ("no verdict", "why", "")),
    ],
)
def test_verdicts_by_their_definition(parts, expected):
    found = verdict(row(**parts))
    assert (found.verdict, found.verdict_note, found.sign) == expected


def test_a_correction_can_take_a_verdict_away():
    assert verdict(row(p_difference=0.04)).verdict == "moved"
    assert verdict(row(p_difference=0.04), row("other", **UNCLEAR)).verdict == "undecided"
    assert verdict(row(**UNCLEAR | {"p_equivalence": 0.04})).verdict == "equivalent"
    assert verdict(row(**UNCLEAR | {"p_equivalence": 0.04}), row("other")).verdict == "undecided"


def test_n_is_too_small_where_even_the_smallest_p_would_not_survive_the_family():
    few = row(**{**UNCLEAR, "smallest_p": 0.03})
    hopeless = [row(f"{i}", **UNCLEAR) for i in range(3)]
    hopeful = [row(f"{i}", p_difference=0.01) for i in range(3)]
    assert verdict(few).verdict_note == "neither difference nor equivalence shown"
    assert verdict(few, *hopeless).verdict_note == "n too small"
    assert verdict(few, *hopeful).verdict_note == "neither difference nor equivalence shown"
    assert verdict(few, *[replace(each, family="apart") for each in hopeless]).verdict_note != "n too small"


@pytest.mark.parametrize(
    ("parts", "invalid", "expected"),
    [
        ({}, "difference", ("undecided", "test not valid at this n")),
        ({}, "equivalence", ("moved", "")),
        ({**UNCLEAR, "p_equivalence": 0.01}, "equivalence", ("undecided", "test not valid at this n")),
        ({"p_equivalence": 0.01}, "difference", ("equivalent", "")),
        ({"p_equivalence": 0.01}, "equivalence", ("moved", "equivalence: test not valid at this n")),
        (UNCLEAR, "difference", ("undecided", "neither difference nor equivalence shown")),
    ],
)
def test_no_verdict_rests_on_a_test_that_is_not_valid(parts, invalid, expected):
    found = verdict(row(**parts), not_valid={("a - b", invalid), ("other", "difference")})
    assert (found.verdict, found.verdict_note) == expected


@pytest.mark.parametrize(
    ("parts", "greater", "less"),
    [
        ({}, "supported", "contradicted"),
        ({"difference": -0.5, "low": -0.7, "high": -0.3}, "contradicted", "supported"),
        ({"p_equivalence": 0.01}, "no relevant difference", "no relevant difference"),
        (UNCLEAR, "undecided", "undecided"),
        ({"p_difference": np.nan}, "no verdict", "no verdict"),
    ],
)
def test_a_claim_is_read_by_verdict_and_sign(parts, greater, less):
    assert verdict(row(**parts, direction="greater")).reading == greater
    assert verdict(row(**parts, direction="less")).reading == less
    assert verdict(row(**parts)).reading == ""


def test_no_contrasts_make_an_empty_table():
    assert {"verdict", "q_difference", "reading"} <= set(judged([], PLAN).columns)


@pytest.mark.parametrize(
    ("gap", "scale", "expected"), [(0.5, 0.2, "moved"), (0.0, 0.1, "equivalent"), (0.1, 0.5, "undecided")]
)
def test_planted_truth_is_recovered(gap, scale, expected):
    b = normal(48, 2.0)
    found = outcomes([observations(PAIRED, table(a=b + gap + normal(48, 0, scale, seed=1), b=b))], PLAN)
    assert verdict(*found).verdict == expected


# Claims over several comparisons


def steps(*gaps, scale=0.2):
    """Comparisons of the answer step with others that lie `gap` above it."""
    answer = normal(40, 2.0)
    observed = [
        observations(
            replace(PAIRED, name=f"step {i}", family="steps"),
            table(a=answer, b=answer + gap + normal(40, 0, scale, seed=i + 1)),
        )
        for i, gap in enumerate(gaps)
    ]
    return outcomes(observed, PLAN)


@pytest.mark.parametrize(
    ("gaps", "scale", "expected"),
    [
        ((0.5, 0.6, 0.9), 0.2, "supported"),
        ((0.5, -0.6, 0.9), 0.2, "contradicted"),
        ((0.5, 0.0, 0.9), 0.1, "no relevant difference"),
        ((0.5, 0.1, 0.9), 0.5, "undecided"),
    ],
)
def test_lowest_means_below_each_of_the_others(gaps, scale, expected):
    found = verdict(lowest("lowest", steps(*gaps, scale=scale)))
    assert (found["name"], found.direction, found.reading) == ("lowest", "less", expected)


def test_lowest_shows_its_limiting_comparison():
    weak = row("weak", difference=-0.1, low=-0.3, high=-0.01, p_difference=0.04, p_equivalence=0.2)
    strong = row("strong", difference=-0.5, low=-0.7, high=-0.3, p_difference=0.001)
    above = row("above", difference=0.2, low=0.1, high=0.3, p_difference=0.01)
    found = lowest("lowest", [strong, weak, strong])
    assert (found.p_difference, found.high, found.note) == (0.04, -0.01, "the limiting of 3 comparisons: weak")
    assert found.p_equivalence == pytest.approx(0.6)
    found = lowest("lowest", [strong, above, weak])
    assert (found.difference, found.p_difference) == pytest.approx((0.2, 0.03))
    assert found.smallest_p == pytest.approx(0.0003)


def test_lowest_needs_every_interval_to_exclude_0():
    touching = row("touching", difference=-0.2, low=-0.4, high=0.01, p_difference=0.01)
    weak = row("weak", difference=-0.1, low=-0.3, high=-0.01, p_difference=0.04)
    assert verdict(lowest("lowest", [touching, weak])).verdict_note == "the interval includes 0"


def test_lowest_is_refused_with_the_comparison_that_was():
    refused = row("step 3", p_difference=np.nan, p_equivalence=np.nan, note="5 image(s) in an arm; a test needs 6")
    found = verdict(lowest("lowest", [row("step 1"), refused]))
    assert (found.verdict, found.verdict_note) == ("no verdict", "step 3: 5 image(s) in an arm; a test needs 6")


def test_the_top_sixth_of_36_layers_is_six_of_them():
    assert top_layers(range(36), 36) == [30, 31, 32, 33, 34, 35]
    assert top_layers(range(4), 4) == [3]
    assert top_layers([3, 7, 11, 15, 19, 23], 24) == [23]


def test_the_share_of_images_in_a_band_is_a_binomial_test_with_wilsons_interval():
    claim = replace(PAIRED, name="top sixth", kind="paired", measure="layer_of_min", direction="greater")
    layers = pd.Series([35.0] * 14 + [3.0] * 26 + [np.nan])
    found = share_in_band(claim, layers, top_layers(range(36), 36), range(36), PLAN)
    assert (found.n_first, found.mean_first) == (40, 14 / 40)
    assert found.mean_second == pytest.approx(1 / 6)
    assert found.p_difference == pytest.approx(scipy.stats.binomtest(14, 40, 1 / 6).pvalue)
    low, high = proportion_confint(14, 40, method="wilson")
    assert (found.low, found.high) == pytest.approx((low - 1 / 6, high - 1 / 6))
    assert found.smallest_p == pytest.approx((1 / 6) ** 40)
    assert verdict(found).reading == "supported"
    few = share_in_band(claim, layers[:3], [35], range(36), PLAN)
    assert (verdict(few).verdict, verdict(few).verdict_note) == ("no verdict", "3 image(s); an interval needs 6")


# Measures


def test_ln_enrichment_has_a_floor():
    np.testing.assert_allclose(ln_enrichment(np.array([0, 0.001, 1, np.e])), [np.log(0.01), np.log(0.01), 0, 1])
    assert np.isnan(ln_enrichment(np.array([np.nan]))).all()


def test_js_divergence_by_its_definition():
    p, q = np.random.default_rng(0).random((2, 5, 64))
    share_p, share_q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    middle = (share_p + share_q) / 2
    expected = (scipy.stats.entropy(share_p, middle, axis=-1) + scipy.stats.entropy(share_q, middle, axis=-1)) / 2
    np.testing.assert_allclose(js_divergence(p, q), expected, rtol=1e-9)
    assert js_divergence(np.array([1.0, 0]), np.array([0, 2.0])) == pytest.approx(np.log(2))


def test_js_divergence_is_0_up_to_rounding_and_nan_without_a_distribution():
    p = np.random.default_rng(0).random((2000, 9))
    np.testing.assert_allclose(js_divergence(p, p * (1 + 1e-15 * np.arange(9))), 0, atol=1e-12)
    assert np.isnan(js_divergence(np.zeros(4), np.ones(4)))
    assert np.isnan(js_divergence(np.ones(4), np.array([1, np.nan, 1, 1])))


def test_the_centre_of_one_cell_is_that_cell():
    cells = np.eye(12)
    assert centre_shift(cells[1], 3 * cells[7], (3, 4)) == pytest.approx(np.hypot(1, 2))
    assert centre_shift(np.ones(12), cells[0], (3, 4)) == pytest.approx(np.hypot(1, 1.5))
    assert np.isnan(centre_shift(np.zeros(12), cells[0], (3, 4)))


def test_the_excess_is_the_distance_beyond_that_of_paraphrases():
    images = [f"img_{i}" for i in range(8)]
    between, within = np.linspace(0.3, 0.4, 8), np.linspace(0.1, 0.3, 8)
    contrast = Contrast("excess", "distances", "paired", "js_excess", ("between", "paraphrases"), 0.02)
    found = observations(contrast, excess_arms(images, between, within, within + 0.1))
    np.testing.assert_allclose(found.values[0], between - within - 0.05)


def test_without_paraphrases_a_distance_is_described_and_not_judged():
    nothing = np.full(8, np.nan)
    contrast = Contrast("excess", "distances", "paired", "js_excess", ("between", "paraphrases"), 0.02)
    arms = excess_arms([f"img_{i}" for i in range(8)], np.linspace(0.3, 0.4, 8), np.zeros(8), nothing)
    found = verdict(*outcomes([observations(contrast, arms)], PLAN))
    assert found.verdict == "no verdict"
    assert found.mean_first == pytest.approx(0.35)


# Shortcut


def test_answers_are_above_chance_by_an_exact_binomial_test():
    assert chance_leg(40, 48, 0.5, PLAN).state == "holds"
    assert chance_leg(24, 48, 0.5, PLAN).state == "undecided"
    assert chance_leg(10, 48, 0.5, PLAN).state == "fails"
    # One-sided: P(X >= 30 | 48, 1/2) = 0.056, P(X >= 31) = 0.030.
    assert [chance_leg(hits, 48, 0.5, PLAN).state for hits in (30, 31)] == ["undecided", "holds"]
    assert chance_leg(5, 5, 0.5, PLAN) == Leg("answers above chance", "not defined", "5 image(s); a test needs 6")


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        ({"p_equivalence": 0.01}, "holds"),
        ({}, "fails"),
        (UNCLEAR, "undecided"),
        ({"p_difference": np.nan}, "not defined"),
    ],
)
def test_a_leg_rests_on_equivalence(parts, state):
    assert equivalence_leg("on the target", verdict(row(**parts)).to_dict()).state == state


def test_a_missing_leg_gives_its_reason():
    assert equivalence_leg("removal", None, "no twin") == Leg("removal", "not defined", "no twin")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("holds", "holds", "holds"), "shortcut"),
        (("holds", "holds", "fails"), "no shortcut"),
        (("fails", "undecided", "holds"), "no shortcut"),
        (("holds", "undecided", "holds"), "undecided"),
        (("holds", "fails", "not defined"), "no verdict"),
    ],
)
def test_a_shortcut_needs_three_legs(states, expected):
    legs = [Leg(f"leg {i}", state, "") for i, state in enumerate(states)]
    found, reason = shortcut_verdict(legs)
    assert found == expected
    assert bool(reason) == (expected != "shortcut")


def test_two_legs_are_refused():
    with pytest.raises(AtlasError, match="three legs, not 2"):
        shortcut_verdict([Leg("a", "holds", "")] * 2)
