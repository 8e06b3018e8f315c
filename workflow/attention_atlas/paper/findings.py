"""findings.md: a run's results in sentences, each with its number, interval, n and verdict; made from the tables alone.

The wording follows the evidence: a map "attends to" something; that a model "uses" it needs the causal checks' yes.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from attention_atlas.files import write_text
from attention_atlas.paper.catalogue import FINDINGS_TABLES
from attention_atlas.paper.columns import MEASURES, SELECTORS, TEXT, read_published
from attention_atlas.paper.tables import MISSING, SHOWN_DECIMALS, shown, shown_interval, shown_p, signed
from attention_atlas.paper.texts import markdown_words, percent

UNITS = {
    **{"entropy": " nats", "entropy_normalised": "", "auroc": "", "ln_enrichment": ""},
    **{"js_excess": " nats", "centre_excess": " cells"},
}
NAMES = {
    **{"entropy": "entropy", "entropy_normalised": MEASURES["entropy_normalised"], "auroc": "AUROC"},
    **{"ln_enrichment": "ln enrichment", "js_excess": "Jensen–Shannon divergence", "centre_excess": "centre shift"},
}


def write_findings(output: Path, folder: Path, confidence: float) -> None:
    """Write the findings of one run from its published tables, results/paper/tables/<study>/<model>/.

    `confidence` is the level of the intervals.
    """
    level = percent(confidence)
    tables = {name: literal(read_published(folder / f"{name}.csv", name)) for name in FINDINGS_TABLES}
    support = tables["causal_support"].set_index("query_type")["uses"]
    study, model = markdown_words(folder.parent.name), markdown_words(folder.name)
    parts = [
        [f"# Findings: study {study} asked of model {model}"],
        [
            f"Every sentence is about the model {model} on this study, and made from its tables. Brackets are {level} "
            "intervals over images (no interval: too few images, or all values equal); n counts images. Attention says "
            "where a model looks. Whether that matters for its answer is another question: the section on it tells "
            "what changes of image and attention did, and no other sentence goes beyond that."
        ],
        [
            *("## Answers and entropy", "", shown_map(tables["table1"])),
            *bullets("answers", query_sentences(tables["table1"])),
        ],
        ["## Claims of the original study", *bullets("claims", claim_sentences(tables["contrasts"]))],
        [
            "## Other contrasts",
            *bullets(
                "contrasts", chain(contrast_sentences(tables["contrasts"]), cluster_sentences(tables["clusters"]))
            ),
        ],
        ["## Where the maps lie", *bullets("grounding", grounding_sentences(tables["grounding"], support))],
        ["## Heads that localise", *bullets("heads", head_sentences(tables["heads"], level))],
        ["## Under control conditions", *bullets("conditions", condition_sentences(tables["conditions"]))],
        [
            "## Does it matter for the answer",
            *["", CAUSAL_LEGEND],
            *bullets("causal", causal_sentences(tables["causal_support"], tables["causal"])),
        ],
        ["## Shortcuts", *bullets("shortcut", shortcut_sentences(tables["shortcut"]))],
        ["## How far the verdicts can be trusted", *bullets("validation", validation_sentences(tables))],
    ]
    write_text(output, "\n\n".join("\n".join(part) for part in parts) + "\n")


# Texts of the project itself, by which sentences are chosen; all others may hold what a user wrote.
KEYS = frozenset(
    [
        *("selector", "pooling", "measure", "score", "kind", "verdict", "reading", "nearest_baseline", "uses", "sign"),
        *("check", "test", "world", "passes", "chance_state", "attention_state", "cause_state"),
        *("entropy_band", "layer_band", "method", "condition"),
    ]
)


def literal(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts Markdown shows as they are: escaped once, here, whatever sentence they come into."""
    return table.assign(**{name: table[name].map(markdown_words) for name in table if name in TEXT - KEYS})


def bullets(part: str, sentences: Iterator[str]) -> list[str]:
    """Sentences as a list, or why there are none."""
    lines = [f"- {text}" for text in sentences]
    return ["", *(lines or [WITHOUT[part]])]


WITHOUT = {
    "answers": "No query was asked.",
    "claims": "No declared contrast is about a claim (settings: contrasts).",
    "contrasts": "No contrast is declared beside those above (settings: contrasts).",
    "grounding": "No map was scored: no sample has both a target and a map at the selected step.",
    "heads": "No head was evaluated: no sample has both a target and a map at the selected step.",
    "conditions": (
        "No answer under a control condition can be compared: no such condition was made (settings: "
        "controls.conditions), or no answer was found in it."
    ),
    "causal": "No type of query was asked.",
    "shortcut": "No type of query is judged: no sample names its target.",
    "validation": (
        "Nothing was validated, since no contrast and no causal check has enough images, or values that differ, to be "
        "tested."
    ),
}


def query_sentences(table1: pd.DataFrame) -> Iterator[str]:
    """Accuracy, entropy and the layer of its minimum of each query."""
    for row in table1.to_dict("records"):
        left_out = [f"{row[name]} {text}" for name, text in LEFT_OUT.items() if row[name]]
        yield (
            f"**{row['query_id']}** ({row['query_type']}; “{row['question']}”): {accuracy_text(row)}; "
            f"{entropy_text(row)}, n = {row['n']} of {row['samples']} samples"
            f"{' (left out: ' + ', '.join(left_out) + ')' if left_out else ''}."
        )


def accuracy_text(row: dict) -> str:
    """The accuracy of a query, or that none is known."""
    if pd.isna(row["accuracy"]):
        return "accuracy not known (no answer is expected, or every sample failed)"
    return f"accuracy {with_interval(row, 'accuracy')}, n = {row['n_accuracy']}"


def entropy_text(row: dict) -> str:
    """The entropy of a query's maps and the layer of its minimum, or that it has no map."""
    measure = MEASURES.get(row["measure"], row["measure"])
    if pd.isna(row["entropy_mean"]):
        return f"{measure} undefined, since no sample has a map that can be described"
    return (
        f"{measure} {with_interval(row, 'entropy_mean')} ({row['entropy_band'] or 'no'} band), lowest at layer "
        f"{shown(row['layer_of_min'])} "
        f"({row['layer_band'] or 'none'}; layer {shown(row['modal_layer'])} in {with_interval(row, 'modal_share')} "
        "of images)"
    )


def shown_map(table1: pd.DataFrame) -> str:
    """Which map the sentences are about."""
    told = {f"at {SELECTORS[row['selector']]}, heads pooled by {row['pooling']}" for row in table1.to_dict("records")}
    return f"Maps are those {', '.join(sorted(told))}; values are means over layers." if told else "No query was asked."


LEFT_OUT = {
    "failed": "failed",
    "no_answer": "without an answer",
    "undefined": "with an undefined map",
    "other_conditions": "of other conditions",
}


PLAIN = ("difference", "low", "high")


def with_interval(row: dict, name: str, decimals: int = SHOWN_DECIMALS) -> str:
    """A value with the interval of the same name."""
    return value_with_interval(row, (name, f"{name}_low", f"{name}_high"), decimals)


def value_with_interval(row: dict, names: Sequence[str], decimals: int = SHOWN_DECIMALS, unit: str = "") -> str:
    """A value with its unit and interval, by their names in a row; without ends it is said that there are none."""
    value, low, high = (row[name] for name in names)
    if pd.isna(value):
        return "undefined"
    interval = shown_interval(low, high, decimals)
    return f"{shown(value, decimals)}{unit} {interval if interval != MISSING else '(no interval)'}"


def claim_sentences(contrasts: pd.DataFrame) -> Iterator[str]:
    """Each claim with what it was in the original and how it reads here."""
    for row in contrasts[contrasts["claim"] != ""].to_dict("records"):
        reading = row["reading"] or row["verdict"]
        claim = f"**{row['claim'][:1].upper()}{row['claim'][1:]}** (original: {row['original']})."
        yield f"{claim} {tested(row)} **{reading}**{why(row, row['note'])}."


def contrast_sentences(contrasts: pd.DataFrame) -> Iterator[str]:
    """Each contrast that is about no claim."""
    for row in contrasts[contrasts["claim"] == ""].to_dict("records"):
        yield f"{tested(row)} **{row['verdict']}**{why(row, row['note'])}."


def cluster_sentences(clusters: pd.DataFrame) -> Iterator[str]:
    """The clusters of each contrast on the plane of layers and steps that pass, or that none does."""
    for name, rows in clusters.groupby("contrast", sort=False):
        subject = f"On the plane of layers and steps, {name}, n = {rows['n'].iloc[0]}"
        if (rows["cluster"] == 0).all():
            yield f"{subject}: **no cluster** ({'; '.join(rows['note'])})."
            continue
        told = [
            f"layer {row['layers']}, step {row['steps']} from the answer "
            f"({'higher' if row['mass'] > 0 else 'lower'} in the first arm, p = {shown_p(row['p'])})"
            for row in rows.head(MOST_CLUSTERS).to_dict("records")
        ]
        more = f"; {len(rows) - len(told)} more in the table" if len(rows) > len(told) else ""
        yield f"{subject}: clusters of the smallest p at {'; '.join(told)}{more}."


MOST_CLUSTERS = 2


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
        difference = value_with_interval(row, [f"{name}_{part}" for part in PLAIN], 3, unit)
        parts = [f"difference {difference}, n = {row[f'n_{name}']}", *parts]
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
    return f"{arms}: {value_with_interval(row, PLAIN, 3, unit)}, {n}, {corrected_p(row)};"


def corrected_p(row: dict) -> str:
    """The corrected p values of a difference and of equivalence, where it has a margin."""
    p = f"q = {shown_p(row['q_difference'])} for a difference"
    if pd.notna(row["q_equivalence"]):
        p += f", {shown_p(row['q_equivalence'])} for equivalence within ±{row['margin']:g}"
    return p


def why(row: dict, *further: str) -> str:
    """The note of a verdict, and what else is to be told, in parentheses."""
    notes = dict.fromkeys(filter(None, (row["verdict_note"], *further)))
    return f" ({'; '.join(notes)})" if notes else ""


def grounding_sentences(grounding: pd.DataFrame, support: pd.Series) -> Iterator[str]:
    """How well the maps of each query find their target, beside the baselines; `support`: query type -> uses."""
    for row in grounding[grounding["score"] == "auroc"].to_dict("records"):
        above = row["above_nearest_low"] > 0
        relation = "attends to its target above every baseline" if above else "is not above every baseline"
        supported = SUPPORTED[above].get(support.get(row["query_type"], ""), "")
        corrected = [f"{text} {shown(row[name])}" for name, text in CORRECTED.items() if pd.notna(row[name])]
        nearest = BASELINES.get(row["nearest_baseline"], "no baseline")
        yield (
            f"**{row['query_id']}** ({row['query_type']}) {relation}{supported}: AUROC {with_interval(row, 'raw')}"
            f"{' (' + ', '.join(corrected) + ')' if corrected else ''}, n = {row['n']}; to the nearest baseline, "
            f"{nearest}, {with_interval(row, 'above_nearest', 3)}, image by image."
        )


CORRECTED = {
    "without_sinks": "without sinks",
    "without_massive": "without massive sinks",
    "relative": "relative",
    "value_weighted": "value-weighted",
}
BASELINES = {
    "other_image": "the same text on other images",
    "random_weights": "random weights",
    "gaussian": "the centred Gaussian",
    "position_mean": "the position mean",
    "uniform": "a uniform map",
}
SUPPORTED = {
    True: {"yes": ", and answers of its type use it", "no": ", but no use of it was found"},
    False: {"yes": ", though answers of its type use the target", "no": ", and no use of the target was found"},
}


def head_sentences(heads: pd.DataFrame, level: str) -> Iterator[str]:
    """How well the chosen heads localise on images that they were not chosen on, and the other methods beside them."""
    rows = {row["method"]: row for row in heads.to_dict("records")}
    told = [evaluated(row, level) for name, row in rows.items() if name not in UNTOLD]
    if told:
        yield f"AUROC against the target on images of the split evaluate: {'; '.join(told)}."


UNTOLD = ("all heads, mean", "Gaussian", "uniform")  # in the table


def evaluated(row: dict, level: str) -> str:
    """A method with its heads, AUROC, n, and what it is held against; why not where it could not be evaluated."""
    named = f"**{row['method']}**" + (f" ({row['heads']})" if row["heads"] not in ("", "-") else "")
    if pd.isna(row["auroc"]):
        return f"{named}: not evaluated ({row['note']})"
    parts = [f"{named} {with_interval(row, 'auroc')}, n = {row['n']}"]
    if pd.notna(row["random_low"]):
        parts.append(f"{level} of the sets {shown_interval(row['random_low'], row['random_high'])}")
    if pd.notna(row["p"]):
        parts.append(f"p = {shown_p(row['p'])} that such a set is as good as the selected heads")
    if pd.notna(row["difference"]):
        parts.append(f"{with_interval(row, 'difference', 3)} to the mean over all heads of every layer")
    return ", ".join(parts)


def condition_sentences(conditions: pd.DataFrame) -> Iterator[str]:
    """The range over queries of accuracy under each condition that has right answers, else of unchanged answers."""
    for condition, rows in conditions.groupby("condition", sort=False):
        name = "accuracy" if rows["accuracy"].notna().any() else "same_answer"
        told = rows[rows[name].notna()].sort_values(name, kind="stable").to_dict("records")
        if not told:
            continue
        ends = [told[0]] if len(told) == 1 else [told[0], told[-1]]
        said = "accuracy" if name == "accuracy" else "share of images whose answer stays the same"
        values = " to ".join(f"{with_interval(row, name)} ({row['query_id']}, n = {row[f'n_{name}']})" for row in ends)
        of = f" over {len(told)} queries" if len(told) > 1 else ""
        yield f"**{markdown_words(str(condition).replace('_', ' ').capitalize())}**: {said} {values}{of}."


def causal_sentences(support: pd.DataFrame, causal: pd.DataFrame) -> Iterator[str]:
    """Whether the answers of each type of query use their target, with the checks that this rests on."""
    for row in support.to_dict("records"):
        own = causal[causal["query_type"] == row["query_type"]].set_index("check", drop=False)
        told = [checked(own.loc[name].to_dict(), text) for name, text in TOLD_CHECKS.items() if name in own.index]
        basis = f": {'; '.join(told)}" if told else f" ({row['why']})"
        yield f"**{row['query_type']}**: {USES[row['uses']]}{basis}."


TOLD_CHECKS = {
    "knockout": "knocking out its vision tokens rather than random ones",
    "counterfactual, random region": "painting it over rather than its shape elsewhere",
    "deletion": "deleting cells in the map's order rather than at random",
    "occlusion": "Spearman's ρ of attention and effect over regions",
}


USES = {
    "yes": "the answer uses the target",
    "no": "no use of the target was found",
    "undecided": "whether the target matters for the answer is undecided",
    "not tested": "whether the target matters for the answer is not tested",
}


CAUSAL_LEGEND = (
    "Changes of the answer's log-probability in nats (for deletion, the area over the share of cells). “Uses” is said "
    "where both knockout and painting over lower it by more than their random controls; all checks are in the table."
)


def checked(row: dict, text: str) -> str:
    """A causal check with its difference, interval, n, corrected p of a difference and verdict."""
    left_out = f" ({row['left_out']} sample(s) left out)" if row["left_out"] else ""
    if pd.isna(row["p_difference"]):
        return f"{text} not tested, n = {row['n']}{left_out}, **{row['verdict']}**{why(row)}"
    return (
        f"{text} {value_with_interval(row, PLAIN)}, n = {row['n']}"
        f"{left_out}, q = {shown_p(row['q_difference'])}, **{signed(row)}**{why(row)}"
    )


def validation_sentences(tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """The largest simulated error of each kind of test, and which tests no verdict may rest on."""
    for name, of in VALIDATED.items():
        for (test, world), rows in tables[name].groupby(["test", "world"], sort=True):
            worst = rows.loc[rows["size"].idxmax()]
            failed = "; ".join(dict.fromkeys(rows.loc[rows["passes"] == "no", "contrast"]))
            passed = f"fails: {failed}" if failed else "every test passes the gate"
            yield (
                f"{of}, tests of {test}, {world} data: a share of at most {worst['size']:.3f} false alarms in "
                f"{int(worst['datasets'])} simulated datasets of this study's size and spread ({worst['contrast']}); "
                f"{passed}."
            )


VALIDATED = {"validation": "Contrasts", "causal_validation": "Causal checks"}
