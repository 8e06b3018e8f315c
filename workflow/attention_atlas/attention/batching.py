"""Batching: which samples are generated together, and how many fit into memory."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import psutil
import torch

from attention_atlas.attention.families import ProcessedImage
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.prompts import Prompt
from attention_atlas.config import Capture, Generation

# Of the memory that is free, what a batch may plan with: allocators waste some, and the estimate is one.
USABLE = 0.6
# More samples at once gain nothing, and a failure would cost them all.
MOST_SAMPLES = 1024
# Copies of what is kept that are in the machine's memory at once: of the batch that is written, and of the next.
HOST_COPIES = 3
# Values of the hidden size, and of the intermediate size, that a layer holds for each token or patch that it reads
# (measured: the table of memory in docs/performance.md).
HIDDEN_COPIES, INTERMEDIATE_COPIES = 12, 3

T = TypeVar("T")


def packed(groups: Iterable[Sequence[T]], batch_size: int) -> list[list[T]]:
    """Items in batches of at most `batch_size`, in order: a group shares a batch, unless it is larger than one."""
    batches: list[list[T]] = []
    room = 0
    for group in groups:
        if len(group) <= room:
            batches[-1].extend(group)
            room -= len(group)
        else:
            batches += [list(group[start : start + batch_size]) for start in range(0, len(group), batch_size)]
            room = max(0, batch_size - len(group))  # none behind a group that was divided
    return batches


def automatic_size(
    source: VisionLanguageModel, prompts: Sequence[Prompt], generation: Generation, capture: Capture, jobs: int
) -> int:
    """How many samples fit into the memory that is free now, shared with `jobs` - 1 others like this one."""
    queries = Counter(prompt.images for prompt in prompts)
    images_each = max(len(images) / count for images, count in queries.items())  # of the batch with the most
    shown = {image for images in queries for image in images}
    encoding = images_each * max(bytes_of_image(source, image) for image in shown)
    pixels = images_each * max(bytes_of_pixels(image) for image in shown)
    largest = max(bytes_of_sample(source, prompt, generation, capture) for prompt in prompts)
    on_host = pixels + max(HOST_COPIES * bytes_kept(source, prompt, generation, capture) for prompt in prompts)
    room = ((max(encoding, largest), free_memory(source.model.device)), (on_host, free_memory(torch.device("cpu"))))
    fitting = min(int(USABLE * free / jobs / size) for size, free in room)
    return max(1, min(MOST_SAMPLES, fitting))


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def bytes_of_sample(source: VisionLanguageModel, prompt: Prompt, generation: Generation, capture: Capture) -> int:
    """About how much one sample needs at the peak: cache, kept attention, logits, and one layer's activations."""
    text, item = source.text_config, source.model.dtype.itemsize
    heads = text.num_attention_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    length = len(prompt.input_ids) + generation.max_new_tokens
    cache = 2 * text.num_hidden_layers * text.num_key_value_heads * dim * length * item
    logits = 4 * text.vocab_size * 4
    intermediate = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    activations = length * (HIDDEN_COPIES * text.hidden_size + INTERMEDIATE_COPIES * intermediate) * item
    scores = heads * length * (2 * dim * item + 3 * 4)
    kept = bytes_kept(source, prompt, generation, capture)
    return int(2 * cache + kept + logits + activations + scores)  # the cache twice: it grows by copying


def bytes_of_image(source: VisionLanguageModel, image: ProcessedImage) -> int:
    """About how much encoding one image needs at the peak: its pixels, and one layer's activations."""
    vision = source.model.config.vision_config
    sides = vision.patch_size if isinstance(vision.patch_size, list | tuple) else [vision.patch_size] * 2
    patches = image.processed_height * image.processed_width // math.prod(sides)
    activations = HIDDEN_COPIES * vision.hidden_size + INTERMEDIATE_COPIES * vision.intermediate_size
    return int(patches * activations * source.model.dtype.itemsize) + bytes_of_pixels(image)


def bytes_of_pixels(image: ProcessedImage) -> int:
    """Processed pixels in fp32, twice: alone, and among those of the batch."""
    return 2 * 4 * math.prod(image.pixel_values_shape)


def bytes_kept(source: VisionLanguageModel, prompt: Prompt, generation: Generation, capture: Capture) -> int:
    """How much is kept of one sample, in fp32."""
    heads, steps, layers = (
        source.text_config.num_attention_heads,
        generation.max_new_tokens,
        len(source.captured_layers),
    )
    vision, length = int(prompt.is_vision_token.sum()), len(prompt.input_ids) + steps
    rows = vision * (2 if capture.value_weighted else 1) + 8 + (length if capture.keys == "all" else 0)
    states = (vision + 1) * source.text_config.hidden_size if capture.hidden_states else 0
    return 4 * layers * (steps * heads * rows + states)
