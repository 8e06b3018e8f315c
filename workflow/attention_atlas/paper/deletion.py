"""Deletion and insertion: log-probability of the answer along the map's order of cells and along random order."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attention_atlas.paper import panels
from attention_atlas.paper.style import (
    BLUE,
    DOUBLE_COLUMN,
    GREY,
    NORMAL,
    PAGE_HEIGHT,
    SINGLE_COLUMN,
    VERMILION,
    Stroke,
    house_style,
    message_figure,
    new_figure,
    percent,
)

ORDERS = {
    "map": ("cells in the order of the map", Stroke(BLUE, "-", "o")),
    "random": ("in random order", Stroke(VERMILION, (0, (4, 1)), "s")),
}
CHECKS = {"deletion": "share of cells painted over", "insertion": "share of cells shown"}
WIDEST = 4
PANEL_HEIGHT = 36.0  # mm


@house_style
def draw(causal_curves: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A column per type of query, deletion above insertion: mean Δ log p with intervals over images."""
    if causal_curves.empty:
        return message_figure("No deletion curves: no sample was perturbed, or the check is switched off.")
    types = list(dict.fromkeys(causal_curves["query_type"]))
    columns, blocks = min(len(types), WIDEST), math.ceil(len(types) / WIDEST)
    height = min(len(CHECKS) * blocks * PANEL_HEIGHT + 4, PAGE_HEIGHT)
    figure = new_figure(SINGLE_COLUMN if columns <= 2 else DOUBLE_COLUMN, height)
    body: Any = figure.subfigures(1, 1)
    grid = body.subplots(len(CHECKS) * blocks, columns, sharex=False, sharey=True, squeeze=False)
    for number, query_type in enumerate(types):
        own = causal_curves[causal_curves["query_type"] == query_type]
        for row, check in enumerate(CHECKS):
            axes = grid[number // columns * len(CHECKS) + row, number % columns]
            draw_curves(axes, own[own["check"] == check], f"{query_type}, {check}")
            axes.set_xlabel(CHECKS[check])
    for axes in grid[-len(CHECKS) :, len(types) - columns * (blocks - 1) :].ravel():
        axes.set_axis_off()
    body.supylabel("Δ log p of the answer (nats)")
    handles: list[Any] = [
        Line2D([], [], color=look.colour, linestyle=look.line, marker=look.marker, markersize=2.5, label=text)
        for text, look in ORDERS.values()
    ]
    handles += [panels.ribbon_legend(f"{percent(settings['statistics']['confidence'])} BCa interval over images")]
    panels.add_legend(figure, handles, "")
    return figure


def draw_curves(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    """The curves of one check of one type of query."""
    axes.set_title(title, loc="left", fontsize=NORMAL)
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    panels.write_count(axes, rows["n"])
    if not panels.has_values(axes, rows, "delta"):
        return
    for order, (_, look) in ORDERS.items():
        own = rows[rows["order"] == order]
        every = max(1, math.ceil(len(own) / 8))
        line: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "marker": look.marker, "markevery": every}
        axes.plot(own["fraction"], own["delta"], **line, markersize=2.5)
        axes.fill_between(
            own["fraction"], own["delta_low"], own["delta_high"], color=look.colour, alpha=0.25, linewidth=0
        )
    # At both ends a curve may be 0 by definition, which has no interval.
    panels.note_missing_intervals(axes, rows[rows["fraction"].between(0, 1, inclusive="neither")], "delta")
