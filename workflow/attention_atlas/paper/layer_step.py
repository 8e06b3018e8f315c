"""Layer x step: entropy of the pooled map at every layer and generated token, one heat map per query."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attention_atlas.paper import panels
from attention_atlas.paper.style import LIGHT_GREY, MAP_COLOURS, MM_PER_INCH, VERMILION, house_style, message_figure

TITLE_PAD = 5.5  # pt; the triangles at the answer's step stand between plane and title
PANEL_HEIGHT = 44.0  # mm


@house_style
def draw(layer_step: pd.DataFrame, steps: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Mean entropy over images by layer and step on one colour scale; the answer's step is marked."""
    if layer_step.empty:
        return message_figure("No layer x step plane: no sample generated a token with a defined map.")
    queries = panels.by_query(layer_step)
    widest = 2 if layer_step["step"].nunique() > 12 and len(queries) <= 8 else 4
    figure, body = panels.figure_for(len(queries), PANEL_HEIGHT, widest, extra=10)
    width = panels.panel_width(figure, len(queries), widest)
    depth = sorted(int(layer) for layer in layer_step["layer"].unique())
    scale = Normalize(layer_step["entropy"].min(), layer_step["entropy"].max())
    all_axes = panels.panel_axes(body, queries, widest, share_x=False)
    for axes, (query, rows) in zip(all_axes, queries.items(), strict=True):
        panels.write_count(axes, rows["n"])
        axes.set_title(axes.get_title("left"), loc="left", pad=TITLE_PAD)
        draw_plane(axes, rows, depth, scale)
        answers = panels.answer_steps(steps, query)
        panels.set_token_axis(axes, rows, width, answers)
        for step in answers:
            axes.plot(
                step,
                1.0,
                marker="v",
                markersize=4,
                color=VERMILION,
                clip_on=False,
                transform=axes.get_xaxis_transform(),
            )
        panels.has_values(axes, rows, "entropy")
    every = math.ceil(len(depth) / 9)
    all_axes[0].set_yticks(range(0, len(depth), every), [str(layer) for layer in depth[::every]])
    bar = body.colorbar(ScalarMappable(scale, MAP_COLOURS), ax=all_axes, aspect=40, pad=0.01, fraction=0.03)
    bar.set_label(f"{panels.measure_label(layer_step)},\n{panels.shown_map(layer_step)}")
    bar.outline.set_visible(False)
    told = "most frequent token and number of the step (triangle: step at which most answers begin)"
    body.supxlabel(panels.wrapped(told, figure.get_size_inches()[0] * MM_PER_INCH))
    body.supylabel("layer")
    return figure


def draw_plane(axes: Axes, rows: pd.DataFrame, depth: list[int], scale: Normalize) -> None:
    """One cell per (step, layer); hatched where there is no value. Layers are rows in their order, gaps closed."""
    steps = range(int(rows["step"].min()), int(rows["step"].max()) + 1)
    plane = rows.pivot(index="layer", columns="step", values="entropy").reindex(index=depth, columns=steps)
    axes.set_facecolor("white")
    axes.patch.set(hatch="/////", edgecolor=LIGHT_GREY)
    step_edges = np.arange(steps.start, steps.stop + 1) - 0.5
    layer_edges = np.arange(len(depth) + 1) - 0.5
    axes.pcolormesh(
        step_edges,
        layer_edges,
        np.ma.masked_invalid(plane.to_numpy(dtype=float)),
        norm=scale,
        cmap=MAP_COLOURS,
        rasterized=True,
    )
    axes.set_ylim(layer_edges[0], layer_edges[-1])
