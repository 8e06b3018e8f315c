"""The whole extraction of the demo study against the loop that people write, in samples per second and bytes."""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from attention_atlas.attention import extraction as extraction_module
from attention_atlas.attention import generation, models
from attention_atlas.attention.capture import Recorder
from attention_atlas.attention.extraction import extract_shard
from attention_atlas.attention.families import FAMILIES, Family
from attention_atlas.attention.kept_batches import KeptBatches
from attention_atlas.inputs.images import read_image
from attention_atlas.inputs.shards import shards_of
from attention_atlas.inputs.study import read_study
from attention_atlas.store import open_shards
from common import MODEL, STUDY, alternating, ratios, settings_of, spread, table, verdict
from transformers import Qwen3VLForConditionalGeneration

SPEED_AIM, SIZE_AIM = 25, 1 / 10
SHARDS = 4
CORES = os.cpu_count() or 1


@dataclass
class Run:
    """What one way of working took: seconds of work and, not counted, of loading; samples; bytes."""

    seconds: float
    loading: float
    samples: int
    size: int

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self.samples / self.seconds


def extraction(folder: Path, jobs: ProcessPoolExecutor, shards: list[str]) -> Run:
    """Shards of the demo study as the workflow makes them, one single-threaded job a core: images to written files.

    The time is that of the slowest job, its loads of the model left out.
    """
    started = time.perf_counter()
    told = [job.result() for job in [jobs.submit(extract, folder, shard) for shard in shards]]
    of_job: dict[int, float] = {}
    for process, seconds, _ in told:
        of_job[process] = of_job.get(process, 0.0) + seconds
    taken = max(of_job.values())
    size = sum(path.stat().st_size for path in folder.glob("*.nc"))
    return Run(taken, time.perf_counter() - started - taken, sum(samples for *_, samples in told), size)


def extract(folder: Path, shard: str) -> tuple[int, float, int]:
    """One shard: the process that made it, its seconds without loading, and its samples."""
    entry, settings = settings_of(threads=1)
    told = extract_shard(STUDY, shard, SHARDS, MODEL, entry, settings, folder / "scratch", folder / f"{shard}.nc")
    return os.getpid(), told["extraction_s"], told["samples"]


# What an extraction does, by the functions that do it; those further down run within those above.
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "pictures and prompts": ((extraction_module, "prepare"),),
    "prefix": ((generation, "read_images"),),
    "encode": ((Family, "encode"),),  # of the demo model's family
    "prefill and decode": ((generation, "generate"),),
    "capture": ((Recorder, "record"),),
    "write": ((KeptBatches, "wait"), (KeptBatches, "write_shard")),
}
WITHIN = {"prefix": "encode", "prefill and decode": "capture"}


@contextmanager
def timed(spent: Counter[str]) -> Iterator[None]:
    """Add up the seconds of each of PARTS while extractions run inside the block."""
    depth: Counter[str] = Counter()

    def wrapped(part: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            depth[part] += 1  # write_shard waits too: one of them counts
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                depth[part] -= 1
                spent[part] += time.perf_counter() - started if not depth[part] else 0

        return call

    with ExitStack() as patches:
        for part, functions in PARTS.items():
            for owner, name in functions:
                patches.enter_context(mock.patch.object(owner, name, wrapped(part, getattr(owner, name))))
        yield


def where_time_goes(folder: Path, shards: list[str]) -> list[list[str]]:
    """Rows of a table: seconds and share of each part, one job alone, summed over the shards."""
    spent: Counter[str] = Counter()
    with timed(spent):
        total = sum(extract(folder, shard)[1] for shard in shards)
    own = {part: spent[part] - spent[WITHIN.get(part, "")] for part in PARTS}
    own["the rest"] = total - sum(own.values())
    return [[part, f"{seconds:.2f} s", f"{100 * seconds / total:.0f} %"] for part, seconds in own.items()]


class Loop:
    """One sample at a time, eager attention, everything into a .pt file."""

    def __init__(self, samples: int) -> None:
        entry, self.settings = settings_of(threads=1)
        started = time.perf_counter()
        folder = Path(str(entry.path))
        self.processor = models.load_processor(MODEL, FAMILIES["qwen3_vl"], folder)
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.loading = time.perf_counter() - started
        self.side = 32 * entry.grid[0]
        rows = read_study(STUDY, query_types=None, images=()).samples
        self.rows = rows.iloc[np.linspace(0, len(rows) - 1, samples).round()].to_dict("records")

    @torch.inference_mode()
    def __call__(self, folder: Path) -> Run:
        """Answer the samples, spread over the study, and keep their attention."""
        started = time.perf_counter()
        for row in self.rows:
            image = read_image(STUDY / "images" / row["image"]).resize((self.side, self.side))
            content = [{"type": "image", "image": image}, {"type": "text", "text": row["query"]}]
            inputs = self.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
            output = self.model.generate(
                **inputs,
                max_new_tokens=self.settings.generation.max_new_tokens,
                do_sample=False,
                output_attentions=True,
                return_dict_in_generate=True,
            )
            kept = {"input_ids": inputs["input_ids"], "sequences": output.sequences, "attentions": output.attentions}
            torch.save(kept, folder / f"{row['sample_id']}.pt")
        taken = time.perf_counter() - started
        size = sum(path.stat().st_size for path in folder.glob("*.pt"))
        return Run(taken, self.loading, len(self.rows), size)


def check_same_answers(folder: Path, loop: Loop) -> None:
    """Both ways must have generated the same tokens."""
    node = open_shards(sorted(folder.glob("*.nc")))["grid_8x8"].to_dataset()
    tokens = node["token_id"].load().to_series().unstack()
    for row in loop.rows:
        if row["sample_id"] in tokens.index:
            kept = torch.load(folder / f"{row['sample_id']}.pt")
            own = tokens.loc[row["sample_id"]]
            expected = kept["sequences"][0, kept["input_ids"].shape[1] :].tolist()
            if own[own >= 0].tolist() != expected:
                raise RuntimeError(f"{row['sample_id']}: the two ways differ in their tokens")


def report(quick: bool) -> str:
    """The tables of throughput and size, as Markdown."""
    every = list(shards_of(STUDY / "samples.csv", SHARDS))
    shards = every[:1] if quick else every
    loop, rounds = Loop(8 if quick else 64), 2 if quick else 5
    runs: dict[str, list[Run]] = {"extraction": [], "loop": []}
    spawned = ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn"))
    with tempfile.TemporaryDirectory() as name, spawned as jobs:
        folder = Path(name)
        ways = {"extraction": lambda: extraction(folder, jobs, shards), "loop": lambda: loop(folder)}

        def rate(way: str) -> float:
            runs[way].append(ways[way]())
            return runs[way][-1].rate

        torch.set_num_threads(CORES)  # the loop's one process may use what the extraction's jobs use
        for warm in ways.values():  # imports, caches and allocators
            warm()
        rates = alternating({way: lambda way=way: rate(way) for way in ways}, rounds)
        check_same_answers(folder, loop)
        extract(folder, shards[0])  # in this process for the first time
        parts = where_time_goes(folder, shards)
    last = {way: made[-1] for way, made in runs.items()}
    faster = ratios(rates["extraction"], rates["loop"])
    sizes = {way: run.size / run.samples for way, run in last.items()}
    smaller = sizes["extraction"] / sizes["loop"]
    speed = [
        [way, str(last[way].samples), spread(rates[way], 1), f"{statistics.median(r.loading for r in made):.1f} s"]
        for way, made in runs.items()
    ]
    size = [[way, f"{sizes[way] / 1024:.1f} KiB"] for way in runs]
    return (
        "## The whole extraction\n\n"
        "The demo study by `atlas extract` (images, batches, netCDF) against a loop over single samples with eager "
        "attention, `output_attentions=True` and `torch.save` of everything, on samples spread over the study; the "
        f"same tokens in both. Both have {CORES} cores: the extraction as one single-threaded job a core, as the "
        f"workflow runs it, the loop as one process of {CORES} threads. {rounds} rounds in alternation, median "
        "(range). Imports, loading the model and, in the "
        "extraction, checking the study are not counted in samples/s; the extraction does both once a shard.\n\n"
        + table(["way", "samples", "samples/s", "loading, not counted"], speed)
        + f"\n\nExtraction / loop: {spread(faster, 1)}; aim ≥ {SPEED_AIM}: "
        f"{verdict(statistics.median(faster) >= SPEED_AIM)}.\n\n"
        "### Where the time goes\n\n"
        f"One job alone over {len(shards)} shard(s) on one thread. `prefix`: what the queries of an image share; "
        "`write`: what generation waits for, and the shard itself.\n\n"
        + table(["part", "seconds", "share"], parts)
        + "\n\n## Bytes per sample\n\n"
        + table(["file", "bytes per sample"], size)
        + f"\n\nnetCDF / .pt: 1/{1 / smaller:.1f}; aim ≤ 1/{1 / SIZE_AIM:.0f}: {verdict(smaller <= SIZE_AIM)}."
    )
