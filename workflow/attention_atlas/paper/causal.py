"""Causal checks: each check against its control by type of query, with interval, margin of equivalence and verdict."""

import string
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from attention_atlas.paper.style import house_style, message_figure
from attention_atlas.paper.verdict_rows import Panel, Row, count, draw_panels


@house_style
def draw(causal: pd.DataFrame, settings: Mapping[str, Any]) -> Figure:
    """A panel per check, a row per type of query; letters tell why a verdict is what it is."""
    if causal.empty:
        return message_figure("No causal checks: no sample was perturbed.")
    notes = dict(zip(dict.fromkeys(filter(None, causal["verdict_note"])), string.ascii_lowercase, strict=False))
    panels = [
        Panel(str(check), str(rows["quantity"].iloc[0]), rows_of(rows, notes))
        for check, rows in causal.groupby("check", sort=False)
    ]
    return draw_panels(panels, settings, ["; ".join(f"({letter}) {note}" for note, letter in notes.items())])


def rows_of(causal: pd.DataFrame, notes: Mapping[str, str]) -> tuple[Row, ...]:
    """A row per type of query: its verdict, the letter of the verdict's note, and the number of images."""
    rows = []
    for values in causal.to_dict("records"):
        letter = f" ({notes[values['verdict_note']]})" if values["verdict_note"] in notes else ""
        rows.append(Row(str(values["query_type"]), values, f"{values['verdict']}{letter}, {count(values['n'])}"))
    return tuple(rows)
