"""Nodes: what a batch asked and what a model answered, as nodes of the attention dataset.

A batch about one image a sample is one node, named by its token grid. Where samples have several images there is a node
for each: the map on that image alone, beside the same text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from attention_atlas import store
from attention_atlas.attention.families import ProcessedImage
from attention_atlas.attention.generation import Generated
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.prompts import Prompt
from attention_atlas.cells import cell_edges
from attention_atlas.inputs.views import view_id, view_of

Row = Mapping[Any, str]


@dataclass(frozen=True)
class Picture:
    """One image of a sample: its name in the study, its content's hash, and as the model sees it."""

    name: str
    sha256: str
    processed: ProcessedImage


@dataclass(frozen=True)
class Item:
    """One sample ready to be asked."""

    row: Row
    prompt: Prompt
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class View:
    """One image of each sample of a batch: its number, 1 for the first, and where its vision tokens stand among all."""

    number: int
    of: int
    tokens: slice

    def pictures(self, batch: Sequence[Item]) -> list[Picture]:
        """That image of each sample."""
        return [item.pictures[self.number - 1] for item in batch]


def views_of(batch: Sequence[Item]) -> list[View]:
    """The images of a batch's samples, which all have as many, of the same grids."""
    sizes = [picture.processed.num_tokens for picture in batch[0].pictures]
    ends = np.cumsum(sizes).tolist()
    return [
        View(number, len(sizes), slice(end - size, end))
        for number, (size, end) in enumerate(zip(sizes, ends, strict=True), start=1)
    ]


def grids_of(item: Item) -> tuple[tuple[int, int], ...]:
    """Rows and columns of a sample's images."""
    return tuple((picture.processed.rows, picture.processed.cols) for picture in item.pictures)


def answered(
    source: VisionLanguageModel,
    batch: Sequence[Item],
    made: Generated,
    full_rows: tuple[int, ...],
    attrs: Mapping[str, Any],
) -> dict[str, xr.Dataset]:
    """A batch that the model answered: node name -> node."""
    shared = {
        **prompt_variables(source, batch),
        **generation_variables(source, made),
        **whole_variables(batch, made, full_rows),
    }
    return {
        store.node_name(grids_of(batch[0]), view.number): as_node(
            source,
            batch,
            view,
            {**shared, **attention_variables(batch, made, view), **hidden_variables(batch, made, view)},
            attrs,
        )
        for view in views_of(batch)
    }


def failed(source: VisionLanguageModel, item: Item, reason: str, attrs: Mapping[str, Any]) -> dict[str, xr.Dataset]:
    """A sample without data, with its reason; every other variable holds its padding."""
    told = {"num_steps": np.array([0]), "stop_reason": np.array(["error"]), "error": np.array([reason])}
    return {
        store.node_name(grids_of(item), view.number): as_node(
            source, [item], view, {**paddings(source, view.pictures([item])[0].processed, view.of), **told}, attrs
        )
        for view in views_of([item])
    }


def paddings(source: VisionLanguageModel, image: ProcessedImage, num_images: int) -> dict[str, np.ndarray]:
    """The padding of every variable of a failed sample."""
    sizes = {
        "sample": 1,
        "step": 1,
        "prompt_token": 1,
        "layer": len(source.captured_layers),
        "head": source.text_config.num_attention_heads,
        "row": image.rows,
        "col": image.cols,
    }
    kept = [
        name for name, variable in store.SCHEMA.items() if not variable.optional and set(variable.dims) <= set(sizes)
    ]
    kept += ["other_images_mass"] if num_images > 1 else []
    return {
        name: np.full([sizes[dim] for dim in store.SCHEMA[name].dims], store.SCHEMA[name].padding, dtype=object)
        for name in kept
    }


def as_node(
    source: VisionLanguageModel,
    batch: Sequence[Item],
    view: View,
    variables: dict[str, np.ndarray],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """Variables with the samples' own description, as a node of the contract."""
    image = view.pictures(batch)[0].processed
    patches = {"pixel_values_shape": list(image.pixel_values_shape)}
    if "image_grid_thw" in image.inputs:
        patches["image_grid_thw"] = image.inputs["image_grid_thw"][0].tolist()
    return store.as_dataset(
        {**variables, **sample_variables(batch, view)},
        samples=[view_of(item.row["sample_id"], item.row["condition"], view.number) for item in batch],
        layers=source.captured_layers,
        attrs={**attrs, **patches},
    )


def sample_variables(batch: Sequence[Item], view: View) -> dict[str, np.ndarray]:
    """What was asked of which image, and where its cells lie."""
    pictures = view.pictures(batch)
    images = [picture.processed for picture in pictures]
    texts = {
        name: np.array([item.row[name] for item in batch], dtype=object)
        for name in ("query", "query_type", "condition")
    }
    numbers = {
        **{f"image_{side}": np.array([getattr(image, side) for image in images]) for side in ("height", "width")},
        **{
            name: np.array([getattr(image, name) for image in images])
            for name in ("processed_height", "processed_width")
        },
        "row_edge": np.stack([cell_edges(image.rows, image.height) for image in images]),
        "col_edge": np.stack([cell_edges(image.cols, image.width) for image in images]),
    }
    return {
        **texts,
        **numbers,
        "query_id": np.array([view_id(item.row["query_id"], view.number) for item in batch], dtype=object),
        "image": np.array([picture.name for picture in pictures], dtype=object),
        "image_sha256": np.array([picture.sha256 for picture in pictures], dtype=object),
    }


def prompt_variables(source: VisionLanguageModel, batch: Sequence[Item]) -> dict[str, np.ndarray]:
    """The prompts as the model saw them, padded on the right."""
    shape = (len(batch), max(len(item.prompt.input_ids) for item in batch))
    ids = np.full(shape, -1)
    texts = np.full(shape, "", dtype=object)
    decode = token_decoder(source)
    for number, item in enumerate(batch):
        length = len(item.prompt.input_ids)
        ids[number, :length] = item.prompt.input_ids
        texts[number, :length] = [decode(token) for token in item.prompt.input_ids]
    return {"input_ids": ids, "input_token_text": texts}


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


def attention_variables(batch: Sequence[Item], made: Generated, view: View) -> dict[str, np.ndarray]:
    """Rows and masses over (sample, step, layer, head, ...) of one image, NaN past each sample's end; its tokens."""
    image = view.pictures(batch)[0].processed
    attention = by_sample(made.attention[..., view.tokens], made.num_steps)
    masses = by_sample(made.masses, made.num_steps)
    on_images = masses[..., : view.of]
    variables = {
        "attention": as_grid(attention, image),
        "vision_mass": on_images[..., view.number - 1],
        "first_token_mass": masses[..., -3],
        "prompt_text_mass": masses[..., -2],
        "generated_text_mass": masses[..., -1],
        "is_vision_token": own_tokens(batch, view),
    }
    if view.of > 1:
        variables["other_images_mass"] = np.delete(on_images, view.number - 1, axis=-1).sum(axis=-1)
    if made.value_weighted is not None:
        weighted = by_sample(made.value_weighted[..., view.tokens], made.num_steps)
        variables["value_weighted_attention"] = as_grid(weighted, image)
    return variables


def own_tokens(batch: Sequence[Item], view: View) -> np.ndarray:
    """Which prompt tokens are those of one image: (sample, prompt_token), 0 or 1."""
    of_image = np.zeros((len(batch), max(len(item.prompt.input_ids) for item in batch)), dtype=np.int8)
    for number, item in enumerate(batch):
        of_image[number, : len(item.prompt.input_ids)] = item.prompt.image_of_token == view.number
    return of_image


def by_sample(values: np.ndarray, num_steps: np.ndarray) -> np.ndarray:
    """(step, layer, sample, head, ...) -> (sample, step, layer, head, ...), NaN past each sample's last step."""
    ordered = np.moveaxis(values[: num_steps.max()], 2, 0).copy()
    ordered[np.arange(ordered.shape[1])[None] >= num_steps[:, None]] = np.nan
    return ordered


def as_grid(values: np.ndarray, image: ProcessedImage) -> np.ndarray:
    """Vision tokens, row by row of the image, as (row, col)."""
    return values.reshape(*values.shape[:-1], image.rows, image.cols)


def whole_variables(batch: Sequence[Item], made: Generated, full_rows: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Weights on every key, and whole prompt matrices of the samples chosen, without the padding between."""
    variables = {}
    if made.attention_all is not None:
        weights = by_sample(made.attention_all, made.num_steps)
        variables["attention_all"] = without_gap(weights, made.prefix, made.gap)
    if made.prefill is not None:
        layers, _, heads, length, _ = made.prefill.shape
        whole = np.full((len(batch), layers, heads, length, length), np.nan, dtype=np.float32)
        for number, sample in enumerate(full_rows):
            start = made.gap[sample]
            whole[sample, ..., : length - start, : length - start] = made.prefill[:, number, :, start:, start:]
        variables["attention_prefill"] = whole
    return variables


def hidden_variables(batch: Sequence[Item], made: Generated, view: View) -> dict[str, np.ndarray]:
    """What enters the layers at the first token, (sample, layer, dim), and at one image's tokens, by their cells."""
    if made.hidden_states is None:
        return {}
    image = view.pictures(batch)[0].processed
    states = np.moveaxis(made.hidden_states, 0, 1)
    vision = states[:, :, 1:][:, :, view.tokens]
    by_cell = vision.reshape(*vision.shape[:2], image.rows, image.cols, vision.shape[-1])
    return {"first_token_hidden_state": states[:, :, 0], "hidden_state": by_cell}


def without_gap(values: np.ndarray, prefix: int, gap: np.ndarray) -> np.ndarray:
    """Keys of each sample without the padding that stands from key `prefix` on, NaN behind them."""
    moved = np.full_like(values, np.nan)
    moved[..., :prefix] = values[..., :prefix]
    for sample, padding in enumerate(gap):
        moved[sample, ..., prefix : values.shape[-1] - padding] = values[sample, ..., prefix + padding :]
    return moved
