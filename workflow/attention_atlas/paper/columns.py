"""Columns of the published tables: their order and kind, and how a table file is read with every value checked."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from attention_atlas.errors import AtlasError, nearest
from attention_atlas.paper.texts import csv_text
from attention_atlas.readers import read_parquet

DECIMALS = 3
CONFIDENCE_LIMITS = ("_low", "_high")


def with_interval(name: str) -> tuple[str, ...]:
    """A quantity's column with those of its interval's ends."""
    return (name, *(f"{name}{limit}" for limit in CONFIDENCE_LIMITS))


QUERY = ("query_id", "query_type")
LAYER_PROFILE = (
    *QUERY,
    *("layer", "layer_band", "n", "pooling", "selector", "measure", "num_cells"),
    *with_interval("entropy"),
    "interval_note",
)
GROUNDING = (
    *("n", "undefined", "pooling", "selector"),
    *with_interval("raw"),
    *with_interval("without_sinks"),
    *with_interval("without_massive"),
    *with_interval("relative"),
    *with_interval("value_weighted"),
    *("position_mean", "other_image", "random_weights", "interval_note", "uniform", "gaussian", "attainable"),
)
CONTRASTS = (
    *("name", "family", "kind", "measure", "arm_first", "arm_second", "n_first", "n_second"),
    *("mean_first", "mean_second", "difference", "low", "high", "effect_size", "margin"),
    *("p_difference", "smallest_p", "q_difference", "p_equivalence", "q_equivalence"),
    *("verdict", "sign", "verdict_note", "direction", "reading", "claim", "original", "note"),
)
VALIDATION = (
    *("contrast", "test", "world", "effect", "datasets", "rejections", "size", "coverage"),
    *("p_binomial", "tests", "passes"),
)
COLUMNS: dict[str, tuple[str, ...]] = {
    "table1": (
        *QUERY,
        *("question", "pooling", "selector", "measure", "num_cells"),
        *("samples", "failed", "no_answer", "undefined", "other_conditions", "n"),
        *with_interval("entropy_mean"),
        *with_interval("entropy_min"),
        *("interval_note", "entropy_band", "profile_min", "layer_of_min", "layer_band", "modal_layer"),
        *with_interval("modal_share"),
        *with_interval("accuracy"),
        *("n_accuracy", "shown_layer"),
    ),
    "steps": (
        *QUERY,
        *("step", "token", "token_share", "answer_share", "n", "measure", "pooling"),
        *with_interval("entropy_mean"),
        *with_interval("entropy_min"),
        *("layer_of_min", "interval_note"),
    ),
    "ablation": (
        *QUERY,
        *("n", "selector", "measure"),
        *with_interval("entropy_max_pool"),
        *with_interval("entropy_mean_pool"),
        *with_interval("difference"),
        "interval_note",
    ),
    "layer_profile": LAYER_PROFILE,
    "layer_step": (*QUERY, "step", "layer", "token", "n", "pooling", "measure", "num_cells", "entropy"),
    "vision_mass": (
        *QUERY,
        *("layer", "layer_band", "n", "selector"),
        *with_interval("vision_mass"),
        *("first_token_mass", "prompt_text_mass", "generated_text_mass", "interval_note"),
    ),
    "pooling_profile": LAYER_PROFILE,
    "contrasts": CONTRASTS,
    "claims": CONTRASTS,
    "validation": VALIDATION,
    "power": ("contrast", "n_first", "n_second", "effect", "datasets", "moved", "equivalent", "undecided"),
    "conditions": (
        *QUERY,
        *("condition", "samples", "failed", "n", "found"),
        *with_interval("accuracy"),
        "n_accuracy",
        *with_interval("same_answer"),
        "n_same_answer",
        *with_interval("entropy"),
        *with_interval("js_divergence"),
        *("measure", "interval_note"),
    ),
    "grounding": (*QUERY, "score", *GROUNDING, "nearest_baseline", *with_interval("above_nearest")),
    "clusters": ("contrast", "cluster", "layers", "steps", "cells", "mass", "p", "n", "note"),
    "cluster_plane": ("contrast", "layer", "step", "t", "cluster", "n"),
    "shortcut": (
        *("query_type", "verdict", "verdict_note", "n_chance", "chance_state", "chance_reason"),
        *("n_attention", "attention_difference", "attention_low", "attention_high"),
        *("attention_state", "attention_reason"),
        *("n_cause", "cause_difference", "cause_low", "cause_high", "cause_state", "cause_reason"),
    ),
    "grounding_profile": (*QUERY, "score", "layer", *GROUNDING),
    "heads": (
        *("method", "heads", "number", "n_select", "n"),
        *with_interval("auroc"),
        *("select_auroc", "random_low", "random_high", "p"),
        *with_interval("difference"),
        *with_interval("over_gaussian"),
        "note",
    ),
    "head_auroc": ("layer", "head", "n", "auroc", "selected", "vision_mass"),
    "causal": (
        *("query_type", "check", "quantity", "n", "left_out", "first", "second", "difference", "low", "high"),
        *("p_difference", "q_difference", "p_equivalence", "q_equivalence", "verdict", "verdict_note"),
        *("margin", "note"),
    ),
    "causal_curves": (
        *("query_type", "check", "order", "fraction", "n"),
        *with_interval("delta"),
        "interval_note",
    ),
    "causal_validation": VALIDATION,
    "causal_support": ("query_type", "uses", "n", "why"),
}
TEXT = frozenset(
    [
        *("query_id", "query_type", "question", "pooling", "selector", "measure", "token"),
        *("interval_note", "entropy_band", "layer_band", "score", "nearest_baseline", "condition"),
        *("name", "family", "kind", "arm_first", "arm_second", "verdict", "sign", "verdict_note", "direction"),
        *("reading", "claim", "original", "note", "contrast", "test", "world", "passes"),
        *("layers", "steps", "chance_state", "chance_reason", "attention_state", "attention_reason"),
        *("cause_state", "cause_reason"),
        *("method", "heads", "selected"),
        *("check", "quantity", "order", "uses", "why"),
    ]
)
INTEGERS = frozenset(
    [
        *("num_cells", "samples", "failed", "no_answer", "undefined", "other_conditions", "n", "n_accuracy"),
        *("layer", "step", "layer_of_min", "modal_layer", "shown_layer"),
        *("n_first", "n_second", "datasets", "rejections", "tests"),
        *("cluster", "cells", "n_chance", "n_attention", "n_cause"),
        *("head", "number", "n_select", "left_out", "n_same_answer"),
    ]
)
# Written with one decimal more: a p value of 0.0004 is not one of 0.
P_VALUES = frozenset(
    ["p_difference", "smallest_p", "q_difference", "p_equivalence", "q_equivalence", "p_binomial", "p"]
)

SELECTORS = {
    "answer": "the first token of the answer",
    "first": "the first generated token",
    "final": "the last token before the end token",
    "last": "the last generated token",
    "all": "every generated token",
    "mean": "the mean over generated tokens",
}
MEASURES = {"entropy": "entropy (nats)", "entropy_normalised": "normalised entropy (H / ln N)"}


def read_summary(path: Path, table: str) -> pd.DataFrame:
    """A summary of the analysis (parquet, full precision), its columns in the published order."""
    if not path.exists():
        raise missing_file(path)
    frame = read_parquet(path)
    check_columns(frame.columns, table, path)
    return frame[list(COLUMNS[table])]


def read_published(path: Path, table: str) -> pd.DataFrame:
    """A published table (CSV): texts as they were, counts as nullable integers, numbers as floats (NaN where empty)."""
    if not path.exists():
        raise missing_file(path)
    try:
        # Everything as text first: an id may be "007" and a generated token "nan".
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise AtlasError(f"{path}: cannot be read as a CSV table ({error}); remove it and run again") from None
    check_columns(frame.columns, table, path)
    texts = {name: frame[name].map(csv_text) for name in COLUMNS[table] if name in TEXT}
    numbers = {name: parse_numbers(frame[name], path) for name in COLUMNS[table] if name not in TEXT}
    return frame.assign(**texts, **numbers)[list(COLUMNS[table])]


def missing_file(path: Path) -> AtlasError:
    """The error for a table that is not there."""
    return AtlasError(f"{path}: there is no such file; `snakemake tables` makes it, `dvc pull` fetches it")


def check_columns(found: Iterable[str], table: str, path: Path) -> None:
    """Refuse a table that lacks columns or has others, listing them all."""
    known, found = list(COLUMNS[table]), list(found)
    problems = [f"column {name!r} is missing" for name in known if name not in found]
    problems += [f"unknown column {name!r}.{nearest(name, known)}" for name in found if name not in known]
    if problems:
        raise AtlasError(f"{path} is not a table {table!r}:\n  " + "\n  ".join(problems))


def parse_numbers(column: pd.Series, path: Path) -> pd.Series:
    """A column of text as numbers: Int64 for counts and labels, float64 for the rest."""
    numbers = pd.to_numeric(column.where(column != ""), errors="coerce")
    broken = numbers.isna() & (column != "")
    if column.name in INTEGERS:
        broken |= numbers.notna() & (numbers % 1 != 0)
    if broken.any():
        row = broken.idxmax()
        kind = "a whole number" if column.name in INTEGERS else "a number"
        raise AtlasError(f"{path}, row {row + 1}: {column.name} {column[row]!r} is not {kind}")
    return numbers.astype("Int64" if column.name in INTEGERS else "float64")
