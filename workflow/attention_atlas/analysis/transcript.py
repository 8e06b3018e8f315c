"""Transcript: what was asked and what was generated, as tables; and where the attention's mass went."""

import re

import pandas as pd
import xarray as xr

from attention_atlas.analysis.rows import joined, layer_rows, step_rows
from attention_atlas.inputs import answers
from attention_atlas.inputs.conditions import expected_answers, source_of
from attention_atlas.inputs.study import Study
from attention_atlas.store import MASS_VARIABLES

SAMPLE_VARIABLES = ("image", "query_id", "query_type", "condition", "query", "generated_text", "stop_reason", "error")
SAMPLE_KEYS, TOKEN_KEYS, MASS_KEYS = ["sample_id"], ["sample_id", "step"], ["sample_id", "step", "layer"]
# How Qwen writes tokens that are not text.
SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>")


def samples_table(tree: xr.DataTree) -> pd.DataFrame:
    """One row a sample: what was asked, what was answered, num_steps, num_cells (its vision tokens); by sample id."""
    parts = []
    for node in tree.leaves:
        columns = node.to_dataset()[[*SAMPLE_VARIABLES, "num_steps"]].reset_coords(drop=True).load()
        cells = node.sizes["row"] * node.sizes["col"]
        table = pd.DataFrame({name: values.values for name, values in columns.data_vars.items()})
        parts.append(table.assign(sample_id=node["sample"].values, num_cells=cells))
    table = joined(parts, SAMPLE_KEYS)
    return table[["sample_id", *SAMPLE_VARIABLES, "num_steps", "num_cells"]]


def tokens_table(tree: xr.DataTree) -> pd.DataFrame:
    """One row a generated token: sample_id, step, token_text, token_logprob, next_token_entropy."""
    names = ("token_text", "token_logprob", "next_token_entropy")
    nodes = [node.to_dataset() for node in tree.leaves]
    parts = [step_rows(node, {name: node[name].values for name in names}) for node in nodes]
    return joined(parts, TOKEN_KEYS)


def mass_table(tree: xr.DataTree) -> pd.DataFrame:
    """One row a sample, step and layer: the masses of vision and text tokens, means over heads."""
    parts = []
    for node in tree.leaves:
        means = node.to_dataset()[list(MASS_VARIABLES)].mean("head", skipna=False).transpose("sample", "step", "layer")
        parts.append(layer_rows(node.to_dataset(), {name: means[name].values for name in MASS_VARIABLES}))
    return joined(parts, MASS_KEYS)


def judged(study: Study, samples: pd.DataFrame, tokens: pd.DataFrame, query_types: dict) -> pd.DataFrame:
    """The answers table of a run (design of the dataset): answers found in the text, held against those expected.

    Samples may be of control conditions, whose expected answers follow from the study's (inputs.controls).
    """
    texts = tokens["token_text"].where(~tokens["token_text"].str.fullmatch(SPECIAL_TOKEN), "")
    texts_of = texts.groupby(tokens["sample_id"], sort=False).agg(list)
    expected = expected_answers(study.samples, samples, query_types)
    asked = study.samples.set_index("sample_id")["query_type"]
    rows = []
    for sample in samples.itertuples():
        if sample.error:
            row = answers.failed_row()
        else:
            vocabulary = query_types[asked[source_of(sample.sample_id, sample.condition)]]["answers"]
            row = answers.judge(texts_of[sample.sample_id], expected[sample.sample_id], vocabulary)
        rows.append({"sample_id": sample.sample_id, **row})
    return answers.answers_table(rows)
