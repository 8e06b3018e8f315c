"""Scoring: the log-probabilities of given tokens as an answer, under other pictures or with vision tokens knocked out.

Teacher-forced: the model reads prompt and tokens at once, the row before each token predicts it. Knocked-out vision
tokens are hidden, in a window of layers, from every position after the image (Geva et al. 2023); what comes before is
the same for all of them, so it is read once and its keys and values are repeated.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from attention_atlas.attention.families import ProcessedImage, as_model_takes
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.prompts import Prompt
from attention_atlas.errors import AtlasError

KERNEL = "atlas_knockout"


@dataclass(frozen=True)
class Knockout:
    """Which keys each row may see, (batch, 1, rows, keys) booleans, in the layers of the window."""

    layers: frozenset[int]
    allowed: torch.Tensor


@dataclass(frozen=True)
class Forced:
    """A prompt with the tokens to score, all but the last, as the model reads them: one sample.

    `input_ids` (1, length), `position_ids` (axes, 1, length), `vision` (tokens,): positions of vision tokens;
    `token_id` (steps,): the tokens to score, the last rows predict them.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    vision: torch.Tensor
    token_id: torch.Tensor


def forced(source: VisionLanguageModel, prompt: Prompt, token_id: np.ndarray) -> Forced:
    """A prompt about an image, with tokens (steps,) as its answer."""
    device = source.model.device
    input_ids = torch.from_numpy(np.concatenate([prompt.input_ids, token_id[:-1]]).astype(np.int64))
    is_vision = torch.zeros(len(input_ids), dtype=torch.bool)
    is_vision[: len(prompt.input_ids)] = torch.from_numpy(prompt.is_vision_token)
    positions = source.family.positions(source.model, input_ids, is_vision, prompt.images)
    return Forced(
        input_ids[None].to(device),
        positions[:, None].to(device),
        is_vision.nonzero()[:, 0].to(device),
        torch.from_numpy(token_id.astype(np.int64)).to(device),
    )


@torch.inference_mode()
def score_images(source: VisionLanguageModel, sample: Forced, images: Sequence[ProcessedImage]) -> np.ndarray:
    """Log-probabilities, nats, of a sample's tokens when asked of each of some images of its grid: (images, steps)."""
    count = len(images)
    output = source.model(
        input_ids=sample.input_ids.expand(count, -1),
        position_ids=as_model_takes(sample.position_ids.expand(-1, count, -1)),
        **shown(source, sample, images, sample.input_ids.shape[1]),
        use_cache=False,
        logits_to_keep=len(sample.token_id),
    )
    return chosen_logprobs(output.logits, sample.token_id)


@torch.inference_mode()
def score_knockouts(
    source: VisionLanguageModel,
    sample: Forced,
    image: ProcessedImage,
    knocked_out: np.ndarray,
    layers: Sequence[int],
    batch_size: int,
) -> np.ndarray:
    """Log-probabilities, nats, of a sample's tokens without some of its vision tokens: (sets, steps).

    `knocked_out` (sets, vision tokens) are booleans; `layers` is the window of depth indices, `batch_size` the most
    sets scored together.
    """
    if not source.shares_prefix:
        raise AtlasError(
            f"model {source.name!r} has layers that are not full attention; what they see of a vision token cannot be "
            "cut. Leave knockout out of causal.checks"
        )
    prefix = read_prefix(source, sample, image)
    sets = torch.from_numpy(knocked_out).to(source.model.device)
    with attending_by(source, KERNEL):
        scores = [score_rest(source, sample, prefix, part, frozenset(layers)) for part in sets.split(batch_size)]
    return np.concatenate(scores)


@contextmanager
def attending_by(source: VisionLanguageModel, kernel: str) -> Iterator[None]:
    """Another registered attention function in the language model inside the block."""
    before = source.text_config._attn_implementation
    source.model.set_attn_implementation({"text_config": kernel})
    try:
        yield
    finally:
        source.model.set_attn_implementation({"text_config": before})


def read_prefix(source: VisionLanguageModel, sample: Forced, image: ProcessedImage) -> DynamicCache:
    """Keys and values of a sample's prompt up to its last vision token."""
    end = int(sample.vision[-1]) + 1
    cache = DynamicCache(config=source.text_config)
    source.model(
        input_ids=sample.input_ids[:, :end],
        position_ids=as_model_takes(sample.position_ids[..., :end]),
        **shown(source, sample, [image], end),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache


def shown(source: VisionLanguageModel, sample: Forced, images: Sequence[ProcessedImage], end: int) -> dict[str, Any]:
    """Images, one for each row of a batch, and where the first `end` tokens have them, as a model takes them."""
    is_vision = torch.zeros(len(images), end, dtype=torch.bool, device=sample.vision.device)
    is_vision[:, sample.vision] = True
    features = source.family.encode(source.model, images)
    return {
        "mm_encoder_outputs": {"image": source.family.encoder_output(features)},
        **source.family.prefill_inputs(is_vision),
    }


def score_rest(
    source: VisionLanguageModel, sample: Forced, prefix: DynamicCache, sets: torch.Tensor, layers: frozenset[int]
) -> np.ndarray:
    """Log-probabilities of a sample's tokens after its prefix, for sets (sets, vision tokens) of hidden ones."""
    start, count = int(sample.vision[-1]) + 1, len(sets)
    cache = copy.deepcopy(prefix)  # a forward pass appends to it
    cache.batch_repeat_interleave(count)
    length = sample.input_ids.shape[1]
    causal = torch.ones(length - start, length, dtype=torch.bool, device=sets.device).tril(start)
    hidden = torch.zeros(count, length, dtype=torch.bool, device=sets.device)
    hidden[:, sample.vision] = sets
    output = source.model(
        input_ids=sample.input_ids[:, start:].expand(count, -1),
        position_ids=as_model_takes(sample.position_ids[..., start:].expand(-1, count, -1)),
        attention_mask=causal[None, None],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=len(sample.token_id),
        knockout=Knockout(layers, causal & ~hidden[:, None, None]),
    )
    return chosen_logprobs(output.logits, sample.token_id)


def chosen_logprobs(logits: torch.Tensor, token_id: torch.Tensor) -> np.ndarray:
    """Log-probabilities of tokens (steps,) under logits (batch, steps, vocabulary): (batch, steps)."""
    log_probability = logits.float().log_softmax(dim=-1)
    return log_probability.gather(-1, token_id.expand(len(logits), -1)[..., None])[..., 0].cpu().numpy()


def knockout_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    knockout: Knockout,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function for transformers: the stock sdpa output, by the knockout's mask in its layers."""
    mask = knockout.allowed.to(query.device) if module.layer_idx in knockout.layers else attention_mask
    return sdpa_attention_forward(module, query, key, value, mask, **kwargs)


# Without a mask function of the same name the model would run without its causal mask.
AttentionInterface.register(KERNEL, knockout_attention)
AttentionMaskInterface.register(KERNEL, sdpa_mask)
