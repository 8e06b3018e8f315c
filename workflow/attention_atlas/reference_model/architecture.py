"""The architecture of shapes-tiny: a Qwen3-VL of 3.4 million parameters."""

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from attention_atlas.reference_model.tokenizer import END_OF_TURN, IMAGE, PAD, VIDEO, VISION_END, VISION_START

GRID = (8, 8)
PATCH, MERGE = 16, 2
PIXELS = GRID[0] * PATCH * MERGE
HIDDEN = 128


def build_config(tokenizer: PreTrainedTokenizerBase) -> Qwen3VLConfig:
    """The configuration, with the special tokens' ids of `tokenizer`; its vocabulary is padded to a multiple of 64."""
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (PAD, END_OF_TURN, IMAGE, VIDEO)}
    text = {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": HIDDEN,
        "intermediate_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [6, 5, 5],
            "mrope_interleaved": True,
        },
        "pad_token_id": ids[PAD],
        "bos_token_id": ids[PAD],
        "eos_token_id": ids[END_OF_TURN],
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 4,
        "hidden_size": HIDDEN,
        "intermediate_size": 384,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": HIDDEN,
        "num_position_embeddings": (2 * GRID[0]) ** 2,
        "deepstack_visual_indexes": [1, 2, 3],
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids[IMAGE],
        video_token_id=ids[VIDEO],
        vision_start_token_id=tokenizer.convert_tokens_to_ids(VISION_START),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(VISION_END),
        tie_word_embeddings=True,
    )


def build_model(tokenizer: PreTrainedTokenizerBase, seed: int) -> Qwen3VLForConditionalGeneration:
    """The model with random weights, fp32."""
    torch.manual_seed(seed)
    return Qwen3VLForConditionalGeneration(build_config(tokenizer)).eval()
