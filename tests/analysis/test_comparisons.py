"""Comparisons of a planted run: differences that are known by construction get the verdict that they deserve."""

import numpy as np
import pandas as pd
import pytest
from attention_atlas import store
from attention_atlas.analysis import focus, step_maps, transcript
from attention_atlas.analysis.comparisons import comparisons
from attention_atlas.analysis.conditions import condition_scores
from attention_atlas.analysis.summaries import read_run
from attention_atlas.config import Settings
from attention_atlas.inputs.study import read_study

from ..synthetic import LAYERS, Planted, grounding_table, write_run, write_study

IMAGES = 12
TOKENS = ["It", " is", " 3", ".", "<|im_end|>"]
ANSWER = 2
NO_CONDITIONS = condition_scores({}, {}, None, "max")
CONTRASTS = {
    "q0_vs_q1": {
        "family": "pairs",
        "first": {"query_ids": ["q0"]},
        "second": {"query_ids": ["q1"]},
        "direction": "greater",
    },
    "q2_vs_q3": {"family": "pairs", "first": {"query_ids": ["q2"]}, "second": {"query_ids": ["q3"]}},
    "late_vs_early": {
        "family": "layers",
        "first": {"layers": "late"},
        "second": {"layers": "early"},
        "direction": "less",
    },
    "lowest": {"family": "steps", "kind": "lowest_step", "direction": "less"},
    "lowest_of_q0": {"family": "steps", "kind": "lowest_step", "first": {"query_ids": ["q0"]}, "direction": "less"},
    "top": {"family": "steps", "kind": "top_layers", "direction": "greater"},
    "auroc": {
        "family": "auroc",
        "measure": "auroc",
        "first": {"query_ids": ["q0"]},
        "second": {"query_ids": ["q1"]},
        "claim": "q0 aligns better",
        "original": "so it was said",
    },
    "right_vs_wrong": {
        "family": "answers",
        "kind": "unpaired",
        "first": {"correct": True},
        "second": {"correct": False},
    },
}


def widths(query_id, image):
    """Cells of the even map by (step, layer): 16 but at the answer step, narrower in later layers; q0 and q1 differ."""
    base = {"q0": 10, "q1": 5, "q2": 8, "q3": 8}[query_id] + image % 3
    found = np.full((len(TOKENS), LAYERS), 16)
    found[ANSWER] = [base, base, max(1, base - 3)]
    return found


def settings(**changes):
    content = {
        "runs": [{"study": "planted", "model": "tiny"}],
        "contrasts": CONTRASTS,
        "tests": {"simulations": 200},
        "statistics": {"resamples": 499},
        **changes,
    }
    return Settings.model_validate(content).model_dump(mode="json")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    samples = []
    for image in range(IMAGES):
        for query_id in ("q0", "q1", "q2", "q3"):
            sample = Planted(
                f"image_{image:02d}-{query_id}",
                f"image_{image:02d}.png",
                TOKENS,
                widths(query_id, image),
                query_id,
                expected_answer="3" if image < 6 else "4",
            )
            sample.target_object = "object_0"
            samples.append(sample)
    shards, folder = write_run(root, samples), write_study(root, samples)
    query_types = settings()["query_types"]
    study, tree = read_study(folder, query_types, images=()), store.open_shards(shards)
    described, tokens = transcript.samples_table(tree), transcript.tokens_table(tree)
    answers = transcript.judged(study, described, tokens, query_types)
    tables = {
        "samples": described,
        "tokens": tokens,
        "answers": answers,
        "focus": focus.focus_table(tree),
        "mass": transcript.mass_table(tree),
    }
    steps = step_maps.steps_of(described, answers, "answer")
    nodes = {node.name: node.to_dataset() for node in step_maps.step_maps(tree, steps).leaves}
    return tables, grounding_table(nodes, study, "max")


@pytest.fixture(scope="module")
def found(made):
    tables, grounding = made
    return comparisons(read_run(tables, LAYERS, settings()), grounding, {}, NO_CONDITIONS)


def row(found, name):
    return found["contrasts"].set_index("name").loc[name]


def mean_entropy(query_id, image, layers=range(LAYERS)):
    """Entropies of even maps are ln width."""
    return np.log(widths(query_id, image)[ANSWER, list(layers)]).mean()


def test_a_planted_difference_is_moved_with_its_sign_and_size(found):
    expected = np.mean([mean_entropy("q0", i) - mean_entropy("q1", i) for i in range(IMAGES)])
    contrast = row(found, "q0_vs_q1")
    assert contrast["difference"] == pytest.approx(expected, abs=1e-6)
    assert (contrast["verdict"], contrast["sign"], contrast["reading"]) == ("moved", "+", "supported")
    assert contrast["n_first"] == contrast["n_second"] == IMAGES


def test_equal_arms_are_never_moved(found):
    contrast = row(found, "q2_vs_q3")
    assert contrast["difference"] == pytest.approx(0, abs=1e-12)
    assert contrast["verdict"] != "moved"


def test_late_layers_are_lower_as_planted(found):
    """Of three layers the first is early, the last late; the last map is three cells narrower."""
    queries = ("q0", "q1", "q2", "q3")
    expected = np.mean([mean_entropy(q, i, [2]) - mean_entropy(q, i, [0]) for i in range(IMAGES) for q in queries])
    contrast = row(found, "late_vs_early")
    assert contrast["difference"] == pytest.approx(expected, abs=1e-6)
    assert contrast["reading"] == "supported"


def test_the_answer_step_is_lowest_and_the_limiting_comparison_is_named(found):
    contrast = row(found, "lowest")
    assert contrast["reading"] == "supported"
    assert "the limiting of 4 comparisons" in contrast["note"]  # steps -2, -1, +1, +2 exist


def test_lowest_step_keeps_to_the_queries_of_its_arm(found):
    contrast = row(found, "lowest_of_q0")
    assert contrast["mean_first"] == pytest.approx(np.mean([mean_entropy("q0", i) for i in range(IMAGES)]), abs=1e-6)
    assert contrast["mean_second"] == pytest.approx(np.log(16), abs=1e-6)


def test_the_layer_of_the_minimum_is_held_against_the_share_of_the_layers(found):
    """Every image is lowest in layer 2 of 3; the top sixth of three layers is that one."""
    contrast = row(found, "top")
    assert contrast["mean_first"] == 1
    assert contrast["mean_second"] == pytest.approx(1 / 3)
    assert contrast["p_difference"] == pytest.approx((1 / 3) ** IMAGES)
    assert contrast["reading"] == "supported"


def test_wrong_answers_are_compared_with_right_ones_over_different_images(found):
    """The answer is always 3; the first six images expect it."""
    contrast = row(found, "right_vs_wrong")
    assert (contrast["n_first"], contrast["n_second"]) == (6, 6)
    means = [
        np.mean([mean_entropy(q, i) for i in images for q in ("q0", "q1", "q2", "q3")])
        for images in (range(6), range(6, 12))
    ]
    assert contrast["difference"] == pytest.approx(means[0] - means[1], abs=1e-6)


def test_claims_are_the_contrasts_that_say_one(found):
    assert found["claims"]["name"].tolist() == ["auroc"]
    assert found["claims"]["original"].tolist() == ["so it was said"]


def test_every_test_of_two_arms_is_validated(found):
    tested = {"q0_vs_q1", "late_vs_early", "auroc", "right_vs_wrong"}
    assert tested <= set(found["validation"]["contrast"]) <= tested | {"q2_vs_q3"}
    assert set(found["validation"]["passes"]) <= {"yes", "no"}
    assert tested <= set(found["power"]["contrast"]) | {"right_vs_wrong"}


def test_contrasts_of_mixed_grids_are_of_normalised_entropy_and_called_so(made):
    """One image of other cells makes entropies incomparable in nats: every one is over ln N (16 cells: ln 16)."""
    tables, grounding = made
    samples = tables["samples"].assign(num_cells=tables["samples"]["num_cells"].where(tables["samples"].index > 3, 20))
    run = read_run({**tables, "samples": samples}, LAYERS, settings())
    contrast = row(comparisons(run, grounding, {}, NO_CONDITIONS), "q0_vs_q1")
    expected = np.mean([mean_entropy("q0", i) - mean_entropy("q1", i) for i in range(IMAGES)]) / np.log(16)
    assert contrast["measure"] == "entropy_normalised"
    assert contrast["difference"] == pytest.approx(expected, abs=1e-6)
    assert contrast["margin"] == pytest.approx(0.1 / np.log(64))


def test_fewer_than_six_images_are_refused_with_the_reason(made):
    tables, grounding = made
    few = tables["samples"]["image"] < "image_05.png"
    names = tables["samples"].loc[few, "sample_id"]
    less = {name: table[table["sample_id"].astype(str).isin(names)] for name, table in tables.items()}
    found = comparisons(read_run(less, LAYERS, settings()), grounding, {}, NO_CONDITIONS)
    verdicts = found["contrasts"].set_index("name")
    assert (verdicts["verdict"] == "no verdict").all()
    assert "needs 6" in verdicts.loc["q0_vs_q1", "note"]


def test_the_order_of_the_rows_changes_nothing(made, found):
    tables, grounding = made
    shuffled = {name: table.sample(frac=1, random_state=0) for name, table in tables.items()}
    again = comparisons(
        read_run(shuffled, LAYERS, settings()), grounding.sample(frac=1, random_state=0), {}, NO_CONDITIONS
    )
    pd.testing.assert_frame_equal(again["contrasts"], found["contrasts"])


def test_a_study_without_boxes_tests_what_needs_none(made):
    tables, grounding = made
    found = comparisons(read_run(tables, LAYERS, settings()), grounding.iloc[:0], {}, NO_CONDITIONS)
    verdicts = found["contrasts"].set_index("name")["verdict"]
    assert verdicts["auroc"] == "no verdict"
    assert verdicts["q0_vs_q1"] == "moved"
