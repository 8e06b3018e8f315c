"""Contrasts: declared comparisons of two arms over images, corrected over their families, with a verdict each.

A contrast is applied to a table of one measure with columns image, arm, value. The difference is first arm - second.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import jensenshannon

from attention_atlas.analysis.hypothesis_tests import (
    Plan,
    Results,
    benjamini_hochberg,
    paired_tests,
    permutations_for,
    unpaired_tests,
)
from attention_atlas.analysis.statistics import proportion_interval
from attention_atlas.errors import AtlasError

MOVED, EQUIVALENT, UNDECIDED, NO_VERDICT = "moved", "equivalent", "undecided", "no verdict"
NOT_VALID = "test not valid at this n"
LEAST_ENRICHMENT = 0.01
Direction = Literal["greater", "less"]


@dataclass(frozen=True)
class Contrast:
    """A comparison declared beforehand: paired (the same images) or unpaired; no margin = no test of equivalence.

    `direction` is what a claim says of first arm - second; None = no claim.
    """

    name: str
    family: str
    kind: Literal["paired", "unpaired"]
    measure: str
    arms: tuple[str, str]
    margin: float | None = None
    direction: Direction | None = None


@dataclass(frozen=True)
class Observations:
    """The values of a contrast: one array of paired differences, or one per arm; means of the arms; what is left out.

    Images are in the order of their names, so the order of the table's rows changes nothing.
    """

    contrast: Contrast
    values: tuple[np.ndarray, ...]
    means: tuple[float, float]
    note: str


@dataclass(frozen=True)
class Outcome:
    """One tested contrast; NaN where a number is not defined, and the note says why. n is given for each arm."""

    name: str
    family: str
    kind: str
    measure: str
    direction: str
    margin: float
    n_first: int
    n_second: int
    mean_first: float
    mean_second: float
    difference: float
    low: float
    high: float
    p_difference: float
    smallest_p: float
    p_equivalence: float
    effect_size: float
    note: str


@dataclass(frozen=True)
class Leg:
    """One leg of the shortcut verdict: holds, fails, undecided or not defined, with what it rests on."""

    name: str
    state: Literal["holds", "fails", "undecided", "not defined"]
    reason: str


def observations(contrast: Contrast, table: pd.DataFrame) -> Observations:
    """The values of a contrast from a table of image, arm, value: samples of one image and arm are averaged first.

    A value that is not finite counts as missing.
    """
    rows = table[table["arm"].isin(contrast.arms)]
    rows = rows.assign(value=rows["value"].where(np.isfinite(rows["value"])))
    means = rows.groupby(["image", "arm"])["value"].mean().unstack("arm").sort_index()
    means = means.reindex(columns=list(contrast.arms)).astype(float)
    shared = means.notna().all(axis=1)
    return (paired_observations if contrast.kind == "paired" else unpaired_observations)(contrast, means, shared)


def paired_observations(contrast: Contrast, means: pd.DataFrame, shared: pd.Series) -> Observations:
    """Differences of the images that have both arms; where there is none, the means describe each arm's own images."""
    first, second = (means.loc[shared, arm].to_numpy() for arm in contrast.arms)
    described = means[shared] if shared.any() else means
    alone = int((~shared).sum())
    note = f"{alone} image(s) without a value in both arms left out" if alone else ""
    return Observations(contrast, (first - second,), arm_means(described), note)


def unpaired_observations(contrast: Contrast, means: pd.DataFrame, shared: pd.Series) -> Observations:
    """Values of the images of each arm; an image that is in both belongs to neither."""
    own = means[~shared]
    left_out = {"in both arms": int(shared.sum()), "without a value": int(means.isna().all(axis=1).sum())}
    note = "; ".join(f"{count} image(s) {which} left out" for which, count in left_out.items() if count)
    first, second = (own[arm].dropna().to_numpy() for arm in contrast.arms)
    return Observations(contrast, (first, second), arm_means(own), note)


def arm_means(means: pd.DataFrame) -> tuple[float, float]:
    """The mean over images of each of two columns."""
    first, second = means.mean()
    return float(first), float(second)


def outcomes(observed: Sequence[Observations], plan: Plan) -> list[Outcome]:
    """Each contrast tested, in order. Contrasts of one family and the same sizes go through the tests together."""
    check_names([each.contrast.name for each in observed])
    families = pd.Series([each.contrast.family for each in observed], dtype=object)
    sizes = families.value_counts()
    groups: dict[tuple, list[int]] = {}
    for index, each in enumerate(observed):
        design = (each.contrast.kind, each.contrast.family, *map(len, each.values))
        groups.setdefault(design, []).append(index)
    rows: dict[int, Outcome] = {}
    for design, members in groups.items():
        own = replace(plan, permutations=permutations_for(int(sizes[design[1]]), plan))
        results = batch_results([observed[index] for index in members], own)
        rows |= {index: outcome_of(observed[index], results, place) for place, index in enumerate(members)}
    return [rows[index] for index in range(len(observed))]


def check_names(names: Sequence[str]) -> None:
    """Refuse a name that stands for two contrasts: verdicts and validations are looked up by it."""
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise AtlasError(f"contrasts: the same name twice: {', '.join(twice)}; give each contrast a name of its own")


def batch_results(members: Sequence[Observations], plan: Plan) -> Results:
    """The tests of contrasts of one kind and the same sizes."""
    arms = [np.stack(values) for values in zip(*(each.values for each in members), strict=True)]
    margins = np.array([margin_of(each.contrast) for each in members])
    if members[0].contrast.kind == "paired":
        return paired_tests(arms[0], margins, plan)
    return unpaired_tests(arms[0], arms[1], margins, plan)


def margin_of(contrast: Contrast) -> float:
    """The margin, NaN for none."""
    return np.nan if contrast.margin is None else contrast.margin


def outcome_of(observed: Observations, results: Results, place: int) -> Outcome:
    """One contrast's share of a batch of results."""
    contrast = observed.contrast
    numbers = {
        name: float(getattr(results, name)[place])
        for name in ("difference", "low", "high", "p_difference", "p_equivalence", "effect_size")
    }
    if results.note:
        numbers["difference"] = difference_of_means(observed)
    no_interval = "" if results.note or np.isfinite(numbers["low"]) else "all values are equal: no interval"
    return Outcome(
        name=contrast.name,
        family=contrast.family,
        kind=contrast.kind,
        measure=contrast.measure,
        direction=contrast.direction or "",
        margin=margin_of(contrast),
        n_first=len(observed.values[0]),
        n_second=len(observed.values[-1]),
        mean_first=observed.means[0],
        mean_second=observed.means[1],
        smallest_p=results.smallest_p,
        note="; ".join(filter(None, (results.note, no_interval, observed.note))),
        **numbers,
    )


def untested(contrast: Contrast, reason: str, plan: Plan) -> Outcome:
    """A contrast that cannot be made at all, with the reason why."""
    values = (np.zeros(0),) * (1 if contrast.kind == "paired" else 2)
    return replace(outcomes([Observations(contrast, values, (np.nan, np.nan), "")], plan)[0], note=reason)


def difference_of_means(observed: Observations) -> float:
    """The mean difference of a contrast that was refused: a description; NaN where an arm or every pair is missing."""
    if not all(len(values) for values in observed.values):
        return np.nan
    first, *second = (float(values.mean()) for values in observed.values)
    return first - sum(second)


def judged(rows: Sequence[Outcome], plan: Plan, not_valid: Collection[tuple[str, str]] = ()) -> pd.DataFrame:
    """Contrasts with q values over their families, verdict, its note, sign, and the reading of the claim.

    `not_valid` names tests as (contrast, "difference" | "equivalence") that simulation found to reject too often.
    """
    table = pd.DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(Outcome)])
    for test in ("difference", "equivalence"):
        table[f"q_{test}"] = table.groupby("family")[f"p_{test}"].transform(lambda p: benjamini_hochberg(p.to_numpy()))
    table["too_small"] = too_small(table, plan.alpha)
    for test in ("difference", "equivalence"):
        table[f"{test}_valid"] = [(name, test) not in not_valid for name in table["name"]]
    verdicts = [verdict_of(row, plan.alpha) for row in table.to_dict("records")]
    table["verdict"] = [verdict for verdict, _ in verdicts]
    table["verdict_note"] = [note for _, note in verdicts]
    moved = table["verdict"] == MOVED
    table["sign"] = np.where(moved, np.where(table["difference"] > 0, "+", "-"), "")
    table["reading"] = [reading_of(row) for row in table.to_dict("records")]
    return table.drop(columns=["too_small", "difference_valid", "equivalence_valid"])


def too_small(table: pd.DataFrame, alpha: float) -> np.ndarray:
    """Where BH would not reject a difference at the smallest p of its test, the others of the family as they are."""
    found = np.zeros(len(table), dtype=bool)
    for members in table.groupby("family").indices.values():
        p = table["p_difference"].to_numpy()[members]
        for place in np.flatnonzero(table["q_difference"].to_numpy()[members] > alpha):
            attainable = p.copy()
            attainable[place] = table["smallest_p"].to_numpy()[members[place]]
            found[members[place]] = benjamini_hochberg(attainable)[place] > alpha
    return found


def verdict_of(row: Mapping, alpha: float) -> tuple[str, str]:
    """The verdict on a difference and its note, from a row of q values, interval and validity."""
    if np.isnan(row["p_difference"]):
        return NO_VERDICT, row["note"]
    differs, equivalent = row["q_difference"] <= alpha, row["q_equivalence"] <= alpha
    moved = differs and (row["low"] > 0 or row["high"] < 0)
    if equivalent and row["equivalence_valid"]:
        below = differs and row["difference_valid"]
        return EQUIVALENT, "differs, but by less than the margin" if below else ""
    if moved and row["difference_valid"]:
        return MOVED, f"equivalence: {NOT_VALID}" if equivalent else ""
    if moved or equivalent:
        return UNDECIDED, NOT_VALID
    return UNDECIDED, undecided_reason(row, differs)


def undecided_reason(row: Mapping, differs: bool) -> str:
    """Why neither a difference nor equivalence was found by valid tests."""
    if row["too_small"]:
        return "n too small"
    if differs:
        return "no interval" if np.isnan(row["low"]) else "the interval includes 0"
    return "no margin declared" if np.isnan(row["margin"]) else "neither difference nor equivalence shown"


def reading_of(row: Mapping) -> str:
    """A directional claim in the light of its verdict; empty where nothing is claimed."""
    if not row["direction"]:
        return ""
    if row["verdict"] == MOVED:
        return "supported" if (row["sign"] == "+") == (row["direction"] == "greater") else "contradicted"
    return "no relevant difference" if row["verdict"] == EQUIVALENT else str(row["verdict"])


def lowest(name: str, comparisons: Sequence[Outcome]) -> Outcome:
    """One row for "the first arm is lowest": below each of the others (intersection-union; Berger 1982).

    The row shows the limiting comparison. Where the first arm's mean is the lowest of all, p is the largest of the
    comparisons' p, uncorrected: each must pass. Else the comparison that speaks most against the claim was picked
    out of k, so its p is multiplied by k (Bonferroni), as its p of equivalence always is.
    """
    untested = [row for row in comparisons if np.isnan(row.p_difference)]
    if untested:
        return replace(untested[0], name=name, direction="less", note=f"{untested[0].name}: {untested[0].note}")
    below = all(row.difference < 0 for row in comparisons)
    limiting = max(comparisons, key=(lambda row: (not row.high < 0, row.p_difference)) if below else by_difference)
    picked = len(comparisons)
    return replace(
        limiting,
        name=name,
        direction="less",
        p_difference=min(1.0, limiting.p_difference * (1 if below else picked)),
        smallest_p=min(1.0, limiting.smallest_p * (1 if below else picked)),
        p_equivalence=float(np.minimum(1.0, limiting.p_equivalence * picked)),
        note="; ".join(filter(None, (f"the limiting of {picked} comparisons: {limiting.name}", limiting.note))),
    )


def by_difference(row: Outcome) -> float:
    """The order of comparisons by their difference."""
    return row.difference


def top_layers(layers: Sequence[int], num_layers: int, share: float = 1 / 6) -> list[int]:
    """The layers, of those captured, in the top share of the depth: the last max(1, round(share L)) of L."""
    first = num_layers - max(1, round(share * num_layers))
    return [layer for layer in layers if layer >= first]


def share_in_band(
    contrast: Contrast, layer_of_min: pd.Series, band: Collection[int], layers: Collection[int], plan: Plan
) -> Outcome:
    """The share of images whose layer of the minimum lies in a band, against the band's share of the layers.

    Exact binomial p and Wilson interval of the difference; `layer_of_min` is one layer per image, NaN = left out.
    There is no test of equivalence.
    """
    inside = layer_of_min.dropna().isin(list(band)).astype(float)
    n, chance = len(inside), len(set(band) & set(layers)) / len(layers)
    interval = proportion_interval(inside, {"confidence": plan.confidence, "min_images": plan.min_images})
    enough = n >= plan.min_images
    return Outcome(
        name=contrast.name,
        family=contrast.family,
        kind="share",
        measure=contrast.measure,
        direction=contrast.direction or "",
        margin=np.nan,
        n_first=n,
        n_second=n,
        mean_first=interval.mean,
        mean_second=chance,
        difference=interval.mean - chance,
        low=interval.low - chance,
        high=interval.high - chance,
        p_difference=float(stats.binomtest(int(inside.sum()), n, chance).pvalue) if enough else np.nan,
        smallest_p=min(stats.binomtest(hits, n, chance).pvalue for hits in (0, n)) if enough else np.nan,
        p_equivalence=np.nan,
        effect_size=np.nan,
        note=interval.note,
    )


def ln_enrichment(enrichment: np.ndarray) -> np.ndarray:
    """Natural logarithm of max(enrichment, 0.01): enrichment is skewed, and 0 where no attention meets the target."""
    return np.log(np.maximum(enrichment, LEAST_ENRICHMENT))


def js_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence (nats) of maps (..., N): the square of scipy's distance; NaN without a distribution."""
    with np.errstate(invalid="ignore", divide="ignore"):
        squared = jensenshannon(p, q, axis=-1) ** 2
    # The distance of maps that differ by rounding is the root of a sum that may fall below 0.
    return np.where(has_distribution(p) & has_distribution(q), np.nan_to_num(squared, nan=0.0), np.nan)


def has_distribution(p: np.ndarray) -> np.ndarray:
    """Which maps (..., N) are finite and not empty."""
    total = p.sum(axis=-1)
    return np.isfinite(total) & (total > 0)


def centre_shift(p: np.ndarray, q: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Distance, in cells, between the centres of mass of maps (..., N) on a grid of (rows, cols)."""
    return np.linalg.norm(centre_of_mass(p, grid) - centre_of_mass(q, grid), axis=-1)


def centre_of_mass(p: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Centre of mass (row, col) of maps (..., N); NaN without a distribution."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = p / p.sum(axis=-1, keepdims=True)
    return share @ np.indices(grid).reshape(2, -1).T


def excess_arms(images: Sequence[str], between: np.ndarray, within_a: np.ndarray, within_b: np.ndarray) -> pd.DataFrame:
    """The paired excess of distances as a table of image, arm, value, for a paired contrast of its two arms.

    Arm `between` is d(A, B), arm `paraphrases` is (d(A, A') + d(B, B')) / 2, with A', B' the paraphrases of A, B; NaN
    where one is missing: such an image is described by d(A, B) and takes no part in the test.
    """
    arms = {"between": between, "paraphrases": (within_a + within_b) / 2}
    return pd.concat([pd.DataFrame({"image": images, "arm": arm, "value": value}) for arm, value in arms.items()])


def chance_leg(correct: int, n: int, chance: float, plan: Plan) -> Leg:
    """The leg "answers above chance": correct of n images against the best constant answer (exact binomial)."""
    if n < plan.min_images:
        return Leg("answers above chance", "not defined", f"{n} image(s); a test needs {plan.min_images}")
    above = stats.binomtest(correct, n, chance, alternative="greater").pvalue
    below = stats.binomtest(correct, n, chance, alternative="less").pvalue
    state: Literal["holds", "fails", "undecided"] = "undecided"
    if above <= plan.alpha:
        state = "holds"
    elif below <= plan.alpha:
        state = "fails"
    return Leg("answers above chance", state, f"{correct} of {n}, constant answer {chance:.3g}, p = {above:.3g}")


def equivalence_leg(name: str, row: Mapping | None, reason: str = "") -> Leg:
    """A leg that holds where a judged contrast is `equivalent` and fails where it moved; no row = `reason` why not."""
    if row is None:
        return Leg(name, "not defined", reason)
    states: dict[str, Literal["holds", "fails", "undecided", "not defined"]] = {
        EQUIVALENT: "holds",
        MOVED: "fails",
        UNDECIDED: "undecided",
        NO_VERDICT: "not defined",
    }
    return Leg(name, states[row["verdict"]], str(row["verdict_note"]))


def shortcut_verdict(legs: Sequence[Leg]) -> tuple[str, str]:
    """`shortcut` where all three legs hold, `no shortcut` where one fails; no verdict where one is not defined."""
    if len(legs) != 3:
        raise AtlasError(f"the shortcut verdict has three legs, not {len(legs)}; give a missing one as `not defined`")
    for state, verdict in (("not defined", NO_VERDICT), ("fails", "no shortcut"), ("undecided", UNDECIDED)):
        those = [f"{leg.name}: {leg.reason or state}" for leg in legs if leg.state == state]
        if those:
            return verdict, "; ".join(those)
    return "shortcut", ""
