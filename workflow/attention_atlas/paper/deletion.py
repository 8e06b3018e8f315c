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
    SINGLE_COLUMN,
    VERMILION,
    Stroke,
    house_style,
    message_figure,
)

ORDERS = {
    "map": ("cells in the order of the map", Stroke(BLUE, "-", "o")),
    "random": ("in random order", Stroke(VERMILION, (0, (4, 1)), "s")),
}
CHECKS = {"deletion": "share of cells painted over", "insertion": "share of cells shown"}
PANEL_HEIGHT = 30.0  # mm
LEAST_SPAN = 0.1  # nats
# A type of query is a row of two panels, so rows hold an even number of them.
LAYOUTS = ((SINGLE_COLUMN, 2), (DOUBLE_COLUMN, 4), (DOUBLE_COLUMN, 6))


@house_style
def draw(causal_curves: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Two panels per type of query, deletion and insertion: mean Δ log p with intervals over images."""
    if causal_curves.empty:
        return message_figure("No deletion curves: no sample was perturbed, or the check is switched off.")
    types = list(dict.fromkeys(causal_curves["query_type"]))
    chosen = {
        f"{query_type}, {check}": causal_curves[
            (causal_curves["query_type"] == query_type) & (causal_curves["check"] == check)
        ]
        for query_type in types
        for check in CHECKS
    }
    counts = [panels.count_text(rows["n"]) for rows in chosen.values()]
    grid = panels.grid_for(chosen, counts, PANEL_HEIGHT, LAYOUTS)
    figure, body = panels.figure_for(grid)
    all_axes = panels.panel_axes(body, grid, share_y=False)
    for index, (axes, rows) in enumerate(zip(all_axes, chosen.values(), strict=True)):
        draw_curves(axes, rows, grid.panel_width)
        both = causal_curves[causal_curves["query_type"] == types[index // len(CHECKS)]]
        panels.set_value_axis(axes, both, ["delta"], LEAST_SPAN, [0.0])
        axes.tick_params(labelleft=index % len(CHECKS) == 0)
        if grid.is_bottom(index):
            axes.set_xlabel(list(CHECKS.values())[index % len(CHECKS)])
    panels.label_values(body, grid, "Δ log p of the answer (nats)")
    handles: list[Any] = [
        Line2D([], [], color=look.colour, linestyle=look.line, marker=look.marker, markersize=2.5, label=text)
        for text, look in ORDERS.values()
    ]
    # At both ends a curve may be 0 by definition, which has no interval.
    inner = {name: rows[rows["fraction"].between(0, 1, inclusive="neither")] for name, rows in chosen.items()}
    title = "mean over images; 0: log p with the whole image"
    title += "; each type has its own vertical axis" if len(types) > 1 else ""
    remarks = grid.remark, panels.missing_intervals(inner, ["delta"])
    panels.add_legend(figure, [*handles, panels.interval_legend(settings)], title, *remarks)
    return figure


def draw_curves(axes: Axes, rows: pd.DataFrame, width: float) -> None:
    """The curves of one check of one type of query."""
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    if not panels.has_values(axes, rows, "delta", width):
        return
    for order, (_, look) in ORDERS.items():
        own = rows[rows["order"] == order]
        every = max(1, math.ceil(len(own) / 8))
        line: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "marker": look.marker, "markevery": every}
        axes.plot(own["fraction"], own["delta"], **line, markersize=2.5)
        axes.fill_between(
            own["fraction"], own["delta_low"], own["delta_high"], color=look.colour, alpha=0.25, linewidth=0
        )
