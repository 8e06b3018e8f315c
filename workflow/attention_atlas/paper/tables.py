"""Tables as a paper prints them: rounded to digits that mean something, as CSV, Markdown and LaTeX.

Markdown and LaTeX are made from the rounded values, so that no two files of a run disagree in a digit.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from attention_atlas.errors import AtlasError
from attention_atlas.files import write_text
from attention_atlas.paper.columns import (
    CONFIDENCE_LIMITS,
    DECIMALS,
    INTEGERS,
    MEASURES,
    P_VALUES,
    SELECTORS,
    TEXT,
    read_summary,
)
from attention_atlas.paper.texts import csv_cell, latex_note, latex_text, markdown_text, percent, printable

SHOWN_DECIMALS = 2
P_DECIMALS = DECIMALS + 1
MISSING = "–"
LEFT_OUT = {
    "failed": "failed",
    "no_answer": "without an answer",
    "undefined": "without finite positive vision mass",
    "other_conditions": "of other conditions",
}


@dataclass(frozen=True)
class Printed:
    """A table for readers: cells as plain text (not escaped), a caption, remarks on what is not in it."""

    cells: pd.DataFrame
    caption: str
    remarks: tuple[str, ...]
    label: str
    column_format: str
    long: bool = False


def write_table(
    name: str, summary: Path, confidence: float, csv: Path, markdown: Path | None, latex: Path | None
) -> None:
    """Write one summary of results/analysis/<study>/<model>/ as CSV, and as Markdown and LaTeX where it has these."""
    frame = rounded(read_summary(summary, name))
    # Built before anything is written, so that a table without these formats leaves no file behind.
    texts = {csv: as_csv(frame)}
    if markdown or latex:
        table = printed(name, frame, summary.parent.parent.name, summary.parent.name, confidence)
        texts |= {path: text(table) for path, text in ((markdown, as_markdown), (latex, as_latex)) if path}
    for path, text in texts.items():
        write_text(path, text)


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """A summary rounded to the digits that mean something; texts without control characters, counts as integers."""
    columns = {}
    for name in frame:
        if name in TEXT:
            columns[name] = frame[name].map(lambda text: printable(text) if isinstance(text, str) else "")
        elif name in INTEGERS:
            columns[name] = frame[name].astype("Int64")
        elif name in P_VALUES:
            columns[name] = frame[name].astype("float64").round(P_DECIMALS)
        else:
            columns[name] = frame[name].astype("float64").round(DECIMALS) + 0.0  # + 0.0: no "-0.000"
    return pd.DataFrame(columns)


def as_csv(frame: pd.DataFrame) -> str:
    """A rounded table as CSV with fixed decimals; empty where there is no value; no text that is a formula."""
    written = frame.assign(**{name: frame[name].map(csv_cell) for name in frame if name in TEXT})
    for name in P_VALUES & set(frame):
        written[name] = ["" if pd.isna(value) else f"{value:.{P_DECIMALS}f}" for value in frame[name]]
    return written.to_csv(index=False, lineterminator="\n", float_format=f"%.{DECIMALS}f")


def printed(name: str, frame: pd.DataFrame, study: str, model: str, confidence: float) -> Printed:
    """A rounded table for readers."""
    if name not in PRINTERS:
        raise AtlasError(f"the table {name!r} is written as CSV alone; Markdown and LaTeX: {', '.join(PRINTERS)}")
    return PRINTERS[name](frame, f"{study} asked of {model}", f"tab:{study}-{model}-{name}", f"{confidence:.4g}")


def table1(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """Table 1: entropy, its layer, and accuracy per query."""
    cells = {
        "Query": frame["query_id"] + " " + frame["query_type"],
        "Question": frame["question"],
        "n": by_row(frame, lambda row: f"{shown(row['n'])} of {shown(row['samples'])}"),
        "Mean entropy": intervals(frame, "entropy_mean"),
        "Min. entropy": intervals(frame, "entropy_min"),
        "Layer of min.": by_row(frame, lambda row: joined(row["layer_of_min"], row["layer_band"])),
        "Profile min.": frame["profile_min"].map(shown),
        "Modal layer": by_row(frame, lambda row: joined(row["modal_layer"], shown(row["modal_share"]))),
        "Accuracy": intervals(frame, "accuracy"),
    }
    caption = (
        f"{run}: {measured(frame)}. Map at {at_step(frame)}, heads pooled by {values(frame, 'pooling')}. "
        "Mean and minimum over layers of one image, averaged over images; layer of min.: where the mean layer profile "
        "is lowest (band of layers), profile min.: its value there; modal layer: where most images have their minimum "
        f"(share of images). Brackets: {percent(confidence)} intervals over images, BCa bootstrap for means, Wilson "
        "for proportions. n: images used of samples asked."
    )
    return Printed(pd.DataFrame(cells), caption, (*left_out(frame), *no_interval(frame)), label, "lp{3.2cm}rlllrll")


def steps(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """The companion of Table 1: every step with the token generated."""
    cells = {
        "Query": frame["query_id"] + " " + frame["query_type"],
        "Step": frame["step"].map(shown),
        "Token (share)": by_row(frame, lambda row: joined(row["token"], shown(row["token_share"]))),
        "Answer here": frame["answer_share"].map(shown),
        "n": frame["n"].map(shown),
        "Mean entropy": intervals(frame, "entropy_mean"),
        "Min. entropy": intervals(frame, "entropy_min"),
        "Layer of min.": frame["layer_of_min"].map(shown),
    }
    caption = (
        f"{run}, step by step: {measured(frame)}, heads pooled by {values(frame, 'pooling')}. "
        "Token: the most frequent one at this step, with its share of samples; answer here: share of samples whose "
        "answer begins at this step. Mean and minimum over layers of one image, averaged over images. "
        f"Brackets: {percent(confidence)} BCa bootstrap intervals over images. n: images that reach the step."
    )
    return Printed(pd.DataFrame(cells), caption, no_interval(frame), label, "lrlrrllr", long=True)


def ablation(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """The ablation: pooling heads by maximum against by mean."""
    cells = {
        "Query": frame["query_id"] + " " + frame["query_type"],
        "n": frame["n"].map(shown),
        "Max over heads": intervals(frame, "entropy_max_pool"),
        "Mean over heads": intervals(frame, "entropy_mean_pool"),
        "Difference, max − mean": intervals(frame, "difference", DECIMALS),
    }
    caption = (
        f"{run}, pooling of heads: {measured(frame)}, mean over layers, at {at_step(frame)}. "
        f"Brackets: {percent(confidence)} BCa bootstrap intervals over images, of the paired difference too. "
        "n: images used."
    )
    return Printed(pd.DataFrame(cells), caption, no_interval(frame), label, "lrlll")


def contrasts(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """Every declared contrast with its verdict."""
    cells = {
        "Family": frame["family"],
        "Contrast": by_row(frame, lambda row: f"{row['arm_first']} − {row['arm_second']}"),
        "Measure": frame["measure"],
        "n": by_row(frame, arm_sizes),
        "Means": by_row(frame, lambda row: f"{shown(row['mean_first'])}, {shown(row['mean_second'])}"),
        "Difference": plain_intervals(frame),
        "q difference": frame["q_difference"].map(shown_p),
        "q equivalence": frame["q_equivalence"].map(shown_p),
        "Effect": frame["effect_size"].map(shown),
        "Verdict": by_row(frame, lambda row: joined(f"{row['verdict']} {row['sign']}".strip(), row["verdict_note"])),
    }
    caption = (
        f"{run}, declared contrasts. Differences of means over images at the selected step, heads pooled as in Table "
        f"1; brackets: {percent(confidence)} BCa bootstrap intervals. q: Benjamini–Hochberg within the family, of the "
        "permutation test of a difference and of two one-sided tests of equivalence within the margin declared "
        "beforehand. Effect: d_z of paired contrasts, Hedges g of unpaired ones. moved: a difference; equivalent: none "
        "larger than the margin; undecided: neither was shown."
    )
    return Printed(pd.DataFrame(cells), caption, left_out_images(frame), label, "lp{3.4cm}lrllrrrp{2.6cm}")


def claims(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """What the original study claimed, held against this run."""
    cells = {
        "Claim": frame["claim"],
        "In the original": frame["original"],
        "This run": plain_intervals(frame),
        "n": by_row(frame, arm_sizes),
        "q": frame["q_difference"].map(shown_p),
        "Reading": by_row(frame, lambda row: joined(row["reading"] or row["verdict"], row["verdict_note"])),
    }
    caption = (
        f"Claims of the original study, held against another model: {run}. This run: the difference that the claim is "
        f"about, with its {percent(confidence)} interval (a share of images against chance for the layer of the "
        "minimum). What holds or fails here is a statement about this model, not about the one of the original."
    )
    return Printed(pd.DataFrame(cells), caption, (), label, "p{4.2cm}p{3cm}lrrp{2.6cm}")


def validation(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """How often each test rejects where it should not, in simulated datasets."""
    cells = {
        "Contrast": frame["contrast"],
        "Test": frame["test"],
        "Data": frame["world"],
        "Effect": frame["effect"].map(shown),
        "Rejected": by_row(frame, lambda row: f"{row['rejections']} of {row['datasets']}"),
        "Share": frame["size"].map(lambda value: shown(value, DECIMALS)),
        "Passes": frame["passes"],
    }
    caption = (
        f"{run}, validation of the verdicts: datasets of each contrast's own n and standard deviation, Gaussian or "
        "drawn from its own centred values; tests of a difference at no effect, of equivalence at an effect as large "
        "as the margin. The share should be the level of the tests; the gate is a one-sided exact binomial test."
    )
    return Printed(pd.DataFrame(cells), caption, (), label, "lllrrrl", long=True)


def conditions(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """What the model answers under each control condition, and how far its maps move."""
    measure = ", ".join(MEASURES.get(name, name) for name in dict.fromkeys(frame["measure"])) or MISSING
    cells = {
        "Query": frame["query_id"] + " " + frame["query_type"],
        "Condition": frame["condition"].str.replace("_", " "),
        "Samples": frame["samples"].map(shown),
        "Answer found": frame["found"].map(shown),
        "Accuracy": intervals(frame, "accuracy"),
        "Same answer": intervals(frame, "same_answer"),
        "n": frame["n"].map(shown),
        "Entropy": intervals(frame, "entropy"),
        "JS divergence": intervals(frame, "js_divergence", DECIMALS),
    }
    caption = (
        f"{run}, control conditions, none of which is in any other number of the study. blank: the image's background "
        "alone; other image: the same text asked of other images; generic: a general question, at its first step; "
        "paraphrase: another wording; twin: the targets painted over; control twin: as many others painted over. "
        "Same answer: share of images whose answer is that of the unchanged sample. "
        f"Entropy: {measure} of the map; JS divergence (nats): from the unchanged sample's map; both means over "
        f"layers. Brackets: {percent(confidence)} intervals over images, Wilson for proportions, BCa bootstrap for "
        "means. n: images with a map. A dash: no right answer is known there."
    )
    return Printed(pd.DataFrame(cells), caption, no_interval(frame), label, "llrrllrll", long=True)


def clusters(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """Where in the plane of layers and steps the arms of a contrast differ."""
    found = frame[frame["cluster"] > 0]
    cells = {
        "Contrast": found["contrast"].str.replace("_", " "),
        "Cluster": found["cluster"].map(shown),
        "Layers": found["layers"],
        "Steps": found["steps"],
        "Cells": found["cells"].map(shown),
        "Mass": found["mass"].map(shown),
        "p": found["p"].map(shown_p),
        "n": found["n"].map(shown),
    }
    caption = (
        f"{run}, clusters of neighbouring layers and steps at which the arms of a contrast differ in entropy; steps "
        "are counted from the first token of the answer. Mass: sum of t over the cluster, with the sign of first minus "
        "second; p: sign flips of whole images against the largest cluster of the plane, so corrected for all of it. "
        "A small p says that the arms differ somewhere, not that the cluster ends where it is drawn."
    )
    return Printed(pd.DataFrame(cells), caption, without_clusters(frame), label, "lrllrrrr")


def without_clusters(frame: pd.DataFrame) -> tuple[str, ...]:
    """The contrasts without a cluster, and why."""
    told = [f"{row['contrast']}: {row['note']}" for row in frame[frame["cluster"] == 0].to_dict("records")]
    return (f"No cluster: {'; '.join(told)}.",) if told else ()


def shortcut(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """The three legs of the shortcut verdict of each query type."""
    cells = {
        "Query type": frame["query_type"],
        "Answers above chance": by_row(frame, lambda row: joined(row["chance_state"], row["chance_reason"])),
        **{title: by_row(frame, partial(leg, name=name)) for name, title in LEGS.items()},
        "Verdict": frame["verdict"],
    }
    caption = (
        f"{run}, shortcuts: a verdict needs three legs. Above chance: the worst query of the type against its best "
        "constant answer (exact binomial). Attention: ln enrichment on the target of the image's own maps minus that "
        "of other images asked the same. Cause: change of the log-probability of the answer (nats), target removed "
        "minus random regions of its size removed. Both hold where the difference is equivalent to 0; brackets: "
        f"{percent(confidence)} BCa bootstrap intervals over n images. Without a leg there is no verdict."
    )
    return Printed(pd.DataFrame(cells), caption, (), label, "lp{3.6cm}p{3.8cm}p{3.8cm}l")


LEGS = {"attention": "Attention the same in other images", "cause": "Answer the same without the target"}


def leg(row: dict[str, Any], name: str) -> str:
    """A leg that rests on a contrast: its state, difference, interval, n, and reason."""
    interval = shown_interval(row[f"{name}_low"], row[f"{name}_high"], DECIMALS)
    difference = f"{shown(row[f'{name}_difference'], DECIMALS)} {interval}, n = {row[f'n_{name}']}"
    numbers = difference if pd.notna(row[f"{name}_difference"]) else ""
    return joined(row[f"{name}_state"], "; ".join(filter(None, (numbers, row[f"{name}_reason"]))))


def grounding(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """Scores of the maps against their targets, beside the baselines."""
    frame = frame[frame["score"].isin(PRINTED_SCORES)]
    baselines = ("position_mean", "other_image", "random_weights", "gaussian", "uniform")
    made = [name for name in CORRECTIONS if frame[name].notna().any()]
    cells = {
        "Query": frame["query_id"] + " " + frame["query_type"],
        "Score": frame["score"].str.replace("_", " "),
        "n": frame["n"].map(shown),
        **{name.replace("_", " ").capitalize(): intervals(frame, name) for name in ("raw", *made)},
        **{
            name.replace("_", " ").capitalize(): frame[name].map(shown)
            for name in baselines
            if frame[name].notna().any()
        },
        "Attainable": frame["attainable"].map(shown),
        "Above nearest baseline": by_row(frame, above_nearest),
    }
    caption = (
        f"{run}, agreement of maps with their targets at {at_step(frame)}, heads pooled by {values(frame, 'pooling')}, "
        f"mean over layers. Brackets: {percent(confidence)} BCa bootstrap intervals over images. Corrections: "
        f"{', '.join(CORRECTIONS[name] for name in made) or 'none'}. Baselines on the same samples: the mean map of "
        "other images, the map that the same text draws on other images, a model with random weights, a centred "
        "Gaussian, and a map without information. Attainable: the best IoU on this grid. Above nearest baseline: the "
        "paired difference of the raw map to the baseline that it is least surely above."
    )
    format = "llr" + "l" * (len(cells) - 3)
    return Printed(pd.DataFrame(cells), caption, no_interval(frame), label, format, long=True)


def above_nearest(row: dict[str, Any]) -> str:
    """The paired difference to the nearest baseline, with its interval and name."""
    ends = shown_interval(row["above_nearest_low"], row["above_nearest_high"])
    value = f"{shown(row['above_nearest'])} {ends}".removesuffix(f" {MISSING}")
    return joined(value, row["nearest_baseline"].replace("_", " "))


def heads(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """How well the heads that each method chose localise, on images that they were not chosen on."""
    cells = {
        "Method": frame["method"],
        "Heads": frame["heads"].replace("-", MISSING),
        "Number": frame["number"].map(shown),
        "n": frame["n"].map(shown),
        "AUROC": intervals(frame, "auroc"),
        "On select": frame["select_auroc"].map(shown),
        "Random sets": by_row(frame, lambda row: shown_interval(row["random_low"], row["random_high"])),
        "p": frame["p"].map(shown_p),
        "Over all heads together": intervals(frame, "difference", DECIMALS),
        "Over Gaussian": intervals(frame, "over_gaussian", DECIMALS),
    }
    chosen_on = values(frame.astype({"n_select": str}), "n_select")
    caption = (
        f"{run}, heads that localise. Heads and layers were chosen on {chosen_on} images of the "
        "split select, by AUROC against the target, so boxes were used (LocalizationHeads: by vision mass and spatial "
        "entropy, without boxes), and evaluated on the n images of the split evaluate; on select: the same maps on the "
        "images that they were chosen on. A method's map is the mean attention of its heads; all heads, max and mean: "
        "pooled within each layer, AUROC averaged over layers; all heads together: one map of every layer. Random "
        "heads: the mean of sets of as many heads as were selected, drawn from all heads; random sets: where "
        f"{percent(confidence)} of the sets' mean AUROC lie; p: share of the sets, the selected one among them, that "
        f"are at least as good. Differences are paired by image. Brackets: {percent(confidence)} BCa bootstrap "
        "intervals over images. 0.5 is chance."
    )
    return Printed(pd.DataFrame(cells), caption, method_notes(frame), label, "lp{2.2cm}rrlrlrll")


def method_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    """Why methods have no heads or no interval, and what they leave out: each note with its methods."""
    noted = frame[frame["note"] != ""]
    told = [f"{', '.join(rows['method'])}: {note}" for note, rows in noted.groupby("note", sort=False)]
    return (f"Notes: {'; '.join(told)}.",) if told else ()


def causal(frame: pd.DataFrame, run: str, label: str, confidence: str) -> Printed:
    """Every causal check by type of query, held against its control, with its verdict."""
    cells = {
        "Query type": frame["query_type"],
        "Check": frame["check"],
        "n": frame["n"].map(shown),
        "Left out": frame["left_out"].map(shown),
        "Mean": frame["first"].map(shown),
        "Control": frame["second"].map(shown),
        "Difference": plain_intervals(frame),
        "q difference": frame["q_difference"].map(shown_p),
        "q equivalence": frame["q_equivalence"].map(shown_p),
        "Verdict": by_row(frame, lambda row: joined(signed(row), row["verdict_note"])),
    }
    checks = frame.groupby("quantity", sort=False)["check"].unique()
    meanings = "; ".join(f"{', '.join(names)}: {quantity}" for quantity, names in checks.items())
    caption = (
        f"{run}, causal checks: Δ log p is the log-probability of the answer, teacher-forced, under a change of image "
        f"or attention minus that without; negative: the change hurts. {meanings or 'No check was made'}. Without a "
        f"control the difference is that from 0. Brackets: {percent(confidence)} BCa bootstrap intervals over images. "
        "q: Benjamini–Hochberg over all rows, of the permutation test of a difference and of two one-sided tests of "
        "equivalence within the margin declared beforehand. n: images used; left out: samples without a value."
    )
    return Printed(pd.DataFrame(cells), caption, causal_notes(frame), label, "lp{2.6cm}rrrrlrrp{2.4cm}", long=True)


def signed(row: dict[str, Any]) -> str:
    """The verdict of a row, with the sign of the difference where it moved."""
    return f"moved {'+' if row['difference'] > 0 else '-'}" if row["verdict"] == "moved" else row["verdict"]


def causal_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    """What checks leave out and why they are not tested: each note with the rows that it holds for."""
    noted = frame[frame["note"] != ""]
    told = [
        f"{', '.join(rows['query_type'] + ' ' + rows['check'])}: {note}"
        for note, rows in noted.groupby("note", sort=False)
    ]
    return (f"Notes: {'; '.join(told)}.",) if told else ()


PRINTED_SCORES = ("auroc", "average_precision", "enrichment", "iou_area_matched", "pointing_tolerant")
CORRECTIONS = {
    "without_sinks": "without cells that take weight in other images too (sinks)",
    "without_massive": "without cells that carry massive activations (as raw where the model has none)",
    "relative": "relative to a generic query's map",
    "value_weighted": "weighted by the norm of the projected values",
}


def plain_intervals(frame: pd.DataFrame) -> list[str]:
    """The difference of each contrast with its interval."""
    ends = zip(frame["difference"], frame["low"], frame["high"], strict=True)
    return [
        f"{shown(value, DECIMALS)} {shown_interval(low, high, DECIMALS)}".removesuffix(f" {MISSING}")
        for value, low, high in ends
    ]


def arm_sizes(row: dict[str, Any]) -> str:
    """The images of both arms: one number where they are the same."""
    first, second = row["n_first"], row["n_second"]
    return shown(first) if first == second else f"{shown(first)}, {shown(second)}"


def shown_p(value: float) -> str:
    """A p or q value as readers see it."""
    least = 10.0**-P_DECIMALS
    return f"<{least:.{P_DECIMALS}f}" if value < least else shown(float(value), P_DECIMALS)


def left_out_images(frame: pd.DataFrame) -> tuple[str, ...]:
    """What contrasts leave out or why they are not tested, by contrast."""
    told = [f"{row['name']}: {row['note']}" for row in frame.to_dict("records") if row["note"]]
    return (f"Notes: {'; '.join(told)}.",) if told else ()


PRINTERS: dict[str, Callable[[pd.DataFrame, str, str, str], Printed]] = {
    "table1": table1,
    "steps": steps,
    "ablation": ablation,
    "contrasts": contrasts,
    "claims": claims,
    "validation": validation,
    "conditions": conditions,
    "clusters": clusters,
    "shortcut": shortcut,
    "grounding": grounding,
    "heads": heads,
    "causal": causal,
}


def shown(value: Any, decimals: int = SHOWN_DECIMALS) -> str:
    """A value as readers see it: integers as they are, numbers with fixed decimals, a dash where there is none."""
    if pd.isna(value):
        return MISSING
    if isinstance(value, float):
        return f"{round(value, decimals) + 0.0:.{decimals}f}"
    return str(value)


def shown_interval(low: float, high: float, decimals: int = SHOWN_DECIMALS) -> str:
    """Both ends in brackets; a dash where there is no interval."""
    return MISSING if pd.isna(low) or pd.isna(high) else f"[{shown(low, decimals)}, {shown(high, decimals)}]"


def intervals(frame: pd.DataFrame, name: str, decimals: int = SHOWN_DECIMALS) -> list[str]:
    """A quantity with its interval, "3.12 [3.05, 3.20]", per row; without brackets where there is no interval."""
    ends = zip(frame[name], *(frame[f"{name}{limit}"] for limit in CONFIDENCE_LIMITS), strict=True)
    return [
        f"{shown(value, decimals)} {shown_interval(low, high, decimals)}".removesuffix(f" {MISSING}")
        for value, low, high in ends
    ]


def by_row(frame: pd.DataFrame, text: Callable[[dict[str, Any]], str]) -> list[str]:
    """A text made of several cells, per row."""
    return [text(row) for row in frame.to_dict("records")]


def joined(value: Any, detail: str) -> str:
    """A value with a detail in parentheses; either may be missing."""
    return f"{shown(value)} ({detail})" if detail not in ("", MISSING) else shown(value)


def values(frame: pd.DataFrame, column: str) -> str:
    """What a column holds, each value once."""
    return ", ".join(dict.fromkeys(frame[column])) or MISSING


def measured(frame: pd.DataFrame) -> str:
    """What is measured, with its unit, and its maximum where the run has one token grid."""
    names = ", ".join(MEASURES.get(name, name) for name in dict.fromkeys(frame["measure"])) or MISSING
    cells = [int(count) for count in frame.get("num_cells", pd.Series(dtype="Int64")).dropna().unique() if count > 1]
    if len(cells) == 1 and set(frame["measure"]) == {"entropy"}:
        return f"{names} of attention over {cells[0]} vision tokens, at most ln {cells[0]} = {math.log(cells[0]):.2f}"
    return f"{names} of attention over vision tokens"


def at_step(frame: pd.DataFrame) -> str:
    """The step that a table is about."""
    return ", ".join(SELECTORS.get(name, name) for name in dict.fromkeys(frame["selector"])) or MISSING


def left_out(frame: pd.DataFrame) -> tuple[str, ...]:
    """What the statistics leave out, by query."""
    told = []
    for row in frame.to_dict("records"):
        parts = [f"{row[name]} {reason}" for name, reason in LEFT_OUT.items() if pd.notna(row[name]) and row[name] > 0]
        told += [f"{row['query_id']}: {', '.join(parts)}"] if parts else []
    return (f"Left out: {'; '.join(told)}.",) if told else ("Left out: nothing.",)


def no_interval(frame: pd.DataFrame) -> tuple[str, ...]:
    """Why intervals are missing: each reason with the queries it holds for."""
    noted = frame[frame["interval_note"] != ""]
    reasons = [f"{', '.join(dict.fromkeys(rows['query_id']))}: {note}" for note, rows in noted.groupby("interval_note")]
    return (f"No interval: {'; '.join(reasons)}.",) if reasons else ()


def as_markdown(table: Printed) -> str:
    """A table as Markdown: caption, pipe table, remarks."""
    rows = [list(table.cells.columns), *table.cells.values.tolist()]
    lines = [f"| {' | '.join(markdown_text(cell) for cell in row)} |" for row in rows]
    lines.insert(1, f"|{' --- |' * len(table.cells.columns)}")
    caption, *remarks = (markdown_text(text) for text in (table.caption, *table.remarks))
    return "\n\n".join([caption, "\n".join(lines), *remarks]) + "\n"


def as_latex(table: Printed) -> str:
    """A table as LaTeX with booktabs rules: a float over both columns, or a longtable over pages."""
    escaped = table.cells.rename(columns=latex_text).map(latex_text)
    first = escaped.columns[0]
    # After the end of a row, LaTeX takes a bracket or a star for an option of it.
    escaped[first] = escaped[first].astype(str).str.replace(r"^(?=[\[*])", "{}", regex=True)
    text = escaped.style.hide(axis="index").to_latex(
        hrules=True,
        caption=latex_text(" ".join((table.caption, *table.remarks))),
        label=re.sub(r"[^A-Za-z0-9:.-]", "-", table.label),
        column_format=table.column_format,
        environment="longtable" if table.long else "table*",
        position=None if table.long else "t",
        position_float=None if table.long else "centering",
    )
    small = "\\scriptsize\\setlength{\\tabcolsep}{3pt}"
    note = latex_note(text)
    if table.long:
        return f"% Needs the packages booktabs and longtable.\n{note}\\begingroup{small}\n{text}\\endgroup\n"
    return f"% Needs the package booktabs.\n{note}" + text.replace("\\centering\n", f"\\centering{small}\n", 1)
