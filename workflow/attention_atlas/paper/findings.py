"""findings.md: a run's results in sentences, each with its number, interval, n and verdict; made from the tables alone.

The wording follows the evidence: a map "attends to" something; that a model "uses" it would need causal support.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from attention_atlas.paper.columns import MEASURES, SELECTORS, read_published
from attention_atlas.paper.tables import shown, shown_interval, shown_p

UNITS = {"entropy": " nats", "auroc": "", "ln_enrichment": ""}
NAMES = {"entropy": "entropy", "auroc": "AUROC", "ln_enrichment": "ln enrichment"}
TABLES = ("table1", "contrasts", "grounding", "validation")


def write_findings(output: Path, folder: Path) -> None:
    """Write the findings of one run from its published tables, results/paper/tables/<study>/<model>/."""
    tables = {name: read_published(folder / f"{name}.csv", name) for name in TABLES}
    study, model = folder.parent.name, folder.name
    parts = [
        [f"# Findings: study {study} asked of model {model}"],
        [
            f"Every sentence is about the model {model} on this study, and made from its tables. Brackets are 95 % "
            "intervals over images; n counts images. Attention says where a model looks; nothing here says that what "
            "it looks at matters for its answer."
        ],
        ["## Answers and entropy", *bullets(query_sentences(tables["table1"]))],
        ["## Claims of the original study", *bullets(claim_sentences(tables["contrasts"]))],
        ["## Other contrasts", *bullets(contrast_sentences(tables["contrasts"]))],
        ["## Where the maps lie", *bullets(grounding_sentences(tables["grounding"]))],
        ["## How far the verdicts can be trusted", *bullets(validation_sentences(tables["validation"]))],
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n\n".join("\n".join(part) for part in parts) + "\n", encoding="utf-8")


def bullets(sentences: Iterator[str]) -> list[str]:
    """Sentences as a list, or that there are none."""
    lines = [f"- {text}" for text in sentences]
    return ["", *(lines or ["None."])]


def query_sentences(table1: pd.DataFrame) -> Iterator[str]:
    """Accuracy, entropy and the layer of its minimum of each query."""
    for row in table1.to_dict("records"):
        measure = MEASURES.get(row["measure"], row["measure"])
        left_out = [f"{row[name]} {text}" for name, text in LEFT_OUT.items() if row[name]]
        yield (
            f"**{row['query_id']}** ({row['query_type']}; “{row['question']}”): accuracy "
            f"{with_interval(row, 'accuracy')}, n = {row['n_accuracy']}. At {SELECTORS[row['selector']]}, the map "
            f"pooled by {row['pooling']} over heads has {measure} {with_interval(row, 'entropy_mean')} on average over "
            f"layers ({row['entropy_band'] or 'no'} band), n = {row['n']} of {row['samples']} samples"
            f"{' (left out: ' + ', '.join(left_out) + ')' if left_out else ''}; the mean profile is lowest at layer "
            f"{shown(row['layer_of_min'])} ({row['layer_band'] or 'none'}), which is also that of "
            f"{shown(row['modal_share'])} {shown_interval(row['modal_share_low'], row['modal_share_high'])} of images "
            f"(modal layer {shown(row['modal_layer'])})."
        )


LEFT_OUT = {
    "failed": "failed",
    "no_answer": "without an answer",
    "undefined": "with an undefined map",
    "other_conditions": "of other conditions",
}


def with_interval(row: dict, name: str) -> str:
    """A value with its interval; why there is none where there is none."""
    interval = shown_interval(row[f"{name}_low"], row[f"{name}_high"])
    return f"{shown(row[name])} {interval}" if interval != "–" else f"{shown(row[name])} (no interval)"


def claim_sentences(contrasts: pd.DataFrame) -> Iterator[str]:
    """Each claim with what it was in the original and how it reads here."""
    for row in contrasts[contrasts["claim"] != ""].to_dict("records"):
        reading = row["reading"] or row["verdict"]
        yield f"**{row['claim'].capitalize()}** (original: {row['original']}). {tested(row)} **{reading}**{why(row)}."


def contrast_sentences(contrasts: pd.DataFrame) -> Iterator[str]:
    """Each contrast that is about no claim."""
    for row in contrasts[contrasts["claim"] == ""].to_dict("records"):
        yield f"{tested(row)} **{row['verdict']}**{why(row)}."


def tested(row: dict) -> str:
    """A contrast's arms, difference, interval, n and corrected p values."""
    name, unit = NAMES[row["measure"]], UNITS[row["measure"]]
    n = f"n = {row['n_first']}" if row["n_first"] == row["n_second"] else f"n = {row['n_first']} and {row['n_second']}"
    arms = f"{name}, {row['arm_first']} minus {row['arm_second']}"
    if row["kind"] == "share":
        arms, unit = f"{row['arm_first']}, minus {row['arm_second']}", ""
    if pd.isna(row["p_difference"]):
        return f"{arms}: not tested, {n};"
    interval = shown_interval(row["low"], row["high"], 3)
    p = f"q = {shown_p(row['q_difference'])} for a difference"
    if pd.notna(row["q_equivalence"]):
        p += f", {shown_p(row['q_equivalence'])} for equivalence within ±{row['margin']:g}"
    return f"{arms}: {shown(row['difference'], 3)}{unit} {interval}, {n}, {p};"


def why(row: dict) -> str:
    """The note of a verdict, in parentheses."""
    return f" ({row['verdict_note']})" if row["verdict_note"] else ""


def grounding_sentences(grounding: pd.DataFrame) -> Iterator[str]:
    """How well the maps of each query find their target, beside the baselines."""
    for row in grounding[grounding["score"] == "auroc"].to_dict("records"):
        above = row["above_nearest_low"] > 0
        relation = "attends to its target above every baseline" if above else "is not above every baseline"
        corrected = [
            f"{shown(row[name])} {shown_interval(row[f'{name}_low'], row[f'{name}_high'])} {text}"
            for name, text in CORRECTED.items()
            if pd.notna(row[name])
        ]
        beside = [f"{text} {shown(row[name])}" for name, text in BASELINES.items() if pd.notna(row[name])]
        nearest = BASELINES.get(row["nearest_baseline"], "no baseline")
        yield (
            f"**{row['query_id']}** ({row['query_type']}) {relation}: AUROC {', '.join(corrected)}, n = {row['n']}; "
            f"{', '.join(beside)}. The nearest is the {nearest}: {shown(row['above_nearest'], 3)} "
            f"{shown_interval(row['above_nearest_low'], row['above_nearest_high'], 3)} above it, image by image."
        )


CORRECTED = {
    "raw": "raw",
    "without_sinks": "without sinks",
    "without_massive": "without sinks by massive dimensions",
    "relative": "relative to a generic query",
    "value_weighted": "weighted by values",
}
BASELINES = {
    "other_image": "same text on other images",
    "random_weights": "random weights",
    "gaussian": "centred Gaussian",
    "position_mean": "position mean",
    "uniform": "uniform map",
}


def validation_sentences(validation: pd.DataFrame) -> Iterator[str]:
    """The largest simulated error of each kind of test."""
    for (test, world), rows in validation.groupby(["test", "world"], sort=True):
        worst = rows.loc[rows["size"].idxmax()]
        passed = "every test passes the gate" if (rows["passes"] == "yes").all() else "not every test passes the gate"
        yield (
            f"Tests of {test}, {world} data: the largest share of false alarms in {int(worst['datasets'])} simulated "
            f"datasets of this study's size and spread is {worst['size']:.3f} ({worst['contrast']}); {passed}."
        )
