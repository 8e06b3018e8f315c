"""Shortcut: does a model answer a type of query rightly without its attention, or its answer, depending on the target?

Three legs a query type, each over images; `contrasts.shortcut_verdict` puts them together.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from attention_atlas.analysis import contrasts
from attention_atlas.analysis.arms import not_made
from attention_atlas.analysis.conditions import OTHER_IMAGE
from attention_atlas.analysis.contrasts import Contrast, Leg, Observations
from attention_atlas.analysis.hypothesis_tests import Plan
from attention_atlas.analysis.summaries import Run
from attention_atlas.inputs.answers import canonical
from attention_atlas.inputs.study import Study

# From the state that decides a verdict first to the one that does last.
STATES = ("not defined", "fails", "undecided", "holds")
LARGEST_TARGET = 0.25
# The second has the name of the causal check that it is: both are validated on the same simulated datasets.
ATTENTION, CAUSE = "attention leg", "counterfactual, random region"
NUMBERS = ("difference", "low", "high")
COLUMNS = [
    *("query_type", "verdict", "verdict_note"),
    *("n_chance", "chance_state", "chance_reason"),
    *("n_attention", *(f"attention_{name}" for name in NUMBERS), "attention_state", "attention_reason"),
    *("n_cause", *(f"cause_{name}" for name in NUMBERS), "cause_state", "cause_reason"),
]


def shortcut_table(
    run: Run,
    study: Study,
    condition_scores: pd.DataFrame,
    grounding: pd.DataFrame,
    causal_samples: pd.DataFrame | None,
    plan: Plan,
    not_valid: Collection[tuple[str, str]] = (),
) -> pd.DataFrame:
    """The three legs and the verdict of each query type that has targets.

    `causal_samples` None = no causal checks were made; `not_valid` as for `contrasts.judged`.
    """
    attention = attention_observations(run, study, condition_scores, grounding)
    cause = cause_observations(run, study, causal_samples)
    judged = {**judged_legs(attention, plan, not_valid), **judged_legs(cause, plan, not_valid)}
    too_large = large_targets(run, grounding)
    rows = []
    for query_type in targeted_types(run, study):
        n, chance = chance_of(run, study, query_type, plan)
        row = judged.get((ATTENTION, query_type))
        attended = contrasts.equivalence_leg("attention on the target", row, not_made(run.settings, OTHER_IMAGE))
        if query_type in too_large:
            attended = Leg(attended.name, "not defined", too_large[query_type])
        effect = judged.get((CAUSE, query_type))
        caused = contrasts.equivalence_leg("effect of the target", effect, "no causal checks of its samples")
        verdict, note = contrasts.shortcut_verdict([chance, attended, caused])
        rows.append(
            {
                **{"query_type": query_type, "verdict": verdict, "verdict_note": note},
                **{"n_chance": n, "chance_state": chance.state, "chance_reason": chance.reason},
                **leg_columns("attention", row, attended),
                **leg_columns("cause", effect, caused),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def observations(
    run: Run,
    study: Study,
    condition_scores: pd.DataFrame,
    grounding: pd.DataFrame,
    causal_samples: pd.DataFrame | None,
) -> list[Observations]:
    """What the tests of the legs rest on, for their validation."""
    attention = attention_observations(run, study, condition_scores, grounding)
    return [*attention.values(), *cause_observations(run, study, causal_samples).values()]


def leg_columns(name: str, row: Mapping[str, Any] | None, leg: Leg) -> dict[str, Any]:
    """A leg that rests on a contrast, as columns."""
    return {
        f"n_{name}": 0 if row is None else row["n_first"],
        **{f"{name}_{number}": np.nan if row is None else row[number] for number in NUMBERS},
        f"{name}_state": leg.state,
        f"{name}_reason": leg.reason,
    }


def judged_legs(
    observed: Mapping[tuple[str, str], Observations], plan: Plan, not_valid: Collection[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Legs of one kind, over all query types a family of their own, with their verdicts."""
    table = contrasts.judged(contrasts.outcomes(list(observed.values()), plan), plan, not_valid)
    return {key: dict(row) for key, row in zip(observed, table.to_dict("records"), strict=True)}


def targeted(run: Run, study: Study) -> pd.DataFrame:
    """The study's own samples that name a target: sample_id, image, query_type."""
    names = study.samples.loc[study.samples["target_object"] != "", "sample_id"]
    return run.samples.loc[run.samples["sample_id"].isin(names), ["sample_id", "image", "query_type"]]


def targeted_types(run: Run, study: Study) -> list[str]:
    """The query types that have targets, in order."""
    return sorted(targeted(run, study)["query_type"].unique())


def chance_of(run: Run, study: Study, query_type: str, plan: Plan) -> tuple[int, Leg]:
    """The leg "answers above chance" of a query type, and its number of images: that of the worst of its queries.

    An image counts as right where every sample of it is; samples without an expected answer, or failed, are left out.
    """
    spellings = run.settings["query_types"][query_type]["answers"]
    expected = study.samples.set_index("sample_id")["expected_answer"]
    known = run.answers[run.answers["correct"] >= 0].merge(
        run.samples[["sample_id", "image", "query_id", "query_type"]]
    )
    known = known[known["query_type"] == query_type]
    known = known.assign(expected=[canonical(answer, spellings) for answer in expected.reindex(known["sample_id"])])
    queries = run.queries.loc[run.queries["query_type"] == query_type, "query_id"]
    legs = [query_leg(query_id, known[known["query_id"] == query_id], plan) for query_id in queries]
    n, _, leg = min(legs, key=lambda one: (STATES.index(one[2].state), one[1]))
    return n, leg


def query_leg(query_id: str, known: pd.DataFrame, plan: Plan) -> tuple[int, float, Leg]:
    """Images, share right beyond the best constant answer, and the leg of one query."""
    correct = known.groupby("image")["correct"].min()
    constant = best_constant(known)
    n, hits = len(correct), int(correct.sum())
    leg = contrasts.chance_leg(hits, n, constant, plan)
    return n, hits / max(n, 1) - constant, Leg(leg.name, leg.state, f"{query_id}: {leg.reason}")


def best_constant(known: pd.DataFrame) -> float:
    """The share of images that the best constant answer gets right: all samples of an image expect it."""
    if known.empty:
        return 1.0
    expected = known.groupby("image")["expected"]
    same = expected.first()[expected.nunique() == 1]
    return float(same.value_counts().max() / known["image"].nunique()) if len(same) else 0.0


def large_targets(run: Run, grounding: pd.DataFrame) -> dict[str, str]:
    """Query types whose median target covers more than a quarter of the grid, each with the reason."""
    area = grounding[(grounding["map"] == "uniform") & (grounding["score"] == "mass")].astype({"sample_id": str})
    typed = area.merge(run.samples[["sample_id", "query_type"]], on="sample_id")
    medians = typed.groupby("query_type")["value"].median()
    large = medians[medians > LARGEST_TARGET]
    return {name: f"the median target covers {share:.0%} of the grid" for name, share in large.items()}


def attention_observations(
    run: Run, study: Study, condition_scores: pd.DataFrame, grounding: pd.DataFrame
) -> dict[tuple[str, str], Observations]:
    """ln enrichment of the image's own maps and of the other images' on the same cells, by query type.

    Of other images whose own target shares no cell; their scores are averaged, never the maps.
    """
    if not (condition_scores["condition"] == OTHER_IMAGE).any():
        return {}
    own, other = own_enrichment(run, grounding), other_enrichment(condition_scores)
    both = pd.DataFrame({"first": own, "second": other}).dropna()
    margin = run.settings["tests"]["margins"]["ln_enrichment"]
    return by_type(run, study, both, ATTENTION, "ln_enrichment", margin)


def own_enrichment(run: Run, grounding: pd.DataFrame) -> pd.Series:
    """ln enrichment of each sample's pooled raw map, mean over layers."""
    chosen = (grounding["map"] == run.heads) & (grounding["correction"] == "raw") & (grounding["score"] == "enrichment")
    return over_layers(grounding[chosen], ["sample_id"])


def other_enrichment(condition_scores: pd.DataFrame) -> pd.Series:
    """ln enrichment of the other images' maps on each sample's target, mean over layers, then over the images."""
    mine = condition_scores[condition_scores["condition"] == OTHER_IMAGE]
    keys = ["sample_id", "number"]
    scores = over_layers(mine[mine["measure"] == "enrichment"], keys)
    shared = mine[mine["measure"] == "shares_target"].set_index(keys)["value"]
    return scores[shared.reindex(scores.index) == 0].groupby("sample_id").mean()


def over_layers(rows: pd.DataFrame, keys: list[str]) -> pd.Series:
    """ln enrichment, mean over layers, of each of `keys`; NaN where a layer is undefined."""
    logged = rows.astype({"sample_id": str}).assign(value=contrasts.ln_enrichment(rows["value"].to_numpy()))
    return logged.groupby(keys)["value"].agg(lambda values: values.mean(skipna=False))


def cause_observations(
    run: Run, study: Study, causal_samples: pd.DataFrame | None
) -> dict[tuple[str, str], Observations]:
    """Change of the answer's log-probability with the target removed and with random regions removed, by query type."""
    if causal_samples is None:
        return {}
    means = causal_samples.astype({"sample_id": str}).pivot_table("value", "sample_id", "quantity")
    both = means.reindex(columns=["twin", "random_region"]).set_axis(["first", "second"], axis=1).dropna()
    return by_type(run, study, both, CAUSE, "logprob", run.settings["tests"]["margins"]["logprob"])


def by_type(
    run: Run, study: Study, both: pd.DataFrame, leg: str, measure: str, margin: float
) -> dict[tuple[str, str], Observations]:
    """Paired observations of each query type, from values `first` and `second` by sample."""
    asked = targeted(run, study).merge(both, left_on="sample_id", right_index=True, how="left")
    long = asked.melt(["sample_id", "image", "query_type"], ["first", "second"], "arm", "value")
    return {
        (leg, query_type): contrasts.observations(
            Contrast(f"{query_type}, {leg}", leg, "paired", measure, ("first", "second"), margin),
            long[long["query_type"] == query_type],
        )
        for query_type in targeted_types(run, study)
    }
