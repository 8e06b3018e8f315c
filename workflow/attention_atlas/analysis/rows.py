"""Rows: from arrays padded to common steps to tables of the steps that exist."""

import numpy as np
import pandas as pd
import xarray as xr


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


def layer_rows(node: xr.Dataset, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
    """Arrays (sample, step, layer) as a table of the generated steps and layers."""
    exists, layers = existing_steps(node), node["layer"].values.astype(np.int32)
    keys = {name: np.repeat(values, len(layers)) for name, values in step_keys(node).items()}
    keys["layer"] = np.tile(layers, int(exists.sum()))
    return pd.DataFrame({**keys, **{name: values[exists].ravel() for name, values in arrays.items()}})
