"""Each study is given the query types, paraphrases and sample ids that it uses, and those of no other."""

import json
from pathlib import Path

import pandas as pd
import pytest
from attention_atlas.config import Settings
from attention_atlas.declared import as_values, declared
from attention_atlas.inputs.study import OBJECT_COLUMNS, SAMPLE_COLUMNS, Study
from attention_atlas.inputs.used_settings import left_out, used_by

QUERIES = {"How many shapes are in the image?": "counting", "Where is the cat?": "spatial"}


def study(prefix, image="a.png", queries=QUERIES):
    rows = [
        dict.fromkeys(SAMPLE_COLUMNS, "")
        | {"sample_id": f"{prefix}{number}", "image": image, "query_id": "q", "query_type": kind, "query": query}
        for number, (query, kind) in enumerate(queries.items())
    ]
    return Study(Path("data", prefix), pd.DataFrame(rows).assign(line=1), pd.DataFrame(columns=OBJECT_COLUMNS))


def values(**sections):
    given = Settings(runs=[{"study": "s", "model": "m"}]).model_dump(mode="json")
    for name, value in sections.items():
        given[name] |= value
    return as_values(Settings.model_validate(given))


def test_query_types_and_paraphrases_are_those_of_the_studys_queries():
    given = values()
    used = used_by(study("s"), given)
    assert set(used["query_types"]) == {"counting", "spatial"}
    assert set(used["controls"]["paraphrases"]) == {
        r"How many shapes are in the image\?",
        r"Where is the (.+)\?",
    }
    assert set(given["query_types"]) == {
        "attribute",
        "counting",
        "recognition",
        "spatial",
    }  # the given are as they were


@pytest.mark.parametrize(("condition", "name"), [("paraphrase", "paraphrases"), ("generic", "generic_query")])
def test_wordings_of_conditions_that_are_not_made_are_not_used(condition, name):
    others = [one for one in ("blank", "generic", "paraphrase") if one != condition]
    used = used_by(study("s"), values(controls={"conditions": others}))
    assert not used["controls"][name]


def test_ids_of_samples_reach_their_own_study():
    given = values(
        capture={"rows": "all", "full_samples": ["s0", "t1"]},
        causal={"samples": ["t0"]},
        figures={"gallery": ["t1", "s1", "s0"], "layers_page": "t0"},
    )
    used = {name: used_by(study(name), given) for name in "st"}
    assert [used[name]["capture"]["full_samples"] for name in "st"] == [["s0"], ["t1"]]
    assert [used[name]["causal"]["samples"] for name in "st"] == [[], ["t0"]]
    assert [used[name]["figures"]["gallery"] for name in "st"] == [["s1", "s0"], ["t1"]]
    assert [used[name]["figures"]["layers_page"] for name in "st"] == ["", "t0"]
    assert list(left_out(given, used["t"])) == [
        "capture.full_samples: s0 not in this study",
        "figures.gallery: s1, s0 not in this study",
    ]
    assert used_by(study("t"), used["t"]) == used["t"]


def test_a_study_without_a_whole_matrix_still_has_settings_that_are_valid():
    used = used_by(study("s"), values(capture={"rows": "all", "full_samples": ["t1"]}))
    assert Settings.model_validate(used).capture.rows == "last"


def test_the_further_images_of_a_sample_may_be_shown():
    given = values(figures={"gallery": ["s0.image_2"]})
    several = study("s", "a.png|b.png")
    assert used_by(several, given)["figures"]["gallery"] == ["s0.image_2"]


def test_of_declared_settings_alone_nothing_else_is_read():
    given = declared(values(), ["query_types", "capture.keep_bits"])
    assert json.dumps(used_by(study("s"), given)["capture"]) == '{"keep_bits": null}'


def test_conditions_can_be_declared_without_what_they_ask():
    given = declared(values(), ["controls.conditions"])
    assert used_by(study("s"), given) == given
