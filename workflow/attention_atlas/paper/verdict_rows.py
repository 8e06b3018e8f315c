"""Rows of verdicts: a difference with interval, margin and verdict a row, in panels down a paper's column."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attention_atlas.paper.panels import UNBROKEN, fold, text_width
from attention_atlas.paper.style import (
    DOUBLE_COLUMN,
    GREY,
    LIGHT_GREY,
    NORMAL,
    PAGE_HEIGHT,
    PALE_GREY,
    SINGLE_COLUMN,
    SMALL,
    VERDICTS,
    axes_at,
    label,
    new_figure,
)
from attention_atlas.paper.texts import percent

MARGIN, GUTTER = 1.5, 2.0  # mm that stay white at the page's edge, and between texts and an axis
LINE, BETWEEN = 2.6, 0.7  # mm that a line of text takes, and between rows
TITLE, TICKS, APART = 4.0, 4.2, 1.2  # mm above, below and between panels
# mm that names and verdicts take at most; longer ones go on in further lines.
WIDEST_NAME, WIDEST_VERDICT = 30.0, 24.5
# (page width, columns, lines of a name at most), tried in this order.
LAYOUTS = (
    *((SINGLE_COLUMN, 1, None), (DOUBLE_COLUMN, 2, None), (DOUBLE_COLUMN, 2, 3)),
    *((DOUBLE_COLUMN, 2, 2), (DOUBLE_COLUMN, 2, 1)),
)


WHOLE = 12  # rows of a panel up to which it is not parted between columns


@dataclass(frozen=True)
class Row:
    """One difference: its name, the row of its table, and what is said at its right."""

    name: str
    values: Mapping[str, Any]
    told: str

    @property
    def height(self) -> float:
        """Height in mm."""
        return LINE * (1 + max(self.name.count("\n"), self.told.count("\n"))) + BETWEEN


@dataclass(frozen=True)
class Panel:
    """Rows on one axis. Panels of the same quantity that follow each other share its limits and label."""

    title: str
    quantity: str
    rows: tuple[Row, ...]

    @property
    def above(self) -> float:
        """Height in mm of the title."""
        return TITLE if self.title else APART


def draw_panels(panels: Sequence[Panel], settings: Mapping[str, Any], remarks: Iterable[str] = ()) -> Figure:
    """Panels below each other, in one column of a paper or, where a page is too short, in two."""
    confidence = percent(settings["statistics"]["confidence"])
    marked = any(pd.notna(row.values["margin"]) for panel in panels for row in panel.rows)
    told = f"bars: {confidence} intervals over images; line: no difference"
    told += "; grey: margin of equivalence" if marked else ""
    limits = {panel.quantity: limits_of(panels, panel.quantity) for panel in panels}
    shortened = "long names are shortened in their middle; the table has them whole"
    for width, count, most in LAYOUTS:
        column = (width - GUTTER * (count - 1)) / count
        folded = [folded_panel(panel, most) for panel in panels]
        texts = [told, *remarks, *([shortened] if any_shortened(panels, folded) else [])]
        foot = "\n".join(fold(text, width - 2 * MARGIN) for text in texts if text)
        below = LINE * (foot.count("\n") + 1) + MARGIN
        columns, height = packed(folded, count, column)
        if height + below <= PAGE_HEIGHT:
            break
    figure = new_figure(width, height + below, layout=None)
    for index, chunks in enumerate(columns):
        draw_column(figure, chunks, index * (column + GUTTER), column, limits)
    figure.text(MARGIN / width, MARGIN / 2 / (height + below), foot, fontsize=SMALL, va="bottom")
    return figure


def folded_panel(panel: Panel, most: int | None) -> Panel:
    """A panel with its rows' texts in lines, names in `most` of them at most."""
    rows = [
        Row(fold(row.name, WIDEST_NAME, SMALL, most), row.values, fold(row.told, WIDEST_VERDICT)) for row in panel.rows
    ]
    return replace(panel, rows=tuple(rows))


def any_shortened(panels: Iterable[Panel], folded: Iterable[Panel]) -> bool:
    """Whether folding left out letters of a name."""
    return any(
        fold(row.name, WIDEST_NAME) != other.name
        for panel, lines in zip(panels, folded, strict=True)
        for row, other in zip(panel.rows, lines.rows, strict=True)
    )


def limits_of(panels: Iterable[Panel], quantity: str) -> tuple[float, float]:
    """The limits of a quantity's axis: zero, all values, intervals and margins of equivalence."""
    rows = [row.values for panel in panels if panel.quantity == quantity for row in panel.rows]
    ends = [row[name] for row in rows for name in ("difference", "low", "high", "margin")]
    ends += [-row["margin"] for row in rows]
    known = [0.0, *(float(end) for end in ends if pd.notna(end))]
    low, high = min(known), max(known)
    margin = 0.05 * (high - low)
    # Of nothing, an axis would tick around the line at zero in steps of 1e-17.
    return (low - margin, high + margin) if margin else (-1.0, 1.0)


def packed(panels: Sequence[Panel], count: int, width: float) -> tuple[list[list[Panel]], float]:
    """The panels in columns of about equal height, and the height of the highest in mm; a panel may be parted."""
    low, high = 0.0, sum(height_of([panel], width) for panel in panels)
    columns = [list(panels)]
    if count > 1:
        while high - low > 1:
            middle = (low + high) / 2
            low, high = (low, middle) if len(filled(panels, middle, width)) <= count else (middle, high)
        columns = filled(panels, high, width)
    return columns, max(height_of(chunks, width) for chunks in columns)


def filled(panels: Iterable[Panel], limit: float, width: float) -> list[list[Panel]]:
    """Columns filled one after the other up to a height, with one row at least in each."""
    columns: list[list[Panel]] = [[]]
    for panel in panels:
        rest = panel
        while rest.rows:
            fitting = rows_that_fit(columns[-1], rest, limit, width)
            if fitting:
                columns[-1].append(head(rest, fitting))
                title = f"{panel.title} (continued)" if panel.title else ""
                rest = replace(rest, rows=rest.rows[fitting:], title=title)
            if rest.rows:
                columns.append([])
    return columns


def rows_that_fit(column: Sequence[Panel], panel: Panel, limit: float, width: float) -> int:
    """How many rows of a panel fit below a column: one at least where it is empty, all or none of a short panel."""
    n = len(panel.rows)
    fits = (rows for rows in range(n, 0, -1) if height_of([*column, head(panel, rows)], width) <= limit)
    fitting = next(fits, 0)
    if not column:
        return max(fitting, 1)
    return fitting if fitting == n or n > WHOLE else 0


def head(panel: Panel, n: int) -> Panel:
    """The first rows of a panel."""
    return replace(panel, rows=panel.rows[:n])


def height_of(chunks: Sequence[Panel], width: float) -> float:
    """Height in mm of panels below each other."""
    return MARGIN + sum(
        chunk.above + sum(row.height for row in chunk.rows) + (below(chunk, width) if ends(chunks, index) else 0)
        for index, chunk in enumerate(chunks)
    )


def ends(chunks: Sequence[Panel], index: int) -> bool:
    """Whether a panel is the last of its quantity in a column, so that ticks and label stand below it."""
    return index + 1 == len(chunks) or chunks[index + 1].quantity != chunks[index].quantity


def below(chunk: Panel, width: float) -> float:
    """Height in mm of the ticks and the label below an axis."""
    return TICKS + LINE * (axis_label(chunk.quantity, width).count("\n") + 1) + APART


def axis_label(quantity: str, width: float) -> str:
    """The label of an axis in lines."""
    return fold(quantity, width - 2 * MARGIN - 12)


def draw_column(
    figure: Figure, chunks: Sequence[Panel], left: float, width: float, limits: Mapping[str, tuple[float, float]]
) -> None:
    """Panels below each other in a column of a page, from `left` mm on."""
    names = max(text_width(line) for chunk in chunks for row in chunk.rows for line in row.name.split("\n"))
    verdicts = max(text_width(line) for chunk in chunks for row in chunk.rows for line in row.told.split("\n"))
    start, top = left + MARGIN + names + GUTTER, MARGIN
    axis = width - 2 * MARGIN - names - verdicts - 2 * GUTTER
    middle = left + width / 2
    for index, chunk in enumerate(chunks):
        height = sum(row.height for row in chunk.rows)
        axes = axes_at(figure, start, top + chunk.above, axis, height)
        draw_rows(axes, chunk.rows, height)
        axes.set_title(chunk.title, loc="left", fontsize=NORMAL, x=-(names + GUTTER) / axis)
        axes.set_xlim(limits[chunk.quantity])
        axes.xaxis.set_major_locator(MaxNLocator(max(2, int(axis / 8))))
        last = ends(chunks, index)
        axes.tick_params(labelbottom=last)
        if last:
            axes.set_xlabel(axis_label(chunk.quantity, width), fontsize=SMALL, x=(middle - start) / axis)
        top += chunk.above + height + (below(chunk, width) if last else 0)


def draw_rows(axes: Axes, rows: Sequence[Row], height: float) -> None:
    """The rows of a panel of `height` mm."""
    beside, place, places = axes.get_yaxis_transform(), 0.0, []
    for row in rows:
        middle, values = place + row.height / 2, row.values
        colour, marker = VERDICTS[values["verdict"]]
        if pd.notna(values["margin"]):
            margin = values["margin"]
            axes.barh(middle, 2 * margin, left=-margin, height=row.height - BETWEEN, color=PALE_GREY, zorder=0)
        if pd.notna(values["low"]):
            axes.hlines(middle, values["low"], values["high"], color=colour, linewidth=1.2)
        axes.plot([values["difference"]], [middle], color=colour, marker=marker, linestyle="")
        label(axes, 1.0, middle, f" {row.told}".replace("\n", "\n "), transform=beside, va="center", color=colour)
        place += row.height
        places.append(middle)
    axes.axvline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_yticks(places, [row.name for row in rows])
    axes.set_ylim(height, 0)
    axes.tick_params(left=False)
    axes.hlines(places, 0, 1, transform=beside, color=LIGHT_GREY, linewidth=0.3, zorder=0)


def count(*numbers: Any) -> str:
    """The number of images of a row, which no line parts: "n = 48"."""
    return f"n = {', '.join(map(str, dict.fromkeys(numbers)))}".replace(" ", UNBROKEN)
