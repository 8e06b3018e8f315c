"""Vision mass: how much of the attention falls on the image, by layer, one panel per query."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attention_atlas.paper import panels
from attention_atlas.paper.style import GREY, house_style, message_figure, strokes

PANEL_HEIGHT = 34.0  # mm
OTHER_MASSES = {
    "first_token_mass": ("first token", (0, (1, 1))),
    "prompt_text_mass": ("other prompt text", (0, (5, 1.5))),
    "generated_text_mass": ("generated text", (0, (5, 1, 1, 1))),
}


@house_style
def draw(vision_mass: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Attention mass on vision tokens with intervals over images, and where the rest went, without."""
    if vision_mass.empty:
        return message_figure("No vision mass: no query has an image with an answer and a defined map.")
    queries = panels.by_query(vision_mass)
    grid = panels.grid_of_queries(queries, PANEL_HEIGHT)
    figure, body = panels.figure_for(grid)
    stroke_of = strokes(vision_mass["query_type"])
    for axes, (query, rows) in zip(panels.panel_axes(body, grid), queries.items(), strict=True):
        panels.set_layer_axis(axes, vision_mass["layer"], grid.panel_width)
        axes.set_ylim(-0.04, 1.18)  # a share of 0 stands clear of the axis, names of bands above one of 1
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        named = panels.mark_layer_bands(axes, vision_mass, grid.panel_width)
        if panels.has_values(axes, rows, "vision_mass", grid.panel_width):
            for name, (_, line) in OTHER_MASSES.items():
                marker = "_" if len(rows) == 1 else ""
                axes.plot(
                    rows["layer"].astype(int), rows[name], color=GREY, linestyle=line, marker=marker, linewidth=0.8
                )
            panels.draw_profile(axes, rows, "vision_mass", stroke_of[query[1]])
    body.supxlabel("layer")
    panels.label_values(body, grid, "share of attention, mean over heads")
    handles: list[Any] = [*panels.type_legend(vision_mass["query_type"]), panels.interval_legend(settings)]
    handles += [Line2D([], [], color=GREY, linestyle=line, label=name) for name, line in OTHER_MASSES.values()]
    handles += panels.band_legend(vision_mass, named)
    title = f"coloured: attention on the image (vision tokens), {panels.shown_map(vision_mass)}; grey: on the rest"
    remarks = grid.remark, panels.missing_intervals(queries, ["vision_mass"])
    panels.add_legend(figure, handles, title.replace("map at", "at"), *remarks)
    return figure
