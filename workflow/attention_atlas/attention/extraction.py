"""Extraction: the samples of one shard through one model into one netCDF file.

What can be refused without the model is refused before weights are loaded; finished batches outlive an interruption; a
sample that fails is recorded with its reason and does not take the others with it; a batch that does not fit into
memory is divided.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from attention_atlas import store
from attention_atlas.attention import batching, generation, models, nodes
from attention_atlas.attention.asking import (
    Asked,
    check_capture,
    check_system_prompt,
    own_samples,
    prepare,
)
from attention_atlas.attention.device_errors import (
    OutOfMemoryError,
    device_lost,
    first_line,
    out_of_memory,
    release_memory,
)
from attention_atlas.attention.generation import ImagesRead, asked_twice
from attention_atlas.attention.kept_batches import KeptBatches, Nodes, keeping
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.nodes import Item, grids_of
from attention_atlas.attention.prompts import Prompt
from attention_atlas.config import Capture, Extraction, Generation, ModelEntry, checked
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.shards import EXTRACTED_COLUMNS
from attention_atlas.inputs.views import all_images
from attention_atlas.provenance import code_fingerprint, library_versions, text_sha256

logger = logging.getLogger(__name__)
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "pillow")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ExtractionSettings:
    """The sections of the settings that a shard depends on."""

    extraction: Extraction
    generation: Generation
    capture: Capture

    @classmethod
    def from_sections(cls, sections: Mapping[str, Any]) -> "ExtractionSettings":
        """From the JSON sections of the command line; sections that are left out take their defaults."""
        return cls(
            checked(Extraction, sections.get("extraction", {}), "settings, extraction"),
            checked(Generation, sections.get("generation", {}), "settings, generation"),
            checked(Capture, sections.get("capture", {}), "settings, capture"),
        )

    def plain(self, **generation: int) -> "ExtractionSettings":
        """The same for control conditions: nothing kept but the rows on vision tokens."""
        capture = Capture(keep_bits=self.capture.keep_bits)
        return replace(self, generation=self.generation.model_copy(update=generation), capture=capture)

    def as_dict(self) -> dict[str, Any]:
        """As plain data, to be compared and recorded."""
        return {
            "extraction": self.extraction.model_dump(mode="json"),
            "generation": self.generation.model_dump(mode="json"),
            "capture": self.capture.model_dump(mode="json"),
        }


def extract_shard(
    study_folder: Path,
    shard: str,
    shards: int,
    name: str,
    entry: ModelEntry,
    settings: ExtractionSettings,
    scratch: Path,
    output: Path,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Extract one shard of a study's own samples into `output`; as `extract`."""
    return extract(own_samples(study_folder, shard, shards), name, entry, settings, scratch, output, progress)


def extract(
    asked: Asked,
    name: str,
    entry: ModelEntry,
    settings: ExtractionSettings,
    scratch: Path,
    output: Path,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Extract samples into `output`; returns what is worth telling but never part of the data (times, rates).

    Errors: AtlasError before any weights are loaded where study, settings or model entry are not in order; later where
    a single sample does not fit into memory or the device fails, finished batches being kept in `scratch`.
    """
    torch.set_num_threads(settings.extraction.threads)
    check_system_prompt(settings.extraction.system_prompt)
    started = time.perf_counter()
    source = models.load(name, entry, asked.weights_seed)
    check_capture(source, settings.capture)
    loaded = time.perf_counter()
    items = prepare(source, asked, settings.extraction.system_prompt)
    attrs = group_attributes(source, settings, asked.modules)
    folder = scratch / scratch_key(attrs, items)
    with keeping(folder) as kept:
        for done in answer_all(source, items, settings, attrs, kept):
            progress(done, len(items))
        try:
            kept.write_shard(output, items, settings.capture.keep_bits)
        except AtlasError:  # a shard of failures: the next run is to try again
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
    finished = time.perf_counter()
    return {
        "samples": len(items),
        "images": len(all_images(item.row["image"] for item in items)),
        "model_load_s": loaded - started,
        "extraction_s": finished - loaded,
        "samples_per_s": len(items) / (finished - loaded),
    }


def answer_all(
    source: VisionLanguageModel,
    items: list[Item],
    settings: ExtractionSettings,
    attrs: Mapping[str, Any],
    kept: KeptBatches,
) -> Iterator[int]:
    """Answer the items batch by batch; yields how many are done. What does not fit into memory is tried in halves."""
    wanted = set(settings.capture.full_samples) if settings.capture.rows == "all" else set()
    waiting = in_batches(items, first_size(source, items, settings, kept), wanted)
    reader, done = Reader(source, settings, items), 0
    while waiting:
        batch, *rest = waiting
        if kept.found(batch):
            logger.info("%d samples are kept from an earlier run", len(batch))
        else:
            make = fitting_answer(reader, batch, settings, attrs)
            if make is None:
                reader = Reader(source, settings, items)
                release_memory()
                waiting = in_batches([item for part in waiting for item in part], len(batch) // 2, wanted)
                continue
            kept.add(batch, make, last=not rest)
        waiting = rest
        done += len(batch)
        yield done


def fitting_answer(
    reader: "Reader", batch: Sequence[Item], settings: ExtractionSettings, attrs: Mapping[str, Any]
) -> Callable[[], Nodes] | None:
    """As `answered`; None where the batch does not fit into memory, whose error would keep it there."""
    try:
        return answered(reader, batch, settings, attrs)
    except OutOfMemoryError as error:
        refuse_single(reader.source, batch, error)
    return None


def first_size(
    source: VisionLanguageModel, items: Sequence[Item], settings: ExtractionSettings, kept: KeptBatches
) -> int:
    """The batch size of the settings, or what fits into the memory that is free."""
    size = settings.extraction.batch_size
    if size != "auto":
        return size
    jobs = max(1, (os.cpu_count() or 1) // settings.extraction.threads) if source.model.device.type == "cpu" else 1
    prompts = [item.prompt for item in items]
    chosen = kept.batch_size(
        lambda: batching.automatic_size(source, prompts, settings.generation, settings.capture, jobs)
    )
    logger.info("batch_size: auto is %d samples", chosen)
    return chosen


def in_batches(items: Sequence[Item], size: int, whole: Collection[str]) -> list[list[Item]]:
    """Items in batches of one shape, the samples of one set of images together.

    Those whose `whole` matrix is kept have batches of their own: the others' would be padding of that size.
    """
    shapes: dict[Any, dict[Any, list[Item]]] = {}
    for item in items:
        of_shape = shapes.setdefault((grids_of(item), item.row["sample_id"] in whole), {})
        of_shape.setdefault(item.prompt.images, []).append(item)
    return [batch for _, groups in sorted(shapes.items()) for batch in batching.packed(groups.values(), size)]


def refuse_single(source: VisionLanguageModel, batch: Sequence[Item], error: Exception) -> None:
    """Tell that a batch that did not fit is halved; a single sample that does not fit ends the shard."""
    if len(batch) == 1:
        raise AtlasError(
            f"sample {batch[0].row['sample_id']!r}: too little memory on {source.model.device} even for this sample "
            f"alone ({error}). Run again with more memory, which goes on with the batches that are finished, or choose "
            "a smaller grid, fewer max_new_tokens, less in `capture`, more devices or fewer bits "
            "(config/models.yaml), which starts anew"
        ) from error
    logger.warning(
        "%d samples do not fit into memory; %d at once from here on. Their numbers may differ in the last bits",
        len(batch),
        len(batch) // 2,
    )


class Reader:
    """Reads the images of batches; what was read last is kept, for an image whose queries fill several batches."""

    def __init__(self, source: VisionLanguageModel, settings: ExtractionSettings, items: Sequence[Item]) -> None:
        self.source, self.settings = source, settings
        self.shared = asked_twice(item.prompt for item in items) if settings.extraction.share_prefix else set()
        self.last: ImagesRead | None = None
        self.last_prefix = False

    def read(self, prompts: Sequence[Prompt], whole_prompts: bool) -> ImagesRead:
        """What the model makes of the images of prompts; with the prefix where one of the images has several queries.

        Not where whole prompts are to be seen.
        """
        last, prefix = self.last, not whole_prompts and any(prompt.images in self.shared for prompt in prompts)
        if last is None or not last.covers(prompts) or prefix != self.last_prefix:
            self.last, self.last_prefix = None, prefix  # two at once may be too much
            self.last = last = generation.read_images(self.source, prompts, self.settings.capture, prefix)
        return last


def answered(
    reader: Reader, batch: Sequence[Item], settings: ExtractionSettings, attrs: Mapping[str, Any]
) -> Callable[[], Nodes]:
    """Answer a batch; returns what makes nodes of it. Where it fails it is tried sample by sample.

    Those samples that fail are recorded. Errors: OutOfMemoryError; AtlasError where the device itself failed.
    """
    source = reader.source
    full_rows = whole_rows(batch, settings.capture)
    prompts = [item.prompt for item in batch]
    try:
        read = reader.read(prompts, full_rows != ())
        made = generation.generate(source, prompts, read, settings.generation, settings.capture, full_rows)
        return partial(nodes.answered, source, batch, made, full_rows, attrs)
    except Exception as error:
        check_device(source, error)
        if len(batch) == 1:
            logger.exception("sample %s failed", batch[0].row["sample_id"])
            return partial(nodes.failed, source, batch[0], f"{type(error).__name__}: {error}", attrs)
        logger.warning("a batch of %d failed (%s); its samples are tried one by one", len(batch), error)
    # Outside of that block, where the error no longer keeps the batch in memory.
    return partial(joined, [answered(reader, [item], settings, attrs) for item in batch])


def joined(makers: Sequence[Callable[[], Nodes]]) -> Nodes:
    """The nodes of single samples of one shape as those of one batch."""
    made = [make() for make in makers]
    return {name: store.joined([one[name] for one in made]) for name in made[0]}


def whole_rows(batch: Sequence[Item], capture: Capture) -> tuple[int, ...]:
    """The places in a batch of samples whose whole matrix is kept."""
    wanted = set(capture.full_samples) if capture.rows == "all" else set()
    return tuple(number for number, item in enumerate(batch) if item.row["sample_id"] in wanted)


def check_device(source: VisionLanguageModel, error: Exception) -> None:
    """Tell an error that is about a device from one that is about a sample.

    Raises OutOfMemoryError, or AtlasError where nothing more can be computed on the device.
    """
    if out_of_memory(error):
        raise OutOfMemoryError(first_line(error)) from error
    if device_lost(error):
        raise AtlasError(
            f"model {source.name!r}: the device {source.model.device} failed ({first_line(error)}). Finished "
            "batches are kept: see whether the device is still there (nvidia-smi), then run again"
        ) from error


def group_attributes(
    source: VisionLanguageModel, settings: ExtractionSettings, modules: tuple[str, ...]
) -> dict[str, Any]:
    """What made the data, without anything volatile."""
    text = source.text_config
    skipped = sorted(set(range(text.num_hidden_layers)) - set(source.captured_layers))
    return {
        "model": source.name,
        "model_revision": source.revision,
        "weights_sha256": source.weights_sha256,
        "num_layers": text.num_hidden_layers,
        "num_heads": text.num_attention_heads,
        "layers_not_captured": ", ".join(map(str, skipped)) or "none",
        "quantization": source.quantization,
        "dtype": str(source.model.dtype).removeprefix("torch."),
        "device_type": source.model.device.type,
        "attention_kernel": "sdpa",
        "grid_policy": source.grid if isinstance(source.grid, str) else list(source.grid),
        "batch_size": settings.extraction.batch_size,
        "threads": settings.extraction.threads,
        "settings": json.dumps(settings.as_dict(), sort_keys=True),
        "library_versions": json.dumps(library_versions(LIBRARIES), sort_keys=True),
        "code_fingerprint": code_fingerprint(modules),
    }


def scratch_key(attrs: dict[str, Any], items: list[Item]) -> str:
    """Names the batches of one shard: equal exactly where an earlier run's batches are those of this one."""
    asked = [[item.row[column] for column in EXTRACTED_COLUMNS] for item in items]
    return text_sha256([attrs, asked, [[picture.sha256 for picture in item.pictures] for item in items]])[:24]
