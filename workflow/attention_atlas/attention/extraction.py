"""Extraction: the samples of one shard through one model into one netCDF file.

Everything that can be refused is refused before weights are loaded; finished batches outlive an interruption; a sample
that fails is recorded with its reason and does not take the others with it.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from PIL import Image

from attention_atlas import store
from attention_atlas.attention import generation, models, prompts
from attention_atlas.attention.capture import MASSES
from attention_atlas.attention.catalogue import EXTRACTION_MODULES
from attention_atlas.attention.generation import Generated, ImageFeatures
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.prompts import ProcessedImage, Prompt
from attention_atlas.cells import cell_edges
from attention_atlas.config import Capture, Extraction, Generation, ModelEntry, checked
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.shards import EXTRACTED_COLUMNS, shards_of
from attention_atlas.inputs.study import SPECIAL_TOKEN, Study, read_study
from attention_atlas.provenance import code_fingerprint, file_sha256, library_versions, text_sha256

logger = logging.getLogger(__name__)
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "pillow")
Row = Mapping[Any, str]
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
        return replace(self, generation=self.generation.model_copy(update=generation), capture=Capture())

    def as_dict(self) -> dict[str, Any]:
        """As plain data, to be compared and recorded."""
        return {
            "extraction": self.extraction.model_dump(mode="json"),
            "generation": self.generation.model_dump(mode="json"),
            "capture": self.capture.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Asked:
    """What is asked: rows about pictures of a study, how a picture is had by its name (with a hash of its content), the
    modules whose code decides this, and the seed of random weights where the model's own are not meant."""

    study: Study
    rows: Sequence[Row]
    picture: Callable[[Study, str], tuple[Image.Image, str]]
    modules: tuple[str, ...]
    weights_seed: int | None = None


@dataclass(frozen=True)
class Item:
    """One sample ready to be asked."""

    row: Row
    prompt: Prompt
    image: ProcessedImage
    image_sha256: str


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
    torch.set_num_threads(settings.extraction.threads)
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

    Errors: AtlasError before any weights are loaded where study, settings or model entry are not in order.
    """
    torch.set_num_threads(settings.extraction.threads)
    check_full_samples(asked.study, settings.capture)
    check_system_prompt(settings.extraction.system_prompt)
    started = time.perf_counter()
    source = models.load(name, entry, asked.weights_seed)
    loaded = time.perf_counter()
    items = prepare(source, asked, settings)
    attrs = group_attributes(source, settings, asked.modules)
    parts = scratch / scratch_key(attrs, items)
    batches = list(batches_by_grid(items, settings.extraction.batch_size))
    features = FeatureStore(source, items)
    made: dict[str, list[xr.Dataset]] = {}
    done = 0
    for number, batch in enumerate(batches):
        path = parts / f"{number:05d}.nc"
        if path.exists():
            features.finished(batch)
            node = kept_batch(path, grid_of(batch[0]))
            logger.info("batch %d of %d is kept from an earlier run", number + 1, len(batches))
        else:
            node = extract_batch(source, batch, features, settings, attrs)
            if number + 1 < len(batches):  # the last one is in the shard at once
                store.write_shard(path, {grid_of(batch[0]): node}, compressed=False)
        made.setdefault(grid_of(batch[0]), []).append(node)
        done += len(batch)
        progress(done, len(items))
    try:
        write_joined(made, output, settings.capture.keep_bits)
    finally:  # of a shard of failures too: the next run is to try again
        shutil.rmtree(parts, ignore_errors=True)
    finished = time.perf_counter()
    return {
        "samples": len(items),
        "images": len({item.row["image"] for item in items}),
        "model_load_s": loaded - started,
        "extraction_s": finished - loaded,
        "samples_per_s": len(items) / (finished - loaded),
    }


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
    images = {row["image"] for row in rows}
    study = read_study(study_folder, query_types=None, images=images)
    return study, [row for row in study.samples.to_dict("records") if row["image"] in images]


def check_full_samples(study: Study, capture: Capture) -> None:
    """Refuse whole matrices of samples that the study does not have."""
    unknown = sorted(set(capture.full_samples) - set(study.samples["sample_id"]))
    if unknown:
        raise AtlasError(f"capture.full_samples: {', '.join(unknown)} not in {study.folder / 'samples.csv'}")


def check_system_prompt(text: str) -> None:
    """Refuse a system prompt that would end its own turn or stand for an image."""
    special = SPECIAL_TOKEN.search(text)
    if special:
        raise AtlasError(
            f"extraction.system_prompt {text!r} contains the special token {special.group()!r}; leave it out"
        )


def prepare(source: VisionLanguageModel, asked: Asked, settings: ExtractionSettings) -> list[Item]:
    """Images processed once each, prompts built; tells how many images the grid distorts."""
    images: dict[str, tuple[ProcessedImage, str]] = {}
    processed: dict[str, ProcessedImage] = {}  # by content: control conditions name one picture in several ways
    stretched = []
    for name in dict.fromkeys(row["image"] for row in asked.rows):
        image, sha256 = asked.picture(asked.study, name)
        if models.stretch(image, source.grid) > models.MOST_STRETCH:
            stretched.append(name)
        if sha256 not in processed:
            processed[sha256] = processed_picture(source, asked.study, name, image)
        images[name] = (processed[sha256], sha256)
    models.warn_of_stretched(stretched, source.grid)
    return [
        Item(
            row,
            prompts.build_prompt(
                source, images[row["image"]][0], row["query"], settings.extraction.system_prompt, row["sample_id"]
            ),
            *images[row["image"]],
        )
        for row in asked.rows
    ]


def processed_picture(source: VisionLanguageModel, study: Study, name: str, image: Image.Image) -> ProcessedImage:
    """A picture as the model takes it; the error names one that it does not take."""
    try:
        return prompts.process_image(source, image)
    except ValueError as error:
        size = f"{image.width} x {image.height} px"
        path = study.image_path(name)
        raise AtlasError(f"{path}: model {source.name!r} takes no image of {size} ({error})") from error


def grid_of(item: Item) -> str:
    """The name of the node that an item belongs to."""
    return store.grid_name(item.image.rows, item.image.cols)


def batches_by_grid(items: list[Item], batch_size: int) -> Iterator[list[Item]]:
    """Items in batches of one grid, in their order within a grid."""
    grids: dict[str, list[Item]] = {}
    for item in items:
        grids.setdefault(grid_of(item), []).append(item)
    for _, members in sorted(grids.items()):
        for start in range(0, len(members), batch_size):
            yield members[start : start + batch_size]


class FeatureStore:
    """Encodings of images, made once each and dropped with their last sample."""

    def __init__(self, source: VisionLanguageModel, items: list[Item]) -> None:
        self.source = source
        self.features: dict[str, ImageFeatures] = {}
        self.waiting: dict[str, int] = {}
        for item in items:
            self.waiting[item.image_sha256] = self.waiting.get(item.image_sha256, 0) + 1

    def of(self, batch: list[Item]) -> list[ImageFeatures]:
        """The encodings of a batch's images, one per item; new ones are made together."""
        new = {item.image_sha256: item.image for item in batch if item.image_sha256 not in self.features}
        if new:
            self.features.update(zip(new, generation.encode_images(self.source, list(new.values())), strict=True))
        return [self.features[item.image_sha256] for item in batch]

    def finished(self, batch: list[Item]) -> None:
        """Forget images that no later sample asks about."""
        for item in batch:
            picture = item.image_sha256
            self.waiting[picture] -= 1
            if self.waiting[picture] == 0:
                self.features.pop(picture, None)


def extract_batch(
    source: VisionLanguageModel,
    batch: list[Item],
    features: FeatureStore,
    settings: ExtractionSettings,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """One batch as a node; where it fails it is tried sample by sample, and those that fail are recorded."""
    try:
        dataset = answered(source, batch, features.of(batch), settings, attrs)
    except Exception as error:
        if len(batch) > 1:
            logger.warning("a batch of %d failed (%s); its samples are tried one by one", len(batch), error)
            dataset = None  # tried outside of this block, where the error no longer keeps the batch in memory
        else:
            logger.exception("sample %s failed", batch[0].row["sample_id"])
            dataset = failed(source, batch[0], f"{type(error).__name__}: {error}", attrs)
    if dataset is None:
        return store.joined([extract_batch(source, [item], features, settings, attrs) for item in batch])
    features.finished(batch)
    return dataset


def answered(
    source: VisionLanguageModel,
    batch: list[Item],
    features: list[ImageFeatures],
    settings: ExtractionSettings,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """A batch that the model answers."""
    wanted = set(settings.capture.full_samples) if settings.capture.rows == "all" else set()
    full_rows = tuple(number for number, item in enumerate(batch) if item.row["sample_id"] in wanted)
    made = generation.generate(
        source,
        [item.prompt for item in batch],
        [item.image for item in batch],
        features,
        settings.generation,
        settings.capture,
        full_rows,
    )
    variables = {
        **prompt_variables(source, batch),
        **generation_variables(source, made),
        **attention_variables(batch[0].image, made),
        **whole_variables(batch, made, full_rows),
        **hidden_variables(batch[0].image, made),
    }
    return as_node(source, batch, variables, attrs)


def failed(source: VisionLanguageModel, item: Item, reason: str, attrs: dict[str, Any]) -> xr.Dataset:
    """A sample without data, with its reason; every other variable holds its padding."""
    sizes = {
        "sample": 1,
        "step": 1,
        "prompt_token": 1,
        "layer": len(source.captured_layers),
        "head": source.text_config.num_attention_heads,
        "row": item.image.rows,
        "col": item.image.cols,
    }
    variables = {
        name: np.full([sizes[dim] for dim in variable.dims], variable.padding, dtype=object)
        for name, variable in store.SCHEMA.items()
        if not variable.optional and set(variable.dims) <= set(sizes)
    }
    variables |= {"num_steps": np.array([0]), "stop_reason": np.array(["error"]), "error": np.array([reason])}
    return as_node(source, [item], variables, attrs)


def as_node(
    source: VisionLanguageModel, batch: list[Item], variables: dict[str, np.ndarray], attrs: dict[str, Any]
) -> xr.Dataset:
    """Variables with the samples' own description, as a node of the contract."""
    image = batch[0].image
    patches = {
        "image_grid_thw": image.image_grid_thw[0].tolist(),
        "pixel_values_shape": list(image.pixel_values.shape),
    }
    return store.as_dataset(
        {**variables, **sample_variables(batch)},
        samples=[item.row["sample_id"] for item in batch],
        layers=source.captured_layers,
        attrs={**attrs, **patches},
    )


def sample_variables(batch: list[Item]) -> dict[str, np.ndarray]:
    """What was asked of which image, and where its cells lie."""
    texts = {
        name: np.array([item.row[name] for item in batch], dtype=object)
        for name in ("query", "query_id", "query_type", "condition", "image")
    }
    sizes = {f"image_{side}": np.array([getattr(item.image, side) for item in batch]) for side in ("height", "width")}
    processed = {
        name: np.array([getattr(item.image, name) for item in batch])
        for name in ("processed_height", "processed_width")
    }
    edges = {
        "row_edge": np.stack([cell_edges(item.image.rows, item.image.height) for item in batch]),
        "col_edge": np.stack([cell_edges(item.image.cols, item.image.width) for item in batch]),
    }
    hashes = np.array([item.image_sha256 for item in batch], dtype=object)
    return {**texts, **sizes, **processed, **edges, "image_sha256": hashes}


def prompt_variables(source: VisionLanguageModel, batch: list[Item]) -> dict[str, np.ndarray]:
    """The prompts as the model saw them, padded on the right."""
    shape = (len(batch), max(len(item.prompt.input_ids) for item in batch))
    ids, vision = np.full(shape, -1), np.zeros(shape, dtype=np.int8)
    texts = np.full(shape, "", dtype=object)
    decode = token_decoder(source)
    for number, item in enumerate(batch):
        length = len(item.prompt.input_ids)
        ids[number, :length] = item.prompt.input_ids
        vision[number, :length] = item.prompt.is_vision_token
        texts[number, :length] = [decode(token) for token in item.prompt.input_ids]
    return {"input_ids": ids, "is_vision_token": vision, "input_token_text": texts}


def generation_variables(source: VisionLanguageModel, made: Generated) -> dict[str, np.ndarray]:
    """The answers: tokens and their probabilities, padded past each sample's end."""
    steps = np.arange(made.num_steps.max())
    past = steps[None] >= made.num_steps[:, None]
    decode = token_decoder(source)
    ids = np.where(past, -1, made.token_id[:, : len(steps)])
    texts = np.array([["" if token < 0 else decode(token) for token in row] for row in ids], dtype=object)
    answers = [
        source.processor.tokenizer.decode(row[row >= 0], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for row in ids
    ]
    return {
        "token_id": ids,
        "token_text": texts,
        "token_logprob": np.where(past, np.nan, made.token_logprob[:, : len(steps)]),
        "next_token_entropy": np.where(past, np.nan, made.next_token_entropy[:, : len(steps)]),
        "num_steps": made.num_steps,
        "generated_text": np.array(answers, dtype=object),
        "stop_reason": np.where(made.ended, "end_token", "max_new_tokens"),
        "error": np.full(len(ids), "", dtype=object),
    }


def token_decoder(source: VisionLanguageModel) -> Callable[[int], str]:
    """Decodes single tokens, each id once."""
    known: dict[int, str] = {}

    def decode(token: int) -> str:
        if token not in known:
            known[token] = source.processor.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return known[token]

    return decode


def attention_variables(image: ProcessedImage, made: Generated) -> dict[str, np.ndarray]:
    """Rows and masses over (sample, step, layer, head, ...), NaN past each sample's end."""
    attention = by_sample(made.attention, made.num_steps)
    masses = by_sample(made.masses, made.num_steps)
    variables = {name: masses[..., number] for number, name in enumerate(MASSES)}
    variables["attention"] = as_grid(attention, image)
    if made.value_weighted is not None:
        variables["value_weighted_attention"] = as_grid(by_sample(made.value_weighted, made.num_steps), image)
    return variables


def by_sample(values: np.ndarray, num_steps: np.ndarray) -> np.ndarray:
    """(step, layer, sample, head, ...) -> (sample, step, layer, head, ...), NaN past each sample's last step."""
    ordered = np.moveaxis(values[: num_steps.max()], 2, 0).copy()
    ordered[np.arange(ordered.shape[1])[None] >= num_steps[:, None]] = np.nan
    return ordered


def as_grid(values: np.ndarray, image: ProcessedImage) -> np.ndarray:
    """Vision tokens, row by row of the image, as (row, col)."""
    return values.reshape(*values.shape[:-1], image.rows, image.cols)


def whole_variables(batch: list[Item], made: Generated, full_rows: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Weights on every key, and whole prompt matrices of the samples chosen, without the padding on the left."""
    variables = {}
    if made.attention_all is not None:
        variables["attention_all"] = without_left_padding(by_sample(made.attention_all, made.num_steps), made.padding)
    if made.prefill is not None:
        layers, _, heads, length, _ = made.prefill.shape
        whole = np.full((len(batch), layers, heads, length, length), np.nan, dtype=np.float32)
        for number, sample in enumerate(full_rows):
            start = made.padding[sample]
            whole[sample, ..., : length - start, : length - start] = made.prefill[:, number, :, start:, start:]
        variables["attention_prefill"] = whole
    return variables


def hidden_variables(image: ProcessedImage, made: Generated) -> dict[str, np.ndarray]:
    """What enters the layers at the first token, (sample, layer, dim), and at the vision tokens, by their cells."""
    if made.hidden_states is None:
        return {}
    states = np.moveaxis(made.hidden_states, 0, 1)
    vision = states[:, :, 1:]
    by_cell = vision.reshape(*vision.shape[:2], image.rows, image.cols, vision.shape[-1])
    return {"first_token_hidden_state": states[:, :, 0], "hidden_state": by_cell}


def without_left_padding(values: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """Keys of each sample moved to the front, NaN behind them: the first key is the first token of its prompt."""
    moved = np.full_like(values, np.nan)
    for sample, start in enumerate(padding):
        moved[sample, ..., : values.shape[-1] - start] = values[sample, ..., start:]
    return moved


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
    return text_sha256([attrs, asked, [item.image_sha256 for item in items]])[:24]


def kept_batch(path: Path, grid: str) -> xr.Dataset:
    """A finished batch of an earlier run, read whole; without the widths of texts that its file had."""
    with xr.open_datatree(path, engine="netcdf4") as tree:
        return tree[grid].to_dataset().load().drop_encoding()


def write_joined(made: dict[str, list[xr.Dataset]], output: Path, keep_bits: int | None = None) -> None:
    """The batches of each grid as one shard; a shard of failures alone is an error of the model, not of samples."""
    nodes = {name: store.joined(batches) for name, batches in sorted(made.items())}
    errors = np.concatenate([node["error"].values for node in nodes.values()])
    if (errors != "").all():
        raise AtlasError(f"every sample of the shard failed; the first: {errors[0]}")
    if (errors != "").any():
        logger.warning("%d of %d samples failed; their reasons are in `error`", (errors != "").sum(), len(errors))
    store.write_shard(output, nodes, keep_bits=keep_bits)
