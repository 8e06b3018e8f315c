"""Damage: a file that is not what was written is refused by its name, at every placement, by every reader."""

import json
import os
import random
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import typer
import xarray as xr
import yaml
from attention_atlas import files, provenance, readers, seals, store
from attention_atlas.analysis import focus, step_maps
from attention_atlas.analysis.grounding_tables import read_pooled
from attention_atlas.cli.common import logged
from attention_atlas.errors import AtlasError
from attention_atlas.paper.overlay import read_selected
from attention_atlas.paper.style import save
from attention_atlas.provenance import file_sha256
from matplotlib.figure import Figure

from .synthetic import LAYERS, Planted, node, with_map, write_run, write_study

PLACEMENTS = 60
PAGE = 512
ROOT = Path(__file__).parents[1]


def planted(sample_id, steps, **values):
    tokens = [f" w{number}" for number in range(steps - 1)] + ["<|im_end|>"] * (steps > 0)
    return Planted(
        sample_id, f"{sample_id}.png", tokens, 2 + np.arange(steps * LAYERS).reshape(steps, LAYERS), **values
    )


def two_grids():
    large = node([planted(f"large {number}", 4) for number in range(12)], 6, 6)
    return {"grid_6x6": large, "grid_3x5": node([planted("a", 2), planted("b", 0, error="broken")], 3, 5)}


def table():
    rows = 600
    return pd.DataFrame(
        {
            "sample_id": pd.Categorical([f"sample {number // 20}" for number in range(rows)]),
            "map": pd.Categorical(["max", "mean", "head 3"] * (rows // 3)),
            "correction": [f"text {number % 7}" for number in range(rows)],
            "score": pd.Categorical(["auroc"] * rows),
            "layer": np.arange(rows, dtype="int32"),
            "value": np.random.default_rng(0).random(rows),
        }
    )


def nodes_of(path):
    """The values of a netCDF file, as every command reads it."""
    readers.check_netcdf(path)
    with store.open_file(path, cache=False) as tree:
        return {leaf.path: leaf.to_dataset().load() for leaf in tree.leaves}


def of_shards(path):
    return next({leaf.path: leaf.to_dataset().load() for leaf in tree.leaves} for tree in store.each_shard([path]))


def of_step_maps(path):
    with step_maps.reading(path) as (nodes,):
        return {name: dataset.load() for name, dataset in nodes.items()}


def equal(found, expected):
    """Whether all values that were read are those that were written."""
    try:
        if isinstance(expected, pd.DataFrame):
            pd.testing.assert_frame_equal(found, expected)
        else:
            assert found.keys() == expected.keys()
            for name, dataset in expected.items():
                xr.testing.assert_identical(found[name], dataset)
    except AssertionError:
        return False
    return True


def damaged(content, placements):
    """A file's content with a bit flipped, a page of zeros or noise, a byte or the rest lost, at many placements."""
    rng = random.Random(0)
    for place in np.linspace(0, len(content) - 1, placements).astype(int).tolist():
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        page = place // PAGE * PAGE
        size = len(content[page : page + PAGE])
        yield f"bit at {place}", bytes(flipped)
        yield f"zeros at {page}", content[:page] + bytes(size) + content[page + size :]
        yield f"noise at {page}", content[:page] + rng.randbytes(size) + content[page + size :]
        yield f"cut at {place}", content[:place]
        yield f"without a byte at {place}", content[:place] + content[place + 1 :]


def outcome(read, path):
    """What is read of a file, or the sentence by which it is refused."""
    try:
        return read(path), None
    except AtlasError as error:
        return None, str(error)


def refused_or_equal(path, read, placements=PLACEMENTS):
    """Damage a file at many placements; returns how often it was refused, and where other values were read."""
    expected, content = read(path), path.read_bytes()
    refused, silent = 0, []
    for told, other in damaged(content, placements):
        if other == content:
            continue
        path.write_bytes(other)
        found, sentence = outcome(read, path)
        assert sentence is None or (str(path) in sentence and "\n" not in sentence), (told, sentence)
        refused += sentence is not None
        silent += [] if sentence or equal(found, expected) else [told]
    path.write_bytes(content)
    assert equal(read(path), expected)
    return refused, silent


NETCDF_READERS = {"shard": of_shards, "step_maps": of_step_maps, "selected_maps": nodes_of}
PARQUET_READERS = {"whole": readers.read_parquet, "pooled": read_pooled}


@pytest.mark.parametrize("folder", ["elsewhere", "results/attention/planted/tiny"])
@pytest.mark.parametrize("reader", NETCDF_READERS)
def test_no_damage_of_netcdf_is_read_in_silence(tmp_path, folder, reader):
    path = tmp_path / folder / "000.nc"
    store.write_shard(path, two_grids())
    refused, silent = refused_or_equal(path, NETCDF_READERS[reader])
    assert silent == []
    assert refused > 4 * PLACEMENTS


@pytest.mark.parametrize("folder", ["elsewhere", "results/analysis/planted/tiny"])
@pytest.mark.parametrize("reader", PARQUET_READERS)
def test_no_damage_of_parquet_is_read_in_silence(tmp_path, folder, reader):
    path = tmp_path / folder / "table.parquet"
    store.write_table(table(), path)
    refused, silent = refused_or_equal(path, PARQUET_READERS[reader])
    assert silent == []
    assert refused > 4 * PLACEMENTS


def test_what_no_command_reads_is_checked_by_the_libraries_of_others(tmp_path):
    """Every variable has checksums of its own, and every page: h5py, R or Julia know nothing of a seal."""
    store.write_shard(tmp_path / "a.nc", two_grids())
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        variables = [variable for group in file.groups.values() for variable in group.variables.values()]
        assert len(variables) > 60
        assert [variable.name for variable in variables if not variable.filters()["fletcher32"]] == []
    store.write_table(table(), tmp_path / "a.parquet")
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    start = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(4).data_page_offset
    content[start + 200] ^= 1
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(OSError, match="could not verify page integrity"):
        pq.read_table(tmp_path / "a.parquet", page_checksum_verification=True)


@pytest.mark.parametrize("content", [b"", b"x", b"PAR1", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" * 999, bytes(5000)])
@pytest.mark.parametrize(
    "read",
    [*NETCDF_READERS.values(), *PARQUET_READERS.values(), lambda path: read_selected(path, "gallery", path.parent)],
)
def test_a_file_of_another_kind_is_refused_in_one_sentence(tmp_path, content, read):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(AtlasError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert f"rm {path}" in str(caught.value)


@pytest.mark.parametrize("read", [*NETCDF_READERS.values(), *PARQUET_READERS.values()])
def test_a_folder_and_a_missing_file_are_refused_in_one_sentence(tmp_path, read):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(AtlasError, match=f"^{path}"):
            read(path)


def test_a_seal_is_that_of_the_bytes_and_the_same_for_the_same_values(tmp_path):
    for name in ("a", "b"):
        store.write_shard(tmp_path / f"{name}.nc", two_grids())
        store.write_table(table(), tmp_path / f"{name}.parquet")
    for kind in ("nc", "parquet"):
        content = (tmp_path / f"a.{kind}").read_bytes()
        assert content == (tmp_path / f"b.{kind}").read_bytes()
        place = content.rindex(b"atlas-sha256:") + len("atlas-sha256:")
        (tmp_path / "blank").write_bytes(content[:place] + 64 * b"0" + content[place + 64 :])
        assert content[place : place + 64].decode() == file_sha256(tmp_path / "blank")
        assert seals.is_whole(tmp_path / f"a.{kind}")


def test_chunks_lie_where_they_lie_whatever_was_read_before(tmp_path):
    """The netCDF library's chunk cache is a setting of the process, which reading a kept batch changes."""
    rng = np.random.default_rng(0)
    large = {}
    for rows in (16, 32):
        dataset = node([planted(f"{rows}-{number}", 6) for number in range(40)], rows, 32)
        noise = dataset["attention"].copy(data=rng.random(dataset["attention"].shape, dtype="float32"))
        large[f"grid_{rows}x32"] = dataset.assign(attention=noise, value_weighted_attention=noise)
    before = netCDF4.get_chunk_cache()
    for size in (2**26, store.CHUNK_BYTES, 2**16):
        netCDF4.set_chunk_cache(size)
        store.write_shard(tmp_path / f"{size}.nc", large)
    netCDF4.set_chunk_cache(*before)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.drop(columns=["score", "value"]), "it has no column 'score', it has no column 'value'"),
        (lambda table: table.assign(value="x"), "its column 'value' is of str"),
        (lambda table: table.assign(score=1), "its column 'score' is of int64"),
    ],
)
def test_a_whole_table_of_another_kind_is_refused_in_one_sentence(tmp_path, change, told):
    path = tmp_path / "table.parquet"
    store.write_table(change(table()), path)
    with pytest.raises(AtlasError, match=rf"^{path} is not the table that is wanted: {told}\. .*rm {path}$"):
        read_pooled(path)


def test_a_table_without_rows_may_be_of_any_types(tmp_path):
    store.write_table(table().iloc[:0].astype(object), tmp_path / "table.parquet")
    assert len(readers.read_parquet(tmp_path / "table.parquet", ["map"], ["layer", "value"])) == 0


def test_whole_maps_of_another_kind_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "maps.nc"
    store.write_tree(path, xr.DataTree.from_dict({"/gallery/0": xr.Dataset({"map": ("row", [1.0])})}))
    with pytest.raises(AtlasError, match=rf"^{path}, group /gallery/0, breaks the dataset contract:"):
        of_shards(path)
    with pytest.raises(AtlasError, match=rf"^{path} does not hold step maps: group /gallery/0 has no "):
        of_step_maps(path)
    with pytest.raises(AtlasError, match=rf"^{path} does not hold selected maps: '0' has no entropy\. "):
        read_selected(path, "gallery", tmp_path)


# Runs and their manifests


@pytest.fixture
def run(tmp_path):
    """The folder of a run of two shards."""
    return write_run(tmp_path, [planted(name, 2) for name in "abcd"])[0].parent


def flip(path, place=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(content)


def test_a_manifest_does_not_sign_a_shard_that_changed_since_it_was_written(run):
    before = (run / "manifest.json").read_bytes()
    flip(run / "001.nc")
    with pytest.raises(AtlasError, match=rf"{run}/001\.nc: not what the job that made it wrote"):
        store.write_manifest(run / "manifest.json", [run / "000.nc", run / "001.nc"])
    assert (run / "manifest.json").read_bytes() == before


def test_a_manifest_does_not_sign_a_whole_shard_of_another_run(run, tmp_path):
    other = write_run(tmp_path / "other", [planted("e", 2)], shards=1)[0]
    (run / "001.nc").write_bytes(other.read_bytes())
    with pytest.raises(AtlasError, match=r"001\.nc: not what the job"):
        store.write_manifest(run / "manifest.json", [run / "000.nc", run / "001.nc"])


def test_a_manifest_does_not_sign_a_damaged_shard_of_which_no_record_is_kept(run):
    for record in run.parents[2].rglob("*.sha256"):
        record.unlink()
    store.write_manifest(run / "manifest.json", [run / "000.nc", run / "001.nc"])
    flip(run / "001.nc")
    with pytest.raises(AtlasError, match=rf"{run}/001\.nc: cannot be read as a netCDF file; it is damaged"):
        store.write_manifest(run / "manifest.json", [run / "000.nc", run / "001.nc"])


def test_a_run_with_a_damaged_shard_is_not_opened(run):
    flip(run / "001.nc")
    with pytest.raises(AtlasError, match=rf"001\.nc.*rm {run}/001\.nc"):
        store.open_run(run)


def test_a_run_is_hashed_once_for_each_state_of_its_files(run, monkeypatch):
    monkeypatch.setattr(provenance, "LATELY_NS", 0)
    project = run.parents[3]
    (project / "Snakefile").touch()
    read = []
    hashed = provenance.file_sha256
    monkeypatch.setattr(provenance, "file_sha256", lambda path: read.append(path.name) or hashed(path))
    store.open_run(run).close()
    store.open_run(run).close()
    assert sorted(name for name in read if name.endswith(".nc")) == ["000.nc", "001.nc"]
    flip(run / "001.nc")
    with pytest.raises(AtlasError, match=r"001\.nc"):
        store.open_run(run)


def test_no_damage_of_a_manifest_is_read_in_silence(run):
    path = run / "manifest.json"
    for record in run.parents[2].rglob("*.sha256"):
        record.unlink()
    expected, content = store.manifest_of(path), path.read_bytes()
    for place in range(len(content)):
        flip(path, place)
        found, sentence = outcome(store.manifest_of, path)
        if sentence is None:  # blanks, and the name of the hash
            assert all(found[name] == value for name, value in expected.items() if name != "sha256")
        else:
            assert str(path) in sentence
        path.write_bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", "7", "{}", '{"shards": []}', '{"shards": {}}', "[" * 100_000, '"\ud800"'),
        *('{"shards": {"000.nc": 1}, "num_layers": 3}', '{"shards": {"../a.nc": "HASH"}, "num_layers": 3}'),
        *('{"shards": {"000.nc": "HASH"}}', '{"shards": {"000.nc": "HASH"}, "num_layers": "3"}'),
    ],
)
def test_a_manifest_of_another_shape_is_refused_in_one_sentence(run, content):
    path = run / "manifest.json"
    path.write_bytes(content.replace("HASH", "0" * 64).encode("utf-8", "surrogatepass"))
    for record in run.parents[2].rglob("manifest.json.sha256"):
        record.unlink()
    with pytest.raises(AtlasError, match=rf"^{path}.*rm {path}"):
        store.open_run(run)


def test_a_manifest_that_is_bytes_or_a_folder_is_refused(run):
    path = run / "manifest.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AtlasError, match=rf"^{path}"):
        store.open_run(run)
    path.unlink()
    path.mkdir()
    with pytest.raises(AtlasError, match=rf"^{path}"):
        store.open_run(run)


def test_damaged_answers_are_told_when_a_run_is_opened(run):
    answers = store.answers_path(run)
    answers.parent.mkdir(parents=True)
    answers.write_bytes(b"")
    with pytest.raises(AtlasError, match=rf"{answers}: cannot be read as a parquet table"):
        store.open_run(run)


# What maps must sum to


def shard_of(path, change):
    dataset = node([planted("a", 3), planted("b", 2)])
    change(dataset)
    store.write_shard(path, {"grid_4x4": dataset})
    return path


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -0.3])
@pytest.mark.parametrize("name", store.MASS_VARIABLES)
def test_masses_that_do_not_sum_to_one_are_refused_by_their_place(tmp_path, name, value):
    def change(dataset):
        dataset[name][1, 1, 2, 0] = value

    path = shard_of(tmp_path / "a.nc", change)
    with pytest.raises(AtlasError, match=rf"{path}: sample 'b', step 1, layer 2, head 0: the masses sum to"):
        list(store.each_shard([path]))


def test_a_mass_past_the_last_step_is_refused(tmp_path):
    def change(dataset):
        for name in store.MASS_VARIABLES:
            dataset[name][1, 2] = 0.25

    path = shard_of(tmp_path / "a.nc", change)
    with pytest.raises(AtlasError, match=rf"{path}: sample 'b', step 2, .* where the contract says NaN"):
        list(store.each_shard([path]))


def test_a_row_that_the_model_made_of_nan_is_no_damage(tmp_path):
    def change(dataset):
        for name in ("attention", *store.MASS_VARIABLES):
            dataset[name][1, 1, 0] = np.nan

    assert len(list(store.each_shard([shard_of(tmp_path / "a.nc", change)]))) == 1


def test_the_other_images_have_their_share_of_the_mass(tmp_path):
    def change(dataset):
        dataset["other_images_mass"] = dataset["first_token_mass"].copy()
        dataset["first_token_mass"] = 0 * dataset["first_token_mass"]

    assert len(list(store.each_shard([shard_of(tmp_path / "a.nc", change)]))) == 1


@pytest.mark.parametrize("value", [0.9, np.nan])
@pytest.mark.parametrize(
    "analyse",
    [
        lambda tree: focus.focus_table(tree),
        lambda tree: step_maps.step_maps(tree, pd.DataFrame({"sample_id": ["a", "b"], "step": [1, 1]})),
    ],
)
def test_a_map_that_does_not_sum_to_its_mass_is_refused_where_it_is_read(analyse, value):
    dataset = node([planted("a", 3), planted("b", 2)])
    whole = xr.DataTree.from_dict({"/grid_4x4": dataset})
    analyse(whole)
    dataset["attention"][1, 1, 2, 0, 3, 3] = value
    with pytest.raises(AtlasError, match=r"sample 'b'.* layer 2, head 0: the weights sum to"):
        analyse(xr.DataTree.from_dict({"/grid_4x4": dataset}))


def test_rounded_weights_sum_to_their_mass_up_to_their_rounding(tmp_path):
    maps = np.full((2, 4, 4), 1 / 19, dtype="float32")
    dataset = with_map(node([planted("a", 2)]), "a", 1, 0, maps)
    store.write_shard(tmp_path / "a.nc", {"grid_4x4": dataset}, keep_bits=5)
    with store.open_file(tmp_path / "a.nc") as tree:
        found = tree["grid_4x4/attention"][0, 1, 0, 0].values.sum()
        assert abs(found - 16 / 19) > readers.MASS_TOLERANCE
        focus.focus_table(tree)


# Results and their records


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a table and a figure, which is the folder of the process."""
    monkeypatch.chdir(tmp_path)
    files.write_text(Path("results/paper/tables/s/m/table1.csv"), "query_id,n\nq0,3\n")
    figure = Figure()
    figure.subplots().plot([1, 2])
    save(figure, Path("results/paper/figures/s/m/power.pdf"), Path("results/paper/figures/s/m/power.png"), 50)
    store.write_table(table(), Path("results/analysis/s/m/table1.parquet"))
    files.write_json(Path("results/summary.json"), {"s": {}})
    files.write_json(Path("results/metrics.json"), {"s": {}})
    return tmp_path


def test_records_are_those_of_sha256sum(project):
    records = sorted(Path("results/written").rglob("*.sha256"))
    assert len(records) == 6
    told = "".join(record.read_text() for record in records)
    done = subprocess.run(["sha256sum", "--check", "--strict"], input=told, text=True, capture_output=True, check=True)
    assert done.stdout.count(": OK") == 6


@pytest.mark.parametrize(
    "name",
    [
        *("paper/tables/s/m/table1.csv", "paper/figures/s/m/power.pdf", "paper/figures/s/m/power.png"),
        *("analysis/s/m/table1.parquet", "summary.json", "metrics.json"),
    ],
)
@pytest.mark.parametrize("change", [b"", b"garbage", None])
def test_a_result_that_is_not_what_its_job_wrote_is_refused_by_name(project, name, change):
    files.refuse_changed_results()
    path = Path("results", name)
    path.write_bytes(path.read_bytes() + b"\n" if change is None else change)
    with pytest.raises(AtlasError, match=rf"^results/{name}: not what the job .* rm results/{name}$"):
        files.refuse_changed_results()
    path.unlink()  # the cure: it is made again
    files.refuse_changed_results()


def test_all_that_dvc_keeps_of_a_run_is_compared_with_its_record():
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["atlas"]
    paths = [Path(path) for out in [*stage["outs"], *stage["metrics"]] for path in out]
    kept = {path.parts[1] for path in paths if path.parts[0] == "results"}
    assert kept == {*files.MADE, files.WRITTEN}


def test_a_result_that_is_written_again_is_what_its_job_wrote(project):
    files.write_text(Path("results/paper/tables/s/m/table1.csv"), "query_id,n\nq0,4\n")
    files.refuse_changed_results()


def test_an_unknown_result_and_one_that_was_touched_are_not_refused(project):
    Path("results/paper/tables/s/m/other.csv").write_text("x")
    os.utime("results/summary.json", ns=(1, 1))
    files.refuse_changed_results()


def test_a_damaged_record_is_refused_with_the_command_that_removes_it_and_its_result(project):
    Path("results/written/summary.json.sha256").write_bytes(b"\0")
    with pytest.raises(AtlasError, match="the record of a result's hash, is damaged") as told:
        files.refuse_changed_results()
    command = str(told.value).split(": ")[-1]
    assert command == "rm results/written/summary.json.sha256 results/summary.json"
    subprocess.run(command, shell=True, check=True)
    files.refuse_changed_results()


@pytest.mark.parametrize(
    ("path", "record"),
    [
        ("results/paper/tables/t.csv", "results/written/paper/tables/t.csv.sha256"),
        ("results/p/results/analysis/a.nc", "results/p/results/written/analysis/a.nc.sha256"),
        ("results/p/scratch/analysis/a.nc", None),
        ("results/written/analysis/a.nc.sha256", None),
        (".snakemake/storage/s3/bucket/results/analysis/a.nc", None),
        ("data/shapes/samples.csv", None),
    ],
)
def test_results_alone_have_records(tmp_path, path, record):
    assert files.record_of(tmp_path / path) == (record and tmp_path / record)


# A disk without room


@contextmanager
def no_room(size):
    """Files may not grow beyond a size, which libraries meet as they do a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noise():
    figure = Figure()
    figure.subplots().imshow(np.random.default_rng(0).random((300, 300)))
    return figure


WRITERS = {
    "a.nc": lambda path: store.write_shard(path, two_grids()),
    "a.parquet": lambda path: store.write_table(table(), path),
    "b.parquet": lambda path: store.write_parts(iter([table(), table()]), path),
    "a.json": lambda path: files.write_json(path, "x" * 100_000),
    "a.csv": lambda path: files.write_text(path, "x" * 100_000),
    "a.pdf": lambda path: save(noise(), path, path.with_suffix(".png"), 300),
}


@pytest.mark.parametrize("size", [0, 1000, 5000])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_by_the_file_and_the_room_there_is(tmp_path, name, size):
    path = tmp_path / name
    path.write_bytes(b"old")
    with no_room(size), pytest.raises(AtlasError, match=rf"^{path} cannot be written: .*MiB free of .*Make room"):
        WRITERS[name](path)
    assert [other.name for other in tmp_path.iterdir()] == [name], "nothing half-written is left"
    assert path.read_bytes() == b"old"


def test_a_mistake_while_writing_is_not_taken_for_a_full_disk(tmp_path):
    def fail(partial):
        partial.touch()
        raise KeyError

    with no_room(0), pytest.raises(KeyError), files.replacing(tmp_path / "a") as partial:
        fail(partial)


def test_a_full_disk_is_told_once_where_a_log_lies_on_it(capsys):
    with logged(Path("/dev/full")) as logger:
        logger.info("one")
        logger.info("two")
    told = capsys.readouterr().err
    assert told.count("Warning: the log /dev/full cannot be written: its disk is full") == 1
    assert "Traceback" not in told


def test_a_full_disk_of_a_file_that_no_writer_of_ours_wrote_ends_a_command_in_one_sentence(tmp_path, capsys):
    with pytest.raises(typer.Exit), logged(None), no_room(0):
        (tmp_path / "a").write_bytes(b"x")
    assert "a file cannot be written: it is larger than files may be here" in capsys.readouterr().err


def test_damage_that_is_met_while_reading_ends_a_command_in_one_sentence(capsys):
    with pytest.raises(typer.Exit), logged(None):
        raise RuntimeError("NetCDF: HDF error")
    assert "a netCDF file that this command reads is damaged" in capsys.readouterr().err


def test_a_command_that_reads_a_damaged_shard_ends_in_one_sentence(run, tmp_path):
    write_study(tmp_path, [planted(name, 2) for name in "abcd"])
    flip(run / "000.nc")
    command = [sys.executable, "-c", "from attention_atlas.cli import app; app()", "focus", "--output", "f.parquet"]
    done = subprocess.run(
        [*command, str(run / "000.nc"), str(run / "001.nc")], cwd=tmp_path, text=True, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {run}/000.nc: not what the job that made it wrote")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "f.parquet").exists()


def test_json_that_is_written_is_read(tmp_path):
    files.write_json(tmp_path / "a.json", {"ü": [1, None]}, sort_keys=True)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ü": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", float("nan"))
