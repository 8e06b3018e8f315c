"""Causal checks of planted perturbations: closed forms, brute force, and nothing dropped without being counted."""

import itertools

import numpy as np
import pandas as pd
import pytest
from attention_atlas.analysis import blocks, causal, step_maps
from attention_atlas.analysis.causal import (
    causal_samples,
    effects,
    fractions,
    permutation_rank,
    rank_correlation,
    region_attention,
    region_borders,
    shares_of_cells,
)
from attention_atlas.analysis.causal_tables import causal_support, causal_tables
from attention_atlas.analysis.hypothesis_tests import benjamini_hochberg
from attention_atlas.analysis.steps import selected_steps
from attention_atlas.errors import AtlasError

from ..synthetic import CELLS, Planted, interventions_of, node, settings_of, tables_of, tree_of, with_map

TOKENS = ["There", " are", " 3", "<|im_end|>"]
ANSWER = 2
STEPS = 4
REGIONS = 4
IMAGES = 8
CAUSAL = {"regions": [2, 2], "steps": STEPS, "random_sets": 99, "random_regions": 3, "random_orders": 2}
SETTINGS = settings_of(tests={"simulations": 100}, causal=CAUSAL)


def sample_of(name, image, **parts):
    return Planted(name, image, TOKENS, np.full((len(TOKENS), 3), 16), **parts)


SAMPLES = [sample_of(f"s{k}", f"image_{k}.png") for k in range(IMAGES)]


def uneven(samples, seed=3):
    """The samples' node with a random map in each head at the answer's step."""
    random, dataset = np.random.default_rng(seed), node(samples)
    for sample, layer in itertools.product(samples, range(3)):
        if not sample.error:
            heads = random.uniform(0.001, 0.05, (2, 4, 4))
            dataset = with_map(dataset, sample.sample_id, ANSWER, layer, heads)
    return dataset


class Run:
    """A planted run: its step maps and tables."""

    def __init__(self, samples=SAMPLES, settings=SETTINGS):
        tree = tree_of(uneven(samples))
        tables = tables_of(tree, samples, settings)
        self.settings, self.samples, self.answers = settings, tables["samples"], tables["answers"]
        maps = step_maps.step_maps(tree, selected_steps(self.samples, self.answers, "answer"))
        self.nodes = {name: child.to_dataset() for name, child in maps.children.items()}

    def per_sample(self, interventions, generic=None):
        return causal_samples(interventions, self.nodes, generic, self.samples, self.answers, self.settings)

    def tables(self, interventions):
        found = self.per_sample(interventions)
        return causal_tables(interventions, found, self.samples, self.answers, self.settings)

    def attention(self):
        return causal.attention_in_regions(self.nodes, {}, list(self.samples["sample_id"]), self.settings)


@pytest.fixture(scope="module")
def run():
    return Run()


def planted(names, seed=0, target=-2.0, spread=0.05, twin=-3.0):
    """Effects of every kind on each sample: the target matters, what is random does not, curves are linear."""
    random = np.random.default_rng(seed)
    found = {}
    for name in names:

        def noise(indices, mean=0.0):
            return {int(index): mean + spread * random.normal() for index in indices}

        steps = np.arange(1, STEPS + 1)
        found[name] = {
            "occlusion": noise(range(REGIONS)),
            "knockout": {**noise([0], target), **noise(range(1, 100))},
            "deletion": {int(k): -4 * k / STEPS for k in steps},
            "deletion_random": {int(k): -2 * (((k - 1) % STEPS + 1) / STEPS) for k in range(1, 2 * STEPS + 1)},
            "insertion": {int(k): -4 + 4 * k / STEPS for k in steps[:-1]},
            "insertion_random": {int(r * STEPS + k): -4.0 for r in (0, 1) for k in steps[:-1]},
            "twin": noise([0], twin),
            "control_twin": noise([0]),
            "random_region": noise(range(1, 4)),
        }
    return found


NAMES = [sample.sample_id for sample in SAMPLES]


def told(effects_by_sample):
    return interventions_of(effects_by_sample, steps=len(TOKENS), step=ANSWER)


def value(table, quantity, sample_id="s0"):
    row = table[(table["sample_id"] == sample_id) & (table["quantity"] == quantity)]
    return row["value"].item()


def note(table, quantity, sample_id="s0"):
    return table[(table["sample_id"] == sample_id) & (table["quantity"] == quantity)]["note"].item()


def row_of(tables, check, query_type="counting"):
    frame = tables["causal"]
    return frame[(frame["check"] == check) & (frame["query_type"] == query_type)].iloc[0]


def without(effects_by_sample, kind, names):
    """The effects without a kind, for some samples."""
    return {
        name: {own: deltas for own, deltas in kinds.items() if name not in names or own != kind}
        for name, kinds in effects_by_sample.items()
    }


# Kernels


def test_borders_of_regions_are_equal_parts_in_whole_pixels():
    assert region_borders(448, 4).tolist() == [0, 112, 224, 336, 448]
    assert region_borders(10, 3).tolist() == [0, 3, 7, 10]


def test_shares_of_cells_are_those_that_counting_fine_slices_gives():
    cells, borders = np.linspace(0, 100, 8), np.array([0.0, 33, 67, 100])
    slices = (np.arange(100_000) + 0.5) / 1000
    brute = np.zeros((7, 3))
    np.add.at(brute, (np.digitize(slices, cells) - 1, np.digitize(slices, borders) - 1), 7 / 100_000)
    np.testing.assert_allclose(shares_of_cells(cells, borders), brute, atol=1e-3)


def test_attention_in_regions_sums_to_that_of_the_whole_map():
    p = np.random.default_rng(0).dirichlet(np.ones(35)).reshape(5, 7)
    rows = shares_of_cells(np.linspace(0, 64, 6), region_borders(64, 3))
    cols = shares_of_cells(np.linspace(0, 90, 8), region_borders(90, 2))
    found = region_attention(p, rows, cols)
    assert found.shape == (6,)
    assert found.sum() == pytest.approx(1)
    brute = [(p * np.outer(rows[:, r], cols[:, c])).sum() for r in range(3) for c in range(2)]
    np.testing.assert_allclose(found, brute)


def test_a_uniform_map_gives_each_region_its_share_of_the_picture():
    shares = shares_of_cells(np.linspace(0, 64, 8), region_borders(64, 4))
    np.testing.assert_allclose(region_attention(np.full((7, 7), 1 / 49), shares, shares), 1 / 16)


def test_the_rank_correlation_is_that_of_pandas_ties_included():
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = random.integers(0, 5, 16).astype(float), random.normal(size=16)
        assert rank_correlation(a, b) == pytest.approx(pd.Series(a).corr(pd.Series(b), method="spearman"))


@pytest.mark.parametrize("broken", [np.ones(4), np.array([1, 2, np.nan, 4])])
def test_there_is_no_rank_correlation_with_what_is_even_or_unknown(broken):
    assert np.isnan(rank_correlation(broken, np.arange(4.0)))
    assert np.isnan(rank_correlation(np.arange(4.0), broken))


def test_the_permutation_rank_is_a_count_over_all_sets_the_target_among_them():
    random = np.random.default_rng(0).integers(-5, 5, 40).astype(float)
    for target in (-9.0, -2.0, 0.0, 9.0):
        every = [target, *random]
        assert permutation_rank(target, random) == sum(other <= target for other in every) / len(every)
    assert np.isnan(permutation_rank(np.nan, random))
    assert np.isnan(permutation_rank(0.0, np.array([])))


def test_cells_are_painted_over_in_steps_of_whole_cells():
    assert fractions(64, 16).tolist() == [k / 16 for k in range(17)]
    assert (fractions(10, 4) * 10).tolist() == [0, 2, 5, 8, 10]


# Samples


def test_where_drops_are_proportional_to_attention_the_correlation_is_one(run):
    planted_drops = {name: {"occlusion": dict(enumerate(-3.0 * own["raw"]))} for name, own in run.attention().items()}
    found = run.per_sample(told(planted_drops))
    assert found.loc[found["quantity"] == "spearman_raw", "value"].tolist() == [1.0] * IMAGES


def test_correlations_are_those_of_pandas_over_the_regions_of_each_sample(run):
    drops = planted(NAMES)
    found = run.per_sample(told(drops))
    for name, own in run.attention().items():
        drop = -pd.Series(drops[name]["occlusion"]).sort_index()
        for how in ("raw", "without_sinks"):
            expected = pd.Series(own[how]).corr(drop, method="spearman")
            assert value(found, f"spearman_{how}", name) == pytest.approx(expected)


def test_attention_in_regions_is_the_mean_over_layers_of_the_normalised_pooled_maps(run):
    (dataset,) = run.nodes.values()
    heads = dataset["attention"].sel(sample="s2").values.max(axis=1)
    maps = heads / heads.sum(axis=(1, 2), keepdims=True)
    quarters = maps.mean(axis=0).reshape(2, 2, 2, 2).sum(axis=(1, 3))
    np.testing.assert_allclose(run.attention()["s2"]["raw"], quarters.ravel(), rtol=1e-6)


def test_regions_of_some_samples_are_those_among_all_block_by_block(run, monkeypatch):
    expected = run.attention()
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    found = causal.attention_in_regions(run.nodes, {}, ["s2", "s4", "unknown"], run.settings)
    assert list(found) == ["s2", "s4"]
    for name, by_correction in found.items():
        for how, regions in by_correction.items():
            np.testing.assert_array_equal(regions, expected[name][how])


def test_maps_of_control_conditions_count_neither_as_samples_nor_for_sinks():
    controls = [sample_of(f"c{k}", f"image_{k}.png", condition="blank") for k in range(3)]
    alone, mixed = Run().attention(), Run([*SAMPLES, *controls]).attention()
    assert set(alone) == set(mixed) == set(NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(mixed[name]["without_sinks"], alone[name]["without_sinks"])


def test_relative_attention_is_held_against_the_generic_query_where_it_was_asked(run):
    asked = [sample_of(f"g{k}", f"image_{k}.png", condition="generic") for k in range(IMAGES - 1)]
    others = [sample_of("p0", "image_0.png", condition="paraphrase")]
    generic = Run([*asked, *others]).nodes
    found = run.per_sample(told(planted(NAMES)), generic)
    last = f"s{IMAGES - 1}"
    relative = found[found["quantity"] == "spearman_relative"].set_index("sample_id")
    assert relative["value"].notna().sum() == IMAGES - 1
    assert relative.loc[last, "note"] == "no attention map"
    for without_generic in (None, Run(others).nodes):
        assert "spearman_relative" not in set(run.per_sample(told(planted(NAMES)), without_generic)["quantity"])


def test_areas_under_linear_curves_are_half_of_their_height(run):
    found = run.per_sample(told(planted(NAMES)))
    assert value(found, "deletion_map") == pytest.approx(-2)  # from 0 to -4
    assert value(found, "deletion_random") == pytest.approx(-1)  # from 0 to -2, twice
    assert value(found, "insertion_map") == pytest.approx(-2)  # from -4 to 0
    # -4 throughout, but for the last step, which ends at 0
    assert value(found, "insertion_random") == pytest.approx(-4 + 0.5 * 4 / STEPS)


def test_areas_are_over_shares_of_cells_not_over_steps():
    settings = settings_of(causal={**CAUSAL, "steps": 3, "random_orders": 1})
    kinds = {
        kind: {k: -float(k) for k in range(1, 4)}
        for kind in ("deletion", "deletion_random", "insertion", "insertion_random")
    }
    found = Run(settings=settings).per_sample(told({"s0": kinds}))
    share = np.array([0, 5, 11, 16]) / CELLS  # round(16 k / 3)
    heights = np.array([0, -1, -2, -3])
    expected = ((heights[1:] + heights[:-1]) / 2 * np.diff(share)).sum()
    assert value(found, "deletion_map") == pytest.approx(expected)


def test_a_delta_is_over_all_that_is_said_up_to_the_end_of_the_answer(run):
    """What a sentence gives away before its answer counts; what follows the answer does not."""
    table = told({"s0": {"twin": {0: -1.5}}})
    table.loc[(table["kind"] == "twin") & (table["step"] < ANSWER), "logprob"] -= 0.5
    table.loc[table["step"] > ANSWER, "logprob"] = -50.0
    found = run.per_sample(table)
    assert value(found, "twin") == pytest.approx(-1.5 - 0.5 * ANSWER)
    assert value(found, "logprob") == pytest.approx(-0.1 * (ANSWER + 1))


def test_all_tokens_of_a_longer_answer_count(run):
    answers = run.answers.assign(answer_step=1, answer_last_step=3)
    table = told({"s0": {"twin": {0: -1.5}}})
    table.loc[(table["kind"] == "twin") & (table["step"] == 3), "logprob"] -= 0.5
    own = effects(table, answers)["s0"]
    assert own.logprob == pytest.approx(-0.4)
    assert own.at("twin", [0]).item() == pytest.approx(-2.0)


def test_target_and_random_perturbations_are_kept_apart(run):
    drops = planted(["s0"])
    found = run.per_sample(told(drops))
    knocked = drops["s0"]["knockout"]
    random = [knocked[index] for index in range(1, 100)]
    assert value(found, "knockout_target") == pytest.approx(knocked[0], abs=1e-6)
    assert value(found, "knockout_random") == pytest.approx(np.mean(random), abs=1e-6)
    assert value(found, "knockout_rank") == pytest.approx(0.01)
    assert value(found, "random_region") == pytest.approx(
        np.mean(list(drops["s0"]["random_region"].values())), abs=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("twin", {"twin"}),
        ("control_twin", {"control_twin"}),
        ("random_region", {"random_region"}),
        ("knockout", {"knockout_target", "knockout_random", "knockout_rank"}),
        ("occlusion", {"spearman_raw", "spearman_without_sinks"}),
        ("insertion_random", {"insertion_random"}),
        ("deletion", {"deletion_map", "insertion_map", "insertion_random"}),
    ],
)
def test_a_kind_that_was_not_made_leaves_its_quantities_undefined_and_says_so(kind, missing, run):
    found = run.per_sample(told(without(planted(["s0"]), kind, ["s0"])))
    undefined = found[found["value"].isna()]
    assert set(undefined["quantity"]) == missing
    assert set(undefined["note"]) == {f"no {kind.replace('_', ' ')}"}
    assert (found.loc[found["value"].notna(), "note"] == "").all()


@pytest.mark.parametrize(
    ("kind", "index", "missing"),
    [
        ("occlusion", 2, {"spearman_raw", "spearman_without_sinks"}),
        ("knockout", 50, {"knockout_random", "knockout_rank"}),
        ("deletion", STEPS, {"deletion_map", "insertion_map", "insertion_random"}),
        ("deletion_random", STEPS + 1, {"deletion_random"}),
        ("random_region", 2, {"random_region"}),
    ],
)
@pytest.mark.parametrize("how", ["nan", "absent"])
def test_a_perturbation_that_failed_is_never_averaged_over(kind, index, missing, how, run):
    table = told(planted(["s0"]))
    there = (table["kind"] == kind) & (table["index"] == index) & (table["step"] == ANSWER)
    table = table[~there] if how == "absent" else table.assign(logprob=table["logprob"].mask(there))
    found = run.per_sample(table)
    undefined = found[found["value"].isna()]
    assert set(undefined["quantity"]) == missing
    assert set(undefined["note"]) == {"a perturbation failed"}


def test_fewer_random_perturbations_than_declared_are_used_and_told(run):
    drops = planted(["s0"])
    del drops["s0"]["random_region"][3]
    found = run.per_sample(told(drops))
    assert value(found, "random_region") == pytest.approx(np.mean([*drops["s0"]["random_region"].values()]), abs=1e-6)
    assert note(found, "random_region") == "fewer random ones than declared"
    drops["s0"]["knockout"] = {0: -1.0}
    found = run.per_sample(told(drops))
    assert note(found, "knockout_rank") == note(found, "knockout_random") == "no random ones"


def test_drops_that_are_the_same_everywhere_have_no_correlation(run):
    found = run.per_sample(told({"s0": {**planted(["s0"])["s0"], "occlusion": dict.fromkeys(range(REGIONS), -1.0)}}))
    assert np.isnan(value(found, "spearman_raw"))
    assert note(found, "spearman_raw") == "attention or drops are the same in all regions"


def test_drops_as_small_as_rounding_errors_are_ties(run):
    """One region matters, the others lower log p by 1e-6 at most, as far as another processor's sums differ."""
    attention = run.attention()["s0"]["raw"]
    for seed in range(4):
        errors = np.random.default_rng(seed).normal(0, 1e-6, REGIONS)
        errors[3] -= 0.5
        found = run.per_sample(told({"s0": {**planted(["s0"])["s0"], "occlusion": dict(enumerate(errors))}}))
        expected = pd.Series(attention).corr(pd.Series(np.arange(REGIONS) == 3, dtype=float), method="spearman")
        assert value(found, "spearman_raw") == pytest.approx(expected)


def test_a_sample_without_an_answer_or_an_unperturbed_score_says_which(run):
    silent = Planted("silent", "image_9.png", ["There", " are", " some", "<|im_end|>"], np.full((4, 3), 16))
    run = Run([*SAMPLES, silent])
    table = told(planted(["s0", "s1", "silent"]))
    table = table[(table["sample_id"] != "s1") | (table["kind"] != "none")]
    found = run.per_sample(table)
    reasons = found[found["value"].isna()].groupby("sample_id")["note"].unique()
    assert reasons["silent"].tolist() == ["no answer found"]
    assert reasons["s1"].tolist() == ["no score of the unperturbed answer"]
    assert found.groupby("sample_id")["value"].count().to_dict() == {"s0": 13, "s1": 0, "silent": 0}


def test_checks_that_are_switched_off_have_no_quantities():
    settings = settings_of(causal={**CAUSAL, "checks": ["knockout"]})
    found = Run(settings=settings).per_sample(told(planted(NAMES)))
    assert set(found["quantity"]) == {"logprob", "knockout_target", "knockout_random", "knockout_rank"}
    tables = Run(settings=settings).tables(told(planted(NAMES)))
    assert tables["causal"]["check"].tolist() == ["knockout"]
    assert tables["causal_curves"].empty
    assert tables["causal_support"]["uses"].tolist() == ["not tested"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "knokout"}, r"unknown kind 'knokout'\. Did you mean 'knockout'\?"),
        ({"sample_id": "stranger"}, r"1 sample\(s\) are not of this run \(stranger\); make them again"),
    ],
)
def test_interventions_of_something_else_are_refused(change, message, run):
    table = told(planted(["s0"])).assign(**change).drop_duplicates(["sample_id", "kind", "index", "step"])
    with pytest.raises(AtlasError, match=message):
        run.per_sample(table)


def test_a_file_given_twice_is_refused(run):
    table = told({"s0": {"twin": {0: -1.0}}})
    with pytest.raises(AtlasError, match=r"8 row\(s\) occur twice, the first: sample s0, none 0, step 0"):
        run.per_sample(pd.concat([table, table]))


def test_the_files_of_all_shards_are_one_table_and_none_is_an_empty_one(run, tmp_path):
    table = told(planted(NAMES))
    paths = [tmp_path / f"{shard}.parquet" for shard in range(2)]
    for number, path in enumerate(paths):
        table[table["sample_id"].isin(NAMES[number::2])].to_parquet(path)
    together = run.per_sample(causal.read_interventions(paths))
    pd.testing.assert_frame_equal(together, run.per_sample(table), check_exact=True)
    none = causal.read_interventions([])
    assert run.per_sample(none).empty
    assert run.tables(none)["causal_support"]["uses"].tolist() == ["not tested"]


def test_the_order_of_rows_and_samples_changes_nothing(run):
    table = told(planted(NAMES))
    again = table.sample(frac=1, random_state=1, ignore_index=True)
    pd.testing.assert_frame_equal(run.per_sample(again), run.per_sample(table), check_exact=True)
    shuffled = Run()
    shuffled.samples, shuffled.answers = (part.iloc[::-1] for part in (run.samples, run.answers))
    shuffled.nodes = {name: part.isel(sample=slice(None, None, -1)) for name, part in run.nodes.items()}
    for name, frame in run.tables(table).items():
        pd.testing.assert_frame_equal(shuffled.tables(again)[name], frame)


# Tables


def test_planted_use_of_the_target_is_found_by_every_check(run):
    drops = planted(NAMES)
    for kind, (k, name) in itertools.product(("deletion", "insertion"), enumerate(NAMES)):
        drops[name][kind] = {index: delta * (1 + k / 20) for index, delta in drops[name][kind].items()}
    tables = run.tables(told(drops))
    for check, sign in {
        **{"knockout": -1, "deletion": -1, "insertion": 1, "counterfactual": -1},
        "counterfactual, random region": -1,
    }.items():
        row = row_of(tables, check)
        assert (row["verdict"], np.sign(row["difference"]), row["n"], row["left_out"]) == ("moved", sign, IMAGES, 0)
    assert row_of(tables, "control twin")["verdict"] == "equivalent"
    support = tables["causal_support"].iloc[0]
    assert (support["query_type"], support["uses"], support["n"]) == ("counting", "yes", IMAGES)
    assert support["why"] == "knockout: moved -, n = 8; counterfactual, random region: moved -, n = 8"


def test_where_the_target_does_as_little_as_chance_no_use_is_found(run):
    tables = run.tables(told(planted(NAMES, target=0.0, twin=0.0, spread=0.01)))
    assert row_of(tables, "knockout")["verdict"] == "equivalent"
    assert tables["causal_support"]["uses"].tolist() == ["no"]


def test_a_target_that_helps_when_it_is_gone_is_not_used(run):
    tables = run.tables(told(planted(NAMES, target=2.0)))
    assert row_of(tables, "knockout")["verdict"] == "moved"
    assert tables["causal_support"]["uses"].tolist() == ["undecided"]
    assert tables["causal_support"]["why"].item().startswith("knockout: moved +, n = 8;")


def test_one_of_the_two_legs_does_not_suffice(run):
    tables = run.tables(told(planted(NAMES, target=0.0, spread=0.01)))
    assert row_of(tables, "counterfactual, random region")["verdict"] == "moved"
    assert tables["causal_support"]["uses"].tolist() == ["undecided"]


def test_differences_are_means_over_images_of_what_was_planted(run):
    drops = planted(NAMES)
    row = row_of(run.tables(told(drops)), "knockout")
    target = np.array([drops[name]["knockout"][0] for name in NAMES])
    random = np.array([np.mean([drops[name]["knockout"][k] for k in range(1, 100)]) for name in NAMES])
    assert (row["first"], row["second"]) == pytest.approx((target.mean(), random.mean()), abs=1e-6)
    assert row["difference"] == pytest.approx((target - random).mean(), abs=1e-6)
    assert row["p_difference"] == 2 / 2**IMAGES  # all signs alike
    assert row["margin"] == 0.1


def test_what_has_no_control_is_held_against_zero(run):
    drops = planted(NAMES)
    row = row_of(run.tables(told(drops)), "occlusion")
    found = run.per_sample(told(drops))
    expected = found.loc[found["quantity"] == "spearman_raw", "value"].mean()
    assert (row["first"], row["difference"]) == pytest.approx((expected, expected))
    assert np.isnan(row["second"])
    assert np.isnan(row["p_equivalence"])
    assert np.isnan(row["margin"])


def test_all_rows_are_one_family(run):
    types = ("counting", "recognition")
    samples = [sample_of(f"{t}{k}", f"image_{k}.png", query_type=t) for t in types for k in range(IMAGES)]
    for sample in samples[IMAGES:]:
        sample.tokens = ["It", " is", " yes", "<|im_end|>"]
    tables = Run(samples).tables(told(planted([sample.sample_id for sample in samples])))
    frame = tables["causal"]
    assert frame.groupby("query_type")["check"].nunique().to_dict() == dict.fromkeys(types, 8)
    for test in ("difference", "equivalence"):
        np.testing.assert_array_equal(frame[f"q_{test}"], benjamini_hochberg(frame[f"p_{test}"].to_numpy()))


def test_samples_that_lack_one_arm_are_left_out_of_both_and_counted(run):
    drops = without(planted(NAMES), "control_twin", ["s0", "s1"])
    table = told(drops)
    failed = (table["sample_id"] == "s2") & (table["kind"] == "twin") & (table["step"] == ANSWER)
    row = row_of(run.tables(table.assign(logprob=table["logprob"].mask(failed))), "counterfactual")
    assert (row["n"], row["left_out"]) == (5, 3)
    assert "1 sample(s): a perturbation failed; 2 sample(s): no control twin" in row["note"]
    kept = [drops[name]["twin"][0] for name in NAMES[3:]]
    assert row["first"] == pytest.approx(np.mean(kept), abs=1e-6)


def test_fewer_than_six_images_are_refused_with_the_reason(run):
    tables = run.tables(told(planted(NAMES[:5])))
    frame = tables["causal"]
    assert set(frame["verdict"]) == {"no verdict"}
    assert set(frame["verdict_note"]) == {"5 image(s) in an arm; a test needs 6"}
    assert frame[["p_difference", "q_difference", "low", "p_equivalence"]].isna().all(axis=None)
    support = tables["causal_support"].iloc[0]
    assert (support["uses"], support["n"]) == ("not tested", 5)
    assert "a test needs 6" in support["why"]
    curves = tables["causal_curves"]
    assert curves["delta_low"].isna().all()
    assert set(curves["interval_note"]) == {"5 image(s); an interval needs 6"}


def test_two_samples_of_an_image_are_one_observation():
    twice = [sample_of(f"s{k}", f"image_{k // 2}.png") for k in range(2 * IMAGES)]
    tables = Run(twice).tables(told(planted([sample.sample_id for sample in twice])))
    assert row_of(tables, "knockout")["n"] == IMAGES
    assert set(tables["causal_curves"]["n"]) == {IMAGES}


def test_a_type_of_query_that_was_not_perturbed_is_not_tested():
    other = [sample_of(f"r{k}", f"image_{k}.png", query_type="recognition") for k in range(IMAGES)]
    control = [sample_of("b0", "image_0.png", query_type="spatial", condition="blank")]
    support = Run([*SAMPLES, *other, *control]).tables(told(planted(NAMES)))["causal_support"].set_index("query_type")
    assert support["uses"].to_dict() == {"counting": "yes", "recognition": "not tested"}
    assert support.loc["recognition", "why"] == "no sample was put through these checks"


def test_no_interventions_give_tables_without_rows(run):
    table = told({"s0": {}}).iloc[:0]
    found = run.per_sample(table)
    assert found.empty
    tables = run.tables(table)
    assert tables["causal"].empty
    assert tables["causal_curves"].empty
    assert tables["causal_support"]["uses"].tolist() == ["not tested"]


def test_support_tells_the_images_of_the_smaller_check(run):
    support = run.tables(told(without(planted(NAMES), "twin", ["s0"])))["causal_support"].iloc[0]
    assert (support["uses"], support["n"]) == ("yes", IMAGES - 1)


def test_the_undecided_are_never_read_as_no_use():
    usual = {"difference": -1.0, "verdict_note": "", "n": 8, "query_type": "counting"}
    checks = ("knockout", "counterfactual, random region")
    for verdicts in itertools.product(("moved", "equivalent", "undecided", "no verdict"), repeat=2):
        tested = pd.DataFrame(
            [{**usual, "check": check, "verdict": verdict} for check, verdict in zip(checks, verdicts, strict=True)]
        )
        (found,) = causal_support(tested, ["counting"])["uses"]
        if "no verdict" in verdicts:
            assert found == "not tested"
        else:
            expected = {("moved", "moved"): "yes", ("equivalent", "equivalent"): "no"}
            assert found == expected.get(verdicts, "undecided")


def test_curves_are_the_planted_lines_with_their_ends(run):
    drops = planted(NAMES)
    for k, name in enumerate(NAMES):
        drops[name]["deletion"] = {index: delta - k / 10 for index, delta in drops[name]["deletion"].items()}
    curves = run.tables(told(drops))["causal_curves"]
    shift = np.mean(np.arange(IMAGES) / 10)
    own = curves[(curves["check"] == "deletion") & (curves["order"] == "map")]
    assert own["fraction"].tolist() == [k / STEPS for k in range(STEPS + 1)]
    assert own["delta"].to_numpy() == pytest.approx([0, *(-4 * k / STEPS - shift for k in range(1, STEPS + 1))])
    inner = own.iloc[1:]
    assert ((inner["delta_low"] < inner["delta"]) & (inner["delta"] < inner["delta_high"])).all()
    # all painted over is where insertion begins, the whole picture where it ends
    for order in ("map", "random"):
        line = curves[(curves["check"] == "insertion") & (curves["order"] == order)]["delta"].tolist()
        assert (line[0], line[-1]) == pytest.approx((-4 - shift, 0))


def test_curves_and_areas_are_of_the_same_images(run):
    drops = without(planted(NAMES), "deletion_random", ["s0"])
    tables = run.tables(told(drops))
    curves = tables["causal_curves"]
    for check, n in (("deletion", IMAGES - 1), ("insertion", IMAGES)):
        assert row_of(tables, check)["n"] == n
        assert set(curves.loc[curves["check"] == check, "n"]) == {n}
        own = curves[curves["check"] == check].pivot(index="fraction", columns="order", values="delta")
        area = np.trapezoid(own["map"] - own["random"], own.index)
        assert row_of(tables, check)["difference"] == pytest.approx(area)


def test_a_check_that_no_sample_passed_has_a_row_that_says_so(run):
    tables = run.tables(told(without(planted(NAMES), "deletion_random", NAMES)))
    row = row_of(tables, "deletion")
    assert (row["n"], row["left_out"], row["verdict"]) == (0, IMAGES, "no verdict")
    assert row["note"].endswith("8 sample(s): no deletion random")
    assert set(tables["causal_curves"].query("check == 'deletion'")["n"]) == {0}


def test_every_test_of_the_checks_is_validated_by_simulation(run):
    validated = run.tables(told(planted(NAMES)))["causal_validation"]
    assert set(validated["contrast"]) >= {"counting, knockout", "counting, control twin"}
    of_knockout = validated[validated["contrast"] == "counting, knockout"]
    assert set(zip(of_knockout["test"], of_knockout["world"], strict=True)) == {
        (test, world) for test in ("difference", "equivalence") for world in ("gaussian", "resampled")
    }
    assert set(validated["passes"]) <= {"yes", "no"}


def test_no_verdict_rests_on_a_test_that_rejects_too_often_on_the_studys_own_values():
    """Effects so skewed that a sign flip of their deviations is no fair game: one image differs from all others."""
    drops = planted(NAMES)
    for k, name in enumerate(NAMES):
        drops[name]["knockout"][0] = -9.0 if k else -2.0
    skewed = Run(settings=settings_of(causal=CAUSAL))
    row = row_of(skewed.tables(told(drops)), "knockout")
    assert row["q_difference"] < 0.05
    assert (row["verdict"], row["verdict_note"]) == ("undecided", "test not valid at this n")
