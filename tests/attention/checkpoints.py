"""Small random checkpoints of every family, as folders that the project loads like any other."""

import json
import os
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from attention_atlas.attention.models import KERNELS
from attention_atlas.reference_model.examples import sentences
from attention_atlas.reference_model.package import PREPROCESSOR
from attention_atlas.reference_model.tokenizer import (
    END_OF_TURN,
    IMAGE,
    PAD,
    VIDEO,
    VISION_END,
    VISION_START,
    build_tokenizer,
)
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

FILES = "ATLAS_QWEN3VL_FILES"
SIZES = ("2B", "4B", "8B", "32B", "30B-A3B")
ROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "rope_parameters": ROPE,
    "tie_word_embeddings": True,
}
VISION = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 4,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 64,
    "num_position_embeddings": 256,
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
HYBRID = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "full_attention"],
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0},
}


def ids(tokenizer):
    """The special tokens of Qwen's families, as their configurations name them."""
    of = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": of(IMAGE),
        "video_token_id": of(VIDEO),
        "vision_start_token_id": of(VISION_START),
        "vision_end_token_id": of(VISION_END),
    }


def text_ids(tokenizer):
    of = tokenizer.convert_tokens_to_ids
    return {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "pad_token_id": of(PAD),
        "bos_token_id": of(PAD),
        "eos_token_id": of(END_OF_TURN),
    }


def qwen(config, model, text, vision, **top):
    """How a checkpoint of one of Qwen's families is made from a tokenizer."""

    def build(tokenizer):
        entries = {**ids(tokenizer), **top}
        return model(config(text_config={**text, **text_ids(tokenizer)}, vision_config=vision, **entries))

    return build


def gemma(tokenizer):
    """Sliding windows of 40 tokens in all layers but the second and the fourth: shorter than an image."""
    kinds = ["sliding_attention", "full_attention"] * 2
    text = {**TEXT, **text_ids(tokenizer), "num_hidden_layers": 4, "sliding_window": 40, "layer_types": kinds}
    text |= {"rope_parameters": {kind: {"rope_type": "default", "rope_theta": 10_000.0} for kind in set(kinds)}}
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    of = tokenizer.convert_tokens_to_ids
    return Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config={**text, "query_pre_attn_scalar": 32},
            vision_config={**vision, "image_size": 112, "patch_size": 14, "model_type": "siglip_vision_model"},
            mm_tokens_per_image=64,
            image_token_index=of(IMAGE),
            boi_token_index=of(VISION_START),
            eoi_token_index=of(VISION_END),
            tie_word_embeddings=True,
        )
    )


def internvl(tokenizer):
    text = {**TEXT, **text_ids(tokenizer), "model_type": "qwen2", "rope_parameters": None, "rope_theta": 10_000.0}
    text = {name: value for name, value in text.items() if name not in ("rope_parameters", "head_dim")}
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    return InternVLForConditionalGeneration(
        InternVLConfig(
            text_config=text,
            vision_config={**vision, "image_size": [224, 224], "patch_size": [14, 14]},
            image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
            image_seq_length=64,
            downsample_ratio=0.5,
            tie_word_embeddings=True,
        )
    )


WINDOWS = {"patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1], "num_heads": 4, "depth": 2}
DEEP = {**VISION, "deepstack_visual_indexes": [0, 1]}
SQUARE = {"do_convert_rgb": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_resize": True}
FAMILIES = {
    "qwen3_vl": (qwen(Qwen3VLConfig, Qwen3VLForConditionalGeneration, TEXT, DEEP), PREPROCESSOR, {}),
    "qwen3_vl_moe": (
        qwen(Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration, {**TEXT, **EXPERTS}, DEEP),
        PREPROCESSOR,
        {},
    ),
    "qwen2_5_vl": (
        qwen(
            Qwen2_5_VLConfig,
            Qwen2_5_VLForConditionalGeneration,
            {**TEXT, "hidden_size": 128, "rope_parameters": {**ROPE, "mrope_interleaved": False}},
            {**VISION, **WINDOWS, "out_hidden_size": 128},
        ),
        {**PREPROCESSOR, "patch_size": 14, "processor_class": "Qwen2_5_VLProcessor"},
        {},
    ),
    "qwen3_5": (
        qwen(Qwen3_5Config, Qwen3_5ForConditionalGeneration, {**TEXT, **HYBRID}, VISION),
        PREPROCESSOR,
        {},
    ),
    "qwen3_5_moe": (
        qwen(
            Qwen3_5MoeConfig,
            Qwen3_5MoeForConditionalGeneration,
            {**TEXT, **HYBRID, **EXPERTS, "shared_expert_intermediate_size": 32},
            VISION,
        ),
        PREPROCESSOR,
        {},
    ),
    "gemma3": (
        gemma,
        {**SQUARE, "size": {"height": 112, "width": 112}, "image_processor_type": "Gemma3ImageProcessor"},
        {"processor_class": "Gemma3Processor", "image_seq_length": 64},
    ),
    "internvl": (
        internvl,
        {**SQUARE, "size": {"height": 224, "width": 224}, "image_processor_type": "GotOcr2ImageProcessor"},
        {"processor_class": "InternVLProcessor", "image_seq_length": 64},
    ),
}
# How the tokenizers of these families call their tokens.
TOKEN_NAMES = {
    "gemma3": {"image_token": IMAGE, "boi_token": VISION_START, "eoi_token": VISION_END},
    "internvl": {
        "context_image_token": IMAGE,
        "start_image_token": VISION_START,
        "end_image_token": VISION_END,
        "video_token": VIDEO,
    },
}
PLACEHOLDERS = {"gemma3": VISION_START, "internvl": IMAGE}


def sharpened(model):
    """Random weights attend almost evenly; larger queries make errors of a row visible."""
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            attention = getattr(layer, "self_attn", None)
            if attention is not None:
                if not hasattr(attention, "q_norm"):
                    attention.q_proj.weight.mul_(100)
                elif attention.q_norm.weight.any():
                    attention.q_norm.weight.mul_(4)
                else:  # scales by 1 + weight
                    attention.q_norm.weight.add_(3)
    return model


def write_family(name, folder, seed=0):
    """A random checkpoint of a family."""
    build, preprocessor, processor = FAMILIES[name]
    tokenizer = build_tokenizer(sentences())
    if name in PLACEHOLDERS:
        tokenizer.chat_template = tokenizer.chat_template.replace(
            f"{VISION_START}{IMAGE}{VISION_END}", PLACEHOLDERS[name]
        )
    torch.manual_seed(seed)
    model = sharpened(build(tokenizer).eval())
    text = model.config.get_text_config()
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    if processor:
        (folder / "processor_config.json").write_text(json.dumps(processor))
    if name in TOKEN_NAMES:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings |= {"extra_special_tokens": TOKEN_NAMES[name]}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def fill(model, dtype, seed=0):
    """Normal weights as at the start of training, all of them views of one buffer: billions would take minutes."""
    weights = dict(model.named_parameters())
    draw = torch.empty(2**24 - 3).normal_(0, 0.02, generator=torch.Generator().manual_seed(seed)).to(dtype)
    size = max(values.numel() for values in weights.values())
    buffer = draw.repeat(-(-(size + 2 * len(draw)) // len(draw)))
    for number, (name, values) in enumerate(weights.items()):
        start = number * 104_729 % len(draw)
        own = buffer[start : start + values.numel()].view(values.shape)
        if "norm" in name and values.ndim == 1:
            own = torch.full(values.shape, 0.0 if name.endswith("bias") else 1.0, dtype=dtype)
        place, _, last = name.rpartition(".")
        setattr(model.get_submodule(place), last, torch.nn.Parameter(own, requires_grad=False))
    model.tie_weights()
    model.config.dtype = dtype
    return sharpened(model).eval()


def real_files():
    """The folder with the real configuration files; skips, naming the variable, where it is not set."""
    if FILES not in os.environ:
        pytest.skip(f"set {FILES} to the folder with the real configuration files")
    return Path(os.environ[FILES])


def real_config(size):
    """A real configuration cut to two layers."""
    values = json.loads((real_files() / size / "config.json").read_text(encoding="utf-8"))
    values["text_config"] |= {"num_hidden_layers": 2}
    values["vision_config"] |= {"depth": 2, "deepstack_visual_indexes": [0]}
    mixture = values["model_type"] == "qwen3_vl_moe"
    return Qwen3VLMoeConfig(**values) if mixture else Qwen3VLConfig(**values)


def real_model(size):
    """The real architecture of a size cut to two layers, its weights to be filled in."""
    config = real_config(size)
    mixture = config.model_type == "qwen3_vl_moe"
    architecture = Qwen3VLMoeForConditionalGeneration if mixture else Qwen3VLForConditionalGeneration
    with init_empty_weights(include_buffers=False):
        model = architecture(config)
    settings = json.loads((real_files() / size / "generation_config.json").read_text(encoding="utf-8"))
    model.generation_config.update(**settings)
    model.set_attn_implementation(KERNELS)
    return model
