"""Samples of the causal checks: which ones are perturbed, and what a perturbation has to know of each."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from attention_atlas.config import Causal
from attention_atlas.errors import AtlasError, nearest
from attention_atlas.inputs.study import Study


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
    """The ids of the samples to perturb: those that the settings name, or one an image.

    Of image number i, in the order of the samples table, the query type number i mod T (of the T types with targets,
    by name), or the next one that the image has a targeted sample of; among several such samples number i // T in
    turn. Images without a targeted sample have none, controls (rows with a condition) are left out. Raises AtlasError
    for ids that the study does not have.
    """
    if causal.samples:
        return named_samples(study, causal.samples)
    samples = study.samples[study.samples["condition"] == ""]
    targeted = samples[samples["target_object"] != ""]
    types = sorted(targeted["query_type"].unique())
    by_image = targeted.groupby("image")
    return [
        taking_turns(by_image.get_group(image), types, number)
        for number, image in enumerate(samples["image"].unique())
        if image in by_image.groups
    ]


def named_samples(study: Study, names: tuple[str, ...]) -> list[str]:
    """The samples that the settings name; each must be one of the study's."""
    known = study.samples["sample_id"].tolist()
    for name in names:
        if name not in known:
            hint = nearest(name, known)[:200]
            raise AtlasError(f"causal.samples: {name!r} is not in {study.folder / 'samples.csv'}.{hint}")
    return list(dict.fromkeys(names))


def taking_turns(samples: pd.DataFrame, types: list[str], number: int) -> str:
    """The sample of image `number` whose type's, and among its samples of that type whose own, turn it is."""
    turn, first = divmod(number, len(types))
    of_type = {name: rows["sample_id"].tolist() for name, rows in samples.groupby("query_type")}
    own = next(of_type[name] for name in (*types[first:], *types[:first]) if name in of_type)
    return own[turn % len(own)]
