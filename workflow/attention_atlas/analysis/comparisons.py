"""Comparisons: the declared contrasts of a run, tested over images, with the validation of their tests.

A contrast's values are one number a sample at the selected step: the mean over the arm's layers of the entropy of the
pooled map, or of a grounding score of the pooled raw map.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from attention_atlas.analysis import bands, contrasts, steps, summaries, validation
from attention_atlas.analysis.contrasts import Contrast, Observations, Outcome
from attention_atlas.analysis.hypothesis_tests import Plan
from attention_atlas.analysis.summaries import Run
from attention_atlas.errors import AtlasError

ARMS = ("first", "second")
SCORES = {"auroc": "auroc", "ln_enrichment": "enrichment"}
# Steps before and after the answer's first token that "lowest at the answer step" is held against.
ALIGNED = 3
TWO_ARMS = ("paired", "unpaired")


def plan_of(settings: Mapping[str, Any]) -> Plan:
    """The settings of tests as a plan."""
    statistics, tests = settings["statistics"], settings["tests"]
    return Plan(
        alpha=tests["alpha"],
        confidence=statistics["confidence"],
        resamples=statistics["resamples"],
        permutations=tests["permutations"],
        seed=statistics["seed"],
        min_images=statistics["min_images"],
    )


def comparisons(run: Run, grounding: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The contrasts of the settings with their verdicts, those about claims, the tests' validation and their power."""
    plan = plan_of(run.settings)
    profiles_of = {"entropy": entropy_profiles(run), **grounding_profiles(run, grounding)}
    declared = run.settings["contrasts"]
    observed = {
        name: observations(run, name, entry, profiles_of[entry["measure"]])
        for name, entry in declared.items()
        if entry["kind"] in TWO_ARMS
    }
    tested = dict(zip(observed, contrasts.outcomes(list(observed.values()), plan), strict=True))
    for name, entry in declared.items():
        if entry["kind"] == "lowest_step":
            tested[name] = lowest_step(run, name, entry, plan)
        elif entry["kind"] == "top_layers":
            tested[name] = top_layers(run, name, entry, profiles_of["entropy"], plan)
    simulation = validation.Simulation(datasets=run.settings["tests"]["simulations"])
    validated = validation.validate(list(observed.values()), plan, simulation)
    power = validation.power(list(observed.values()), plan, simulation)
    failed = validation.failures(validated)
    if failed:
        raise AtlasError("tests of contrasts reject too often, so there is no verdict:\n  " + "\n  ".join(failed))
    table = contrasts.judged([tested[name] for name in declared], plan, validation.not_valid(validated))
    about = pd.DataFrame([{"name": name, **said(entry)} for name, entry in declared.items()])
    table = table.merge(about, on="name")
    passes = validated["passes"].map({True: "yes", False: "no"})
    return {
        "contrasts": table,
        "claims": table[table["claim"] != ""].reset_index(drop=True),
        "validation": validated.assign(passes=passes),
        "power": power,
    }


def said(entry: Mapping[str, Any]) -> dict[str, str]:
    """What a contrast compares, in words, and the claim that it is about."""
    arms = {f"arm_{arm}": arm_text(entry[arm]) for arm in ARMS}
    if entry["kind"] == "lowest_step":
        arms = {"arm_first": "answer step", "arm_second": "each other step"}
    if entry["kind"] == "top_layers":
        arms = {"arm_first": "images lowest in the top sixth", "arm_second": "its share of the layers"}
    return {**arms, "claim": entry["claim"], "original": entry["original"]}


def arm_text(arm: Mapping[str, Any]) -> str:
    """An arm in words."""
    parts = [*arm["query_ids"], *arm["query_types"]]
    parts += [f"{arm['layers']} layers"] if arm["layers"] != "all" else []
    parts += [] if arm["correct"] is None else ["right answers" if arm["correct"] else "wrong answers"]
    return ", ".join(parts) or "all queries"


def entropy_profiles(run: Run) -> pd.DataFrame:
    """Entropy by layer of each sample at the selected step; rows query_id, image, sample_id(, step)."""
    return summaries.by_selector(run, summaries.profiles(run, run.heads, summaries.selected(run)))


def grounding_profiles(run: Run, grounding: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Scores of the pooled raw map by layer of each sample with a target."""
    pooled = grounding[(grounding["map"] == run.heads) & (grounding["correction"] == "raw")]
    found = {}
    for measure, score in SCORES.items():
        rows = pooled[pooled["score"] == score].astype({"sample_id": str})
        values = rows["value"] if measure == "auroc" else contrasts.ln_enrichment(rows["value"].to_numpy())
        wide = rows.assign(value=values).pivot(index="sample_id", columns="layer", values="value")
        wide = wide.reindex(columns=list(run.layers)).rename_axis(index="sample_id").reset_index()
        found[measure] = summaries.described(run, wide.assign(step=0))
    return found


def observations(run: Run, name: str, entry: Mapping[str, Any], profile: pd.DataFrame) -> Observations:
    """The per-image values of a contrast of two arms."""
    arms = [arm_values(run, entry[arm], profile).assign(arm=arm) for arm in ARMS]
    return contrasts.observations(contrast_of(run, name, entry), pd.concat(arms, ignore_index=True))


def contrast_of(run: Run, name: str, entry: Mapping[str, Any]) -> Contrast:
    """A declared contrast with its margin; entropies normalised by ln N take the margin's share of ln 64."""
    margin = run.settings["tests"]["margins"][entry["measure"]]
    if entry["measure"] == "entropy" and run.measure == "entropy_normalised":
        margin /= np.log(run.settings["bands"]["reference_cells"])
    kind: Any = entry["kind"] if entry["kind"] in TWO_ARMS else "paired"
    return Contrast(name, entry["family"], kind, entry["measure"], ARMS, margin, entry["direction"])


def arm_values(run: Run, arm: Mapping[str, Any], profile: pd.DataFrame) -> pd.DataFrame:
    """image and value of each sample of an arm: the mean over the arm's layers, NaN where one is undefined."""
    chosen = arm_rows(run, arm, profile.index.get_level_values("sample_id"))
    layers = layers_of(run, arm["layers"])
    rows = profile.loc[chosen, layers]
    values = rows.mean(axis=1, skipna=False)
    return pd.DataFrame({"image": rows.index.get_level_values("image"), "value": values.to_numpy()})


def layers_of(run: Run, band: str) -> list[int]:
    """The captured layers of a band."""
    cuts = bands.layer_cuts(run.settings["bands"], run.num_layers)
    return [layer for layer in run.layers if band in ("all", bands.layer_band(layer, cuts))]


def lowest_step(run: Run, name: str, entry: Mapping[str, Any], plan: Plan) -> Outcome:
    """The answer's first step against each step around it, aligned there: below each other one (intersection-union)."""
    every = summaries.profiles(run, run.heads, steps.selected_steps(run.samples, run.answers, "all"))
    names = every.index.get_level_values("sample_id")
    answer = run.answers.set_index("sample_id")["answer_step"].reindex(names).to_numpy()
    aligned = every.index.get_level_values("step").to_numpy() - answer
    values = arm_values(run, entry["first"], every.droplevel("step"))
    kept = arm_rows(run, entry["first"], names)
    values = values.assign(step=aligned[kept], answered=answer[kept] >= 0)
    values = values[values["answered"]]
    others = [shift for shift in range(-ALIGNED, ALIGNED + 1) if shift != 0]
    compared = []
    for shift in others:
        pair = values[values["step"].isin([0, shift])]
        arms = pair.assign(arm=np.where(pair["step"] == 0, "first", "second"))
        contrast = contrast_of(run, f"answer step {shift:+d}", entry)
        observed = contrasts.observations(contrast, arms[["image", "arm", "value"]])
        if len(observed.values[0]) >= plan.min_images:
            compared.append(observed)
    if not compared:
        empty = contrasts.observations(
            contrast_of(run, name, entry), values.assign(arm="first")[["image", "arm", "value"]]
        )
        return contrasts.outcomes([empty], plan)[0]
    return contrasts.lowest(name, contrasts.outcomes(compared, plan))


def arm_rows(run: Run, arm: Mapping[str, Any], names: pd.Index) -> np.ndarray:
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


def top_layers(run: Run, name: str, entry: Mapping[str, Any], profile: pd.DataFrame, plan: Plan) -> Outcome:
    """The share of images whose mean profile is lowest in the top sixth of the depth, against that band's share."""
    names = profile.index.get_level_values("sample_id")
    chosen = profile[arm_rows(run, entry["first"], names)]
    by_image = chosen[chosen.notna().all(axis=1)].groupby(level="image").mean()
    lowest = by_image.idxmin(axis=1)
    band = contrasts.top_layers(run.layers, run.num_layers)
    return contrasts.share_in_band(contrast_of(run, name, entry), lowest, band, run.layers, plan)
