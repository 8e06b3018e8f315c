"""findings.md: a run's results in sentences, each with its number, interval, n and verdict; made from the tables alone.

The wording follows the evidence: a map "attends to" something; that a model "uses" it needs the causal checks' yes.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from attention_atlas.paper.catalogue import FINDINGS_TABLES
from attention_atlas.paper.columns import MEASURES, SELECTORS, read_published
from attention_atlas.paper.tables import shown, shown_interval, shown_p, signed

UNITS = {"entropy": " nats", "auroc": "", "ln_enrichment": "", "js_excess": " nats", "centre_excess": " cells"}
NAMES = {
    **{"entropy": "entropy", "auroc": "AUROC", "ln_enrichment": "ln enrichment"},
    **{"js_excess": "Jensen–Shannon divergence", "centre_excess": "centre shift"},
}


def write_findings(output: Path, folder: Path) -> None:
    """Write the findings of one run from its published tables, results/paper/tables/<study>/<model>/."""
    tables = {name: read_published(folder / f"{name}.csv", name) for name in FINDINGS_TABLES}
    support = tables["causal_support"].set_index("query_type")["uses"]
    study, model = folder.parent.name, folder.name
    parts = [
        [f"# Findings: study {study} asked of model {model}"],
        [
            f"Every sentence is about the model {model} on this study, and made from its tables. Brackets are 95 % "
            "intervals over images; n counts images. Attention says where a model looks. Whether that matters for its "
            "answer is another question: the section on it tells what changes of image and attention did, and no other "
            "sentence goes beyond that."
        ],
        ["## Answers and entropy", *bullets(query_sentences(tables["table1"]))],
        ["## Claims of the original study", *bullets(claim_sentences(tables["contrasts"]))],
        [
            "## Other contrasts",
            *bullets(chain(contrast_sentences(tables["contrasts"]), cluster_sentences(tables["clusters"]))),
        ],
        ["## Where the maps lie", *bullets(grounding_sentences(tables["grounding"], support))],
        ["## Heads that localise", *bullets(head_sentences(tables["heads"]))],
        ["## Under control conditions", *bullets(condition_sentences(tables["conditions"]))],
        [
            "## Does it matter for the answer",
            *bullets(chain(support_sentences(tables["causal_support"]), causal_sentences(tables["causal"]))),
        ],
        ["## Shortcuts", *bullets(shortcut_sentences(tables["shortcut"]))],
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


def cluster_sentences(clusters: pd.DataFrame) -> Iterator[str]:
    """Where in the plane of layers and steps each contrast has clusters, or that it has none."""
    for name, rows in clusters.groupby("contrast", sort=False):
        subject = f"On the plane of layers and steps, {name}"
        if (rows["cluster"] == 0).all():
            yield f"{subject}: **no cluster** ({'; '.join(rows['note'])})."
            continue
        told = [
            f"layer {row['layers']}, step {row['steps']} ({'higher' if row['mass'] > 0 else 'lower'} in the first arm, "
            f"p = {shown_p(row['p'])})"
            for row in rows.to_dict("records")
        ]
        n = rows["n"].iloc[0]
        yield f"{subject}, steps counted from the answer's first token, n = {n}: clusters at {'; '.join(told)}."


def shortcut_sentences(shortcut: pd.DataFrame) -> Iterator[str]:
    """The verdict on each query type, with its three legs."""
    for row in shortcut.to_dict("records"):
        legs = "; ".join(leg_text(row, name, title) for name, title in LEGS.items())
        yield f"**{row['query_type']}**: **{row['verdict']}**. {legs}."


LEGS = {
    "chance": "Answers above chance",
    "attention": "attention on the target the same in other images",
    "cause": "answer the same without the target",
}


def leg_text(row: dict, name: str, title: str) -> str:
    """One leg: its state, what it rests on, and the reason."""
    parts = [row[f"{name}_reason"]]
    if pd.notna(row.get(f"{name}_difference", np.nan)):
        unit = " nats" if name == "cause" else ""
        interval = shown_interval(row[f"{name}_low"], row[f"{name}_high"], 3)
        parts = [f"difference {shown(row[f'{name}_difference'], 3)}{unit} {interval}, n = {row[f'n_{name}']}", *parts]
    detail = "; ".join(filter(None, parts))
    return f"{title}: {row[f'{name}_state']}" + (f" ({detail})" if detail else "")


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
    return f"{arms}: {shown(row['difference'], 3)}{unit} {interval}, {n}, {corrected_p(row)};"


def corrected_p(row: dict) -> str:
    """The corrected p values of a difference and of equivalence, where it has a margin."""
    p = f"q = {shown_p(row['q_difference'])} for a difference"
    if pd.notna(row["q_equivalence"]):
        p += f", {shown_p(row['q_equivalence'])} for equivalence within ±{row['margin']:g}"
    return p


def why(row: dict) -> str:
    """The note of a verdict, in parentheses."""
    return f" ({row['verdict_note']})" if row["verdict_note"] else ""


def grounding_sentences(grounding: pd.DataFrame, support: pd.Series) -> Iterator[str]:
    """How well the maps of each query find their target, beside the baselines; `support`: query type -> uses."""
    for row in grounding[grounding["score"] == "auroc"].to_dict("records"):
        above = row["above_nearest_low"] > 0
        relation = "attends to its target above every baseline" if above else "is not above every baseline"
        supported = SUPPORTED[above].get(support.get(row["query_type"], ""), "")
        corrected = [
            f"{shown(row[name])} {shown_interval(row[f'{name}_low'], row[f'{name}_high'])} {text}"
            for name, text in CORRECTED.items()
            if pd.notna(row[name])
        ]
        beside = [f"{text} {shown(row[name])}" for name, text in BASELINES.items() if pd.notna(row[name])]
        nearest = BASELINES.get(row["nearest_baseline"], "no baseline")
        yield (
            f"**{row['query_id']}** ({row['query_type']}) {relation}{supported}: AUROC {', '.join(corrected)}, "
            f"n = {row['n']}; {', '.join(beside)}. The nearest is the {nearest}: {shown(row['above_nearest'], 3)} "
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


SUPPORTED = {
    True: {"yes": ", and answers of its type use it", "no": ", but no use of it was found"},
    False: {"yes": ", though answers of its type use the target", "no": ", and no use of the target was found"},
}


def head_sentences(heads: pd.DataFrame) -> Iterator[str]:
    """How well the heads of each method localise on images that they were not chosen on."""
    for row in heads.to_dict("records"):
        named = f"**{row['method'][0].upper()}{row['method'][1:]}**"
        named += f" ({row['heads']})" if row["heads"] not in ("", "-") else ""
        if pd.isna(row["auroc"]):
            yield f"{named}: not evaluated ({row['note']})."
            continue
        against = [f"AUROC {with_interval(row, 'auroc')} on n = {row['n']} images of the split evaluate"]
        if pd.notna(row["random_low"]):
            against.append(f"sets of as many random heads {shown_interval(row['random_low'], row['random_high'])}")
        if pd.notna(row["p"]):
            against.append(f"p = {shown_p(row['p'])} that such a set is as good as the selected heads")
        if pd.notna(row["difference"]):
            ends = shown_interval(row["difference_low"], row["difference_high"], 3)
            against.append(f"{shown(row['difference'], 3)} {ends} above the max over all heads, image by image")
        yield f"{named}: {'; '.join(against)}."


def condition_sentences(conditions: pd.DataFrame) -> Iterator[str]:
    """Accuracy under each condition that has right answers, else how often the answer stays the same."""
    for condition, rows in conditions.groupby("condition", sort=False):
        name = "accuracy" if rows["accuracy"].notna().any() else "same_answer"
        told = rows[rows[name].notna()]
        if told.empty:
            continue
        parts = [f"{row['query_id']} {with_interval(row, name)}, n = {row['n']}" for row in told.to_dict("records")]
        said = "accuracy" if name == "accuracy" else "share of images whose answer stays the same"
        yield f"**{str(condition).replace('_', ' ').capitalize()}**, {said}: {'; '.join(parts)}."


def support_sentences(support: pd.DataFrame) -> Iterator[str]:
    """Whether the answers of each type of query use their target."""
    for row in support.to_dict("records"):
        yield f"**{row['query_type']}**: {USES[row['uses']]} ({row['why']})."


USES = {
    "yes": "the answer uses the target: knocking out its cells and painting it over both lower log p by more than "
    "their random controls do",
    "no": "no use of the target was found: neither knocking out its cells nor painting it over differs from its random "
    "control by more than the margin",
    "undecided": "whether the target matters for the answer is undecided",
    "not tested": "whether the target matters for the answer is not tested",
}


def causal_sentences(causal: pd.DataFrame) -> Iterator[str]:
    """Each causal check of each type of query."""
    for row in causal.to_dict("records"):
        named = f"{row['query_type']}, {row['check']}: {row['quantity']}"
        left_out = f" ({row['left_out']} sample(s) left out)" if row["left_out"] else ""
        if pd.isna(row["p_difference"]):
            yield f"{named}: not tested, n = {row['n']}{left_out}; **{row['verdict']}**{why(row)}."
            continue
        yield (
            f"{named}: {shown(row['difference'], 3)} {shown_interval(row['low'], row['high'], 3)}, n = {row['n']}"
            f"{left_out}, {corrected_p(row)}; **{signed(row)}**{why(row)}."
        )


def validation_sentences(validation: pd.DataFrame) -> Iterator[str]:
    """The largest simulated error of each kind of test."""
    for (test, world), rows in validation.groupby(["test", "world"], sort=True):
        worst = rows.loc[rows["size"].idxmax()]
        passed = "every test passes the gate" if (rows["passes"] == "yes").all() else "not every test passes the gate"
        yield (
            f"Tests of {test}, {world} data: the largest share of false alarms in {int(worst['datasets'])} simulated "
            f"datasets of this study's size and spread is {worst['size']:.3f} ({worst['contrast']}); {passed}."
        )
