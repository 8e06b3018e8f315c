"""Peak memory of generation with capture, plain, and with eager output_attentions=True: one fresh process each."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import torch
from common import large_batch, table

LAYER, NUM_LAYERS, STEPS = "2B", 2, 16
SIDES = (8, 32, 64, 128)
EAGER_TO = 32  # cells a side; beyond, eager attention is computed, not measured
BATCH = 1


def peak_above_start(side: int, way: str) -> float:
    """MiB by which the resident set rose above its size just before generation, in this process."""
    batch = large_batch(LAYER, side, BATCH, NUM_LAYERS, STEPS)
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    getattr(batch, way)()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024 - before / 2**20


def in_fresh_process(side: int, way: str) -> float:
    """The same, in a process of its own."""
    arguments = json.dumps([side, way, torch.get_num_threads()])
    done = subprocess.run([sys.executable, __file__, arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{side} cells a side, {way}: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def kept(side: int) -> float:
    """MiB of the rows that capture keeps of one sample: steps x layers x heads x vision tokens, fp32."""
    return STEPS * NUM_LAYERS * 16 * side**2 * 4 / 2**20


def matrices(side: int, num_layers: int) -> float:
    """GiB of the prompt's matrices that eager attention keeps of one sample, by their shape, fp32."""
    return num_layers * 16 * (side**2 + 25) ** 2 * 4 / 2**30


def report(quick: bool) -> str:
    """The table of memory, as Markdown."""
    rows = []
    for side in SIDES[:1] if quick else SIDES:
        used = {way: in_fresh_process(side, way) for way in ("plain", "captured")}
        eager = f"{in_fresh_process(side, 'eager'):.0f} MiB" if side <= EAGER_TO else "not run"
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
    header = ["vision tokens", "plain sdpa", "capture", "difference", "rows kept, by shape", "eager, all attentions"]
    return (
        "## Memory of capture\n\n"
        f"Peak of the resident set (VmHWM) above its size before generation of {STEPS} tokens, one sample, "
        f"{NUM_LAYERS} layers of the {LAYER}'s shape; weights and features loaded; each number from one fresh process. "
        "The last column is the size of the prompt's attention matrices of all 28 layers, by their shape: what eager "
        "attention with `output_attentions=True` keeps of one sample.\n\n"
        + table([*header, "eager, 28 layers, by shape"], rows)
    )


if __name__ == "__main__":
    cells, chosen, threads = json.loads(sys.argv[1])
    torch.set_num_threads(threads)
    print(peak_above_start(cells, chosen))
