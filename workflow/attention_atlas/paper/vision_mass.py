"""Vision mass: how much of the attention falls on the image, by layer, one panel per query."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attention_atlas.paper import panels
from attention_atlas.paper.style import GREY, house_style, message_figure, percent, strokes

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
    figure, body = panels.figure_for(len(queries), PANEL_HEIGHT)
    width = panels.panel_width(figure, len(queries))
    stroke_of = strokes(vision_mass["query_type"])
    all_axes = panels.panel_axes(body, queries)
    for index, (axes, (query, rows)) in enumerate(zip(all_axes, queries.items(), strict=True)):
        panels.set_layer_axis(axes, vision_mass["layer"], width)
        axes.set_ylim(0, 1.12)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        panels.mark_layer_bands(axes, vision_mass, named=index < panels.columns_for(len(queries)))
        panels.write_count(axes, rows["n"])
        if panels.has_values(axes, rows, "vision_mass"):
            for name, (_, line) in OTHER_MASSES.items():
                marker = "_" if len(rows) == 1 else ""
                axes.plot(
                    rows["layer"].astype(int), rows[name], color=GREY, linestyle=line, marker=marker, linewidth=0.8
                )
            panels.draw_profile(axes, rows, "vision_mass", stroke_of[query[1]])
            panels.note_missing_intervals(axes, rows, "vision_mass")
    body.supxlabel("layer")
    body.supylabel("share of attention,\nmean over heads", multialignment="center")
    interval = f"{percent(settings['statistics']['confidence'])} BCa interval over images"
    handles: list[Any] = [*panels.type_legend(vision_mass["query_type"]), panels.ribbon_legend(interval)]
    handles += [Line2D([], [], color=GREY, linestyle=line, label=name) for name, line in OTHER_MASSES.values()]
    title = f"coloured: attention on the image (vision tokens), {panels.shown_map(vision_mass)}; grey: on the rest"
    panels.add_legend(figure, handles, title.replace("map at", "at"))
    return figure
