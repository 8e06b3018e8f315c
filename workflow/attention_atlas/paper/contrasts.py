"""Contrasts: every declared difference with its interval, the margin of equivalence, and the verdict."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_atlas.paper.columns import MEASURES
from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREY,
    LIGHT_GREY,
    PALE_GREY,
    SMALL,
    VERDICTS,
    house_style,
    label,
    message_figure,
    new_figure,
    percent,
)

NAMES = {
    **MEASURES,
    **{"auroc": "AUROC", "ln_enrichment": "ln enrichment", "share": "share of images"},
    **{"js_excess": "Jensen–Shannon divergence (nats)", "centre_excess": "centre shift (cells)"},
}
ROW = 5.0  # mm


@house_style
def draw(contrasts: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A panel per measure, a row per contrast; grey: the margin within which a difference counts as none."""
    tested = contrasts[contrasts["difference"].notna()]
    if tested.empty:
        return message_figure("No contrasts: none has enough images to be tested.")
    measure = tested["measure"].where(tested["kind"] != "share", "share")
    groups = [(name, rows) for name, rows in tested.groupby(measure, sort=False)]
    heights = [len(rows) + 1.6 for _, rows in groups]
    figure = new_figure(DOUBLE_COLUMN, ROW * sum(heights) + 10)
    all_axes = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (name, rows) in zip(all_axes, groups, strict=True):
        draw_group(axes, rows, f"difference in {NAMES.get(str(name), str(name))}, first minus second")
    confidence = percent(settings["statistics"]["confidence"])
    figure.supxlabel(f"bars: {confidence} intervals over images; grey: margin of equivalence", fontsize=SMALL)
    return figure


def draw_group(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    """The contrasts of one measure."""
    for place, row in enumerate(rows.to_dict("records")):
        colour, marker = VERDICTS[row["verdict"]]
        if pd.notna(row["margin"]):
            axes.barh(place, 2 * row["margin"], left=-row["margin"], height=0.8, color=PALE_GREY, zorder=0)
        if pd.notna(row["low"]):
            axes.hlines(place, row["low"], row["high"], color=colour, linewidth=1.2)
        axes.plot([row["difference"]], [place], color=colour, marker=marker, linestyle="")
        n = f"{row['n_first']}" if row["n_first"] == row["n_second"] else f"{row['n_first']}, {row['n_second']}"
        text = f"{row['verdict']} {row['sign']}".strip() + (f" ({row['reading']})" if row["reading"] else "")
        label(axes, 1.01, place, f"{text}, n = {n}", transform=axes.get_yaxis_transform(), va="center", color=colour)
    axes.axvline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_yticks(range(len(rows)), [f"{row.arm_first} − {row.arm_second}" for row in rows.itertuples()])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(title)
    axes.tick_params(left=False)
    axes.hlines(range(len(rows)), 0, 1, transform=axes.get_yaxis_transform(), color=LIGHT_GREY, linewidth=0.3, zorder=0)
