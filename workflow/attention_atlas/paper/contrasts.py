"""Contrasts: every declared difference with its interval, the margin of equivalence, and the verdict."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from attention_atlas.paper.panels import QUANTITIES
from attention_atlas.paper.style import house_style, message_figure
from attention_atlas.paper.verdict_rows import Panel, Row, count, draw_panels

NAMED = 6  # contrasts that are not shown are named up to this many, else counted


@house_style
def draw(contrasts: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A panel per measure, a row per contrast; grey: the margin within which a difference counts as none."""
    if contrasts.empty:
        return message_figure("No contrasts: none is declared (settings: contrasts).")
    tested = contrasts[contrasts["difference"].notna()]
    if tested.empty:
        return message_figure("No contrasts: none has enough images to be tested.")
    measure = tested["measure"].where(tested["kind"] != "share", "share")
    panels = [
        Panel("", f"difference in {QUANTITIES.get(str(name), str(name))}, first minus second", rows_of(rows))
        for name, rows in tested.groupby(measure, sort=False)
    ]
    return draw_panels(panels, settings, [left_out(contrasts)])


def rows_of(contrasts: pd.DataFrame) -> tuple[Row, ...]:
    """A row per contrast: its arms, and its verdict, reading of the claim and number of images."""
    return tuple(
        Row(f"{values['arm_first']} − {values['arm_second']}", values, told(values))
        for values in contrasts.to_dict("records")
    )


def told(values: Mapping[str, Any]) -> str:
    """What is said of a contrast: "moved + (supported), n = 48"."""
    sign = {"-": " −", "+": " +"}.get(values["sign"], "")
    reading = f" ({values['reading']})" if values["reading"] not in ("", values["verdict"]) else ""
    return f"{values['verdict']}{sign}{reading}, {count(values['n_first'], values['n_second'])}"


def left_out(contrasts: pd.DataFrame) -> str:
    """Say which contrasts have no difference to show."""
    names = [str(name) for name in contrasts.loc[contrasts["difference"].isna(), "name"]]
    if not names:
        return ""
    shown = ", ".join(names) if len(names) <= NAMED else f"{len(names)} contrasts, named in the table"
    return f"not shown, because too few images were there for a test: {shown}"
