"""Distances between the maps of two queries of the same image, beyond those between a query and its paraphrase."""

import numpy as np
import pandas as pd

from attention_atlas.analysis import conditions, contrasts
from attention_atlas.analysis.arms import EXCESSES, Entry, Evidence, arm_samples, condition_profiles, shared_layers
from attention_atlas.analysis.blocks import image_blocks
from attention_atlas.analysis.corrected_maps import raw_alone, raw_pooled

ARMS = ("between", "paraphrases")  # those of `contrasts.excess_arms`
PAIR = ["first", "second"]


def excess(evidence: Evidence, entry: Entry) -> tuple[pd.DataFrame, str]:
    """The arms of a contrast of an excess (`contrasts.excess_arms`), and what is left out of them.

    Over all pairs of a sample of the first arm and one of the second of an image: pairs whose paraphrases are both
    known where an image has any, else all of its pairs, which then describe and test nothing.
    """
    pairs = pair_distances(evidence, entry)
    own = paraphrase_distances(evidence, entry)
    values = pairs[["between"]].assign(within_a=pairs["first"].map(own), within_b=pairs["second"].map(own))
    complete = values.notna().all(axis=1)
    values[["within_a", "within_b"]] = values[["within_a", "within_b"]].where(complete)
    tested = complete.groupby(pairs["image"]).transform("any")
    means = values[complete | ~tested].astype(float).groupby(pairs["image"]).mean()
    left_out = int((~complete).sum())
    note = f"{left_out} of {len(pairs)} pair(s) of samples without all four maps left out" if left_out else ""
    return contrasts.excess_arms(means.index.tolist(), *means.to_numpy().T), note


def pair_distances(evidence: Evidence, entry: Entry) -> pd.DataFrame:
    """image, first, second, between: the distance, mean over layers, of each pair of an image's samples.

    NaN where one of them has no map.
    """
    run = evidence.run
    arms = [run.samples[run.samples["sample_id"].isin(arm_samples(run, entry[arm]))] for arm in PAIR]
    first, second = (
        arm[["image", "sample_id"]].rename(columns={"sample_id": name}) for arm, name in zip(arms, PAIR, strict=True)
    )
    pairs = first.merge(second, on="image")
    pairs = pairs[pairs["first"] != pairs["second"]].assign(between=np.nan)
    layers = shared_layers(run, entry)
    for _, node in conditions.with_maps(evidence.nodes):
        names = node["sample"].values
        mine = pairs[pairs["first"].isin(names) & pairs["second"].isin(names)]
        node = raw_alone(node).sel(layer=layers).isel(sample=np.isin(names, mine[PAIR].to_numpy()))
        for place in image_blocks(node["attention"], node["image"].values):
            block = node.isel(sample=place).load()
            number = {name: number for number, name in enumerate(block["sample"].values)}
            own = mine[mine["first"].isin(list(number))]
            maps = raw_pooled(block, run.heads)
            p, q = (maps[own[name].map(number).to_numpy(dtype=int)] for name in PAIR)
            between = distance(entry["measure"], p, q, (node.sizes["row"], node.sizes["col"]))
            pairs.loc[own.index, "between"] = between.mean(axis=-1)
    return pairs


def distance(measure: str, p: np.ndarray, q: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The distance that an excess is of, between maps (..., N)."""
    return contrasts.js_divergence(p, q) if measure == "js_excess" else contrasts.centre_shift(p, q, grid)


def paraphrase_distances(evidence: Evidence, entry: Entry) -> pd.Series:
    """The distance of each sample's map to that of its paraphrase, mean over layers; NaN where one is undefined."""
    profile = condition_profiles(evidence, "paraphrase", EXCESSES[entry["measure"]])
    means = profile[shared_layers(evidence.run, entry)].mean(axis=1, skipna=False)
    return means.droplevel(["query_id", "image", "step"])
