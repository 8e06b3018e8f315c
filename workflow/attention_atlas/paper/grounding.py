"""Grounding: AUROC of the pooled map against the target by layer: against baselines, and corrected."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attention_atlas.paper import panels
from attention_atlas.paper.style import (
    BLACK,
    BLUE,
    DOUBLE_COLUMN,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    SINGLE_COLUMN,
    VERMILION,
    Stroke,
    house_style,
    message_figure,
)

PANEL_HEIGHT = 28.0  # mm
LEAST_SPAN = 0.1
LAYOUTS = ((SINGLE_COLUMN, 2), (DOUBLE_COLUMN, 4), (DOUBLE_COLUMN, 6))
SCORE = "auroc"
CHANCE = "uniform"
RAW = Stroke(BLUE, "-", "o")
CORRECTED = {
    "without_sinks": Stroke(VERMILION, (0, (4, 1)), "s"),
    "without_massive": Stroke(ORANGE, (0, (6, 1, 1, 1, 1, 1)), "v"),
    "relative": Stroke(GREEN, (0, (4, 1, 1, 1)), "^"),
    "value_weighted": Stroke(PURPLE, (0, (1.5, 1)), "D"),
}
BASELINES: dict[str, tuple[str, str, Any]] = {
    "other_image": ("same text on other images", BLACK, (0, (3, 1, 1, 1))),
    "random_weights": ("random weights", BLACK, (0, (1, 1.5))),
    "position_mean": ("mean map of the other images", GREY, (0, (1, 1))),
    "gaussian": ("centred Gaussian", GREY, (0, (5, 1.5))),
    CHANCE: ("no information", LIGHT_GREY, "-"),
}
# The raw map in the panels of corrections: broad and pale, so that a line upon it is seen.
REFERENCE: dict[str, Any] = {"color": BLUE, "alpha": 0.3, "linewidth": 2.6}


@house_style
def draw(grounding_profile: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Two panels per query: the raw map against baselines, and corrected maps against the raw one."""
    frame = grounding_profile[grounding_profile["score"] == SCORE]
    if frame.empty:
        return message_figure("No grounding: no sample has a target and a map at the selected step.")
    queries = panels.by_query(frame)
    corrected, baselines = ([name for name in names if frame[name].notna().any()] for names in (CORRECTED, BASELINES))
    titles = [title for query in queries for title in (" ".join(query), f"{query[0]}, corrected")]
    counts = [panels.count_text(rows["n"]) for rows in queries.values() for _ in range(2)]
    sides = 2 if corrected else 1
    layouts = LAYOUTS if corrected else panels.LAYOUTS
    grid = panels.grid_for(titles[:: 3 - sides], counts[:: 3 - sides], PANEL_HEIGHT, layouts)
    figure, body = panels.figure_for(grid)
    all_axes = panels.panel_axes(body, grid)
    columns = ["raw", *corrected, *baselines]
    limits = panels.set_value_axis(all_axes[0], frame, columns, LEAST_SPAN)
    for index, rows in enumerate(queries.values()):
        own = all_axes[index * sides : (index + 1) * sides]
        for axes in own:
            panels.set_layer_axis(axes, frame["layer"], grid.panel_width)
        draw_baselines(own[0], rows, baselines)
        if panels.has_values(own[0], rows, "raw", grid.panel_width):
            panels.draw_profile(own[0], rows, "raw", RAW)
        if corrected:
            draw_corrected(own[1], rows, corrected, grid.panel_width)
    all_axes[0].set_ylim(limits)
    body.supxlabel("layer")
    panels.label_values(body, grid, "AUROC against the target")
    remarks = grid.remark, panels.cut_axis(limits), panels.missing_intervals(queries, ["raw", *corrected])
    panels.add_legend(figure, legend(corrected, baselines, settings), panels.shown_map(frame), *remarks)
    return figure


def draw_baselines(axes: Axes, rows: pd.DataFrame, baselines: list[str]) -> None:
    """The baselines, which have no intervals."""
    for name in baselines:
        _, colour, line = BASELINES[name]
        axes.plot(rows["layer"].astype(int), rows[name], **mark(rows), color=colour, linestyle=line, linewidth=0.8)


def draw_corrected(axes: Axes, rows: pd.DataFrame, corrected: list[str], width: float) -> None:
    """The corrected maps, upon the raw one."""
    if rows[corrected].isna().all(axis=None):
        panels.has_values(axes, rows, corrected[0], width)
        return
    if rows[CHANCE].notna().any():
        draw_baselines(axes, rows, [CHANCE])
    axes.plot(rows["layer"].astype(int), rows["raw"], **mark(rows), **REFERENCE)
    for name in corrected:
        panels.draw_profile(axes, rows, name, CORRECTED[name], alpha=0.12, linewidth=0.9)


def mark(rows: pd.DataFrame) -> dict[str, Any]:
    """The marker of a line without markers: a dash where it has one layer alone."""
    return {"marker": "_" if len(rows) == 1 else ""}


def legend(corrected: list[str], baselines: list[str], settings: Mapping[str, Any]) -> list[Any]:
    """The entries of the legend."""
    handles: list[Any] = [legend_line("raw", RAW)]
    handles += [Line2D([], [], **REFERENCE, label="raw, beside corrected")] if corrected else []
    handles += [legend_line(name.replace("_", " "), CORRECTED[name]) for name in corrected]
    handles += [
        Line2D([], [], color=BASELINES[name][1], linestyle=BASELINES[name][2], label=BASELINES[name][0])
        for name in baselines
    ]
    return [*handles, panels.interval_legend(settings)]


def legend_line(text: str, stroke: Stroke) -> Line2D:
    """The legend's entry of a version of the map."""
    return Line2D([], [], color=stroke.colour, linestyle=stroke.line, marker=stroke.marker, markersize=2.5, label=text)
