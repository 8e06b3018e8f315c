"""Layer profile: entropy of the pooled map by layer, one panel per query."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from attention_atlas.paper import panels
from attention_atlas.paper.style import house_style, message_figure, strokes

PANEL_HEIGHT = 34.0  # mm
LEAST_SPAN = 0.05  # of the uniform map's entropy, which the axis spans at least
ROOM = 0.14  # of an axis, for the names of bands of layers


@house_style
def draw(layer_profile: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Entropy by layer with intervals over images; bands of layers and of entropy and the uniform map are marked."""
    if layer_profile.empty:
        return message_figure("No layer profile: no query has an image with an answer and a defined map.")
    queries = panels.by_query(layer_profile)
    grid = panels.grid_of_queries(queries, PANEL_HEIGHT)
    figure, body = panels.figure_for(grid)
    stroke_of = strokes(layer_profile["query_type"])
    measure, num_cells = str(layer_profile["measure"].iloc[0]), int(layer_profile["num_cells"].max())
    cuts, highest, name = panels.entropy_cuts(measure, num_cells, settings["bands"])
    all_axes = panels.panel_axes(body, grid)
    limits = panels.set_value_axis(
        all_axes[0], layer_profile, ["entropy"], LEAST_SPAN * highest, [*cuts, highest], above=ROOM
    )
    for axes, (query, rows) in zip(all_axes, queries.items(), strict=True):
        panels.set_layer_axis(axes, layer_profile["layer"], grid.panel_width)
        named = panels.mark_layer_bands(axes, layer_profile, grid.panel_width)
        panels.mark_entropy_bands(axes, cuts, highest)
        if panels.has_values(axes, rows, "entropy", grid.panel_width):
            panels.draw_profile(axes, rows, "entropy", stroke_of[query[1]])
    all_axes[0].set_ylim(limits)
    body.supxlabel("layer")
    panels.label_values(body, grid, panels.measure_label(layer_profile))
    handles: list[Any] = [*panels.type_legend(layer_profile["query_type"]), panels.interval_legend(settings)]
    handles += panels.entropy_legend(cuts, highest, name, limits)
    handles += panels.band_legend(layer_profile, named)
    remarks = grid.remark, panels.cut_axis(limits), panels.missing_intervals(queries, ["entropy"])
    panels.add_legend(figure, handles, panels.shown_map(layer_profile), *remarks)
    return figure
