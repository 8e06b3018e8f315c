"""Models for the tests: the reference architecture, and the real 4B's cut to few layers, both with random weights."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_atlas.attention import models
from attention_atlas.config import Capture, Generation, ModelEntry
from attention_atlas.reference_model.architecture import build_model
from attention_atlas.reference_model.examples import sentences
from attention_atlas.reference_model.package import save_model
from attention_atlas.reference_model.tokenizer import build_tokenizer
from PIL import Image
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

QUERIES = ["Where?", "How many shapes are in the image?", "Is there a purple star to the left of the red circle?"]
SHORT = Generation(max_new_tokens=5)
PLAIN = Capture()


def sharpened(model):
    """Random weights attend almost evenly; larger queries make errors of a row visible."""
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.q_norm.weight.mul_(4)
    return model


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory):
    """A checkpoint folder of the reference architecture with random weights."""
    folder = tmp_path_factory.mktemp("random") / "model"
    tokenizer = build_tokenizer(sentences())
    save_model(sharpened(build_model(tokenizer, seed=1)), tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def tiny(random_folder):
    """That checkpoint, loaded as the extraction loads it."""
    return load(random_folder, grid=(8, 8))


@pytest.fixture(scope="session")
def tiny_native(random_folder):
    """The same with the processor's own grids."""
    return load(random_folder, grid="native")


@pytest.fixture(scope="session")
def real_folder(tmp_path_factory):
    """The real 4B configuration cut to two layers, random weights, the real tokenizer and image processor."""
    variable = "ATLAS_QWEN3VL_FILES"
    if variable not in os.environ:
        pytest.skip(f"set {variable} to the folder with the real configuration files")
    source = Path(os.environ[variable])
    folder = tmp_path_factory.mktemp("real") / "model"
    values = json.loads((source / "4B" / "config.json").read_text(encoding="utf-8"))
    values["text_config"] |= {"num_hidden_layers": 2}
    values["vision_config"] |= {"depth": 2, "deepstack_visual_indexes": [0]}
    torch.manual_seed(0)
    model = sharpened(Qwen3VLForConditionalGeneration(Qwen3VLConfig(**values)))
    model.generation_config.update(**json.loads((source / "4B" / "generation_config.json").read_text(encoding="utf-8")))
    model.save_pretrained(folder)
    for file in (source / "processor").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="session")
def real(real_folder):
    """The cut 4B, loaded as the extraction loads it, with native grids."""
    return load(real_folder, grid="native")


def load(folder, grid, dtype="float32"):
    return models.load("test", ModelEntry(path=str(folder), dtype=dtype, grid=grid, device="cpu"))


def picture(width=448, height=448, seed=0):
    """An image that differs everywhere."""
    values = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
