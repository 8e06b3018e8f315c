"""The dataset's files: what is written is read, the same bytes for the same values, nothing half-written or strange."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_atlas import files, store
from attention_atlas.analysis import focus
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.answers import answers_table, failed_row
from attention_atlas.provenance import file_sha256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import special

from .synthetic import COLS, HEADS, LAYERS, ROWS, Planted, node, write_run

GRID = f"grid_{ROWS}x{COLS}"
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
WITH_STEPS = ("attention", *store.MASS_VARIABLES, "token_id", "token_text", "token_logprob", "next_token_entropy")
WITH_PROMPT = ("input_ids", "input_token_text", "is_vision_token")


def planted(sample_id, steps, width=2, **values):
    tokens = [f" w{number}" for number in range(steps - 1)] + ["<|im_end|>"] * (steps > 0)
    widths = width + np.arange(steps * LAYERS).reshape(steps, LAYERS) % 5
    return Planted(sample_id, f"{sample_id}.png", tokens, widths, **values)


def with_prompts(dataset, lengths):
    """The node with prompts of these lengths: ids 10, 11, ..., padded by the contract to the longest."""
    tokens = np.arange(max(lengths))
    exists = tokens < np.array(lengths)[:, None]
    prompts = {
        "input_ids": np.where(exists, tokens + 10, -1).astype("int32"),
        "input_token_text": np.where(exists, "p", "").astype(object),
        "is_vision_token": (exists & (tokens % 2 == 1)).astype("int8"),
    }
    changed = {name: (("sample", "prompt_token"), values, dataset[name].attrs) for name, values in prompts.items()}
    return dataset.drop_dims("prompt_token").assign(changed).assign_coords(prompt_token=tokens)


def read(path):
    """The nodes of a file, in memory."""
    with xr.open_datatree(path, engine="netcdf4") as tree:
        return {name: child.to_dataset().load() for name, child in tree.children.items()}


def breaches(dataset):
    with pytest.raises(AtlasError) as caught:
        store.validate(dataset, "here")
    first, *lines = str(caught.value).splitlines()
    assert first == "here breaks the dataset contract:"
    return [line.strip() for line in lines]


@st.composite
def nodes(draw):
    """Nodes with any texts and values: of one to three samples, failed ones and those of few steps padded."""
    ids = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=3, unique=True))
    samples = []
    for sample_id in ids:
        tokens = draw(st.lists(TEXT, max_size=3))
        widths = np.ones((len(tokens), LAYERS), dtype=int)
        texts = {name: draw(TEXT) for name in ("image", "query", "query_id", "query_type", "condition")}
        reason = "" if tokens else draw(TEXT.filter(bool))
        samples.append(Planted(sample_id, tokens=tokens, width=widths, error=reason, **texts))
    dataset = with_prompts(node(samples, 2, 3), draw(st.lists(st.integers(1, 3), min_size=len(ids), max_size=len(ids))))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    attention = dataset["attention"]
    return dataset.assign(attention=attention.where(attention.isnull(), rng.random(attention.shape, dtype="float32")))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(nodes(), min_size=1, max_size=2))
def test_what_is_written_is_read_and_the_same_values_are_the_same_bytes(tmp_path_factory, datasets):
    first, second = (tmp_path_factory.getbasetemp() / name for name in ("first.nc", "second.nc"))
    written = {f"grid_2x{number}": dataset for number, dataset in enumerate(datasets)}
    store.write_shard(first, written)
    found = read(first)
    assert found.keys() == written.keys()
    for name, dataset in written.items():
        xr.testing.assert_identical(found[name], dataset)
        for variable, values in found[name].data_vars.items():
            if store.SCHEMA[variable].dtype != "str":
                assert values.dtype == store.SCHEMA[variable].dtype
    store.write_shard(second, {name: dataset.copy(deep=True) for name, dataset in reversed(written.items())})
    assert second.read_bytes() == first.read_bytes()


def test_a_text_is_not_cut_at_a_nul(tmp_path):
    store.write_shard(tmp_path / "a.nc", {GRID: node([planted("a", 2, query="one\0two")])})
    assert read(tmp_path / "a.nc")[GRID]["query"].item() == "one\ufffdtwo"


def test_the_file_tells_what_its_variables_and_rows_mean(tmp_path):
    store.write_shard(tmp_path / "a.nc", {GRID: node([planted("a", 2)])})
    dataset = read(tmp_path / "a.nc")[GRID]
    assert all(variable.attrs.keys() >= {"long_name", "units"} for variable in dataset.data_vars.values())
    assert "predict" in dataset.attrs["row_convention"].lower()
    assert dataset["attention"].dims == ("sample", "step", "layer", "head", "row", "col")
    for dim, size in {"step": 2, "layer": LAYERS, "head": HEADS, "row": ROWS, "col": COLS}.items():
        assert dataset.indexes[dim].tolist() == list(range(size))


def test_a_grid_is_named_by_its_rows_and_columns():
    assert store.grid_name(8, 14) == "grid_8x14"


def test_a_node_in_order_breaks_nothing():
    store.validate(node([planted("a", 2), planted("b", 0, error="broken")]))


def test_every_breach_of_the_form_is_listed():
    dataset = node([planted("a", 2)])
    broken = dataset.assign(atention=dataset["attention"], num_steps=dataset["token_id"])
    broken = broken.drop_vars(["token_logprob", "query", "layer"])
    del broken.attrs["model"], broken.attrs["num_heads"]
    told = breaches(broken)
    expected = [
        "variable 'token_logprob' is missing",
        "variable 'query' is missing",
        "attribute 'model' is missing",
        "attribute 'num_heads' is missing",
        "dimension 'layer' has no labels",
        "variable 'num_steps' has dims ('sample', 'step'), the contract says ('sample',)",
        "variable 'atention' is not in the contract. Did you mean 'attention'?",
    ]
    assert sorted(told) == sorted(expected)


def test_a_variable_of_another_dtype_is_refused_by_name():
    dataset = node([planted("a", 2)])
    broken = dataset.assign(attention=dataset["attention"].astype("float64"), query=dataset["num_steps"])
    assert breaches(broken) == [
        "variable 'attention' has dtype float64, the contract says float32",
        "variable 'query' has dtype int32, the contract says str",
    ]


def test_every_breach_of_the_values_is_listed():
    broken = node(
        [
            planted("twice", 2),
            planted("twice", 2),
            planted("unheard", 2),
            planted("no reason", 0, error="x"),
            planted("reason", 2),
            planted("no steps", 2),
            planted("steps", 0, error="broken"),
        ]
    )
    broken["stop_reason"][2] = "tired"
    broken["error"][3] = ""
    broken["error"][4] = "broken"
    broken["num_steps"][5] = 0
    broken["num_steps"][6] = 1
    told = breaches(broken)
    expected = [
        "sample 'twice' occurs more than once",
        "stop_reason 'tired' is not one of end_token, max_new_tokens, error",
        "sample 'no reason': stop_reason and error disagree",
        "sample 'reason': stop_reason and error disagree",
        "sample 'no steps': num_steps must be 0 exactly where it failed",
        "sample 'steps': num_steps must be 0 exactly where it failed",
    ]
    assert sorted(told) == sorted(expected)


def test_optional_variables_may_be_there_in_their_own_dims():
    dataset = node([planted("a", 2)])
    store.validate(dataset.assign(value_weighted_attention=dataset["attention"]))
    told = breaches(dataset.assign(value_weighted_attention=dataset["vision_mass"]))
    assert [line.split(" has dims")[0] for line in told] == ["variable 'value_weighted_attention'"]


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        ((120, 9, 6, 4, 8, 8), (18, 9, 6, 4, 8, 8)),  # many small maps together
        ((2, 24, 36, 32, 16, 16), (1, 1, 32, 32, 16, 16)),  # a block of layers of one step
        ((1, 24, 36, 32, 128, 128), (1, 1, 1, 16, 128, 128)),
        ((3,), (3,)),
        ((2**20,), (2**18,)),
    ],
)
def test_chunks_are_the_last_dims_as_far_as_a_mebibyte_holds_them(shape, chunk):
    assert store.chunk_shape(shape, 4) == chunk


def rounded_shard(path, keep_bits):
    """A shard of softmax rows of many spreads, as it went in and as it is read."""
    rng = np.random.default_rng(0)
    whole = node([planted(name, 4) for name in "abcdefgh"], 16, 16)
    shape = whole["attention"].shape
    logits = np.geomspace(0.1, 8, shape[2])[:, None, None] * rng.standard_normal((*shape[:-2], shape[-2] * shape[-1]))
    weights = rng.uniform(0.01, 1, (*shape[:-2], 1)) * special.softmax(logits, axis=-1)
    whole["attention"] = whole["attention"].copy(data=weights.reshape(shape).astype("float32"))
    whole["attention"][0, 3] = np.nan
    store.write_shard(path, {"grid_16x16": whole}, keep_bits=keep_bits)
    return whole, read(path)["grid_16x16"]


def test_rounding_moves_no_entropy_by_more_than_what_the_setting_says(tmp_path):
    whole, found = rounded_shard(tmp_path / "a.nc", 15)
    before, after = (focus.focus_of_maps(dataset["attention"].values) for dataset in (whole, found))
    for name, values in before.items():
        if name[1] in ("entropy", "entropy_normalised"):
            np.testing.assert_allclose(after[name], values, rtol=0, atol=1e-4)
            assert (after[name] != values).any()


@pytest.mark.parametrize("keep_bits", [15, 7])
def test_weights_are_rounded_to_the_nearest_of_so_many_bits_and_say_so(tmp_path, keep_bits):
    whole, found = rounded_shard(tmp_path / "a.nc", keep_bits)
    mantissa, exponent = np.frexp(whole["attention"].values.astype("float64"))
    nearest = np.ldexp(np.floor(mantissa * 2 ** (keep_bits + 1) + 0.5) / 2 ** (keep_bits + 1), exponent)
    np.testing.assert_array_equal(found["attention"], nearest.astype("float32"))
    assert found["attention"].attrs[store.KEPT_BITS] == keep_bits
    for name in set(found.data_vars) - {"attention"}:
        xr.testing.assert_identical(found[name], whole[name])
    rounded_shard(tmp_path / "b.nc", keep_bits)
    assert (tmp_path / "b.nc").read_bytes() == (tmp_path / "a.nc").read_bytes()
    tree = store.open_shards([tmp_path / "a.nc", tmp_path / "b.nc"])
    assert tree["grid_16x16/attention"].attrs[store.KEPT_BITS] == keep_bits
    tree.close()


def test_a_node_that_breaks_the_contract_is_not_written_and_named(tmp_path):
    path = tmp_path / "a.nc"
    good = node([planted("a", 2)])
    with pytest.raises(AtlasError, match="query") as caught:
        store.write_shard(path, {"grid_1x1": good, GRID: good.drop_vars("query")})
    assert f"{path}, group /{GRID}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path, failure):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write():
        with store.replacing(path) as partial:
            partial.write_text("half of the ne")
            assert path.read_text() == "old"
            raise failure

    with pytest.raises(failure):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_ends_well_replaces_the_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for content in ("first", "second"):
        with store.replacing(path) as partial:
            partial.write_text(content)
        assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    flushed = []
    monkeypatch.setattr(files.os, "fsync", lambda number: flushed.append((os.fstat(number).st_size, path.exists())))
    with store.replacing(path) as partial:
        partial.write_text("whole")
    assert flushed == [(len("whole"), False)]
    assert path.exists()


def test_a_shard_that_fails_half_way_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    store.write_shard(path, {GRID: node([planted("a", 2)])})
    before = path.read_bytes()

    def half(tree, target, **options):
        target.write_bytes(before[:1000])
        raise OSError("no space left on device")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", half)
    with pytest.raises(OSError, match="no space"):
        store.write_shard(path, {GRID: node([planted("b", 2)])})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_leaves_is_never_mistaken_for_a_result(tmp_path):
    """The process is killed for good in the middle of its write: no cleaning up happens."""
    (shard,) = write_run(tmp_path, [planted("a", 2)], shards=1)
    before = shard.read_bytes()
    script = (
        "import os, signal, sys, pathlib; from attention_atlas import store\n"
        "with store.replacing(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, shard], check=False).returncode == -signal.SIGKILL
    assert shard.read_bytes() == before
    assert len(list(shard.parent.iterdir())) == 3
    store.write_manifest(shard.with_name("manifest.json"), [shard])
    assert read(shard)[GRID].indexes["sample"].tolist() == ["a"]
    store.write_shard(shard, {GRID: node([planted("b", 2)])})
    assert {path.name for path in shard.parent.iterdir()} == {"000.nc", "manifest.json"}


def test_a_table_is_read_as_it_was_written(tmp_path):
    table = answers_table([{"sample_id": "a", **failed_row()}])
    store.write_table(table, tmp_path / "new" / "table.parquet")
    found = pd.read_parquet(tmp_path / "new" / "table.parquet")
    pd.testing.assert_frame_equal(found, table)


def test_a_table_written_in_parts_is_that_of_all_parts(tmp_path):
    """The first part has no rows, the second few names, the last more than fit into one byte, and smaller numbers."""
    names = [[], ["a", "b"], [f"s{number}" for number in range(300)]]
    parts = [
        pd.DataFrame({"name": pd.Categorical(own, categories=sorted(own)), "layer": np.arange(len(own), dtype=kind)})
        for own, kind in zip(names, ("int64", "int64", "int32"), strict=True)
    ]
    store.write_parts(iter(parts), tmp_path / "new" / "table.parquet")
    read = pd.read_parquet(tmp_path / "new" / "table.parquet")
    assert isinstance(read["name"].dtype, pd.CategoricalDtype)
    assert read["name"].tolist() == [name for own in names for name in own]
    assert read["layer"].tolist() == [0, 1, *range(300)]


def test_the_manifest_lists_the_shards_with_their_hashes(tmp_path):
    shards = write_run(tmp_path, [planted("a", 2), planted("b", 1)])
    manifest = json.loads(shards[0].with_name("manifest.json").read_text(encoding="utf-8"))
    sha256 = manifest.pop("sha256")
    assert sha256 == hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    assert manifest == {
        "study": "planted",
        "model": "tiny",
        "part": "",
        "schema_version": "1",
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "weights_sha256": "0",
        "shards": {"000.nc": file_sha256(shards[0]), "001.nc": file_sha256(shards[1])},
    }


def test_a_manifest_is_refused_where_files_lie_that_no_rule_makes(tmp_path):
    shards = write_run(tmp_path, [planted("a", 2), planted("b", 1)])
    manifest = shards[0].with_name("manifest.json")
    before = manifest.read_bytes()
    strangers = [manifest.with_name(name) for name in ("007.nc", "my notes.txt")]
    for stranger in strangers:
        stranger.write_text("x")
    with pytest.raises(AtlasError) as caught:
        store.write_manifest(manifest, shards)
    assert str(caught.value).endswith(f"Remove them: rm {strangers[0]} '{strangers[1]}'")
    assert manifest.read_bytes() == before


def test_a_part_of_a_run_has_a_manifest_of_its_own_beside_the_runs(tmp_path):
    shards = write_run(tmp_path, [planted("a", 2)], shards=1)
    part = shards[0].parent / "controls" / "000.nc"
    store.write_shard(part, {GRID: node([planted("a.blank", 2)])})
    store.write_manifest(part.with_name("manifest.json"), [part])
    told = json.loads(part.with_name("manifest.json").read_text(encoding="utf-8"))
    assert (told["study"], told["model"], told["part"]) == ("planted", "tiny", "controls")
    store.write_manifest(shards[0].with_name("manifest.json"), shards)  # the part is no stranger
    answers = tmp_path / "results/analysis/planted/tiny/controls/answers.parquet"
    assert store.answers_path(part.parent) == answers
    assert store.answers_path(shards[0].parent) == answers.parents[1] / "answers.parquet"


def test_a_folder_that_no_rule_makes_is_refused_too(tmp_path):
    shards = write_run(tmp_path, [planted("a", 2)], shards=1)
    (shards[0].parent / "old").mkdir()
    with pytest.raises(AtlasError, match=r"Remove them: rm -r .*old"):
        store.write_manifest(shards[0].with_name("manifest.json"), shards)


def test_a_manifest_of_no_shards_is_refused(tmp_path):
    with pytest.raises(AtlasError, match=r"manifest\.json: no shards are given"):
        store.write_manifest(tmp_path / "manifest.json", [])
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_is_refused_where_shards_are_missing(tmp_path):
    shards = write_run(tmp_path, [planted("a", 2)], shards=1)
    gone = [shards[0].with_name(name) for name in ("001.nc", "002.nc")]
    with pytest.raises(AtlasError) as caught:
        store.write_manifest(shards[0].with_name("manifest.json"), [*shards, *gone])
    assert str(caught.value).startswith(f"{gone[0]}, {gone[1]}: there is no such shard")


@pytest.mark.parametrize(("name", "value"), [("weights_sha256", "1"), ("num_layers", 4), ("num_heads", 3)])
def test_a_manifest_is_refused_for_shards_of_different_models(tmp_path, name, value):
    shards = [tmp_path / "s" / "m" / f"{number}.nc" for number in range(2)]
    store.write_shard(shards[0], {GRID: node([planted("a", 1)])})
    store.write_shard(shards[1], {GRID: node([planted("b", 1)]).assign_attrs({name: value})})
    with pytest.raises(AtlasError, match=f"differ in {name}:"):
        store.write_manifest(tmp_path / "s" / "m" / "manifest.json", shards)


def write_shards(root, *shards):
    """A run of these shards, each a dict of its nodes; returns its folder."""
    folder = root / "results/attention/planted/tiny"
    paths = [folder / f"{number:03d}.nc" for number in range(len(shards))]
    for path, shard in zip(paths, shards, strict=True):
        store.write_shard(path, shard)
    store.write_manifest(folder / "manifest.json", paths)
    return folder


def test_a_run_is_lazy_and_has_its_samples_in_the_order_of_the_shards(tmp_path):
    samples = [planted(name, 2) for name in "abcd"]
    folder = write_run(tmp_path, samples)[0].parent
    tree = store.open_run(str(folder))
    assert tree[GRID].indexes["sample"].tolist() == ["a", "c", "b", "d"]
    assert tree[GRID]["attention"].chunks is not None
    tree.close()


def test_only_the_shards_of_the_manifest_are_read(tmp_path):
    folder = write_run(tmp_path, [planted("a", 2)], shards=1)[0].parent
    store.write_shard(folder / "001.nc", {GRID: node([planted("b", 2)])})
    tree = store.open_run(folder)
    assert tree[GRID].indexes["sample"].tolist() == ["a"]
    tree.close()


def test_shards_are_padded_to_common_steps_and_prompt_tokens(tmp_path):
    long, short, failed = planted("long", 4), planted("short", 1), planted("failed", 0, error="broken")
    parts = [with_prompts(node([sample]), [length]) for sample, length in ((short, 3), (long, 5), (failed, 2))]
    tree = store.open_run(write_shards(tmp_path, *({GRID: part} for part in parts)))
    found = tree[GRID].to_dataset().load()
    tree.close()
    together = with_prompts(node([short, long, failed]), [3, 5, 2])
    xr.testing.assert_identical(found, together)
    for name in (*WITH_STEPS, *WITH_PROMPT):
        expected = store.SCHEMA[name].dtype
        assert found[name].dtype.kind in "OU" if expected == "str" else found[name].dtype == expected, name


def test_padding_is_what_the_contract_says(tmp_path):
    shards = ({GRID: with_prompts(node([planted("a", 1)]), [1])}, {GRID: with_prompts(node([planted("b", 3)]), [2])})
    tree = store.open_run(write_shards(tmp_path, *shards))
    short = tree[GRID].to_dataset().sel(sample="a").load()
    tree.close()
    padding = short.isel(step=slice(1, None), prompt_token=slice(1, None))
    for name in ("attention", *store.MASS_VARIABLES, "token_logprob", "next_token_entropy"):
        assert padding[name].isnull().all(), name
    assert (padding["token_id"] == -1).all()
    assert (padding["input_ids"] == -1).all()
    assert (padding["is_vision_token"] == 0).all()
    assert (padding["token_text"] == "").all()
    assert (padding["input_token_text"] == "").all()


def test_an_optional_variable_that_some_shards_lack_is_nan_there(tmp_path):
    plain, weighted = node([planted("a", 2)]), node([planted("b", 2)])
    values = 3 * weighted["attention"]
    values.attrs = {"long_name": store.SCHEMA["value_weighted_attention"].long_name, "units": "1"}
    tree = store.open_run(
        write_shards(tmp_path, {GRID: plain}, {GRID: weighted.assign(value_weighted_attention=values)})
    )
    found = tree[GRID]["value_weighted_attention"].load()
    tree.close()
    assert found.sel(sample="a").isnull().all()
    np.testing.assert_array_equal(found.sel(sample="b"), values.isel(sample=0))


def test_variables_mean_what_the_contract_says_whatever_a_shard_words(tmp_path):
    older = node([planted("a", 2)])
    older["attention"].attrs["long_name"] = "weights"
    tree = store.open_run(write_shards(tmp_path, {GRID: older}, {GRID: node([planted("b", 2)])}))
    assert tree[GRID]["attention"].attrs == {"long_name": store.SCHEMA["attention"].long_name, "units": "1"}
    tree.close()


def write_answers(root, rows):
    table = answers_table({"sample_id": name, "answer_text": "", **values} for name, values in rows.items())
    store.write_table(table, root / "results/analysis/planted/tiny/answers.parquet")


def answer(found, first, last, correct):
    return {"answer_found": found, "answer_step": first, "answer_last_step": last, "correct": correct}


def test_answers_are_joined_by_sample_where_the_run_has_them(tmp_path):
    samples = [planted("a", 4), planted("b", 3), planted("c", 2), planted("d", 1), planted("e", 0, error="broken")]
    folder = write_run(tmp_path, samples)[0].parent
    tree = store.open_run(folder)
    assert "is_answer" not in tree[GRID].coords
    tree.close()
    write_answers(
        tmp_path,
        {
            "e": failed_row(),
            "b": answer(1, 0, 0, 0),
            "a": answer(1, 1, 2, 1),
            "c": answer(0, -1, -1, 0),
        },
    )
    tree = store.open_run(folder)
    joined = tree[GRID].to_dataset().load()
    tree.close()
    expected = {
        "a": ([0, 1, 1, 0], 1),
        "b": ([1, 0, 0, 0], 0),
        "c": ([0, 0, 0, 0], 0),
        "d": ([0, 0, 0, 0], -1),
        "e": ([0, 0, 0, 0], -1),
    }
    assert {"is_answer", "correct"} <= set(joined.coords)
    assert joined["is_answer"].dtype == joined["correct"].dtype == "int8"
    for name, (is_answer, correct) in expected.items():
        assert joined["is_answer"].sel(sample=name).values.tolist() == is_answer
        assert joined["correct"].sel(sample=name).item() == correct


def test_a_relative_folder_finds_its_answers_too(tmp_path, monkeypatch):
    folder = write_run(tmp_path, [planted("a", 2)], shards=1)[0].parent
    write_answers(tmp_path, {"a": answer(1, 0, 0, 1)})
    monkeypatch.chdir(folder)
    tree = store.open_run(".")
    assert tree[GRID]["correct"].values.tolist() == [1]
    tree.close()


def test_a_run_without_a_manifest_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(AtlasError, match="snakemake") as caught:
        store.open_run(tmp_path)
    assert str(tmp_path / "manifest.json") in str(caught.value)


def test_a_run_that_is_being_made_opens_with_the_shards_that_are_there_and_says_so(tmp_path):
    first, second = write_run(tmp_path, [planted("a", 2), planted("b", 1)])
    (first.parent / "manifest.json").unlink()
    second.rename(second.with_name(f".{second.name}.partial"))  # another that is being written
    with pytest.warns(UserWarning, match=r"no manifest\.json yet: the 1 shard\(s\) that are there") as told:
        tree = store.open_run(first.parent)
    assert told[0].filename == __file__, "the warning is about the caller's line"
    assert tree[GRID]["sample"].values.tolist() == ["a"]
    tree.close()


def test_a_run_that_lacks_a_shard_of_its_manifest_is_refused(tmp_path):
    shards = write_run(tmp_path, [planted("a", 2), planted("b", 1)])
    shards[1].unlink()
    with pytest.raises(AtlasError, match=r"lacks 001\.nc of its manifest") as caught:
        store.open_run(shards[0].parent)
    assert str(shards[0].parent) in str(caught.value)


@pytest.fixture
def two_grids(tmp_path):
    """A run of two grids, one shard with both and one with the smaller alone."""
    square = with_prompts(node([planted("a", 3), planted("b", 1)]), [2, 4])
    wide, other = (with_prompts(node([planted(name, 2)], 2, 3), [3]) for name in "cd")
    tree = store.open_run(write_shards(tmp_path, {GRID: square, "grid_2x3": wide}, {"grid_2x3": other}))
    yield tree
    tree.close()


def test_images_of_several_sizes_are_nodes_without_padding_between_them(two_grids):
    assert {name: child.sizes["sample"] for name, child in two_grids.children.items()} == {GRID: 2, "grid_2x3": 2}
    assert dict(two_grids["grid_2x3"].sizes).items() >= {"row": 2, "col": 3, "row_border": 3, "col_border": 4}.items()
    assert two_grids["grid_2x3"]["attention"].notnull().all()


@pytest.mark.parametrize(
    ("sample_id", "steps", "grid", "prompt"),
    [("a", 3, (ROWS, COLS), 2), ("b", 1, (ROWS, COLS), 4), ("c", 2, (2, 3), 3), ("d", 2, (2, 3), 3)],
)
def test_a_sample_is_its_own_block_without_padding(two_grids, sample_id, steps, grid, prompt):
    found = store.sample(two_grids, sample_id)
    alone = with_prompts(node([planted(sample_id, steps)], *grid), [prompt]).isel(sample=0)
    xr.testing.assert_identical(found.load(), alone)
    assert found["attention"].dims == ("step", "layer", "head", "row", "col")
    assert found["attention"].shape == (steps, LAYERS, HEADS, *grid)


def test_all_keys_of_a_sample_are_the_tokens_before_its_last_one(tmp_path):
    dataset = with_prompts(node([planted("a", 3), planted("b", 1)]), [2, 5])
    shape = (2, 3, LAYERS, HEADS, 7)
    keys = (
        ("sample", "step", "layer", "head", "key"),
        np.ones(shape, dtype="float32"),
        {"long_name": "x", "units": "1"},
    )
    square = (
        ("sample", "layer", "head", "query_token", "prompt_token"),
        np.ones((2, LAYERS, HEADS, 5, 5), dtype="float32"),
        {"long_name": "x", "units": "1"},
    )
    dataset = dataset.assign(attention_all=keys, attention_prefill=square)
    dataset = dataset.assign_coords(key=np.arange(7), query_token=np.arange(5))
    tree = store.open_run(write_shards(tmp_path, {GRID: dataset}))
    first, second = (store.sample(tree, name) for name in "ab")
    # The last of 3 steps attends to 2 prompt tokens and 2 generated ones; the only step of "b" to its 5 prompt tokens.
    assert (first.sizes["key"], second.sizes["key"]) == (4, 5)
    assert first["attention_prefill"].shape == (LAYERS, HEADS, 2, 2)
    assert second["attention_prefill"].shape == (LAYERS, HEADS, 5, 5)
    tree.close()


def test_a_failed_sample_has_no_steps(tmp_path):
    folder = write_run(tmp_path, [planted("a", 2), planted("b", 0, error="broken")], shards=1)[0].parent
    tree = store.open_run(folder)
    failed = store.sample(tree, "b").load()
    assert (failed.sizes["step"], failed["error"].item(), failed["stop_reason"].item()) == (0, "broken", "error")
    tree.close()


def test_an_unknown_sample_is_told_with_the_nearest_name(tmp_path):
    folder = write_run(tmp_path, [planted("scene_003-q0", 2), planted("other", 2)])[0].parent
    tree = store.open_run(folder)
    with pytest.raises(AtlasError, match=r"no sample 'scene_003_q0' .* 2 samples\. Did you mean 'scene_003-q0'\?"):
        store.sample(tree, "scene_003_q0")
    tree.close()


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("scene_003-q0.blank", "controls"),
        ("scene_003-q0.other_image.2", "controls"),
        ("scene_003-q0.random_weights", "random_weights"),
    ],
)
def test_a_control_is_looked_for_in_the_part_of_the_run_that_holds_it(tmp_path, wanted, part):
    tree = store.open_run(write_run(tmp_path, [planted("scene_003-q0", 2)])[0].parent)
    with pytest.raises(AtlasError, match=rf"'{wanted}'.*atlas\.open\(\"results/attention/<study>/<model>/{part}\"\)"):
        store.sample(tree, wanted)
    tree.close()


def test_the_source_of_controls_is_looked_for_in_the_run_above(tmp_path):
    tree = store.open_run(write_run(tmp_path, [planted("a.blank", 2, condition="blank")])[0].parent)
    with pytest.raises(AtlasError, match=r"no sample 'a' .* These are its controls; .* in the folder above"):
        store.sample(tree, "a")
    tree.close()


def test_a_sample_is_in_memory_so_that_single_values_can_be_taken_of_it(tmp_path):
    tree = store.open_run(write_run(tmp_path, [planted("a", 2)])[0].parent)
    one = store.sample(tree, "a")
    tree.close()
    assert not any(values.chunks for values in one.data_vars.values())
    assert one["attention"].isel(step=0, layer=0, head=0, row=0, col=0).item() == pytest.approx(0.4)


def test_the_public_functions_are_listed():
    import attention_atlas

    assert {"open", "sample"} <= set(dir(attention_atlas))


@pytest.mark.parametrize(
    ("samples", "chunk", "most", "expected"),
    [(10, 3, 160, 9), (10, 3, 64, 3), (10, 3, 1, 3), (10, 1, 48, 3), (1, 1, 160, 10)],  # 16 bytes a sample
)
def test_samples_are_written_by_whole_chunks(monkeypatch, samples, chunk, most, expected):
    monkeypatch.setattr(store, "WRITE_BYTES", most)
    values = xr.DataArray(np.zeros((samples, 4), dtype=np.float32))
    assert store.samples_at_once(values, [chunk, 4]) == expected


def test_the_bytes_are_those_of_the_values_wherever_they_come_from(tmp_path):
    whole = node([planted(f"s{number}", 2) for number in range(7)])
    parts = whole.chunk({"sample": 3})
    for name, dataset in {"memory": whole, "parts": parts}.items():
        store.write_shard(tmp_path / f"{name}.nc", {GRID: dataset})
    assert (tmp_path / "memory.nc").read_bytes() == (tmp_path / "parts.nc").read_bytes()
