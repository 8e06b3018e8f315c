"""numbers.tex and summary.json quote the published tables: every value can be found there, under one name."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.paper.columns import COLUMNS
from attention_atlas.paper.numbers import letters, macro_ends, same_macros, write_numbers
from attention_atlas.paper.summary import write_summary

TABLE1 = {
    **{"query_type": "counting", "question": "How many?", "pooling": "max", "selector": "answer"},
    **{"measure": "entropy", "num_cells": 64, "samples": 48, "failed": 1, "no_answer": 2, "undefined": 0},
    **{"other_conditions": 4, "n": 45, "entropy_mean": 3.125, "entropy_mean_low": 3.046, "entropy_mean_high": 3.204},
    **{"entropy_min": 1.5, "entropy_min_low": -0.25, "entropy_min_high": 1.875, "interval_note": ""},
    **{"entropy_band": "high", "profile_min": 2.25, "layer_of_min": 11, "layer_band": "early", "modal_layer": 9},
    **{"modal_share": 0.5, "modal_share_low": 0.364, "modal_share_high": 0.636, "accuracy": 0.938},
    **{"accuracy_low": 0.832, "accuracy_high": 0.979, "n_accuracy": 47, "shown_layer": 11},
}
ABLATION = {
    **{"query_type": "counting", "n": 44, "selector": "answer", "measure": "entropy", "interval_note": ""},
    **{"entropy_max_pool": 3.125, "entropy_max_pool_low": 3.046, "entropy_max_pool_high": 3.204},
    **{"entropy_mean_pool": 3.25, "entropy_mean_pool_low": 3.125, "entropy_mean_pool_high": 3.375},
    **{"difference": -0.125, "difference_low": -0.251, "difference_high": 0.001},
}
CONTRAST = {
    **{"family": "claims", "kind": "paired", "measure": "entropy", "arm_first": "counting", "arm_second": "spatial"},
    **{"n_first": 48, "n_second": 48, "mean_first": 3.5, "mean_second": 3.625, "difference": -0.125, "low": -0.151},
    **{"high": -0.101, "effect_size": -1.5, "margin": 0.1, "p_difference": 0.0001, "smallest_p": 0.0001},
    **{"q_difference": 0.00004, "p_equivalence": 0.9, "q_equivalence": 1.0, "verdict": "moved", "sign": "-"},
    **{"verdict_note": "", "direction": "greater", "reading": "contradicted", "claim": "", "original": "", "note": ""},
}
ROWS = {"table1": TABLE1, "ablation": ABLATION}


@pytest.fixture
def table(tmp_path):
    """Write a published table of a run; the queries are rows of ROWS, changed by `change`."""

    def write(name, queries=("q0",), study="shapes", model="tiny", **change):
        path = tmp_path / study / model / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame([{"query_id": query, **ROWS[name], **change} for query in queries])
        frame[list(COLUMNS[name])].to_csv(path, index=False, float_format="%.3f")
        return path

    return write


@pytest.fixture
def macros(tmp_path):
    """The macros that tables become, by name; fails where one is defined twice, as LaTeX would."""

    def write(*paths):
        write_numbers(tmp_path / "numbers.tex", list(paths))
        lines = (tmp_path / "numbers.tex").read_text(encoding="utf-8").splitlines()
        found = [re.fullmatch(r"\\newcommand\{\\(.+?)\}\{(.*)\}", line) for line in lines if not line.startswith("%")]
        assert all(found)
        assert len({match.group(1) for match in found}) == len(found)
        return {match.group(1): match.group(2) for match in found}

    return write


def summary(tmp_path, *paths):
    write_summary(tmp_path / "summary.json", list(paths))

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse)


def test_every_macro_is_of_letters_alone(table, macros):
    paths = [
        table(name, ("q0", "is_there-1", "wo.bist.dü"), study, model)
        for study, model in (("shapes", "tiny"), ("own-images_2", "Qwen3-VL-4B"), ("日本", "café.v1"))
        for name in ROWS
    ]
    names = macros(*paths)
    assert len(names) > 200
    assert all(re.fullmatch(r"atlas[A-Za-z]+", name) for name in names)


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("entropy_mean_low", "EntropyMeanLow"),
        ("q0", "QZero"),
        ("Qwen3-VL-4B", "QwenThreeVLFourB"),
        ("2026", "TwoZeroTwoSix"),
        ("é", "LatinSmallLetterEWithAcute"),
    ],
)
def test_names_are_spelled_in_letters(name, spelled):
    assert letters(name) == spelled


def test_rows_of_other_tables_are_named_by_what_they_are_about(tmp_path, macros):
    """Query and score, method, query type and check."""
    folder = tmp_path / "shapes" / "tiny"
    folder.mkdir(parents=True)
    rows = {
        "grounding": {"query_id": "q0", "query_type": "counting", "score": "iou_area_matched", "raw": 0.25},
        "heads": {"method": "selected heads", "auroc": 0.875, "auroc_low": 0.75, "auroc_high": 1.0},
        "causal": {
            "query_type": "spatial",
            "check": "occlusion, without sinks",
            "difference": -0.5,
            "verdict": "moved",
        },
    }
    for name, row in rows.items():
        frame = pd.DataFrame([row]).reindex(columns=list(COLUMNS[name]))
        frame.to_csv(folder / f"{name}.csv", index=False)
    found = macros(*(folder / f"{name}.csv" for name in rows))
    assert found["atlasShapesTinyQZeroIouAreaMatchedRaw"] == "0.25"
    assert found["atlasShapesTinySelectedHeadsAuroc"] == "0.88"
    assert found["atlasShapesTinySelectedHeadsAurocInterval"] == "[0.75, 1.00]"
    assert found["atlasShapesTinySpatialOcclusionWithoutSinksDifference"] == "$-$0.500"
    assert found["atlasShapesTinySpatialOcclusionWithoutSinksVerdict"] == "moved"


def test_values_are_those_of_the_tables(table, macros):
    """At the decimals of the readers' tables: two, three for a difference, whole numbers whole."""
    found = macros(table("table1"), table("ablation"))
    mine = {name.removeprefix("atlasShapesTinyQZero"): value for name, value in found.items()}
    assert {name: mine[name] for name in mine if "QZero" not in name and not name.startswith("atlas")} == {
        **{"NumCells": "64", "Samples": "48", "Failed": "1", "NoAnswer": "2", "Undefined": "0"},
        **{"OtherConditions": "4", "N": "45", "EntropyBand": "high", "LayerBand": "early"},
        **{"EntropyMean": "3.12", "EntropyMeanLow": "3.05", "EntropyMeanHigh": "3.20"},
        **{"EntropyMeanInterval": "[3.05, 3.20]", "EntropyMin": "1.50", "EntropyMinLow": "$-$0.25"},
        **{"EntropyMinHigh": "1.88", "EntropyMinInterval": "[$-$0.25, 1.88]", "ProfileMin": "2.25"},
        **{"LayerOfMin": "11", "ModalLayer": "9", "ModalShare": "0.50", "ModalShareLow": "0.36"},
        **{"ModalShareHigh": "0.64", "ModalShareInterval": "[0.36, 0.64]", "Accuracy": "0.94"},
        **{"AccuracyLow": "0.83", "AccuracyHigh": "0.98", "AccuracyInterval": "[0.83, 0.98]"},
        **{"NAccuracy": "47", "ShownLayer": "11", "Pairs": "44"},
        **{"EntropyMaxPool": "3.12", "EntropyMaxPoolLow": "3.05", "EntropyMaxPoolHigh": "3.20"},
        **{"EntropyMaxPoolInterval": "[3.05, 3.20]", "EntropyMeanPool": "3.25", "EntropyMeanPoolLow": "3.12"},
        **{"EntropyMeanPoolHigh": "3.38", "EntropyMeanPoolInterval": "[3.12, 3.38]"},
        **{"Difference": "$-$0.125", "DifferenceLow": "$-$0.251", "DifferenceHigh": "0.001"},
        **{"DifferenceInterval": "[$-$0.251, 0.001]"},
    }


def test_totals_are_sums_over_queries(table, macros):
    found = macros(table("table1", ("q0", "q1", "q2")))
    totals = {name: found[f"atlasShapesTiny{name}"] for name in ("Samples", "Failed", "NoAnswer", "Undefined")}
    assert totals == {"Samples": "144", "Failed": "3", "NoAnswer": "6", "Undefined": "0"}


def test_a_dash_stands_for_a_value_that_is_not_there(table, macros):
    found = macros(table("table1", accuracy=np.nan, accuracy_low=np.nan, accuracy_high=np.nan))
    missing = ("Accuracy", "AccuracyLow", "AccuracyInterval")
    assert {found[f"atlasShapesTinyQZero{name}"] for name in missing} == {"--"}


def test_values_of_text_are_escaped(table, macros):
    assert macros(table("table1", entropy_band="a_b & c"))["atlasShapesTinyQZeroEntropyBand"] == r"a\_b \& c"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"study": "a-b"}, {"study": "a_b"}),
        ({"study": "a-b", "model": "c"}, {"study": "a", "model": "b-c"}),
        ({"model": "v1"}, {"model": "v.1"}),
    ],
)
def test_runs_whose_names_are_the_same_letters_are_refused(first, second, table, macros):
    paths = table("table1", **first), table("table1", **second)
    with pytest.raises(AtlasError, match=r"two numbers would have the macro \\atlas") as refused:
        macros(*paths)
    assert all(str(path) in str(refused.value) for path in paths)
    runs = [({"study": "shapes", "model": "tiny"} | one) for one in (first, second)]
    assert list(same_macros({(run["study"], run["model"]): ["q0"] for run in runs}, [])), "told before any number"


def test_queries_whose_names_are_the_same_letters_are_refused(table, macros):
    with pytest.raises(AtlasError, match=r"table1\.csv, q_1 num_cells and .*table1\.csv, q1 num_cells"):
        macros(table("table1", ("q_1", "q1")))
    told, *_ = same_macros({("shapes", "tiny"): ["q_1", "q1"]}, [])
    assert told.startswith("the query 'q_1' of run shapes x tiny and the query 'q1' of run shapes x tiny would have")


def test_what_is_told_before_any_number_is_about_the_macros_that_are_written(table, macros):
    written = set(macros(table("table1"), table("ablation")))
    foretold = {f"atlasShapesTinyQZero{end}" for end in macro_ends(("table1", "ablation"))}
    assert foretold == {name for name in written if name.startswith("atlasShapesTinyQZero")}


def test_a_refused_file_is_not_written(table, macros, tmp_path):
    with pytest.raises(AtlasError):
        macros(table("table1", ("q_1", "q1")))
    assert not (tmp_path / "numbers.tex").exists()


def test_a_table_that_is_not_quoted_is_refused(macros, tmp_path):
    with pytest.raises(AtlasError, match=r"steps\.csv: numbers are taken from table1\.csv, ablation\.csv"):
        macros(tmp_path / "shapes" / "tiny" / "steps.csv")


def test_summary_is_nested_by_study_and_model(table, tmp_path):
    paths = [table("table1", ("q0", "q1"), study, model) for study, model in (("a", "x"), ("a", "y"), ("b", "x"))]
    found = summary(tmp_path, *paths)
    assert {study: list(models) for study, models in found.items()} == {"a": ["x", "y"], "b": ["x"]}
    assert set(found["a"]["y"]["queries"]) == {"q0", "q1"}


def test_summary_holds_the_headlines_of_table_1_with_all_their_digits(table, tmp_path):
    assert summary(tmp_path, table("table1", ("q0", "q1")))["shapes"]["tiny"] == {
        **{"samples": 96, "failed": 2, "no_answer": 4},
        "queries": {
            query: {"entropy_mean": 3.125, "entropy_min": 1.5, "layer_of_min": 11, "accuracy": 0.938, "n": 45}
            for query in ("q0", "q1")
        },
    }


def test_summary_has_null_for_what_is_not_there(table, tmp_path):
    path = table("table1", entropy_mean=np.nan, layer_of_min=np.nan, accuracy=np.nan)
    found = summary(tmp_path, path)["shapes"]["tiny"]["queries"]["q0"]
    assert [found[name] for name in ("entropy_mean", "layer_of_min", "accuracy")] == [None, None, None]
    assert found["n"] == 45


def test_summary_does_not_depend_on_the_order_of_the_tables(table, tmp_path):
    paths = [table("table1", ("q0",), study, model) for study, model in (("b", "x"), ("a", "y"), ("a", "x"))]
    summary(tmp_path, *paths)
    first = (tmp_path / "summary.json").read_bytes()
    summary(tmp_path, *paths[::-1])
    assert (tmp_path / "summary.json").read_bytes() == first


def test_a_run_given_twice_is_refused(table, tmp_path):
    path = table("table1")
    with pytest.raises(AtlasError, match="the run shapes x tiny is given twice"):
        summary(tmp_path, path, path)


def test_contrasts_are_quoted_by_their_names(tmp_path, macros):
    path = tmp_path / "shapes/tiny/contrasts.csv"
    path.parent.mkdir(parents=True)
    frame = pd.DataFrame([{"name": "q3_vs_q4", **CONTRAST}])
    frame[list(COLUMNS["contrasts"])].to_csv(path, index=False)
    found = macros(path)
    start = "atlasShapesTinyQThreeVsQFour"
    assert found[f"{start}Difference"] == "$-$0.125"
    assert found[f"{start}Interval"] == "[$-$0.151, $-$0.101]"
    assert found[f"{start}QDifference"] == r"\textless{}0.0001"
    assert found[f"{start}Verdict"] == "moved"
    assert found[f"{start}Reading"] == "contradicted"


def test_metrics_are_a_few_numbers_a_run_with_the_range_over_queries(table, tmp_path):
    path = table("table1", ("q0", "q1", "q2"))
    frame = pd.read_csv(path)
    frame["accuracy"], frame["entropy_mean"] = [0.5, np.nan, 0.75], [3.5, 2.5, 3.0]
    frame.to_csv(path, index=False)
    write_summary(tmp_path / "summary.json", [path, table("table1", study="b")], tmp_path / "metrics.json")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["shapes"]["tiny"] == {
        **{"samples": 144, "failed": 3, "no_answer": 6, "lowest_accuracy": 0.5, "highest_accuracy": 0.75},
        **{"lowest_entropy_mean": 2.5, "highest_entropy_mean": 3.5},
    }
    assert set(metrics) == {"shapes", "b"}


def test_metrics_of_a_run_without_values_are_null(table, tmp_path):
    write_summary(tmp_path / "s.json", [table("table1", accuracy=np.nan)], tmp_path / "metrics.json")
    run = json.loads((tmp_path / "metrics.json").read_text())["shapes"]["tiny"]
    assert run["lowest_accuracy"] is run["highest_accuracy"] is None
