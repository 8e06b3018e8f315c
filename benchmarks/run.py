"""Measure overhead, memory, throughput, storage, analysis and planning; print the tables, write docs/performance.md.

python benchmarks/run.py                     everything, into docs/performance.md
python benchmarks/run.py --only throughput   one part, into its place there
python benchmarks/run.py --quick             small settings, printed only
"""

import argparse
import importlib.metadata
import os
import platform
import sys
import warnings
from pathlib import Path

import dag
import memory
import outofcore
import overhead
import storage
import throughput
import torch
from common import ROOT
from transformers.utils import logging as transformers_logging

LIBRARIES = ("torch", "transformers", "numpy", "xarray", "netCDF4")
PARTS = {
    "overhead": overhead,
    "memory": memory,
    "throughput": throughput,
    "storage": storage,
    "outofcore": outofcore,
    "dag": dag,
}


def main() -> None:
    """Run the parts that were asked for."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*generation flags.*")
    for part in arguments.only:
        text = f"{conditions(part, arguments)}\n\n{PARTS[part].report(arguments.quick)}"
        print(f"\n{text}", flush=True)
        if not arguments.quick:
            write(arguments.output, text, part)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the scripts; printed only")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of every run (default: 1)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "docs" / "performance.md",
        help="Markdown file to write between its markers",
    )
    return parser.parse_args()


def conditions(part: str, arguments: argparse.Namespace) -> str:
    """What the figures of a part depend on, without naming a machine."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in LIBRARIES)
    command = f"python benchmarks/run.py --only {part}" + (
        f" --threads {arguments.threads}" if arguments.threads != 1 else ""
    )
    trial = " A trial with small settings (`--quick`), not the measurement." if arguments.quick else ""
    return (
        f"Repeat with `{command}`. Measured on {platform.machine()} with {os.cpu_count()} cores, {arguments.threads} "
        f"torch thread(s) in every run, fp32; Python {platform.python_version()}, {versions}.{trial}"
    )


def write(path: Path, text: str, part: str) -> None:
    """Put text between a part's markers in a page; what stands around them is kept."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    page = path.read_text(encoding="utf-8")
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        sys.exit(f"{path} lacks the markers {begin} and {end}; put them where the figures are to stand")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
