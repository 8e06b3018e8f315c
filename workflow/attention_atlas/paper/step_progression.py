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
    GREY,
    LIGHT_GREY,
    ORANGE,
    Stroke,
    house_style,
    label,
    message_figure,
    percent,
    strokes,
)

PANEL_HEIGHT = 46.0  # mm
ABOVE_COUNTS = 0.1  # of a panel's height, where the numbers of images end
CHARACTER = 1.22  # mm that a character of 6 pt takes
UNSURE = 0.5  # a token that fewer samples than this share is printed grey


@house_style
def draw(steps: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """Mean and minimum over layers by step, with intervals over images; the answer's step is marked."""
    if steps.empty:
        return message_figure("No step progression: no sample generated a token with a defined map.")
    queries = panels.by_query(steps)
    widest = widest_row(steps)
    figure, body = panels.figure_for(len(queries), PANEL_HEIGHT, widest)
    width = panels.panel_width(figure, len(queries), widest)
    stroke_of = strokes(steps["query_type"])
    for axes, (query, rows) in zip(
        panels.panel_axes(body, queries, widest, share_x=False), queries.items(), strict=True
    ):
        mark_answer(axes, rows, panels.answer_steps(steps, query), width)
        panels.set_token_axis(axes, rows, width, panels.answer_steps(steps, query))
        grey_unsure_tokens(axes, rows)
        if panels.has_values(axes, rows, "entropy_mean"):
            draw_entropies(axes, rows, stroke_of[query[1]])
            write_counts(axes, rows, width)
            panels.note_missing_intervals(axes, rows, "entropy_mean", bottom=ABOVE_COUNTS)
    all_axes = body.get_axes()
    low, high = all_axes[0].get_ylim()
    all_axes[0].set_ylim(low - 0.16 * (high - low), high + 0.12 * (high - low))
    body.supxlabel("most frequent token and number of the step")
    body.supylabel(panels.measure_label(steps))
    panels.add_legend(figure, legend(steps, settings), panels.shown_map(steps))
    return figure


def widest_row(steps: pd.DataFrame) -> int:
    """Panels side by side: fewer where answers are long and queries few enough for taller pages."""
    longest, queries = steps["step"].nunique(), steps["query_id"].nunique()
    return 2 if longest > 12 and queries <= 8 else 4


def mark_answer(axes: Axes, rows: pd.DataFrame, most: list[int], width: float) -> None:
    """Shade each step by the share of answers that begin there, and name the one with most; `width` is a panel's."""
    for step, share in zip(rows["step"], rows["answer_share"], strict=True):
        if share > 0:
            axes.axvspan(int(step) - 0.5, int(step) + 0.5, color=ORANGE, alpha=0.45 * float(share), linewidth=0)
    for step in most:
        share = float(rows.loc[rows["step"] == step, "answer_share"].iloc[0])
        text, upper = f"answer {share:.0%}", axes.get_xaxis_transform()
        place, side = inside(step, rows, len(text) * CHARACTER / width)
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


def write_counts(axes: Axes, rows: pd.DataFrame, width: float) -> None:
    """The number of images at the lower edge, at the first step and wherever it changes."""
    counts = rows["n"].astype("Int64")
    changed = counts.ne(counts.shift()).fillna(True)
    crowded = len(rows) * 4.5 > width
    for step, n in zip(rows["step"][changed], counts[changed], strict=True):
        text = f"n = {n}" if step == rows["step"].iloc[0] and not crowded else str(n)
        lower, rotation = axes.get_xaxis_transform(), 90 if crowded else 0
        place, side = (int(step), "center") if crowded else inside(int(step), rows, len(text) * CHARACTER / width)
        label(axes, place, 0.02, text, transform=lower, ha=side, va="bottom", rotation=rotation)


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
    interval = f"{percent(settings['statistics']['confidence'])} BCa interval over images"
    marker: dict[str, Any] = {"color": GREY, "marker": "o", "markeredgewidth": 0.6}
    return [
        *panels.type_legend(steps["query_type"]),
        Line2D([], [], **marker, label="mean over layers"),
        Line2D([], [], **marker, markerfacecolor="white", linewidth=0.6, label="minimum over layers"),
        Line2D([], [], color=GREY, linestyle="", marker="|", markersize=7, label=interval),
        Patch(facecolor=ORANGE, alpha=0.45, linewidth=0, label="answer begins (darker: more samples)"),
        Line2D([], [], linestyle="", marker="$a$", color=LIGHT_GREY, label="grey token: below half of the samples"),
    ]
