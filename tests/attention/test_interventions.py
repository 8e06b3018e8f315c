"""Perturbed samples score as plain forward passes over pictures and masks made by hand."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from attention_atlas import store
from attention_atlas.analysis import causal_subjects, step_maps
from attention_atlas.attention import prompts, scoring
from attention_atlas.attention.capture import KERNEL
from attention_atlas.attention.extraction import ExtractionSettings, extract_shard
from attention_atlas.attention.interventions import intervene_shard
from attention_atlas.cli import app
from attention_atlas.config import Causal, Extraction, ModelEntry, Settings
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.perturbations import generator
from attention_atlas.inputs.study import SAMPLE_COLUMNS, read_study
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from .conftest import QUERIES, picture

FP32 = 1e-5
QUERY = QUERIES[2]
TOKENS = np.array([17, 230, 5, 90, 41])
LAYERS = range(6)
SETTINGS = {"extraction": {"batch_size": 7}, "generation": {"max_new_tokens": 4}}
CAUSAL = Causal(regions=(2, 3), steps=3, random_orders=2, random_regions=2)
BOXES = {"object_0": (60, 70, 170, 150), "object_1": (250, 240, 330, 350), "object_2": (300, 30, 410, 110)}
PAINT, FILLS = (90, 120, 150), {"object_0": (255, 0, 0), "object_1": (0, 200, 0), "object_2": (0, 0, 255)}


def plain_logprobs(source, image, query=QUERY, tokens=TOKENS, hidden=(), layers=LAYERS):
    """The tokens' log-probabilities by the stock processor and eager model in one pass over everything.

    `hidden` vision tokens are -inf in an additive mask of float, for rows after the image, in `layers`.
    """
    processor, model = source.processor, source.model
    if source.grid != "native":
        image = image.resize((32 * source.grid[1], 32 * source.grid[0]), Image.Resampling.BICUBIC)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": query}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=[image], text=[text], return_tensors="pt", return_mm_token_type_ids=True)
    ids = torch.cat([inputs["input_ids"], torch.as_tensor(tokens)[None]], dim=1)
    types = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, len(tokens)))
    positions, _ = model.model.get_rope_index(ids, types, inputs["image_grid_thw"])
    length = ids.shape[1]
    causal = torch.full((1, 1, length, length), -torch.inf).triu(1)
    vision = (ids[0] == model.config.image_token_id).nonzero()[:, 0]
    cut = causal.clone()
    cut[..., int(vision[-1]) + 1 :, vision[list(hidden)]] = -torch.inf
    hooks = [
        model.model.language_model.layers[layer].self_attn.register_forward_pre_hook(
            lambda module, args, kwargs: (args, {**kwargs, "attention_mask": cut}), with_kwargs=True
        )
        for layer in layers
    ]
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            output = model(
                input_ids=ids,
                position_ids=positions,
                attention_mask=causal,
                pixel_values=inputs["pixel_values"],
                image_grid_thw=inputs["image_grid_thw"],
            )
    finally:
        model.set_attn_implementation({"text_config": KERNEL, "vision_config": "sdpa"})
        for hook in hooks:
            hook.remove()
    rows = output.logits[0, -len(tokens) - 1 : -1].log_softmax(-1)
    return rows[np.arange(len(tokens)), tokens].numpy()


def forced(source, image, tokens=TOKENS):
    processed = prompts.process_image(source, image)
    prompt = prompts.build_prompt(source, [processed], QUERY, "", "s")
    return scoring.forced(source, prompt, tokens), processed


def knocked_out(source, image, hidden, layers, batch_size=3, tokens=TOKENS):
    """Our scores for lists of hidden vision tokens."""
    sample, processed = forced(source, image, tokens)
    cells = processed.rows * processed.cols
    sets = np.stack([np.isin(np.arange(cells), one) for one in hidden])
    return scoring.score_knockouts(source, sample, processed, sets, layers, batch_size)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=FP32, rtol=0)


@pytest.mark.parametrize(("grid", "size"), [("tiny", (448, 448)), ("tiny_native", (410, 200))])
def test_pictures_score_as_plain_passes_over_each_alone(request, grid, size):
    source = request.getfixturevalue(grid)
    images = [picture(*size, seed=seed) for seed in range(3)]
    sample, _ = forced(source, images[0])
    scores = scoring.score_images(source, sample, [prompts.process_image(source, image) for image in images])
    expected = [plain_logprobs(source, image) for image in images]
    assert np.ptp(expected, axis=0).min() > 10 * FP32  # the picture matters for every token
    close(scores, expected)


HIDDEN = [[0], [9, 10, 17, 18], list(range(60)), list(range(5, 64, 3))]


@pytest.mark.parametrize(("grid", "size"), [("tiny", (448, 448)), ("tiny_native", (410, 200))])
def test_knockouts_in_all_layers_score_as_eager_attention_with_an_additive_mask(request, grid, size):
    source, image = request.getfixturevalue(grid), picture(*size)
    expected = [plain_logprobs(source, image, hidden=hidden) for hidden in HIDDEN]
    assert abs(expected - plain_logprobs(source, image)).max(axis=1).min() > 10 * FP32
    close(knocked_out(source, image, HIDDEN, list(LAYERS)), expected)


@pytest.mark.parametrize("layers", [[0], [3], [5], [1, 2, 4]])
def test_a_knockout_leaves_layers_outside_of_its_window_alone(tiny, layers):
    expected = [plain_logprobs(tiny, picture(), hidden=hidden, layers=layers) for hidden in HIDDEN]
    everywhere = [plain_logprobs(tiny, picture(), hidden=hidden) for hidden in HIDDEN]
    assert abs(np.subtract(expected, everywhere)).max() > 10 * FP32
    close(knocked_out(tiny, picture(), HIDDEN, layers), expected)


def test_nothing_hidden_and_no_layer_change_nothing(tiny):
    expected = plain_logprobs(tiny, picture())
    close(knocked_out(tiny, picture(), [[], []], list(LAYERS)), [expected, expected])
    close(knocked_out(tiny, picture(), HIDDEN, []), [expected] * len(HIDDEN))


def test_one_token_alone_can_be_scored(tiny):
    close(
        knocked_out(tiny, picture(), HIDDEN, list(LAYERS), tokens=TOKENS[:1]),
        [plain_logprobs(tiny, picture(), tokens=TOKENS[:1], hidden=hidden) for hidden in HIDDEN],
    )


def test_knockouts_are_the_same_in_batches_of_any_size(tiny):
    alone = knocked_out(tiny, picture(), HIDDEN, [1, 2], batch_size=1)
    close(knocked_out(tiny, picture(), HIDDEN, [1, 2], batch_size=4), alone)


def test_scoring_leaves_the_model_as_it_was(tiny):
    knocked_out(tiny, picture(), HIDDEN, [1])
    assert tiny.model.config.get_text_config()._attn_implementation == KERNEL
    assert tiny.model.config.vision_config._attn_implementation == "sdpa"


def test_the_real_architecture_scores_as_eager_attention_does(real):
    expected = [plain_logprobs(real, picture(), hidden=hidden, layers=[1]) for hidden in HIDDEN]
    close(knocked_out(real, picture(), HIDDEN, [1]), expected)


def drawn(**fills):
    """The study's picture, or one with other fills, drawn by hand."""
    image = Image.new("RGB", (448, 448), PAINT)
    for name, colour in {**FILLS, **fills}.items():
        left, top, right, bottom = BOXES[name]
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=colour)
    return image


def write_study(folder):
    (folder / "images").mkdir(parents=True)
    drawn().save(folder / "images/a.png")
    drawn(object_1=(9, 9, 9)).save(folder / "images/b.png")
    targets = {"q0": "object_0", "q1": "object_1+object_2", "q2": ""}
    rows = [
        {
            **dict.fromkeys(SAMPLE_COLUMNS, ""),
            "sample_id": f"{image}-{query}",
            "image": f"{image}.png",
            "query_id": query,
            "query_type": "recognition",
            "query": text,
            "target_object": targets[query],
        }
        for image in "ab"
        for query, text in zip(targets, QUERIES, strict=True)
    ]
    pd.DataFrame(rows).to_csv(folder / "samples.csv", index=False)
    objects = [(f"{image}.png", name, "square", "", *box) for image in "ab" for name, box in BOXES.items()]
    columns = ["image", "object_id", "label", "colour", "x_min", "y_min", "x_max", "y_max"]
    pd.DataFrame(objects, columns=columns).to_csv(folder / "objects.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, random_folder):
    """A study of two pictures, its only shard, its step maps, and everything to perturb its samples with."""
    root = tmp_path_factory.mktemp("run")
    folder, shard, maps = write_study(root / "study"), root / "000.nc", root / "step_maps.nc"
    entry = ModelEntry(path=str(random_folder), dtype="float32", grid=(8, 8), device="cpu")
    extract_shard(
        folder, "000", 1, "random", entry, ExtractionSettings.from_sections(SETTINGS), root / "scratch", shard
    )
    study = read_study(folder, query_types=None)
    steps = pd.DataFrame({"sample_id": study.samples["sample_id"], "step": 1})
    with xr.open_datatree(shard, engine="netcdf4") as tree:
        node = tree["grid_8x8"].to_dataset().load()
    store.write_tree(maps, step_maps.step_maps(xr.DataTree.from_dict({"/grid_8x8": node}), steps))
    tokens = causal_subjects.generated_tokens(shard)
    with step_maps.reading(maps) as (lazy,):
        nodes = {name: own.load() for name, own in lazy.items()}
    subjects = causal_subjects.subjects(study, tokens, nodes, study.samples["sample_id"], "max")

    def intervene(sample_ids, causal=CAUSAL, layers=(1, 2), batch_size=7):
        chosen = [subject for subject in subjects if subject.sample_id in sample_ids]
        return intervene_shard(study, chosen, "random", entry, Extraction(batch_size=batch_size), causal, list(layers))

    return SimpleNamespace(
        **{"folder": folder, "shard": shard, "maps": maps, "entry": entry, "study": study, "node": node},
        **{"subjects": {subject.sample_id: subject for subject in subjects}, "intervene": intervene},
    )


@pytest.fixture(scope="module")
def table(run):
    """All perturbations of three samples: one target, two targets, none."""
    return run.intervene(["a-q0", "b-q1", "a-q2"])


def scores(table, sample_id, kind):
    """Log-probabilities of one kind: (index, step), rows by index."""
    own = table[(table["sample_id"] == sample_id) & (table["kind"] == kind)]
    return own.pivot(index="index", columns="step", values="logprob")


def plain(source, run, sample_id, image, hidden=(), layers=LAYERS):
    subject = run.subjects[sample_id]
    return plain_logprobs(source, image, subject.query, subject.token_id, hidden, layers)


def test_the_unperturbed_sample_scores_as_it_was_generated(run, table):
    for name in ("a-q0", "b-q1", "a-q2"):
        sample = run.node.sel(sample=name)
        steps = int(sample["num_steps"])
        generated = sample["token_logprob"].values[:steps]
        assert scores(table, name, "none").shape == (1, steps)
        np.testing.assert_allclose(scores(table, name, "none").loc[0], generated, atol=1e-4, rtol=0)


def test_every_sample_has_every_perturbation_of_its_checks(table):
    counted = table[table["step"] == 0].groupby(["sample_id", "kind"])["index"].agg(list).unstack("sample_id")
    orders = {"deletion": [1, 2, 3], "insertion": [1, 2]}
    orders |= {"deletion_random": [1, 2, 3, 4, 5, 6], "insertion_random": [1, 2, 4, 5]}
    everywhere = {"none": [0], "occlusion": [0, 1, 2, 3, 4, 5], **orders}
    targeted = {"knockout": list(range(100)), "twin": [0], "random_region": [1, 2]}
    expected = {
        "a-q0": {**everywhere, **targeted, "control_twin": [0]},
        "b-q1": {**everywhere, **targeted},  # one other object for two targets
        "a-q2": everywhere,
    }
    for name, kinds in expected.items():
        found = counted[name].dropna()
        assert {kind: sorted(numbers) for kind, numbers in found.items()} == kinds
    assert table["logprob"].notna().all()
    assert table.dtypes.astype(str).tolist()[2:] == ["int32", "int32", "float32"]


def test_an_occluded_region_scores_as_a_picture_painted_by_hand(tiny, run, table):
    found = scores(table, "a-q0", "occlusion")
    lefts, tops = (0, 149, 299, 448), (0, 224, 448)  # thirds of 448 px are 149.3 and 298.7
    for region in range(6):
        row, col = divmod(region, 3)
        image = drawn()
        box = (lefts[col], tops[row], lefts[col + 1] - 1, tops[row + 1] - 1)
        ImageDraw.Draw(image).rectangle(box, fill=PAINT)
        close(found.loc[region], plain(tiny, run, "a-q0", image))


def test_deletion_and_insertion_follow_the_order_of_the_map(tiny, run, table):
    for name in ("a-q0", "a-q2"):
        order = run.subjects[name].order
        for step, count in ((1, 21), (2, 43), (3, 64)):  # thirds of 64 cells
            close(scores(table, name, "deletion").loc[step], plain(tiny, run, name, without(order[:count])))
            if step < 3:
                close(scores(table, name, "insertion").loc[step], plain(tiny, run, name, without(order[count:])))


def without(cells):
    """The picture with cells of the 8 x 8 grid painted by hand."""
    image = drawn()
    for cell in cells:
        top, left = 56 * (int(cell) // 8), 56 * (int(cell) % 8)
        ImageDraw.Draw(image).rectangle((left, top, left + 55, top + 55), fill=PAINT)
    return image


def test_everything_deleted_is_the_empty_picture_in_whatever_order(tiny, run, table):
    empty = plain(tiny, run, "a-q0", Image.new("RGB", (448, 448), PAINT))
    close(scores(table, "a-q0", "deletion").loc[3], empty)
    close(scores(table, "a-q0", "deletion_random").loc[3], empty)
    close(scores(table, "a-q0", "deletion_random").loc[6], empty)


def test_twins_score_as_pictures_drawn_without_the_objects(tiny, run, table):
    close(scores(table, "a-q0", "twin").loc[0], plain(tiny, run, "a-q0", drawn(object_0=PAINT)))
    # areas 8,800 of object_0, 8,800 of object_1 and object_2: the first of equally near ones
    close(scores(table, "a-q0", "control_twin").loc[0], plain(tiny, run, "a-q0", drawn(object_1=PAINT)))


def test_knockouts_hide_the_target_set_in_the_window_then_random_sets_of_its_size(tiny, run, table):
    found = scores(table, "a-q0", "knockout")
    target = np.flatnonzero(run.subjects["a-q0"].target_cells)
    # 60 to 170 by 70 to 150 px are 2.8 cells of 56 px: most covered in row 1, then in column 2 of row 2
    assert target.tolist() == [9, 10, 18]
    close(found.loc[0], plain(tiny, run, "a-q0", drawn(), hidden=target, layers=[1, 2]))
    others = generator(0, "a-q0", "knockout").permuted(np.tile(run.subjects["a-q0"].target_cells, (99, 1)), axis=1)
    for number in (1, 57, 99):
        hidden = np.flatnonzero(others[number - 1])
        assert len(hidden) == 3
        close(found.loc[number], plain(tiny, run, "a-q0", drawn(), hidden=hidden, layers=[1, 2]))


def test_a_sample_scores_the_same_whoever_else_is_perturbed(run, table):
    alone = run.intervene(["b-q1"])
    pd.testing.assert_frame_equal(alone, table[table["sample_id"] == "b-q1"].reset_index(drop=True), check_exact=True)


def test_other_batches_have_the_same_rows_and_nearly_the_same_numbers(run, table):
    other = run.intervene(["a-q0", "b-q1", "a-q2"], batch_size=64)
    key = ["sample_id", "kind", "index", "step"]
    pd.testing.assert_frame_equal(other[key], table[key])
    close(other["logprob"], table["logprob"])


def test_only_the_checks_of_the_settings_are_made(run):
    for check, kinds in {
        "occlusion": {"occlusion"},
        "knockout": {"knockout"},
        "deletion": {"deletion", "deletion_random", "insertion", "insertion_random"},
        "counterfactual": {"twin", "control_twin", "random_region"},
    }.items():
        table = run.intervene(["a-q0"], CAUSAL.model_copy(update={"checks": (check,)}))
        assert set(table["kind"]) == {"none", *kinds}


def test_no_subject_makes_an_empty_table_of_the_same_columns(run, table):
    empty = run.intervene([])
    assert empty.empty
    assert empty.dtypes.tolist() == table.dtypes.tolist()


@pytest.mark.parametrize(("function", "kind"), [("score_images", "occlusion"), ("score_knockouts", "knockout")])
def test_a_perturbation_that_fails_is_missing_alone_and_told(run, table, monkeypatch, caplog, function, kind):
    whole = getattr(scoring, function)
    chosen = run.intervene(["a-q0"], CAUSAL.model_copy(update={"checks": (kind,)}))
    failing = scores(chosen, "a-q0", kind).loc[2].to_numpy()

    def fails(*args):
        found = whole(*args)
        if (found == failing).all(axis=1).any() or abs(found - failing).max(axis=1).min() < 1e-7:
            raise RuntimeError("out of memory")
        return found

    monkeypatch.setattr(scoring, function, fails)
    with caplog.at_level(logging.WARNING, "attention_atlas"):
        partial = run.intervene(["a-q0"], CAUSAL.model_copy(update={"checks": (kind,)}))
    missing = partial[partial["logprob"].isna()]
    assert set(missing["kind"]) == {kind}
    assert set(missing["index"]) == {2}
    assert len(missing) == len(failing)
    close(partial["logprob"].dropna(), chosen["logprob"][partial["logprob"].notna()])
    assert f"sample a-q0: {kind} 2 failed (out of memory)" in caplog.text


def test_a_map_of_another_grid_is_refused(run):
    subject = run.subjects["a-q0"]
    other = SimpleNamespace(**{**vars(subject), "order": np.arange(60)})
    with pytest.raises(AtlasError, match=r"'a-q0'.*60 cells.*8 x 8.*Extract"):
        intervene_shard(run.study, [other], "random", run.entry, Extraction(), CAUSAL, [0])


def command(run, output, **causal):
    sections = Settings(runs=[{"study": "study", "model": "random"}]).model_dump(mode="json")
    sections["causal"] |= {"regions": [1, 2], "checks": ["occlusion", "knockout"], "layers": "middle", **causal}
    settings, models = output.with_suffix(".settings.json"), output.with_suffix(".models.json")
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(json.dumps(sections))
    models.write_text(json.dumps({"models": {"random": run.entry.model_dump(mode="json")}}))
    return [
        "intervene",
        *("--study", str(run.folder), "--shard-maps", str(run.shard), "--step-maps", str(run.maps)),
        *("--model", "random", "--models", str(models), "--settings", str(settings)),
        *("--output", str(output), "--log", str(output.with_suffix(".log"))),
    ]


def test_the_command_perturbs_one_targeted_sample_an_image_in_the_band_of_layers(run, tmp_path):
    ran = CliRunner().invoke(app, command(run, tmp_path / "made/causal.parquet"))
    assert ran.exit_code == 0, ran.output
    made = pd.read_parquet(tmp_path / "made/causal.parquet")
    chosen = made["sample_id"].unique().tolist()
    assert chosen == ["a-q1", "b-q0"]  # b is drawn first
    # of 6 layers the middle ones are 2 and 3: 11/36 and 25/36 of 6, rounded
    expected = run.intervene(
        chosen, Causal(regions=(1, 2), checks=("occlusion", "knockout")), layers=[2, 3], batch_size=96
    )
    pd.testing.assert_frame_equal(made, expected, check_exact=True)
    assert "2 samples to perturb, the shard has 2 images" in (tmp_path / "made/causal.log").read_text()


def test_the_command_tells_of_samples_without_a_map(run, tmp_path):
    other = tmp_path / "step_maps.nc"
    with xr.open_datatree(run.maps, engine="netcdf4") as tree:
        node = tree["grid_8x8"].to_dataset().load()
    kept = node.isel(sample=node["sample"].values != "a-q0")
    store.write_tree(other, xr.DataTree.from_dict({"/grid_8x8": kept}))
    arguments = command(run, tmp_path / "causal.parquet", samples=["a-q0", "a-q2"])
    arguments[arguments.index(str(run.maps))] = str(other)
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    made = pd.read_parquet(tmp_path / "causal.parquet").set_index("sample_id")
    assert set(made.index) == {"a-q2", "a-q0"}
    assert made.loc["a-q0", "kind"] == "none"
    assert np.isnan(made.loc["a-q0", "logprob"]), (
        "declared, and counted by the analysis as without an answer or a score"
    )
    assert "1 more have no finite map, and are told as such: a-q0" in (tmp_path / "causal.log").read_text()
