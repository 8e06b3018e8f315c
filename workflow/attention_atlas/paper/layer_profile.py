"""Layer profile: entropy of the pooled map by layer, one panel per query."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from attention_atlas.paper import panels
from attention_atlas.paper.style import house_style, message_figure, percent, strokes

PANEL_HEIGHT = 36.0  # mm


@house_style
def draw(layer_profile: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Entropy by layer with intervals over images; bands of layers and of entropy and the uniform map are marked."""
    if layer_profile.empty:
        return message_figure("No layer profile: no query has an image with an answer and a defined map.")
    queries = panels.by_query(layer_profile)
    figure, body = panels.figure_for(len(queries), PANEL_HEIGHT)
    width = panels.panel_width(figure, len(queries))
    stroke_of = strokes(layer_profile["query_type"])
    all_axes = panels.panel_axes(body, queries)
    for index, (axes, (query, rows)) in enumerate(zip(all_axes, queries.items(), strict=True)):
        panels.set_layer_axis(axes, layer_profile["layer"], width)
        axes.set_ylim(0, panels.entropy_limit(layer_profile))
        panels.mark_layer_bands(axes, layer_profile, named=index < panels.columns_for(len(queries)))
        panels.mark_entropy_bands(
            axes, layer_profile, settings["bands"], named=panels.is_last_column(index, len(queries))
        )
        panels.write_count(axes, rows["n"])
        if panels.has_values(axes, rows, "entropy"):
            panels.draw_profile(axes, rows, "entropy", stroke_of[query[1]])
            panels.note_missing_intervals(axes, rows, "entropy")
    body.supxlabel("layer")
    body.supylabel(panels.measure_label(layer_profile))
    interval = f"{percent(settings['statistics']['confidence'])} BCa interval over images"
    handles = [*panels.type_legend(layer_profile["query_type"]), panels.ribbon_legend(interval)]
    panels.add_legend(figure, handles, panels.shown_map(layer_profile))
    return figure
