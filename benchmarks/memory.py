"""Peak memory of generation with capture, plain, and with eager output_attentions=True, and what is estimated of it.

Each number is from one fresh process.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from attention_atlas.attention.batching import bytes_of_image, bytes_of_sample
from attention_atlas.config import Capture
from common import Batch, large_batch, table, vision_images

LAYER, NUM_LAYERS, STEPS = "2B", 2, 16
SIDES = (8, 32, 64, 128)
EAGER_TO = 32  # cells a side; beyond, eager attention is computed, not measured
# Cells a side and samples of the batches whose estimate is held against what they take.
BATCHES = ((8, 8), (8, 32), (16, 16), (32, 1), (32, 4))


def generating(side: int, samples: int, way: str) -> tuple[Callable[[], Any], float]:
    """A way of generating a batch, and what is estimated of it: MiB."""
    batch: Batch = large_batch(LAYER, side, samples, NUM_LAYERS, STEPS)
    estimate = samples * bytes_of_sample(batch.source, batch.prompts[0], batch.settings, Capture())
    return getattr(batch, way), estimate / 2**20


def encoding(side: int, images: int) -> tuple[Callable[[], Any], float]:
    """The encoding of images by layers of the 2B's vision tower, and what is estimated of it: MiB."""
    source, shown = vision_images(side, images)
    estimate = sum(bytes_of_image(source, image) for image in shown)
    return torch.inference_mode()(lambda: source.family.encode(source.model, shown)), estimate / 2**20


MEASURED: dict[str, Callable[..., tuple[Callable[[], Any], float]]] = {"generating": generating, "encoding": encoding}


def peak_above_start(run: Callable[[], Any]) -> float:
    """MiB by which the resident set rises above its size just before, in this process."""
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    run()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024 - before / 2**20


def in_fresh_process(what: str, *given: Any) -> tuple[float, float]:
    """Peak and estimate in MiB of something in MEASURED, in a process of its own."""
    arguments = json.dumps([torch.get_num_threads(), what, *given])
    done = subprocess.run([sys.executable, __file__, arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{what} {given}: {done.stderr[-2000:]}")
    peak, estimate = done.stdout.split()[-2:]
    return float(peak), float(estimate)


def kept(side: int) -> float:
    """MiB of the rows that capture keeps of one sample: steps x layers x heads x vision tokens, fp32."""
    return STEPS * NUM_LAYERS * 16 * side**2 * 4 / 2**20


def matrices(side: int, num_layers: int) -> float:
    """GiB of the prompt's matrices that eager attention keeps of one sample, by their shape, fp32."""
    return num_layers * 16 * (side**2 + 25) ** 2 * 4 / 2**30


def of_capture(quick: bool) -> list[list[str]]:
    """Peaks of the ways of generating, by vision tokens."""
    rows = []
    for side in SIDES[:1] if quick else SIDES:
        used = {way: in_fresh_process("generating", side, 1, way)[0] for way in ("plain", "captured")}
        eager = f"{in_fresh_process('generating', side, 1, 'eager')[0]:.0f} MiB" if side <= EAGER_TO else "not run"
        rows.append(
            [
                f"{side**2:,}",
                f"{used['plain']:.0f} MiB",
                f"{used['captured']:.0f} MiB",
                f"{used['captured'] - used['plain']:+.0f} MiB",
                f"{kept(side):.1f} MiB",
                eager,
                f"{matrices(side, 28):,.1f} GiB",
            ]
        )
    return rows


def of_estimates(quick: bool) -> list[list[str]]:
    """Peaks of batches beside what `batch_size: auto` plans with."""
    rows = []
    for side, samples in BATCHES[:1] if quick else BATCHES:
        for what, given in (("generating", (side, samples, "captured")), ("encoding", (side, samples))):
            peak, estimate = in_fresh_process(what, *given)
            rows.append(
                [what, f"{side**2:,}", str(samples), f"{peak:.0f} MiB", f"{estimate:.0f} MiB", f"{estimate / peak:.2f}"]
            )
    return rows


def report(quick: bool) -> str:
    """The tables of memory, as Markdown."""
    header = ["vision tokens", "plain sdpa", "capture", "difference", "rows kept, by shape", "eager, all attentions"]
    return (
        "## Memory of capture\n\n"
        f"Peak of the resident set (VmHWM) above its size before generation of {STEPS} tokens, one sample, "
        f"{NUM_LAYERS} layers of the {LAYER}'s shape; weights and features loaded; each number from one fresh process. "
        "The last column is the size of the prompt's attention matrices of all 28 layers, by their shape: what eager "
        "attention with `output_attentions=True` keeps of one sample.\n\n"
        + table([*header, "eager, 28 layers, by shape"], of_capture(quick))
        + "\n\n### What `batch_size: auto` plans with\n\n"
        "The same peak for batches of samples, each about an image of its own, beside the estimate by which batches "
        f"are sized: generating, and encoding the images by two layers of the {LAYER}'s vision tower. The larger of "
        "the two decides.\n\n"
        + table(["", "vision tokens", "samples", "peak", "estimate", "estimate / peak"], of_estimates(quick))
    )


if __name__ == "__main__":
    threads, chosen, *rest = json.loads(sys.argv[1])
    torch.set_num_threads(threads)
    way, planned = MEASURED[chosen](*rest)
    print(peak_above_start(way), planned)
