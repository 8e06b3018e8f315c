"""Rows: from arrays padded to common steps to tables of the steps that exist."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr


def joined(parts: Iterable[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    """Tables of parts of a run as one, by their keys."""
    return pd.concat(parts).sort_values(keys, ignore_index=True)


def long_table(wide: pd.DataFrame, keys: list[str], names: list[str]) -> pd.DataFrame:
    """A row a value, in the order of the rows and of the labels of columns; texts among the keys as categories.

    The columns beside `keys` are values, called by tuples of labels, for which the long table has the columns `names`.
    """
    columns = sorted(column for column in wide if column not in keys)
    texts = {key: "category" for key in keys if not pd.api.types.is_numeric_dtype(wide[key])}
    repeated = wide[keys].astype(texts).loc[wide.index.repeat(len(columns))]
    labels = dict(zip(names, zip(*columns, strict=True), strict=True))
    return pd.DataFrame(
        {
            **{key: repeated[key].array for key in keys},
            **{name: tiled(own, len(wide)) for name, own in labels.items()},
            "value": wide[columns].to_numpy().ravel(),
        }
    )


def tiled(labels: Sequence[str], times: int) -> pd.Categorical:
    """Labels one after the other, that many times."""
    once = pd.Categorical(labels)
    return pd.Categorical.from_codes(np.tile(once.codes, times), once.categories)


def existing_steps(node: xr.Dataset) -> np.ndarray:
    """Which (sample, step) of a node were generated."""
    return node["step"].values[None] < node["num_steps"].values[:, None]


def step_keys(node: xr.Dataset) -> dict[str, np.ndarray]:
    """sample_id and step of each generated step, sample by sample."""
    sample, step = np.nonzero(existing_steps(node))
    return {
        "sample_id": node["sample"].values[sample].astype(object),
        "step": node["step"].values[step].astype(np.int32),
    }


def step_rows(node: xr.Dataset, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """Arrays (sample, step) as a table of the generated steps."""
    exists = existing_steps(node)
    return pd.DataFrame({**step_keys(node), **{name: values[exists] for name, values in arrays.items()}})


def layer_rows(node: xr.Dataset, arrays: Mapping[Any, np.ndarray]) -> pd.DataFrame:
    """Arrays (sample, step, layer) as a table of the generated steps and layers."""
    exists, layers = existing_steps(node), node["layer"].values.astype(np.int32)
    keys = {name: np.repeat(values, len(layers)) for name, values in step_keys(node).items()}
    keys["layer"] = np.tile(layers, int(exists.sum()))
    return pd.DataFrame({**keys, **{name: values[exists].ravel() for name, values in arrays.items()}})
