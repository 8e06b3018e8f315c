"""Step progression: entropy of the pooled map at every generated token, one panel per query."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from attention_atlas.paper import panels
from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    SINGLE_COLUMN,
    Stroke,
    house_style,
    label,
    message_figure,
    strokes,
)

COLUMNS = ("entropy_mean", "entropy_min")
BENEATH = 34.0  # mm of a page that axis label and legend take, about
PLANE = 28.0  # mm of a panel above its tick labels
LAYOUTS = ((SINGLE_COLUMN, 2), (DOUBLE_COLUMN, 4), (DOUBLE_COLUMN, 6))
LEAST_SPAN = 0.1
ROOM = 0.14  # of an axis, for the share of answers
UNSURE = 0.5  # a token that fewer samples than this share is printed grey


@house_style
def draw(steps: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Mean and minimum over layers by step, with intervals over images; the answer's step is marked."""
    if steps.empty:
        return message_figure("No step progression: no sample generated a token with a defined map.")
    queries = panels.by_query(steps)
    grid = panels.grid_of_queries(queries, PLANE + panels.labels_height(queries.values()), LAYOUTS, BENEATH)
    figure, body = panels.figure_for(grid)
    stroke_of = strokes(steps["query_type"])
    all_axes = panels.panel_axes(body, grid, share_x=False)
    limits = panels.set_value_axis(all_axes[0], steps, COLUMNS, LEAST_SPAN, above=ROOM)
    for axes, (query, rows) in zip(all_axes, queries.items(), strict=True):
        answers = panels.answer_steps(steps, query)
        panels.set_token_axis(axes, rows, grid.panel_width, answers)
        mark_answer(axes, rows, answers, grid.panel_width)
        grey_unsure_tokens(axes, rows)
        if panels.has_values(axes, rows, "entropy_mean", grid.panel_width):
            draw_entropies(axes, rows, stroke_of[query[1]])
    all_axes[0].set_ylim(limits)
    body.supxlabel("step and its most frequent token")
    panels.label_values(body, grid, panels.measure_label(steps))
    changing = [rows for rows in queries.values() if rows["n"].nunique(dropna=False) > 1]
    remarks = [
        grid.remark,
        panels.cut_axis(limits),
        panels.CHANGING_COUNT if changing else "",
        panels.missing_intervals(queries, COLUMNS),
    ]
    panels.add_legend(figure, legend(steps, settings), panels.shown_map(steps), *remarks)
    return figure


def mark_answer(axes: Axes, rows: pd.DataFrame, most: list[int], width: float) -> None:
    """Shade each step by the share of answers that begin there, and name the one with most; `width` is a panel's."""
    for step, share in zip(rows["step"], rows["answer_share"], strict=True):
        if share > 0:
            axes.axvspan(int(step) - 0.5, int(step) + 0.5, color=ORANGE, alpha=0.45 * float(share), linewidth=0)
    for step in most:
        share = float(rows.loc[rows["step"] == step, "answer_share"].iloc[0])
        text, upper = f"answer {share:.0%}", axes.get_xaxis_transform()
        place, side = inside(step, rows, panels.text_width(text) / width)
        label(axes, place, 0.985, text, transform=upper, ha=side, va="top", color="black")


def draw_entropies(axes: Axes, rows: pd.DataFrame, stroke: Stroke) -> None:
    """Mean over layers (filled) and minimum over layers (open) with interval bars."""
    step = rows["step"].astype(int)
    for column, face, line in (("entropy_mean", stroke.colour, 1.0), ("entropy_min", "white", 0.6)):
        axes.vlines(step, rows[f"{column}_low"], rows[f"{column}_high"], color=stroke.colour, linewidth=0.8)
        axes.plot(
            step,
            rows[column],
            color=stroke.colour,
            linestyle=stroke.line,
            linewidth=line,
            marker=stroke.marker,
            markerfacecolor=face,
            markeredgewidth=0.6,
        )


def inside(step: int, rows: pd.DataFrame, share: float) -> tuple[float, str]:
    """Where a text about a step stands so that it stays in its panel: centred, or from the step's own edge inwards.

    `share` is the text's width over the panel's.
    """
    first, last = int(rows["step"].min()), int(rows["step"].max())
    reach = share / 2 * (last - first + 1) - 0.5  # steps that half of the text reaches beyond its own
    if step - first < reach or step == first:
        return step - 0.45, "left"
    return (step + 0.45, "right") if last - step < reach or step == last else (step, "center")


def grey_unsure_tokens(axes: Axes, rows: pd.DataFrame) -> None:
    """Print tokens grey that fewer than half of the samples have at their step."""
    share = {int(step): share for step, share in zip(rows["step"], rows["token_share"], strict=True)}
    for position, token in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        token.set_color(GREY if share[int(position)] < UNSURE else "black")


def legend(steps: pd.DataFrame, settings: Mapping[str, Any]) -> list[Any]:
    """What the marks mean."""
    interval = panels.interval_legend(settings).get_label()
    marker: dict[str, Any] = {"color": GREY, "marker": "o", "markeredgewidth": 0.6}
    return [
        *panels.type_legend(steps["query_type"]),
        Line2D([], [], **marker, label="mean over layers"),
        Line2D([], [], **marker, markerfacecolor="white", linewidth=0.6, label="minimum over layers"),
        Line2D([], [], color=GREY, linestyle="", marker="|", markersize=7, label=interval),
        Patch(facecolor=ORANGE, alpha=0.45, linewidth=0, label="answer begins (darker: more samples)"),
        Line2D([], [], linestyle="", marker="$a$", color=LIGHT_GREY, label="grey token: below half of the samples"),
    ]
