"""Generation with capture: a batch of prompts in, tokens and attention rows out.

Where several queries ask about the same images, what prompts share with every query about theirs, all up to the last
vision token, is read once for each set of images; its keys and values are then repeated (`read_images`, `generate`).
Decoding is greedy, or drawn with a seed a sample; the tokens are those of transformers' own `generate`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from attention_atlas.attention.capture import PromptLayout, Recorder, keeping_inputs, recording
from attention_atlas.attention.families import ImageFeatures, ProcessedImage, as_model_takes
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.prompts import Prompt
from attention_atlas.config import Capture, Generation

Images = tuple[ProcessedImage, ...]


@dataclass(frozen=True)
class ImagesRead:
    """What a model has made of sets of images before any query.

    `row` of each set; `features` of each image; `length` of the prefix that the prompts of a set share, 0 where it was
    not read; then `cache` holds its keys and values, and `hidden_states` what entered each captured layer at the
    prompt's first token and the vision tokens, (layer, set, token, dim), where that was asked for.
    """

    row: dict[Images, int]
    features: dict[ProcessedImage, ImageFeatures]
    length: int = 0
    cache: DynamicCache | None = None
    hidden_states: torch.Tensor | None = None

    def covers(self, prompts: Sequence[Prompt]) -> bool:
        """Whether these are the images of the prompts."""
        return all(prompt.images in self.row for prompt in prompts)


@dataclass(frozen=True)
class Generated:
    """A batch's generation on the host: arrays over (sample, step) and the recorder's over (step, layer, sample, head).

    `num_steps` counts each sample's tokens, its end token included; `hidden_states` (layer, sample, token, dim) are
    those of the prompt's first token, then of its vision tokens. `gap` (sample,) padded keys stand from key `prefix`.
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
    prefix: int
    gap: np.ndarray


def asked_twice(prompts: Iterable[Prompt]) -> set[Images]:
    """The sets of images that several prompts are about."""
    return {images for images, count in Counter(prompt.images for prompt in prompts).items() if count > 1}


@torch.inference_mode()
def read_images(
    source: VisionLanguageModel, prompts: Sequence[Prompt], capture: Capture, prefix: bool = True
) -> ImagesRead:
    """Encode the images of prompts, once each, and read what the prompts share with every query about them.

    The prefix is left to `generate` where it is not wanted, and where it cannot be shared exactly: layers that are not
    full attention, prompts that are not alike before their images.
    """
    images = list(dict.fromkeys(image for prompt in prompts for image in prompt.images))
    features = dict(zip(images, source.family.encode(source.model, images), strict=True))
    of_each = {prompt.images: prompt for prompt in prompts}
    row = {images: number for number, images in enumerate(of_each)}
    if not (prefix and source.shares_prefix and alike(prompts)):
        return ImagesRead(row, features)
    length = prompts[0].images_end
    batch = BatchInputs.of(source, list(of_each.values()), 0, length)
    first_and_vision = torch.cat([batch.layout.first()[:, None], batch.layout.vision], dim=1)
    wanted = source.captured_layers if capture.hidden_states else []
    cache = DynamicCache(config=source.text_config)
    with keeping_inputs(source.decoder_layers, wanted, first_and_vision) as kept:
        source.model.model(**batch.model_inputs(source, features, cache))
    return ImagesRead(row, features, length, cache, stacked(kept, wanted))


def alike(prompts: Sequence[Prompt]) -> bool:
    """Whether prompts have the same tokens up to their last image's end."""
    first = prompts[0].input_ids[: prompts[0].images_end]
    return all(np.array_equal(first, prompt.input_ids[: prompt.images_end]) for prompt in prompts)


def stacked(kept: dict[int, torch.Tensor], layers: Sequence[int]) -> torch.Tensor | None:
    """What was kept by layer as one tensor, layers first."""
    return torch.stack([kept[layer].cpu() for layer in layers]) if layers else None


@dataclass(frozen=True)
class BatchInputs:
    """Tokens `start` to `end` of a batch's prompts as a model takes them, padded on the left to the longest.

    `input_ids` (batch, length), `position_ids` (axes, batch, length), `is_vision` (batch, length), `attended` (batch,
    start + length): which keys hold a token, None where all do.
    """

    prompts: Sequence[Prompt]
    input_ids: torch.Tensor
    position_ids: torch.Tensor
    is_vision: torch.Tensor
    attended: torch.Tensor | None
    layout: PromptLayout

    @classmethod
    def of(cls, source: VisionLanguageModel, prompts: list[Prompt], start: int, end: int | None) -> "BatchInputs":
        """From prompts of one grid; what comes before `start` was read already."""
        pieces = [prompt_tensors(source, prompt) for prompt in prompts]
        parts = [[values[..., start:end] for values in piece] for piece in pieces]
        length = max(len(ids) for ids, _, _ in parts)
        padding = torch.tensor([length - len(ids) for ids, _, _ in parts])
        device = source.model.device
        ids, vision, positions = (
            torch.stack([padded(values, length) for values in part]) for part in zip(*parts, strict=True)
        )
        at = torch.stack([torch.from_numpy(p.image_of_token.nonzero()[0]) for p in prompts])
        layout = PromptLayout(
            padding=padding.to(device),
            vision=(at if start else at + padding[:, None]).to(device),
            images=tuple(image.num_tokens for image in prompts[0].images),
            length=start + length,
            prefix=start,
        )
        attended = layout.attended().long() if padding.any() else None
        return cls(prompts, ids.to(device), positions.movedim(1, 0).to(device), vision.to(device), attended, layout)

    def model_inputs(
        self, source: VisionLanguageModel, features: dict[ProcessedImage, ImageFeatures], cache: DynamicCache
    ) -> dict[str, Any]:
        """As arguments of a model's forward pass that appends to `cache`."""
        inputs = {
            "input_ids": self.input_ids,
            "attention_mask": self.attended,
            "position_ids": as_model_takes(self.position_ids),
            "past_key_values": cache,
            "use_cache": True,
        }
        if self.is_vision.any():
            shown = [features[image] for prompt in self.prompts for image in prompt.images]
            inputs["mm_encoder_outputs"] = {"image": source.family.encoder_output(shown)}
            inputs |= source.family.prefill_inputs(self.is_vision)
        return inputs


def prompt_tensors(source: VisionLanguageModel, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A prompt's token ids (length,), which are vision tokens (length,), and their positions (axes, length)."""
    ids, vision = torch.from_numpy(prompt.input_ids), torch.from_numpy(prompt.is_vision_token)
    return ids, vision, source.family.positions(source.model, ids, vision, prompt.images)


def padded(values: torch.Tensor, length: int) -> torch.Tensor:
    """Values with zeros before them along the last axis."""
    return torch.nn.functional.pad(values, (length - values.shape[-1], 0))


@torch.inference_mode()
def generate(
    source: VisionLanguageModel,
    prompts: list[Prompt],
    read: ImagesRead,
    generation: Generation,
    capture: Capture,
    full_rows: tuple[int, ...] = (),
) -> Generated:
    """Answer a batch of prompts about images of one grid, keeping the predicting rows of every step.

    `read` covers the prompts' images; `full_rows` are batch positions whose whole prompt matrix is kept.
    """
    batch = BatchInputs.of(source, prompts, read.length, None)
    rows = [read.row[prompt.images] for prompt in prompts]
    cache = repeated(source, read.cache, rows)
    recorder = Recorder(
        batch.layout,
        source.captured_layers,
        source.text_config.num_attention_heads,
        generation.max_new_tokens,
        all_keys=capture.keys == "all",
        value_weighted=capture.value_weighted,
        full_rows=full_rows,
    )
    late = capture.hidden_states and read.hidden_states is None
    wanted = source.captured_layers if late else []
    first_and_vision = torch.cat([batch.layout.first()[:, None], batch.layout.vision], dim=1)
    inputs = batch.model_inputs(source, read.features, cache)
    with recording(recorder):
        with keeping_inputs(source.decoder_layers, wanted, first_and_vision) as kept:
            logits = source.model(**inputs, logits_to_keep=1).logits[:, -1]
        tokens = Tokens(source, prompts, generation)
        for step in range(generation.max_new_tokens):
            token = tokens.choose(logits)
            if tokens.all_ended or step + 1 == generation.max_new_tokens:
                break
            logits = source.model(**next_inputs(batch, inputs, token, step)).logits[:, -1]
    hidden_states = stacked(kept, wanted) if read.hidden_states is None else read.hidden_states[:, rows]
    return on_host(recorder, tokens, hidden_states)


def repeated(source: VisionLanguageModel, cache: DynamicCache | None, rows: list[int]) -> DynamicCache:
    """Keys and values of a shared prefix, row by row of a batch; empty where nothing was read."""
    copy = DynamicCache(config=source.text_config)
    for number, layer in enumerate(cache.layers if cache is not None else ()):
        copy.update(layer.keys[rows], layer.values[rows], number)
    return copy


def next_inputs(batch: BatchInputs, inputs: dict[str, Any], token: torch.Tensor, step: int) -> dict[str, Any]:
    """What the model reads after `step` + 1 generated tokens: the last of them, one for each sample."""
    mask = batch.attended
    if mask is not None:
        mask = torch.nn.functional.pad(mask, (0, step + 1), value=1)
    return {
        "input_ids": token[:, None],
        "attention_mask": mask,
        "position_ids": as_model_takes(batch.position_ids[:, :, -1:] + step + 1),  # a prompt ends in text
        "past_key_values": inputs["past_key_values"],
        "use_cache": True,
    }


class Tokens:
    """The tokens chosen so far, with what the distributions said of them; `all_ended` once nothing is left to say."""

    def __init__(self, source: VisionLanguageModel, prompts: list[Prompt], generation: Generation) -> None:
        self.processors = logits_processors(source.model.generation_config, generation, prompts)
        self.ends = torch.tensor(end_tokens(source.model), device=source.model.device)
        self.pad = source.processor.tokenizer.pad_token_id
        self.ended = torch.zeros(len(prompts), dtype=torch.bool, device=source.model.device)
        longest = max(len(prompt.input_ids) for prompt in prompts)
        before = torch.full((len(prompts), longest), self.pad or 0)
        for row, prompt in enumerate(prompts):
            before[row, longest - len(prompt.input_ids) :] = torch.from_numpy(prompt.input_ids)
        self.seen = before.to(source.model.device)
        self.chosen: list[torch.Tensor] = []
        self.logprob: list[torch.Tensor] = []
        self.entropy: list[torch.Tensor] = []

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each sample, (batch,), from logits (batch, vocabulary)."""
        logits = logits.float()
        token = self.processors(self.seen, logits).argmax(dim=-1) if self.processors else logits.argmax(dim=-1)
        log_probability = logits.log_softmax(dim=-1)
        self.logprob.append(log_probability.gather(-1, token[:, None])[:, 0])
        self.entropy.append(-(log_probability.exp() * log_probability).nan_to_num().sum(dim=-1))
        self.chosen.append(token)
        if self.processors:
            self.seen = torch.cat([self.seen, token[:, None]], dim=1)
        self.ended |= torch.isin(token, self.ends)
        return token

    @property
    def all_ended(self) -> bool:
        """Whether every sample has its end token."""
        return bool(self.ended.all())


def logits_processors(config: Any, generation: Generation, prompts: list[Prompt]) -> LogitsProcessorList:
    """What changes logits before a token is taken: a checkpoint's repetition penalty, and drawing where that is asked.

    The checkpoint's own sampling defaults never apply.
    """
    processors = LogitsProcessorList()
    if config.repetition_penalty not in (None, 1.0):
        processors.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if generation.do_sample:
        seeds = [f"{generation.seed} {prompt.sample_id}" for prompt in prompts]
        processors.append(Drawing(generation.temperature, seeds))
    return processors


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


def on_host(recorder: Recorder, tokens: Tokens, hidden_states: torch.Tensor | None) -> Generated:
    """The batch's results as arrays; one copy from the device per kind of result."""
    token_id = torch.stack(tokens.chosen, dim=1)
    steps = token_id.shape[1]
    ends = torch.isin(token_id, tokens.ends).cpu().numpy()
    ended = np.asarray(ends.any(axis=1))

    def host(values: torch.Tensor | None) -> np.ndarray | None:
        return None if values is None else values[:steps].cpu().numpy()

    return Generated(
        token_id=token_id.cpu().numpy(),
        token_logprob=torch.stack(tokens.logprob, dim=1).cpu().numpy(),
        next_token_entropy=torch.stack(tokens.entropy, dim=1).cpu().numpy(),
        num_steps=np.where(ended, ends.argmax(axis=1) + 1, steps),
        ended=ended,
        attention=recorder.attention[:steps].cpu().numpy(),
        masses=recorder.masses[:steps].cpu().numpy(),
        attention_all=host(recorder.attention_all),
        value_weighted=host(recorder.value_weighted),
        prefill=None if recorder.prefill is None else recorder.prefill.cpu().numpy(),
        hidden_states=None if hidden_states is None else hidden_states.numpy(),
        prefix=recorder.layout.prefix,
        gap=recorder.layout.padding.cpu().numpy(),
    )


def end_tokens(model: Any) -> list[int]:
    """The ids that end an answer."""
    ids = model.generation_config.eos_token_id
    return ids if isinstance(ids, list) else [ids]
