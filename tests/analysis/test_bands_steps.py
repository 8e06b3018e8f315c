"""Bands and step selectors: the cuts and steps of the definitions."""

import numpy as np
import pandas as pd
import pytest
from attention_atlas.analysis import bands
from attention_atlas.analysis.steps import selected_steps

BANDS = {"entropy": (1.5, 3.0), "reference_cells": 64, "layers": (11, 25), "reference_layers": 36}


@pytest.mark.parametrize(
    ("value", "band"), [(1.499, "low"), (1.5, "medium"), (3.0, "medium"), (3.001, "high"), (np.nan, "")]
)
def test_entropy_bands_at_64_cells(value, band):
    assert bands.entropy_band(value, bands.entropy_cuts(BANDS, "entropy", 64)) == band


def test_entropy_cuts_at_other_sizes_are_the_same_shares_of_the_ceiling():
    assert bands.entropy_cuts(BANDS, "entropy_normalised", 0) == pytest.approx((0.3607, 0.7213), abs=1e-4)
    assert bands.entropy_cuts(BANDS, "entropy", 196) == pytest.approx(
        (0.36067 * np.log(196), 0.72135 * np.log(196)), abs=1e-4
    )


@pytest.mark.parametrize(("layers", "cuts"), [(36, (11, 25)), (28, (9, 19)), (6, (2, 4)), (64, (20, 44))])
def test_layer_cuts(layers, cuts):
    assert bands.layer_cuts(BANDS, layers) == cuts


def test_layer_bands_of_36_layers():
    named = [bands.layer_band(layer, (11, 25)) for layer in range(36)]
    assert named == ["early"] * 11 + ["middle"] * 14 + ["late"] * 11


SAMPLES = pd.DataFrame(
    {
        "sample_id": ["ended", "cut", "failed", "silent"],
        "num_steps": [4, 3, 0, 1],
        "stop_reason": ["end_token", "max_new_tokens", "error", "end_token"],
    }
)
ANSWERS = pd.DataFrame({"sample_id": ["ended", "cut", "failed", "silent"], "answer_step": [2, 0, -1, -1]})


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("answer", {"ended": [2], "cut": [0]}),
        ("first", {"ended": [0], "cut": [0], "silent": [0]}),
        ("final", {"ended": [2], "cut": [2]}),
        ("last", {"ended": [3], "cut": [2], "silent": [0]}),
        ("all", {"ended": [0, 1, 2, 3], "cut": [0, 1, 2], "silent": [0]}),
        ("mean", {"ended": [0, 1, 2, 3], "cut": [0, 1, 2], "silent": [0]}),
    ],
)
def test_selected_steps(selector, expected):
    steps = selected_steps(SAMPLES, ANSWERS, selector)
    assert steps.groupby("sample_id")["step"].agg(list).to_dict() == expected
