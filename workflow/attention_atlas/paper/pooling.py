"""Pooling: heads pooled by maximum against by mean — the difference per query, and both profiles by layer."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attention_atlas.paper import panels
from attention_atlas.paper.style import (
    BLUE,
    GREY,
    LIGHT_GREY,
    PAGE_HEIGHT,
    VERMILION,
    Stroke,
    house_style,
    label,
    message_figure,
    new_figure,
)

PANEL_HEIGHT = 30.0  # mm
LEAST_SPAN = 0.05  # of the uniform map's entropy, which the axis spans at least
ROOM = 0.14  # of an axis, for the names of bands of layers
FEW_TICKS = 3  # intervals between ticks; labels like −0.175 are wide
NAMES = 0.3  # of the page's width, which the names of queries take at most
ROW, LINE = 1.0, 2.6  # mm between rows, and that a line of a query's name takes
AROUND = 14.0  # mm below the rows: ticks and the axis' label
POOLINGS = {"max": Stroke(BLUE, "-", "o"), "mean": Stroke(VERMILION, (0, (4, 1)), "s")}
# Where both coincide, the dashed line and the hollow markers of the mean lie upon the broad line of the maximum.
LINES: dict[str, dict[str, Any]] = {
    "max": {"linewidth": 2.2, "markersize": 3.2},
    "mean": {"linewidth": 0.9, "markersize": 3.2, "markerfacecolor": "white", "markeredgewidth": 0.8},
}


@house_style
def draw(ablation: pd.DataFrame, pooling_profile: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Above: entropy under both poolings and their paired difference per query; below: both profiles by layer."""
    if ablation.empty or pooling_profile.empty:
        return message_figure("No comparison of poolings: no query has an image with an answer and a defined map.")
    queries = panels.by_query(pooling_profile)
    grid = panels.grid_of_queries(queries, PANEL_HEIGHT, beneath=panels.BENEATH + AROUND + 3.6 * len(ablation))
    names = [
        panels.fold(" ".join(pair), NAMES * grid.width)
        for pair in zip(ablation["query_id"], ablation["query_type"], strict=True)
    ]
    above = AROUND + sum(ROW + LINE * (name.count("\n") + 1) for name in names)
    figure = new_figure(grid.width, min(above + grid.height + 4, PAGE_HEIGHT))
    halves: Any = figure.subfigures(2, 1, height_ratios=(above, grid.height + 4))
    upper, lower = halves
    draw_contrast(upper, ablation, names)
    limits, named = draw_profiles(lower, pooling_profile, queries, grid)
    handles: list[Any] = [
        Line2D(
            *([], []),
            **{"color": look.colour, "linestyle": look.line, "marker": look.marker, **LINES[name]},
            label=f"{name} over heads",
        )
        for name, look in POOLINGS.items()
    ]
    interval = panels.interval_legend(settings)
    interval.set_label(f"{interval.get_label()} (bars above)")
    handles += [interval, *panels.band_legend(pooling_profile, named)]
    paired = {str(row["query_id"]): pd.DataFrame([row]) for row in ablation.to_dict("records")}
    without = dict.fromkeys(
        [panels.missing_intervals(queries, ["entropy"]), panels.missing_intervals(paired, ["difference"])]
    )
    below = panels.cut_axis(limits)
    panels.add_legend(
        figure, handles, panels.shown_map(ablation), f"below: {below}" if below else "", grid.remark, *without
    )
    return figure


def draw_contrast(figure: SubFigure, ablation: pd.DataFrame, names: list[str]) -> None:
    """A row per query: both entropies at the left, the paired difference and the number of images at the right."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    heights = [ROW + LINE * (name.count("\n") + 1) for name in names]
    rows = [sum(heights[:index]) + height / 2 for index, height in enumerate(heights)]
    for shift, name in ((-0.5, "max"), (0.5, "mean")):
        draw_row_values(left, ablation, f"entropy_{name}_pool", [row + shift for row in rows], POOLINGS[name])
    draw_row_values(right, ablation, "difference", rows, Stroke("black", "", "D"))
    right.axvline(0, color=GREY, linewidth=0.6, zorder=0)
    left.set_yticks(rows, names)
    left.set_ylim(sum(heights), 0)
    left.set_xlabel(f"{panels.measure_label(ablation)},\nmean over layers")
    right.set_xlabel("difference,\nmax − mean")
    right.tick_params(left=False)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(FEW_TICKS))
        axes.hlines(rows, 0, 1, transform=axes.get_yaxis_transform(), color=LIGHT_GREY, linewidth=0.3, zorder=0)
    for row, n in zip(rows, ablation["n"], strict=True):
        text = f"n = {n if pd.notna(n) else 0}"
        label(right, 1.02, row, text, transform=right.get_yaxis_transform(), ha="left", va="center")


def draw_row_values(axes: Axes, frame: pd.DataFrame, column: str, rows: list[float], stroke: Stroke) -> None:
    """One quantity as a marker with its interval on every row."""
    axes.hlines(rows, frame[f"{column}_low"], frame[f"{column}_high"], color=stroke.colour, linewidth=1.0)
    axes.plot(frame[column], rows, color=stroke.colour, linestyle="", marker=stroke.marker, markersize=2.6)


def draw_profiles(
    figure: SubFigure,
    profile: pd.DataFrame,
    queries: Mapping[tuple[str, str], pd.DataFrame],
    grid: panels.Grid,
) -> tuple[tuple[float, float], bool]:
    """Entropy by layer under both poolings, a panel per query; returns the axis' limits and if bands are named."""
    all_axes = panels.panel_axes(figure, grid)
    least = LEAST_SPAN * panels.ceiling_of(profile)
    limits = panels.set_value_axis(all_axes[0], profile, ["entropy"], least, above=ROOM)
    for axes, rows in zip(all_axes, queries.values(), strict=True):
        panels.set_layer_axis(axes, profile["layer"], grid.panel_width)
        named = panels.mark_layer_bands(axes, profile, grid.panel_width)
        if not panels.has_values(axes, rows, "entropy", grid.panel_width):
            continue
        for name, stroke in POOLINGS.items():
            panels.draw_profile(axes, rows[rows["pooling"] == name], "entropy", stroke, **LINES[name])
    all_axes[0].set_ylim(limits)
    figure.supxlabel("layer")
    panels.label_values(figure, grid, panels.measure_label(profile))
    return limits, named
