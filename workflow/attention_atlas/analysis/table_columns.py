"""The columns of the analysis' long tables, by which a table of another kind is refused before it is used."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention_atlas.readers import read_parquet

if TYPE_CHECKING:
    import pandas as pd

# Table -> its columns of text and of numbers.
COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "samples": (
        (
            "sample_id",
            "image",
            "query_id",
            "query_type",
            "condition",
            "query",
            "generated_text",
            "stop_reason",
            "error",
        ),
        ("num_steps", "num_cells"),
    ),
    "tokens": (("sample_id", "token_text"), ("step", "token_logprob", "next_token_entropy")),
    "answers": (("sample_id", "answer_text"), ("answer_found", "answer_step", "answer_last_step", "correct")),
    "focus": (("sample_id", "pooling", "measure"), ("step", "layer", "value")),
    "mass": (
        ("sample_id",),
        ("step", "layer", "vision_mass", "first_token_mass", "prompt_text_mass", "generated_text_mass"),
    ),
    "grounding": (("sample_id", "map", "correction", "score"), ("layer", "value")),
    "conditions": (("sample_id", "condition", "measure"), ("number", "layer", "value")),
    "causal_samples": (("sample_id", "image", "query_id", "query_type", "quantity", "note"), ("value",)),
    "table1": (("query_id", "query_type", "pooling", "selector", "measure"), ("shown_layer", "n")),
    "interventions": (("sample_id", "kind"), ("index", "step", "logprob")),
}


def read_table(name: str, path: Path, **options: Any) -> "pd.DataFrame":
    """A table of this kind by options of pandas; refuses one that is damaged or lacks a column."""
    texts, numbers = COLUMNS[name]
    return read_parquet(path, texts, numbers, **options)
