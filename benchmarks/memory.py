"""Peak memory of generation with capture, plain, and with eager output_attentions=True: one fresh process each."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import torch
from common import cases, table

WAYS = ("plain", "captured", "eager")


def peak_above_start(case: str, way: str, quick: bool) -> float:
    """MiB by which the resident set rose above its size just before generation, in this process."""
    batch = cases(quick)[case]()
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    getattr(batch, way)()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024 - before / 2**20


def in_fresh_process(case: str, way: str, quick: bool) -> float:
    """The same, in a process of its own."""
    arguments = json.dumps([case, way, quick, torch.get_num_threads()])
    done = subprocess.run([sys.executable, __file__, arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{case}, {way}: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def report(quick: bool) -> str:
    """The table of memory, as Markdown."""
    rows = []
    for case in cases(quick):
        used = {way: in_fresh_process(case, way, quick) for way in WAYS}
        rows.append(
            [case, *(f"{used[way]:.0f} MiB" for way in WAYS), f"{used['eager'] / max(used['captured'], 1):.1f}"]
        )
    return (
        "## Memory of capture\n\n"
        "Peak of the resident set (VmHWM) above its size before generation, weights and features loaded; each number "
        "from one fresh process.\n\n"
        + table(["batch", "plain sdpa", "capture", "eager, all attentions", "eager / capture"], rows)
    )


if __name__ == "__main__":
    named, chosen, short, threads = json.loads(sys.argv[1])
    torch.set_num_threads(threads)
    print(peak_above_start(named, chosen, short))
