"""Answers and maps under control conditions, counted by hand."""

import numpy as np
import pandas as pd
import pytest
from attention_atlas.analysis.condition_summaries import COLUMNS, condition_summary

from .controlled import controlled, samples_of

IMAGES = 8


@pytest.fixture(scope="module")
def case():
    return controlled(samples_of(IMAGES))


def asked(names, condition, texts, correct, errors=()):
    """The controls' samples and answers."""
    ids = [f"{name}.{condition}" for name in names]
    failed = [name in errors for name in names]
    samples = pd.DataFrame({"sample_id": ids, "condition": condition, "error": np.where(failed, "broken", "")})
    found = np.where(failed, -1, [int(bool(text)) for text in texts])
    answers = pd.DataFrame({"sample_id": ids, "answer_found": found, "answer_text": texts, "correct": correct})
    return samples, answers


def scored(names, condition, entropy, divergence):
    """Two layers a control, whose mean is what is given."""
    rows = [
        {"sample_id": name, "condition": condition, "number": 0, "layer": layer, "measure": measure, "value": value}
        for name, *values in zip(names, entropy, divergence, strict=True)
        for measure, mean in zip(("entropy", "js_divergence"), values, strict=True)
        for layer, value in enumerate((0.5 * mean, 1.5 * mean))
    ]
    return pd.DataFrame(rows)


def test_answers_and_maps_are_means_over_images(case):
    names = [f"image_{k:02d}-q0" for k in range(IMAGES)]  # each of them answered "3"
    texts = ["3", "3", "3", "3", "3", "0", "0", ""]
    samples, answers = asked(names, "twin", texts, [0, 0, 0, 0, 0, 1, 1, 0])
    entropy, divergence = np.linspace(1, 2, IMAGES), np.linspace(0.1, 0.4, IMAGES)
    row = condition_summary(case.run, scored(names, "twin", entropy, divergence), samples, answers).iloc[0]
    assert row[["query_id", "query_type", "condition", "samples", "failed", "n"]].tolist() == [
        *("q0", "counting", "twin", IMAGES, 0, IMAGES)
    ]
    assert row["found"] == 7 / 8
    assert row["accuracy"] == 2 / 8
    assert row["same_answer"] == pytest.approx(5 / 7), "of those that have an answer in both"
    assert row["n_same_answer"] == 7
    assert row["entropy"] == pytest.approx(1.5)
    assert row["js_divergence"] == pytest.approx(0.25)
    assert row["entropy_low"] < 1.5 < row["entropy_high"]


def test_a_condition_whose_right_answer_is_unknown_has_no_accuracy_and_a_failed_control_is_counted(case):
    names = [f"image_{k:02d}-q2" for k in range(IMAGES)]
    samples, answers = asked(names, "blank", ["yes"] * IMAGES, [-1] * IMAGES, errors=names[:2])
    row = condition_summary(case.run, scored(names[2:], "blank", [1.0] * 6, [0.2] * 6), samples, answers).iloc[0]
    assert np.isnan(row["accuracy"])
    assert row["n_accuracy"] == 0
    assert row[["failed", "n"]].tolist() == [2, 6]
    assert row["same_answer"] == 1.0
    assert row["interval_note"] == "all values are equal"


def test_several_other_images_of_a_sample_count_as_one_image(case):
    names = ["image_00-q0"] * 2 + [f"image_{k:02d}-q0" for k in range(1, IMAGES)]
    samples = pd.DataFrame(
        {"sample_id": [f"{name}.other_image.{k}" for k, name in enumerate(names, 1)], "condition": "other_image"}
    ).assign(error="")
    answers = samples[["sample_id"]].assign(answer_found=1, answer_text=["3", "5", *["3"] * (IMAGES - 1)], correct=-1)
    scores = scored(names, "other_image", np.arange(len(names)), np.ones(len(names)))
    scores["number"] = np.repeat(np.arange(1, len(names) + 1), 4)
    row = condition_summary(case.run, scores, samples, answers).iloc[0]
    assert row["same_answer"] == pytest.approx((0.5 + IMAGES - 1) / IMAGES)
    assert row["entropy"] == pytest.approx((0.5 + sum(range(2, len(names)))) / IMAGES)


def test_a_general_question_has_no_answer_to_be_the_same(case):
    names = [f"image_{k:02d}-q0" for k in range(IMAGES)]
    samples, answers = asked(names, "generic", ["3"] * IMAGES, [-1] * IMAGES)
    row = condition_summary(case.run, scored(names, "generic", [1.0] * 8, [0.2] * 8), samples, answers).iloc[0]
    assert np.isnan(row["same_answer"])
    assert row["n_same_answer"] == 0


def test_without_controls_the_table_is_empty_with_its_columns(case):
    samples, answers = asked([], "twin", [], [])
    empty = pd.DataFrame(columns=["sample_id", "condition", "number", "layer", "measure", "value"])
    assert list(condition_summary(case.run, empty, samples, answers)) == COLUMNS
