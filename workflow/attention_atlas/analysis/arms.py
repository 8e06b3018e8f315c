"""Arms: which samples a side of a contrast has, and the one number that each of them gives.

A number is the mean over the arm's layers of the entropy of the pooled map, or of a grounding score of it, at the
selected step. An arm of a control condition has its values by the samples that the controls were made of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attention_atlas.analysis import bands, conditions, contrasts, summaries
from attention_atlas.analysis.blocks import blocks
from attention_atlas.analysis.summaries import Run

ARMS = ("first", "second")
SCORES = {"auroc": "auroc", "ln_enrichment": "enrichment"}
# Measures that are distances beyond those to paraphrases, with the distance that each is of.
EXCESSES = {"js_excess": "js_divergence", "centre_excess": "centre_shift"}
TWO_ARMS = ("paired", "unpaired")
# What a sample of one image needs so that a map of it under a condition is there at the selected step.
NEEDS = {
    "blank": "an answer to the question about a blank picture",
    "other_image": "a second image, and an answer about it",
    "paraphrase": "a known wording (controls.paraphrases), and an answer to it",
    "twin": "a target, and an answer about the picture without it",
    "control_twin": "as many other objects on the image as targets, and an answer about the picture without them",
}
Arm = Mapping[str, Any]
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What the contrasts of a run are drawn from: its tables, grounding scores, step maps and condition scores."""

    run: Run
    grounding: pd.DataFrame
    nodes: conditions.Nodes
    conditions: pd.DataFrame


def arm_text(arm: Arm) -> str:
    """An arm in words."""
    parts = [*arm["query_ids"], *arm["query_types"]]
    parts += [f"{arm['layers']} layers"] if arm["layers"] != "all" else []
    parts += [] if arm["correct"] is None else ["right answers" if arm["correct"] else "wrong answers"]
    parts += [arm["condition"].replace("_", " ")] if arm["condition"] else []
    return ", ".join(parts) or "all queries"


def arm_samples(run: Run, arm: Arm) -> pd.Index:
    """The samples of the study that an arm chooses, whatever is known of their maps."""
    names = pd.Index(run.samples["sample_id"])
    return names[arm_rows(run, arm, names)]


def arm_rows(run: Run, arm: Arm, names: pd.Index) -> np.ndarray:
    """Which of samples an arm has."""
    samples = run.samples.set_index("sample_id")
    chosen = np.ones(len(names), dtype=bool)
    for column, wanted in (("query_id", arm["query_ids"]), ("query_type", arm["query_types"])):
        if wanted:
            chosen &= samples[column].reindex(names).isin(list(wanted)).to_numpy()
    if arm["correct"] is not None:
        correct = run.answers.set_index("sample_id")["correct"]
        chosen &= (correct.reindex(names) == int(arm["correct"])).to_numpy()
    return chosen


def layers_of(run: Run, band: str) -> list[int]:
    """The captured layers of a band."""
    cuts = bands.layer_cuts(run.settings["bands"], run.num_layers)
    return [layer for layer in run.layers if band in ("all", bands.layer_band(layer, cuts))]


def shared_layers(run: Run, entry: Entry) -> list[int]:
    """The captured layers that both arms have."""
    second = layers_of(run, entry["second"]["layers"])
    return [layer for layer in layers_of(run, entry["first"]["layers"]) if layer in second]


def arm_values(run: Run, arm: Arm, profile: pd.DataFrame) -> pd.DataFrame:
    """sample_id, image and value of each sample of an arm: the mean over its layers, NaN where one is undefined."""
    chosen = arm_rows(run, arm, profile.index.get_level_values("sample_id"))
    rows = profile.loc[chosen, layers_of(run, arm["layers"])]
    names = {name: rows.index.get_level_values(name) for name in ("sample_id", "image")}
    return pd.DataFrame({**names, "value": rows.mean(axis=1, skipna=False).to_numpy()})


def entropy_profiles(run: Run) -> pd.DataFrame:
    """Entropy by layer of each sample at the selected step; rows query_id, image, sample_id(, step)."""
    return summaries.by_selector(run, summaries.profiles(run, run.heads, summaries.selected(run)))


def grounding_profiles(run: Run, grounding: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Scores of the pooled raw map by layer of each sample with a target."""
    pooled = grounding[(grounding["map"] == run.heads) & (grounding["correction"] == "raw")]
    rows = pooled[pooled["score"] == SCORES[measure]]
    return score_profiles(run, rows, measure)


def condition_profiles(evidence: Evidence, condition: str, measure: str) -> pd.DataFrame:
    """A measure by layer of the maps of a control condition, by source sample."""
    name = SCORES.get(measure, evidence.run.measure if measure == "entropy" else measure)
    table = evidence.conditions
    chosen = (table["condition"] == condition) & (table["measure"] == name) & (table["number"] == 0)
    return score_profiles(evidence.run, table[chosen], measure)


def step_map_profiles(evidence: Evidence) -> pd.DataFrame:
    """Entropy by layer of the study's own step maps: what that of a condition's step maps is held against.

    The same as `entropy_profiles` at a single step; where several are selected, of their mean map.
    """
    run, parts = evidence.run, []
    for _, node in conditions.with_maps(evidence.nodes):
        for block in (node.isel(place) for place in blocks(node["attention"])):
            values = conditions.pooled_focus(block, run.heads)[run.measure]
            keys = pd.DataFrame({"sample_id": block["sample"].values.astype(str)})
            parts.append(conditions.rows(keys, block["layer"].values, {run.measure: values}))
    none = pd.DataFrame({name: pd.Series(dtype=object) for name in ("sample_id", "layer", "value")})
    return score_profiles(run, pd.concat(parts, ignore_index=True) if parts else none, "entropy")


def score_profiles(run: Run, rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Rows of sample_id, layer, value as profiles: rows query_id, image, sample_id, step; one column a layer."""
    rows = rows.astype({"sample_id": str})
    values = rows["value"] if measure != "ln_enrichment" else contrasts.ln_enrichment(rows["value"].to_numpy())
    wide = rows.assign(value=values).pivot(index="sample_id", columns="layer", values="value")
    wide = wide.reindex(columns=list(run.layers)).rename_axis(index="sample_id").reset_index()
    return summaries.described(run, wide.assign(step=0))


def profile_of(evidence: Evidence, entry: Entry, arm: Arm) -> pd.DataFrame:
    """The measure of a contrast by layer of the maps that one of its arms is about."""
    if arm["condition"]:
        return condition_profiles(evidence, arm["condition"], entry["measure"])
    if entry["measure"] != "entropy":
        return grounding_profiles(evidence.run, evidence.grounding, entry["measure"])
    return step_map_profiles(evidence) if differ_in_condition(entry) else entropy_profiles(evidence.run)


def differ_in_condition(entry: Entry) -> bool:
    """Whether the arms of a contrast are about different conditions."""
    return entry["first"]["condition"] != entry["second"]["condition"]


def two_arms(evidence: Evidence, entry: Entry) -> tuple[pd.DataFrame, str]:
    """image, arm, value of the samples of both arms, and what is left out of them beforehand.

    Arms of different conditions are held to the same questions: source samples that have a value in both.
    """
    arms = {arm: arm_values(evidence.run, entry[arm], profile_of(evidence, entry, entry[arm])) for arm in ARMS}
    note = ""
    if differ_in_condition(entry):
        valued = [set(values.loc[np.isfinite(values["value"]), "sample_id"]) for values in arms.values()]
        both = valued[0] & valued[1]
        arms = {arm: values[values["sample_id"].isin(both)] for arm, values in arms.items()}
        asked = {name for arm in ARMS for name in arm_samples(evidence.run, entry[arm])}
        left_out = len(asked - both)
        note = f"{left_out} of {len(asked)} sample(s) without a value in both conditions left out" if left_out else ""
    table = pd.concat([values.assign(arm=arm) for arm, values in arms.items()], ignore_index=True)
    return table[["image", "arm", "value"]], note


def impossible(evidence: Evidence, entry: Entry) -> str:
    """Why a contrast cannot be made of a run; empty where it can."""
    compared = [entry[arm] for arm in ARMS] if entry["kind"] in TWO_ARMS else [entry["first"]]
    return (
        unknown_queries(evidence.run, compared)
        or missing_condition(evidence, entry, compared)
        or other_layers(evidence.run, entry)
    )


def unknown_queries(run: Run, compared: Sequence[Arm]) -> str:
    """The queries of arms that the study does not have, as a reason."""
    for column, listed, kind in (("query_id", "query_ids", "query"), ("query_type", "query_types", "query of type")):
        unknown = sorted({name for arm in compared for name in arm[listed]} - set(run.samples[column]))
        if unknown:
            return f"the study has no {kind} {', '.join(unknown)}"
    return ""


def missing_condition(evidence: Evidence, entry: Entry, compared: Sequence[Arm]) -> str:
    """A condition that arms are about and that there are no maps of, as a reason."""
    needed = [arm["condition"] for arm in compared] + (["paraphrase"] if entry["measure"] in EXCESSES else [])
    missing = [name for name in needed if name and name not in set(evidence.conditions["condition"])]
    if missing:
        return not_made(evidence.run.settings, missing[0])
    if entry["kind"] == "lowest_step" and any(needed):
        return "control conditions have maps at the selected step alone"
    return ""


def not_made(settings: Mapping[str, Any], condition: str) -> str:
    """Why a run has no map of a condition, as a reason."""
    if condition not in settings["controls"]["conditions"]:
        return f"condition {condition} was not made (controls.conditions)"
    return f"no sample has a map under condition {condition}, which needs {NEEDS[condition]}"


def other_layers(run: Run, entry: Entry) -> str:
    """Arms of a distance that have no layer in common, as a reason."""
    if entry["measure"] in EXCESSES and not shared_layers(run, entry):
        return "distances are between maps of the same layers; give both arms the same band"
    return ""
