"""Interventions: what perturbed pictures and knocked-out vision tokens do to the tokens that a model generated.

Nothing is known here about answers: each generated token keeps its own log-probability under each perturbation.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from PIL import Image

from attention_atlas.attention import models, prompts, scoring
from attention_atlas.attention.device_errors import device_lost, first_line, out_of_memory
from attention_atlas.attention.families import ProcessedImage
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.scoring import Forced
from attention_atlas.config import Causal, Extraction, ModelEntry
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.causal_samples import Subject
from attention_atlas.inputs.perturbations import Perturbed, Picture, knocked_out_cells, perturbed_pictures, read_picture
from attention_atlas.inputs.study import Study

logger = logging.getLogger(__name__)
# Pictures that are encoded together at most: more of them are slower on a processor, and take its memory.
MOST_PICTURES = 16
# Knockouts that are scored together where the settings leave it open.
MOST_SETS = 64
COLUMNS = {"sample_id": "str", "kind": "str", "index": "int32", "step": "int32", "logprob": "float32"}
Label = tuple[str, int]
T = TypeVar("T")
Progress = Callable[[int, int], None]


def intervene_shard(
    study: Study,
    subjects: list[Subject],
    name: str,
    entry: ModelEntry,
    extraction: Extraction,
    causal: Causal,
    layers: list[int],
    progress: Progress = lambda done, total: None,
) -> pd.DataFrame:
    """Log-probabilities, nats, of the subjects' generated tokens under every perturbation that the settings name.

    Columns: sample_id, kind, index, step, logprob (NaN where a perturbation failed); `layers` is the window of the
    knockouts. Errors: AtlasError where an image cannot be read or a subject's cells are not those of its grid.
    """
    torch.set_num_threads(extraction.threads)
    source = models.load(name, entry)
    at_once = MOST_SETS if extraction.batch_size == "auto" else extraction.batch_size
    tables = []
    for number, subject in enumerate(subjects, start=1):
        case = prepared(source, study, subject, extraction.system_prompt)
        tables.append(score_pictures(source, case, causal, at_once))
        if "knockout" in causal.checks and subject.targets:
            tables.append(score_knockouts(source, case, causal, layers, at_once))
        progress(number, len(subjects))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)


@dataclass(frozen=True)
class Case:
    """A subject with its original picture, that picture as the model reads it, and the tokens to score."""

    subject: Subject
    picture: Picture
    image: ProcessedImage
    sample: Forced


def prepared(source: VisionLanguageModel, study: Study, subject: Subject, system_prompt: str) -> Case:
    """Everything that the perturbations of a subject share."""
    picture = read_picture(study, subject.image)
    image = processed(source, picture.pixels)
    if image.rows * image.cols != len(subject.order):
        raise AtlasError(
            f"sample {subject.sample_id!r}: its map has {len(subject.order)} cells, but the model sees {image.rows} x "
            f"{image.cols} of {subject.image!r}: the image or the model's grid has changed. Extract the shard anew"
        )
    prompt = prompts.build_prompt(source, [image], subject.query, system_prompt, subject.sample_id)
    return Case(subject, picture, image, scoring.forced(source, prompt, subject.token_id))


def processed(source: VisionLanguageModel, pixels: np.ndarray) -> ProcessedImage:
    """A picture as the model reads it."""
    return prompts.process_image(source, Image.fromarray(pixels))


def score_pictures(source: VisionLanguageModel, case: Case, causal: Causal, batch_size: int) -> pd.DataFrame:
    """The rows of a subject's picture, as it is and perturbed."""

    def score(batch: list[Perturbed]) -> np.ndarray:
        return scoring.score_images(source, case.sample, [processed(source, one.pixels) for one in batch])

    tables = []
    pictures = perturbed_pictures(case.picture, case.subject, (case.image.rows, case.image.cols), causal)
    for batch in batched(pictures, min(MOST_PICTURES, batch_size)):
        labels = [(one.kind, one.index) for one in batch]
        tables.append(as_rows(case.subject, labels, scored(case.subject, labels, batch, score)))
    return pd.concat(tables)


def score_knockouts(
    source: VisionLanguageModel, case: Case, causal: Causal, layers: list[int], batch_size: int
) -> pd.DataFrame:
    """The rows of a subject's knockouts: index 0 = its target set, then random sets."""

    def score(sets: list[np.ndarray]) -> np.ndarray:
        return scoring.score_knockouts(source, case.sample, case.image, np.stack(sets), layers, batch_size)

    sets = list(knocked_out_cells(case.subject, causal))
    labels = [("knockout", number) for number in range(len(sets))]
    return as_rows(case.subject, labels, scored(case.subject, labels, sets, score))


def scored(subject: Subject, labels: list[Label], items: list[T], score: Callable[[list[T]], np.ndarray]) -> np.ndarray:
    """Scores (items, steps) of perturbations; failing ones are tried one by one, and NaN where that fails too."""
    try:
        return score(items)
    except Exception as error:
        if len(items) == 1 and (out_of_memory(error) or device_lost(error)):
            raise AtlasError(
                f"sample {subject.sample_id}: {labels[0][0]} {labels[0][1]} cannot be scored ({first_line(error)}). "
                "Run again where there is more memory, or leave that check out of causal.checks"
            ) from error
        if len(items) == 1:
            logger.warning("sample %s: %s %d failed (%s)", subject.sample_id, *labels[0], error, exc_info=True)
            return np.full((1, len(subject.token_id)), np.nan)
        logger.warning("sample %s: %d perturbations failed (%s); one by one", subject.sample_id, len(items), error)
    # Outside of that block, where the error no longer keeps the batch in memory.
    pairs = zip(labels, items, strict=True)
    return np.concatenate([scored(subject, [label], [item], score) for label, item in pairs])


def as_rows(subject: Subject, labels: list[Label], logprobs: np.ndarray) -> pd.DataFrame:
    """Log-probabilities (perturbations, steps) as a long table."""
    kinds, indices = zip(*labels, strict=True)
    count, steps = logprobs.shape
    columns = {
        "sample_id": subject.sample_id,
        "kind": np.repeat(kinds, steps),
        "index": np.repeat(indices, steps),
        "step": np.tile(np.arange(steps), count),
        "logprob": logprobs.ravel(),
    }
    return pd.DataFrame(columns).astype(COLUMNS)


def batched(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Items in lists of `size`, made only when they are needed."""
    return iter(lambda: list(islice(items, size)), [])


def with_unmapped(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The table with a row for each declared sample that has no map to go by: unperturbed, its score missing."""
    if not names:
        return table
    rows = pd.DataFrame({"sample_id": names, "kind": "none", "index": 0, "step": 0, "logprob": np.nan})
    return pd.concat([table, rows.astype(table.dtypes.to_dict())], ignore_index=True)
