"""Selected maps: the head-pooled maps of the samples that figures show: gallery, page of all layers, best and worst."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attention_atlas import store
from attention_atlas.analysis.focus import entropy
from attention_atlas.analysis.pooling import pool_heads
from attention_atlas.analysis.steps import selected_steps
from attention_atlas.inputs.study import Study

PAGE_OF_GALLERY = 2
# Samples of highest and of lowest AUROC that are shown.
BEST_AND_WORST = 4
# Scores are ranked at this precision: rounding alone decides no order.
DECIMALS = 6


def selected_maps(
    tree: xr.DataTree,
    study: Study,
    samples: pd.DataFrame,
    answers: pd.DataFrame,
    table1: pd.DataFrame,
    grounding: pd.DataFrame,
    settings: Mapping[str, Any],
) -> xr.DataTree:
    """A tree with the nodes /gallery/<sample>, /layers_page/<sample> and /best_worst/<sample>: maps of every layer.

    `settings` has the sections figures, steps and pooling; `table1` says which layer is shown alone in the gallery,
    the scores of `grounding` which samples are the best and the worst, and which layer of theirs is shown.
    """
    steps = steps_to_show(samples, answers, settings)
    gallery, page = chosen_samples(samples, steps, settings["figures"])
    missing = without_step(samples, steps, settings)
    left_out = {"left_out": "; ".join(f"{name} ({why})" for name, why in missing.items())} if missing else {}
    shown = table1.set_index("query_id")["shown_layer"].dropna()
    told: dict[str, dict[str, dict[str, Any]]] = {
        **{"gallery": dict.fromkeys(gallery, left_out), "layers_page": {name: {} for name in page}},
        "best_worst": best_and_worst(auroc_by_layer(grounding, settings["pooling"]["heads"]), study.samples),
    }
    judged = answers.set_index("sample_id")
    nodes = {}
    for group, name in [(group, name) for group, names in told.items() for name in names]:
        node = sample_maps(store.sample(tree, name), steps[name], settings)
        row = study.samples.set_index("sample_id").loc[name]
        node.attrs |= {
            "expected_answer": row["expected_answer"],
            "target_object": row["target_object"],
            "correct": int(judged.loc[name, "correct"]),
            # A query of a control condition, or one without any defined map, has no such layer.
            "shown_layer": int(shown.get(node.attrs["query_id"], node["layer"].values[0])),
            **told[group][name],
        }
        nodes[f"/{group}/{name}"] = node
    return xr.DataTree.from_dict(nodes)


def steps_to_show(samples: pd.DataFrame, answers: pd.DataFrame, settings: Mapping[str, Any]) -> pd.Series:
    """The steps that the selector picks of each sample that has any, as lists by sample id."""
    return selected_steps(samples, answers, settings["steps"]["selector"]).groupby("sample_id")["step"].agg(list)


def named(samples: pd.DataFrame, figures: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The samples of this run that the settings name for the gallery and for the page of all layers.

    The settings may name samples of other studies too; that each is one of some study is checked before any job.
    """
    known = set(samples["sample_id"])
    gallery = [name for name in dict.fromkeys(figures["gallery"]) if name in known]
    return gallery, [figures["layers_page"]] if figures["layers_page"] in known else []


def without_step(samples: pd.DataFrame, steps: pd.Series, settings: Mapping[str, Any]) -> dict[str, str]:
    """The samples that the settings name and that have no map to show, each with the reason."""
    failed = set(samples.loc[samples["error"] != "", "sample_id"])
    wanted = dict.fromkeys(name for names in named(samples, settings["figures"]) for name in names)
    return {name: "failed" if name in failed else "no answer found" for name in wanted if name not in steps.index}


def chosen_samples(samples: pd.DataFrame, steps: pd.Series, figures: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The samples of the gallery and of the page of all layers, by the settings or by default.

    By default the gallery has one sample a query, each of another image; the page has the gallery's third. Of those
    that the settings name, samples without a step to show are left out.
    """
    of_gallery, of_page = named(samples, figures)
    gallery = [name for name in of_gallery if name in steps.index] if of_gallery else one_a_query(samples, steps)
    if of_page:
        return gallery, [name for name in of_page if name in steps.index]
    return gallery, gallery[PAGE_OF_GALLERY : PAGE_OF_GALLERY + 1] or gallery[:1]


def one_a_query(samples: pd.DataFrame, steps: pd.Series) -> list[str]:
    """One sample with a step to show of each query: the first of the first query, the second of the second, ..."""
    usable = samples[(samples["condition"] == "") & samples["sample_id"].isin(steps.index)]
    groups = [group["sample_id"].tolist() for _, group in usable.groupby("query_id")]
    return [names[number % len(names)] for number, names in enumerate(groups)]


def auroc_by_layer(grounding: pd.DataFrame, pooling: str) -> pd.DataFrame:
    """AUROC of the raw pooled maps by sample_id (rows) and layer (columns); samples without a target have no row."""
    keys = {"map": pooling, "correction": "raw", "score": "auroc"}
    mine = np.logical_and.reduce([grounding[name] == value for name, value in keys.items()])
    scores = grounding.loc[mine & (grounding["layer"] >= 0)]
    return scores.astype({"sample_id": str}).pivot(index="sample_id", columns="layer", values="value")


def best_and_worst(auroc: pd.DataFrame, samples: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the samples whose shown map has the highest, then the lowest AUROC, with what their nodes say of it.

    `samples` are rows of samples.csv. Of a query one layer is shown, whatever the sample: a best layer chosen sample
    by sample would hide what makes the worst ones bad. At most one sample an image and an equal number of both kinds;
    of equal scores first the one of the higher mean over layers (for the worst: the lower), then by sample_id. A
    sample with an undefined map is not ranked.
    """
    by_layer = auroc.dropna().sort_index()
    about = samples.set_index("sample_id").loc[by_layer.index]
    layers, chosen_on = layers_shown(by_layer, about)
    if chosen_on == CHOSEN_APART:
        by_layer, about = (frame[about["split"] == "evaluate"] for frame in (by_layer, about))
    scores = pd.DataFrame(
        {
            "shown_layer": about["query_id"].map(layers).astype(int),
            "score": [by_layer.at[name, layers[query]] for name, query in about["query_id"].items()],
            "mean_score": by_layer.mean(axis=1).round(DECIMALS),
        }
    )
    ranks = extremes(scores.assign(score=scores["score"].round(DECIMALS)), about["image"])
    ranked = {"ranked": len(scores), "layer_chosen_on": chosen_on}
    return {name: {"rank": rank, **plain(scores.loc[name]), **ranked} for name, rank in ranks}


CHOSEN_APART, CHOSEN_ON_RANKED = "split select", "the same samples"


def layers_shown(by_layer: pd.DataFrame, about: pd.DataFrame) -> tuple[dict[str, int], str]:
    """Return each query's layer of highest mean AUROC, and the samples that it was chosen on.

    These are the split `select` where every query has samples of both splits, so that no map is shown at a layer that
    was chosen by this map; else all samples.
    """
    splits = about.groupby("query_id")["split"].agg(set)
    apart = bool(len(splits)) and all({"select", "evaluate"} <= names for names in splits)
    used = about["split"] == "select" if apart else pd.Series(True, index=about.index)
    means = by_layer[used].groupby(about.loc[used, "query_id"]).mean().round(DECIMALS)
    return means.idxmax(axis=1).astype(int).to_dict(), CHOSEN_APART if apart else CHOSEN_ON_RANKED


def extremes(scores: pd.DataFrame, image: pd.Series) -> list[tuple[str, str]]:
    """Return (sample_id, "best" or "worst"), best first, each kind from its extreme inwards."""
    most = min(BEST_AND_WORST, max(1, image.nunique() // 2))
    order = ["score", "mean_score"]
    best = one_an_image(scores.sort_values(order, ascending=False, kind="stable").index, image)[:most]
    left = scores[~image[scores.index].isin(image[best])].sort_values(order, kind="stable").index
    return [(name, "best") for name in best] + [(name, "worst") for name in one_an_image(left, image)[:most]]


def plain(row: pd.Series) -> dict[str, Any]:
    """Return a row of scores as plain numbers, as attributes of netCDF must be."""
    return {name: int(value) if name == "shown_layer" else float(value) for name, value in row.items()}


def one_an_image(names: pd.Index, image: pd.Series) -> list[str]:
    """Return the first sample of each image, in the order of `names`."""
    return image[names].drop_duplicates().index.tolist()


def sample_maps(sample: xr.Dataset, steps: list[int], settings: Mapping[str, Any]) -> xr.Dataset:
    """The pooled maps of one sample by layer, the mean over its steps where the selector picks several."""
    chosen = sample.sel(step=steps)
    attention = chosen["attention"].transpose("head", "step", "layer", "row", "col").values
    maps = pool_heads(attention, settings["pooling"]["heads"], axis=0).mean(axis=0)
    mass = chosen["vision_mass"].mean(["head", "step"]).values
    one = len(steps) == 1
    return xr.Dataset(
        {
            "map": (("layer", "row", "col"), maps),
            "entropy": ("layer", entropy(maps.reshape(len(maps), -1))),
            "vision_mass": ("layer", mass),
            "row_edge": ("row_border", sample["row_edge"].values),
            "col_edge": ("col_border", sample["col_edge"].values),
        },
        coords={"layer": sample["layer"].values, "row": np.arange(maps.shape[1]), "col": np.arange(maps.shape[2])},
        attrs={
            "sample_id": str(sample["sample"].item()),
            **{
                name: str(sample[name].item())
                for name in ("image", "query", "query_id", "query_type", "generated_text")
            },
            "step": steps[0] if one else -1,
            "token_text": str(chosen["token_text"].values[0]) if one else "mean of steps",
            "pooling": settings["pooling"]["heads"],
            "selector": settings["steps"]["selector"],
        },
    )
