"""Pooling: heads pooled by maximum against by mean — the difference per query, and both profiles by layer."""

import math
import textwrap
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
    DOUBLE_COLUMN,
    GREY,
    LIGHT_GREY,
    PAGE_HEIGHT,
    SINGLE_COLUMN,
    SMALL,
    VERMILION,
    Stroke,
    house_style,
    label,
    message_figure,
    new_figure,
    percent,
)

PANEL_HEIGHT = 34.0  # mm
FEW_TICKS = 3  # intervals between ticks; labels like −0.175 are wide
POOLINGS = {"max": Stroke(BLUE, "-", "o"), "mean": Stroke(VERMILION, (0, (4, 1)), "s")}


@house_style
def draw(ablation: pd.DataFrame, pooling_profile: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Above: entropy under both poolings and their paired difference per query; below: both profiles by layer."""
    if ablation.empty or pooling_profile.empty:
        return message_figure("No comparison of poolings: no query has an image with an answer and a defined map.")
    queries = panels.by_query(pooling_profile)
    width = SINGLE_COLUMN if len(queries) <= 2 else DOUBLE_COLUMN
    above = 19 + 3.4 * len(ablation)
    below = math.ceil(len(queries) / panels.columns_for(len(queries))) * PANEL_HEIGHT + 4
    figure = new_figure(width, min(above + below, PAGE_HEIGHT))
    halves: Any = figure.subfigures(2, 1, height_ratios=(above, below))
    upper, lower = halves
    draw_contrast(upper, ablation)
    draw_profiles(lower, pooling_profile, queries, panels.panel_width(figure, len(queries)))
    interval = f"{percent(settings['statistics']['confidence'])} BCa interval over images"
    handles = [
        Line2D([], [], color=stroke.colour, linestyle=stroke.line, marker=stroke.marker, label=f"{name} over heads")
        for name, stroke in POOLINGS.items()
    ]
    title = panels.shown_map(ablation)
    panels.add_legend(figure, [*handles, panels.ribbon_legend(f"{interval} (bars above)")], title)
    return figure


def draw_contrast(figure: SubFigure, ablation: pd.DataFrame) -> None:
    """A row per query: both entropies at the left, the paired difference at the right."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = range(len(ablation))
    for shift, name in ((-0.12, "max"), (0.12, "mean")):
        draw_row_values(left, ablation, f"entropy_{name}_pool", shift, POOLINGS[name])
    draw_row_values(right, ablation, "difference", 0.0, Stroke("black", "", "D"))
    right.axvline(0, color=GREY, linewidth=0.6, zorder=0)
    left.set_yticks(rows, [" ".join(pair) for pair in zip(ablation["query_id"], ablation["query_type"], strict=True)])
    left.set_ylim(len(ablation) - 0.4, -0.6)
    left.set_xlabel(f"{panels.measure_label(ablation)},\nmean over layers")
    right.set_xlabel("difference,\nmax − mean")
    right.tick_params(left=False)
    right.xaxis.set_major_locator(MaxNLocator(FEW_TICKS))
    reasons = panels.in_short(filter(None, ablation["interval_note"]))
    if reasons:
        told = textwrap.fill(f"no interval: {'; '.join(reasons)}", 45)
        right.set_title(told, loc="right", fontsize=SMALL, color=GREY)
    for axes in (left, right):
        axes.hlines(rows, 0, 1, transform=axes.get_yaxis_transform(), color=LIGHT_GREY, linewidth=0.3, zorder=0)
    for row, (n, note) in enumerate(zip(ablation["n"], ablation["interval_note"], strict=True)):
        text = f"n = {n}" if pd.notna(n) else "n = 0"
        text += "; no interval" if note else ""
        label(right, 1.02, row, text, transform=right.get_yaxis_transform(), ha="left", va="center")


def draw_row_values(axes: Axes, frame: pd.DataFrame, column: str, shift: float, stroke: Stroke) -> None:
    """One quantity as a marker with its interval on every row."""
    rows = [row + shift for row in range(len(frame))]
    axes.hlines(rows, frame[f"{column}_low"], frame[f"{column}_high"], color=stroke.colour, linewidth=1.0)
    axes.plot(frame[column], rows, color=stroke.colour, linestyle="", marker=stroke.marker)


def draw_profiles(
    figure: SubFigure, profile: pd.DataFrame, queries: Mapping[tuple[str, str], pd.DataFrame], width: float
) -> None:
    """Entropy by layer under both poolings, a panel per query."""
    for index, (axes, rows) in enumerate(zip(panels.panel_axes(figure, queries), queries.values(), strict=True)):
        panels.set_layer_axis(axes, profile["layer"], width)
        axes.set_ylim(0, panels.entropy_limit(profile))
        panels.mark_layer_bands(axes, profile, named=index < panels.columns_for(len(queries)))
        panels.write_count(axes, rows["n"])
        if not panels.has_values(axes, rows, "entropy"):
            continue
        for name, stroke in POOLINGS.items():
            panels.draw_profile(axes, rows[rows["pooling"] == name], "entropy", stroke)
        panels.note_missing_intervals(axes, rows, "entropy")
    figure.supxlabel("layer")
    figure.supylabel(panels.measure_label(profile))
