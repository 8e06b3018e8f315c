"""Samples of the causal checks: which ones are perturbed, and what a perturbation has to know of each."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from attention_atlas.config import Causal
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.study import Study, records
from attention_atlas.inputs.views import of_one_image


@dataclass(frozen=True)
class Subject:
    """One sample to perturb.

    `token_id` (steps,): what was generated, the end token included; `targets`: its target objects' ids, none where it
    has no target; `target_cells` (cells,): the target set as booleans; `order` (cells,): cells by descending map.
    """

    sample_id: str
    query: str
    image: str
    token_id: np.ndarray
    targets: tuple[str, ...]
    target_cells: np.ndarray
    order: np.ndarray


def causal_samples(study: Study, causal: Causal) -> list[str]:
    """The ids of the samples to perturb: those of the study that the settings name, or one an image.

    Image by image, in an order that a hash of their names draws, the query type with targets that was chosen least so
    far, and of its queries the one chosen least (of equal ones the first by name): a design that repeats from image to
    image cannot fall in step with the turns. Images without a targeted sample have none, controls (rows with a
    condition) are left out. The settings may name samples of other studies too; a study that has none of those named
    has one an image.
    """
    known = set(study.samples["sample_id"])
    named = [name for name in dict.fromkeys(causal.samples) if name in known]
    if named:
        return refused_several(study, named)
    samples = of_one_image(study.samples[study.samples["condition"] == ""])
    targeted = samples[samples["target_object"] != ""].sort_values(["query_type", "query_id"], kind="stable")
    by_image: dict[str, list[Mapping[str, str]]] = {}
    for row in records(targeted[["image", "sample_id", "query_type", "query_id"]]):
        by_image.setdefault(row["image"], []).append(row)
    chosen: Counter[tuple[str, ...]] = Counter()
    picked = {image: least_chosen(by_image[image], chosen) for image in sorted(by_image, key=drawn)}
    return [picked[image] for image in dict.fromkeys(samples["image"].tolist()) if image in picked]


def drawn(image: str) -> bytes:
    """The place of an image in the order in which samples are chosen."""
    return hashlib.sha256(image.encode()).digest()


def refused_several(study: Study, names: list[str]) -> list[str]:
    """The samples that the settings name; none may be about several images."""
    single = set(of_one_image(study.samples)["sample_id"])
    for name in names:
        if name not in single:
            raise AtlasError(f"causal.samples: {name!r} is about several images; name samples of one image alone")
    return names


def least_chosen(rows: Iterable[Mapping[str, str]], chosen: Counter[tuple[str, ...]]) -> str:
    """Of an image's samples the one whose type, then whose query, was chosen least; it is counted in `chosen`."""
    best = min(rows, key=lambda row: (chosen[(row["query_type"],)], chosen[row["query_type"], row["query_id"]]))
    chosen.update([(best["query_type"],), (best["query_type"], best["query_id"])])
    return best["sample_id"]
