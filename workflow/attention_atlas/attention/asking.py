"""Asking: from rows of a study to prompts and processed pictures, with everything refused that can be known before.

Each picture is processed once, however many rows are about it and whatever they call it. Pixels of many large pictures
are not held: those beyond `MOST_PIXELS` are made again when a batch wants them.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from attention_atlas.attention import models, prompts
from attention_atlas.attention.catalogue import EXTRACTION_MODULES
from attention_atlas.attention.families import ProcessedImage
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.nodes import Item, Picture
from attention_atlas.config import Capture
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.shards import shards_of
from attention_atlas.inputs.study import SPECIAL_TOKEN, Study, read_study
from attention_atlas.inputs.views import all_images, images_of
from attention_atlas.provenance import file_sha256

logger = logging.getLogger(__name__)
# Bytes of processed pixels that a shard holds; an image of 1,024 vision tokens has 25 MB.
MOST_PIXELS = 2**29
Row = Mapping[Any, str]


@dataclass(frozen=True)
class Asked:
    """What is asked: rows about pictures of a study, how a picture is had by its name (with a hash of its content), the
    modules whose code decides this, and the seed of random weights where the model's own are not meant."""

    study: Study
    rows: Sequence[Row]
    picture: Callable[[Study, str], tuple[Image.Image, str]]
    modules: tuple[str, ...]
    weights_seed: int | None = None


def own_samples(study_folder: Path, shard: str, shards: int) -> Asked:
    """What the study itself asks in a shard."""
    study, rows = shard_rows(study_folder, shard, shards)
    return Asked(study, rows, image_file, EXTRACTION_MODULES)


def image_file(study: Study, name: str) -> tuple[Image.Image, str]:
    """An image of a study with the hash of its file."""
    path = study.image_path(name)
    return read_image(path), file_sha256(path)


def shard_rows(study_folder: Path, shard: str, shards: int) -> tuple[Study, list[Row]]:
    """The study and its rows that fall into a shard, in the order of the table; rows and the shard's images checked.

    Expected answers and query types mean nothing to a model, so they are not held against the settings here.
    """
    rows = shards_of(study_folder / "samples.csv", shards).get(shard, [])
    if not rows:
        raise AtlasError(f"{study_folder / 'samples.csv'}: no image falls into shard {shard} of {shards}")
    asked = {row["image"] for row in rows}
    study = read_study(study_folder, query_types=None, images=all_images(asked))
    return study, [row for row in study.samples.to_dict("records") if row["image"] in asked]


def check_system_prompt(text: str) -> None:
    """Refuse a system prompt that would end its own turn or stand for an image."""
    special = SPECIAL_TOKEN.search(text)
    if special:
        raise AtlasError(
            f"extraction.system_prompt {text!r} contains the special token {special.group()!r}; leave it out"
        )


def check_capture(source: VisionLanguageModel, capture: Capture) -> None:
    """Refuse what cannot be kept of a model of this family."""
    for wanted, reason in source.refused.items():
        if getattr(capture, wanted):
            raise AtlasError(f"model {source.name!r}: {reason}. Set capture.{wanted} to false")


def prepare(source: VisionLanguageModel, asked: Asked, system_prompt: str) -> list[Item]:
    """Pictures processed once each, prompts built; tells how many pictures the grid distorts."""
    pictures: dict[str, Picture] = {}
    processed: dict[str, ProcessedImage] = {}  # by content: control conditions name one picture in several ways
    stretched, held = [], 0
    for name in dict.fromkeys(name for row in asked.rows for name in images_of(row["image"])):
        image, sha256 = asked.picture(asked.study, name)
        if models.stretch(image, source.grid) > models.MOST_STRETCH:
            stretched.append(name)
        if sha256 not in processed:
            made = processed_picture(source, asked.study, name, image)
            size = math.prod(made.pixel_values_shape) * torch.float32.itemsize
            fits = held + size <= MOST_PIXELS
            held += size if fits else 0
            processed[sha256] = made if fits else without_pixels(made, source, asked, name, sha256)
        pictures[name] = Picture(name, sha256, processed[sha256])
    models.warn_of_stretched(stretched, source.grid)
    return [item_of(source, row, pictures, system_prompt) for row in asked.rows]


def item_of(source: VisionLanguageModel, row: Row, pictures: Mapping[str, Picture], system_prompt: str) -> Item:
    """A row as a sample ready to be asked."""
    own = tuple(pictures[name] for name in images_of(row["image"]))
    shown = [picture.processed for picture in own]
    return Item(row, prompts.build_prompt(source, shown, row["query"], system_prompt, row["sample_id"]), own)


def without_pixels(
    made: ProcessedImage, source: VisionLanguageModel, asked: Asked, name: str, sha256: str
) -> ProcessedImage:
    """A processed picture that holds no pixels and makes them again whenever they are wanted."""

    def pixel_values() -> torch.Tensor:
        image, found = asked.picture(asked.study, name)
        if found != sha256:
            raise AtlasError(f"{asked.study.folder}: picture {name!r} was changed while its shard was made; run again")
        return processed_picture(source, asked.study, name, image).pixel_values()

    return replace(made, pixel_values=pixel_values)


def processed_picture(source: VisionLanguageModel, study: Study, name: str, image: Image.Image) -> ProcessedImage:
    """A picture as the model takes it; the error names one that it does not take."""
    try:
        return prompts.process_image(source, image)
    except ValueError as error:
        size = f"{image.width} x {image.height} px"
        path = study.image_path(name)
        raise AtlasError(f"{path}: model {source.name!r} takes no image of {size} ({error})") from error
