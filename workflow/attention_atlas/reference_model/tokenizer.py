"""The tokenizer of shapes-tiny: Qwen's byte-level BPE and special tokens, with merges from the study's language."""

import json
from collections.abc import Iterable

from transformers import Qwen2Tokenizer

# Qwen3-VL's own, in its order; here the ids follow a small vocabulary instead of 151,643 ordinary tokens.
PAD, END_OF_TURN, IMAGE, VIDEO = "<|endoftext|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
CONTROL_TOKENS = (
    *(PAD, "<|im_start|>", END_OF_TURN, "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", VISION_START, VISION_END, "<|vision_pad|>", IMAGE, VIDEO),
)
MARKUP_TOKENS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
MOST_TOKENS = 1024
# Turns as Qwen3-VL lays them out, with images before or between the text of a message.
CHAT_TEMPLATE = """\
{%- macro say(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- else -%}
        {%- for part in content -%}
            {%- if part.type == 'image' -%}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
            {%- elif 'text' in part -%}
                {{- part.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' + say(message.content) + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def build_tokenizer(sentences: Iterable[str]) -> Qwen2Tokenizer:
    """The tokenizer, its merges learned from `sentences`; any text can be encoded, byte by byte where no merge fits."""
    learned = Qwen2Tokenizer().train_new_from_iterator(sentences, vocab_size=MOST_TOKENS, show_progress=False)
    model = json.loads(learned.backend_tokenizer.to_str())["model"]
    words = [word for word, _ in sorted(model["vocab"].items(), key=lambda item: item[1]) if word != PAD]
    tokenizer = Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[tuple(merge) for merge in model["merges"]],
        unk_token=None,
        eos_token=END_OF_TURN,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(CONTROL_TOKENS)})
    tokenizer.add_tokens(list(MARKUP_TOKENS))
    return tokenizer
