"""Checkpoints: what a model's small JSON files tell of it, before it is loaded; torch is not needed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_atlas.config import ModelEntry

# The `model_type` of each family in `families.FAMILIES`; true: every layer is full attention unless the files say else.
MODEL_TYPES = {
    "qwen3_vl": True,
    "qwen3_vl_moe": True,
    "qwen2_5_vl": True,
    "qwen3_5": False,
    "qwen3_5_moe": False,
    "gemma3": False,
    "internvl": True,
}
# Types that resize every picture to one square.
SQUARE_TYPES = ("gemma3", "internvl")
# What cannot be kept of some types, by the setting of `capture`, with the reason.
GATED_TYPES = ("qwen3_5", "qwen3_5_moe")
GATED = {
    "value_weighted": "its attention's output passes a gate before the projection, so weight times norm of the "
    "projected value is not what a token adds"
}
MOST_ELONGATED = 200  # the image processor's own limit of the aspect ratio


@dataclass(frozen=True)
class Architecture:
    """What the JSON files of a model tell: its type, the kind of each layer (none where they do not say), its heads."""

    model_type: str
    num_layers: int
    num_heads: int
    layer_kinds: tuple[str, ...]
    processor: Mapping[str, Any]

    @property
    def captured(self) -> list[int]:
        """Depth indices of the layers whose attention is kept."""
        return [layer for layer, kind in enumerate(self.layer_kinds) if kind == "full_attention"]


def architecture_of(entry: ModelEntry) -> Architecture | None:
    """What is known of a model without asking it; None where its files are not here, or do not say."""
    config, processor = read_json(model_file(entry, "config.json")), model_file(entry, "preprocessor_config.json")
    text = config.get("text_config", config)
    if not isinstance(text, dict):
        return None
    num_layers, num_heads = (text.get(name) for name in ("num_hidden_layers", "num_attention_heads"))
    if not (isinstance(num_layers, int) and isinstance(num_heads, int)):
        return None
    model_type = str(config.get("model_type"))
    kinds = text.get("layer_types")
    if kinds is None and MODEL_TYPES.get(model_type) and not text.get("use_sliding_window"):
        kinds = ["full_attention"] * num_layers
    if not (isinstance(kinds, list) and len(kinds) == num_layers):
        kinds = []
    return Architecture(model_type, num_layers, num_heads, tuple(map(str, kinds)), read_json(processor))


def model_file(entry: ModelEntry, name: str) -> Path | None:
    """A small file of a model: in its folder, or in the hub's cache; None where it is in neither."""
    if entry.path is not None:
        return Path(entry.path, name)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(entry.hub), name, revision=entry.revision)
    return Path(found) if isinstance(found, str) else None


def read_json(path: Path | None) -> dict[str, Any]:
    """The mapping that a JSON file holds; an empty one where there is none: the job that loads the model says so."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def grid_problem(name: str, grid: tuple[int, int], cell: int, least: int, most: int) -> str:
    """Why an image processor does not keep a grid; empty where it does.

    Its cells have sides of `cell` pixels, its images `least` to `most` pixels.
    """
    means = f"model {name!r}: grid {list(grid)} means {grid[0] * cell} x {grid[1] * cell} px"
    pixels = grid[0] * grid[1] * cell**2
    if not least <= pixels <= most:
        return (
            f"{means} = {pixels} px, but its processor keeps {least} to {most} px: "
            f"{-(-least // cell**2)} to {most // cell**2} cells. Choose another grid, or native"
        )
    if max(grid) > MOST_ELONGATED * min(grid):
        return f"{means}, but its processor takes sides of at most {MOST_ELONGATED} to 1. Choose another grid"
    return ""
