"""Capture: the rows of attention that predict each token, recomputed beside the model's own fast kernel.

A registered attention function lets the stock sdpa kernel compute the output and, while a recorder is active,
recomputes for the last query row alone softmax(q k^T scaling + mask) in fp32. Nothing else of the model changes, so the
generated tokens are those of plain generation; memory per step is layers x heads x keys, not layers x heads x keys^2.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

KERNEL = "atlas_capture"


@dataclass(frozen=True)
class PromptLayout:
    """Where things stand in a batch of prompts that are padded after a shared prefix.

    `padding` (batch,): number of padded positions, from position `prefix` on (0: padded on the left); `vision`
    (batch, tokens): positions of vision tokens, image after image; `images`: number of tokens of each image; `length`:
    of the prompts with their padding.
    """

    padding: torch.Tensor
    vision: torch.Tensor
    images: tuple[int, ...]
    length: int
    prefix: int

    def attended(self) -> torch.Tensor:
        """Which prompt positions hold a token: (batch, length), boolean."""
        positions = torch.arange(self.length, device=self.padding.device)[None]
        return (positions < self.prefix) | (positions >= self.prefix + self.padding[:, None])

    def first(self) -> torch.Tensor:
        """Position of each prompt's first token: (batch,)."""
        return torch.zeros_like(self.padding) if self.prefix else self.padding

    def groups(self) -> torch.Tensor:
        """Membership of prompt positions in each image, first token and other text: (batch, length, images + 2)."""
        member = torch.zeros(len(self.padding), self.length, len(self.images) + 2, device=self.padding.device)
        member[..., -1] = self.attended()
        for number, positions in enumerate(self.vision.split(self.images, dim=1)):
            member[..., number].scatter_(1, positions, 1)
        member[..., -2].scatter_(1, self.first()[:, None], 1)
        member[..., -1] -= member[..., :-1].sum(-1)
        return member


class Recorder:
    """Buffers for one batch; a step begins whenever the first captured layer runs.

    `attention` (step, layer, sample, head, vision token); `masses` (step, layer, sample, head, group): each image, the
    prompt's first token, its other text, generated tokens.
    """

    def __init__(
        self,
        layout: PromptLayout,
        layers: list[int],
        num_heads: int,
        max_steps: int,
        all_keys: bool = False,
        value_weighted: bool = False,
        full_rows: tuple[int, ...] = (),
    ) -> None:
        batch, tokens = layout.vision.shape
        device = layout.vision.device
        self.layout, self.full_rows = layout, list(full_rows)
        self.index = {layer: number for number, layer in enumerate(layers)}
        self.groups = layout.groups()
        self.step = -1
        shape = (max_steps, len(layers), batch, num_heads)
        self.attention = torch.empty(*shape, tokens, device=device)
        self.masses = torch.empty(*shape, self.groups.shape[-1] + 1, device=device)
        keys = layout.length + max_steps
        self.attention_all = torch.full((*shape, keys), torch.nan, device=device) if all_keys else None
        self.value_weighted = torch.empty(*shape, tokens, device=device) if value_weighted else None
        self.value_norms: dict[int, torch.Tensor] = {}
        square = (len(layers), len(self.full_rows), num_heads, layout.length, layout.length)
        self.prefill = torch.empty(square, device=device) if full_rows else None

    def record(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float,
    ) -> None:
        """Keep the last query row of one layer's attention, and what was asked for beside it."""
        layer = self.index.get(module.layer_idx)
        if layer is None:
            return
        if layer == 0:
            self.step += 1
        weights = attention_rows(query[:, :, -1:], key, attention_mask, scaling)[:, :, 0].to(self.attention.device)
        vision = self.layout.vision[:, None].expand(-1, weights.shape[1], -1)
        on_vision = weights.gather(-1, vision)
        self.attention[self.step, layer] = on_vision
        prompt, generated = weights[..., : self.layout.length], weights[..., self.layout.length :]
        self.masses[self.step, layer] = torch.cat([prompt @ self.groups, generated.sum(-1, keepdim=True)], dim=-1)
        if self.attention_all is not None:
            self.attention_all[self.step, layer, ..., : weights.shape[-1]] = weights
        if self.value_weighted is not None:
            if self.step == 0:
                norms = projected_value_norms(module, value, self.layout.vision.to(value.device))
                self.value_norms[layer] = norms.to(self.attention.device)
            self.value_weighted[self.step, layer] = on_vision * self.value_norms[layer]
        if self.prefill is not None and self.step == 0:
            self.prefill[layer] = self.prompt_matrix(query, key, attention_mask, scaling)

    def prompt_matrix(self, query, key, attention_mask, scaling) -> torch.Tensor:
        """The whole matrix of the prompt for the samples chosen: (chosen, heads, query, key).

        Causal where the model gives no mask; its mask may let vision tokens see each other both ways.
        """
        chosen = self.full_rows
        if attention_mask is not None:
            return attention_rows(
                query[chosen], key[chosen], attention_mask.expand(len(query), -1, -1, -1)[chosen], scaling
            )
        causal = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
        return attention_rows(query[chosen], key[chosen], causal, scaling)


def attention_rows(
    query: torch.Tensor, key: torch.Tensor, attention_mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """softmax(q k^T scaling + mask) in fp32 over all keys: (batch, heads, rows, keys) for the last `rows` queries.

    `key` holds one head per group of query heads; query head h uses key head h // group. The mask is None (every key
    may be seen), bool (True = may be seen) or additive, with the rows of `query` last.
    """
    heads, groups = query.shape[1], key.shape[1]
    grouped = query.float().unflatten(1, (groups, heads // groups)).flatten(2, 3)
    scores = (grouped @ key.float().transpose(-1, -2)).unflatten(2, (heads // groups, -1)).flatten(1, 2) * scaling
    if attention_mask is not None:
        rows = attention_mask[..., -query.shape[2] :, : key.shape[2]]
        scores = scores.masked_fill(~rows, -torch.inf) if rows.dtype == torch.bool else scores + rows
    return scores.softmax(dim=-1).nan_to_num()  # a padded query row sees nothing: all weights 0


def projected_value_norms(module: Any, value: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Norms of the values after the output projection, ||v_i W_O^h||: (batch, heads, positions).

    Kobayashi et al. (2020), eq. 3; by the Gram matrix of each head's part of the projection.
    """
    groups, dim = value.shape[1], value.shape[3]
    projection = module.o_proj.weight.float().unflatten(1, (-1, dim)).permute(1, 0, 2)  # head, hidden, dim
    gram = (projection.transpose(1, 2) @ projection).unflatten(0, (groups, -1))
    at = positions[:, None, :, None].expand(-1, groups, -1, dim)
    chosen = value.float().gather(2, at)
    squared = torch.einsum("bknd,kgde,bkne->bkgn", chosen, gram, chosen)
    return squared.clamp(min=0).sqrt().flatten(1, 2)


_active: list[Recorder] = []


@contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Keep attention in `recorder` while models run inside the block."""
    _active.append(recorder)
    try:
        yield recorder
    finally:
        _active.pop()


@contextmanager
def keeping_inputs(
    decoder_layers: Sequence[torch.nn.Module], wanted: Sequence[int], positions: torch.Tensor
) -> Iterator[dict[int, torch.Tensor]]:
    """Keep what enters layers, (batch, positions, dim) in fp32 by layer, while a model runs once inside the block.

    `positions` (batch, positions). DeepStack adds its features between layers, so they are part of a layer's input.
    """
    kept: dict[int, torch.Tensor] = {}

    def hook_of(layer: int) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        def keep(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            states = inputs[0]
            at = positions.to(states.device)[..., None].expand(-1, -1, states.shape[-1])
            kept[layer] = states.gather(1, at).float()

        return keep

    hooks = [decoder_layers[layer].register_forward_pre_hook(hook_of(layer)) for layer in wanted]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def capturing_attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **kwargs):
    """Attention function for transformers: the stock sdpa output, rows kept by the active recorder."""
    if _active:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        _active[-1].record(module, query, key, value, attention_mask, scale)
    return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)


# Without a mask function of the same name the model would run without its causal mask.
AttentionInterface.register(KERNEL, capturing_attention)
AttentionMaskInterface.register(KERNEL, sdpa_mask)
