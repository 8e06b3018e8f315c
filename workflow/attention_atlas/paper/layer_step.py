"""Layer x step: entropy of the pooled map at every layer and generated token, one heat map per query."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attention_atlas.paper import panels
from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    LIGHT_GREY,
    MAP_COLOURS,
    MM_PER_INCH,
    SINGLE_COLUMN,
    SMALL,
    VERMILION,
    house_style,
    message_figure,
)

TITLE_PAD = 6.5  # pt; the triangles at the answer's step stand between plane and title
PLANE = 26.0  # mm of a panel above its tick labels
BENEATH = 28.0  # mm of a page that colour bar and labels take, about
BAR = 14.0  # mm of them that the page grows by
LAYOUTS = ((SINGLE_COLUMN, 2), (DOUBLE_COLUMN, 4), (DOUBLE_COLUMN, 6))


@house_style
def draw(layer_step: pd.DataFrame, steps: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Mean entropy over images by layer and step on one colour scale; the answer's step is marked."""
    if layer_step.empty:
        return message_figure("No layer x step plane: no sample generated a token with a defined map.")
    queries = panels.by_query(layer_step)
    height = PLANE + TITLE_PAD / 72 * MM_PER_INCH + panels.labels_height(queries.values())
    grid = panels.grid_of_queries(queries, height, LAYOUTS, BENEATH)
    figure, body = panels.figure_for(replace(grid, height=grid.height + BAR))
    depth = sorted(int(layer) for layer in layer_step["layer"].unique())
    known = layer_step["entropy"].dropna()
    scale = Normalize(known.min(), known.max()) if len(known) else Normalize(0, 1)
    all_axes = panels.panel_axes(body, grid, share_x=False)
    for axes, (query, rows) in zip(all_axes, queries.items(), strict=True):
        for side in ("left", "right"):
            axes.set_title(axes.get_title(side), loc=side, pad=TITLE_PAD)
        draw_plane(axes, rows, depth, scale)
        answers = panels.answer_steps(steps, query)
        panels.set_token_axis(axes, rows, grid.panel_width, answers)
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
        panels.has_values(axes, rows, "entropy", grid.panel_width)
    every = math.ceil(len(depth) / 9)
    all_axes[0].set_yticks(range(0, len(depth), every), [str(layer) for layer in depth[::every]])
    bar = figure.colorbar(
        ScalarMappable(scale, MAP_COLOURS), ax=all_axes, location="bottom", aspect=50, pad=0.02, fraction=0.03
    )
    bar.set_label(f"{panels.measure_label(layer_step)}, {panels.shown_map(layer_step)}")
    bar.outline.set_visible(False)
    told = ["step and its most frequent token; triangle: most answers begin"]
    if any(rows["n"].nunique(dropna=False) > 1 for rows in queries.values()):
        told.append(panels.CHANGING_COUNT)
    if layer_step["entropy"].isna().any():
        told.append("hatched: no value")
    told += [grid.remark] if grid.remark else []
    body.supxlabel("\n".join(panels.wrapped(text, grid.width) for text in told), fontsize=SMALL)
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
