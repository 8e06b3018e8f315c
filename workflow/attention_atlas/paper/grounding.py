"""Grounding: AUROC of the pooled map against the target by layer, raw and corrected, with baselines."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attention_atlas.paper import panels
from attention_atlas.paper.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    Stroke,
    house_style,
    message_figure,
    percent,
)

PANEL_HEIGHT = 34.0  # mm
SCORE = "auroc"
VERSIONS = {
    "raw": Stroke(BLUE, "-", "o"),
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
    "uniform": ("no information", GREY, "-"),
}


@house_style
def draw(grounding_profile: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A panel per query: the score by layer with intervals over images, baselines in grey."""
    frame = grounding_profile[grounding_profile["score"] == SCORE]
    if frame.empty:
        return message_figure("No grounding: no sample has a target and a map at the selected step.")
    queries = panels.by_query(frame)
    versions, baselines = ([name for name in names if frame[name].notna().any()] for names in (VERSIONS, BASELINES))
    figure, grid = panels.figure_for(len(queries), PANEL_HEIGHT)
    width = panels.panel_width(figure, len(queries))
    for axes, rows in zip(panels.panel_axes(grid, queries), queries.values(), strict=True):
        panels.set_layer_axis(axes, frame["layer"], width)
        axes.set_ylim(0, 1.03)
        panels.write_count(axes, rows["n"])
        for name in baselines:
            _, colour, line = BASELINES[name]
            axes.plot(rows["layer"].astype(int), rows[name], color=colour, linestyle=line, linewidth=0.8)
        if panels.has_values(axes, rows, "raw"):
            for name in versions:
                panels.draw_profile(axes, rows, name, VERSIONS[name])
            panels.note_missing_intervals(axes, rows, "raw")
    grid.supxlabel("layer")
    grid.supylabel("AUROC against the target")
    handles: list[Any] = [legend_line(name.replace("_", " "), VERSIONS[name]) for name in versions]
    handles += [
        Line2D([], [], color=BASELINES[n][1], linestyle=BASELINES[n][2], label=BASELINES[n][0]) for n in baselines
    ]
    handles += [panels.ribbon_legend(f"{percent(settings['statistics']['confidence'])} BCa interval over images")]
    panels.add_legend(figure, handles, panels.shown_map(frame))
    return figure


def legend_line(text: str, stroke: Stroke) -> Line2D:
    """The legend's entry of a version of the map."""
    return Line2D([], [], color=stroke.colour, linestyle=stroke.line, marker=stroke.marker, markersize=2.5, label=text)
