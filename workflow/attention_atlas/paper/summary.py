"""summary.json: the main numbers of every run by query; metrics.json: a few for each run, which DVC shows as metrics.

Both are nested by study and model.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from attention_atlas.errors import AtlasError
from attention_atlas.files import write_json
from attention_atlas.paper.columns import read_published

TOTALS = ("samples", "failed", "no_answer")
HEADLINES = ("entropy_mean", "entropy_min", "layer_of_min", "accuracy", "n")


RANGES = ("accuracy", "entropy_mean")


def write_summary(output: Path, tables: list[Path], metrics: Path | None = None) -> None:
    """Write the main numbers, and the metrics, of tables results/paper/tables/<study>/<model>/table1.csv."""
    summary: dict[str, dict[str, Any]] = {}
    for path in tables:
        model, study = path.parent.name, path.parent.parent.name
        models = summary.setdefault(study, {})
        if model in models:
            raise AtlasError(f"{path}: the run {study} x {model} is given twice; give each table once")
        models[model] = headlines(read_published(path, "table1"))
    write_json(output, summary, indent=2, sort_keys=True)
    if metrics is not None:
        few = {study: {model: ranges(run) for model, run in models.items()} for study, models in summary.items()}
        write_json(metrics, few, indent=2, sort_keys=True)


def ranges(run: dict[str, Any]) -> dict[str, Any]:
    """The totals of a run, and the lowest and highest query of each main number; null where there is no value."""
    metrics = {name: run[name] for name in TOTALS}
    for name in RANGES:
        values = [query[name] for query in run["queries"].values() if query[name] is not None]
        metrics |= {f"lowest_{name}": min(values, default=None), f"highest_{name}": max(values, default=None)}
    return metrics


def headlines(table1: pd.DataFrame) -> dict[str, Any]:
    """The headline numbers of one run: totals, and by query; null where there is no value."""
    queries = {
        row["query_id"]: {name: None if pd.isna(row[name]) else row[name] for name in HEADLINES}
        for row in table1.to_dict("records")
    }
    return {**{name: int(table1[name].sum()) for name in TOTALS}, "queries": queries}
