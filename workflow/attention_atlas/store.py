"""The attention dataset: its schema, and how shards are written, checked, opened and read.

A shard is a netCDF-4 file with one group per token grid ("/grid_8x8"); a run is the shards that its manifest lists.
Everything that a variable means is in SCHEMA, which the files carry as attributes.
"""

import re
import shlex
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import netCDF4
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr

from attention_atlas.config import Condition
from attention_atlas.errors import AtlasError, nearest
from attention_atlas.files import changed, hashes_of, is_as_written, read_json, recorded, replacing, write_json
from attention_atlas.provenance import file_sha256, text_sha256
from attention_atlas.readers import (
    KEPT_BITS,
    MASS_TOLERANCE,
    check_netcdf,
    cure,
    open_netcdf,
    read_parquet,
)
from attention_atlas.seals import BLANK, append_seal, seal

SCHEMA_VERSION = "1"
ROW_CONVENTION = (
    "Predicting rows: step s holds the attention of the position that predicts generated token s "
    "(step 0 = last prompt position of the prefill, step s >= 1 = position of token s - 1)."
)
MANIFEST = "manifest.json"
# Folders of a run beside its own shards: control conditions, random weights, and what interventions did.
PARTS = ("controls", "random_weights", "interventions")
# zstd on shuffled bits: the size of zlib with shuffle in a fraction of its time (docs/performance.md). In Blosc's
# container, since netCDF4 leaves the shuffle filter out under its own zstd.
COMPRESSION: Mapping[str, Any] = {"compression": "blosc_zstd", "complevel": 3, "blosc_shuffle": 2}
# Bytes of a chunk before compression, at most: what is read at least, however little is wanted.
CHUNK_BYTES = 2**20
# Bytes that are read and written together, about.
WRITE_BYTES = 2**25
# What is smaller is not compressed: the filter complains of what does not shrink.
SMALL_BYTES = 2**12
SHA256 = re.compile("[0-9a-f]{64}")
# The variables that `capture.keep_bits` rounds.
ROUNDED = ("attention", "value_weighted_attention", "attention_all", "attention_prefill")
# Variables with one of these are left on disk until they are written.
LARGE_DIMS = {"row", "col", "key", "query_token"}
STOP_REASONS = ("end_token", "max_new_tokens", "error")


@dataclass(frozen=True)
class Variable:
    """What a variable is: its dims, dtype ("str" = text), meaning, unit, and what stands where there is nothing."""

    dims: tuple[str, ...]
    dtype: str
    long_name: str
    units: str = "1"
    fill: Any = None
    optional: bool = False

    @property
    def padding(self) -> Any:
        """The value of cells past a sample's last step or prompt token."""
        if self.fill is not None:
            return self.fill
        return {"s": "", "f": np.nan, "i": -1}[self.dtype[0]]


HEADS = ("sample", "step", "layer", "head")
STEPS = ("sample", "step")
PROMPT = ("sample", "prompt_token")
SCHEMA: dict[str, Variable] = {
    "attention": Variable(
        (*HEADS, "row", "col"), "float32", "attention weight of the predicting row on each vision token"
    ),
    "vision_mass": Variable(HEADS, "float32", "attention mass on all vision tokens"),
    "first_token_mass": Variable(HEADS, "float32", "attention mass on the first token of the prompt"),
    "prompt_text_mass": Variable(HEADS, "float32", "attention mass on the rest of the prompt's text"),
    "generated_text_mass": Variable(HEADS, "float32", "attention mass on generated tokens"),
    "other_images_mass": Variable(
        HEADS, "float32", "attention mass on the vision tokens of the sample's other images", optional=True
    ),
    "value_weighted_attention": Variable(
        (*HEADS, "row", "col"), "float32", "attention weight times norm of the projected value", optional=True
    ),
    "attention_all": Variable(
        (*HEADS, "key"), "float32", "attention weight on every key: prompt tokens, then generated ones", optional=True
    ),
    "attention_prefill": Variable(
        ("sample", "layer", "head", "query_token", "prompt_token"),
        "float32",
        "attention matrix of the prompt, for the samples chosen",
        optional=True,
    ),
    "hidden_state": Variable(
        ("sample", "layer", "row", "col", "dim"),
        "float32",
        "hidden state of each vision token that enters the layer, before its norm",
        optional=True,
    ),
    "first_token_hidden_state": Variable(
        ("sample", "layer", "dim"),
        "float32",
        "hidden state of the prompt's first token that enters the layer, before its norm",
        optional=True,
    ),
    "token_id": Variable(STEPS, "int32", "generated token id"),
    "token_text": Variable(STEPS, "str", "generated token, decoded alone"),
    "token_logprob": Variable(STEPS, "float32", "log-probability of the generated token", "nat"),
    "next_token_entropy": Variable(STEPS, "float32", "entropy of the next-token distribution", "nat"),
    "num_steps": Variable(("sample",), "int32", "number of generated tokens, the end token included"),
    "generated_text": Variable(("sample",), "str", "generated text without special tokens"),
    "stop_reason": Variable(("sample",), "str", f"why generation ended: {', '.join(STOP_REASONS)}"),
    "error": Variable(("sample",), "str", "reason of a failed sample, empty for the rest"),
    "input_ids": Variable(PROMPT, "int32", "prompt token id"),
    "input_token_text": Variable(PROMPT, "str", "prompt token, decoded alone"),
    "is_vision_token": Variable(PROMPT, "int8", "1 where the prompt token is a vision token", fill=0),
    "query": Variable(("sample",), "str", "text of the query"),
    "query_id": Variable(("sample",), "str", "id of the query"),
    "query_type": Variable(("sample",), "str", "type of the query"),
    "condition": Variable(("sample",), "str", "control condition, empty for the study itself"),
    "image": Variable(("sample",), "str", "image file that the map is on, relative to the study's images"),
    "image_sha256": Variable(("sample",), "str", "SHA-256 of the image file"),
    "image_height": Variable(("sample",), "int32", "height of the original image", "pixel"),
    "image_width": Variable(("sample",), "int32", "width of the original image", "pixel"),
    "processed_height": Variable(("sample",), "int32", "height of the image as the model saw it", "pixel"),
    "processed_width": Variable(("sample",), "int32", "width of the image as the model saw it", "pixel"),
    "row_edge": Variable(("sample", "row_border"), "float64", "borders of token rows in the original image", "pixel"),
    "col_edge": Variable(
        ("sample", "col_border"), "float64", "borders of token columns in the original image", "pixel"
    ),
}
MASS_VARIABLES = ("vision_mass", "first_token_mass", "prompt_text_mass", "generated_text_mass")
OTHERS_MASS = "other_images_mass"
INTEGER_LABELS = ("step", "layer", "head", "row", "col", "prompt_token", "query_token", "key", "dim")
REQUIRED_ATTRIBUTES = ("model", "num_layers", "num_heads", "row_convention", "schema_version")


def grid_name(rows: int, cols: int) -> str:
    """The name of the node of a token grid."""
    return f"grid_{rows}x{cols}"


def node_name(grids: Sequence[tuple[int, int]], image: int) -> str:
    """The path of the node of samples whose images have these grids, for the map on one of them (1 = the first)."""
    if len(grids) == 1:
        return grid_name(*grids[0])
    return "grids_" + "_".join(f"{rows}x{cols}" for rows, cols in grids) + f"/image_{image}"


def as_dataset(variables: Mapping[str, np.ndarray], samples: list[str], layers: list[int], attrs: dict) -> xr.Dataset:
    """A node of the dataset from plain arrays: dims, labels, dtypes and attributes by SCHEMA."""
    data = {
        name: (
            SCHEMA[name].dims,
            as_text(values) if SCHEMA[name].dtype == "str" else np.asarray(values, dtype=SCHEMA[name].dtype),
            {"long_name": SCHEMA[name].long_name, "units": SCHEMA[name].units},
        )
        for name, values in variables.items()
    }
    dataset = xr.Dataset(data, attrs={**attrs, "row_convention": ROW_CONVENTION, "schema_version": SCHEMA_VERSION})
    labels: dict[str, Any] = {dim: np.arange(dataset.sizes[dim]) for dim in INTEGER_LABELS if dim in dataset.sizes}
    labels |= {"sample": np.asarray(samples, dtype=object), "layer": np.asarray(layers)}
    return dataset.assign_coords(labels)


def as_text(values: np.ndarray) -> np.ndarray:
    """Texts as objects, with the replacement character for NUL: netCDF would end the text there."""
    return np.vectorize(lambda text: text.replace("\0", "\ufffd"), otypes=[object])(np.asarray(values, dtype=object))


def validate(dataset: xr.Dataset, where: str = "dataset") -> None:
    """Refuse a node that breaks the contract, listing every breach."""
    problems = [f"variable {name!r} is missing" for name, v in SCHEMA.items() if not v.optional and name not in dataset]
    problems += [f"attribute {name!r} is missing" for name in REQUIRED_ATTRIBUTES if name not in dataset.attrs]
    labelled = [dim for dim in ("sample", *INTEGER_LABELS) if dim in dataset.dims]
    problems += [f"dimension {dim!r} has no labels" for dim in labelled if dim not in dataset.indexes]
    for name, variable in dataset.data_vars.items():
        expected = SCHEMA.get(str(name))
        if expected is None:
            problems.append(f"variable {name!r} is not in the contract.{nearest(str(name), list(SCHEMA))}")
            continue
        if variable.dims != expected.dims:
            problems.append(f"variable {name!r} has dims {variable.dims}, the contract says {expected.dims}")
        if dtype_of(variable) != expected.dtype:
            problems.append(f"variable {name!r} has dtype {dtype_of(variable)}, the contract says {expected.dtype}")
    if not problems:
        problems = broken_values(dataset)
    if problems:
        raise AtlasError(f"{where} breaks the dataset contract:\n  " + "\n  ".join(problems))


def dtype_of(variable: xr.DataArray) -> str:
    """The dtype of a variable as SCHEMA names it."""
    return "str" if variable.dtype.kind in "OUT" else str(variable.dtype)


def broken_values(dataset: xr.Dataset) -> list[str]:
    """What is wrong with a node's values: ids twice, unknown stop reasons, failures without reason or with steps."""
    ids = dataset.indexes["sample"]
    problems = [f"sample {name!r} occurs more than once" for name in ids[ids.duplicated()].unique()]
    unknown = set(dataset["stop_reason"].values.tolist()) - set(STOP_REASONS)
    problems += [f"stop_reason {reason!r} is not one of {', '.join(STOP_REASONS)}" for reason in sorted(unknown)]
    failed = dataset["stop_reason"].values == "error"
    told = dataset["error"].values != ""
    problems += [f"sample {name!r}: stop_reason and error disagree" for name in ids[failed != told]]
    empty = dataset["num_steps"].values == 0
    problems += [f"sample {name!r}: num_steps must be 0 exactly where it failed" for name in ids[failed != empty]]
    return problems


def write_shard(path: Path, nodes: Mapping[str, xr.Dataset], keep_bits: int | None = None) -> None:
    """Write one shard: every node validated, in the order of their names; weights rounded to `keep_bits`, if given."""
    for name, node in nodes.items():
        validate(node, f"{path}, group /{name}")
    tree = xr.DataTree.from_dict({f"/{name}": nodes[name] for name in sorted(nodes)})
    write_tree(path, tree, keep_bits)


def write_tree(path: Path, tree: xr.DataTree, keep_bits: int | None = None) -> None:
    """Write a tree as netCDF: the same bytes for the same values, and never seen half-written.

    What is lazy goes through memory part by part. What variables remember of files that they were read from is dropped:
    a text would be cut to its old width.
    """
    tree = tree.map_over_datasets(lambda dataset: with_large_ones_lazy(dataset.drop_encoding()))
    encoding = {
        node.path: {
            str(name): {**stored(values), **(rounded(keep_bits) if name in ROUNDED else {})}
            for name, values in node.to_dataset(inherit=False).variables.items()
        }
        for node in tree.subtree
    }
    netCDF4.set_chunk_cache(CHUNK_BYTES)  # it decides where chunks lie in the file
    with replacing(path) as partial:
        tree.to_netcdf(partial, engine="netcdf4", encoding=encoding, compute=False)
        write_large(partial, tree)
        append_seal(partial)


def with_small_ones_loaded(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with everything in memory but what has values for each cell or key of a sample."""
    return dataset.assign({name: values.load() for name, values in dataset.data_vars.items() if not is_large(values)})


def with_large_ones_lazy(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with everything in memory but what has values for each cell or key of a sample, which is lazy."""
    lazy = {
        name: values.chunk() for name, values in dataset.data_vars.items() if is_large(values) and not values.chunks
    }
    return with_small_ones_loaded(dataset).assign(lazy)


def is_large(values: xr.DataArray) -> bool:
    """Whether a variable has values for each cell or key of a sample."""
    return bool(LARGE_DIMS & set(values.dims))


def write_large(path: Path, tree: xr.DataTree) -> None:
    """Fill in the large variables of a file, whole chunks at a time in the order of their samples.

    So the bytes are the same wherever the values come from, and in whatever parts; dask's own order varies.
    """
    with netCDF4.Dataset(path, "r+") as file:
        for node in tree.subtree:
            for name, values in node.data_vars.items():
                if is_large(values):
                    target = file[f"{node.path}/{name}"]
                    step = samples_at_once(values, target.chunking())
                    for start in range(0, len(values), step):
                        target[start : start + step] = values[start : start + step].values


def samples_at_once(values: xr.DataArray, chunks: Sequence[int] | str) -> int:
    """A number of samples to write together: whole chunks, of about WRITE_BYTES."""
    whole = 1 if isinstance(chunks, str) else chunks[0]
    room = WRITE_BYTES * len(values) // max(1, values.nbytes)
    return max(1, room // whole) * whole


def stored(values: xr.Variable) -> dict[str, Any]:
    """How a variable is stored: in chunks with checksums, numbers compressed where they are not few."""
    if values.size == 0 or values.ndim == 0:
        return {}  # HDF5 has no chunks of it
    checked = {"chunksizes": chunk_shape(values.shape, values.dtype.itemsize), "fletcher32": True}
    if values.dtype.kind not in "fi" or values.nbytes < SMALL_BYTES:
        return checked
    return {**COMPRESSION, **checked}


def chunk_shape(shape: Sequence[int], itemsize: int, most: int = CHUNK_BYTES) -> tuple[int, ...]:
    """Chunks of at most `most` bytes: the last dims whole as far as they fit, of the next a part, of the others 1.

    So small maps are stored many samples together, large ones step by step or by blocks of layers.
    """
    chunk, room = [], max(1, most // itemsize)
    for size in reversed(shape):
        chunk.append(min(size, room))
        room = room // size if size <= room else 1
    return tuple(reversed(chunk))


def rounded(keep_bits: int | None) -> dict[str, Any]:
    """How a variable is rounded to bits of the mantissa: to the nearest (BitRound; Kloewer et al. 2021); None: not."""
    return {} if keep_bits is None else {"quantize_mode": "BitRound", "significant_digits": keep_bits}


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as parquet, never seen half-written."""
    write_arrow([pa.Table.from_pandas(table, preserve_index=False)], path)


def write_parts(parts: Iterable[pd.DataFrame], path: Path) -> None:
    """Write a table that is given part by part, at least one, as parquet; a part is in memory at a time."""
    write_arrow(map(as_arrow, parts), path)


def write_arrow(parts: Iterable[pa.Table], path: Path) -> None:
    """Write parts of a table as parquet with checksums of its pages and a seal."""
    with replacing(path) as partial:
        with ExitStack() as files:
            writer = None
            for table in parts:
                if writer is None:
                    writer = files.enter_context(pq.ParquetWriter(partial, table.schema, write_page_checksum=True))
                    writer.add_key_value_metadata({"seal": BLANK})
                writer.write_table(table.cast(writer.schema))
        seal(partial)


def as_arrow(table: pd.DataFrame) -> pa.Table:
    """A table whose categories, texts without any missing, are of one type whatever their number."""
    return pa.table(
        {
            name: pa.DictionaryArray.from_arrays(
                pa.array(column.cat.codes, pa.int32()), pa.array(column.cat.categories, pa.string())
            )
            if isinstance(column.dtype, pd.CategoricalDtype)
            else pa.array(column)
            for name, column in table.items()
        }
    )


def write_manifest(path: Path, shards: Iterable[Path]) -> None:
    """List the shards of a run with the hashes that they had when they were written.

    Refuses damaged shards, and files in the folder that are not among them.
    """
    shards = sorted(shards)
    if not shards:
        raise AtlasError(f"{path}: no shards are given; name those of the run, made with snakemake")
    missing = [str(shard) for shard in shards if not shard.is_file()]
    if missing:
        raise AtlasError(f"{', '.join(missing)}: there is no such shard; make it with snakemake before its manifest")
    own = {name.resolve() for name in (*shards, path, *(path.parent / part for part in PARTS))}
    strangers = sorted(name for name in path.parent.glob("[!.]*") if name.resolve() not in own)
    if strangers:
        remove = ["rm", "-r"] if any(name.is_dir() for name in strangers) else ["rm"]
        command = shlex.join([*remove, *map(str, strangers)])
        raise AtlasError(f"no rule makes these files; they would be mistaken for results. Remove them: {command}")
    manifest = {
        **dict(zip(("study", "model", "part"), place_of(path.parent), strict=True)),
        "schema_version": SCHEMA_VERSION,
        **common_attributes(shards, ("num_layers", "num_heads", "weights_sha256")),
        "shards": {shard.name: sha256_as_written(shard) for shard in shards},
    }
    write_json(path, {**manifest, "sha256": text_sha256(manifest)})


def sha256_as_written(shard: Path) -> str:
    """The hash of a shard; refuses one that is not what its job wrote, or whose checksums do not hold."""
    sha256, expected = file_sha256(shard), recorded(shard)
    if expected is None:
        check_netcdf(shard)
    elif sha256 != expected:
        raise AtlasError(changed([shard]))
    return sha256


def place_of(folder: Path) -> tuple[str, str, str]:
    """Study, model and part (empty for the study's own samples) of a folder results/attention/<study>/<model>."""
    folder = folder.absolute()
    part = folder.name if folder.name in PARTS else ""
    run = folder.parent if part else folder
    return run.parent.name, run.name, part


def manifest_of(path: Path) -> dict[str, Any]:
    """The content of a run's manifest; refuses one that is damaged."""
    if not path.exists():
        raise AtlasError(f"{path} is not there: is this a run? Make it with `snakemake --cores all` or `dvc pull`.")
    manifest = read_json(path, cure(path))
    is_as_written(path)
    content = dict(manifest) if isinstance(manifest, dict) else {}
    sha256 = content.pop("sha256", None)
    shards = content.get("shards")
    if not isinstance(shards, dict) or not shards or not all(map(is_shard, shards.items())):
        raise AtlasError(f"{path} is not a manifest: it lists no shards with their hashes. {cure(path)}")
    if not isinstance(content.get("num_layers"), int):
        raise AtlasError(f"{path} is not a manifest: it does not tell the number of layers, num_layers. {cure(path)}")
    if sha256 is not None and sha256 != text_sha256(content):
        raise AtlasError(f"{path} is damaged: it is not what was written. {cure(path)}")
    return manifest


def is_shard(entry: tuple[str, Any]) -> bool:
    """Whether an entry of a manifest is a file of its folder with a hash."""
    name, sha256 = entry
    return name == Path(name).name and isinstance(sha256, str) and SHA256.fullmatch(sha256) is not None


def common_attributes(shards: Iterable[Path], names: Iterable[str]) -> dict[str, Any]:
    """Attributes that all nodes of all shards must share; refuses shards of different models."""
    found: dict[str, set[Any]] = {name: set() for name in names}
    for path in shards:
        with open_file(path) as tree:
            for name, values in found.items():
                values |= {getattr(node.attrs[name], "item", lambda v=node.attrs[name]: v)() for node in tree.leaves}
    differing = [name for name, values in found.items() if len(values) > 1]
    if differing:
        raise AtlasError(
            f"the shards differ in {', '.join(differing)}: they are of different models. Remove them and run again"
        )
    return {name: values.pop() for name, values in found.items()}


def open_file(path: Path, **options: Any) -> xr.DataTree:
    """One file as a tree, by options of xarray; the netCDF library is to hold a chunk of each variable.

    By default it holds 64 MB of each variable of each open file, most of a run.
    """
    netCDF4.set_chunk_cache(CHUNK_BYTES)
    return open_netcdf(path, **options)


def lazy_nodes(path: Path, files: ExitStack) -> dict[str, xr.Dataset]:
    """The nodes of one shard, its large variables lazy while `files` is open, the others in memory."""
    tree = files.enter_context(open_file(path, chunks={}))
    return {leaf.path.lstrip("/"): with_small_ones_loaded(leaf.to_dataset()) for leaf in tree.leaves}


def open_shards(paths: Iterable[Path]) -> xr.DataTree:
    """The shards as one tree, lazily: samples in the order of the shards, padded to common steps and prompt tokens.

    Closing the tree closes its files. Left to the garbage collector, a file that is opened again meanwhile can crash
    the netCDF library.
    """
    shards = [open_file(path, chunks={}) for path in paths]
    nodes: dict[str, list[xr.Dataset]] = {}
    for shard in shards:
        for leaf in shard.leaves:
            nodes.setdefault(leaf.path, []).append(leaf.to_dataset())
    tree = xr.DataTree.from_dict({name: joined(parts) for name, parts in sorted(nodes.items())})

    def close() -> None:
        for shard in shards:
            shard.close()

    tree.set_close(close)
    return tree


def each_shard(paths: Iterable[Path]) -> Iterator[xr.DataTree]:
    """The shards one after the other, lazily, each closed before the next is opened: memory is that of one.

    Not beside a tree of the same files that is still open: closing one of two makes the netCDF library crash.
    """
    for path in paths:
        check_netcdf(path)
        with open_file(path, cache=False) as tree:
            for leaf in tree.leaves:
                validate(leaf.to_dataset(), f"{path}, group {leaf.path},")
            check_masses(tree, path)
            yield tree


def check_masses(tree: xr.DataTree, path: Path) -> None:
    """Refuse maps whose masses do not sum to 1 at each generated token, or are there past a sample's last one.

    A row that the model made of NaN has no mass at all.
    """
    for node in (leaf.to_dataset() for leaf in tree.leaves):
        masses = [node[name].values.astype("float64") for name in (*MASS_VARIABLES, OTHERS_MASS) if name in node]
        total, unknown = np.sum(masses, axis=0), np.isnan(masses)
        exists = (node["step"].values < node["num_steps"].values[:, None])[..., None, None]
        wrong = np.where(exists, np.abs(total - 1) > MASS_TOLERANCE, ~unknown.all(axis=0))
        wrong |= unknown.any(axis=0) & ~unknown.all(axis=0)
        if wrong.any():
            sample, step, layer, head = place = tuple(np.argwhere(wrong)[0])
            name, where = str(node["sample"].values[sample]), node["layer"].values[layer]
            raise AtlasError(
                f"{path}: sample {name!r}, step {step}, layer {where}, head {head}: the masses sum to "
                f"{total[place]:.4f}, where the contract says {1 if exists[sample, step, 0, 0] else 'NaN'}. "
                f"The shard is damaged: remove it and run again: {shlex.join(['rm', str(path)])}"
            )


def joined(parts: list[xr.Dataset]) -> xr.Dataset:
    """Nodes of one grid, one after the other."""
    # Typed, since a shard without any step would else be padded with float64 and int64.
    padding = {
        name: variable.padding if variable.dtype == "str" else np.dtype(variable.dtype).type(variable.padding)
        for name, variable in SCHEMA.items()
    }
    dataset = xr.concat(
        parts,
        dim="sample",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        fill_value=padding,
        combine_attrs="drop_conflicts",
    )
    for name, variable in dataset.data_vars.items():
        told = {KEPT_BITS: variable.attrs[KEPT_BITS]} if KEPT_BITS in variable.attrs else {}
        variable.attrs = {"long_name": SCHEMA[str(name)].long_name, "units": SCHEMA[str(name)].units, **told}
    return dataset


def open_run(folder: str | Path) -> xr.DataTree:
    """A run (results/attention/<study>/<model>) as one lazy tree of labelled arrays, one node per token grid.

    Only the shards of its manifest are read; before there is one, while the run is being made, those that are there,
    with a warning. Where the run's answers table exists, `is_answer` (sample, step) and `correct` (sample) are joined
    as coordinates.
    """
    folder = Path(folder)
    names = shards_of(folder)
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise AtlasError(
            f"{folder} lacks {', '.join(missing)} of its manifest. Fetch or make them: dvc pull, or snakemake."
        )
    hashes = hashes_of([folder / name for name in names])
    damaged = [name for name, sha256 in names.items() if sha256 not in (None, hashes[folder / name])]
    if damaged:
        raise AtlasError(
            f"{folder}: {', '.join(damaged)} not as the manifest says: damaged, or of another run. Remove and fetch or "
            f"make again (dvc pull, or snakemake): {shlex.join(['rm', *(str(folder / name) for name in damaged)])}"
        )
    tree = open_shards(folder / name for name in names)
    answers = answers_path(folder)
    if not answers.exists():
        return tree
    return with_answers(tree, read_parquet(answers, ["sample_id"], ["answer_step", "answer_last_step", "correct"]))


def shards_of(folder: Path) -> dict[str, str | None]:
    """Return a run's shards with their hashes by its manifest; while it has none, those there, with a warning."""
    there = sorted(path.name for path in folder.glob("[!.]*.nc"))
    if (folder / MANIFEST).exists() or not there:
        return dict(manifest_of(folder / MANIFEST)["shards"])
    warnings.warn(
        f"{folder} has no {MANIFEST} yet: the {len(there)} shard(s) that are there are opened. Whether others are to "
        "come, and whether these belong together, cannot be checked; snakemake writes the manifest last",
        stacklevel=3,
    )
    return dict.fromkeys(there)


def answers_path(folder: Path) -> Path:
    """The answers table beside a run: results/analysis/<study>/<model>/answers.parquet."""
    study, model, part = place_of(folder)
    results = folder.absolute().parents[3 if part else 2]
    return results / "analysis" / study / model / part / "answers.parquet"


def with_answers(tree: xr.DataTree, answers: pd.DataFrame) -> xr.DataTree:
    """The tree with the answers joined: `is_answer` marks the steps of the answer span, `correct` is 1, 0 or -1."""
    by_sample = answers.set_index("sample_id")

    def join(node: xr.Dataset) -> xr.Dataset:
        if "sample" not in node.dims:
            return node
        rows = by_sample.reindex(node.indexes["sample"])
        step = node["step"].values[None, :]
        first, last = (rows[name].fillna(-1).to_numpy()[:, None] for name in ("answer_step", "answer_last_step"))
        is_answer = ((step >= first) & (step <= last) & (first >= 0)).astype("int8")
        correct = rows["correct"].fillna(-1).to_numpy().astype("int8")
        return node.assign_coords(is_answer=(STEPS, is_answer), correct=("sample", correct))

    return tree.map_over_datasets(join)


def sample(tree: xr.DataTree, sample_id: str) -> xr.Dataset:
    """One sample's own block of a run, in memory, without padding: attention has dims (step, layer, head, row, col)."""
    for node in tree.leaves:
        if "sample" in node.indexes and sample_id in node.indexes["sample"]:
            dataset = node.to_dataset().sel(sample=sample_id)
            steps, prompt = int(dataset["num_steps"]), int((dataset["input_ids"] >= 0).sum())
            keys = max(0, prompt + steps - 1)  # the last step's row attends to all tokens before the last one
            own = {"step": steps, "prompt_token": prompt, "query_token": prompt, "key": keys}
            block = dataset.isel({dim: slice(size) for dim, size in own.items() if dim in dataset.dims})
            return block.load(scheduler="synchronous")  # the netCDF library crashes under threads
    known = [str(name) for node in tree.leaves if "sample" in node.indexes for name in node.indexes["sample"]]
    hint = other_part(sample_id, known) or nearest(sample_id, known)[:200]
    raise AtlasError(f"no sample {sample_id!r} in this run of {len(known)} samples.{hint}")


def other_part(sample_id: str, known: Sequence[str]) -> str:
    """Where a sample is that another part of the same run holds, as a hint; empty where there is no sign of that."""
    source, _, condition = re.sub(r"\.\d+$", "", sample_id).rpartition(".")
    if condition in get_args(Condition) and source in known:
        part = condition if condition in PARTS else "controls"
        return f' Control conditions are a run of their own: atlas.open("results/attention/<study>/<model>/{part}").'
    if any(name.startswith(f"{sample_id}.") for name in known):
        return " These are its controls; the study's own samples are in the folder above."
    return ""
