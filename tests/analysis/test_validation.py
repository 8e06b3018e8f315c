"""Validation against known sizes and powers: the binomial gate, tests that are known to fail, noncentral t."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from attention_atlas.analysis import validation
from attention_atlas.analysis.contrasts import Contrast, observations
from attention_atlas.analysis.hypothesis_tests import Plan
from attention_atlas.analysis.validation import Simulation, failures, not_valid, power, validate
from statsmodels.stats.power import TTestPower

PLAN = Plan(permutations=499)
SMALL = Simulation(datasets=1000, resamples=199, power_datasets=400, power_permutations=299)
PAIRED = Contrast("paired", "family", "paired", "entropy", ("a", "b"), 0.5)
UNPAIRED = replace(PAIRED, name="unpaired", kind="unpaired")


def paired(values, contrast=PAIRED):
    images = [f"{i:03d}" for i in range(len(values))]
    rows = [pd.DataFrame({"image": images, "arm": arm, "value": v}) for arm, v in (("a", values), ("b", 0.0))]
    return observations(contrast, pd.concat(rows))


def unpaired(first, second, contrast=UNPAIRED):
    rows = [
        pd.DataFrame({"image": [f"{arm}{i:03d}" for i in range(len(values))], "arm": arm, "value": values})
        for arm, values in (("a", first), ("b", second))
    ]
    return observations(contrast, pd.concat(rows))


def normal(n, mean=0.0, scale=1.0, seed=0):
    """Values whose mean and standard deviation are exactly these."""
    values = np.random.default_rng(seed).normal(size=n)
    return mean + scale * (values - values.mean()) / values.std(ddof=1)


@pytest.fixture(scope="module")
def validated():
    return validate([paired(normal(20, 3)), unpaired(normal(12), normal(18, 9, 2, seed=1))], PLAN, SMALL)


def test_valid_tests_pass_whatever_the_effect_in_the_study(validated):
    assert validated["passes"].all()
    assert failures(validated) == []
    assert not_valid(validated) == set()
    assert (validated.loc[validated["test"] == "difference", "coverage"] > 0.87).all()


def test_a_test_is_simulated_at_the_edge_of_what_it_denies(validated):
    rows = validated.groupby(["contrast", "world"])[["test", "effect"]].agg(tuple).to_numpy().tolist()
    assert rows == [[("difference", "equivalence", "equivalence"), (0.0, 0.5, -0.5)]] * 4
    assert (validated["tests"] == 6).all()


def test_the_gate_is_an_exact_binomial_test(validated):
    for row in validated.itertuples():
        expected = scipy.stats.binomtest(row.rejections, row.datasets, 0.05, alternative="greater").pvalue
        assert row.p_binomial == pytest.approx(expected)
        assert row.size == row.rejections / 1000
    # At 0.01 / 6 the gate rejects from 72 of 1000 on.
    assert scipy.stats.binom.sf(71, 1000, 0.05) < 0.01 / 6 < scipy.stats.binom.sf(70, 1000, 0.05)


@pytest.mark.parametrize(("rejected", "passes"), [(71, True), (72, False)])
def test_the_gate_fails_from_the_first_rejection_too_many(monkeypatch, rejected, passes):
    def rows(observed, plan, simulation):
        for world in ("gaussian", "resampled"):
            for count in (rejected, *[50] * 5):
                yield dict(zip(validation.COUNTED, ("c", "difference", world, 0.0, 1000, count, 0.95), strict=True))

    monkeypatch.setattr(validation, "rejections", rows)
    table = validate([paired(normal(20))], PLAN, SMALL)
    assert table["passes"].all() == passes
    assert not_valid(table) == (set() if passes else {("c", "difference")})
    assert len(failures(table)) == (not passes)
    if not passes:
        assert failures(table)[0].startswith(
            "c: the difference test rejects 72 of 1000 simulated datasets at effect +0"
        )


def test_paired_equivalence_rejects_as_often_as_alpha_at_the_margin():
    narrow = paired(normal(20, 0, 0.1))
    table = validate([narrow], PLAN, SMALL)
    sizes = table.loc[(table["test"] == "equivalence") & (table["world"] == "gaussian"), "rejections"]
    assert all(scipy.stats.binomtest(count, 1000, 0.05).pvalue > 0.001 for count in sizes)


def test_a_test_that_rejects_too_often_on_the_studys_own_values_is_not_valid():
    one_far = np.array([0.0] * 10 + [0.001] * 9 + [10])
    table = validate([paired(one_far), paired(normal(20), replace(PAIRED, name="good"))], PLAN, SMALL)
    assert ("paired", "difference") in not_valid(table)
    assert not {name for name, _ in not_valid(table)} - {"paired"}
    assert failures(table) == []


def test_each_contrast_has_the_same_validation_whatever_stands_beside_it():
    other = paired(normal(8, seed=1), replace(PAIRED, name="other"))
    alone = validate([paired(normal(8))], PLAN, replace(SMALL, datasets=100))
    both = validate([other, paired(normal(8))], PLAN, replace(SMALL, datasets=100))
    again = both[both["contrast"] == "paired"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.drop(columns=["tests", "passes"]), again.drop(columns=["tests", "passes"]))
    assert set(both["contrast"]) == {"paired", "other"}


@pytest.mark.parametrize("seed", range(5))
def test_last_bits_of_the_values_change_no_simulated_count(seed):
    """As on another processor: log-probabilities differ by 1e-6, and most of their differences are as small."""
    random = np.random.default_rng(seed)
    mostly_none = np.concatenate([random.normal(0, 1e-6, 9), [-4.1, -2.7, -0.8]])
    moderate = normal(12, 0.05, 0.2, seed)
    studies = [
        [paired(mostly_none + noise), paired(moderate + noise, replace(PAIRED, name="moderate", margin=None))]
        for noise in (0, random.normal(0, 1e-6, 12))
    ]
    few = replace(SMALL, datasets=500, power_datasets=100, sizes=(1.0,))
    for simulated in (validate, power):
        pd.testing.assert_frame_equal(*(simulated(study, PLAN, few) for study in studies), check_exact=True)


def test_what_is_simulated_is_the_studys_own_values_to_a_hundredth_of_their_spread():
    values = normal(40, 3, 0.1234567, seed=2)
    assert validation.rounded_spread(values) == 0.123
    rounded = validation.rounded_centred(values)
    assert rounded.mean() == pytest.approx(0, abs=1e-15)
    assert np.abs(rounded - (values - 3)).max() < 0.01 * 0.123
    assert not validation.rounded_centred(np.full(9, 0.1)).any()


def test_too_few_images_or_equal_values_are_not_simulated():
    left_out = [paired(normal(5)), paired(np.full(9, 0.1), replace(PAIRED, name="equal"))]
    assert validate(left_out, PLAN, SMALL).empty
    assert power(left_out, PLAN, SMALL).empty
    no_margin = validate([paired(normal(8), replace(PAIRED, margin=None))], PLAN, replace(SMALL, datasets=50))
    assert no_margin["test"].tolist() == ["difference"] * 2


def test_batches_draw_permutations_of_their_own(monkeypatch):
    seeds = []
    real = validation.paired_tests

    def noted(differences, margin, plan):
        seeds.append((plan.seed, len(differences)))
        return real(differences, margin, plan)

    monkeypatch.setattr(validation, "paired_tests", noted)
    validate([paired(normal(20))], PLAN, replace(SMALL, datasets=600))
    assert [size for _, size in seeds] == [250, 250, 100] * 2
    assert len({seed for seed, _ in seeds}) == 3


def test_power_is_that_of_the_t_test():
    table = power([paired(normal(20))], PLAN, replace(SMALL, effects=(0.0, 1.0, 1.5), sizes=(0.25, 1.0, 2.0)))
    assert table["n_first"].tolist() == [20] * 3 + [40] * 3
    np.testing.assert_allclose(table["effect"], [0, 0.5, 0.75] * 2)
    for row in table.itertuples():
        expected = TTestPower().power(row.effect, row.n_first, 0.05) if row.effect else 0.05
        assert row.moved == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 400))
    np.testing.assert_allclose(table[["moved", "equivalent", "undecided"]].sum(axis=1), 1)


def test_power_of_equivalence_is_the_chance_that_both_one_sided_tests_reject():
    table = power([paired(normal(40, 0, 1.2))], PLAN, replace(SMALL, effects=(0.0,), sizes=(1.0,)))
    error, critical = 1.2 / np.sqrt(40), scipy.stats.t.ppf(0.95, 39)
    rng = np.random.default_rng(0)
    means, sds = rng.normal(0, error, 100_000), np.sqrt(rng.chisquare(39, 100_000) / 39) * error
    expected = np.mean(np.abs(means) < 0.5 - critical * sds)
    assert 0.3 < expected < 0.9
    assert table["equivalent"].item() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 400))


def test_power_keeps_the_proportion_of_the_arms_and_plants_by_the_spread_without_a_margin():
    study = unpaired(normal(12, 0, 3), normal(24, 5, 4, seed=1), replace(UNPAIRED, margin=None))
    table = power([study], PLAN, replace(SMALL, power_datasets=50, effects=(0.0, 2.0), sizes=(0.25, 0.5, 1.0)))
    assert list(zip(table["n_first"], table["n_second"], strict=True)) == [(6, 12)] * 2 + [(12, 24)] * 2
    np.testing.assert_allclose(table["effect"], [0, 2 * 3.54] * 2)  # the root of 12.5, to three digits
    assert table["moved"].iloc[-1] > 0.9
    assert (table["equivalent"] == 0).all()
