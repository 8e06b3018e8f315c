"""Validation of the verdict by simulation: how often its tests reject at the edge of what they deny, and their power.

Datasets have a contrast's own sizes and standard deviations (Gaussian), or are drawn from its own centred values
(resampled). Each contrast has its own stream of random numbers, so it has the same result whatever stands beside it.
Standard deviations and centred values are rounded first: the last bits of a value, in which processors differ, would
otherwise decide whether a simulated dataset is rejected.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from scipy import stats

from attention_atlas.analysis.contrasts import Observations, margin_of
from attention_atlas.analysis.hypothesis_tests import (
    Plan,
    Results,
    paired_tests,
    spread,
    tost_paired,
    tost_welch,
    unpaired_tests,
)
from attention_atlas.errors import AtlasError

WORLDS = ("gaussian", "resampled")
# Share of false alarms of the gate over all its tests together.
GATE_LEVEL = 0.01
# Of what enters a simulation: significant digits of a standard deviation (its own error is a tenth at n = 48), and the
# step of centred values in standard deviations.
DIGITS = 3
GRAIN = 0.01
# Datasets that share their permutations and resamples: few enough that the luck of one draw averages out.
DATASETS_AT_ONCE = 250
COUNTED = ["contrast", "test", "world", "effect", "datasets", "rejections", "coverage"]
NUMBERS = ("difference", "low", "high", "p_difference", "p_equivalence", "effect_size")
Arms = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Simulation:
    """How much is simulated: datasets per test; bootstrap resamples and permutations inside; for power, the planted
    effects (multiples of the margin; of the standard deviation where there is none) and multiples of the own n."""

    datasets: int = 2000
    resamples: int = 999
    power_datasets: int = 500
    power_permutations: int = 999
    effects: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    sizes: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)


def validate(observed: Sequence[Observations], plan: Plan, simulation: Simulation) -> pd.DataFrame:
    """Rejections of each test at the edge of its null hypothesis, with the gate's binomial p and whether it passes.

    Rows: contrast, test (difference at effect 0, equivalence at effect +margin and -margin), world. A contrast with
    too few images or equal values is not tested; it has no rows.
    """
    inner = replace(plan, resamples=simulation.resamples)
    counted = [row for each in observed if can_be_tested(each, plan) for row in rejections(each, inner, simulation)]
    table = pd.DataFrame(counted, columns=COUNTED).astype({"datasets": int, "rejections": int})
    table["size"] = table["rejections"] / table["datasets"]
    table["p_binomial"] = stats.binom.sf(table["rejections"] - 1, table["datasets"], plan.alpha)
    table["tests"] = table.groupby("world")["world"].transform("size")
    table["passes"] = table["p_binomial"] >= GATE_LEVEL / table["tests"]
    return table


def gated(observed: Sequence[Observations], plan: Plan, simulation: Simulation) -> pd.DataFrame:
    """The table of `validate`; AtlasError where a test rejects Gaussian data too often, so that no verdict is given."""
    table = validate(observed, plan, simulation)
    failed = failures(table)
    if failed:
        raise AtlasError("tests of contrasts reject too often, so there is no verdict:\n  " + "\n  ".join(failed))
    return table


def published(table: pd.DataFrame) -> pd.DataFrame:
    """The table for readers: whether a test passes as yes or no."""
    return table.assign(passes=table["passes"].map({True: "yes", False: "no"}))


def failures(table: pd.DataFrame) -> list[str]:
    """What the gate fails on: tests that reject Gaussian data of the null hypothesis more often than alpha."""
    failed = table[(table["world"] == "gaussian") & ~table["passes"]]
    return [
        f"{row.contrast}: the {row.test} test rejects {row.rejections} of {row.datasets} simulated datasets "
        f"at effect {row.effect:+.3g} (p = {row.p_binomial:.2g})"
        for row in failed.itertuples()
    ]


def not_valid(table: pd.DataFrame) -> set[tuple[str, str]]:
    """Tests, as (contrast, test), that reject too often on the study's own values: no verdict may rest on them."""
    failed = table[(table["world"] == "resampled") & (table["p_binomial"] < GATE_LEVEL / table["tests"])]
    return set(zip(failed["contrast"], failed["test"], strict=True))


def can_be_tested(observed: Observations, plan: Plan) -> bool:
    """Whether a contrast has enough images, and values that differ."""
    enough = min(map(len, observed.values)) >= plan.min_images
    return enough and any(spread(values) > 0 for values in observed.values)


def rejections(observed: Observations, plan: Plan, simulation: Simulation) -> Iterator[dict[str, Any]]:
    """Rows of `validate` for one contrast; coverage is that of the interval, at effect 0."""
    margin, name = margin_of(observed.contrast), observed.contrast.name
    sizes = tuple(map(len, observed.values))
    for world in WORLDS:
        noise = simulated(observed, world, sizes, simulation.datasets, stream(observed, plan.seed, world))
        results = in_batches(noise, margin, plan)
        rejected = int((results.p_difference <= plan.alpha).sum())
        covered = float(((results.low <= 0) & (results.high >= 0)).mean())
        yield dict(zip(COUNTED, (name, "difference", world, 0.0, simulation.datasets, rejected, covered), strict=True))
        for effect in (margin, -margin) if np.isfinite(margin) else ():
            rejected = int((equivalence_p(planted(noise, effect), margin) <= plan.alpha).sum())
            row = (name, "equivalence", world, effect, simulation.datasets, rejected, np.nan)
            yield dict(zip(COUNTED, row, strict=True))


def power(observed: Sequence[Observations], plan: Plan, simulation: Simulation) -> pd.DataFrame:
    """How often each verdict falls, before correction, on Gaussian datasets with planted effects, by effect and n.

    Rows: contrast, n_first, n_second, effect (in the measure's unit), datasets, and the shares moved, equivalent,
    undecided. Sizes below the fewest images of a test are left out. Fewer permutations than in the study: a little
    less power, not more.
    """
    inner = replace(plan, resamples=simulation.resamples, permutations=simulation.power_permutations)
    rows = [row for each in observed if can_be_tested(each, plan) for row in planted_verdicts(each, inner, simulation)]
    columns = ["contrast", "n_first", "n_second", "effect", "datasets", "moved", "equivalent", "undecided"]
    return pd.DataFrame(rows, columns=columns)


def planted_verdicts(observed: Observations, plan: Plan, simulation: Simulation) -> Iterator[dict[str, Any]]:
    """Rows of `power` for one contrast."""
    margin = margin_of(observed.contrast)
    pooled = np.sqrt(np.mean([rounded_spread(values) ** 2 for values in observed.values]))
    unit = margin if np.isfinite(margin) else significant(float(pooled))
    random = stream(observed, plan.seed, "power")
    for factor in simulation.sizes:
        sizes = tuple(round(factor * len(values)) for values in observed.values)
        if min(sizes) < plan.min_images:
            continue
        noise = simulated(observed, "gaussian", sizes, simulation.power_datasets, random)
        for effect in simulation.effects:
            results = in_batches(planted(noise, effect * unit), margin, plan)
            equivalent = results.p_equivalence <= plan.alpha
            excludes = (results.low > 0) | (results.high < 0)
            moved = (results.p_difference <= plan.alpha) & excludes & ~equivalent
            yield {
                "contrast": observed.contrast.name,
                "n_first": sizes[0],
                "n_second": sizes[-1],
                "effect": effect * unit,
                "datasets": simulation.power_datasets,
                "moved": float(moved.mean()),
                "equivalent": float(equivalent.mean()),
                "undecided": float((~moved & ~equivalent).mean()),
            }


def stream(observed: Observations, seed: int, world: str) -> np.random.Generator:
    """The random numbers of one contrast in one world."""
    return np.random.default_rng([seed, crc32(f"{observed.contrast.name} {world}".encode())])


def simulated(
    observed: Observations, world: str, sizes: tuple[int, ...], datasets: int, random: np.random.Generator
) -> Arms:
    """Return datasets without an effect, an array (datasets, n) per arm: Gaussian with the arm's standard deviation, or
    drawn with replacement from its centred values."""
    arms = list(zip(observed.values, sizes, strict=True))
    if world == "gaussian":
        return tuple(random.normal(0, rounded_spread(values), (datasets, n)) for values, n in arms)
    return tuple(random.choice(rounded_centred(values), (datasets, n)) for values, n in arms)


def rounded_spread(values: np.ndarray) -> float:
    """Return the standard deviation of values (n,), rounded."""
    return significant(float(spread(values)))


def rounded_centred(values: np.ndarray) -> np.ndarray:
    """Return values (n,) minus their mean, in whole steps of a share of their standard deviation, and centred again."""
    step = GRAIN * rounded_spread(values)
    if step == 0:
        return np.zeros_like(values)
    steps = np.round((values - values.mean()) / step)
    return (steps - steps.mean()) * step


def significant(value: float) -> float:
    """Return a number rounded to significant digits."""
    return float(f"{value:.{DIGITS}g}")


def planted(noise: Arms, effect: float) -> Arms:
    """Datasets with an effect added to the first arm, or to the paired differences."""
    return (noise[0] + effect, *noise[1:])


def equivalence_p(arms: Arms, margin: float) -> np.ndarray:
    """p of equivalence of each dataset."""
    return tost_paired(arms[0], margin) if len(arms) == 1 else tost_welch(arms[0], arms[1], margin)


def in_batches(arms: Arms, margin: float, plan: Plan) -> Results:
    """The tests of each dataset; every batch has permutations and resamples of its own."""
    parts = []
    for start in range(0, len(arms[0]), DATASETS_AT_ONCE):
        own = replace(plan, seed=plan.seed + start)
        parts.append(all_tests(tuple(values[start : start + DATASETS_AT_ONCE] for values in arms), margin, own))
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in NUMBERS}
    return Results(**joined, smallest_p=parts[0].smallest_p, note=parts[0].note)


def all_tests(arms: Arms, margin: float, plan: Plan) -> Results:
    """The tests of paired differences, one array, or of two arms."""
    return paired_tests(arms[0], margin, plan) if len(arms) == 1 else unpaired_tests(arms[0], arms[1], margin, plan)
