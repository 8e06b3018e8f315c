"""Grounding: AUROC of the pooled map against the target by layer, raw and corrected, with baselines."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attention_atlas.paper import panels
from attention_atlas.paper.style import BLUE, GREY, VERMILION, Stroke, house_style, message_figure, percent

PANEL_HEIGHT = 34.0  # mm
SCORE = "auroc"
VERSIONS = {"raw": Stroke(BLUE, "-", "o"), "without_sinks": Stroke(VERMILION, (0, (4, 1)), "s")}
BASELINES: dict[str, tuple[str, Any]] = {
    "position_mean": ("mean map of the other images", (0, (1, 1))),
    "gaussian": ("centred Gaussian", (0, (5, 1.5))),
    "uniform": ("no information", "-"),
}


@house_style
def draw(grounding_profile: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A panel per query: the score by layer with intervals over images, baselines in grey."""
    frame = grounding_profile[grounding_profile["score"] == SCORE]
    if frame.empty:
        return message_figure("No grounding: no sample has a target and a map at the selected step.")
    queries = panels.by_query(frame)
    figure, grid = panels.figure_for(len(queries), PANEL_HEIGHT)
    width = panels.panel_width(figure, len(queries))
    for axes, rows in zip(panels.panel_axes(grid, queries), queries.values(), strict=True):
        panels.set_layer_axis(axes, frame["layer"], width)
        axes.set_ylim(0, 1.03)
        panels.write_count(axes, rows["n"])
        for name, (_, line) in BASELINES.items():
            axes.plot(rows["layer"].astype(int), rows[name], color=GREY, linestyle=line, linewidth=0.8)
        if panels.has_values(axes, rows, "raw"):
            for name, stroke in VERSIONS.items():
                panels.draw_profile(axes, rows, name, stroke)
            panels.note_missing_intervals(axes, rows, "raw")
    grid.supxlabel("layer")
    grid.supylabel("AUROC against the target")
    handles: list[Any] = [
        Line2D([], [], color=s.colour, linestyle=s.line, marker=s.marker, markersize=2.5, label=name.replace("_", " "))
        for name, s in VERSIONS.items()
    ]
    handles += [Line2D([], [], color=GREY, linestyle=line, label=text) for text, line in BASELINES.values()]
    handles += [panels.ribbon_legend(f"{percent(settings['statistics']['confidence'])} BCa interval over images")]
    panels.add_legend(figure, handles, panels.shown_map(frame))
    return figure
