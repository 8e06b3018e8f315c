"""Vision tokens stand where the prompt says, and each covers the pixels that `cell_edges` says."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from attention_atlas.attention import models, prompts
from attention_atlas.attention.families import FAMILIES
from attention_atlas.attention.models import VisionLanguageModel
from attention_atlas.attention.vision_tokens import image_of_token
from attention_atlas.cells import cell_edges
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.study import SPECIAL_TOKEN
from PIL import Image

from .conftest import picture

IMAGE, START, END, TEXT = 7, 8, 9, 1
BLACK, WHITE = -1.0, 1.0  # as the processor normalises them


def numbers_of(ids, tokens=(4,)):
    return image_of_token(ids, IMAGE, (START, END), tokens, "scene_3-q1")


def test_the_span_between_the_markers_is_marked_wherever_it_stands():
    span = [START, IMAGE, IMAGE, IMAGE, IMAGE, END]
    for before, behind in ((0, 0), (5, 2)):
        ids = [TEXT] * before + span + [TEXT] * behind
        expected = [0] * (before + 1) + [1] * 4 + [0] * (behind + 1)
        assert numbers_of(ids).tolist() == expected


def test_each_image_has_a_span_of_its_own_length():
    ids = [TEXT, START, *[IMAGE] * 2, END, TEXT, START, *[IMAGE] * 3, END]
    assert numbers_of(ids, (2, 3)).tolist() == [0, 0, 1, 1, 0, 0, 0, 2, 2, 2, 0]
    with pytest.raises(AtlasError, match=r"not one span an image \(positions 2 to 3, 7 to 9\)"):
        numbers_of(ids, (3, 2))
    with pytest.raises(AtlasError, match="5 image tokens in the prompt, its 2 images have 6"):
        numbers_of(ids, (3, 3))


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([START, IMAGE, IMAGE, IMAGE, END], "3 image tokens in the prompt, its image has 4"),
        ([START, *[IMAGE] * 5, END], "5 image tokens in the prompt, its image has 4"),
        ([START, END, TEXT], "0 image tokens in the prompt, its image has 4"),
        (
            [START, IMAGE, IMAGE, END, START, IMAGE, IMAGE, END],
            "the image tokens are not one span an image (positions 1 to 2, 5 to 6)",
        ),
        (
            [START, IMAGE, IMAGE, TEXT, IMAGE, IMAGE, END],
            "the image tokens are not one span an image (positions 1 to 2, 4 to 5)",
        ),
        ([TEXT, *[IMAGE] * 4, END], "do not stand between a start and an end marker"),
        ([START, *[IMAGE] * 4, TEXT], "do not stand between a start and an end marker"),
        ([END, *[IMAGE] * 4, START], "do not stand between a start and an end marker"),
        ([*[IMAGE] * 4, END], "do not stand between a start and an end marker"),
        ([START, *[IMAGE] * 4], "do not stand between a start and an end marker"),
    ],
)
def test_any_other_prompt_is_an_error_that_names_the_sample(ids, told):
    with pytest.raises(AtlasError, match=re.escape("sample 'scene_3-q1': ") + ".*" + re.escape(told)):
        numbers_of(ids)


def test_an_image_token_in_the_text_of_a_query_is_refused_by_its_sample(tiny):
    image = prompts.process_image(tiny, picture())
    with pytest.raises(AtlasError, match=r"sample 'scene_3-q1': .* contains the special token '<.image_pad.>'"):
        prompts.build_prompt(tiny, [image], "What is <|image_pad|>?", "", "scene_3-q1")


# Processors, each with a grid policy


def reference_processor(request):
    return models.load_processor("reference", FAMILIES["qwen3_vl"], request.getfixturevalue("random_folder"))


def real_processor(request):
    variable = "ATLAS_QWEN3VL_FILES"
    if variable not in os.environ:
        pytest.skip(f"set {variable} to the folder with the real configuration files")
    return models.load_processor("real", FAMILIES["qwen3_vl"], Path(os.environ[variable]) / "processor")


@pytest.fixture(params=[reference_processor, real_processor], ids=["reference", "real"])
def processor(request):
    return request.param(request)


def test_every_special_token_is_refused_in_a_query(processor):
    """One that the tokenizer turns into a control id and the study lets through would forge a turn or an image."""
    added = [str(token) for token in processor.tokenizer.added_tokens_decoder.values()]
    assert {"<|im_end|>", "<|image_pad|>", "<|vision_start|>"} <= set(added)
    assert [token for token in added if not SPECIAL_TOKEN.search(f"Is {token} there?")] == []


# (width, height) of an image, and the grid policy with the rows and columns that follow: sides rounded to 32 px under
# native, 8 x 8 cells at the least.
VIEWS = [
    ((448, 448), "native", (14, 14)),
    ((640, 480), "native", (15, 20)),
    ((333, 517), "native", (16, 10)),
    ((1024, 260), "native", (8, 32)),
    ((120, 120), "native", (8, 8)),
    ((448, 448), (8, 8), (8, 8)),
    ((640, 480), (8, 8), (8, 8)),
    ((333, 517), (12, 6), (12, 6)),
    ((1024, 260), (5, 20), (5, 20)),
]


def seen(processor, image, grid):
    """What each token sees: (rows, cols, values), values from -1 (black) to 1 (white)."""
    source = VisionLanguageModel("test", None, processor, FAMILIES["qwen3_vl"], grid, "", "")
    processed = prompts.process_image(source, image)
    merge = processor.image_processor.merge_size
    # Patches come grouped by the token that they merge into.
    return processed, processed.pixel_values().numpy().reshape(processed.rows, processed.cols, merge**2, -1)


@pytest.mark.parametrize(("size", "grid", "shape"), VIEWS)
def test_a_bright_square_within_a_cell_is_seen_by_the_patches_of_that_cell_alone(processor, size, grid, shape):
    width, height = size
    rows, cols = shape
    for row, col in ((0, 0), (rows - 1, cols - 1), (1, cols - 2), (rows // 2, cols // 3)):
        image = np.zeros((height, width, 3), dtype=np.uint8)
        # The cell is an equal part of the image; a fifth of it on every side stays black for the blur of resizing.
        top, bottom = ((row + part) * height / rows for part in (0.2, 0.8))
        left, right = ((col + part) * width / cols for part in (0.2, 0.8))
        image[round(top) : round(bottom), round(left) : round(right)] = 255
        processed, values = seen(processor, Image.fromarray(image), grid)
        assert (processed.rows, processed.cols) == shape
        assert (processed.height, processed.width) == (height, width)
        assert (processed.processed_height, processed.processed_width) == (32 * rows, 32 * cols)
        bright = values.max(axis=-1) > 0.5
        assert bright[row, col].all()
        assert bright.sum() == 4
        edges = cell_edges(rows, height), cell_edges(cols, width)
        assert edges[0][row] < top < bottom < edges[0][row + 1]
        assert edges[1][col] < left < right < edges[1][col + 1]


@pytest.mark.parametrize(("size", "grid", "shape"), VIEWS)
def test_a_slope_of_grey_places_every_cell_between_its_edges(processor, size, grid, shape):
    """The mean of a slope over a cell is its value at the cell's middle; to a twentieth of a cell."""
    for axis in (0, 1):
        pixels, cells = size[1 - axis], shape[axis]
        slope = (np.arange(pixels) + 0.5) / pixels
        values = np.round(255 * (slope[:, None] if axis == 0 else slope[None])).astype(np.uint8)
        grey = Image.fromarray(np.broadcast_to(values, (size[1], size[0])).copy()).convert("RGB")
        _, patches = seen(processor, grey, grid)
        found = (patches.mean(axis=(1 - axis, 2, 3)) - BLACK) / (WHITE - BLACK) * pixels
        edges = cell_edges(cells, pixels)
        np.testing.assert_allclose(found, (edges[:-1] + edges[1:]) / 2, atol=pixels / cells / 20)


def test_a_cell_s_four_patches_are_its_quarters(processor):
    """Within a token: upper left, upper right, lower left, lower right."""
    for number, (row, col) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        image = np.zeros((256, 256, 3), dtype=np.uint8)
        image[64 + 16 * row : 80 + 16 * row, 96 + 16 * col : 112 + 16 * col] = 255
        _, values = seen(processor, Image.fromarray(image), "native")
        assert (values == WHITE).all(axis=-1).nonzero() == (2, 3, number)
        assert (values == BLACK).all(axis=-1).sum() == 255
