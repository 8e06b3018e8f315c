"""Families of models: what differs between them, and nothing else does.

To ask another family, add an entry to `FAMILIES`: its classes and, where its images do not come as grids of patches,
how a picture becomes a grid of vision tokens. What a checkpoint must have beside that: image tokens in the sequence,
one contiguous span an image, in rows from top to bottom that cover the whole picture.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from transformers import (
    Gemma3ForConditionalGeneration,
    InternVLForConditionalGeneration,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from attention_atlas.attention.checkpoints import GATED


@dataclass(frozen=True, eq=False)  # tensors have no truth value: an image equals itself alone
class ProcessedImage:
    """An image as the processor gives it: `rows` x `cols` vision tokens, sizes in pixels.

    `pixel_values` gives its pixels, of `pixel_values_shape`: many large ones are more than memory holds. `inputs` is
    what the processor says beside them.
    """

    pixel_values: Callable[[], torch.Tensor]
    pixel_values_shape: tuple[int, ...]
    inputs: Mapping[str, Any]
    rows: int
    cols: int
    height: int
    width: int
    processed_height: int
    processed_width: int

    @property
    def num_tokens(self) -> int:
        """Number of vision tokens."""
        return self.rows * self.cols


@dataclass(frozen=True)
class ImageFeatures:
    """What the vision tower makes of one image: merged features and DeepStack features, (tokens, hidden) each."""

    merged: torch.Tensor
    deepstack: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class Family:
    """A family whose processor cuts a picture of any size into patches and tells their grid in `image_grid_thw`.

    `markers`: names, in the configuration or the processor, of the tokens before and after an image's span;
    `refused`: what can be kept of other families but has no meaning here, with the reason.
    """

    model: Any
    processor: Any
    markers: tuple[str, str] = ("vision_start_token_id", "vision_end_token_id")
    refused: Mapping[str, str] = field(default_factory=dict)

    def cell_pixels(self, processor: Any) -> int:
        """Side of the square of processed pixels behind one vision token."""
        return processor.image_processor.patch_size * processor.image_processor.merge_size

    def process(self, processor: Any, image: Image.Image, height: int, width: int) -> ProcessedImage:
        """A picture through the image processor; `height` and `width` are those of the original."""
        images = processor.image_processor
        pixels, inputs = apart(images(images=[image], return_tensors="pt"))
        _, rows, cols = inputs["image_grid_thw"][0].tolist()
        return ProcessedImage(
            pixel_values=lambda: pixels,
            pixel_values_shape=tuple(pixels.shape),
            inputs=inputs,
            rows=rows // images.merge_size,
            cols=cols // images.merge_size,
            height=height,
            width=width,
            processed_height=rows * images.patch_size,
            processed_width=cols * images.patch_size,
        )

    def encode(self, model: Any, images: Sequence[ProcessedImage]) -> list[ImageFeatures]:
        """Each image through the vision tower, once."""
        output = model.get_image_features(
            torch.cat([image.pixel_values() for image in images]).to(model.device),
            self.grids(images).to(model.device),
            return_dict=True,
        )
        levels = getattr(output, "deepstack_features", None)
        deepstack = zip(*levels, strict=True) if levels else ((),) * len(images)
        return [ImageFeatures(*parts) for parts in zip(output.pooler_output, deepstack, strict=True)]

    def encoder_output(self, features: Sequence[ImageFeatures]) -> BaseModelOutputWithPooling:
        """Features, in the order of the images' spans, in the form that the model takes instead of pixels."""
        merged = [feature.merged for feature in features]
        if not features[0].deepstack:
            return BaseModelOutputWithPooling(pooler_output=merged)
        levels = [list(level) for level in zip(*(feature.deepstack for feature in features), strict=True)]
        return BaseModelOutputWithDeepstackFeatures(pooler_output=merged, deepstack_features=levels)

    def positions(
        self, model: Any, input_ids: torch.Tensor, is_vision: torch.Tensor, images: Sequence[ProcessedImage]
    ) -> torch.Tensor:
        """Positions of one prompt's tokens (length,), by time, height and width: (3, length)."""
        positions, _ = model.model.get_rope_index(
            input_ids[None], mm_token_type_ids=is_vision[None].int(), image_grid_thw=self.grids(images)
        )
        return positions[:, 0]

    def prefill_inputs(self, is_vision: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the model wants to know of a batch of prompts beside tokens and mask; `is_vision` (batch, length)."""
        return {}

    def grids(self, images: Sequence[ProcessedImage]) -> torch.Tensor:
        """Grids of patches: (images, 3)."""
        return torch.cat([image.inputs["image_grid_thw"] for image in images])


@dataclass(frozen=True)
class SquareFamily(Family):
    """A family that resizes every picture to one square, which becomes a square of vision tokens.

    `uncut`: the option of its image processor that keeps it from adding crops; `token_types`: the input under which it
    wants to know which tokens are vision tokens (those attend to each other both ways).
    """

    uncut: str = ""
    token_types: str = ""

    def side(self, processor: Any) -> int:
        """Vision tokens along one side."""
        return math.isqrt(processor.image_seq_length)

    def cell_pixels(self, processor: Any) -> int:
        """Side of the square of processed pixels behind one vision token."""
        return processor.image_processor.size["height"] // self.side(processor)

    def process(self, processor: Any, image: Image.Image, height: int, width: int) -> ProcessedImage:
        """A picture through the image processor, whole."""
        pixels, inputs = apart(processor.image_processor(images=[image], return_tensors="pt", **{self.uncut: False}))
        side, (processed_height, processed_width) = self.side(processor), pixels.shape[-2:]
        return ProcessedImage(
            pixel_values=lambda: pixels,
            pixel_values_shape=tuple(pixels.shape),
            inputs=inputs,
            rows=side,
            cols=side,
            height=height,
            width=width,
            processed_height=processed_height,
            processed_width=processed_width,
        )

    def encode(self, model: Any, images: Sequence[ProcessedImage]) -> list[ImageFeatures]:
        """Each image through the vision tower, once."""
        pixels = torch.cat([image.pixel_values() for image in images])
        output = model.get_image_features(pixels.to(model.device, model.dtype), return_dict=True)
        return [ImageFeatures(merged) for merged in output.pooler_output]

    def encoder_output(self, features: Sequence[ImageFeatures]) -> BaseModelOutputWithPooling:
        """Features, in the order of the images' spans, in the form that the model takes instead of pixels."""
        return BaseModelOutputWithPooling(pooler_output=torch.stack([feature.merged for feature in features]))

    def positions(
        self, model: Any, input_ids: torch.Tensor, is_vision: torch.Tensor, images: Sequence[ProcessedImage]
    ) -> torch.Tensor:
        """Positions of one prompt's tokens (length,), in their order: (1, length)."""
        return torch.arange(len(input_ids))[None]

    def prefill_inputs(self, is_vision: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the model wants to know of a batch of prompts beside tokens and mask; `is_vision` (batch, length)."""
        return {self.token_types: is_vision.long()} if self.token_types else {}


def apart(processed: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """The pixels that an image processor gives, and what it says beside them."""
    return processed["pixel_values"], {name: value for name, value in processed.items() if name != "pixel_values"}


def as_model_takes(position_ids: torch.Tensor) -> torch.Tensor:
    """Positions (axes, batch, length) in the form that models take: those of one axis without it."""
    return position_ids[0] if len(position_ids) == 1 else position_ids


def still(processor: Any) -> Any:
    """A processor class without its video part, which alone needs torchvision."""

    class StillImageProcessor(processor):
        def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs: Any) -> None:
            super().__init__(image_processor, tokenizer, video_processor=None, chat_template=chat_template, **kwargs)

    return StillImageProcessor


class StillInternVLProcessor(InternVLProcessor):
    """InternVL's processor without its video part; of a checkpoint's file it takes what is an argument by name."""

    def __init__(
        self, image_processor=None, tokenizer=None, image_seq_length=256, chat_template=None, **_: Any
    ) -> None:
        super().__init__(image_processor, tokenizer, None, image_seq_length, chat_template)


QWEN = still(Qwen3VLProcessor)
# By `model_type` of a checkpoint's config.json.
FAMILIES: dict[str, Family] = {
    "qwen3_vl": Family(Qwen3VLForConditionalGeneration, QWEN),
    "qwen3_vl_moe": Family(Qwen3VLMoeForConditionalGeneration, QWEN),
    "qwen2_5_vl": Family(Qwen2_5_VLForConditionalGeneration, still(Qwen2_5_VLProcessor)),
    "qwen3_5": Family(Qwen3_5ForConditionalGeneration, QWEN, refused=GATED),
    "qwen3_5_moe": Family(Qwen3_5MoeForConditionalGeneration, QWEN, refused=GATED),
    "gemma3": SquareFamily(
        Gemma3ForConditionalGeneration,
        Gemma3Processor,
        ("boi_token_id", "eoi_token_id"),
        uncut="do_pan_and_scan",
        token_types="token_type_ids",
    ),
    "internvl": SquareFamily(
        InternVLForConditionalGeneration,
        StillInternVLProcessor,
        ("start_image_token_id", "end_image_token_id"),
        uncut="crop_to_patches",
    ),
}
