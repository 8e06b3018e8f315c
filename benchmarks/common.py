"""What the benchmarks share: models and batches to run, timing in alternation, Markdown."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from attention_atlas.attention import generation, prompts
from attention_atlas.attention.capture import KERNEL
from attention_atlas.attention.extraction import ExtractionSettings
from attention_atlas.attention.generation import ImageFeatures
from attention_atlas.attention.models import VisionLanguageModel, load
from attention_atlas.attention.prompts import ProcessedImage, Prompt
from attention_atlas.config import Capture, Generation, effective_entry, load_models, load_settings
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.study import read_study
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "data" / "shapes"
MODEL = "shapes-tiny"
# The text layers of Qwen3-VL-2B and 8B: their shape decides the cost of a step, their number and the vocabulary do not.
LAYER_2B = {
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 6144,
}
LAYER_8B = {
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
}
NUM_LAYERS = 4
VOCABULARY = 1024
IMAGE, VISION_START, VISION_END, PAD, END = range(VOCABULARY - 5, VOCABULARY)


@dataclass(frozen=True)
class Batch:
    """A model with one batch, its images encoded already; `keeps` tells what each way of running it keeps."""

    source: VisionLanguageModel
    prompts: list[Prompt]
    images: list[ProcessedImage]
    features: list[ImageFeatures]
    settings: Generation

    def captured(self) -> np.ndarray:
        """Generation with capture, as the extraction does it; returns the tokens."""
        self.use(KERNEL)
        made = generation.generate(self.source, self.prompts, self.images, self.features, self.settings, Capture())
        return made.token_id

    def plain(self) -> np.ndarray:
        """Stock generation under sdpa, nothing kept."""
        self.use("sdpa")
        return self.stock()

    def eager(self) -> np.ndarray:
        """Stock generation under eager attention with output_attentions=True: every matrix of every step."""
        self.use("eager")
        return self.stock(output_attentions=True)

    def use(self, kernel: str) -> None:
        """Choose the attention of the language model."""
        self.source.model.set_attn_implementation({"text_config": kernel, "vision_config": "sdpa"})

    @torch.inference_mode()
    def stock(self, **options: Any) -> np.ndarray:
        """`generate` of transformers on the inputs that capture has; returns the tokens."""
        model = self.source.model
        inputs = prompts.left_padded(self.prompts, self.source.processor.tokenizer.pad_token_id, model.device)
        model.model.rope_deltas = None
        output = model.generate(
            **inputs,
            image_grid_thw=torch.cat([image.image_grid_thw for image in self.images]),
            mm_encoder_outputs={"image": generation.repeated(self.features)},
            max_new_tokens=self.settings.max_new_tokens,
            do_sample=False,
            return_dict_in_generate=True,
            **options,
        )
        return output.sequences[:, inputs["input_ids"].shape[1] :].numpy()


def settings_of(threads: int) -> tuple[Any, ExtractionSettings]:
    """The model entry of the demo run, and its settings with that many threads."""
    settings = load_settings(ROOT / "config" / "config.yaml")
    entry = effective_entry(settings.runs[0], load_models(ROOT / "config" / "models.yaml"))
    entry = entry.model_copy(update={"path": str(ROOT / str(entry.path))})
    sections = ExtractionSettings(
        settings.extraction.model_copy(update={"threads": threads}), settings.generation, settings.capture
    )
    return entry, sections


def reference_batch(size: int) -> Batch:
    """The reference model with the first samples of the demo study."""
    entry, settings = settings_of(threads=1)
    source = load(MODEL, entry)
    rows = read_study(STUDY, query_types=None, images=()).samples.head(size).to_dict("records")
    names = dict.fromkeys(row["image"] for row in rows)
    images = {name: prompts.process_image(source, read_image(STUDY / "images" / name)) for name in names}
    features = dict(zip(images, generation.encode_images(source, list(images.values())), strict=True))
    return Batch(
        source,
        [prompts.build_prompt(source, images[row["image"]], row["query"], "", row["sample_id"]) for row in rows],
        [images[row["image"]] for row in rows],
        [features[row["image"]] for row in rows],
        settings.generation,
    )


def large_batch(
    side: int, size: int, steps: int, text: int = 20, layer: dict[str, int] = LAYER_2B, layers: int = NUM_LAYERS
) -> Batch:
    """A random model of the 2B's (or other) layers with prompts of side x side vision tokens and `text` others."""
    torch.manual_seed(0)
    config = Qwen3VLConfig(
        text_config={
            **layer,
            "num_hidden_layers": layers,
            "vocab_size": VOCABULARY,
            "pad_token_id": PAD,
            "bos_token_id": PAD,
            "eos_token_id": END,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        vision_config={  # never run: its features are made up
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": layer["hidden_size"],
            "deepstack_visual_indexes": [0, 1, 2],
        },
        image_token_id=IMAGE,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config).eval()
    model.generation_config.update(eos_token_id=END, pad_token_id=PAD, min_new_tokens=steps)
    processor: Any = SimpleNamespace(tokenizer=SimpleNamespace(pad_token_id=PAD))
    source = VisionLanguageModel("random layers", model, processor, "native", "", "")
    numbers = np.random.default_rng(0)
    built = []
    for number in range(size):
        words = numbers.integers(0, IMAGE, text - number % 4)  # prompts of unequal length, as in a study
        ids = np.concatenate([words[:3], [VISION_START], np.full(side**2, IMAGE), [VISION_END], words[3:]])
        built.append(Prompt(str(number), ids, ids == IMAGE))
    grid = torch.tensor([[1, 2 * side, 2 * side]])
    image = ProcessedImage(torch.empty(0), grid, side, side, *[32 * side] * 4)
    parts = [0.02 * torch.randn(side**2, layer["hidden_size"]) for _ in range(4)]
    features = ImageFeatures(parts[0], tuple(parts[1:]))
    return Batch(source, built, [image] * size, [features] * size, Generation(max_new_tokens=steps))


def seconds(run: Callable[[], Any]) -> float:
    """Wall time of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def alternating(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each run returns, round by round; every other round in reverse, so that drift meets all alike."""
    results: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs) if number % 2 == 0 else list(reversed(runs))
        for name in names:
            results[name].append(runs[name]())
    return results


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Median and range, as a table shows them."""
    ordered = sorted(values)
    return f"{statistics.median(ordered):.{digits}f} ({ordered[0]:.{digits}f}–{ordered[-1]:.{digits}f})"


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Ratio of each pair."""
    return [a / b for a, b in zip(over, under, strict=True)]


def verdict(met: bool) -> str:
    """How a table says whether an aim is met."""
    return "met" if met else "**missed**"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cases(quick: bool) -> dict[str, Callable[[], Batch]]:
    """The batches that overhead and memory are measured on, by the name that a table gives them."""
    if quick:
        return {
            "shapes-tiny, 64 vision tokens, batch 16": lambda: reference_batch(16),
            "2B layers, 64 vision tokens, batch 2": lambda: large_batch(8, 2, 4),
        }
    return {
        "shapes-tiny, 64 vision tokens, batch 96": lambda: reference_batch(96),
        "2B layers, 64 vision tokens, batch 8": lambda: large_batch(8, 8, 16),
        "2B layers, 256 vision tokens, batch 4": lambda: large_batch(16, 4, 16),
        "2B layers, 1024 vision tokens, batch 2": lambda: large_batch(32, 2, 16),
    }
