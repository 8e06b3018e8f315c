"""Time of generation with capture, against plain sdpa generation and against eager output_attentions=True."""

import statistics

import numpy as np
from common import Batch, alternating, cases, ratios, seconds, spread, table, verdict

AIM = 1.05


def measure(batch: Batch, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way of generating, round by round, after one round that nobody counts."""
    ways = {"capture": batch.captured, "plain": batch.plain, "eager": batch.eager}
    tokens = [run() for run in ways.values()]
    if not all(np.array_equal(tokens[0], other) for other in tokens[1:]):
        raise RuntimeError("the ways of generating differ in their tokens; their times cannot be compared")
    return alternating({name: lambda run=run: seconds(run) for name, run in ways.items()}, rounds)


def report(quick: bool) -> str:
    """The tables of overhead, as Markdown."""
    rows, rounds = [], 2 if quick else 7
    for name, build in cases(quick).items():
        times = measure(build(), rounds)
        to_plain = ratios(times["capture"], times["plain"])
        rows.append(
            [
                name,
                f"{statistics.median(times['plain']):.2f} s",
                spread(to_plain, 3),
                verdict(statistics.median(to_plain) <= AIM),
                spread(ratios(times["eager"], times["capture"])),
            ]
        )
    header = ["batch", "plain sdpa", f"capture / plain (aim ≤ {AIM})", "aim", "eager / capture"]
    return (
        "## Time of capture\n\n"
        "Generation with capture beside stock generation on the same inputs, image features computed beforehand in "
        f"both; the same tokens in all. Ratios of runs in alternation: median of {rounds} rounds (range).\n\n"
        + table(header, rows)
    )
