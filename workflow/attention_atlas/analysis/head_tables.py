"""Heads of a run that localise: chosen and frozen on the split `select`, evaluated on the images of `evaluate`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attention_atlas.analysis import corrections, grounding, heads
from attention_atlas.analysis.head_scores import SELECT, Block, Measured, auroc, blocks_of, by_image, measured
from attention_atlas.analysis.pooling import HEAD_POOLINGS
from attention_atlas.analysis.statistics import MeanInterval, mean_intervals
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.study import Study

EVALUATE = "evaluate"
SELECTED, RANDOM, LOCALIZATION, VEA = "selected heads", "random heads", "LocalizationHeads", "VEA layers"
POOLED = {how: f"all heads, {how}" for how in HEAD_POOLINGS}
TOGETHER, GAUSSIAN, UNIFORM = "all heads together", "Gaussian", "uniform"
METHODS = (SELECTED, RANDOM, *POOLED.values(), TOGETHER, LOCALIZATION, VEA, GAUSSIAN, UNIFORM)
CHOSEN = (SELECTED, RANDOM, LOCALIZATION, VEA)
# What every method's AUROC is held against, image by image.
COMPARED = {"difference": TOGETHER, "over_gaussian": GAUSSIAN}
# Random sets whose maps are in memory together: bounds memory, changes no number.
SETS_AT_ONCE = 128
NO_RANDOM = dict.fromkeys(("random_low", "random_high", "p"), np.nan)
# What floating point may add to means that are equal on paper.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Choice:
    """What the methods chose on `n` images, as indices: heads, heads, and layers; and why nothing was chosen."""

    selected: np.ndarray
    localization: np.ndarray
    layers: np.ndarray
    n: int
    note: str


def localising_heads(
    nodes: Mapping[str, xr.Dataset], study: Study, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """The frozen heads (for JSON), the table `heads` of methods, and the table `head_auroc` of every head.

    `settings` has the sections heads and statistics. No image may be in both splits (`read_study` refuses that). Raises
    AtlasError where more heads are wanted than there are.
    """
    blocks = blocks_of(nodes, study)
    known = measured(blocks, study)
    refuse_more_heads_than_there_are(known, settings["heads"])
    scores = split_means(known, SELECT, settings["statistics"]["min_images"])
    choice = chosen(known, scores, settings)
    frozen = frozen_heads(known, scores, choice)
    per_sample, random = evaluated(blocks, known, choice, settings["heads"])
    return frozen, methods_table(known, choice, per_sample, random, settings["statistics"]), head_table(known, choice)


def refuse_more_heads_than_there_are(known: Measured, settings: Mapping[str, Any]) -> None:
    """Refuse a set of heads that no random set of equal size can be drawn for."""
    if len(known.samples) and settings["count"] > len(known.names):
        raise AtlasError(f"heads.count is {settings['count']}, but the model has {len(known.names)} heads; lower it")


def split_means(known: Measured, split: str, min_images: int) -> pd.DataFrame:
    """Mean AUROC over the images of a split, and their number `n`, of each head; NaN for a head of too few images."""
    here = (known.samples["split"] == split).to_numpy()
    values = by_image(known.auroc[here], known.samples[here])
    n = values.notna().sum()
    return pd.DataFrame({"auroc": values.mean().where(n >= min_images).round(heads.DECIMALS), "n": n})


def chosen(known: Measured, scores: pd.DataFrame, settings: Mapping[str, Any]) -> Choice:
    """What the methods choose on the selection split; nothing where it has too few images."""
    wanted, fewest = settings["heads"], settings["statistics"]["min_images"]
    n = int(scores["n"].max()) if len(scores) else 0
    if n < fewest:
        none = np.zeros(0, dtype=int)
        return Choice(none, none, none, n, f"{n} image(s) with a target in the split select; choosing needs {fewest}")
    here = (known.samples["split"] == SELECT).to_numpy()
    samples = known.samples[here]
    mass = by_image(known.mass[here], samples).mean().to_numpy()
    localization = heads.localization_heads(
        mass, known.spatial_entropy[here], wanted["most_focused"], wanted["most_frequent"]
    )
    profile = by_image(known.layer_auroc[here], samples).mean().to_numpy()
    layers = heads.top_layers(profile, wanted["layer_share"])
    return Choice(heads.best(scores["auroc"].to_numpy(), wanted["count"]), localization, layers, n, "")


def frozen_heads(known: Measured, scores: pd.DataFrame, choice: Choice) -> dict[str, Any]:
    """The chosen heads, the best first, and the score of every head (None where it has none), as plain data."""
    values = [None if np.isnan(score) else float(score) for score in scores["auroc"]]
    named = [(int(layer), int(head)) for layer, head in known.names]
    return {
        "split": SELECT,
        "score": "auroc",
        "n": choice.n,
        "heads": [{"layer": named[k][0], "head": named[k][1], "score": values[k]} for k in choice.selected],
        "all": [[*name, score] for name, score in zip(named, values, strict=True)],
    }


def evaluated(
    blocks: list[Block], known: Measured, choice: Choice, settings: Mapping[str, Any]
) -> tuple[pd.DataFrame, np.ndarray]:
    """AUROC of each method (column) for each sample of `known`, and of each random set (sample, sets)."""
    count = len(known.names)
    sets = {TOGETHER: np.arange(count)}
    if not choice.note:
        sets |= {SELECTED: choice.selected, LOCALIZATION: choice.localization}
    belongs = np.array([heads.members(own, count) for own in sets.values()])
    drawn = heads.random_sets(count, len(choice.selected), settings["random_sets"], settings["seed"])
    drawn = drawn if len(choice.selected) else drawn[:0]
    columns = [pd.DataFrame(block_methods(block, list(sets), belongs, choice.layers)) for block in blocks]
    random = [block_sets(block, drawn) for block in blocks]
    per_sample = pd.concat([pd.DataFrame(columns=list(METHODS), dtype=float), *columns], ignore_index=True)
    of_random = np.concatenate([np.zeros((0, len(drawn))), *random])
    return per_sample.assign(**{RANDOM: of_random.mean(axis=1) if len(drawn) else np.nan}), of_random


def block_methods(block: Block, sets: list[str], belongs: np.ndarray, layers: np.ndarray) -> dict[str, np.ndarray]:
    """AUROC (sample,) of one block by method, random sets left out."""
    p, mass, cover = block.p, block.mass, block.cover
    of_sets = auroc(heads.set_maps(flat_weights(p, mass), belongs), cover)
    values = {name: of_sets[:, number] for number, name in enumerate(sets)}
    pooled = {how: corrections.pooled(p, mass, how) for how in POOLED}
    values |= {POOLED[how]: auroc(maps, cover).mean(axis=-1) for how, maps in pooled.items()}
    if len(layers):
        values[VEA] = auroc(heads.layer_set_map(pooled["mean"], layers), cover)
    values[GAUSSIAN] = auroc(np.broadcast_to(grounding.gaussian_map(block.grid), cover.shape), cover)
    values[UNIFORM] = np.where(np.isfinite(values[GAUSSIAN]), 0.5, np.nan)
    return values


def block_sets(block: Block, drawn: np.ndarray) -> np.ndarray:
    """AUROC (sample, sets) of one block's random sets of heads."""
    weights = flat_weights(block.p, block.mass)
    parts = [auroc(heads.set_maps(weights, part), block.cover) for part in parts_of(drawn)]
    return np.concatenate([np.zeros((len(weights), 0)), *parts], axis=1)


def parts_of(sets: np.ndarray) -> list[np.ndarray]:
    """Sets in parts that are worked on together."""
    return [sets[start : start + SETS_AT_ONCE] for start in range(0, len(sets), SETS_AT_ONCE)]


def flat_weights(p: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Maps times vision mass, (sample, heads, N)."""
    return heads.weighted(p, mass).reshape(len(p), -1, p.shape[-1])


def methods_table(
    known: Measured, choice: Choice, per_sample: pd.DataFrame, random: np.ndarray, statistics: Mapping[str, Any]
) -> pd.DataFrame:
    """The table `heads`: a row per method."""
    select, evaluate = (has_target_in(known, split) for split in (SELECT, EVALUATE))
    images = by_image(per_sample[evaluate], known.samples[evaluate])
    intervals = mean_intervals(images, statistics)
    means = {"auroc": intervals}
    means |= {name: differences_from(images, other, statistics) for name, other in COMPARED.items()}
    seen = by_image(per_sample[select], known.samples[select]).mean()
    sets = by_image(random[evaluate], known.samples[evaluate]).mean().to_numpy()
    undefined = per_sample[evaluate].isna().sum()
    rows = [
        {
            "method": method,
            **heads_of_method(method, known, choice),
            "n_select": choice.n,
            "n": intervals[method].n,
            **{column: value for name, of in means.items() for column, value in columns_of(name, of[method])},
            "select_auroc": seen[method],
            **(against_random(sets, intervals[SELECTED], statistics) if method == RANDOM else NO_RANDOM),
            "note": note_of(method, choice, intervals[method], undefined[method], evaluate.sum()),
        }
        for method in METHODS
    ]
    return pd.DataFrame(rows)


def has_target_in(known: Measured, split: str) -> np.ndarray:
    """Which samples are of a split and have a target."""
    return known.samples["target"].to_numpy(dtype=bool) & (known.samples["split"] == split).to_numpy()


def differences_from(images: pd.DataFrame, other: str, statistics: Mapping[str, Any]) -> dict[str, MeanInterval]:
    """The mean paired difference of each method from another, over the images that have both; none from itself."""
    differences = images.drop(columns=other).sub(images[other], axis=0)
    return {**mean_intervals(differences, statistics), other: MeanInterval(np.nan, np.nan, np.nan, 0, "")}


def heads_of_method(method: str, known: Measured, choice: Choice) -> dict[str, Any]:
    """The heads or layers of a method as text, and the number of heads whose maps it combines."""
    count = len(known.names)
    if method in (SELECTED, LOCALIZATION):
        chosen_heads = choice.selected if method == SELECTED else choice.localization
        named = [f"L{layer}H{head}" for layer, head in known.names[chosen_heads]]
        return {"heads": ", ".join(named) or "-", "number": len(named)}
    if method == VEA:
        layers = np.unique(known.names[:, 0])[choice.layers]
        in_them = np.isin(known.names[:, 0], layers).sum()
        return {"heads": ", ".join(f"L{layer}" for layer in layers) or "-", "number": int(in_them)}
    numbers = {RANDOM: len(choice.selected), GAUSSIAN: 0, UNIFORM: 0}
    return {"heads": "-", "number": numbers.get(method, count)}


def columns_of(name: str, interval: MeanInterval) -> list[tuple[str, float]]:
    """A mean and the ends of its interval, each with the name of its column."""
    return [(name, interval.mean), (f"{name}_low", interval.low), (f"{name}_high", interval.high)]


def against_random(sets: np.ndarray, selected: MeanInterval, statistics: Mapping[str, Any]) -> dict[str, float]:
    """Where the random sets' mean AUROC (sets,) lies, and p: the share of sets at least as good as the selected one.

    The selected set counts as one of them (Phipson & Smyth 2010); nothing where there are too few images.
    """
    if not len(sets) or selected.n < statistics["min_images"]:
        return NO_RANDOM
    tail = (1 - statistics["confidence"]) / 2
    low, high = np.quantile(sets, [tail, 1 - tail])
    as_good = int((sets >= selected.mean - ROUNDING).sum())
    return {"random_low": float(low), "random_high": float(high), "p": (1 + as_good) / (1 + len(sets))}


def note_of(method: str, choice: Choice, interval: MeanInterval, undefined: int, samples: int) -> str:
    """Why a method has no heads, or no interval, and how many samples its AUROC is undefined for."""
    if method in CHOSEN and choice.note:
        return choice.note
    parts = [interval.note, f"{undefined} of {samples} samples undefined" if undefined else ""]
    return "; ".join(filter(None, parts))


def head_table(known: Measured, choice: Choice) -> pd.DataFrame:
    """The table `head_auroc`: each head over every image that has a target, whatever its split."""
    has = known.samples["target"].to_numpy(dtype=bool)
    scores, mass = (by_image(values[has], known.samples[has]) for values in (known.auroc, known.mass))
    selected = np.isin(np.arange(len(known.names)), choice.selected)
    return pd.DataFrame(
        {
            "layer": known.names[:, 0],
            "head": known.names[:, 1],
            "n": scores.notna().sum().to_numpy(dtype=int),
            "auroc": scores.mean().to_numpy(dtype=float),
            "selected": "" if choice.note else np.where(selected, "yes", "no"),
            "vision_mass": mass.mean().to_numpy(dtype=float),
        }
    )
