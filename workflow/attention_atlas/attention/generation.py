"""Generation with capture: one left-padded batch of one grid in, tokens and attention rows out."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from attention_atlas.attention.capture import PromptLayout, Recorder, recording, recording_inputs
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

    `num_steps` counts each sample's tokens, its end token included; `hidden_states` (layer, sample, token, dim) are
    those of the prompt's first token, then of its vision tokens.
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
    hidden_states: np.ndarray | None
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
        hidden_states=capture.hidden_states,
    )
    model.model.rope_deltas = None  # state of an earlier batch
    with recording(recorder), recording_inputs(recorder, source.decoder_layers):
        output = model.generate(
            **batch,
            image_grid_thw=torch.cat([image.image_grid_thw for image in images]).to(model.device),
            mm_encoder_outputs={"image": repeated(features)},
            **decoding(generation, prompts),
            output_logits=True,
            return_dict_in_generate=True,
        )
    return on_host(source, recorder, output, layout)


def decoding(generation: Generation, prompts: list[Prompt]) -> dict[str, Any]:
    """The settings as arguments of `generate`; the checkpoint's own sampling defaults never apply."""
    greedy = {"max_new_tokens": generation.max_new_tokens, "do_sample": False}
    unused = {"temperature": None, "top_k": None, "top_p": None}
    if not generation.do_sample:
        return {**greedy, **unused}
    draw = Drawing(generation.temperature, [f"{generation.seed} {prompt.sample_id}" for prompt in prompts])
    return {**greedy, **unused, "logits_processor": LogitsProcessorList([draw])}


class Drawing(LogitsProcessor):
    """Turns the most likely token into a draw from softmax(logits / temperature), each sample with its own seed.

    The index of the largest of logits / temperature + Gumbel noise is such a draw (Gumbel 1954; Maddison et al. 2014),
    so a sample's tokens depend on no other sample of its batch.
    """

    def __init__(self, temperature: float, seeds: list[str]) -> None:
        self.temperature = temperature
        numbers = [int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7]) for seed in seeds]
        self.generators = [torch.Generator().manual_seed(number) for number in numbers]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores, (batch, vocabulary), with noise; one draw of noise a step."""
        size = scores.shape[-1]
        noise = torch.stack([-torch.empty(size).exponential_(generator=own).log() for own in self.generators])
        return scores.float() / self.temperature + noise.to(scores.device)


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
    ended = np.asarray(ends.any(axis=1))
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
        hidden_states=states_on_host(recorder),
        padding=layout.padding.cpu().numpy(),
    )


def states_on_host(recorder: Recorder) -> np.ndarray | None:
    """The hidden states kept, (layer, sample, token, dim)."""
    if recorder.hidden_states is None:
        return None
    return torch.stack([recorder.hidden_states[layer] for layer in recorder.index]).cpu().numpy()


def end_tokens(model: Any) -> list[int]:
    """The ids that end an answer."""
    ids = model.generation_config.eos_token_id
    return ids if isinstance(ids, list) else [ids]
