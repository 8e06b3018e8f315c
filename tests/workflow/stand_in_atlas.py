"""A stand-in for the command `atlas`: it notes how it was called and writes outputs without computing anything.

With it the real rules run in seconds: what Snakemake plans, and what reaches a command, is as with the real one.
"""

import itertools
import json
import os
import sys
from pathlib import Path

from attention_atlas.analysis.catalogue import CAUSAL, COMPARISONS, SUMMARIES

CALLS = Path("scratch/calls.jsonl")
OUTPUTS = {
    "transcript": ("--samples", "--tokens"),
    "heads": ("--heads", "--table", "--scores"),
    "table": ("--csv", "--markdown", "--latex"),
    "figure": ("--pdf", "--png"),
    "summary": ("--output", "--metrics"),
}
IN_FOLDER = {"summary-tables": SUMMARIES, "compare": COMPARISONS, "causal": ("causal_samples", *CAUSAL)}


def main(arguments):
    """Note the call and what its files of settings and models hold; write every output."""
    command, options = arguments[0], dict(itertools.pairwise(arguments))
    files = {name: options[f"--{name}"] for name in ("settings", "models") if f"--{name}" in options}
    note = {"arguments": arguments, **{name: json.loads(Path(file).read_text()) for name, file in files.items()}}
    descriptor = os.open(CALLS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{json.dumps(note)}\n".encode())  # in one write: jobs run side by side
    os.close(descriptor)
    for path in outputs(command, options):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path}\n")


def outputs(command, options):
    """The files that a call is to write."""
    if command in IN_FOLDER:
        return [Path(options["--output"], f"{name}.parquet") for name in IN_FOLDER[command]]
    return [Path(options[name]) for name in OUTPUTS.get(command, ("--output",)) if name in options]


if __name__ == "__main__":
    main(sys.argv[1:])
