"""How maps are stored: bytes, write and read throughput of formats, and what rounding does to entropies."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import throughput
import xarray as xr
from attention_atlas import store
from attention_atlas.analysis import focus
from common import alternating, spread, table, verdict
from outofcore import softmax_rows

DIMS = store.SCHEMA["attention"].dims
KEEP_BITS, AIM = 15, 1e-4
BITS = (12, 13, 14, 15, 16)
LARGE_LAYERS, LARGE_HEADS = 36, 32
ZLIB = {"zlib": True, "complevel": 1, "shuffle": True}
ZSTD = {level: {"compression": "zstd", "complevel": level, "shuffle": True} for level in (1, 3, 5)}
BLOSC = {level: {**store.COMPRESSION, "complevel": level} for level in (1, 3, 5)}
FORMATS: Mapping[str, tuple[Mapping[str, Any], bool, int | None]] = {
    "zlib 1, netCDF's own chunks": (ZLIB, False, None),
    "zlib 1": (ZLIB, True, None),
    **{f"zstd {level} of netCDF4": (ZSTD[level], True, None) for level in ZSTD},
    **{f"zstd {level}, bits shuffled": (BLOSC[level], True, None) for level in BLOSC},
    f"zlib 1, {KEEP_BITS} bits": (ZLIB, True, KEEP_BITS),
    f"zstd 3 of netCDF4, {KEEP_BITS} bits": (ZSTD[3], True, KEEP_BITS),
    f"zstd 3, bits shuffled, {KEEP_BITS} bits": (BLOSC[3], True, KEEP_BITS),
}


def demo_maps(folder: Path) -> np.ndarray:
    """The weights of one shard of the demo study, extracted."""
    throughput.extract(folder, "000")
    (shard,) = folder.glob("*.nc")
    with xr.open_datatree(shard, engine="netcdf4") as tree:
        return tree["grid_8x8/attention"].values


def large_maps(steps: int, side: int) -> np.ndarray:
    """Made-up weights of one sample of a large model."""
    rows = softmax_rows(np.random.default_rng(0), (1, steps, LARGE_LAYERS, LARGE_HEADS, side**2))
    return rows.reshape(*rows.shape[:-1], side, side)


def write(path: Path, maps: np.ndarray, name: str) -> float:
    """Seconds to write maps in a format."""
    compression, chunked, keep_bits = FORMATS[name]
    chunks = {"chunksizes": store.chunk_shape(maps.shape, maps.itemsize)} if chunked else {}
    encoding = {"attention": {**compression, **chunks, **store.rounded(keep_bits)}}
    dataset = xr.Dataset({"attention": (DIMS, maps)})
    started = time.perf_counter()
    dataset.to_netcdf(path, engine="netcdf4", encoding=encoding)
    return time.perf_counter() - started


def read(path: Path, **place: int) -> float:
    """Seconds to open a file and read all of its maps, or those of one place."""
    started = time.perf_counter()
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        dataset["attention"].isel(place).load()
    return time.perf_counter() - started


def compared(folder: Path, maps: np.ndarray, rounds: int) -> list[list[str]]:
    """Rows of the table of formats for one kind of maps."""
    paths = {name: folder / f"{number}.nc" for number, name in enumerate(FORMATS)}
    megabytes, samples = maps.nbytes / 1e6, len(maps)
    ways: dict[str, Callable[[str], float]] = {
        "write": lambda name: write(paths[name], maps, name),
        "read": lambda name: read(paths[name]),
        "step": lambda name: read(paths[name], sample=samples // 2, step=0),
    }
    took = {
        way: alternating({name: lambda name=name, run=run: run(name) for name in FORMATS}, rounds)
        for way, run in ways.items()
    }
    return [
        [
            name,
            f"{path.stat().st_size / samples / 1024:.1f} KiB",
            f"{path.stat().st_size / maps.nbytes:.3f}",
            *(spread([megabytes / seconds for seconds in took[way][name]], 0) for way in ("write", "read")),
            spread([1000 * seconds for seconds in took["step"][name]], 1),
        ]
        for name, path in paths.items()
    ]


def sink_maps(cells: int, count: int = 2000) -> np.ndarray:
    """Maps of one sink and an even rest, (count, cells): a single rounding error moves their entropy the most."""
    numbers = np.random.default_rng(0)
    sink, mass = numbers.uniform(0.01, 0.99, (count, 1)), numbers.uniform(0.01, 1, (count, 1))
    rest = np.broadcast_to((1 - sink) / (cells - 1), (count, cells - 1))
    return (mass * np.concatenate([sink, rest], axis=1)).astype(np.float32)


def entropy_error(folder: Path, maps: np.ndarray, keep_bits: int) -> float:
    """The largest error in nats of any entropy of maps (..., head, row, col), stored rounded."""
    path = folder / "rounded.nc"
    store.write_tree(path, xr.DataTree(xr.Dataset({"attention": (DIMS, maps)})), keep_bits=keep_bits)
    with xr.open_dataset(path, engine="netcdf4") as rounded:
        before, after = (focus.focus_of_maps(values) for values in (maps, rounded["attention"].values))
    entropies = [key for key in before if key[1] in ("entropy", "entropy_normalised")]
    return max(float(np.nanmax(np.abs(before[key] - after[key]))) for key in entropies)


def rounding(folder: Path, kinds: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Rows of the table of bits kept."""
    errors = {bits: [entropy_error(folder, maps, bits) for maps in kinds.values()] for bits in BITS}
    return [[str(bits), *(f"{error:.1e}" for error in own), verdict(max(own) <= AIM)] for bits, own in errors.items()]


def report(quick: bool) -> str:
    """The tables of formats and of rounding, as Markdown."""
    rounds = 2 if quick else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = {
            "the demo's maps": demo_maps(folder / "demo"),
            "256 tokens, 24 steps": large_maps(2 if quick else 24, 16),
            "1,024 tokens, 6 steps": large_maps(1 if quick else 6, 32),
        }
        header = ["format", "a sample", "of fp32", "write, MB/s", "read, MB/s", "one step of a sample, ms"]
        tables = [f"### {kind}\n\n{table(header, compared(folder, maps, rounds))}" for kind, maps in kinds.items()]
        few = {kind: maps[:4, :6] for kind, maps in kinds.items()}
        few["a sink in 16,384 tokens"] = sink_maps(128**2).reshape(-1, 1, 1, 1, 128, 128)
        kept = table(["bits kept", *few, f"aim ≤ {AIM:.0e}"], rounding(folder, few))
    return (
        "## How maps are stored\n\n"
        "One shard of the demo, and made-up softmax rows of many spreads at a large model's shapes "
        f"({LARGE_LAYERS} layers, {LARGE_HEADS} heads, one sample). MB of fp32 weights a second, one thread, files in "
        f"the page cache; {rounds} rounds in alternation, median (range). Chunks are of at most "
        f"{store.CHUNK_BYTES // 2**20} MiB unless said. `zstd of netCDF4` is without the shuffle filter, which netCDF4 "
        "leaves out under zstd though it is asked for; `bits shuffled` is zstd in Blosc's container, the format in "
        f"use (level {store.COMPRESSION['complevel']}).\n\n"
        + "\n\n".join(tables)
        + "\n\n### Rounding (`capture.keep_bits`)\n\n"
        "The largest error in nats of any entropy: of maps pooled by maximum and by mean, and of single heads. The "
        "last maps are the worst there are, half of their mass on one cell.\n\n" + kept
    )
