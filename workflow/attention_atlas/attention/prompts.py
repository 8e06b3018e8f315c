"""Prompts: a sample's image and query as the model's inputs, each image processed once for all of its queries."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from attention_atlas.attention.models import VisionLanguageModel, resize_to_grid
from attention_atlas.attention.vision_tokens import vision_token_mask


@dataclass(frozen=True)
class ProcessedImage:
    """An image as the processor gives it; `rows` x `cols` vision tokens, sizes in pixels."""

    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor
    rows: int
    cols: int
    height: int
    width: int
    processed_height: int
    processed_width: int


@dataclass(frozen=True)
class Prompt:
    """The token ids of one sample's prompt, and which of them are vision tokens."""

    sample_id: str
    input_ids: np.ndarray
    is_vision_token: np.ndarray


def process_image(source: VisionLanguageModel, image: Image.Image) -> ProcessedImage:
    """An original RGB image through the grid policy and the model's image processor."""
    seen = resize_to_grid(image, source.grid, source.cell_pixels)
    processor = source.processor.image_processor
    output = processor(images=[seen], return_tensors="pt")
    _, height, width = output["image_grid_thw"][0].tolist()
    return ProcessedImage(
        pixel_values=output["pixel_values"],
        image_grid_thw=output["image_grid_thw"],
        rows=height // processor.merge_size,
        cols=width // processor.merge_size,
        height=image.height,
        width=image.width,
        processed_height=height * processor.patch_size,
        processed_width=width * processor.patch_size,
    )


def build_prompt(
    source: VisionLanguageModel, image: ProcessedImage, query: str, system_prompt: str, sample_id: str
) -> Prompt:
    """The chat prompt of a query about an image, up to where the assistant is to answer."""
    processor, config = source.processor, source.model.config
    content = [{"type": "image"}, {"type": "text", "text": query}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system_prompt:
        messages.insert(0, {"role": "system", "content": system_prompt})
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    tokens = image.rows * image.cols
    ids = processor.tokenizer.encode(text.replace(processor.image_token, processor.image_token * tokens))
    mask = vision_token_mask(
        ids, config.image_token_id, config.vision_start_token_id, config.vision_end_token_id, tokens, sample_id
    )
    return Prompt(sample_id, np.asarray(ids, dtype=np.int64), mask)


def left_padded(prompts: list[Prompt], pad_token: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Prompts as one batch, padded on the left: input_ids, attention_mask, mm_token_type_ids, each (batch, length)."""
    length = max(len(prompt.input_ids) for prompt in prompts)
    ids = torch.full((len(prompts), length), pad_token)
    attended = torch.zeros(len(prompts), length, dtype=torch.long)
    types = torch.zeros(len(prompts), length, dtype=torch.int32)
    for row, prompt in enumerate(prompts):
        start = length - len(prompt.input_ids)
        ids[row, start:] = torch.from_numpy(prompt.input_ids)
        attended[row, start:] = 1
        types[row, start:] = torch.from_numpy(prompt.is_vision_token.astype(np.int32))
    batch = {"input_ids": ids, "attention_mask": attended, "mm_token_type_ids": types}
    return {name: values.to(device) for name, values in batch.items()}
