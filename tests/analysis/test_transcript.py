"""Transcript: the tables of a planted run hold what was planted, and answers are judged by the study."""

import numpy as np
import pandas as pd
import pytest
from attention_atlas.analysis import transcript

from tests.synthetic import Planted, node, settings_of, study_of, tree_of, with_map

QUERY_TYPES = settings_of()["query_types"]
END = "<|im_end|>"


def said(name, *tokens, **parts):
    return Planted(name, f"{name}.png", list(tokens), np.full((max(len(tokens), 1), 3), 4), **parts)


SAMPLES = [
    said("b", "There", " are", " three", END),
    said("a", "4", END),
    said("failed", END, error="out of memory"),
    said("other", "Yes", END, query_id="q1", query_type="recognition", expected_answer="yes", condition="other_image"),
]
SMALL = [said("c", "3", END)]


@pytest.fixture(scope="module")
def tree():
    return tree_of(node(SAMPLES), node(SMALL, 2, 3))


def judge(samples, query_types=QUERY_TYPES):
    tree = tree_of(node(samples))
    tables = transcript.samples_table(tree), transcript.tokens_table(tree)
    return transcript.judged(study_of(samples), *tables, query_types).set_index("sample_id")


def test_samples_have_one_row_each_in_the_order_of_their_ids(tree):
    table = transcript.samples_table(tree)
    assert table["sample_id"].tolist() == ["a", "b", "c", "failed", "other"]
    assert table["image"].tolist() == ["a.png", "b.png", "c.png", "failed.png", "other.png"]
    assert table["generated_text"].tolist() == ["4", "There are three", "3", "", "Yes"]
    assert table["num_steps"].tolist() == [2, 4, 2, 0, 2]
    assert table["num_cells"].tolist() == [16, 16, 6, 16, 16]
    assert table["query_type"].tolist() == ["counting"] * 4 + ["recognition"]
    assert table["condition"].tolist() == [""] * 4 + ["other_image"]
    assert table["stop_reason"].tolist() == ["end_token"] * 3 + ["error", "end_token"]
    assert table["error"].tolist() == ["", "", "", "out of memory", ""]


def test_tokens_have_one_row_each_and_none_for_padding(tree):
    table = transcript.tokens_table(tree)
    expected = [
        *[("a", 0, "4"), ("a", 1, END), ("b", 0, "There"), ("b", 1, " are"), ("b", 2, " three"), ("b", 3, END)],
        *[("c", 0, "3"), ("c", 1, END), ("other", 0, "Yes"), ("other", 1, END)],
    ]
    assert list(table[["sample_id", "step", "token_text"]].itertuples(index=False, name=None)) == expected
    np.testing.assert_allclose(table["token_logprob"], -0.1, rtol=1e-6)
    np.testing.assert_allclose(table["next_token_entropy"], 0.2, rtol=1e-6)


def test_mass_is_the_mean_over_heads_of_each_step_and_layer():
    """Planted heads put 0.8 and 0.4 on the image; where other weights are planted, 1/2 and 1/4."""
    maps = np.array([0.5, 0.25])[:, None, None] * np.full((4, 4), 1 / 16)
    table = transcript.mass_table(tree_of(with_map(node(SAMPLES), "a", 1, 2, maps)))
    places = [("a", 2), ("b", 4), ("other", 2)]
    keys = [(name, step, layer) for name, steps in places for step in range(steps) for layer in range(3)]
    assert list(table[["sample_id", "step", "layer"]].itertuples(index=False, name=None)) == keys
    vision = np.where([key == ("a", 1, 2) for key in keys], 0.375, 0.6)
    np.testing.assert_allclose(table["vision_mass"], vision, rtol=1e-6)
    np.testing.assert_allclose(table["first_token_mass"], 0.25 * (1 - vision), rtol=1e-6)
    np.testing.assert_allclose(table["prompt_text_mass"], 0.75 * (1 - vision), rtol=1e-6)
    np.testing.assert_allclose(table["generated_text_mass"], 0, atol=1e-9)


def test_a_mass_that_one_head_lacks_is_missing_not_the_mean_of_the_others():
    dataset = node(SMALL)
    dataset["vision_mass"].loc[{"sample": "c", "step": 0, "layer": 1, "head": 0}] = np.nan
    table = transcript.mass_table(tree_of(dataset)).set_index(["step", "layer"])
    assert np.isnan(table.loc[(0, 1), "vision_mass"])
    assert table["vision_mass"].isna().sum() == 1


def test_answers_are_found_at_the_token_that_says_them_and_held_against_the_study():
    table = judge(SAMPLES)
    columns = ["answer_found", "answer_text", "answer_step", "answer_last_step", "correct"]
    assert table.loc["b", columns].tolist() == [1, "3", 2, 2, 1]
    assert table.loc["a", columns].tolist() == [1, "4", 0, 0, 0]
    assert table.loc["other", columns].tolist() == [1, "yes", 0, 0, 1]


def test_a_failed_sample_is_not_judged():
    columns = ["answer_found", "answer_text", "answer_step", "answer_last_step", "correct"]
    assert judge(SAMPLES).loc["failed", columns].tolist() == [-1, "", -1, -1, -1]


def test_an_answer_that_is_expected_but_not_found_is_wrong():
    row = judge([said("silent", "Some", " shapes", END)]).loc["silent"]
    assert row[["answer_found", "answer_step", "correct"]].tolist() == [0, -1, 0]


def test_a_sample_without_an_expected_answer_has_an_answer_but_no_verdict():
    row = judge([said("open", "3", END, expected_answer="")]).loc["open"]
    assert row[["answer_found", "answer_text", "correct"]].tolist() == [1, "3", -1]


def test_an_answer_of_several_tokens_spans_them():
    sample = said("place", "Top", " ", "left", ".", END, query_type="spatial", expected_answer="top left")
    row = judge([sample]).loc["place"]
    assert row[["answer_text", "answer_step", "answer_last_step", "correct"]].tolist() == ["top left", 0, 2, 1]


def test_a_special_token_says_nothing_but_keeps_its_step():
    words = {"counting": {"answers": {"end": [], "stop": []}, "needs_target": False}}
    sample = said("s", "<|end|>", "the", " stop", "<|stop|>", expected_answer="stop")
    row = judge([sample], words).loc["s"]
    assert row[["answer_text", "answer_step", "correct"]].tolist() == ["stop", 2, 1]


def test_the_expected_answer_is_the_studys_of_today_not_the_runs():
    """A corrected study changes the verdict without a new run."""
    tree = tree_of(node(SMALL))
    corrected = study_of([said("c", expected_answer="5")])
    tables = transcript.samples_table(tree), transcript.tokens_table(tree)
    assert transcript.judged(corrected, *tables, QUERY_TYPES)["correct"].tolist() == [0]


def test_the_answers_table_has_the_types_of_the_contract():
    table = judge(SAMPLES)
    assert table.index.tolist() == ["a", "b", "failed", "other"]
    kinds = table.dtypes.astype(str).to_dict()
    del kinds["answer_text"]
    assert kinds == {
        "answer_found": "int8",
        "answer_step": "int32",
        "answer_last_step": "int32",
        "correct": "int8",
    }


def test_a_run_in_which_everything_failed_has_no_tokens_and_no_masses():
    tree = tree_of(node([said("failed", END, error="out of memory")]))
    assert list(transcript.tokens_table(tree)) == [
        *("sample_id", "step", "token_text", "token_logprob", "next_token_entropy")
    ]
    assert transcript.tokens_table(tree).empty
    assert transcript.mass_table(tree).empty
    assert transcript.samples_table(tree)["error"].tolist() == ["out of memory"]


def test_tables_of_several_grids_are_those_of_the_grids_together(tree):
    both = transcript.mass_table(tree)
    alone = [transcript.mass_table(tree_of(part)) for part in (node(SAMPLES), node(SMALL, 2, 3))]
    expected = pd.concat(alone).sort_values(["sample_id", "step", "layer"], ignore_index=True)
    pd.testing.assert_frame_equal(both, expected)
