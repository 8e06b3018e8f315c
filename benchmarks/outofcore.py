"""The analysis of runs of many samples: time and peak memory of each command that reads maps, in fresh processes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from attention_atlas import store
from attention_atlas.cells import cell_edges
from attention_atlas.inputs.study import OBJECT_COLUMNS, SAMPLE_COLUMNS
from common import ROOT, table

SIZES = (1250, 2500, 5000, 10000)
SAMPLES_A_SHARD, QUERIES = 250, 8
STEPS, LAYERS, HEADS, SIDE = 8, 6, 8, 8
PIXELS = 64
TOKENS = ("The", " answer", " is", " 3", ".", " Three", ".", "<|im_end|>")
RUN = Path("results/attention/synthetic/made")
# Runs one command of atlas and tells the peak of its resident set in KiB.
COMMAND = (
    "import sys; from attention_atlas.cli import app; app(sys.argv[1:], standalone_mode=False); "
    "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
)


@dataclass(frozen=True)
class Used:
    """What a command took."""

    seconds: float
    peak: float  # MiB


def softmax_rows(numbers: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Attention rows in fp32: softmax of normal logits, each head of a spread of its own, times its mass."""
    spread = np.exp(numbers.uniform(np.log(0.3), np.log(4), (*shape[1:-1], 1))).astype(np.float32)
    logits = spread * numbers.standard_normal(shape, dtype=np.float32)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mass = numbers.uniform(0.05, 0.9, (*shape[:-1], 1)).astype(np.float32)
    return mass * weights / weights.sum(axis=-1, keepdims=True)


def sample_rows(samples: range) -> pd.DataFrame:
    """What is asked: samples as rows of samples.csv, eight queries an image."""
    rows = [
        {
            "sample_id": f"s{number:05d}",
            "image": f"i{number // QUERIES:05d}.png",
            "query_id": f"q{number % QUERIES}",
            "query_type": "counting",
            "query": f"How many shapes are in the image, asked in way {number % QUERIES}?",
            "expected_answer": "3",
            "condition": "",
            "target_object": "object_0",
            "split": ("select", "evaluate")[number // QUERIES % 2],
        }
        for number in samples
    ]
    return pd.DataFrame(rows, columns=list(SAMPLE_COLUMNS))


def write_study(folder: Path, samples: int) -> None:
    """The study's tables; its pictures are not drawn."""
    folder.mkdir(parents=True)
    asked = sample_rows(range(samples))
    asked.to_csv(folder / "samples.csv", index=False)
    images = asked["image"].unique()
    place = np.random.default_rng(0).integers(0, PIXELS - 20, (len(images), 2))
    objects = [
        dict(zip(OBJECT_COLUMNS, (image, "object_0", "circle", "red", x, y, x + 20, y + 20), strict=True))
        for image, (x, y) in zip(images, place.tolist(), strict=True)
    ]
    pd.DataFrame(objects).to_csv(folder / "objects.csv", index=False)


def node(samples: range) -> "store.xr.Dataset":
    """Made-up maps of samples, as a node of the dataset; answers of four to eight tokens."""
    numbers = np.random.default_rng(samples.start)
    asked, count = sample_rows(samples), len(samples)
    steps = numbers.integers(4, STEPS + 1, count)
    past = np.arange(STEPS) >= steps[:, None]
    maps = softmax_rows(numbers, (count, STEPS, LAYERS, HEADS, SIDE**2))
    maps[past] = np.nan
    vision = maps.sum(axis=-1)
    tokens = np.tile(np.array(TOKENS, dtype=object), (count, 1))
    prompt = (count, SIDE**2 + 20)
    texts = {name: asked[name].to_numpy(dtype=object) for name in ("query", "query_id", "query_type", "image")}
    variables = {
        **texts,
        "attention": maps.reshape(*maps.shape[:-1], SIDE, SIDE),
        "vision_mass": vision,
        "first_token_mass": 0.25 * (1 - vision),
        "prompt_text_mass": 0.75 * (1 - vision),
        "generated_text_mass": 0 * vision,
        "token_id": np.where(past, -1, np.arange(STEPS)),
        "token_text": np.where(past, "", tokens),
        "token_logprob": np.where(past, np.nan, -0.1),
        "next_token_entropy": np.where(past, np.nan, 0.2),
        "num_steps": steps,
        "generated_text": np.array(["".join(TOKENS[:own]) for own in steps], dtype=object),
        "stop_reason": np.full(count, "end_token", dtype=object),
        **{name: np.full(count, "", dtype=object) for name in ("error", "condition")},
        "input_ids": np.ones(prompt),
        "input_token_text": np.full(prompt, "x", dtype=object),
        "is_vision_token": np.broadcast_to(np.arange(prompt[1]) < SIDE**2, prompt),
        "image_sha256": np.full(count, "0" * 64, dtype=object),
        **{f"{name}_{side}": np.full(count, PIXELS) for name in ("image", "processed") for side in ("height", "width")},
        **{f"{side}_edge": np.tile(cell_edges(SIDE, PIXELS), (count, 1)) for side in ("row", "col")},
    }
    attrs = {"model": "made", "num_layers": LAYERS, "num_heads": HEADS, "weights_sha256": "0"}
    return store.as_dataset(variables, asked["sample_id"].tolist(), list(range(LAYERS)), attrs)


def write_run(root: Path, samples: int) -> list[Path]:
    """A study and its run below `root`; returns the shards."""
    write_study(root / "data" / "synthetic", samples)
    shards = []
    for number, start in enumerate(range(0, samples, SAMPLES_A_SHARD)):
        shards.append(root / RUN / f"{number:03d}.nc")
        part = range(start, min(start + SAMPLES_A_SHARD, samples))
        store.write_shard(shards[-1], {store.grid_name(SIDE, SIDE): node(part)})
    store.write_manifest(root / RUN / store.MANIFEST, shards)
    return shards


def commands(root: Path, shards: list[Path]) -> Iterator[tuple[str, list[str]]]:
    """The commands of the analysis that read maps or a row a map, in the order of the workflow."""
    made, study = root / "results/analysis/synthetic/made", root / "data/synthetic"
    maps = [str(shard) for shard in shards]
    names = ("samples", "tokens", "answers", "focus", "mass")
    tables = {name: [f"--{name}", f"{made / name}.parquet"] for name in names}
    steps = ["--maps", f"{made / 'step_maps.nc'}"]
    asked = ["--study", str(study)]
    settings = ["--settings", str(ROOT / "config/config.yaml")]

    def of(*names: str) -> list[str]:
        return [part for name in names for part in tables[name]]

    def to(name: str) -> list[str]:
        return ["--output", str(made / name)]

    yield "transcript", [*of("samples", "tokens"), *maps]
    yield "answers", [*asked, *of("samples", "tokens"), *settings, *to("answers.parquet")]
    yield "focus", [*to("focus.parquet"), *maps]
    yield "mass", [*to("mass.parquet"), *maps]
    yield "step-maps", [*of("samples", "answers"), *settings, *to("step_maps.nc"), *maps]
    yield "summary-tables", [*of(*names), "--manifest", str(root / RUN / store.MANIFEST), *settings, *to("summaries")]
    yield "ground", [*steps, *asked, *settings, *to("grounding_scores.parquet")]
    yield "conditions", [*steps, *asked, *settings, *to("condition_scores.parquet")]
    outputs = {"heads": "heads.json", "table": "heads.parquet", "scores": "head_auroc.parquet"}
    yield "heads", [*steps, *asked, *settings, *[p for o, f in outputs.items() for p in (f"--{o}", str(made / f))]]
    shown = ["--table1", str(made / "summaries/table1.parquet"), "--grounding", str(made / "grounding_scores.parquet")]
    yield "selected-maps", [*asked, *of("samples", "answers"), *shown, *settings, *to("selected_maps.nc"), *maps]


def used(arguments: list[str]) -> Used:
    """Time and peak memory of one command, in a process of its own."""
    environment = {**os.environ, "ATLAS_LOG_LEVEL": "warning"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        raise RuntimeError(f"{arguments[0]}: {done.stderr[-2000:]}")
    return Used(time.perf_counter() - started, int(done.stdout.split()[-1]) / 1024)


def measure(samples: int) -> dict[str, Used]:
    """What each command takes on a run of so many samples."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        shards = write_run(root, samples)
        return {command: used([command, *arguments]) for command, arguments in commands(root, shards)}


def report(quick: bool) -> str:
    """The tables of time and memory over samples, as Markdown."""
    sizes = [64, 128] if quick else SIZES
    took = {samples: measure(samples) for samples in sizes}
    first, last = min(sizes), max(sizes)
    header = ["command", *(f"{samples:,} samples" for samples in sizes)]

    def slope(command: str) -> float:
        return (took[last][command].peak - took[first][command].peak) * 1024 / (last - first)

    memory = [
        [command, *(f"{took[samples][command].peak:.0f} MiB" for samples in sizes), f"{slope(command):.1f} KiB"]
        for command in took[first]
    ]
    times = [[command, *(f"{took[samples][command].seconds:.1f} s" for samples in sizes)] for command in took[first]]
    stored = STEPS * LAYERS * HEADS * SIDE**2 * 4
    return (
        "## Analysis of many samples\n\n"
        f"Made-up maps ({LAYERS} layers, {HEADS} heads, {SIDE} x {SIDE} tokens, four to {STEPS} steps: "
        f"{stored / 1024:.0f} KiB of weights a sample, {stored * last / 2**30:.1f} GiB in all of "
        f"{last:,}), in shards of {SAMPLES_A_SHARD} samples. Each command in a process of its own: peak of its "
        "resident set (VmHWM), libraries included, and wall time. The last column is the memory that one "
        "more sample takes, from the smallest run to the largest: that of what a command makes, no longer of maps.\n\n"
        + table([*header, "a sample"], memory)
        + "\n\n"
        + table(header, times)
    )
