"""Training of shapes-tiny in three stages: vision on dense targets, language on top, and all to the final answers.

Every stage is a schedule of steps with its own learning rate; checkpoints outside the output folder let it resume.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, DynamicCache, Qwen3VLForConditionalGeneration
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from attention_atlas.reference_model import batches
from attention_atlas.reference_model.architecture import GRID, HIDDEN, MERGE
from attention_atlas.reference_model.batches import IGNORED, NUM_CLASSES, SegmentEncoder
from attention_atlas.reference_model.examples import QUESTIONS_PER_SCENE

logger = logging.getLogger(__name__)
SEED = 20261124
NUM_CELLS = GRID[0] * GRID[1]
NO_OBJECT_WEIGHT = 0.1
POSITION_WEIGHT = 0.3
DEEPSTACK_WEIGHT = 0.2


@dataclass(frozen=True)
class Stage:
    """A stretch of training; `parts` says which parameters learn, `detailed` how long answers are."""

    name: str
    steps: int
    images: int
    peak_rate: float
    parts: str
    detailed: bool = False
    warmup: int = 50


RECIPE = (
    Stage("vision", steps=900, images=32, peak_rate=1.5e-3, parts="vision"),
    Stage("language", steps=2600, images=12, peak_rate=1.2e-3, parts="language", detailed=True),
    Stage("finish", steps=700, images=12, peak_rate=4e-4, parts="all"),
)


class Probe(nn.Module):
    """Linear read-out of a cell's object, row and column from its features."""

    def __init__(self) -> None:
        super().__init__()
        self.what = nn.Linear(HIDDEN, NUM_CLASSES)
        self.row = nn.Linear(HIDDEN, GRID[0])
        self.column = nn.Linear(HIDDEN, GRID[1])

    def loss(self, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Cross-entropies of (images, cells, hidden) features against (images, cells) classes and the cells' places."""
        weight = torch.ones(NUM_CLASSES)
        weight[0] = NO_OBJECT_WEIGHT
        place = torch.arange(NUM_CELLS).expand_as(classes).flatten()
        flat = features.float().flatten(0, 1)
        what = functional.cross_entropy(self.what(flat), classes.flatten(), weight)
        row = functional.cross_entropy(self.row(flat), place // GRID[1])
        column = functional.cross_entropy(self.column(flat), place % GRID[1])
        return what + POSITION_WEIGHT * (row + column)


class Trainer:
    """The model, its probes and one optimiser per stage; the state that a checkpoint holds."""

    def __init__(
        self, model: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, seed: int, checkpoints: Path
    ) -> None:
        self.model = model
        self.seed = seed
        self.checkpoints = checkpoints
        self.encoder = SegmentEncoder(tokenizer)
        self.probes = nn.ModuleList(
            Probe() for _ in range(1 + len(model.config.vision_config.deepstack_visual_indexes))
        )
        self.prefix = torch.tensor([batches.prefix_ids(tokenizer)])
        self.prefix_positions, self.position_delta = prefix_positions(model, self.prefix)
        self.curve: list[dict[str, float | str]] = []

    def train(self, recipe: tuple[Stage, ...] = RECIPE) -> None:
        """Run every stage, from the last checkpoint where there is one."""
        done = self.resume()
        with equal_sized_images(self.model):
            for number, stage in enumerate(recipe):
                if number >= done["stage"]:
                    self.run(stage, number, done)
                    done = {"stage": number + 1, "step": 0, "optimiser": None}
                    self.save(done)

    def run(self, stage: Stage, number: int, done: dict) -> None:
        """One stage; data of a step depends on seed, stage and step alone, so an interrupted run goes on as it was."""
        parameters = self.learning(stage.parts)
        optimiser = torch.optim.AdamW(parameters, lr=stage.peak_rate, betas=(0.9, 0.98), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=stage.peak_rate,
            total_steps=stage.steps,
            pct_start=stage.warmup / stage.steps,
            cycle_momentum=False,
        )
        if done["optimiser"]:
            optimiser.load_state_dict(done["optimiser"])
            schedule.load_state_dict(done["schedule"])
        step_loss: Callable[[Stage, Random], torch.Tensor] = (
            self.vision_loss if stage.parts == "vision" else self.answer_loss
        )
        started, recent = time.monotonic(), []
        for step in range(done["step"], stage.steps):
            loss = step_loss(stage, Random(f"{self.seed} {stage.name} {step}"))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            recent.append(loss.item())
            if (step + 1) % 50 == 0:
                self.report(stage, step + 1, recent, started, step + 1 - done["step"])
                recent = []
            if (step + 1) % 200 == 0:
                self.save(
                    {
                        "stage": number,
                        "step": step + 1,
                        "optimiser": optimiser.state_dict(),
                        "schedule": schedule.state_dict(),
                    }
                )

    def learning(self, parts: str) -> list[nn.Parameter]:
        """Switch on the gradients of the parts that learn, off those of the others; returns the former."""
        visual = self.model.model.visual
        mergers = {id(p) for m in (visual.merger, visual.deepstack_merger_list) for p in m.parameters()}
        blocks = {id(p) for p in visual.parameters()} - mergers
        for parameter in self.model.parameters():
            in_blocks, in_mergers = id(parameter) in blocks, id(parameter) in mergers
            wanted = {"vision": in_blocks or in_mergers, "language": not in_blocks, "all": True}[parts]
            parameter.requires_grad_(wanted)
        probes = list(self.probes.parameters()) if parts == "vision" else []
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad] + probes

    def features(self, scenes: list) -> list[torch.Tensor]:
        """Merged features and each DeepStack's, (images, cells, hidden)."""
        grid = torch.tensor([[1, GRID[0] * MERGE, GRID[1] * MERGE]] * len(scenes))
        patches = batches.pixel_values(scenes)
        visual: Any = self.model.model.visual
        with torch.autocast("cpu", torch.bfloat16):
            output = visual(
                patches, grid_thw=grid, cu_seqlens=torch.tensor([0, len(patches)], dtype=torch.int32), return_dict=True
            )
        return [f.view(len(scenes), NUM_CELLS, -1) for f in (output.pooler_output, *output.deepstack_features)]

    def vision_loss(self, stage: Stage, random: Random) -> torch.Tensor:
        """Dense loss of the vision tower: what is in each cell, and which cell it is."""
        scenes = batches.scenes(random, stage.images)
        classes = batches.cell_classes(scenes)
        losses = [
            probe.loss(features, classes)  # type: ignore[operator]
            for probe, features in zip(self.probes, self.features(scenes), strict=True)
        ]
        return losses[0] + DEEPSTACK_WEIGHT * torch.stack(losses[1:]).sum()

    def answer_loss(self, stage: Stage, random: Random) -> torch.Tensor:
        """Weighted next-token loss of the answers; the image prefix is computed once for all questions of a scene."""
        scenes = batches.scenes(random, stage.images)
        segments = self.encoder.encode(batches.questions_of(scenes, random), stage.detailed)
        language: Any = self.model.model.language_model
        features = self.features(scenes)
        with torch.autocast("cpu", torch.bfloat16):
            cache = self.prefix_cache(features)
            cache.batch_repeat_interleave(QUESTIONS_PER_SCENE)
            length = segments.input_ids.shape[1]
            positions = torch.arange(length) + self.prefix.shape[1] + self.position_delta
            hidden = language(
                inputs_embeds=language.embed_tokens(segments.input_ids),
                position_ids=positions.expand(3, len(segments.input_ids), -1),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            chosen = segments.labels != IGNORED
            logits = self.model.lm_head(hidden[chosen])
        losses = functional.cross_entropy(logits.float(), segments.labels[chosen], reduction="none")
        weights = segments.weights[chosen]
        return (losses * weights).sum() / weights.sum()

    def prefix_cache(self, features: list[torch.Tensor]) -> DynamicCache:
        """Keys and values of the image prefix, one row a scene."""
        images = features[0].shape[0]
        input_ids = self.prefix.expand(images, -1)
        is_image = input_ids == self.model.config.image_token_id
        language: Any = self.model.model.language_model
        embeds = language.embed_tokens(input_ids)
        embeds = embeds.masked_scatter(is_image[..., None], features[0].to(embeds.dtype))
        cache = DynamicCache(config=self.model.config.text_config)
        language(
            inputs_embeds=embeds,
            position_ids=self.prefix_positions.expand(3, images, -1),
            past_key_values=cache,
            use_cache=True,
            visual_pos_masks=is_image,
            deepstack_visual_embeds=[f.flatten(0, 1) for f in features[1:]],
        )
        return cache

    def report(self, stage: Stage, step: int, recent: list[float], started: float, steps_here: int) -> None:
        """One line of progress, and a point of the curve."""
        loss = sum(recent) / len(recent)
        rate = steps_here / (time.monotonic() - started)
        left = (stage.steps - step) / rate / 60
        self.curve.append({"stage": stage.name, "step": step, "loss": round(loss, 4)})
        logger.info(
            "%s step %d of %d: loss %.4f, %.2f steps/s, %.0f min left", stage.name, step, stage.steps, loss, rate, left
        )

    def save(self, done: dict) -> None:
        """Keep everything a later run needs to go on from here."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        state = {
            **done,
            "model": self.model.state_dict(),
            "probes": self.probes.state_dict(),
            "curve": self.curve,
        }
        partial = self.checkpoints / "last.pt.partial"
        torch.save(state, partial)
        partial.rename(self.checkpoints / "last.pt")

    def resume(self) -> dict:
        """The state of the last checkpoint, or the beginning."""
        last = self.checkpoints / "last.pt"
        if not last.exists():
            return {"stage": 0, "step": 0, "optimiser": None}
        state = torch.load(last, weights_only=True)
        self.model.load_state_dict(state.pop("model"))
        self.probes.load_state_dict(state.pop("probes"))
        self.curve = state.pop("curve")
        logger.info("going on from %s: stage %d, step %d", last, state["stage"], state["step"])
        return state


def prefix_positions(model: Qwen3VLForConditionalGeneration, prefix: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Positions of the image prefix, (3, 1, length), and what a later token's position differs from its index by."""
    is_image = prefix == model.config.image_token_id
    grid = torch.tensor([[1, GRID[0] * MERGE, GRID[1] * MERGE]])
    positions, delta = model.model.get_rope_index(prefix, mm_token_type_ids=is_image.int(), image_grid_thw=grid)
    return positions, int(delta.item())


def attend_within_equal_images(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attention of many images of one size in one call: (1, heads, images x patches, dim) split by image."""
    patches = NUM_CELLS * MERGE**2
    q, k, v = (t.unflatten(2, (-1, patches)).transpose(1, 2).flatten(0, 1) for t in (query, key, value))
    weights = functional.softmax(q @ k.transpose(-1, -2) * scaling, dim=-1)
    attended = weights.to(v.dtype) @ v  # image, head, patch, dim
    return attended.transpose(1, 2).flatten(0, 1)[None], None


@contextmanager
def equal_sized_images(model: Qwen3VLForConditionalGeneration) -> Iterator[None]:
    """Train with what is fast on a CPU: eager text attention, one call for all images, patches by a matrix product."""
    AttentionInterface.register("equal_sized_images", attend_within_equal_images)
    before = {"text_config": model.config.text_config._attn_implementation, "vision_config": "sdpa"}
    embed: Any = model.model.visual.patch_embed
    model.set_attn_implementation({"text_config": "eager", "vision_config": "equal_sized_images"})
    model.train()
    embed.forward = lambda patches: functional.linear(patches, embed.proj.weight.flatten(1), embed.proj.bias)
    try:
        yield
    finally:
        del embed.forward
        model.eval()
        model.set_attn_implementation(before)
