"""What the benchmarks share: models and batches to run, timing in alternation, Markdown."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from attention_atlas.attention import generation, prompts
from attention_atlas.attention.capture import KERNEL
from attention_atlas.attention.extraction import ExtractionSettings
from attention_atlas.attention.families import FAMILIES, Family, ImageFeatures, ProcessedImage
from attention_atlas.attention.generation import BatchInputs
from attention_atlas.attention.models import VisionLanguageModel, load
from attention_atlas.attention.prompts import Prompt
from attention_atlas.config import Capture, Generation, effective_entry, load_models, load_settings
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.study import read_study
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "data" / "shapes"
MODEL = "shapes-tiny"
# The text layers of Qwen3-VL: their shape decides the cost of a step, their number and the vocabulary do not.
HEADS = {"num_key_value_heads": 8, "head_dim": 128}
LAYERS = {
    "2B": {"hidden_size": 2048, "num_attention_heads": 16, "intermediate_size": 6144, **HEADS},
    "4B": {"hidden_size": 2560, "num_attention_heads": 32, "intermediate_size": 9728, **HEADS},
    "8B": {"hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 12288, **HEADS},
}
VOCABULARY = 1024
IMAGE, VISION_START, VISION_END, PAD, END = range(VOCABULARY - 5, VOCABULARY)


@dataclass(frozen=True)
class Batch:
    """A model with one batch, its images encoded already; each way of running it returns its tokens."""

    source: VisionLanguageModel
    prompts: list[Prompt]
    features: dict[ProcessedImage, ImageFeatures]
    settings: Generation

    def captured(self) -> np.ndarray:
        """Generation with capture, as the extraction does it."""
        self.use(KERNEL)
        return self.own()

    def uncaptured(self) -> np.ndarray:
        """The same loop with the stock attention function: nothing is kept."""
        self.use("sdpa")
        return self.own()

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

    def own(self) -> np.ndarray:
        """Generation by the project; behind an end token stands padding, as in stock generation."""
        shared = bool(generation.asked_twice(self.prompts))
        read = generation.read_images(self.source, self.prompts, Capture(), shared)
        made = generation.generate(self.source, self.prompts, read, self.settings, Capture())
        past = np.arange(made.token_id.shape[1]) >= made.num_steps[:, None]
        return np.where(past, self.source.processor.tokenizer.pad_token_id, made.token_id)

    @torch.inference_mode()
    def stock(self, **options: Any) -> np.ndarray:
        """`generate` of transformers on prompts padded on the left, features computed beforehand."""
        model, family = self.source.model, self.source.family
        batch = BatchInputs.of(self.source, self.prompts, 0, None)
        model.model.rope_deltas = None
        output = model.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.layout.attended().long(),
            mm_token_type_ids=batch.is_vision.int(),
            image_grid_thw=family.grids([image for prompt in self.prompts for image in prompt.images]),
            mm_encoder_outputs={
                "image": family.encoder_output([self.features[i] for prompt in self.prompts for i in prompt.images])
            },
            max_new_tokens=self.settings.max_new_tokens,
            do_sample=False,
            return_dict_in_generate=True,
            **options,
        )
        return output.sequences[:, batch.input_ids.shape[1] :].numpy()


@dataclass(frozen=True)
class Given(Family):
    """A family whose images are encoded already."""

    features: Mapping[ProcessedImage, ImageFeatures] = field(default_factory=dict)

    def encode(self, model: Any, images: Sequence[ProcessedImage]) -> list[ImageFeatures]:
        """What was given of each image."""
        return [self.features[image] for image in images]


def with_features(
    source: VisionLanguageModel, prompts: list[Prompt], features: dict[ProcessedImage, ImageFeatures], steps: Generation
) -> Batch:
    """A batch whose model takes these features for its images."""
    family = Given(source.family.model, source.family.processor, features=features)
    return Batch(replace(source, family=family), prompts, features, steps)


def settings_of(threads: int) -> tuple[Any, ExtractionSettings]:
    """The model entry of the demo run, and its settings with that many threads; the rows alone are kept."""
    settings = load_settings(ROOT / "config" / "config.yaml")
    entry = effective_entry(settings.runs[0], load_models(ROOT / "config" / "models.yaml"))
    entry = entry.model_copy(update={"path": str(ROOT / str(entry.path))})
    sections = ExtractionSettings(
        settings.extraction.model_copy(update={"threads": threads}), settings.generation, Capture()
    )
    return entry, sections


def reference_batch(size: int) -> Batch:
    """The reference model with the first samples of the demo study."""
    entry, settings = settings_of(threads=1)
    source = load(MODEL, entry)
    rows = read_study(STUDY, query_types=None, images=()).samples.head(size).to_dict("records")
    names = dict.fromkeys(row["image"] for row in rows)
    images = {name: prompts.process_image(source, read_image(STUDY / "images" / name)) for name in names}
    pictures = list(images.values())
    with torch.inference_mode():
        features = dict(zip(pictures, source.family.encode(source.model, pictures), strict=True))
    built = [prompts.build_prompt(source, [images[row["image"]]], row["query"], "", row["sample_id"]) for row in rows]
    return with_features(source, built, features, settings.generation)


def large_batch(layer: str, side: int, size: int, num_layers: int, steps: int, text: int = 20) -> Batch:
    """A random model of a real size's layers with `size` prompts, each about an image of side x side vision tokens."""
    torch.manual_seed(0)
    hidden = LAYERS[layer]["hidden_size"]
    config = Qwen3VLConfig(
        text_config={
            **LAYERS[layer],
            "num_hidden_layers": num_layers,
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
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": hidden,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=IMAGE,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config).eval()
    model.generation_config.update(eos_token_id=VOCABULARY, pad_token_id=PAD)  # no token that ends an answer early
    processor: Any = SimpleNamespace(tokenizer=SimpleNamespace(pad_token_id=PAD))
    family = FAMILIES["qwen3_vl"]
    source = VisionLanguageModel(f"{layer} layers", model, processor, family, "native", "", "")
    numbers = np.random.default_rng(0)
    grid = {"image_grid_thw": torch.tensor([[1, 2 * side, 2 * side]])}
    built = []
    start = numbers.integers(0, IMAGE, 3)
    for number in range(size):
        words = numbers.integers(0, IMAGE, text - number % 4)  # queries of unequal length, as in a study
        ids = np.concatenate([start, [VISION_START], np.full(side**2, IMAGE), [VISION_END], words])
        image = ProcessedImage(torch.Tensor, (), grid, side, side, *[32 * side] * 4)  # its features are given
        built.append(Prompt(str(number), ids, (ids == IMAGE).astype(int), (image,)))
    parts = [0.02 * torch.randn(side**2, hidden) for _ in range(2)]
    features = {prompt.images[0]: ImageFeatures(parts[0], tuple(parts[1:])) for prompt in built}
    return with_features(source, built, features, Generation(max_new_tokens=steps))


def vision_images(side: int, number: int) -> tuple[VisionLanguageModel, list[ProcessedImage]]:
    """Two layers of the 2B's vision tower with random weights, and images of side x side vision tokens."""
    torch.manual_seed(0)
    vision = {"depth": 2, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2048}
    text = {**LAYERS["2B"], "num_hidden_layers": 1, "vocab_size": VOCABULARY}
    config = Qwen3VLConfig(text_config=text, vision_config={**vision, "deepstack_visual_indexes": [0]})
    model = Qwen3VLForConditionalGeneration(config).eval()
    model.set_attn_implementation("sdpa")
    shape = (4 * side**2, 3 * 2 * 16**2)
    grid = {"image_grid_thw": torch.tensor([[1, 2 * side, 2 * side]])}
    sizes = side, side, *[32 * side] * 4
    images = [ProcessedImage(lambda: torch.randn(shape), shape, grid, *sizes) for _ in range(number)]
    return VisionLanguageModel("vision", model, None, FAMILIES["qwen3_vl"], "native", "", ""), images


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
