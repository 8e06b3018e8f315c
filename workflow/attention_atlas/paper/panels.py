"""Small multiples: one panel per query, on common axes, with what every table figure marks in them."""

import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from attention_atlas.paper.columns import MEASURES, SELECTORS
from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREY,
    LIGHT_GREY,
    MM_PER_INCH,
    NORMAL,
    PAGE_HEIGHT,
    PALE_GREY,
    SINGLE_COLUMN,
    SMALL,
    Stroke,
    label,
    new_figure,
    note,
    strokes,
)

LABEL_PITCH = 2.6  # mm that a line of 6 pt needs
FRAME = 12.0  # mm of a panel grid's width that labels at its left take
TOKEN_LENGTH = 12


def by_query(frame: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """The rows of each (query id, query type), in the table's order."""
    return {(str(key[0]), str(key[1])): rows for key, rows in frame.groupby(["query_id", "query_type"], sort=False)}


def columns_for(queries: int, widest: int = 4) -> int:
    """How many panels stand side by side: as few as need no further row, so that rows are about as full."""
    most = widest if queries <= 6 * widest else widest + 2
    return math.ceil(queries / math.ceil(queries / most))


def figure_for(queries: int, panel_height: float, widest: int = 4, extra: float = 4) -> tuple[Figure, SubFigure]:
    """A figure for a panel per query, and its part that panels and their axis labels go into, above any legend.

    One column of a paper for one or two queries, both columns for more. `panel_height` and `extra` (axis label) are
    mm; panels shrink where a page ends.
    """
    rows = math.ceil(queries / columns_for(queries, widest))
    width = SINGLE_COLUMN if queries <= min(2, widest - 1) else DOUBLE_COLUMN
    figure = new_figure(width, min(rows * panel_height + extra, PAGE_HEIGHT))
    # The layout reserves room for a legend or for an axis label of the whole figure, not for both below each other.
    body: Any = figure.subfigures(1, 1)
    return figure, body


def panel_width(figure: Figure, queries: int, widest: int = 4) -> float:
    """Width of a panel in mm."""
    return (figure.get_size_inches()[0] * MM_PER_INCH - FRAME) / columns_for(queries, widest) - 3


def panel_axes(
    figure: Figure | SubFigure, queries: Iterable[tuple[str, str]], widest: int = 4, share_x: bool = True
) -> list[Axes]:
    """An axes per query, titled by id and type, with common axes and tick labels at the outer ones alone."""
    queries = list(queries)
    columns = columns_for(len(queries), widest)
    grid = figure.add_gridspec(math.ceil(len(queries) / columns), columns)
    axes: list[Axes] = []
    for index, query in enumerate(queries):
        first = axes[0] if axes else None
        panel = figure.add_subplot(
            grid[index // columns, index % columns], sharey=first, sharex=first if share_x else None
        )
        panel.set_title(" ".join(query), loc="left", fontsize=NORMAL)
        panel.tick_params(labelleft=index % columns == 0)
        if share_x:
            panel.tick_params(labelbottom=index + columns >= len(queries))
        axes.append(panel)
    return axes


def is_last_column(index: int, queries: int, widest: int = 4) -> bool:
    """Whether a panel stands in the last column; what is written beside one further left would part the columns."""
    return (index + 1) % columns_for(queries, widest) == 0


def count_text(n: pd.Series) -> str:
    """How many images a panel's values are of: "n = 48", or a range."""
    known = n.dropna()
    if known.empty:
        return "n = 0"
    return f"n = {known.min()}" if known.min() == known.max() else f"n = {known.min()}–{known.max()}"


def write_count(axes: Axes, n: pd.Series) -> None:
    """The number of images, at the right of a panel's title."""
    axes.set_title(count_text(n), loc="right", fontsize=SMALL, color=GREY)


def has_values(axes: Axes, rows: pd.DataFrame, column: str) -> bool:
    """Whether a panel has anything to show; where it has not, the panel says why."""
    if rows[column].notna().any():
        return True
    reasons = [text for text in rows.get("interval_note", pd.Series(dtype=str)).unique() if text]
    reason = "; ".join(reasons) or "no image with an answer and a defined map"
    label(axes, 0.5, 0.5, textwrap.fill(f"no value: {reason}", 28), ha="center", va="center")
    return False


def note_missing_intervals(axes: Axes, rows: pd.DataFrame, column: str, bottom: float = 0.03) -> None:
    """Say in a panel, at its lower edge or `bottom` above it, why intervals are missing where a value has none."""
    without = rows[rows[column].notna() & rows[f"{column}_low"].isna()]
    reasons = in_short(text for text in without["interval_note"].unique() if text)
    if reasons:
        some = "" if len(without) == rows[column].notna().sum() else " in places"
        note(axes, f"no interval{some}: {'; '.join(reasons)}", bottom=bottom)


def in_short(reasons: Iterable[str]) -> list[str]:
    """Reasons, once each; those that differ in the number they begin with as one: "3 to 5 image(s); an interval …"."""
    numbers: dict[str, set[int]] = {}
    for reason in reasons:
        text = re.sub(r"^\d+", "", reason)
        number = reason.removesuffix(text)
        numbers.setdefault(text, set()).update([int(number)] if number else [])
    spans = {text: sorted({min(found), max(found)}) if found else [] for text, found in numbers.items()}
    return [" to ".join(map(str, span)) + text for text, span in spans.items()]


def draw_profile(axes: Axes, rows: pd.DataFrame, column: str, stroke: Stroke, **line: Any) -> None:
    """A quantity by layer with the ribbon of its interval; a bar where there is one layer alone."""
    layers = rows["layer"].astype(int)
    every = max(1, math.ceil(len(rows) / 10))
    axes.plot(
        layers,
        rows[column],
        color=stroke.colour,
        linestyle=stroke.line,
        marker=stroke.marker,
        markevery=every,
        **{"markersize": 2.5, **line},
    )
    low, high = rows[f"{column}_low"], rows[f"{column}_high"]
    if len(rows) == 1:
        axes.vlines(layers, low, high, color=stroke.colour, linewidth=1.5, alpha=0.5)
    else:
        axes.fill_between(layers, low, high, color=stroke.colour, alpha=0.25, linewidth=0)


def set_layer_axis(axes: Axes, layers: Iterable[int], width: float) -> None:
    """Ticks at layers that exist, as many as a panel of `width` mm holds."""
    depth = sorted(set(layers))
    axes.set_xticks(depth[:: math.ceil(len(depth) / max(2, int(width / 4.5)))])
    margin = max(0.5, 0.02 * (depth[-1] - depth[0]))
    axes.set_xlim(depth[0] - margin, depth[-1] + margin)


def mark_layer_bands(axes: Axes, frame: pd.DataFrame, named: bool) -> None:
    """Shade every second band of layers; `named` writes their names at the upper edge."""
    bands = frame.drop_duplicates("layer").sort_values("layer")
    depths, names = bands["layer"].astype(int).tolist(), bands["layer_band"].tolist()
    starts = [index for index in range(len(names)) if index == 0 or names[index] != names[index - 1]]
    left_end, right_end = axes.get_xlim()
    borders = [left_end, *((depths[i - 1] + depths[i]) / 2 for i in starts[1:]), right_end]
    for order, start in enumerate(starts):
        left, right = borders[order], borders[order + 1]
        if order % 2:
            axes.axvspan(left, right, color=PALE_GREY, linewidth=0, zorder=0)
        if named:
            middle, upper = (left + right) / 2, axes.get_xaxis_transform()
            label(axes, middle, 0.985, names[start], transform=upper, ha="center", va="top")


def entropy_cuts(measure: str, num_cells: int, bands: Mapping[str, Any]) -> tuple[list[float], float, str]:
    """The cuts between entropy bands on the scale of a panel, its maximum, and the maximum's name.

    Cuts are for the reference number of cells; for another number N the same shares of ln N are taken (methods §4).
    """
    reference = math.log(bands["reference_cells"])
    if measure == "entropy_normalised":
        return [cut / reference for cut in bands["entropy"]], 1.0, "1"
    highest = math.log(num_cells)
    scale = 1.0 if num_cells == bands["reference_cells"] else highest / reference
    return [cut * scale for cut in bands["entropy"]], highest, f"ln {num_cells}"


def mark_entropy_bands(axes: Axes, frame: pd.DataFrame, bands: Mapping[str, Any], named: bool) -> None:
    """Lines at the cuts between low, medium and high entropy and at the entropy of a uniform map."""
    measure, num_cells = str(frame["measure"].iloc[0]), int(frame["num_cells"].max())
    cuts, highest, name = entropy_cuts(measure, num_cells, bands)
    for cut in cuts:
        axes.axhline(cut, color=LIGHT_GREY, linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)
    axes.axhline(highest, color=GREY, linewidth=0.6, zorder=1)
    if not named:
        return
    beside = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "center"}
    for band, low, high in zip(("low", "medium", "high"), [0.0, *cuts], [*cuts, highest], strict=True):
        label(axes, 1.02, (low + high) / 2, band, **beside)
    label(axes, 1.02, highest, name, **beside)


def entropy_limit(frame: pd.DataFrame) -> float:
    """The upper end of an axis of entropies: above the uniform map's, with room for the names of layer bands."""
    normalised = frame["measure"].iloc[0] == "entropy_normalised"
    return 1.16 * (1.0 if normalised else math.log(int(frame["num_cells"].max())))


def measure_label(frame: pd.DataFrame) -> str:
    """The axis label of a table's measure."""
    return ", ".join(MEASURES.get(name, name) for name in frame["measure"].unique())


def shown_map(frame: pd.DataFrame) -> str:
    """Which map a figure is about: "map at the first token of the answer, max over heads"."""
    parts = []
    if "selector" in frame:
        parts += ["map at " + ", ".join(SELECTORS.get(name, name) for name in frame["selector"].unique())]
    if "pooling" in frame:
        parts += [" and ".join(frame["pooling"].unique()) + " over heads"]
    return ", ".join(parts)


def type_legend(query_types: Iterable[str]) -> list[Line2D]:
    """Legend entries of the query types."""
    return [
        Line2D([], [], color=stroke.colour, linestyle=stroke.line, marker=stroke.marker, markersize=2.5, label=name)
        for name, stroke in strokes(query_types).items()
    ]


def ribbon_legend(label: str) -> Patch:
    """The legend entry of intervals."""
    return Patch(facecolor=GREY, alpha=0.35, linewidth=0, label=label)


def add_legend(figure: Figure, handles: list[Any], title: str) -> None:
    """A legend below the panels, its title saying which map is shown; the page grows by it, as far as a page goes."""
    width, height = (inches * MM_PER_INCH for inches in figure.get_size_inches())
    for columns in range(min(len(handles), 6), 0, -1):
        legend = figure.legend(
            handles=handles,
            title=wrapped(title, width),
            loc="outside lower center",
            ncols=columns,
            handlelength=2.2,
            columnspacing=1.2,
            borderaxespad=0.1,
        )
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    grown = height + box.height / figure.dpi * MM_PER_INCH
    figure.set_size_inches(width / MM_PER_INCH, min(grown, PAGE_HEIGHT) / MM_PER_INCH)


def wrapped(text: str, width: float) -> str:
    """A text of 7 pt in lines that `width` mm hold."""
    return textwrap.fill(text, int(width / 1.5))


def token_label(token: str, step: int) -> str:
    """A step with its token as a tick label; spaces around a token are left out unless it has nothing else."""
    shown = token.strip() or ("space" if token else "none")
    shown = shown if len(shown) <= TOKEN_LENGTH else f"{shown[: TOKEN_LENGTH - 1]}…"
    return f"{shown}  {step}"


def set_token_axis(axes: Axes, rows: pd.DataFrame, width: float, always: Iterable[int] = ()) -> None:
    """Tick labels of steps (rows: step, token), as many as `width` mm holds, those of `always` among them."""
    steps = rows.drop_duplicates("step").sort_values("step")
    every = math.ceil(len(steps) * LABEL_PITCH / width)
    chosen = {int(step) for step in steps["step"] if int(step) % every == 0}
    for step in always:
        chosen = {other for other in chosen if abs(other - step) >= every} | {int(step)}
    shown = steps[steps["step"].isin(chosen)]
    labels = [token_label(token, int(step)) for step, token in zip(shown["step"], shown["token"], strict=True)]
    axes.set_xticks(shown["step"].astype(int).tolist(), labels, rotation=90, fontsize=SMALL)
    axes.set_xlim(int(steps["step"].min()) - 0.5, int(steps["step"].max()) + 0.5)


def answer_steps(steps: pd.DataFrame, query: tuple[str, str]) -> list[int]:
    """The step at which most answers of a query begin; none where no answer was found."""
    rows = steps[(steps["query_id"] == query[0]) & (steps["answer_share"] > 0)]
    return [] if rows.empty else [int(rows.loc[rows["answer_share"].idxmax(), "step"])]
