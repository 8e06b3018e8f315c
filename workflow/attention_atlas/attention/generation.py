"""Generation with capture: one left-padded batch of one grid in, tokens and attention rows out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from attention_atlas.attention.capture import PromptLayout, Recorder, recording
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.prompts import ProcessedImage, Prompt, left_padded
from attention_atlas.config import Capture, Generation


@dataclass(frozen=True)
class ImageFeatures:
    """What the vision tower makes of one image: merged features and DeepStack features, (tokens, hidden) each."""

    merged: torch.Tensor
    deepstack: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Generated:
    """A batch's generation on the host: arrays over (sample, step) and the recorder's over (step, layer, sample, head).

    `num_steps` counts each sample's tokens, its end token included.
    """

    token_id: np.ndarray
    token_logprob: np.ndarray
    next_token_entropy: np.ndarray
    num_steps: np.ndarray
    ended: np.ndarray
    attention: np.ndarray
    masses: np.ndarray
    attention_all: np.ndarray | None
    value_weighted: np.ndarray | None
    prefill: np.ndarray | None
    padding: np.ndarray


@torch.inference_mode()
def encode_images(source: VisionLanguageModel, images: list[ProcessedImage]) -> list[ImageFeatures]:
    """Each image through the vision tower, once."""
    model = source.model
    output = model.get_image_features(
        torch.cat([image.pixel_values for image in images]).to(model.device),
        torch.cat([image.image_grid_thw for image in images]).to(model.device),
        return_dict=True,
    )
    deepstack = zip(*output.deepstack_features, strict=True)
    return [ImageFeatures(merged, parts) for merged, parts in zip(output.pooler_output, deepstack, strict=True)]


@torch.inference_mode()
def generate(
    source: VisionLanguageModel,
    prompts: list[Prompt],
    images: list[ProcessedImage],
    features: list[ImageFeatures],
    generation: Generation,
    capture: Capture,
    full_rows: tuple[int, ...] = (),
) -> Generated:
    """Answer a batch of prompts about images of one grid, keeping the predicting rows of every step.

    `images` and `features` belong to the prompts one by one; `full_rows` are batch positions whose whole prompt matrix
    is kept.
    """
    model = source.model
    batch = left_padded(prompts, source.processor.tokenizer.pad_token_id, model.device)
    layout = prompt_layout(batch)
    recorder = Recorder(
        layout,
        source.captured_layers,
        source.text_config.num_attention_heads,
        generation.max_new_tokens,
        all_keys=capture.keys == "all",
        value_weighted=capture.value_weighted,
        full_rows=full_rows,
    )
    if generation.do_sample:
        torch.manual_seed(generation.seed)  # type: ignore[arg-type]  # the settings refuse sampling without a seed
    model.model.rope_deltas = None  # state of an earlier batch
    with recording(recorder):
        output = model.generate(
            **batch,
            image_grid_thw=torch.cat([image.image_grid_thw for image in images]).to(model.device),
            mm_encoder_outputs={"image": repeated(features)},
            **decoding(generation),
            output_logits=True,
            return_dict_in_generate=True,
        )
    return on_host(source, recorder, output, layout)


def decoding(generation: Generation) -> dict[str, Any]:
    """The settings as arguments of `generate`; the checkpoint's own sampling defaults never apply."""
    chosen: dict[str, Any] = {"max_new_tokens": generation.max_new_tokens, "do_sample": generation.do_sample}
    if generation.do_sample:
        return {**chosen, "temperature": generation.temperature, "top_k": 0, "top_p": 1.0}
    return {**chosen, "temperature": None, "top_k": None, "top_p": None}


def prompt_layout(batch: dict[str, torch.Tensor]) -> PromptLayout:
    """Where padding and vision tokens of a left-padded batch stand."""
    attended, types = batch["attention_mask"], batch["mm_token_type_ids"]
    vision = types.nonzero()[:, 1].view(len(types), -1)
    return PromptLayout(padding=attended.shape[1] - attended.sum(dim=1), vision=vision, length=attended.shape[1])


def repeated(features: list[ImageFeatures]) -> BaseModelOutputWithDeepstackFeatures:
    """Features, one entry a prompt, in the form that the model takes instead of pixels."""
    return BaseModelOutputWithDeepstackFeatures(
        pooler_output=[feature.merged for feature in features],
        deepstack_features=[list(level) for level in zip(*(f.deepstack for f in features), strict=True)],
    )


def on_host(source: VisionLanguageModel, recorder: Recorder, output: Any, layout: PromptLayout) -> Generated:
    """The batch's results as arrays; one copy from the device per kind of result."""
    token_id = output.sequences[:, layout.length :]
    steps = token_id.shape[1]
    log_probability = torch.stack(output.logits, dim=1).float().log_softmax(dim=-1)
    chosen = log_probability.gather(-1, token_id[..., None])[..., 0]
    entropy = -(log_probability.exp() * log_probability).nan_to_num().sum(dim=-1)
    ids = token_id.cpu().numpy()
    ends = np.isin(ids, end_tokens(source.model))
    ended = ends.any(axis=1)
    num_steps = np.where(ended, ends.argmax(axis=1) + 1, steps)

    def host(values: torch.Tensor | None) -> np.ndarray | None:
        return None if values is None else values[:steps].cpu().numpy()

    return Generated(
        token_id=ids,
        token_logprob=chosen.cpu().numpy(),
        next_token_entropy=entropy.cpu().numpy(),
        num_steps=num_steps,
        ended=ended,
        attention=recorder.attention[:steps].cpu().numpy(),
        masses=recorder.masses[:steps].cpu().numpy(),
        attention_all=host(recorder.attention_all),
        value_weighted=host(recorder.value_weighted),
        prefill=None if recorder.prefill is None else recorder.prefill.cpu().numpy(),
        padding=layout.padding.cpu().numpy(),
    )


def end_tokens(model: Any) -> list[int]:
    """The ids that end an answer."""
    ids = model.generation_config.eos_token_id
    return ids if isinstance(ids, list) else [ids]
