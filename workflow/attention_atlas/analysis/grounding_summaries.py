"""Grounding per query: means over images of each score, raw and corrected side by side, with baselines beside them.

In the summary the raw map is held against each baseline on the same images: the row tells the nearest one, that with
the least lower end of the interval of the paired difference; where this is above 0 the map is above every baseline.
"""

from typing import Any

import numpy as np
import pandas as pd

from attention_atlas.analysis.grounding_tables import CORRECTIONS
from attention_atlas.analysis.statistics import MeanInterval, mean_intervals
from attention_atlas.analysis.summaries import Run, interval_columns, note_of

# Maps that every layer has, beside the corrected ones; and those without layers, with the best that can be attained.
LAYER_BASELINES = ("position_mean", "other_image", "random_weights")
FIXED_BASELINES = ("uniform", "gaussian", "attainable")
BASELINES = (*LAYER_BASELINES, "uniform", "gaussian")


def grounding_profile(run: Run, grounding: pd.DataFrame) -> pd.DataFrame:
    """Every score by query and layer: the pooled map raw and without sinks, and the baselines on the same samples."""
    scored = with_query(run, grounding)
    return rows_of(run, scored[scored["layer"] >= 0], scored[scored["layer"] < 0], ["layer"])


def grounding_summary(run: Run, grounding: pd.DataFrame) -> pd.DataFrame:
    """Every score by query: the mean over layers of each sample first, then over images."""
    scored = with_query(run, grounding)
    keys = ["query_id", "image", "sample_id", "map", "correction", "score"]
    over_layers = scored[scored["layer"] >= 0].groupby(keys, observed=True)["value"].agg(lambda v: v.mean(skipna=False))
    fixed = scored[scored["layer"] < 0]
    table = rows_of(run, over_layers.reset_index(), fixed, [])
    nearest = nearest_baselines(run, over_layers.reset_index(), fixed)
    return table.merge(nearest, on=["query_id", "score"], how="left")


def nearest_baselines(run: Run, scored: pd.DataFrame, fixed: pd.DataFrame) -> pd.DataFrame:
    """The baseline that each query's raw map is least surely above, with the paired difference and its interval."""
    own = scored[(scored["map"] == run.heads) & (scored["correction"] == "raw")]
    others = pd.concat([scored[scored["map"].isin(LAYER_BASELINES)], fixed[fixed["map"].isin(BASELINES)]])
    keys = ["query_id", "image", "sample_id", "score"]
    pairs = others.merge(own[[*keys, "value"]], on=keys, suffixes=("", "_own"))
    pairs = pairs.assign(difference=pairs["value_own"] - pairs["value"])
    by_image = pairs.groupby(["query_id", "image", "score", "map"])["difference"].mean()
    rows = []
    for query_id, values in by_image.groupby(level="query_id"):
        intervals = mean_intervals(values.droplevel("query_id").unstack(["score", "map"]), run.settings["statistics"])
        for score in dict.fromkeys(key[0] for key in intervals):
            own_intervals = {key[1]: interval for key, interval in intervals.items() if key[0] == score}
            name = min(own_intervals, key=lambda label: surely_above(own_intervals[label]))
            above = interval_columns("above_nearest", own_intervals[name])
            rows.append({"query_id": query_id, "score": score, "nearest_baseline": name, **above})
    return pd.DataFrame(
        rows, columns=["query_id", "score", "nearest_baseline", *interval_columns("above_nearest", NONE)]
    )


NONE = MeanInterval(np.nan, np.nan, np.nan, 0, "")


# What a table without any row has as columns too.
VALUES = (
    *(column for name in CORRECTIONS for column in interval_columns(name, NONE)),
    *(*LAYER_BASELINES, "interval_note", *FIXED_BASELINES),
)


def surely_above(interval: MeanInterval) -> float:
    """The lower end of an interval; the mean where there is none."""
    return interval.mean if np.isnan(interval.low) else interval.low


def with_query(run: Run, grounding: pd.DataFrame) -> pd.DataFrame:
    """The scores of the study's own samples, with their query and image."""
    keys = ["sample_id", "map", "correction", "score"]
    plain = grounding.astype(dict.fromkeys(keys, str))
    return plain.merge(run.samples[["sample_id", "query_id", "image"]], on="sample_id")


def rows_of(run: Run, scored: pd.DataFrame, fixed: pd.DataFrame, further: list[str]) -> pd.DataFrame:
    """A row per query and score (and layer): both versions of the pooled map with intervals, and the baselines."""
    chosen = scored[scored["map"].isin([run.heads, *LAYER_BASELINES])]
    version = np.where(chosen["map"] == run.heads, chosen["correction"], chosen["map"])
    by_image = (
        chosen.assign(version=version).groupby(["query_id", "image", "score", *further, "version"])["value"].mean()
    )
    undefined = chosen[version == "raw"].groupby(["query_id", "score", *further])["value"].agg(lambda v: v.isna().sum())
    rows = []
    for query_id, values in by_image.groupby(level="query_id"):
        wide = values.droplevel("query_id").unstack(["score", *further, "version"])
        intervals = mean_intervals(wide, run.settings["statistics"])
        for key in dict.fromkeys(column[:-1] for column in wide.columns):
            shown = {name: interval_columns(name, intervals.get((*key, name), NONE)) for name in CORRECTIONS}
            rows.append(
                {
                    "query_id": query_id,
                    **dict(zip(["score", *further], key, strict=True)),
                    "n": intervals[*key, "raw"].n,
                    "undefined": int(undefined[query_id, *key]),
                    **{column: value for part in shown.values() for column, value in part.items()},
                    **{name: intervals.get((*key, name), NONE).mean for name in LAYER_BASELINES},
                    "interval_note": note_of(intervals[*key, "raw"]),
                    **baseline_means(fixed, query_id, key[0]),
                }
            )
    return finished(run, rows, further)


def baseline_means(fixed: pd.DataFrame, query_id: str, score: str) -> dict[str, float]:
    """Means over images of the baselines that have no layers."""
    own = fixed[(fixed["query_id"] == query_id) & (fixed["score"] == score)]
    means = own.groupby(["map", "image"])["value"].mean().groupby("map").mean()
    return {name: float(means.get(name, np.nan)) for name in FIXED_BASELINES}


def finished(run: Run, rows: list[dict[str, Any]], further: list[str]) -> pd.DataFrame:
    """Rows as a table: query type and pooling beside the query, in order."""
    columns = ["query_id", "query_type", "score", *further, "n", "undefined", "pooling", "selector"]
    table = pd.DataFrame(rows, columns=None if rows else [*columns, *VALUES])
    types = run.queries.set_index("query_id")["query_type"]
    table = table.assign(query_type=table["query_id"].map(types), pooling=run.heads, selector=run.selector)
    rest = [name for name in table if name not in columns]
    return table[[*columns, *rest]].sort_values(["query_id", "score", *further], ignore_index=True)
