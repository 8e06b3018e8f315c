"""Tables of the causal checks: each check tested over images by type of query, and whether the target is used.

All tests of a run are one family. Per-sample quantities are those of `causal.causal_samples`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attention_atlas.analysis import validation
from attention_atlas.analysis.causal import CURVES, curve, effects, fractions
from attention_atlas.analysis.contrasts import (
    EQUIVALENT,
    MOVED,
    NO_VERDICT,
    UNDECIDED,
    Contrast,
    Observations,
    judged,
    observations,
    outcomes,
)
from attention_atlas.analysis.hypothesis_tests import plan_of
from attention_atlas.analysis.statistics import MeanInterval, mean_intervals

ARMS = ("first", "second")
TESTED = (
    *("difference", "low", "high", "p_difference", "q_difference", "p_equivalence", "q_equivalence"),
    *("verdict", "verdict_note", "margin"),
)
COLUMNS = ["query_type", "check", "quantity", "n", "left_out", *ARMS, *TESTED, "note"]
CURVE_COLUMNS = ["query_type", "check", "order", "fraction", "n", "delta", "delta_low", "delta_high", "interval_note"]


@dataclass(frozen=True)
class Check:
    """One check: the quantity tested and its control (empty = 0), in words, and whether equivalence has a margin."""

    name: str
    first: str
    second: str
    quantity: str
    margin: bool


KNOCKOUT = Check(
    *("knockout", "knockout_target", "knockout_random"), "Δ log p (nats), target's cells − random cells", margin=True
)
RANDOM_REGION = Check(
    *("counterfactual, random region", "twin", "random_region"),
    "Δ log p (nats), target − random region painted over",
    margin=True,
)
CORRELATION = "Spearman's ρ of attention and drop of log p"
CHECKS = (
    Check("occlusion", "spearman_raw", "", CORRELATION, margin=False),
    Check("occlusion, without sinks", "spearman_without_sinks", "", CORRELATION, margin=False),
    Check("occlusion, relative", "spearman_relative", "", CORRELATION, margin=False),
    KNOCKOUT,
    Check("deletion", "deletion_map", "deletion_random", "area of Δ log p (nats), map's − random order", margin=False),
    Check(
        *("insertion", "insertion_map", "insertion_random"),
        "area of Δ log p (nats), map's − random order",
        margin=False,
    ),
    Check(
        *("counterfactual", "twin", "control_twin"), "Δ log p (nats), target − other objects painted over", margin=True
    ),
    RANDOM_REGION,
    Check("control twin", "control_twin", "", "Δ log p (nats), other objects painted over", margin=True),
)


@dataclass(frozen=True)
class Arms:
    """A check of one type of query: its arms (image, arm, value), samples left out, and what is to be told of them."""

    query_type: str
    check: Check
    table: pd.DataFrame
    left_out: int
    note: str


def causal_tables(
    interventions: pd.DataFrame,
    per_sample: pd.DataFrame,
    samples: pd.DataFrame,
    answers: pd.DataFrame,
    settings: Mapping[str, Any],
) -> dict[str, pd.DataFrame]:
    """The tables causal (tests), causal_curves (deletion and insertion), causal_support (use of the target) and
    causal_validation (of the tests, by simulation; AtlasError where they reject too often)."""
    tested, validated = causal_table(per_sample, settings)
    own = samples.loc[samples["condition"] == "", "query_type"]
    return {
        "causal": tested,
        "causal_curves": causal_curves(
            curves_of_samples(interventions, samples, answers, settings["causal"]), settings
        ),
        "causal_support": causal_support(tested, sorted(own.unique())),
        "causal_validation": validation.published(validated),
    }


def causal_table(per_sample: pd.DataFrame, settings: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row per type of query and check that was made: means over images, difference from the control, verdict.

    With the validation of its tests, on which verdicts depend as those of the declared contrasts do. Only samples that
    have both quantities take part. Margins are those of `tests.margins.logprob`.
    """
    plan = plan_of(settings)
    arms = [
        arms_of(str(query_type), check, rows)
        for query_type, rows in per_sample.groupby("query_type")
        for check in CHECKS
        if (rows["quantity"] == check.first).any()
    ]
    margin = settings["tests"]["margins"]["logprob"]
    observed = [observed_of(each, margin) for each in arms]
    validated = validation.gated(observed, plan, validation.Simulation(datasets=settings["tests"]["simulations"]))
    table = judged(outcomes(observed, plan), plan, validation.not_valid(validated))
    table = table.rename(columns={"n_first": "n", "mean_first": "first", "mean_second": "second"})
    notes = zip(table["note"], (each.note for each in arms), strict=True)
    table = table.assign(
        query_type=[each.query_type for each in arms],
        check=[each.check.name for each in arms],
        quantity=[each.check.quantity for each in arms],
        left_out=[each.left_out for each in arms],
        second=table["second"].where(np.array([each.check.second != "" for each in arms], dtype=bool)),
        note=["; ".join(filter(None, parts)) for parts in notes],
    )
    return table[COLUMNS], validated


def arms_of(query_type: str, check: Check, rows: pd.DataFrame) -> Arms:
    """The arms of a check; the second is 0 where the check has no control."""
    wanted = [check.first, *([check.second] if check.second else [])]
    own = rows[rows["quantity"].isin(wanted)]
    values = own.pivot(index="sample_id", columns="quantity", values="value").reindex(columns=wanted)
    complete = np.isfinite(values).all(axis=1)
    image = own.drop_duplicates("sample_id").set_index("sample_id")["image"].reindex(values.index)
    first = values[check.first]
    second = values[check.second] if check.second else first * 0
    kept = [
        pd.DataFrame({"image": image, "arm": arm, "value": value})[complete]
        for arm, value in zip(ARMS, (first, second), strict=True)
    ]
    reasons = own[own["note"] != ""].drop_duplicates(["sample_id", "note"])["note"].value_counts()
    note = "; ".join(f"{count} sample(s): {reason}" for reason, count in sorted(reasons.items()))
    return Arms(query_type, check, pd.concat(kept, ignore_index=True), int((~complete).sum()), note)


def observed_of(arms: Arms, margin: float) -> Observations:
    """A check's values as those of a paired contrast of the causal family."""
    check = arms.check
    name, own_margin = f"{arms.query_type}, {check.name}", margin if check.margin else None
    return observations(Contrast(name, "causal", "paired", check.quantity, ARMS, own_margin), arms.table)


def curves_of_samples(
    interventions: pd.DataFrame, samples: pd.DataFrame, answers: pd.DataFrame, causal: Mapping[str, Any]
) -> pd.DataFrame:
    """Δ along each curve of each perturbed sample: image, query_type, check, order, step, fraction, delta (nats)."""
    described = samples.set_index("sample_id")
    rows = []
    for sample_id, own in effects(interventions, answers).items() if "deletion" in causal["checks"] else ():
        sample = described.loc[sample_id]
        for check, order in CURVES:
            points = {
                "step": np.arange(causal["steps"] + 1),
                "fraction": fractions(sample["num_cells"], causal["steps"]),
            }
            keys = {"sample_id": sample_id, **sample[["image", "query_type"]], "check": check, "order": order}
            rows.append(pd.DataFrame({**keys, **points, "delta": curve(own, check, order, causal)}))
    columns = ["sample_id", "image", "query_type", "check", "order", "step", "fraction", "delta"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def causal_curves(curves: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Mean Δ over images along deletion and insertion, with intervals; of samples that have both orders.

    Images with several samples are averaged first. `fraction` is the mean share of cells where grids differ.
    """
    rows = []
    complete = curves.groupby(["sample_id", "check"])["delta"].transform(lambda delta: np.isfinite(delta).all())
    curves = curves.assign(delta=curves["delta"].where(complete.astype(bool)))
    for (query_type, check, order), own in curves.groupby(["query_type", "check", "order"]):
        fraction = own.groupby("step")["fraction"].mean()
        by_image = own.groupby(["image", "step"])["delta"].mean().unstack("step")
        intervals = mean_intervals(by_image, settings["statistics"])
        keys = {"query_type": query_type, "check": check, "order": order}
        rows += [{**keys, "fraction": fraction[step], **interval_of(intervals[step])} for step in fraction.index]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def interval_of(interval: MeanInterval) -> dict[str, Any]:
    """An interval as cells of the table of curves."""
    ends = {"delta": interval.mean, "delta_low": interval.low, "delta_high": interval.high}
    return {"n": interval.n, **ends, "interval_note": interval.note}


def causal_support(tested: pd.DataFrame, query_types: list[str]) -> pd.DataFrame:
    """Whether answers of a type use their target: query_type, uses, n (the fewer of the two checks' images), why.

    yes: knocking out the target's cells and painting the target over both lower log p by more than their random
    controls (`moved`, negative). no: both are `equivalent` to their random controls. not tested: one of the two has
    no verdict. undecided: anything else.
    """
    rows = []
    for query_type in query_types:
        own = tested[tested["query_type"] == query_type].set_index("check")
        legs = [own.loc[check.name] for check in (KNOCKOUT, RANDOM_REGION) if check.name in own.index]
        why = "; ".join(leg_text(leg) for leg in legs) or "no sample was put through these checks"
        n = min((int(leg["n"]) for leg in legs), default=0)
        rows.append({"query_type": query_type, "uses": uses(legs), "n": n, "why": why})
    return pd.DataFrame(rows, columns=["query_type", "uses", "n", "why"])


def uses(legs: list[pd.Series]) -> str:
    """The rule of `causal_support` for the rows of the two checks."""
    verdicts = [leg["verdict"] for leg in legs]
    if len(legs) < 2 or NO_VERDICT in verdicts:
        return "not tested"
    if all(leg["verdict"] == MOVED and leg["difference"] < 0 for leg in legs):
        return "yes"
    return "no" if verdicts == [EQUIVALENT, EQUIVALENT] else UNDECIDED


def leg_text(leg: pd.Series) -> str:
    """One of the two checks in words: its verdict, its sign, why there is none, n."""
    sign = ("", " +" if leg["difference"] > 0 else " -")[leg["verdict"] == MOVED]
    note = f" ({leg['verdict_note']})" if leg["verdict_note"] else ""
    return f"{leg.name}: {leg['verdict']}{sign}{note}, n = {leg['n']}"
