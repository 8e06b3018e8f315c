"""The captured rows are those of eager attention, and the generated tokens those of plain generation."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from attention_atlas.attention import generation, nodes, prompts
from attention_atlas.attention.capture import KERNEL, _active, attention_rows, capturing_attention
from attention_atlas.config import Capture
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .conftest import PLAIN, QUERIES, SHORT, load, picture

FP32 = 1e-5


def ask(source, queries, images, capture=PLAIN, full_rows=()):
    processed = [prompts.process_image(source, image) for image in images]
    built = [
        prompts.build_prompt(source, [image], query, "", f"sample {number}")
        for number, (image, query) in enumerate(zip(processed, queries, strict=True))
    ]
    read = generation.read_images(source, built, capture, prefix=not full_rows)
    return built, processed, generation.generate(source, built, read, SHORT, capture, full_rows)


def plain_inputs(source, built, processed):
    """What a user passes to `generate` by hand: prompts padded on the left."""
    length = max(len(prompt.input_ids) for prompt in built)
    padded = {"input_ids": source.processor.tokenizer.pad_token_id, "attention_mask": 0, "mm_token_type_ids": 0}
    batch = {name: torch.full((len(built), length), value) for name, value in padded.items()}
    for row, prompt in enumerate(built):
        own = slice(length - len(prompt.input_ids), None)
        batch["input_ids"][row, own] = torch.from_numpy(prompt.input_ids)
        batch["attention_mask"][row, own] = 1
        batch["mm_token_type_ids"][row, own] = torch.from_numpy(prompt.is_vision_token.astype(int))
    return {
        **batch,
        "pixel_values": torch.cat([image.pixel_values() for image in processed]),
        "image_grid_thw": torch.cat([image.inputs["image_grid_thw"] for image in processed]),
        "max_new_tokens": SHORT.max_new_tokens,
        "do_sample": False,
        "temperature": None,
        "top_k": None,
        "top_p": None,
        "return_dict_in_generate": True,
    }


def run(source, kernel, inputs, **options):
    """Stock generation under a stock kernel, on the same weights."""
    source.model.set_attn_implementation({"text_config": kernel, "vision_config": "sdpa"})
    source.model.model.rope_deltas = None
    try:
        with torch.inference_mode():
            return source.model.generate(**inputs, **options)
    finally:
        source.model.set_attn_implementation({"text_config": KERNEL, "vision_config": "sdpa"})


def eager_rows(output, layers):
    """Last rows of eager attention: (step, layer, sample, head, key), keys padded with 0 behind."""
    keys = output.attentions[-1][0].shape[-1]
    rows = [torch.stack([step[layer][:, :, -1].float() for layer in layers]) for step in output.attentions]
    return np.stack([torch.nn.functional.pad(row, (0, keys - row.shape[-1])).numpy() for row in rows])


def assert_equal_to_eager(source, queries, images, tolerance=FP32):
    built, processed, made = ask(source, queries, images, Capture(keys="all"))
    inputs = plain_inputs(source, built, processed)
    eager = run(source, "eager", inputs, output_attentions=True)
    sdpa = run(source, "sdpa", inputs)
    length = inputs["input_ids"].shape[1]
    np.testing.assert_array_equal(made.token_id, sdpa.sequences[:, length:].numpy())
    np.testing.assert_array_equal(made.token_id, eager.sequences[:, length:].numpy())
    rows = eager_rows(eager, source.captured_layers)
    steps = rows.shape[0]
    assert steps == made.attention.shape[0]
    weights = nodes.without_gap(np.moveaxis(made.attention_all, 2, 0), made.prefix, made.gap)
    for sample, prompt in enumerate(built):
        own = rows[:, :, sample, ..., length - len(prompt.input_ids) :]
        ours = np.nan_to_num(weights[sample][..., : own.shape[-1]])
        np.testing.assert_allclose(ours, own, atol=tolerance, rtol=0)
        padded = np.zeros(rows.shape[-1], dtype=bool)
        padded[length - len(prompt.input_ids) : length] = prompt.is_vision_token
        np.testing.assert_allclose(
            made.attention[:, :, sample], rows[:, :, sample][..., padded], atol=tolerance, rtol=0
        )
        first = rows[:, :, sample, :, length - len(prompt.input_ids)]
        np.testing.assert_allclose(made.masses[:, :, sample, :, 1], first, atol=tolerance, rtol=0)
        generated = rows[:, :, sample, :, length:].sum(-1)
        np.testing.assert_allclose(made.masses[:, :, sample, :, 3], generated, atol=tolerance, rtol=0)
    np.testing.assert_allclose(made.masses.sum(-1), 1, atol=1e-5)
    return rows


def test_rows_of_a_single_sample_are_eager_ones(tiny):
    rows = assert_equal_to_eager(tiny, QUERIES[:1], [picture()])
    assert rows.max() > 0.2  # not all even: an error of scaling or of heads would show


def test_rows_of_a_left_padded_batch_are_eager_ones(tiny):
    assert len({len(tiny.processor.tokenizer.encode(query)) for query in QUERIES}) == 3
    assert_equal_to_eager(tiny, QUERIES, [picture(seed=seed) for seed in range(3)])


def test_the_reference_architecture_has_grouped_query_heads(tiny):
    assert tiny.text_config.num_attention_heads == 2 * tiny.text_config.num_key_value_heads


def test_rows_on_a_native_grid_that_is_not_square_are_eager_ones(tiny_native):
    assert_equal_to_eager(tiny_native, QUERIES[:2], [picture(640, 288, seed) for seed in range(2)])


def test_rows_of_the_real_4b_architecture_and_processor_are_eager_ones(real):
    assert real.text_config.num_attention_heads * real.text_config.head_dim != real.text_config.hidden_size
    assert_equal_to_eager(real, QUERIES[:2], [picture(seed=seed) for seed in range(2)])


@contextmanager
def watched(source):
    """Softmax rows in fp64 of the very queries and keys of what runs inside: layer -> step -> (sample, head, key)."""
    seen = {}

    def watching(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **kwargs):
        if query.shape[0] == value.shape[0] and _active:
            keys = key.double().repeat_interleave(query.shape[1] // key.shape[1], dim=1)
            scores = query[:, :, -1:].double() @ keys.transpose(-1, -2) * scaling
            if attention_mask is not None:
                allowed = attention_mask[:, :, -1:, : key.shape[2]]
                scores = scores.masked_fill(~allowed, -torch.inf)
            seen.setdefault(module.layer_idx, []).append(scores.softmax(-1)[:, :, 0].numpy())
        return capturing_attention(module, query, key, value, attention_mask, dropout, scaling, **kwargs)

    AttentionInterface.register("watching", watching)
    AttentionMaskInterface.register("watching", sdpa_mask)
    source.model.set_attn_implementation({"text_config": "watching", "vision_config": "sdpa"})
    try:
        yield seen
    finally:
        source.model.set_attn_implementation({"text_config": KERNEL, "vision_config": "sdpa"})


def test_rows_in_bf16_are_the_fp64_softmax_of_the_same_bf16_queries_and_keys(random_folder):
    source = load(random_folder, (8, 8), "bfloat16")
    images = [picture(seed=seed) for seed in range(2)]
    with watched(source) as expected:
        built, processed, made = ask(source, QUERIES[:2], images, Capture(keys="all"))
    plain = run(source, "sdpa", plain_inputs(source, built, processed))
    np.testing.assert_array_equal(made.token_id, plain.sequences[:, -made.token_id.shape[1] :].numpy())
    for number, layer in enumerate(source.captured_layers):
        for step, rows in enumerate(expected[layer]):
            ours = made.attention_all[step, number][..., : rows.shape[-1]]
            np.testing.assert_allclose(ours, rows, atol=1e-5, rtol=0)


def test_the_whole_prompt_matrix_is_the_eager_one_and_causal(tiny):
    images = [picture(seed=seed) for seed in range(2)]
    built, processed, made = ask(tiny, QUERIES[:2], images, Capture(rows="all", full_samples=("x",)), full_rows=(0, 1))
    eager = run(tiny, "eager", plain_inputs(tiny, built, processed), output_attentions=True)
    for sample, prompt in enumerate(built):
        start = made.gap[sample]
        assert made.prefill.shape[-1] - start == len(prompt.input_ids)
        ours = made.prefill[:, sample, :, start:, start:]
        theirs = torch.stack([layer[sample, :, start:, start:] for layer in eager.attentions[0]]).numpy()
        np.testing.assert_allclose(ours, theirs, atol=FP32, rtol=0)
        assert np.triu(ours, k=1).max() == 0


def test_value_weighted_attention_is_the_norm_of_each_projected_contribution(tiny):
    """a_i ||v_i W_O^h||, by the projection itself instead of its Gram matrix (Kobayashi et al. 2020)."""
    seen = {}

    def keep(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **kwargs):
        rows = attention_rows(query[:, :, -1:], key, attention_mask, scaling)[:, :, 0]
        heads, dim = query.shape[1], query.shape[3]
        values = value.repeat_interleave(heads // value.shape[1], dim=1)
        parts = module.o_proj.weight.view(-1, heads, dim)
        norms = torch.einsum("bhkd,ohd->bhko", values, parts).norm(dim=-1)
        seen.setdefault(module.layer_idx, []).append((rows * norms).numpy())
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )

    AttentionInterface.register("value_oracle", keep)
    AttentionMaskInterface.register("value_oracle", sdpa_mask)
    built, processed, made = ask(tiny, QUERIES[:2], [picture(), picture(seed=1)], Capture(value_weighted=True))
    run(tiny, "value_oracle", plain_inputs(tiny, built, processed))
    length = max(len(prompt.input_ids) for prompt in built)
    for layer, steps in seen.items():
        for step, expected in enumerate(steps):
            for sample, prompt in enumerate(built):
                start = length - len(prompt.input_ids)
                wanted = expected[sample][:, start:length][:, prompt.is_vision_token]
                np.testing.assert_allclose(made.value_weighted[step, layer, sample], wanted, rtol=1e-4, atol=1e-6)


def prefill_of_plain_generation(source, inputs):
    """What enters each layer's input norm, and what leaves each layer, in the prefill: (layer, batch, length, dim)."""
    entering, leaving = {}, {}

    def before_norm(module, given):
        entering.setdefault(module, given[0].float())

    def after_layer(module, given, output):
        leaving.setdefault(module, output.float())

    layers = source.model.model.language_model.layers
    hooks = [layer.input_layernorm.register_forward_pre_hook(before_norm) for layer in layers]
    hooks += [layer.register_forward_hook(after_layer) for layer in layers]
    run(source, "sdpa", inputs)
    for hook in hooks:
        hook.remove()
    return (torch.stack(list(states.values())).numpy() for states in (entering, leaving))


@pytest.mark.parametrize("batch", [1, 3])
def test_hidden_states_are_what_enters_each_layers_norm_at_the_first_and_the_vision_tokens(tiny, batch):
    images = [picture(seed=seed) for seed in range(batch)]
    built, processed, made = ask(tiny, QUERIES[:batch], images, Capture(hidden_states=True))
    inputs = plain_inputs(tiny, built, processed)
    entering, leaving = prefill_of_plain_generation(tiny, inputs)
    assert made.hidden_states.shape == (6, batch, 1 + 64, tiny.text_config.hidden_size)
    for sample, prompt in enumerate(built):
        start = inputs["input_ids"].shape[1] - len(prompt.input_ids)
        expected = entering[:, sample, start:]
        np.testing.assert_allclose(made.hidden_states[:, sample, 0], expected[:, 0], atol=FP32)
        vision = expected[:, prompt.is_vision_token]
        np.testing.assert_allclose(made.hidden_states[:, sample, 1:], vision, atol=FP32)
        # DeepStack's features, added after the first three layers, are part of what enters the next
        added = np.abs(vision[1:] - leaving[:-1, sample, start:][:, prompt.is_vision_token]).max((1, 2))
        np.testing.assert_array_equal(added > 100 * FP32, [True, True, True, False, False])


def test_hidden_states_of_the_real_4b_architecture_are_what_enters_each_layers_norm(real):
    built, processed, made = ask(real, QUERIES[:2], [picture(), picture(seed=1)], Capture(hidden_states=True))
    inputs = plain_inputs(real, built, processed)
    entering, _ = prefill_of_plain_generation(real, inputs)
    for sample, prompt in enumerate(built):
        expected = entering[:, sample, inputs["input_ids"].shape[1] - len(prompt.input_ids) :][
            :, prompt.is_vision_token
        ]
        np.testing.assert_allclose(made.hidden_states[:, sample, 1:], expected, atol=FP32)


def test_keeping_hidden_states_changes_nothing_else_and_leaves_no_hook(tiny):
    images = [picture(seed=seed) for seed in range(2)]
    _, _, plain = ask(tiny, QUERIES[:2], images)
    _, _, made = ask(tiny, QUERIES[:2], images, Capture(hidden_states=True))
    assert plain.hidden_states is None
    for field in ("token_id", "token_logprob", "attention", "masses"):
        np.testing.assert_array_equal(getattr(made, field), getattr(plain, field))
    assert not any(layer._forward_pre_hooks for layer in tiny.model.model.language_model.layers)


def test_log_probabilities_and_entropies_are_those_of_the_next_token_distribution(tiny):
    built, processed, made = ask(tiny, QUERIES, [picture(seed=seed) for seed in range(3)])
    output = run(tiny, "sdpa", plain_inputs(tiny, built, processed), output_logits=True)
    for step, logits in enumerate(output.logits):
        distribution = torch.distributions.Categorical(logits=logits.double())
        token = torch.from_numpy(made.token_id[:, step])
        np.testing.assert_allclose(made.token_logprob[:, step], distribution.log_prob(token), atol=1e-4)
        np.testing.assert_allclose(made.next_token_entropy[:, step], distribution.entropy(), atol=1e-4)


def test_the_future_does_not_change_a_row(tiny):
    """Causality: what follows a prompt leaves the logits of its last position as they are."""
    image = prompts.process_image(tiny, picture())
    prompt = prompts.build_prompt(tiny, [image], QUERIES[1], "", "sample")
    ids = torch.from_numpy(prompt.input_ids)[None]

    def logits(input_ids):
        tiny.model.model.rope_deltas = None
        types = (input_ids == tiny.model.config.image_token_id).int()
        with torch.inference_mode():
            return tiny.model(
                input_ids=input_ids,
                mm_token_type_ids=types,
                pixel_values=image.pixel_values(),
                **image.inputs,
            ).logits[:, : ids.shape[1]]

    changed = torch.cat([ids, torch.full((1, 4), 7)], dim=1)
    torch.testing.assert_close(logits(changed), logits(ids), atol=1e-5, rtol=0)


def test_stock_sdpa_returns_no_attention_at_all(tiny):
    """Why this project exists; a release that mends it should be noticed."""
    built, processed, _ = ask(tiny, QUERIES[:1], [picture()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output = run(tiny, "sdpa", plain_inputs(tiny, built, processed), output_attentions=True)
    assert all(step == () for step in output.attentions)


@pytest.mark.parametrize("mask", [None, "bool", "additive"])
def test_rows_respect_every_form_of_mask(mask):
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, heads, 5, 8, generator=generator) for heads in (4, 2))
    allowed = torch.rand(2, 1, 5, 5, generator=generator) > 0.3
    allowed[..., 0] = True
    given = {None: None, "bool": allowed, "additive": torch.zeros(2, 1, 5, 5).masked_fill(~allowed, -torch.inf)}[mask]
    expected = torch.nn.functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(2, dim=1),
        torch.eye(5).expand(2, 4, 5, 5),  # with the identity as values the output is the weights
        attn_mask=given,
        scale=0.5,
    )
    torch.testing.assert_close(attention_rows(query, key, given, 0.5), expected, atol=1e-6, rtol=1e-5)
