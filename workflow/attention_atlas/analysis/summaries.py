"""Summaries: the numbers of every published table, from the per-sample tables of a run. The unit is the image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from attention_atlas.analysis import bands, steps
from attention_atlas.analysis.statistics import MeanInterval, mean_intervals, proportion_interval
from attention_atlas.store import MASS_VARIABLES

Settings = Mapping[str, Any]
OBSERVATION = ["query_id", "image", "sample_id", "step"]
STEP_COLUMNS = [
    *("query_id", "step", "token", "token_share", "answer_share", "n", "measure", "pooling"),
    *("entropy_mean", "entropy_mean_low", "entropy_mean_high"),
    *("entropy_min", "entropy_min_low", "entropy_min_high"),
    *("layer_of_min", "interval_note"),
]
NO_IMAGE = MeanInterval(np.nan, np.nan, np.nan, 0, "no image")


@dataclass(frozen=True)
class Run:
    """The per-sample tables of one run, its settings, and what they are about.

    `samples` are those of the study itself; those of control conditions are counted in `left_out` alone.
    """

    samples: pd.DataFrame
    tokens: pd.DataFrame
    answers: pd.DataFrame
    focus: pd.DataFrame
    mass: pd.DataFrame
    left_out: pd.Series
    settings: Settings
    layers: tuple[int, ...]
    num_layers: int

    @property
    def num_cells(self) -> int:
        """Vision tokens of the run's one grid; 0 where it has several."""
        sizes = self.samples["num_cells"].unique()
        return int(sizes[0]) if len(sizes) == 1 else 0

    @property
    def measure(self) -> str:
        """entropy in nats; entropy_normalised where grids differ, whose entropies have different ceilings."""
        return "entropy" if self.num_cells else "entropy_normalised"

    @property
    def selector(self) -> str:
        """The step selector of the settings."""
        return self.settings["steps"]["selector"]

    @property
    def heads(self) -> str:
        """The pooling over heads of the settings."""
        return self.settings["pooling"]["heads"]

    @property
    def queries(self) -> pd.DataFrame:
        """query_id and query_type of the study, in order."""
        return self.samples.groupby("query_id", as_index=False)["query_type"].first()


def read_run(tables: Mapping[str, pd.DataFrame], num_layers: int, settings: Settings) -> Run:
    """A run from its tables samples, tokens, answers, focus and mass; layers are true depth indices of `num_layers`."""
    samples = tables["samples"]
    own = samples["condition"] == ""
    left_out = samples[~own].groupby("query_id").size()
    samples = samples[own].reset_index(drop=True)
    mine = {name: tables[name][tables[name]["sample_id"].isin(samples["sample_id"])] for name in tables}
    layers = tuple(sorted(tables["focus"]["layer"].unique().tolist()))
    return Run(
        samples, mine["tokens"], mine["answers"], mine["focus"], mine["mass"], left_out, settings, layers, num_layers
    )


def profiles(run: Run, pooling: str, chosen: pd.DataFrame) -> pd.DataFrame:
    """Layer profiles of the run's measure: rows query_id, image, sample_id, step; one column a layer, NaN undefined.

    `chosen` are the steps wanted, as rows of sample_id, step; the selector `mean` averages them per sample.
    """
    rows = run.focus[(run.focus["pooling"] == pooling) & (run.focus["measure"] == run.measure)]
    wide = rows.pivot(index=["sample_id", "step"], columns="layer", values="value")
    return described(run, wide.reset_index().merge(chosen, on=["sample_id", "step"]))


def described(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """A table of sample_id, step, values with query and image as index; averaged over steps by the selector `mean`."""
    table = table.astype({"sample_id": str}).merge(run.samples[["sample_id", "query_id", "image"]], on="sample_id")
    return table.set_index(OBSERVATION).rename_axis(columns=None)


def selected(run: Run) -> pd.DataFrame:
    """The steps of the run's selector."""
    return steps.selected_steps(run.samples, run.answers, run.selector)


def by_selector(run: Run, observations: pd.DataFrame) -> pd.DataFrame:
    """Observations of each step, averaged per sample first where the selector is `mean`."""
    if run.selector != "mean":
        return observations
    keys = ["query_id", "image", "sample_id"]
    return observations.groupby(level=keys).mean(skipna=False) if len(observations) else observations


def of_images(observations: pd.DataFrame) -> pd.DataFrame:
    """Means over the observations of each image: rows query_id, image."""
    return observations.groupby(level=["query_id", "image"]).mean()


def of_query(by_image: pd.DataFrame, query_id: str) -> pd.DataFrame:
    """The images of one query; no rows where none is left."""
    return by_image[by_image.index.get_level_values("query_id") == query_id].droplevel("query_id")


def interval_columns(name: str, interval: MeanInterval) -> dict[str, float]:
    """A mean and its interval as columns."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def note_of(*intervals: MeanInterval) -> str:
    """Why intervals are missing, each reason once."""
    return "; ".join(dict.fromkeys(interval.note for interval in intervals if interval.note))


def layer_statistics(profile: pd.DataFrame) -> pd.DataFrame:
    """entropy_mean and entropy_min over the layers of each row; NaN where a layer is undefined."""
    return pd.DataFrame(
        {"entropy_mean": profile.mean(axis=1, skipna=False), "entropy_min": profile.min(axis=1, skipna=False)}
    )


def argmin_layer(profile: pd.Series) -> float:
    """The layer of the smallest value; NaN where every layer is undefined."""
    return profile.idxmin() if profile.notna().any() else np.nan


def table1(run: Run) -> pd.DataFrame:
    """Entropy, layer of its minimum and accuracy per query, at the chosen step, with intervals over images."""
    profile = by_selector(run, profiles(run, run.heads, selected(run)))
    statistics = of_images(layer_statistics(profile))
    complete = of_images(profile[profile.notna().all(axis=1)])
    correct = correct_by_image(run)
    return pd.DataFrame(
        [
            {
                **asked(run, query_id, query_type),
                **counts(run, query_id, profile),
                **entropies(run, of_query(statistics, query_id)),
                **minima(run, of_query(complete, query_id)),
                **accuracy(run, correct, query_id),
            }
            for query_id, query_type in run.queries.itertuples(index=False)
        ]
    )


def asked(run: Run, query_id: str, query_type: str) -> dict[str, Any]:
    """What a row of table 1 is about."""
    return {
        "query_id": query_id,
        "query_type": query_type,
        "question": pattern(run.samples.loc[run.samples["query_id"] == query_id, "query"].unique().tolist()),
        "pooling": run.heads,
        "selector": run.selector,
        "measure": run.measure,
        "num_cells": run.num_cells,
    }


def counts(run: Run, query_id: str, profile: pd.DataFrame) -> dict[str, int]:
    """How many samples were asked, and how many are left out for which reason."""
    samples = run.samples[run.samples["query_id"] == query_id]
    found = run.answers.loc[run.answers["sample_id"].isin(samples["sample_id"]), "answer_found"]
    return {
        "samples": len(samples),
        "failed": int((samples["error"] != "").sum()),
        "no_answer": int((found == 0).sum()),
        "undefined": int(of_query(profile, query_id).isna().to_numpy().sum()),
        "other_conditions": int(run.left_out.get(query_id, 0)),
    }


def entropies(run: Run, statistics: pd.DataFrame) -> dict[str, Any]:
    """Means over images of the mean and of the minimum over layers."""
    intervals = mean_intervals(statistics, run.settings["statistics"])
    mean, least = intervals["entropy_mean"], intervals["entropy_min"]
    cuts = bands.entropy_cuts(run.settings["bands"], run.measure, run.num_cells)
    return {
        "n": mean.n,
        **interval_columns("entropy_mean", mean),
        **interval_columns("entropy_min", least),
        "interval_note": note_of(mean, least),
        "entropy_band": bands.entropy_band(mean.mean, cuts),
    }


def minima(run: Run, profile: pd.DataFrame) -> dict[str, Any]:
    """The minimum of the mean profile and its layer; the most frequent layer of the images' minima and its share."""
    mean_profile = profile.mean()
    layer = argmin_layer(mean_profile)
    least = profile.apply(argmin_layer, axis=1) if len(profile) else pd.Series(dtype=float)
    modal = least.mode().min() if len(least) else np.nan
    share = proportion_interval((least == modal).astype(float), run.settings["statistics"])
    cuts = bands.layer_cuts(run.settings["bands"], run.num_layers)
    return {
        "profile_min": mean_profile.min(),
        "layer_of_min": layer,
        "layer_band": "" if np.isnan(layer) else bands.layer_band(int(layer), cuts),
        "modal_layer": modal,
        **interval_columns("modal_share", share),
        "shown_layer": layer,
    }


def correct_by_image(run: Run) -> pd.Series:
    """Share of correct answers per query and image; failed samples and those without an expected answer left out."""
    known = run.answers[run.answers["correct"] >= 0].merge(run.samples[["sample_id", "query_id", "image"]])
    return known.groupby(["query_id", "image"])["correct"].mean()


def accuracy(run: Run, correct: pd.Series, query_id: str) -> dict[str, float]:
    """Accuracy over images with its Wilson interval."""
    mine = correct[correct.index.get_level_values("query_id") == query_id]
    share = proportion_interval(mine, run.settings["statistics"])
    return {**interval_columns("accuracy", share), "n_accuracy": share.n}


def pattern(queries: list[str]) -> str:
    """The wording that queries share, an ellipsis where they differ; a query that is asked one way as it is."""
    words = [query.split() for query in queries]
    if len({len(parts) for parts in words}) == 1:
        kept = [parts[0] if len(set(parts)) == 1 else "…" for parts in zip(*words, strict=True)]
    else:
        front = common_start(words)
        back = common_start([parts[len(front) :][::-1] for parts in words])[::-1]
        kept = [*front, "…", *back]
    return " ".join(word for place, word in enumerate(kept) if word != "…" or kept[place - 1 : place] != ["…"])


def common_start(lists: list[list[str]]) -> list[str]:
    """The items that all lists begin with."""
    return [items[0] for items in takewhile(lambda items: len(set(items)) == 1, zip(*lists, strict=False))]


def steps_table(run: Run) -> pd.DataFrame:
    """Table 1 step by step: entropies of each generated token's map, with the token most often generated there."""
    every = steps.selected_steps(run.samples, run.answers, "all")
    profile = profiles(run, run.heads, every)
    statistics = layer_statistics(profile).groupby(level=["query_id", "step", "image"]).mean()
    means = profile.groupby(level=["query_id", "step", "image"]).mean().groupby(level=["query_id", "step"]).mean()
    tokens = tokens_by_step(run)
    rows = []
    for (query_id, step), group in statistics.groupby(level=["query_id", "step"]):
        intervals = mean_intervals(group, run.settings["statistics"])
        rows.append(
            {
                "query_id": query_id,
                "step": step,
                **tokens.loc[(query_id, step)].to_dict(),
                "n": intervals["entropy_mean"].n,
                "measure": run.measure,
                "pooling": run.heads,
                **{key: part for name in intervals for key, part in interval_columns(name, intervals[name]).items()},
                "layer_of_min": argmin_layer(means.loc[(query_id, step)]),
                "interval_note": note_of(*intervals.values()),
            }
        )
    return with_query_type(run, pd.DataFrame(rows, columns=STEP_COLUMNS))


def tokens_by_step(run: Run) -> pd.DataFrame:
    """Most frequent token of each query and step, its share, and the share of samples whose answer starts there."""
    tokens = run.tokens.merge(run.samples[["sample_id", "query_id"]]).merge(run.answers[["sample_id", "answer_step"]])
    tokens = tokens.assign(is_answer=tokens["answer_step"] == tokens["step"])
    groups = tokens.groupby(["query_id", "step"])
    frequent = groups["token_text"].agg(lambda texts: texts.mode().iloc[0])
    share = groups["token_text"].agg(lambda texts: (texts == texts.mode().iloc[0]).mean())
    return pd.DataFrame({"token": frequent, "token_share": share, "answer_share": groups["is_answer"].mean()})


def with_query_type(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """The table with query_type behind query_id."""
    table.insert(1, "query_type", table["query_id"].map(run.queries.set_index("query_id")["query_type"]))
    return table


def ablation(run: Run) -> pd.DataFrame:
    """Entropy of the max-pooled and of the mean-pooled map, and their paired difference over images."""
    columns = {
        f"entropy_{how}_pool": layer_statistics(by_selector(run, profiles(run, how, selected(run))))["entropy_mean"]
        for how in ("max", "mean")
    }
    both = pd.DataFrame(columns).dropna()
    both["difference"] = both["entropy_max_pool"] - both["entropy_mean_pool"]
    by_image = of_images(both)
    rows = []
    for query_id, query_type in run.queries.itertuples(index=False):
        intervals = mean_intervals(of_query(by_image, query_id), run.settings["statistics"])
        rows.append(
            {
                "query_id": query_id,
                "query_type": query_type,
                "n": intervals["difference"].n,
                "selector": run.selector,
                "measure": run.measure,
                **{key: part for name in intervals for key, part in interval_columns(name, intervals[name]).items()},
                "interval_note": note_of(*intervals.values()),
            }
        )
    return pd.DataFrame(rows)


def layer_profile(run: Run) -> pd.DataFrame:
    """Entropy by layer and query at the chosen step, under the pooling of the settings."""
    return profile_of(run, run.heads)


def pooling_profile(run: Run) -> pd.DataFrame:
    """Entropy by layer and query under both poolings."""
    return pd.concat([profile_of(run, how) for how in ("max", "mean")], ignore_index=True)


def profile_of(run: Run, how: str) -> pd.DataFrame:
    """Entropy by layer and query under one pooling, with intervals over images."""
    by_image = of_images(by_selector(run, profiles(run, how, selected(run))))
    about = {"pooling": how, "selector": run.selector, "measure": run.measure, "num_cells": run.num_cells}
    return layer_rows(run, by_image, lambda interval: {**about, **interval_columns("entropy", interval)})


def layer_rows(run: Run, by_image: pd.DataFrame, columns: Callable[[MeanInterval], dict[str, Any]]) -> pd.DataFrame:
    """One row a query and layer; `by_image` has a column a layer."""
    cuts = bands.layer_cuts(run.settings["bands"], run.num_layers)

    def row(query_id: str, query_type: str, layer: int, interval: MeanInterval) -> dict[str, Any]:
        return {
            "query_id": query_id,
            "query_type": query_type,
            "layer": layer,
            "layer_band": bands.layer_band(layer, cuts),
            "n": interval.n,
            **columns(interval),
            "interval_note": interval.note,
        }

    rows = [
        row(query_id, query_type, layer, interval)
        for query_id, query_type in run.queries.itertuples(index=False)
        for layer, interval in mean_intervals(of_query(by_image, query_id), run.settings["statistics"]).items()
    ]
    # A run in which every sample failed has no layers, but a table with columns.
    return pd.DataFrame(rows, columns=list(row("", "", 0, NO_IMAGE)))


def layer_step(run: Run) -> pd.DataFrame:
    """Mean entropy of each query, step and layer."""
    every = steps.selected_steps(run.samples, run.answers, "all")
    by_image = profiles(run, run.heads, every).groupby(level=["query_id", "step", "image"]).mean()
    groups = by_image.groupby(level=["query_id", "step"])
    stacked = [part.rename_axis(columns="layer").stack(future_stack=True) for part in (groups.mean(), groups.count())]
    table = pd.concat(stacked, axis=1, keys=["entropy", "n"]).reset_index()
    table = table.merge(tokens_by_step(run)["token"], left_on=["query_id", "step"], right_index=True)
    table = table.assign(pooling=run.heads, measure=run.measure, num_cells=run.num_cells)
    order = ["query_id", "step", "layer", "token", "n", "pooling", "measure", "num_cells", "entropy"]
    return with_query_type(run, table[order])


def vision_mass(run: Run) -> pd.DataFrame:
    """Where the attention's mass goes, by layer and query at the chosen step: means over heads and images."""
    chosen = run.mass.merge(selected(run), on=["sample_id", "step"])
    by_image = {
        name: of_images(
            by_selector(
                run,
                described(run, chosen.pivot(index=["sample_id", "step"], columns="layer", values=name).reset_index()),
            )
        )
        for name in MASS_VARIABLES
    }
    table = layer_rows(
        run,
        by_image["vision_mass"],
        lambda interval: {"selector": run.selector, **interval_columns("vision_mass", interval)},
    )
    for name in MASS_VARIABLES[1:]:
        means = by_image[name].groupby(level="query_id").mean().rename_axis(columns="layer").stack(future_stack=True)
        values = means.reindex(pd.MultiIndex.from_frame(table[["query_id", "layer"]])).to_numpy()
        table.insert(table.columns.get_loc("interval_note"), name, values)
    return table


SUMMARIES: dict[str, Callable[[Run], pd.DataFrame]] = {
    "table1": table1,
    "steps": steps_table,
    "ablation": ablation,
    "layer_profile": layer_profile,
    "pooling_profile": pooling_profile,
    "layer_step": layer_step,
    "vision_mass": vision_mass,
}
