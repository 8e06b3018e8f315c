"""Planes: contrasts of entropy at every layer and step around the answer, by cluster permutation over images."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from attention_atlas.analysis import steps, summaries
from attention_atlas.analysis.arms import ARMS, Arm, Entry, Evidence, arm_rows, impossible, shared_layers
from attention_atlas.analysis.hypothesis_tests import ClusterTest, Plan, cluster_test
from attention_atlas.analysis.summaries import Run

# Steps before and after the answer's first token.
ALIGNED = 3
STEPS = range(-ALIGNED, ALIGNED + 1)
CLUSTERS = ["contrast", "cluster", "layers", "steps", "cells", "mass", "p", "n", "note"]
PLANE = ["contrast", "layer", "step", "t", "cluster", "n"]


def clusters(evidence: Evidence, plan: Plan) -> dict[str, pd.DataFrame]:
    """The tables clusters (a row a cluster, or one that says that there is none) and cluster_plane (a row a cell)."""
    found: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    for name, entry in evidence.run.settings["contrasts"].items():
        if not entry["plane"]:
            continue
        reason = impossible(evidence, entry) or without_plane(evidence.run, entry)
        if reason:
            found.append(no_cluster(name, 0, reason))
            continue
        layers = shared_layers(evidence.run, entry)
        first, second = (aligned(evidence.run, entry[arm], layers) for arm in ARMS)
        images = first.index.intersection(second.index, sort=True)
        differences = (first.loc[images] - second.loc[images]).to_numpy().reshape(len(images), len(layers), len(STEPS))
        test = cluster_test(differences, plan)
        found += cluster_rows(name, test, layers)
        cells += cell_rows(name, test, layers, np.isfinite(differences).sum(axis=0))
    return {"clusters": pd.DataFrame(found, columns=CLUSTERS), "cluster_plane": pd.DataFrame(cells, columns=PLANE)}


def without_plane(run: Run, entry: Entry) -> str:
    """Why the arms of a contrast have no plane in common; empty where they have one."""
    if any(entry[arm]["condition"] for arm in ARMS):
        return "control conditions have maps at the selected step alone"
    return "" if shared_layers(run, entry) else "the arms have no layer in common"


def aligned(run: Run, arm: Arm, layers: list[int]) -> pd.DataFrame:
    """Entropy of an arm by image: one column a (layer, step), steps counted from the answer's first token.

    Samples of one image are averaged; NaN where none of them has the step. Samples without an answer have no rows.
    """
    every = summaries.profiles(run, run.heads, steps.selected_steps(run.samples, run.answers, "all"))
    names = every.index.get_level_values("sample_id")
    answer = run.answers.set_index("sample_id")["answer_step"].reindex(names).to_numpy()
    step = every.index.get_level_values("step").to_numpy() - answer
    kept = arm_rows(run, arm, names) & (answer >= 0) & np.isin(step, STEPS)
    long = every.loc[kept, layers].assign(aligned=step[kept]).groupby(["image", "aligned"]).mean()
    columns = pd.MultiIndex.from_product([layers, STEPS])
    return long.unstack("aligned").reindex(columns=columns)


def cluster_rows(name: str, test: ClusterTest, layers: list[int]) -> Iterator[dict[str, Any]]:
    """The clusters of one contrast with their extents, or that there is none."""
    if not len(test.p):
        yield no_cluster(name, test.n, test.note or "no cell passes the threshold of a cluster")
    for number, (mass, p) in enumerate(zip(test.mass, test.p, strict=True), start=1):
        depth, place = np.nonzero(test.labels == number)
        extents = span(layers[depth.min()], layers[depth.max()]), span(STEPS[place.min()], STEPS[place.max()])
        yield dict(zip(CLUSTERS, (name, number, *extents, len(depth), float(mass), float(p), test.n, ""), strict=True))


def no_cluster(name: str, n: int, note: str) -> dict[str, Any]:
    """The row of a contrast without clusters."""
    return dict(zip(CLUSTERS, (name, 0, "", "", 0, np.nan, np.nan, n, note), strict=True))


def span(low: int, high: int) -> str:
    """A range of labels, which may be negative, in words."""
    return str(low) if low == high else f"{low} to {high}"


def cell_rows(name: str, test: ClusterTest, layers: list[int], count: np.ndarray) -> Iterator[dict[str, Any]]:
    """The cells of one contrast's plane: t (NaN = left out), the cluster (0 = none) and the number of images."""
    for (depth, place), t in np.ndenumerate(test.t):
        cell = (name, layers[depth], STEPS[place], float(t), int(test.labels[depth, place]), int(count[depth, place]))
        yield dict(zip(PLANE, cell, strict=True))
