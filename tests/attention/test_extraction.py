"""A shard holds what the model did, however its run went: whole, interrupted, partly failed, or in other batches."""

import csv
import json
import logging
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from attention_atlas import store
from attention_atlas.attention import asking, batching, extraction, generation, models, prompts
from attention_atlas.attention.extraction import ExtractionSettings, extract_shard
from attention_atlas.attention.families import FAMILIES
from attention_atlas.config import ModelEntry
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.study import SAMPLE_COLUMNS
from attention_atlas.provenance import file_sha256
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from .conftest import QUERIES, picture

FP32 = 1e-5
OTHER_BATCH = 3e-5  # against eager attention in a batch of another size, whose sums have another order
STEPS, LAYERS, HEADS = 5, 6, 4
SHORT, LONG = QUERIES[0], QUERIES[2]
SQUARE = {f"square_{number}.png": (448, 448) for number in range(3)}
SIZES = {"wide.png": (410, 200), "square.png": (288, 288), "wide_too.png": (410, 200), "tall.png": (270, 330)}


def write_study(folder, images=SQUARE, queries=(SHORT, LONG)):
    """A study that asks every query of every image; `images` maps names to (width, height)."""
    (folder / "images").mkdir(parents=True)
    for seed, (name, (width, height)) in enumerate(images.items()):
        picture(width, height, seed).save(folder / "images" / name)
    rows = [
        {
            "sample_id": f"{name.removesuffix('.png')}-q{number}",
            "image": name,
            "query_id": f"q{number}",
            "query_type": "free",
            "query": query,
        }
        for name in images
        for number, query in enumerate(queries)
    ]
    write_rows(folder, rows)
    (folder / "objects.csv").write_text("image,object_id,label,colour,x_min,y_min,x_max,y_max\n")
    return folder


def write_rows(study, rows):
    with (study / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, SAMPLE_COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(study):
    with (study / "samples.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Extractor:
    """Runs the extraction of a study's only shard, each time into a file of its own."""

    def __init__(self, root, model, study):
        self.root, self.model, self.study = root, model, study
        self.scratch = root / "scratch"
        self.runs = 0

    def __call__(
        self, grid=(8, 8), batch_size=4, capture=None, quantization=None, share_prefix=True, **generation_settings
    ):
        self.runs += 1
        output = self.root / f"out_{self.runs}" / "000.nc"
        sections = {
            "extraction": {"batch_size": batch_size, "threads": 1, "share_prefix": share_prefix},
            "generation": {"max_new_tokens": STEPS, **generation_settings},
            "capture": capture or {},
        }
        entry = ModelEntry(path=str(self.model), dtype="float32", grid=grid, device="cpu", quantization=quantization)
        settings = ExtractionSettings.from_sections(sections)
        self.told = extract_shard(self.study, "000", 1, "random", entry, settings, self.scratch, output)
        return output

    @property
    def kept(self):
        """Batches that lie in the scratch folder."""
        return sorted(self.scratch.glob("*/*.nc"))


@pytest.fixture
def extract(tmp_path, random_folder):
    return Extractor(tmp_path, random_folder, write_study(tmp_path / "study"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, random_folder):
    """The study of three square images, extracted without incident."""
    root = tmp_path_factory.mktemp("whole")
    extract = Extractor(root, random_folder, write_study(root / "study"))
    path = extract()
    told = extract.told
    return SimpleNamespace(path=path, node=node(path), study=extract.study, extract=extract, told=told)


@pytest.fixture(scope="module")
def alone(whole):
    """The same, sample by sample."""
    return node(whole.extract(batch_size=1))


@pytest.fixture(scope="module")
def everything(tmp_path_factory, random_folder):
    """Images of several sizes on native grids, with every option of `capture`."""
    root = tmp_path_factory.mktemp("everything")
    extract = Extractor(root, random_folder, write_study(root / "study", SIZES))
    chosen = ["wide-q1", "tall-q0"]
    path = extract(
        grid="native",
        batch_size=3,
        capture={
            **{"keys": "all", "rows": "all", "full_samples": chosen, "value_weighted": True, "hidden_states": True}
        },
    )
    return SimpleNamespace(path=path, study=extract.study, chosen=chosen)


@pytest.fixture(scope="module")
def eager(random_folder):
    """The checkpoint as anybody loads it, with eager attention."""
    return Qwen3VLForConditionalGeneration.from_pretrained(
        random_folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@pytest.fixture
def calls(monkeypatch):
    """What the model is asked during the test: ids and shared tokens by batch, and how many images it encodes."""
    made = SimpleNamespace(batches=[], shared=[], images=0, fail=lambda ids: None)
    generate, encode = generation.generate, Qwen3VLModel.get_image_features

    def counted_generate(source, prompts, read, *args, **kwargs):
        ids = [prompt.sample_id for prompt in prompts]
        made.batches.append(ids)
        made.shared.append(read.length)
        made.fail(ids)
        return generate(source, prompts, read, *args, **kwargs)

    def counted_encode(self, pixel_values, image_grid_thw, *args, **kwargs):
        made.images += len(image_grid_thw)
        return encode(self, pixel_values, image_grid_thw, *args, **kwargs)

    monkeypatch.setattr(generation, "generate", counted_generate)
    monkeypatch.setattr(Qwen3VLModel, "get_image_features", counted_encode)
    return made


@pytest.fixture
def no_model(monkeypatch):
    """The test fails where a model is loaded."""
    monkeypatch.setattr(models, "load", lambda *args: pytest.fail("the model was loaded"))


@pytest.fixture
def no_weights(monkeypatch):
    """The test fails where weights are loaded."""
    monkeypatch.setattr(models, "load_weights", lambda *args: pytest.fail("the weights were loaded"))


def node(path, name="grid_8x8"):
    with xr.open_datatree(path, engine="netcdf4") as tree:
        return tree[name].to_dataset().load()


def nodes(path):
    with xr.open_datatree(path, engine="netcdf4") as tree:
        return {name: child.to_dataset().load() for name, child in tree.children.items()}


def by_hand(model, folder, image, query, grid=None):
    """One sample as in any notebook: the chat template on the images themselves, eager attention, batch of one."""
    processor = models.load_processor("by hand", FAMILIES["qwen3_vl"], folder)
    images = image if isinstance(image, list) else [image]
    if grid:
        images = [one.resize((32 * grid[1], 32 * grid[0]), Image.Resampling.BICUBIC) for one in images]
    content = [*({"type": "image", "image": one} for one in images), {"type": "text", "text": query}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    entering = {}

    def before_norm(module, given):
        entering.setdefault(module, given[0][0])  # of the prefill alone

    hooks = [layer.input_layernorm.register_forward_pre_hook(before_norm) for layer in decoder_layers(model)]
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            max_new_tokens=STEPS,
            do_sample=False,
            output_attentions=True,
            output_logits=True,
            return_dict_in_generate=True,
        )
    for hook in hooks:
        hook.remove()
    ids = inputs["input_ids"][0].numpy()
    return SimpleNamespace(
        processor=processor,
        inputs=inputs,
        ids=ids,
        tokens=output.sequences[0, len(ids) :].numpy(),
        rows=[torch.stack([layer[0, :, -1] for layer in step]).numpy() for step in output.attentions],
        hidden_states=torch.stack(list(entering.values())).numpy(),
        prompt_matrix=torch.stack([layer[0] for layer in output.attentions[0]]).numpy(),
        distributions=[torch.distributions.Categorical(logits=step[0].double()) for step in output.logits],
    )


def decoder_layers(model):
    return model.model.language_model.layers


def assert_is_by_hand(sample, hand, tolerance=FP32):
    """A sample of a file against a run by hand: prompt, answer, rows, masses, probabilities."""
    vision = hand.ids == hand.processor.image_token_id
    np.testing.assert_array_equal(sample["input_ids"], hand.ids)
    np.testing.assert_array_equal(sample["is_vision_token"], vision)
    assert sample["input_token_text"].values.tolist() == [hand.processor.tokenizer.decode([i]) for i in hand.ids]
    np.testing.assert_array_equal(sample["token_id"], hand.tokens)
    assert sample["token_text"].values.tolist() == [hand.processor.tokenizer.decode([i]) for i in hand.tokens]
    assert sample["generated_text"].item() == hand.processor.tokenizer.decode(hand.tokens, skip_special_tokens=True)
    assert sample["num_steps"].item() == len(hand.tokens)
    first = np.arange(len(hand.ids)) == 0
    for step, rows in enumerate(hand.rows):
        at, prompt = sample.isel(step=step), rows[..., : len(hand.ids)]
        masses = {
            "vision_mass": prompt[..., vision].sum(-1),
            "first_token_mass": prompt[..., 0],
            "prompt_text_mass": prompt[..., ~vision & ~first].sum(-1),
            "generated_text_mass": rows[..., len(hand.ids) :].sum(-1),
        }
        maps = at["attention"].values
        np.testing.assert_allclose(maps.reshape(*maps.shape[:2], -1), prompt[..., vision], atol=tolerance, rtol=0)
        for name, expected in masses.items():
            np.testing.assert_allclose(at[name], expected, atol=tolerance, rtol=0)
        distribution = hand.distributions[step]
        assert at["next_token_entropy"].item() == pytest.approx(distribution.entropy().item(), abs=1e-4)
        chosen = distribution.log_prob(torch.tensor(hand.tokens[step])).item()
        assert at["token_logprob"].item() == pytest.approx(chosen, abs=1e-4)


def assert_same_answers(ours, theirs, tolerance=FP32):
    """Two nodes of the same samples: texts and ids equal, numbers within the tolerance."""
    for name in theirs.data_vars:
        if theirs[name].dtype.kind == "f":
            np.testing.assert_allclose(ours[name], theirs[name], atol=tolerance, rtol=0, err_msg=name)
        else:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


# What the file holds


def test_a_shard_keeps_the_contract_and_holds_every_sample_in_the_order_of_the_table(whole):
    store.validate(whole.node)
    assert whole.node["sample"].values.tolist() == [row["sample_id"] for row in read_rows(whole.study)]
    sizes = {"sample": 6, "step": STEPS, "layer": LAYERS, "head": HEADS, "row": 8, "col": 8}
    assert {dim: whole.node.sizes[dim] for dim in sizes} == sizes
    assert whole.node["layer"].values.tolist() == list(range(LAYERS))
    assert (whole.told["samples"], whole.told["images"]) == (6, 3)
    for column in ("image", "query", "query_id", "query_type", "condition"):
        assert whole.node[column].values.tolist() == [row[column] for row in read_rows(whole.study)]


@pytest.mark.parametrize("sample", [0, 1, 5])
def test_a_sample_of_the_file_is_that_of_a_direct_eager_run(whole, alone, eager, random_folder, sample):
    row = read_rows(whole.study)[sample]
    with Image.open(whole.study / "images" / row["image"]) as image:
        hand = by_hand(eager, random_folder, image, row["query"], grid=(8, 8))
    tree = xr.DataTree.from_dict({"/grid_8x8": alone})
    assert_is_by_hand(store.sample(tree, row["sample_id"]), hand)
    assert whole.node.attrs["pixel_values_shape"].tolist() == list(hand.inputs["pixel_values"].shape)
    assert whole.node.attrs["image_grid_thw"].tolist() == hand.inputs["image_grid_thw"][0].tolist()


def test_masses_sum_to_one_and_the_map_to_its_mass(whole):
    masses = sum(whole.node[name] for name in store.MASS_VARIABLES)
    np.testing.assert_allclose(masses, 1, atol=1e-5)
    np.testing.assert_allclose(whole.node["attention"].sum(("row", "col")), whole.node["vision_mass"], atol=1e-5)


def test_a_prompt_of_fewer_tokens_is_padded_behind(whole):
    short, longer = (whole.node.isel(sample=number) for number in (0, 1))
    length = int((short["input_ids"] >= 0).sum())
    assert length < whole.node.sizes["prompt_token"] == (longer["input_ids"] >= 0).sum()
    assert set(short["input_ids"].values[length:]) == {-1}
    assert set(short["is_vision_token"].values[length:]) == {0}
    assert set(short["input_token_text"].values[length:]) == {""}


def test_images_are_described_by_their_own_size_and_hash(everything):
    for dataset in nodes(everything.path).values():
        for sample in dataset["sample"].values:
            one = dataset.sel(sample=sample)
            width, height = SIZES[one["image"].item()]
            assert (one["image_width"].item(), one["image_height"].item()) == (width, height)
            assert one["image_sha256"].item() == file_sha256(everything.study / "images" / one["image"].item())
            assert (one["processed_height"].item(), one["processed_width"].item()) == (
                32 * dataset.sizes["row"],
                32 * dataset.sizes["col"],
            )
            np.testing.assert_allclose(one["row_edge"], np.linspace(0, height, dataset.sizes["row"] + 1))
            np.testing.assert_allclose(one["col_edge"], np.linspace(0, width, dataset.sizes["col"] + 1))


def test_the_attributes_tell_model_settings_and_row_convention(whole, random_folder):
    attrs = whole.node.attrs
    assert attrs["model"] == "random"
    assert attrs["model_revision"] == "local folder"
    assert attrs["row_convention"].startswith("Predicting rows")
    assert (attrs["num_layers"], attrs["num_heads"], attrs["layers_not_captured"]) == (LAYERS, HEADS, "none")
    assert (attrs["dtype"], attrs["device_type"], attrs["attention_kernel"]) == ("float32", "cpu", "sdpa")
    assert (attrs["batch_size"], attrs["threads"], attrs["grid_policy"].tolist()) == (4, 1, [8, 8])
    assert json.loads(attrs["settings"])["generation"]["max_new_tokens"] == STEPS
    assert json.loads(attrs["library_versions"])["torch"] == torch.__version__.split("+")[0]
    assert attrs["weights_sha256"] == models.weights_sha256(
        {random_folder / "model.safetensors": file_sha256(random_folder / "model.safetensors")}
    )


def test_a_second_run_writes_the_same_bytes(whole):
    assert whole.extract().read_bytes() == whole.path.read_bytes()


def test_nothing_of_the_run_stays_in_the_scratch_folder(whole):
    assert list(whole.extract.scratch.iterdir()) == []


def test_an_answer_ends_with_its_end_token_and_is_padded_behind(whole, extract, random_folder, tmp_path):
    """An id that plain generation gives in the middle of answers is made the end token."""
    tokens = whole.node["token_id"].values
    end = next(token for token in tokens[0, 1:] if token != tokens[0, 0])
    places = [np.flatnonzero(row == end) for row in tokens]
    lengths = [int(place[0]) + 1 if len(place) else STEPS for place in places]
    assert len(set(lengths)) > 1
    extract.model = tmp_path / "ending"
    extract.model.mkdir()
    for file in random_folder.iterdir():
        (extract.model / file.name).write_bytes(file.read_bytes())
    settings = json.loads((extract.model / "generation_config.json").read_text())
    settings["eos_token_id"] = [*settings["eos_token_id"], int(end)]
    (extract.model / "generation_config.json").write_text(json.dumps(settings))
    ended = node(extract())
    assert ended["num_steps"].values.tolist() == lengths
    reasons = ["end_token" if len(place) else "max_new_tokens" for place in places]
    assert ended["stop_reason"].values.tolist() == reasons
    for sample, length in enumerate(lengths):
        same = {"sample": sample, "step": slice(length)}
        behind = ended.isel(sample=sample, step=slice(length, None))
        for name in ("attention", "next_token_entropy", "token_logprob", *store.MASS_VARIABLES):
            np.testing.assert_allclose(ended[name].isel(same), whole.node[name].isel(same), atol=FP32, rtol=0)
            assert behind[name].isnull().all()
        np.testing.assert_array_equal(ended["token_id"].isel(same), whole.node["token_id"].isel(same))
        assert set(behind["token_id"].values) <= {-1}
        assert set(behind["token_text"].values) <= {""}


# Batches


def test_an_image_is_encoded_once_for_all_its_queries(extract, calls):
    extract(batch_size=3)  # two queries an image: a third would be of another image
    assert [len(batch) for batch in calls.batches] == [2, 2, 2]
    assert calls.images == 3


def test_an_image_of_more_queries_than_a_batch_is_read_once_too(extract, calls):
    extract(batch_size=1)
    assert [len(batch) for batch in calls.batches] == [1] * 6
    assert calls.images == 3
    assert min(calls.shared) >= 64


def test_a_prompt_that_shares_its_image_with_no_other_is_read_in_one_piece(extract, calls):
    extract.study = write_study(extract.root / "single", queries=(SHORT,))
    extract(batch_size=2)
    assert calls.shared == [0, 0]


def test_nothing_is_shared_where_the_settings_say_so(whole, extract, calls):
    made = node(extract(share_prefix=False))
    assert calls.shared == [0, 0]
    assert_same_answers(made, whole.node)


def test_pixels_beyond_what_is_held_are_made_again_and_give_the_same_bytes(whole, extract, calls, monkeypatch):
    of_one = 256 * 3 * 2 * 16**2 * 4
    monkeypatch.setattr(asking, "MOST_PIXELS", of_one)
    read = []
    monkeypatch.setattr(asking, "read_image", lambda path: read.append(path.name) or read_image(path))
    assert extract().read_bytes() == whole.path.read_bytes()
    assert read == [*SQUARE, *list(SQUARE)[1:]]


def test_a_picture_that_changes_while_its_shard_is_made_fails_its_samples(whole, extract, calls, monkeypatch):
    monkeypatch.setattr(asking, "MOST_PIXELS", 0)
    changed = extract.study / "images" / "square_1.png"
    calls.fail = lambda ids: picture(448, 448, 9).save(changed)
    made = node(extract(batch_size=2))
    assert made["error"].values.tolist()[:2] == made["error"].values.tolist()[4:] == ["", ""]
    told = f"AtlasError: {extract.study}: picture 'square_1.png' was changed while its shard was made; run again"
    assert made["error"].values.tolist()[2:4] == [told, told]


def test_a_batch_holds_one_grid_and_each_grid_is_a_node(extract, calls):
    extract.study = write_study(extract.root / "sizes", SIZES)
    path = extract(grid="native", batch_size=3)
    expected = {  # each side rounded to cells of 32 px: 200 x 410 -> 6.25 x 12.8, 330 x 270 -> 10.3 x 8.4
        "grid_6x13": ["wide-q0", "wide-q1", "wide_too-q0", "wide_too-q1"],
        "grid_9x9": ["square-q0", "square-q1"],
        "grid_10x8": ["tall-q0", "tall-q1"],
    }
    assert {name: dataset["sample"].values.tolist() for name, dataset in nodes(path).items()} == expected
    grids = {sample: name for name, samples in expected.items() for sample in samples}
    assert all(len({grids[sample] for sample in batch}) == 1 for batch in calls.batches)
    assert sorted(len(batch) for batch in calls.batches) == [2, 2, 2, 2]
    assert calls.images == 4


def test_a_left_padded_sample_has_the_rows_that_it_has_alone(whole, alone):
    assert_same_answers(alone, whole.node)


def test_texts_that_grow_from_batch_to_batch_are_kept_whole(alone, whole):
    rows = read_rows(whole.study)
    assert len(rows[0]["query"]) < len(rows[1]["query"])
    assert alone["query"].values.tolist() == [row["query"] for row in rows]


def test_samples_on_native_grids_are_those_of_a_direct_eager_run(everything, eager, random_folder):
    tree = xr.DataTree.from_dict({f"/{name}": dataset for name, dataset in nodes(everything.path).items()})
    for row in read_rows(everything.study):
        with Image.open(everything.study / "images" / row["image"]) as image:
            hand = by_hand(eager, random_folder, image, row["query"])
        sample = store.sample(tree, row["sample_id"])
        assert_is_by_hand(sample, hand, OTHER_BATCH)
        for step, rows in enumerate(hand.rows):
            kept = sample["attention_all"].isel(step=step).values
            np.testing.assert_allclose(kept[..., : rows.shape[-1]], rows, atol=OTHER_BATCH, rtol=0)
            assert np.isnan(kept[..., rows.shape[-1] :]).all()
        first, vision = hand.hidden_states[:, 0], hand.hidden_states[:, sample["is_vision_token"].values == 1]
        np.testing.assert_allclose(sample["first_token_hidden_state"], first, atol=OTHER_BATCH, rtol=0)
        kept = sample["hidden_state"].stack(cell=["row", "col"]).transpose("layer", "cell", "dim")
        np.testing.assert_allclose(kept, vision, atol=OTHER_BATCH, rtol=0)
        if row["sample_id"] in everything.chosen:
            prefill = sample["attention_prefill"].values
            np.testing.assert_allclose(prefill, hand.prompt_matrix, atol=OTHER_BATCH, rtol=0)
        elif "attention_prefill" in sample:  # beside one that was chosen
            assert sample["attention_prefill"].isnull().all()


def test_value_weighted_maps_are_the_maps_times_a_norm_that_no_step_changes(everything):
    for dataset in nodes(everything.path).values():
        weighted = dataset["value_weighted_attention"]
        assert weighted.dims == dataset["attention"].dims
        assert weighted.shape == dataset["attention"].shape
        norms = (weighted / dataset["attention"]).values
        assert (norms > 0).all()
        np.testing.assert_allclose(norms, np.broadcast_to(norms[:, :1], norms.shape), rtol=1e-3)


def test_keeping_hidden_states_leaves_every_other_variable_as_it_is(whole, extract):
    made = node(extract(capture={"hidden_states": True}))
    assert set(made.data_vars) - set(whole.node.data_vars) == {"hidden_state", "first_token_hidden_state"}
    assert made.indexes["dim"].tolist() == list(range(128))
    for name, values in whole.node.data_vars.items():
        assert made[name].identical(values), name


def test_nothing_beside_the_maps_is_kept_unasked(whole):
    optional = {name for name, variable in store.SCHEMA.items() if variable.optional}
    assert optional.isdisjoint(whole.node.data_vars)


def test_drawing_repeats_with_its_seed_and_depends_on_no_other_sample(extract):
    drawn = extract(do_sample=True, seed=3)
    again = extract(do_sample=True, seed=3)
    assert drawn.read_bytes() == again.read_bytes()
    alone = node(extract(do_sample=True, seed=3, batch_size=1))
    np.testing.assert_array_equal(alone["token_id"], node(drawn)["token_id"])
    other = node(extract(do_sample=True, seed=4))
    assert (other["token_id"] != node(drawn)["token_id"]).any()


def test_samples_that_ask_the_same_draw_on_their_own(extract):
    rows = read_rows(extract.study)
    twice = [{**rows[0], "sample_id": "one"}, {**rows[0], "sample_id": "two"}]
    write_rows(extract.study, twice)
    one, two = node(extract(do_sample=True, seed=3, temperature=3.0))["token_id"].values
    assert (one != two).any()


# Failures


def failing(bad):
    def fail(ids):
        if bad in ids:
            raise RuntimeError(f"planted for {bad}")

    return fail


def test_a_sample_that_fails_is_recorded_and_takes_no_other_with_it(whole, extract, calls):
    bad = "square_0-q1"
    calls.fail = failing(bad)
    made = node(extract())
    store.validate(made)
    assert calls.batches[:5] == [
        ["square_0-q0", "square_0-q1", "square_1-q0", "square_1-q1"],
        *[["square_0-q0"], ["square_0-q1"], ["square_1-q0"], ["square_1-q1"]],
    ]
    others = [name for name in whole.node["sample"].values if name != bad]
    assert_same_answers(made.sel(sample=others), whole.node.sel(sample=others))
    failed = made.sel(sample=bad)
    assert failed["error"].item() == f"RuntimeError: planted for {bad}"
    assert failed["stop_reason"].item() == "error"
    assert failed["num_steps"].item() == 0
    assert failed["query"].item() == LONG
    assert failed["image_sha256"].item() == whole.node["image_sha256"].sel(sample=bad).item()
    np.testing.assert_array_equal(failed["row_edge"], whole.node["row_edge"].sel(sample=bad))
    for name in ("attention", "token_logprob", "next_token_entropy", *store.MASS_VARIABLES):
        assert failed[name].isnull().all(), name
    for name, padding in {"token_id": -1, "input_ids": -1, "is_vision_token": 0}.items():
        assert set(failed[name].values.tolist()) == {padding}, name
    for name in ("token_text", "input_token_text"):
        assert set(failed[name].values.tolist()) == {""}, name
    assert failed["generated_text"].item() == ""
    numbers = {name: variable.dtype for name, variable in store.SCHEMA.items() if variable.dtype != "str"}
    assert {name: str(made[name].dtype) for name in numbers if name in made} == {
        name: dtype for name, dtype in numbers.items() if name in made
    }


@pytest.mark.parametrize("bad", ["wide-q0", "wide-q1", "tall-q0"])
def test_a_failure_is_padding_in_what_is_kept_beside_the_maps(everything, extract, calls, bad):
    extract.study = everything.study
    calls.fail = failing(bad)
    capture = {
        **{"keys": "all", "rows": "all", "full_samples": everything.chosen},
        **{"value_weighted": True, "hidden_states": True},
    }
    made = nodes(extract(grid="native", batch_size=3, capture=capture))
    for name, expected in nodes(everything.path).items():
        failed = [sample for sample in expected["sample"].values if sample == bad]
        for variable in ("attention_all", "value_weighted_attention", "hidden_state", "first_token_hidden_state"):
            assert made[name][variable].sel(sample=failed).isnull().all()
        others = [sample for sample in expected["sample"].values if sample != bad]
        ours, theirs = made[name].sel(sample=others), expected.sel(sample=others)
        if "attention_prefill" not in ours:  # the only sample of this grid that was chosen has failed
            assert set(everything.chosen) & set(others) == set()
            theirs = theirs.drop_vars("attention_prefill", errors="ignore")
        assert_same_answers(ours, theirs)


def test_a_shard_of_failures_alone_is_an_error_and_the_next_run_tries_again(whole, extract, calls):
    def fail(ids):
        raise RuntimeError("planted")

    calls.fail = fail
    with pytest.raises(AtlasError, match="every sample of the shard failed; the first: RuntimeError: planted"):
        extract()
    assert not (extract.root / "out_1" / "000.nc").exists()
    assert extract.kept == []
    calls.fail = lambda ids: None
    assert extract().read_bytes() == whole.path.read_bytes()


# Memory and devices


def not_more_than(most):
    """Fails as a processor's allocator does when more samples are asked for at once."""

    def fail(ids):
        if len(ids) > most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: planted")

    return fail


def interrupt_at(sample):
    """Ends the run, as a user does, when a sample is asked."""

    def fail(ids):
        if sample in ids:
            raise KeyboardInterrupt

    return fail


def test_a_batch_that_does_not_fit_is_halved_and_so_are_those_behind_it(whole, extract, calls, caplog):
    calls.fail = not_more_than(2)
    with caplog.at_level(logging.WARNING, "attention_atlas"):
        made = node(extract())
    assert [len(ids) for ids in calls.batches] == [4, 2, 2, 2]
    assert_same_answers(made, whole.node)
    assert "4 samples do not fit into memory; 2 at once from here on" in caplog.text


def test_a_sample_that_does_not_fit_alone_ends_the_shard_and_finished_batches_are_kept(whole, extract, calls):
    calls.fail = lambda ids: not_more_than(0)(ids) if "square_2-q0" in ids else None
    told = r"'square_2-q0': too little memory on cpu even for this sample alone.*Run again"
    with pytest.raises(AtlasError, match=told):
        extract()
    assert len(extract.kept) == 1
    calls.fail, calls.batches[:] = (lambda ids: None), []
    assert extract().read_bytes() == whole.path.read_bytes()
    assert calls.batches == [["square_2-q0", "square_2-q1"]]


def test_a_device_that_fails_ends_the_shard_and_finished_batches_are_kept(extract, calls):
    def lost(ids):
        if "square_2-q0" in ids:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure\nmore")

    calls.fail = lost
    with pytest.raises(AtlasError, match=r"the device cpu failed \(CUDA error: unspecified launch failure\). Finished"):
        extract()
    assert len(extract.kept) == 1


def test_an_automatic_batch_is_what_fits_and_an_interrupted_shard_goes_on_with_it(extract, calls, monkeypatch):
    free = {"bytes": 0}
    monkeypatch.setattr(batching, "free_memory", lambda device: free["bytes"])
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    source = models.load("random", ModelEntry(path=str(extract.model), dtype="float32", grid=(8, 8), device="cpu"))
    longest = prompts.build_prompt(source, [prompts.process_image(source, picture())], LONG, "", "s")
    settings = ExtractionSettings.from_sections({"generation": {"max_new_tokens": STEPS}})
    half_an_image = batching.bytes_of_image(source, longest.images[0]) / 2  # two queries each
    one = max(half_an_image, batching.bytes_of_sample(source, longest, settings.generation, settings.capture))
    free["bytes"] = int(2.5 * one / batching.USABLE)
    calls.fail = interrupt_at("square_2-q0")
    with pytest.raises(KeyboardInterrupt):
        extract(batch_size="auto")
    assert [len(ids) for ids in calls.batches] == [2, 2, 2]
    free["bytes"] = 100 * one
    calls.fail, calls.batches[:] = (lambda ids: None), []
    extract(batch_size="auto")
    assert calls.batches == [["square_2-q0", "square_2-q1"]]
    calls.batches.clear()
    extract(batch_size="auto")
    assert [len(ids) for ids in calls.batches] == [6]


def test_a_full_disk_at_the_end_keeps_the_finished_batches(whole, extract, monkeypatch):
    write = store.write_shard

    def full(path, *args, **kwargs):
        if path.name == "000.nc":
            raise OSError(28, "No space left on device")
        write(path, *args, **kwargs)

    monkeypatch.setattr(store, "write_shard", full)
    with pytest.raises(OSError, match="No space left"):
        extract()
    assert len(extract.kept) == 1
    monkeypatch.setattr(store, "write_shard", write)
    assert extract().read_bytes() == whole.path.read_bytes()


def test_an_automatic_batch_that_left_nothing_behind_is_halved(extract, monkeypatch, calls):
    monkeypatch.setattr(batching, "automatic_size", lambda *args: 4)
    calls.fail = interrupt_at("square_0-q0")
    for expected in (4, 2):
        with pytest.raises(KeyboardInterrupt):
            extract(batch_size="auto")
        assert len(calls.batches[-1]) == expected


def test_samples_with_whole_matrices_have_batches_of_their_own_and_go_on_with_equal_bytes(extract, calls):
    options = {"batch_size": 1, "capture": {"rows": "all", "full_samples": ["square_2-q0"]}}
    whole_bytes = extract(**options).read_bytes()
    calls.batches.clear()
    calls.fail = interrupt_at("square_2-q0")
    with pytest.raises(KeyboardInterrupt):
        extract(**options)
    calls.fail = lambda ids: None
    assert extract(**options).read_bytes() == whole_bytes
    extract(batch_size=4, capture=options["capture"])
    assert calls.batches[-1] == ["square_2-q0"]


# Several images


def test_samples_of_several_images_have_a_map_on_each(extract, eager, random_folder):
    extract.study = write_study(extract.root / "pairs", SIZES, queries=(SHORT,))
    rows = read_rows(extract.study)
    both = [
        {**rows[0], "sample_id": "pair", "image": "wide.png|tall.png", "query": LONG},
        {**rows[0], "sample_id": "other", "image": "wide_too.png|tall.png", "query": SHORT},
        {**rows[0], "sample_id": "turned", "image": "tall.png|wide.png", "query": SHORT},
    ]
    write_rows(extract.study, [rows[0], *both])
    path = extract(grid="native", capture={"value_weighted": True, "hidden_states": True})
    with xr.open_datatree(path, engine="netcdf4") as tree:
        assert {leaf.path: leaf["sample"].values.tolist() for leaf in tree.leaves} == {
            "/grid_6x13": ["wide-q0"],
            "/grids_10x8_6x13/image_1": ["turned"],
            "/grids_10x8_6x13/image_2": ["turned.image_2"],
            "/grids_6x13_10x8/image_1": ["pair", "other"],
            "/grids_6x13_10x8/image_2": ["pair.image_2", "other.image_2"],
        }
        for row in both:
            assert_is_by_hand_on_each_image(tree, extract.study, row, eager, random_folder)
    opened = store.open_shards([path])
    assert str(store.sample(opened, "other.image_2")["query_id"].values) == "q0.image_2"
    opened.close()


def assert_is_by_hand_on_each_image(tree, study, row, eager, folder):
    """A sample of two images against an eager run: each image's own weights, and where the rest went."""
    names = row["image"].split("|")
    hand = by_hand(eager, folder, [Image.open(study / "images" / name) for name in names], row["query"])
    vision = np.flatnonzero(hand.ids == hand.processor.image_token_id)
    first = int(hand.inputs["image_grid_thw"][0].prod()) // 4
    spans = np.split(vision, [first])
    for number, (name, own, other) in enumerate(zip(names, spans, spans[::-1], strict=True), start=1):
        sample = store.sample(tree, row["sample_id"] if number == 1 else f"{row['sample_id']}.image_{number}")
        assert sample["image"].item() == name
        assert (sample["image_width"].item(), sample["image_height"].item()) == SIZES[name]
        np.testing.assert_array_equal(np.flatnonzero(sample["is_vision_token"]), own)
        np.testing.assert_array_equal(sample["token_id"], hand.tokens)
        for step, attention in enumerate(hand.rows):
            at = sample.isel(step=step)
            maps = at["attention"].values.reshape(LAYERS, HEADS, -1)
            np.testing.assert_allclose(maps, attention[..., own], atol=OTHER_BATCH, rtol=0)
            np.testing.assert_allclose(at["vision_mass"], attention[..., own].sum(-1), atol=OTHER_BATCH)
            np.testing.assert_allclose(at["other_images_mass"], attention[..., other].sum(-1), atol=OTHER_BATCH)
            masses = [at[mass].values for mass in (*store.MASS_VARIABLES, "other_images_mass")]
            np.testing.assert_allclose(sum(masses), 1, atol=1e-5)
        kept = sample["hidden_state"].values.reshape(LAYERS, len(own), -1)
        np.testing.assert_allclose(kept, hand.hidden_states[:, own], atol=OTHER_BATCH)


def test_a_failed_sample_of_several_images_is_padding_on_each(extract, calls):
    rows = read_rows(extract.study)
    pair = {**rows[0], "sample_id": "pair", "image": "square_0.png|square_1.png"}
    write_rows(extract.study, [rows[0], pair])
    calls.fail = failing("pair")
    with xr.open_datatree(extract(), engine="netcdf4") as tree:
        for number, name in ((1, "pair"), (2, "pair.image_2")):
            view = tree[f"grids_8x8_8x8/image_{number}"].to_dataset()
            store.validate(view)
            assert view["sample"].values.tolist() == [name]
            assert view["error"].values.tolist() == ["RuntimeError: planted for pair"]
            assert view["other_images_mass"].isnull().all()


# Interruptions


@pytest.fixture
def interrupted(extract, calls):
    """A run that ended after the first of two batches."""

    def fail(ids):
        if len(calls.batches) == 2:
            raise KeyboardInterrupt

    calls.fail = fail
    with pytest.raises(KeyboardInterrupt):
        extract()
    assert len(extract.kept) == 1
    calls.fail = lambda ids: None
    calls.batches.clear()
    calls.images = 0
    return extract


def test_an_interrupted_shard_goes_on_with_the_bytes_of_an_uninterrupted_one(whole, interrupted, calls):
    assert interrupted().read_bytes() == whole.path.read_bytes()
    assert calls.batches == [["square_2-q0", "square_2-q1"]]
    assert calls.images == 1
    assert interrupted.kept == []


@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_a_damaged_batch_is_dropped_and_made_again(whole, interrupted, calls, caplog, place):
    (kept,) = interrupted.kept
    content = bytearray(kept.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    kept.write_bytes(content)
    assert interrupted().read_bytes() == whole.path.read_bytes()
    assert sum(map(len, calls.batches)) == 6
    assert f"{kept}, a batch of an earlier run, is damaged; it is removed and made again" in caplog.text


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_batch_that_is_no_batch_is_dropped_and_made_again(whole, interrupted, content):
    interrupted.kept[0].write_bytes(content)
    assert interrupted().read_bytes() == whole.path.read_bytes()


def test_an_interruption_within_an_image_goes_on_too(extract, calls):
    calls.fail = interrupt_at("square_2-q1")
    with pytest.raises(KeyboardInterrupt):
        extract(batch_size=1)
    calls.fail = lambda ids: None
    calls.batches.clear()
    resumed = extract(batch_size=1).read_bytes()
    assert calls.batches == [["square_2-q1"]]
    assert resumed == extract(batch_size=1).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        *({"max_new_tokens": STEPS - 1}, {"batch_size": 5}, {"capture": {"keys": "all"}}, {"grid": (9, 9)}),
        {"quantization": "8bit"},
    ],
)
def test_other_settings_do_not_reuse_finished_batches(interrupted, calls, change):
    interrupted(**change)
    assert sum(map(len, calls.batches)) == 6


def test_other_code_does_not_reuse_finished_batches(interrupted, calls, monkeypatch):
    monkeypatch.setattr(extraction, "code_fingerprint", lambda modules: "another")
    interrupted()
    assert sum(map(len, calls.batches)) == 6


def test_another_query_does_not_reuse_finished_batches(interrupted, calls):
    rows = read_rows(interrupted.study)
    rows[0]["query"] = "Which?"
    write_rows(interrupted.study, rows)
    assert node(interrupted())["query"].values[0] == "Which?"
    assert sum(map(len, calls.batches)) == 6


def test_another_picture_does_not_reuse_finished_batches(interrupted, calls):
    picture(seed=9).save(interrupted.study / "images" / "square_0.png")
    interrupted()
    assert sum(map(len, calls.batches)) == 6


def test_an_edited_expected_answer_reuses_finished_batches(interrupted, calls):
    rows = read_rows(interrupted.study)
    rows[0]["expected_answer"] = "3"
    write_rows(interrupted.study, rows)
    interrupted()
    assert sum(map(len, calls.batches)) == 2


# What is refused


def copy_model(random_folder, folder, **config):
    """The checkpoint in another folder, with other entries of its configuration."""
    folder.mkdir()
    for file in random_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    values = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def test_a_missing_model_folder_is_told_before_weights_are_loaded(extract, no_weights, tmp_path):
    extract.model = tmp_path / "nowhere"
    with pytest.raises(AtlasError, match=r"nowhere holds no config.json. Put the checkpoint's files there, or correct"):
        extract()


def test_an_unknown_architecture_is_told_before_weights_are_loaded(extract, no_weights, random_folder, tmp_path):
    extract.model = copy_model(random_folder, tmp_path / "other", model_type="llama")
    with pytest.raises(AtlasError, match=r"model_type 'llama'; those that can be asked: qwen3_vl.*Name another model"):
        extract()


def test_missing_weights_are_told(extract, no_weights, random_folder, tmp_path):
    extract.model = copy_model(random_folder, tmp_path / "empty")
    (extract.model / "model.safetensors").unlink()
    with pytest.raises(AtlasError, match=r"holds no \*.safetensors weights; put the checkpoint's files there"):
        extract()


def test_a_missing_tokenizer_is_told_before_weights_are_loaded(extract, no_weights, random_folder, tmp_path):
    extract.model = copy_model(random_folder, tmp_path / "speechless")
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (extract.model / name).unlink()
    with pytest.raises(AtlasError, match="speechless has no usable processor files"):
        extract()


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ((7, 9), r"grid \[7, 9\] means 224 x 288 px = 64512 px.*65536 to 16777216 px.*Choose another grid, or native"),
        ((1, 201), r"sides of at most 200 to 1. Choose another grid"),
    ],
)
def test_a_grid_that_the_processor_would_not_keep_is_told_before_weights_are_loaded(extract, no_weights, grid, told):
    with pytest.raises(AtlasError, match=told):
        extract(grid=grid)


def hub_error(kind):
    """An error as the hub's client raises it on an answer of the server."""
    return kind("planted\nmore", response=SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("no route to host"), "hub cannot be reached, .*OSError: no route to host"),
        (LocalEntryNotFoundError("offline"), "the hub cannot be reached, and the files are not in its cache"),
        (hub_error(RevisionNotFoundError), "it has no such commit: take `revision` from its page of files"),
        (hub_error(RepositoryNotFoundError), "there is no such repository, or it is private: check `hub`"),
        (hub_error(GatedRepoError), "its authors give it to those who ask: accept its terms"),
    ],
)
@pytest.mark.parametrize("asked", ["model_info", "snapshot_download"])
def test_a_hub_that_does_not_give_the_files_is_told_with_what_to_do(monkeypatch, error, told, asked):
    def refused(*args, **kwargs):
        raise LocalEntryNotFoundError("not cached") if kwargs.get("local_files_only") else error

    monkeypatch.setattr(models, asked, refused)
    monkeypatch.setattr(models, "snapshot_download", refused)
    if asked == "snapshot_download":
        monkeypatch.setattr(models, "model_info", lambda *args, **kwargs: None)
    entry = ModelEntry(hub="Some/Model", revision="0" * 40)
    with pytest.raises(AtlasError, match=rf"cannot get Some/Model at commit 0{{40}}: .*{told}.*`path`"):
        models.load("some", entry)


def test_a_real_client_without_a_network_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(AtlasError, match="the hub cannot be reached, and the files are not in its cache"):
        models.load("some", ModelEntry(hub="Some/Model", revision="0" * 40))


def test_a_hub_out_of_reach_is_asked_once_and_its_cache_is_used(monkeypatch, random_folder):
    asked = []

    def unreachable(*args, **kwargs):
        asked.append("hub")
        raise ConnectionError("no route to host")

    def cache(hub, revision, allow_patterns, local_files_only=False):
        assert local_files_only, "the download itself tries six times"
        asked.append("cache")
        return str(random_folder)

    monkeypatch.setattr(models, "model_info", unreachable)
    monkeypatch.setattr(models, "snapshot_download", cache)
    assert models.snapshot("Some/Model", "0" * 40) == random_folder
    assert asked == ["hub", "cache"]


def test_loading_weights_draws_no_bar(random_folder, capfd):
    models.load("some", ModelEntry(path=str(random_folder), dtype="float32", device="cpu"))
    assert "Loading weights" not in capfd.readouterr().err


def test_weights_that_are_not_what_the_hub_promised_are_refused(random_folder, tmp_path, no_weights):
    """The hub's cache: a snapshot of links to files that are named by their hash."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir(), snapshot.mkdir()
    for file in random_folder.iterdir():
        name = file_sha256(file) if file.suffix == ".safetensors" else file.name
        (blobs / name).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(blobs / name)
    entry = ModelEntry(path=str(snapshot), dtype="float32", device="cpu")
    whole = models.checked_weights("some", entry, snapshot)
    weights = (snapshot / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(AtlasError, match=rf"model.safetensors is damaged: .*the hub's {weights.name}. Remove .*blobs"):
        models.load("some", entry)
    promised = entry.model_copy(update={"weights_sha256": "0" * 64})
    copied = copy_model(random_folder, tmp_path / "copied")
    with pytest.raises(AtlasError, match=f"have the hash {whole}, config/models.yaml says 0{{64}}"):
        models.checked_weights("some", promised, copied)


def test_weights_that_are_cut_off_are_told(random_folder, tmp_path):
    folder = copy_model(random_folder, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(AtlasError, match="cut: its weights cannot be read"):
        models.load("some", ModelEntry(path=str(folder), dtype="float32", device="cpu"))


def test_a_gpu_that_is_not_there_is_told(random_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AtlasError, match="`device: cuda`, but torch finds no GPU here"):
        models.load("some", ModelEntry(path=str(random_folder), dtype="float32", device="cuda"))


def test_the_hub_is_asked_for_the_pinned_commit_alone(monkeypatch, random_folder):
    asked = []

    def download(hub, revision, allow_patterns):
        asked.append((hub, revision))
        return str(random_folder)

    monkeypatch.setattr(models, "model_info", lambda hub, revision, timeout: None)
    monkeypatch.setattr(models, "snapshot_download", download)
    source = models.load("some", ModelEntry(hub="Some/Model", revision="a" * 40, dtype="float32", device="cpu"))
    assert asked == [("Some/Model", "a" * 40)]
    assert source.revision == "a" * 40


def test_an_image_that_is_missing_is_told_before_a_model_is_loaded(extract, no_model):
    (extract.study / "images" / "square_1.png").unlink()
    with pytest.raises(AtlasError, match=r"samples.csv, line 4: image 'square_1.png': .*there is no such file"):
        extract()


def test_a_shard_without_images_is_told_before_a_model_is_loaded(extract, no_model, tmp_path):
    settings = ExtractionSettings.from_sections({})
    entry = ModelEntry(path=str(extract.model))
    with pytest.raises(AtlasError, match="no image falls into shard 007 of 1"):
        extract_shard(extract.study, "007", 1, "random", entry, settings, tmp_path / "s", tmp_path / "o.nc")


def test_whole_matrices_are_of_those_named_that_are_of_the_study(extract):
    """The settings may name samples of other studies; that each is one of some study is checked before any job."""
    capture = {"rows": "all", "full_samples": ["of another study", "square_0-q0"]}
    kept = [
        node["sample"].values[node["attention_prefill"].notnull().any(["layer", "head", "query_token", "prompt_token"])]
        for node in nodes(extract(capture=capture)).values()
        if "attention_prefill" in node
    ]
    assert [list(names) for names in kept] == [["square_0-q0"]]


@pytest.mark.parametrize("token", ["<|im_end|>", "<|image_pad|>"])
def test_a_special_token_is_refused_before_a_model_is_loaded(extract, no_model, token):
    rows = read_rows(extract.study)
    rows[2]["query"] = f"What is {token}?"
    write_rows(extract.study, rows)
    with pytest.raises(AtlasError, match=rf"samples.csv, line 4: query .*special token '{token}'".replace("|", r"\|")):
        extract()


def test_a_special_token_in_the_system_prompt_is_refused_before_a_model_is_loaded(extract, no_model):
    settings = ExtractionSettings.from_sections({"extraction": {"system_prompt": "Be brief.<|im_end|>"}})
    entry = ModelEntry(path=str(extract.model))
    with pytest.raises(AtlasError, match=r"system_prompt .* contains the special token '<\|im_end\|>'"):
        extract_shard(extract.study, "000", 1, "random", entry, settings, extract.scratch, extract.root / "o.nc")


def test_an_image_that_the_processor_refuses_is_named(extract):
    extract.study = write_study(extract.root / "thin", {"fine.png": (448, 448), "thin.png": (804, 4)})
    with pytest.raises(AtlasError, match=r"thin.png: model 'random' takes no image of 804 x 4 px"):
        extract(grid="native")


def test_images_that_a_grid_stretches_are_counted(extract, caplog):
    sizes = {"wide.png": (640, 320), "square.png": (448, 448), "almost.png": (460, 448), "tall.png": (320, 640)}
    extract.study = write_study(extract.root / "stretched", sizes, queries=(SHORT,))
    with caplog.at_level(logging.WARNING, "attention_atlas"):
        extract(max_new_tokens=1)
        extract(grid="native", max_new_tokens=1)
    told = [record.getMessage() for record in caplog.records if "aspect ratio" in record.getMessage()]
    assert told == [
        "grid (8, 8) changes the aspect ratio of 2 image(s) by more than 5 %: wide.png, tall.png. "
        "With `grid: native` it is kept"
    ]


def test_rounded_weights_are_those_of_one_batch_in_every_batch(whole, extract):
    """Batches that go through the disk are rounded as those in memory are."""
    kept = node(extract(capture={"keep_bits": 7}))["attention"].values
    bits = kept[np.isfinite(kept)].view(np.uint32)
    assert not (bits & 0xFFFF).any()
    exact = whole.node["attention"].values
    np.testing.assert_allclose(kept, exact, rtol=2**-8, atol=0)
    assert (kept[np.isfinite(kept)] != exact[np.isfinite(exact)]).mean() > 0.9
