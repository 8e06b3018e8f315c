"""Prompts: a sample's images and query as the model's inputs, each image processed once for all of its queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from attention_atlas.attention.families import ProcessedImage
from attention_atlas.attention.models import VisionLanguageModel, resize_to_grid
from attention_atlas.attention.vision_tokens import image_of_token
from attention_atlas.errors import AtlasError


@dataclass(frozen=True)
class Prompt:
    """One sample's prompt: token ids, the images, and which of them (1 = the first, 0 = text) each token belongs to."""

    sample_id: str
    input_ids: np.ndarray
    image_of_token: np.ndarray
    images: tuple[ProcessedImage, ...]

    @property
    def is_vision_token(self) -> np.ndarray:
        """Which tokens are vision tokens, boolean."""
        return self.image_of_token > 0

    @property
    def images_end(self) -> int:
        """Number of tokens up to the end of the last image: what it shares with every query of its images."""
        return int(self.image_of_token.nonzero()[0][-1]) + 1


def process_image(source: VisionLanguageModel, image: Image.Image) -> ProcessedImage:
    """An original RGB image through the grid policy and the model's image processor."""
    seen = resize_to_grid(image, source.grid, source.cell_pixels)
    return source.family.process(source.processor, seen, image.height, image.width)


def build_prompt(
    source: VisionLanguageModel, images: Sequence[ProcessedImage], query: str, system_prompt: str, sample_id: str
) -> Prompt:
    """The chat prompt of a query about images, up to where the assistant is to answer.

    The images come first, in their order. A model that can think aloud is told to answer at once.
    """
    processor = source.processor
    check_query(processor.tokenizer, query, sample_id)
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": query}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system_prompt:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system_prompt}]})
    answer_at_once = {"enable_thinking": False} if "enable_thinking" in (processor.chat_template or "") else {}
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **answer_at_once)
    tokenizer = processor.tokenizer
    started = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    ids = tokenizer.encode(with_vision_tokens(processor, text, images), add_special_tokens=not started)
    numbers = image_of_token(
        ids, source.model.config.image_token_id, source.markers, [image.num_tokens for image in images], sample_id
    )
    return Prompt(sample_id, np.asarray(ids, dtype=np.int64), numbers, tuple(images))


def check_query(tokenizer: Any, query: str, sample_id: str) -> None:
    """Refuse a query with a text that the tokenizer takes for a token of its own: it would forge a turn or an image."""
    for token in special_tokens(tokenizer):
        if token in query:
            raise AtlasError(
                f"sample {sample_id!r}: query {query!r} contains the special token {token!r}; write it differently"
            )


@cache
def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The texts of a tokenizer's control tokens."""
    return tuple(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


def with_vision_tokens(processor: Any, text: str, images: Sequence[ProcessedImage]) -> str:
    """The text with the placeholder of each image replaced by its span of vision tokens."""
    before, *after = text.split(processor.image_token)
    spans = [processor.replace_image_token(image.inputs, 0) for image in images]
    return before + "".join(span + rest for span, rest in zip(spans, after, strict=True))
