"""Time of generation with capture, against plain sdpa generation and against eager output_attentions=True."""

import statistics
from collections.abc import Callable

import numpy as np
from common import Batch, alternating, large_batch, ratios, reference_batch, seconds, spread, table, verdict

AIM = 1.03
EAGER_TO = 1024  # vision tokens; beyond, its matrices take too much memory and time to be repeated


def cases(quick: bool) -> dict[str, tuple[Callable[[], Batch], int]]:
    """The batches, by the name that the table gives them, each with its vision tokens an image."""
    if quick:
        return {
            "shapes-tiny, 64 vision tokens, batch 16": (lambda: reference_batch(16), 64),
            "2B layers, 64 vision tokens, batch 2": (lambda: large_batch("2B", 8, 2, 1, 4), 64),
        }
    found = {"shapes-tiny, 64 vision tokens, batch 96": (lambda: reference_batch(96), 64)}
    for layer in ("2B", "4B", "8B"):
        for side, size, num_layers in ((8, 4, 2), (32, 1, 1), (64, 1, 1)):
            name = f"{layer} layers ({num_layers}), {side**2} vision tokens, batch {size}"
            found[name] = (
                lambda layer=layer, side=side, size=size, num_layers=num_layers: large_batch(
                    layer, side, size, num_layers, 8
                ),
                side**2,
            )
    return found


def measure(batch: Batch, rounds: int, eager: bool = True) -> dict[str, list[float]]:
    """Seconds of each way of generating, round by round, after one round that nobody counts."""
    ways = {"capture": batch.captured, "uncaptured": batch.uncaptured, "plain": batch.plain}
    ways |= {"eager": batch.eager} if eager else {}
    tokens = [run() for run in ways.values()]
    if not all(np.array_equal(tokens[0], other) for other in tokens[1:]):
        raise RuntimeError("the ways of generating differ in their tokens; their times cannot be compared")
    return alternating({name: lambda run=run: seconds(run) for name, run in ways.items()}, rounds)


def report(quick: bool) -> str:
    """The tables of overhead, as Markdown."""
    rows = []
    for name, (build, tokens) in cases(quick).items():
        rounds = 2 if quick else 5 if tokens < EAGER_TO else 3
        times = measure(build(), rounds, eager=tokens <= EAGER_TO)
        to_plain = ratios(times["capture"], times["plain"])
        rows.append(
            [
                name,
                f"{statistics.median(times['plain']):.2f} s",
                spread(to_plain, 3),
                verdict(statistics.median(to_plain) <= AIM),
                spread(ratios(times["capture"], times["uncaptured"]), 3),
                spread(ratios(times["eager"], times["capture"])) if "eager" in times else "not run",
            ]
        )
    header = [
        "batch",
        "plain sdpa",
        f"capture / plain (aim ≤ {AIM})",
        "aim",
        "capture / own loop without",
        "eager / capture",
    ]
    return (
        "## Time of capture\n\n"
        "Generation with capture beside stock `generate` on the same prompts, image features computed beforehand in "
        "both; the same tokens in all. In the rows of real layers every prompt has an image of its own, so nothing is "
        'gained by reading a prefix once; in the demo\'s row eight queries share each image. "Own loop without" is '
        "the project's generation with the stock attention function, nothing kept. Ratios of runs in alternation: "
        "median of 5 rounds, of 3 from 1,024 vision tokens on (range).\n\n" + table(header, rows)
    )
