"""Every family of models: the rows are those of eager attention, on the tokens of stock generation."""

import copy
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from attention_atlas.attention import asking, batching, generation, models, nodes, prompts
from attention_atlas.attention.capture import KERNEL
from attention_atlas.attention.checkpoints import GATED, GATED_TYPES, MODEL_TYPES, SQUARE_TYPES, architecture_of
from attention_atlas.attention.families import FAMILIES, SquareFamily
from attention_atlas.config import Capture, Generation, ModelEntry
from attention_atlas.errors import AtlasError

from . import checkpoints
from .conftest import QUERIES, SHORT, load, picture
from .test_exactness import FP32, watched

TWO_STEPS = Generation(max_new_tokens=2)
EVERY_KEY = Capture(keys="all")
UNCUT = {"gemma3": {"do_pan_and_scan": False}, "internvl": {"crop_to_patches": False}}
GRIDS = {"gemma3": (8, 8), "internvl": (8, 8), "qwen2_5_vl": (8, 12)}


@pytest.fixture(scope="module", params=sorted(checkpoints.FAMILIES))
def family(request, tmp_path_factory):
    """A random checkpoint of a family, loaded as the extraction loads it."""
    folder = checkpoints.write_family(request.param, tmp_path_factory.mktemp(request.param))
    return request.param, load(folder, "native")


def test_what_is_told_of_types_before_torch_is_there_is_true_of_the_families():
    assert list(MODEL_TYPES) == list(FAMILIES)
    assert set(SQUARE_TYPES) == {name for name, one in FAMILIES.items() if isinstance(one, SquareFamily)}
    assert {name: dict(one.refused) for name, one in FAMILIES.items() if one.refused} == dict.fromkeys(
        GATED_TYPES, GATED
    )


def test_the_files_of_a_model_tell_the_layers_and_heads_that_are_captured(family):
    """Or nothing of its layers: what is refused before any job must be refused by the job too."""
    name, source = family
    folder = source.model.config.name_or_path
    known = architecture_of(ModelEntry(path=folder))
    assert (known.model_type, known.num_layers) == (name, source.text_config.num_hidden_layers)
    assert known.num_heads == source.text_config.num_attention_heads
    assert known.captured in (source.captured_layers, [])
    assert known.captured or not MODEL_TYPES[name]


def ask(source, queries, images, capture=EVERY_KEY, settings=SHORT, prefix=True):
    """Prompts of queries, each about its own images, and what the project generates."""
    processed = {id(image): prompts.process_image(source, image) for of_query in images for image in of_query}
    built = [
        prompts.build_prompt(source, [processed[id(image)] for image in own], query, "", f"sample {number}")
        for number, (query, own) in enumerate(zip(queries, images, strict=True))
    ]
    read = generation.read_images(source, built, capture, prefix)
    return built, generation.generate(source, built, read, settings, capture)


def stock_inputs(source, queries, images, **options):
    """The same by the checkpoint's own processor: chat template, pictures, padding."""
    content = [
        [*({"type": "image", "image": image} for image in own), {"type": "text", "text": query}]
        for query, own in zip(queries, images, strict=True)
    ]
    source.processor.tokenizer.padding_side = "left"
    return source.processor.apply_chat_template(
        [[{"role": "user", "content": parts}] for parts in content],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, **options},
    )


def stock(source, inputs, kernel, settings=SHORT, **options):
    """Stock generation under a stock kernel on the same weights."""
    source.model.set_attn_implementation({"text_config": kernel, "vision_config": "sdpa"})
    if hasattr(source.model.model, "rope_deltas"):
        source.model.model.rope_deltas = None
    greedy = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
    try:
        with torch.inference_mode():
            return source.model.generate(
                **inputs.to(source.model.dtype),
                **greedy,
                max_new_tokens=settings.max_new_tokens,
                return_dict_in_generate=True,
                **options,
            )
    finally:
        source.model.set_attn_implementation({"text_config": KERNEL, "vision_config": "sdpa"})


def assert_exact(source, queries, images, settings=SHORT, **options):
    """Prompts and tokens equal to the stock way, rows to those of eager attention, whether the prefix is shared or not.

    Returns the prompts and what was made with a shared prefix.
    """
    built, shared = ask(source, queries, images, settings=settings)
    _, whole = ask(source, queries, images, settings=settings, prefix=False)
    inputs = stock_inputs(source, queries, images, **options)
    for row, prompt in enumerate(built):
        own = inputs["attention_mask"][row].bool()
        np.testing.assert_array_equal(prompt.input_ids, inputs["input_ids"][row, own])
        np.testing.assert_array_equal(
            prompt.is_vision_token, (inputs["input_ids"][row, own] == source.model.config.image_token_id)
        )
    plain = stock(source, inputs, "sdpa", settings)
    eager = stock(source, inputs, "eager", settings, output_attentions=True)
    for made in (shared, whole):
        assert_same_tokens(made, plain, inputs)
        assert_same_tokens(made, eager, inputs)
        assert_rows_of(eager, source, built, made)
    return built, shared


def assert_rows_of(eager, source, built, made):
    """Rows and masses are those of eager attention."""
    weights = nodes.without_gap(np.moveaxis(made.attention_all, 2, 0), made.prefix, made.gap)
    for step, attentions in enumerate(eager.attentions):
        full = of_full_layers(source, attentions)
        for layer, matrix in enumerate(full):
            for sample, prompt in enumerate(built):
                if step >= made.num_steps[sample]:
                    continue
                rows = matrix[sample, :, -1, -(len(prompt.input_ids) + step) :].float().numpy()
                ours = weights[sample, step, layer]
                np.testing.assert_allclose(ours[:, : rows.shape[-1]], rows, atol=FP32, rtol=0)
                vision = made.attention[step, layer, sample]
                np.testing.assert_allclose(vision, rows[:, np.flatnonzero(prompt.is_vision_token)], atol=FP32, rtol=0)
    np.testing.assert_allclose(made.masses.sum(-1), 1, atol=1e-5)


def of_full_layers(source, attentions):
    """The matrices of the full-attention layers; those of others may be missing or None."""
    there = [matrix for matrix in attentions if matrix is not None]
    if len(there) == len(source.captured_layers):
        return there
    return [attentions[layer] for layer in source.captured_layers]


def test_a_padded_batch_is_exact_in_every_family(family):
    name, source = family
    images = [[picture(330, 230, seed)] for seed in range(3)]
    built, made = assert_exact(source, QUERIES, images, **UNCUT.get(name, {}))
    assert len({len(prompt.input_ids) for prompt in built}) == 3
    assert made.attention.max() > 0.1  # not all even: an error of scaling or of heads would show
    image = built[0].images[0]
    assert (image.rows, image.cols) == GRIDS.get(name, (7, 10))
    assert (image.height, image.width) == (230, 330)
    cell = source.cell_pixels
    assert (image.processed_height, image.processed_width) == (cell * image.rows, cell * image.cols)


def test_several_images_in_one_prompt_are_exact_in_every_family(family):
    name, source = family
    first, second = picture(330, 230, 1), picture(288, 256, 2)
    built, _ = assert_exact(source, [QUERIES[0], QUERIES[2]], [[first, second]] * 2, **UNCUT.get(name, {}))
    assert set(built[0].image_of_token) == {0, 1, 2}


def test_layers_that_are_not_full_attention_are_named_and_left_out(family):
    name, source = family
    hybrid = name in ("qwen3_5", "qwen3_5_moe", "gemma3")
    assert source.captured_layers == ([1, 3] if hybrid else [0, 1, 2])
    assert source.shares_prefix is not hybrid


def test_what_a_prompt_shares_is_read_once_where_that_is_exact(family):
    _, source = family
    image = picture(330, 230)
    prompt = prompts.build_prompt(source, [prompts.process_image(source, image)], QUERIES[0], "", "s")
    read = generation.read_images(source, [prompt], Capture())
    assert read.length == (prompt.images_end if source.shares_prefix else 0)


def test_the_memory_of_encoding_an_image_is_known_of_every_family(family):
    """Its patches are those that the processor counts, or that the vision tower has positions for."""
    name, source = family
    image, vision = prompts.process_image(source, picture(330, 230)), source.model.config.vision_config
    patches = {"gemma3": (112 // 14) ** 2, "internvl": (224 // 14) ** 2}
    count = patches[name] if name in patches else int(image.inputs["image_grid_thw"].prod())
    assert batching.bytes_of_pixels(image) == 2 * image.pixel_values().nbytes
    activations = batching.bytes_of_image(source, image) - batching.bytes_of_pixels(image)
    assert activations == 4 * count * (12 * vision.hidden_size + 3 * vision.intermediate_size)


def test_gated_attention_has_no_value_weighted_maps(family):
    name, source = family
    capture = Capture(value_weighted=True)
    if name.startswith("qwen3_5"):
        with pytest.raises(AtlasError, match=r"passes a gate .* Set capture\.value_weighted to false"):
            asking.check_capture(source, capture)
    else:
        asking.check_capture(source, capture)


def test_a_system_prompt_and_repetition_penalty_are_those_of_stock_generation(family, monkeypatch):
    name, source = family
    monkeypatch.setattr(source.model.generation_config, "repetition_penalty", 1.3)
    images = [[picture(330, 230, seed)] for seed in range(2)]
    assert_exact(source, QUERIES[:2], images, **UNCUT.get(name, {}))


def test_a_square_family_has_its_own_grid_alone(tmp_path):
    folder = checkpoints.write_family("gemma3", tmp_path)
    assert load(folder, (8, 8)).grid == (8, 8)
    with pytest.raises(AtlasError, match=r"sees every image as 8 x 8 cells\. Choose that grid, or native"):
        load(folder, (9, 9))


@pytest.mark.parametrize("model_type", ["llava", "qwen2_audio", "idefics3", None])
def test_what_is_not_supported_is_refused_by_name(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    told = f"is of model_type {model_type!r}; those that can be asked: {', '.join(FAMILIES)}"
    with pytest.raises(AtlasError, match=re.escape(told)):
        models.family_of("test", tmp_path)


# Sixteen sizes of images and their aspect ratios, from 1 : 1 to 10 : 1 both ways

EXTENTS = (
    *((256, 256), (224, 224), (288, 288), (320, 320), (330, 230), (230, 330), (257, 255), (300, 200)),
    *((200, 300), (512, 128), (128, 512), (768, 96), (96, 768), (850, 85), (85, 850), (401, 163)),
)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def precise(request, family):
    """The same checkpoint in a number format."""
    name, source = family
    if request.param == "bfloat16":
        source = replace(source, model=copy.deepcopy(source.model).to(torch.bfloat16))
    return name, source


def test_a_padded_batch_of_each_of_sixteen_sizes_is_exact(precise):
    name, source = precise
    for extent in EXTENTS:
        images = [[picture(*extent, seed)] for seed in range(2)]
        exact = assert_exact if source.model.dtype == torch.float32 else assert_exact_by_its_own_queries_and_keys
        exact(source, QUERIES[1:], images, **UNCUT.get(name, {}))


def assert_exact_by_its_own_queries_and_keys(source, queries, images, settings=SHORT, **options):
    """Rows are the softmax of the very queries and keys, with and without sharing; tokens those of plain generation.

    In few bits the tokens are the same where the sums are: where whole prompts are read, as plain generation does.
    """
    for prefix in (True, False):
        with watched(source) as expected:
            _, made = ask(source, queries, images, settings=settings, prefix=prefix)
        for number, layer in enumerate(source.captured_layers):
            for step, rows in enumerate(expected[layer]):
                ours = made.attention_all[step, number][..., : rows.shape[-1]]
                np.testing.assert_allclose(ours, rows, atol=FP32, rtol=0)
    inputs = stock_inputs(source, queries, images, **options)
    assert_same_tokens(made, stock(source, inputs, "sdpa", settings), inputs)


def assert_same_tokens(made, other, inputs):
    """Tokens equal up to each sample's end; what is behind an end token means nothing."""
    length = inputs["input_ids"].shape[1]
    for row, steps in enumerate(made.num_steps):
        assert made.token_id[row, :steps].tolist() == other.sequences[row, length : length + steps].tolist()


# The real architectures, cut to two layers


@pytest.mark.parametrize("size", checkpoints.SIZES)
def test_every_real_size_is_exact_in_fp32_and_bf16(size, tmp_path):
    """With the real tokenizer, chat template and image processor."""
    for file in (checkpoints.real_files() / "processor").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = checkpoints.fill(checkpoints.real_model(size), torch.float32)
    family = FAMILIES[model.config.model_type]
    processor = models.load_processor("real", family, tmp_path)
    source = models.VisionLanguageModel("real", model, processor, family, "native", "", "")
    images = [[picture(256, 256, seed)] for seed in range(2)]
    _, made = assert_exact(source, QUERIES[:2], images, TWO_STEPS)
    assert made.attention.max() > 0.05
    checkpoints.fill(model, torch.bfloat16)
    assert_exact_by_its_own_queries_and_keys(source, QUERIES[:2], images, TWO_STEPS)


@pytest.mark.parametrize(
    ("extent", "grid"),
    [
        *(((448, 448), (14, 14)), ((256, 256), (8, 8)), ((224, 224), (8, 8)), ((336, 336), (10, 10))),
        *(((512, 512), (16, 16)), ((640, 480), (15, 20)), ((1024, 1024), (32, 32)), ((1920, 1080), (34, 60))),
    ],
)
def test_published_grids_of_the_real_processor(extent, grid, real):
    image = prompts.process_image(real, picture(*extent))
    assert (image.rows, image.cols) == grid
    prompt = prompts.build_prompt(real, [image], "Describe this image.", "", "s")
    assert len(prompt.input_ids) == grid[0] * grid[1] + 14


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize(("bits", "layer"), [("4bit", "Linear4bit"), ("8bit", "Linear8bitLt")])
def test_quantized_weights_are_exact_too_and_have_no_value_weighted_maps(tmp_path, bits, layer):
    folder = checkpoints.write_family("qwen3_vl", tmp_path)
    entry = ModelEntry(path=str(folder), dtype="float32", device="cpu", quantization=bits)
    source = models.load("packed", entry)
    assert type(source.decoder_layers[0].self_attn.q_proj).__name__ == layer
    assert_exact_by_its_own_queries_and_keys(source, QUERIES[:2], [[picture(330, 230, seed)] for seed in range(2)])
    with pytest.raises(AtlasError, match=r"packed in few bits.*Set capture\.value_weighted to false"):
        asking.check_capture(source, Capture(value_weighted=True))


def test_quantization_without_its_package_is_told(monkeypatch):
    monkeypatch.setattr(models, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(AtlasError, match=r"needs the package bitsandbytes.*`pip install bitsandbytes`"):
        models.quantization_of(ModelEntry(path="somewhere", quantization="4bit"))


def test_the_whole_prompt_matrix_of_a_family_is_the_eager_one(family):
    """Where vision tokens see each other both ways, so they do in the matrix."""
    name, source = family
    queries, images = QUERIES[:2], [[picture(330, 230, seed)] for seed in range(2)]
    processed = [prompts.process_image(source, own[0]) for own in images]
    built = [
        prompts.build_prompt(source, [image], query, "", query) for image, query in zip(processed, queries, strict=True)
    ]
    capture = Capture(rows="all", full_samples=("x",))
    read = generation.read_images(source, built, capture, prefix=False)
    made = generation.generate(source, built, read, SHORT, capture, full_rows=(0, 1))
    inputs = stock_inputs(source, queries, images, **UNCUT.get(name, {}))
    eager = of_full_layers(source, stock(source, inputs, "eager", output_attentions=True).attentions[0])
    for sample, prompt in enumerate(built):
        length = len(prompt.input_ids)
        for layer, matrix in enumerate(eager):
            expected = matrix[sample, :, -length:, -length:].numpy()
            ours = made.prefill[layer, sample, :, -length:, -length:]
            np.testing.assert_allclose(ours, expected, atol=FP32, rtol=0)
