"""summary.json: the headline numbers of every run, nested by study and model, as DVC's metrics."""

from pathlib import Path
from typing import Any

import pandas as pd

from attention_atlas.errors import AtlasError
from attention_atlas.files import write_json
from attention_atlas.paper.columns import read_published

TOTALS = ("samples", "failed", "no_answer")
HEADLINES = ("entropy_mean", "entropy_min", "layer_of_min", "accuracy", "n")


def write_summary(output: Path, tables: list[Path]) -> None:
    """Write the headline numbers of tables results/paper/tables/<study>/<model>/table1.csv."""
    summary: dict[str, dict[str, Any]] = {}
    for path in tables:
        model, study = path.parent.name, path.parent.parent.name
        models = summary.setdefault(study, {})
        if model in models:
            raise AtlasError(f"{path}: the run {study} x {model} is given twice; give each table once")
        models[model] = headlines(read_published(path, "table1"))
    write_json(output, summary, indent=2, sort_keys=True)


def headlines(table1: pd.DataFrame) -> dict[str, Any]:
    """The headline numbers of one run: totals, and by query; null where there is no value."""
    queries = {
        row["query_id"]: {name: None if pd.isna(row[name]) else row[name] for name in HEADLINES}
        for row in table1.to_dict("records")
    }
    return {**{name: int(table1[name].sum()) for name in TOTALS}, "queries": queries}
