"""Save a model as a folder that transformers and this project load like any other checkpoint."""

import json
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen3VLForConditionalGeneration
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from attention_atlas.reference_model.architecture import MERGE, PATCH

# The real checkpoints' bounds: 8 x 8 tokens at the least.
PREPROCESSOR = {
    "size": {"shortest_edge": 65536, "longest_edge": 16777216},
    "patch_size": PATCH,
    "temporal_patch_size": 2,
    "merge_size": MERGE,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
    "image_processor_type": "Qwen2VLImageProcessor",
}


def save_model(model: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write weights (bf16 safetensors), configuration, tokenizer and image processor into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = model.config.text_config
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=[text.eos_token_id, text.pad_token_id],
        pad_token_id=text.pad_token_id,
        bos_token_id=text.bos_token_id,
    )
    dtype = model.dtype
    model.to(torch.bfloat16).save_pretrained(folder)
    model.to(dtype)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n", encoding="utf-8")
