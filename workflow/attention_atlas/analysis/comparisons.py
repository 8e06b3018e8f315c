"""Comparisons: the declared contrasts of a run, tested over images, with the validation of their tests.

A contrast's values are one number a sample at the selected step: the mean over the arm's layers of the entropy of the
pooled map, or of a grounding score of the pooled raw map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from attention_atlas.analysis import contrasts, distances, planes, steps, summaries, validation
from attention_atlas.analysis.arms import (
    ARMS,
    EXCESSES,
    TWO_ARMS,
    Entry,
    Evidence,
    arm_rows,
    arm_text,
    arm_values,
    impossible,
    profile_of,
    two_arms,
)
from attention_atlas.analysis.conditions import Nodes
from attention_atlas.analysis.contrasts import Contrast, Observations, Outcome
from attention_atlas.analysis.hypothesis_tests import Plan, plan_of
from attention_atlas.analysis.summaries import Run

# What the declarations say of each contrast.
SAID = ["name", "arm_first", "arm_second", "claim", "original"]


def comparisons(
    run: Run, grounding: pd.DataFrame, nodes: Nodes, conditions: pd.DataFrame, legs: Sequence[Observations] = ()
) -> dict[str, pd.DataFrame]:
    """The contrasts of the settings with their verdicts, those about claims, the tests' validation and power, planes.

    `nodes` are the study's step maps, `conditions` the condition scores; both may be empty. `legs` are observations of
    tests elsewhere, which are validated beside those of the contrasts.
    """
    plan, evidence = plan_of(run.settings), Evidence(run, grounding, nodes, conditions)
    declared = run.settings["contrasts"]
    reasons = {name: impossible(evidence, entry) for name, entry in declared.items()}
    possible = {name: entry for name, entry in declared.items() if not reasons[name]}
    observed = {
        name: observations(evidence, name, entry) for name, entry in possible.items() if entry["kind"] in TWO_ARMS
    }
    tested = dict(zip(observed, contrasts.outcomes(list(observed.values()), plan), strict=True))
    tested |= {name: one_arm(evidence, name, entry, plan) for name, entry in possible.items() if name not in tested}
    tested |= {
        name: contrasts.untested(contrast_of(run, name, declared[name]), reason, plan)
        for name, reason in reasons.items()
        if reason
    }
    simulation = validation.Simulation(datasets=run.settings["tests"]["simulations"])
    validated = validation.gated([*observed.values(), *legs], plan, simulation)
    power = validation.power(list(observed.values()), plan, simulation)
    table = contrasts.judged([tested[name] for name in declared], plan, validation.not_valid(validated))
    about = pd.DataFrame([{"name": name, **said(entry)} for name, entry in declared.items()], columns=SAID)
    table = table.merge(about, on="name")
    return {
        "contrasts": table,
        "claims": table[table["claim"] != ""].reset_index(drop=True),
        "validation": validation.published(validated),
        "power": power,
        **planes.clusters(evidence, plan),
    }


def said(entry: Mapping[str, Any]) -> dict[str, str]:
    """What a contrast compares, in words, and the claim that it is about."""
    arms = {f"arm_{arm}": arm_text(entry[arm]) for arm in ARMS}
    if entry["kind"] == "lowest_step":
        arms = {"arm_first": "answer step", "arm_second": "each other step"}
    if entry["kind"] == "top_layers":
        arms = {"arm_first": "images lowest in the top sixth", "arm_second": "its share of the layers"}
    if entry["measure"] in EXCESSES:
        arms = {"arm_first": f"{arms['arm_first']} to {arms['arm_second']}", "arm_second": "paraphrases"}
    return {**arms, "claim": entry["claim"], "original": entry["original"]}


def observations(evidence: Evidence, name: str, entry: Entry) -> Observations:
    """The per-image values of a contrast of two arms; those of an excess are distances."""
    table, left_out = (distances.excess if entry["measure"] in EXCESSES else two_arms)(evidence, entry)
    observed = contrasts.observations(contrast_of(evidence.run, name, entry), table)
    return replace(observed, note="; ".join(filter(None, (left_out, observed.note))))


def contrast_of(run: Run, name: str, entry: Mapping[str, Any]) -> Contrast:
    """A declared contrast with its margin; where grids differ, entropies are over ln N, and the margin over ln 64."""
    measure, margin = entry["measure"], run.settings["tests"]["margins"][entry["measure"]]
    if measure == "entropy" and run.measure == "entropy_normalised":
        measure, margin = run.measure, margin / np.log(run.settings["bands"]["reference_cells"])
    kind: Any = entry["kind"] if entry["kind"] in TWO_ARMS else "paired"
    arms = distances.ARMS if entry["measure"] in EXCESSES else ARMS
    return Contrast(name, entry["family"], kind, measure, arms, margin, entry["direction"])


def one_arm(evidence: Evidence, name: str, entry: Entry, plan: Plan) -> Outcome:
    """A contrast of steps or layers within one arm."""
    if entry["kind"] == "lowest_step":
        return lowest_step(evidence.run, name, entry, plan)
    return top_layers(evidence.run, name, entry, profile_of(evidence, entry, entry["first"]), plan)


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
    others = [shift for shift in planes.STEPS if shift != 0]
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


def top_layers(run: Run, name: str, entry: Mapping[str, Any], profile: pd.DataFrame, plan: Plan) -> Outcome:
    """The share of images whose mean profile is lowest in the top sixth of the depth, against that band's share."""
    names = profile.index.get_level_values("sample_id")
    chosen = profile[arm_rows(run, entry["first"], names)]
    by_image = chosen[chosen.notna().all(axis=1)].groupby(level="image").mean()
    lowest = by_image.idxmin(axis=1)
    band = contrasts.top_layers(run.layers, run.num_layers)
    return contrasts.share_in_band(contrast_of(run, name, entry), lowest, band, run.layers, plan)
