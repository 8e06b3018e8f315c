"""Conditions per query: what the model answers under each control condition, and how far its maps move. Unit: image."""

from typing import Any

import pandas as pd

from attention_atlas.analysis.statistics import MeanInterval, mean_intervals, proportion_interval
from attention_atlas.analysis.summaries import Run, interval_columns, note_of
from attention_atlas.inputs.conditions import AT_FIRST_STEP, source_of

COLUMNS = [
    *("query_id", "query_type", "condition", "samples", "failed", "n", "found"),
    *(f"{name}{end}" for name in ("accuracy", "same_answer") for end in ("", "_low", "_high")),
    *("n_accuracy", "n_same_answer"),
    *(f"{name}{end}" for name in ("entropy", "js_divergence") for end in ("", "_low", "_high")),
    *("measure", "interval_note"),
]
NO_IMAGE = MeanInterval(float("nan"), float("nan"), float("nan"), 0, "no image")


def condition_summary(run: Run, scores: pd.DataFrame, samples: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """A row per query and condition: answers, entropy of the maps and divergence from the samples own; with intervals.

    `scores` is the table of the controls' maps, `samples` and `answers` are those of the controls. same_answer: the
    share of images whose answer is that of the study's own sample, of n_same_answer that have both; n: images with a
    map; n_accuracy: with a right answer that is known.
    """
    asked = described(run, samples, answers)
    maps = scores.astype({"sample_id": str, "condition": str, "measure": str}).merge(
        run.samples[["sample_id", "query_id", "image"]], on="sample_id"
    )
    rows = [
        row_of(run, str(query_id), str(condition), group, maps)
        for (query_id, condition), group in asked.groupby(["query_id", "condition"])
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def described(run: Run, samples: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """The controls with their own answers, and with the image and the answer of the samples that they are of."""
    controls = samples[["sample_id", "condition", "error"]].merge(answers, on="sample_id")
    sources = [source_of(*pair) for pair in zip(controls["sample_id"], controls["condition"], strict=True)]
    own = run.samples[["sample_id", "query_id", "query_type", "image"]].merge(
        run.answers[["sample_id", "answer_found", "answer_text"]], on="sample_id"
    )
    return controls.assign(source=sources).merge(
        own.rename(columns={"sample_id": "source"}), on="source", suffixes=("", "_own")
    )


def row_of(run: Run, query_id: str, condition: str, asked: pd.DataFrame, maps: pd.DataFrame) -> dict[str, Any]:
    """One row."""
    statistics = run.settings["statistics"]
    judged = asked[asked["correct"] >= 0]
    both = asked[(asked["answer_found"] == 1) & (asked["answer_found_own"] == 1)]
    both = both if condition not in AT_FIRST_STEP else both.iloc[:0]  # another question has another answer
    same = (both["answer_text"] == both["answer_text_own"]).astype(float).groupby(both["image"]).mean()
    accuracy = proportion_interval(judged.groupby("image")["correct"].mean(), statistics)
    same_answer = proportion_interval(same, statistics)
    mine = maps[(maps["query_id"] == query_id) & (maps["condition"] == condition)]
    of_maps = {name: over_images(mine, measure, run) for name, measure in shown_measures(run).items()}
    return {
        "query_id": query_id,
        "query_type": asked["query_type"].iloc[0],
        "condition": condition,
        "samples": len(asked),
        "failed": int((asked["error"] != "").sum()),
        "n": of_maps["entropy"].n,
        "found": (asked["answer_found"] == 1).mean(),
        **interval_columns("accuracy", accuracy),
        "n_accuracy": accuracy.n,
        "n_same_answer": same_answer.n,
        **interval_columns("same_answer", same_answer),
        **{key: part for name, interval in of_maps.items() for key, part in interval_columns(name, interval).items()},
        "measure": run.measure,
        "interval_note": note_of(*of_maps.values()),
    }


def shown_measures(run: Run) -> dict[str, str]:
    """Columns of the maps with the measures behind them."""
    return {"entropy": run.measure, "js_divergence": "js_divergence"}


def over_images(maps: pd.DataFrame, measure: str, run: Run) -> MeanInterval:
    """The mean over layers of each control, then over those of an image, then over images."""
    rows = maps[maps["measure"] == measure]
    if rows.empty:
        return NO_IMAGE
    by_sample = rows.groupby(["image", "sample_id", "number"])["value"].agg(lambda values: values.mean(skipna=False))
    by_image = by_sample.groupby(level="image").mean().to_frame(measure)
    return mean_intervals(by_image, run.settings["statistics"])[measure]
