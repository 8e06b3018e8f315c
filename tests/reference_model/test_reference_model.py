"""The reference model's parts: tokenizer, chat layout, batches, and the frozen result."""

import copy
import json
import os
import unicodedata
from pathlib import Path
from random import Random

import pytest
import torch
from attention_atlas.inputs import questions, shapes_study
from attention_atlas.reference_model import batches, examples, training
from attention_atlas.reference_model.architecture import build_model
from attention_atlas.reference_model.tokenizer import CONTROL_TOKENS, MARKUP_TOKENS, build_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, Qwen2Tokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(examples.sentences())


@pytest.fixture(scope="module")
def model(tokenizer):
    return build_model(tokenizer, seed=0)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_encoded_without_unknown_tokens_and_decoded_again(tokenizer, text):
    ids = tokenizer.encode(text, split_special_tokens=True)
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def test_each_word_of_the_study_is_one_token(tokenizer):
    pieces = tokenizer.tokenize("Is there an orange triangle in the image?")
    assert [piece.lstrip("Ġ") for piece in pieces] == [
        "Is",
        "there",
        "an",
        "orange",
        "triangle",
        "in",
        "the",
        "image",
        "?",
    ]


def test_special_tokens_are_one_id_each_and_end_the_vocabulary(tokenizer):
    names = [*CONTROL_TOKENS, *MARKUP_TOKENS]
    ids = [tokenizer.encode(name) for name in names]
    assert all(len(one) == 1 for one in ids)
    assert {one[0] for one in ids} == set(range(len(tokenizer) - len(names), len(tokenizer)))


@pytest.mark.skipif(
    "ATLAS_QWEN3VL_FILES" not in os.environ, reason="set ATLAS_QWEN3VL_FILES to the real processor's folder"
)
def test_special_tokens_and_chat_layout_are_those_of_the_real_checkpoints(tokenizer):
    folder = Path(os.environ["ATLAS_QWEN3VL_FILES"]) / "processor"
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    named = [
        token["content"] for _, token in sorted(config["added_tokens_decoder"].items(), key=lambda item: int(item[0]))
    ]
    assert [*CONTROL_TOKENS, *MARKUP_TOKENS] == named
    real = Qwen2Tokenizer.from_pretrained(folder)
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    image_and_text = [{"type": "image"}, {"type": "text", "text": "Where is the star?"}]
    for messages in (
        [{"role": "user", "content": image_and_text}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": image_and_text}],
        [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": image_and_text},
        ],
    ):
        for generating in (True, False):
            ours = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generating)
            expected = real.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=generating
            )
            assert ours == expected


def test_training_patches_are_those_of_the_image_processor():
    from attention_atlas.inputs.scenes import draw_scene
    from PIL import Image
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    scenes = batches.scenes(Random(3), 2)
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 65536, "longest_edge": 16777216},
        patch_size=16,
        merge_size=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    small = [draw_scene(scene).resize((256, 256), Image.Resampling.BICUBIC) for scene in scenes]
    expected = processor(images=small, return_tensors="pt")
    assert expected["image_grid_thw"].tolist() == [[1, 16, 16]] * 2
    torch.testing.assert_close(batches.pixel_values(scenes), expected["pixel_values"], atol=1e-6, rtol=0)


def test_the_fast_vision_attention_gives_the_stock_features(model):
    scenes = batches.scenes(Random(5), 3)
    grid = torch.tensor([[1, 16, 16]] * 3)
    patches = batches.pixel_values(scenes)
    fast = copy.deepcopy(model)
    with torch.no_grad():
        expected = model.model.visual(patches, grid_thw=grid, return_dict=True)
        with training.equal_sized_images(fast):
            one_call = torch.tensor([0, len(patches)], dtype=torch.int32)
            features = fast.model.visual(patches, grid_thw=grid, cu_seqlens=one_call, return_dict=True)
    torch.testing.assert_close(features.pooler_output, expected.pooler_output, atol=1e-5, rtol=1e-4)
    for ours, theirs in zip(features.deepstack_features, expected.deepstack_features, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_training_reads_a_question_as_plain_inference_does(model, tokenizer, tmp_path):
    """The loss of one question behind the shared image prefix = that of its full sequence, run by the stock model."""
    trainer = training.Trainer(model, tokenizer, seed=0, checkpoints=tmp_path)
    scene = batches.scenes(Random(1), 1)
    question = questions.how_many_shapes(scene[0])
    segment, answer_start = trainer.encoder.segment(question, detailed=False)
    ids = torch.cat([trainer.prefix, torch.tensor([segment])], dim=1)
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            pixel_values=batches.pixel_values(scene),
            image_grid_thw=torch.tensor([[1, 16, 16]]),
            mm_token_type_ids=(ids == model.config.image_token_id).int(),
        ).logits[0]
        cache = trainer.prefix_cache(trainer.features(scene))
        positions = torch.arange(len(segment)) + trainer.prefix.shape[1] + trainer.position_delta
        hidden = model.model.language_model(
            inputs_embeds=model.model.language_model.embed_tokens(torch.tensor([segment])),
            position_ids=positions.expand(3, 1, -1),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        ours = model.lm_head(hidden)[0]
    # features pass through bfloat16 in training
    torch.testing.assert_close(ours, logits[trainer.prefix.shape[1] :], atol=0.03, rtol=0)
    assert answer_start == len(tokenizer.encode(question.query)) + len(trainer.encoder.turn)


def test_labels_are_the_answer_and_nothing_else(tokenizer):
    encoder = batches.SegmentEncoder(tokenizer)
    scene = batches.scenes(Random(2), 1)[0]
    asked = [questions.how_many_shapes(scene), questions.is_there_colour(scene, "red")]
    segments = encoder.encode(asked, detailed=False)
    for question, labels in zip(asked, segments.labels, strict=True):
        assert tokenizer.decode(labels[labels != batches.IGNORED]) == f"{question.answer}<|im_end|>"
    assert (segments.weights[segments.labels == batches.IGNORED] == 0).all()


def test_training_scenes_are_not_those_of_the_study():
    studied = set(shapes_study.study_scenes(Random("shapes 2026")))
    trained = {
        scene
        for stage in training.RECIPE
        for step in range(20)
        for scene in batches.scenes(Random(f"{training.SEED} {stage.name} {step}"), stage.images)
    }
    assert len(studied) == 48
    assert not {scene.shapes for scene in studied} & {scene.shapes for scene in trained}


def test_yes_and_no_are_asked_about_equally_often():
    random = Random(0)
    scenes = batches.scenes(random, 400)
    answers = [examples.ask(query_id, scene, random).expected_answer for scene in scenes for query_id in ("q3", "q5")]
    assert 0.45 < answers.count("yes") / len(answers) < 0.55


def test_an_interrupted_training_goes_on_to_the_same_weights(tokenizer, tmp_path):
    recipe = (
        training.Stage("vision", steps=4, images=2, peak_rate=1e-3, parts="vision", warmup=2),
        training.Stage("language", steps=4, images=1, peak_rate=1e-3, parts="language", warmup=2),
    )
    whole = training.Trainer(build_model(tokenizer, 1), tokenizer, 0, tmp_path / "whole")
    whole.train(recipe)
    first = training.Trainer(build_model(tokenizer, 1), tokenizer, 0, tmp_path / "parts")
    first.train(recipe[:1])
    second = training.Trainer(build_model(tokenizer, 2), tokenizer, 0, tmp_path / "parts")
    second.train(recipe)
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], weight, atol=1e-6, rtol=0, msg=name)


def test_the_committed_tokenizer_is_the_one_that_the_code_builds(tokenizer):
    committed = AutoTokenizer.from_pretrained(ROOT / "data" / "models" / "shapes-tiny")
    assert committed.get_vocab() == tokenizer.get_vocab()
