"""Summaries of planted runs: a map spread over w cells has entropy ln w, so every number is known beforehand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from attention_atlas.analysis import summaries
from attention_atlas.analysis.summaries import SUMMARIES

from tests.synthetic import Planted, node, settings_of, tables_of, tree_of, with_map

TOKENS = ["There", " are", " 3", "<|im_end|>"]
ANSWER_STEP = 2
SILENT = ["There", " are", " some", "<|im_end|>"]
MEANS = ("entropy_mean", "entropy_min")


def asked(name, image, *widths, step=ANSWER_STEP, tokens=TOKENS, others=16, **parts):
    """A sample with maps of these widths, by layer, at one step; of `others` cells at all others."""
    every = np.full((len(tokens), 3), others)
    every[step] = widths
    return Planted(name, image, tokens, every, **parts)


def run_of(samples, nodes=None, **sections):
    settings = settings_of(**sections)
    return summaries.read_run(tables_of(tree_of(*(nodes or [node(samples)])), samples, settings), 3, settings)


def only(table, **where):
    """The one row of a table that has these values."""
    rows = table.loc[np.logical_and.reduce([table[name] == value for name, value in where.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def bca(values):
    """scipy's interval of one column of images, with the settings' seed and resamples."""
    statistics = settings_of()["statistics"]
    interval = scipy.stats.bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=statistics["resamples"],
        confidence_level=statistics["confidence"],
        method="BCa",
        rng=np.random.default_rng(statistics["seed"]),
    ).confidence_interval
    return pytest.approx((interval.low, interval.high))


# Widths of six images by layer: four have their minimum at layer 1, two have a far deeper one at layer 0.
SHALLOW, DEEP = (8, 7, 16), (1, 16, 16)
WIDTHS = np.array([SHALLOW, SHALLOW, DEEP, SHALLOW, SHALLOW, DEEP])
SIX = [asked(f"s{k}", f"image_{k}.png", *widths) for k, widths in enumerate(WIDTHS)]
LN = np.log(WIDTHS)


@pytest.fixture(scope="module")
def six():
    return run_of(SIX)


@pytest.fixture(scope="module")
def row(six):
    return only(SUMMARIES["table1"](six), query_id="q0")


def test_table1_says_what_it_is_about(row):
    told = row[["query_type", "question", "pooling", "selector", "measure", "num_cells", "samples", "n"]]
    question = "How many shapes are in the image?"
    assert told.tolist() == ["counting", question, "max", "answer", "entropy", 16, 6, 6]


def test_table1_averages_over_images_what_each_has_over_layers(row):
    assert row["entropy_mean"] == pytest.approx(LN.mean(axis=1).mean())
    assert row["entropy_min"] == pytest.approx((4 * np.log(7) + 2 * 0) / 6)


def test_table1_has_the_intervals_that_scipy_gives_the_images(row):
    assert (row["entropy_mean_low"], row["entropy_mean_high"]) == bca(LN.mean(axis=1))
    assert (row["entropy_min_low"], row["entropy_min_high"]) == bca(LN.min(axis=1))
    assert row["interval_note"] == ""


def test_layer_of_min_is_that_of_the_mean_profile_not_of_most_images(row):
    assert row["layer_of_min"] == 0
    assert row["profile_min"] == pytest.approx(4 * np.log(8) / 6)
    assert row["shown_layer"] == 0
    assert row["layer_band"] == "early"


def test_modal_layer_is_that_of_most_images_with_their_share(row):
    wilson = scipy.stats.binomtest(4, 6).proportion_ci(method="wilson")
    assert row["modal_layer"] == 1
    assert row["modal_share"] == pytest.approx(4 / 6)
    assert (row["modal_share_low"], row["modal_share_high"]) == pytest.approx((wilson.low, wilson.high))


@pytest.mark.parametrize(("width", "band"), [(2, "low"), (5, "medium"), (12, "high")])
def test_entropy_bands_are_shares_of_the_ceiling(width, band):
    """ln w / ln 16 against 1.5 / ln 64 = 0.36 and 3 / ln 64 = 0.72."""
    run = run_of([asked(f"s{k}", f"image_{k}.png", width, width, width) for k in range(2)])
    assert SUMMARIES["table1"](run)["entropy_band"].tolist() == [band]


def test_every_sample_left_out_is_counted_once_under_its_reason():
    samples = [
        *SIX,
        asked("failed", "image_6.png", 1, 1, 1, error="out of memory"),
        asked("silent_a", "image_7.png", 1, 1, 1, tokens=SILENT),
        asked("silent_b", "image_8.png", 1, 1, 1, tokens=SILENT),
        asked("dark", "image_9.png", 1, 1, 1),
        *[asked(f"other_{k}", "image_0.png", 1, 1, 1, condition="other_image") for k in range(4)],
    ]
    dark = with_map(node(samples), "dark", ANSWER_STEP, 1, np.zeros((2, 4, 4)))
    row = only(SUMMARIES["table1"](run_of(samples, [dark])), query_id="q0")
    counts = row[["samples", "failed", "no_answer", "undefined", "other_conditions", "n"]]
    assert counts.to_dict() == {
        **{"samples": 10, "failed": 1, "no_answer": 2, "undefined": 1},
        **{"other_conditions": 4, "n": 6},
    }
    assert row["entropy_mean"] == pytest.approx(LN.mean())
    assert row["profile_min"] == pytest.approx(4 * np.log(8) / 6)
    assert row["modal_share"] == pytest.approx(4 / 6)


@pytest.mark.parametrize("name", SUMMARIES)
def test_control_conditions_change_nothing_but_their_count(name, six):
    controls = [
        *[asked(f"other_{k}", "image_0.png", 1, 2, 3, others=2, condition="other_image") for k in range(3)],
        asked("generic", "image_1.png", 1, 2, 3, query_id="generic", condition="generic"),
    ]
    alone, mixed = (SUMMARIES[name](run) for run in (six, run_of([*SIX, *controls])))
    if name == "table1":
        assert mixed.pop("other_conditions").tolist() == [3]
        assert alone.pop("other_conditions").tolist() == [0]
    pd.testing.assert_frame_equal(mixed, alone)


def test_samples_of_one_image_count_as_one_image():
    """Three samples of one image weigh as much as the one of any other."""
    again = [asked(f"again_{k}", "image_0.png", 2, 4, 16) for k in range(2)]
    run = run_of([*SIX, *again])
    first = np.array([SHALLOW, (2, 4, 16), (2, 4, 16)])
    profile = np.vstack([np.log(first).mean(axis=0), LN[1:]])
    row = only(SUMMARIES["table1"](run), query_id="q0")
    assert (row["samples"], row["n"]) == (8, 6)
    assert row["entropy_mean"] == pytest.approx(profile.mean())
    assert (row["entropy_mean_low"], row["entropy_mean_high"]) == bca(profile.mean(axis=1))
    assert row["profile_min"] == pytest.approx(profile.mean(axis=0).min())
    # (8, 7, 16) and twice (2, 4, 16): the image's own minimum is now at layer 0.
    assert row["modal_share"] == pytest.approx(3 / 6)
    assert row["modal_layer"] == 0
    by_layer = SUMMARIES["layer_profile"](run).set_index("layer")
    np.testing.assert_allclose(by_layer["entropy"], profile.mean(axis=0))
    assert by_layer["n"].tolist() == [6, 6, 6]


# By step: the mean over layers of the logarithms, and the minimum.
TWO_STEPS = np.array([[[2, 16, 16], [16, 16, 4], [16, 8, 16]], [[4, 2, 16], [2, 4, 16], [8, 8, 8]]])
STEP_LN = np.log(TWO_STEPS)


@pytest.mark.parametrize(
    ("selector", "profiles"),
    [
        ("first", STEP_LN[:, [0]]),
        ("answer", STEP_LN[:, [1]]),
        ("final", STEP_LN[:, [1]]),
        ("last", STEP_LN[:, [2]]),
        ("all", STEP_LN),
        ("mean", STEP_LN.mean(axis=1, keepdims=True)),
    ],
)
def test_the_selector_chooses_the_steps_of_every_table_of_one_step(selector, profiles):
    """`all` describes every step's map; `mean` averages a sample's profiles first, which lifts the minimum."""
    samples = [
        Planted(f"s{k}", f"image_{k}.png", ["It is", " 3", "<|im_end|>"], width) for k, width in enumerate(TWO_STEPS)
    ]
    run = run_of(samples, steps={"selector": selector})
    row = only(SUMMARIES["table1"](run), query_id="q0")
    assert row["entropy_mean"] == pytest.approx(profiles.mean())
    assert row["entropy_min"] == pytest.approx(profiles.min(axis=-1).mean())
    assert row["profile_min"] == pytest.approx(profiles.mean(axis=(0, 1)).min())
    np.testing.assert_allclose(SUMMARIES["layer_profile"](run)["entropy"], profiles.mean(axis=(0, 1)))
    assert SUMMARIES["ablation"](run)["entropy_max_pool"].item() == pytest.approx(profiles.mean())
    for name in ("table1", "ablation", "layer_profile", "pooling_profile", "vision_mass"):
        assert set(SUMMARIES[name](run)["selector"]) == {selector}


@pytest.mark.parametrize("name", ["table1", "steps", "ablation", "layer_profile", "pooling_profile", "vision_mass"])
def test_fewer_than_six_images_have_means_but_no_interval_and_the_reason(name):
    table = SUMMARIES[name](run_of(SIX[:5]))
    ends = [column for column in table if column.endswith(("_low", "_high"))]
    assert ends
    assert table[ends].isna().all(axis=None)
    assert set(table["interval_note"]) == {"5 image(s); an interval needs 6"}
    means = [column.removesuffix("_low") for column in ends if column.endswith("_low")]
    assert table[means].notna().all(axis=None)


def test_several_grids_are_compared_by_normalised_entropy():
    large = [asked(f"large_{k}", f"image_{k}.png", 8, 4, 16) for k in range(3)]
    small = [asked(f"small_{k}", f"image_{k + 3}.png", 6, 2, 3, others=6) for k in range(3)]
    run = run_of([*large, *small], [node(large), node(small, 2, 3)])
    shares = np.vstack([3 * [np.log([8, 4, 16]) / np.log(16)], 3 * [np.log([6, 2, 3]) / np.log(6)]])
    row = only(SUMMARIES["table1"](run), query_id="q0")
    assert (row["measure"], row["num_cells"]) == ("entropy_normalised", 0)
    assert row["entropy_mean"] == pytest.approx(shares.mean())
    assert row["entropy_band"] == "medium"
    profile = SUMMARIES["layer_profile"](run)
    np.testing.assert_allclose(profile["entropy"], shares.mean(axis=0))
    assert set(SUMMARIES["steps"](run)["measure"]) == {"entropy_normalised"}
    assert set(SUMMARIES["layer_step"](run)["measure"]) == {"entropy_normalised"}


MIXED = [
    *SIX,
    *[asked(f"again_{k}", f"image_{k}.png", 3, 5, 9, query="How many?") for k in range(3)],
    *[asked(f"colour_{k}", f"image_{k}.png", 2 + k, 5, 3, query_id="q1", query_type="attribute") for k in range(6)],
    asked("failed", "image_6.png", 1, 1, 1, error="out of memory"),
    asked("silent", "image_7.png", 1, 1, 1, tokens=SILENT),
    asked("short", "image_8.png", 4, 4, 4, step=0, tokens=["3", "<|im_end|>"]),
]


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_order_of_samples_and_rows_changes_nothing(name):
    """Not a bit, so that a table's hash does not depend on how the shards were cut."""
    random = np.random.default_rng(4)
    run = run_of(MIXED)
    shuffled = [MIXED[k] for k in random.permutation(len(MIXED))]
    settings = settings_of()
    tables = tables_of(tree_of(node(shuffled)), shuffled, settings)
    tables = {key: table.sample(frac=1, random_state=7) for key, table in tables.items()}
    again = summaries.read_run(tables, 3, settings)
    pd.testing.assert_frame_equal(SUMMARIES[name](again), SUMMARIES[name](run), check_exact=True)


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_names_of_images_change_no_mean(name, six):
    reversed_names = [dataclasses.replace(sample, image=f"image_{9 - k}.png") for k, sample in enumerate(SIX)]
    ours, theirs = (SUMMARIES[name](run) for run in (six, run_of(reversed_names)))
    ends = [column for column in ours if column.endswith(("_low", "_high"))]
    pd.testing.assert_frame_equal(ours.drop(columns=ends), theirs.drop(columns=ends))


def test_accuracy_is_the_share_of_images_with_wilsons_interval():
    wrong = ["There", " are", " 4", "<|im_end|>"]
    samples = [
        *[asked(f"right_{k}", f"image_{k}.png", 4, 4, 4) for k in range(7)],
        asked("wrong", "image_7.png", 4, 4, 4, tokens=wrong),
        asked("silent", "image_8.png", 4, 4, 4, tokens=SILENT),
        asked("nothing_expected", "image_9.png", 4, 4, 4, expected_answer=""),
        asked("failed", "image_10.png", 4, 4, 4, error="out of memory"),
    ]
    row = only(SUMMARIES["table1"](run_of(samples)), query_id="q0")
    wilson = scipy.stats.binomtest(7, 9).proportion_ci(method="wilson")
    assert row["accuracy"] == pytest.approx(7 / 9)
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((wilson.low, wilson.high))
    assert row["n_accuracy"] == 9


def test_two_samples_of_one_image_are_half_right_together():
    wrong = ["There", " are", " 4", "<|im_end|>"]
    samples = [*SIX, asked("wrong", "image_0.png", 4, 4, 4, tokens=wrong)]
    row = only(SUMMARIES["table1"](run_of(samples)), query_id="q0")
    assert row["accuracy"] == pytest.approx(5.5 / 6)
    assert row["n_accuracy"] == 6


def test_a_query_without_an_expected_answer_has_no_accuracy():
    samples = [asked(f"s{k}", f"image_{k}.png", 4, 4, 4, expected_answer="") for k in range(6)]
    row = only(SUMMARIES["table1"](run_of(samples)), query_id="q0")
    assert np.isnan(row["accuracy"])
    assert row["n_accuracy"] == 0


def test_table1_has_a_row_for_each_query_by_its_own_samples():
    said = {"tokens": ["Well", ",", " yes", "<|im_end|>"], "expected_answer": "yes"}
    there = [
        asked(f"c{k}", f"image_{k}.png", 2, 2, 4, query_id="q1", query_type="recognition", **said) for k in range(6)
    ]
    table = SUMMARIES["table1"](run_of([*there, *SIX]))
    assert table[["query_id", "query_type"]].values.tolist() == [["q0", "counting"], ["q1", "recognition"]]
    assert only(table, query_id="q0")["entropy_mean"] == pytest.approx(LN.mean())
    assert only(table, query_id="q1")["entropy_mean"] == pytest.approx(np.log([2, 2, 4]).mean())


@pytest.mark.parametrize(
    ("queries", "shared"),
    [
        (["How many?"], "How many?"),
        (["What colour is the star?", "What colour is the disc?"], "What colour is the …"),
        (["Is a red star here?", "Is a blue disc here?"], "Is a … here?"),
        (["Is a star here?", "Is a big red star here?"], "Is a … star here?"),
        (["Where?", "How many?"], "…"),
    ],
)
def test_the_question_is_the_wording_that_all_samples_share(queries, shared):
    assert summaries.pattern(queries) == shared


def test_steps_describe_every_generated_token():
    tokens = [["Oh", " 3", "<|im_end|>"]] * 4 + [["3", "<|im_end|>"]] * 2
    widths = [[[2, 4, 8], [16, 16, 2], [4, 4, 4]]] * 4 + [[[4, 4, 16], [8, 8, 8]]] * 2
    samples = [
        Planted(f"s{k}", f"image_{k}.png", text, np.array(width))
        for k, (text, width) in enumerate(zip(tokens, widths, strict=True))
    ]
    table = SUMMARIES["steps"](run_of(samples)).set_index("step")
    assert table.index.tolist() == [0, 1, 2]
    assert table["token"].tolist() == ["Oh", " 3", "<|im_end|>"]
    np.testing.assert_allclose(table["token_share"], [4 / 6, 4 / 6, 1])
    np.testing.assert_allclose(table["answer_share"], [2 / 6, 4 / 6, 0])
    assert table["n"].tolist() == [6, 6, 4]
    by_image = [
        np.log([[2, 4, 8]] * 4 + [[4, 4, 16]] * 2),
        np.log([[16, 16, 2]] * 4 + [[8, 8, 8]] * 2),
        np.log([[4, 4, 4]] * 4),
    ]
    np.testing.assert_allclose(table["entropy_mean"], [profile.mean() for profile in by_image])
    np.testing.assert_allclose(table["entropy_min"], [profile.min(axis=1).mean() for profile in by_image])
    assert table["layer_of_min"].tolist() == [0, 2, 0]
    assert tuple(table.loc[0, ["entropy_mean_low", "entropy_mean_high"]]) == bca(by_image[0].mean(axis=1))
    assert table.loc[2, "interval_note"] == "4 image(s); an interval needs 6"


def test_steps_average_the_samples_of_an_image_first():
    again = [asked(f"again_{k}", "image_0.png", 2, 4, 16) for k in range(2)]
    row = only(SUMMARIES["steps"](run_of([*SIX, *again])), step=ANSWER_STEP)
    first = np.log([SHALLOW, (2, 4, 16), (2, 4, 16)])
    assert row["n"] == 6
    assert row["entropy_mean"] == pytest.approx(np.mean([first.mean(), *LN[1:].mean(axis=1)]))
    assert row["entropy_min"] == pytest.approx(np.mean([first.min(axis=1).mean(), *LN[1:].min(axis=1)]))


# Two heads: one even over four cells, one on the first of them alone, half as strong.
PEAK = 0.4 * np.eye(1, 16)[0].reshape(4, 4)
EVEN = 0.8 * (np.arange(16) < 4).reshape(4, 4) / 4
OF_MAX = scipy.stats.entropy([0.4, 0.2, 0.2, 0.2])
OF_MEAN = scipy.stats.entropy([0.6, 0.2, 0.2, 0.2])


@pytest.fixture(scope="module")
def two_heads():
    """Six images, in three of which the heads differ at layer 0 of the answer's step; one image without a map."""
    samples = [asked(f"s{k}", f"image_{k}.png", 4, 4, 16) for k in range(7)]
    tree = node(samples)
    for name in ("s0", "s1", "s2"):
        tree = with_map(tree, name, ANSWER_STEP, 0, np.stack([EVEN, PEAK]))
    return samples, with_map(tree, "s6", ANSWER_STEP, 2, np.zeros((2, 4, 4)))


def test_ablation_compares_both_poolings_image_by_image(two_heads):
    samples, tree = two_heads
    row = SUMMARIES["ablation"](run_of(samples, [tree])).iloc[0]
    rest = np.log(4) + np.log(16)
    of_max = np.array([(OF_MAX + rest) / 3] * 3 + [(np.log(4) + rest) / 3] * 3)
    of_mean = np.array([(OF_MEAN + rest) / 3] * 3 + [(np.log(4) + rest) / 3] * 3)
    assert row["n"] == 6
    assert row["entropy_max_pool"] == pytest.approx(of_max.mean())
    assert row["entropy_mean_pool"] == pytest.approx(of_mean.mean())
    assert row["difference"] == pytest.approx((OF_MAX - OF_MEAN) / 3 / 2)
    assert (row["difference_low"], row["difference_high"]) == bca(of_max - of_mean)


@pytest.mark.parametrize(("heads", "peaked"), [("max", OF_MAX), ("mean", OF_MEAN)])
def test_tables_show_the_pooling_of_the_settings(two_heads, heads, peaked):
    samples, tree = two_heads
    run = run_of(samples, [tree], pooling={"heads": heads})
    expected = (peaked + np.log(4)) / 2
    profile = SUMMARIES["layer_profile"](run)
    assert only(profile, layer=0)["entropy"] == pytest.approx((3 * peaked + 4 * np.log(4)) / 7)
    assert only(SUMMARIES["layer_step"](run), step=ANSWER_STEP, layer=0)["entropy"] == pytest.approx(
        (3 * peaked + 4 * np.log(4)) / 7
    )
    row = only(SUMMARIES["table1"](run), query_id="q0")
    assert row["entropy_mean"] == pytest.approx((expected + np.log(4) + np.log(16)) / 3)
    for name in ("table1", "steps", "layer_profile", "layer_step"):
        assert set(SUMMARIES[name](run)["pooling"]) == {heads}


def test_pooling_profile_holds_both_poolings_by_layer(two_heads):
    samples, tree = two_heads
    table = SUMMARIES["pooling_profile"](run_of(samples, [tree]))
    for heads, peaked in (("max", OF_MAX), ("mean", OF_MEAN)):
        rows = table[table["pooling"] == heads].set_index("layer")
        expected = [(3 * peaked + 4 * np.log(4)) / 7, np.log(4), np.log(16)]
        np.testing.assert_allclose(rows["entropy"], expected)
        assert rows["n"].tolist() == [7, 7, 6]


def test_layer_profile_has_each_layer_with_its_own_interval(six):
    table = SUMMARIES["layer_profile"](six).set_index("layer")
    np.testing.assert_allclose(table["entropy"], LN.mean(axis=0))
    for layer in (0, 1):
        assert tuple(table.loc[layer, ["entropy_low", "entropy_high"]]) == bca(LN[:, layer])
    assert table["interval_note"].tolist() == ["", "", "all values are equal"]
    assert table["layer_band"].tolist() == ["early", "middle", "late"]
    assert table["n"].tolist() == [6, 6, 6]


def test_layer_step_is_the_mean_over_images_of_each_map():
    random = np.random.default_rng(2)
    samples, widths = [], []
    for k in range(4):
        tokens = TOKENS[: 3 if k == 3 else 4]
        widths.append(random.integers(1, 17, size=(4, 3)))
        samples.append(Planted(f"s{k}", f"image_{k}.png", tokens, widths[-1]))
    table = SUMMARIES["layer_step"](run_of(samples))
    entropies = np.log(np.array(widths, dtype=float))
    entropies[3, 3] = np.nan
    assert table[["step", "layer"]].values.tolist() == [[step, layer] for step in range(4) for layer in range(3)]
    np.testing.assert_allclose(table["entropy"], np.nanmean(entropies, axis=0).ravel())
    assert table["n"].tolist() == [4] * 9 + [3] * 3
    assert table["token"].tolist() == [token for token in TOKENS for _ in range(3)]


def test_a_map_without_mass_leaves_a_gap_in_layer_step_not_a_zero():
    sample = asked("s0", "image_0.png", 4, 4, 4)
    table = SUMMARIES["layer_step"](run_of([sample], [with_map(node([sample]), "s0", 1, 2, np.zeros((2, 4, 4)))]))
    row = only(table, step=1, layer=2)
    assert np.isnan(row["entropy"])
    assert row["n"] == 0
    assert table["entropy"].isna().sum() == 1


def test_vision_mass_is_the_mean_over_heads_and_images_by_layer():
    random = np.random.default_rng(5)
    samples = [asked(f"s{k}", f"image_{k}.png", 4, 4, 16) for k in range(6)]
    # Sixteenths of 1/64: exact in fp32, so that resamples tie with the mean here as they do in the table.
    tree, masses = node(samples), random.integers(4, 60, size=(6, 3, 2)) / 64
    for k, sample in enumerate(samples):
        for layer in range(3):
            maps = masses[k, layer][:, None, None] * np.full((4, 4), 1 / 16)
            tree = with_map(tree, sample.sample_id, ANSWER_STEP, layer, maps)
    table = SUMMARIES["vision_mass"](run_of(samples, [tree])).set_index("layer")
    by_image = masses.mean(axis=2)
    np.testing.assert_allclose(table["vision_mass"], by_image.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(table["first_token_mass"], 0.25 * (1 - by_image.mean(axis=0)), rtol=1e-6)
    np.testing.assert_allclose(table["prompt_text_mass"], 0.75 * (1 - by_image.mean(axis=0)), rtol=1e-6)
    np.testing.assert_allclose(table["generated_text_mass"], 0, atol=1e-9)
    for layer in range(3):
        assert tuple(table.loc[layer, ["vision_mass_low", "vision_mass_high"]]) == bca(by_image[:, layer])


def test_a_query_whose_samples_all_failed_keeps_its_rows():
    lost = [asked(f"lost_{k}", f"image_{k}.png", 1, 1, 1, query_id="q1", error="out of memory") for k in range(2)]
    run = run_of([*SIX, *lost])
    row = only(SUMMARIES["table1"](run), query_id="q1")
    assert row[["samples", "failed", "n", "interval_note", "entropy_band"]].tolist() == [2, 2, 0, "no image", ""]
    assert row[["entropy_mean", "layer_of_min", "modal_layer", "modal_share", "accuracy"]].isna().all()
    for name in ("ablation", "layer_profile", "pooling_profile", "vision_mass"):
        rows = SUMMARIES[name](run).query("query_id == 'q1'")
        assert set(rows["n"]) == {0}
        assert set(rows["interval_note"]) == {"no image"}
    assert set(SUMMARIES["steps"](run)["query_id"]) == {"q0"}
    assert set(SUMMARIES["layer_step"](run)["query_id"]) == {"q0"}


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_run_in_which_everything_failed_has_tables_with_the_same_columns(name, six):
    lost = [asked(f"lost_{k}", f"image_{k}.png", 1, 1, 1, error="out of memory") for k in range(2)]
    table = SUMMARIES[name](run_of(lost))
    assert list(table) == list(SUMMARIES[name](six))
    assert len(table) == (1 if name in ("table1", "ablation") else 0)


def test_layers_keep_their_true_depth_where_not_all_are_captured():
    """Layers 3, 7, 11 of 12: the depth decides the band and is what a table names."""
    tree = node(SIX).assign_coords(layer=[3, 7, 11])
    settings = settings_of()
    run = summaries.read_run(tables_of(tree_of(tree), SIX, settings), 12, settings)
    table = SUMMARIES["layer_profile"](run)
    assert table["layer"].tolist() == [3, 7, 11]
    assert table["layer_band"].tolist() == ["early", "middle", "late"]  # cuts at round(12 * 11/36) = 4 and 8
    row = only(SUMMARIES["table1"](run), query_id="q0")
    assert (row["layer_of_min"], row["modal_layer"]) == (3, 7)
