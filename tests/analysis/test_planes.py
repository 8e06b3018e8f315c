"""Planes: steps are counted from the answer, clusters stand where they were planted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from attention_atlas.analysis import arms, planes
from attention_atlas.analysis.hypothesis_tests import plan_of
from scipy import stats

from ..synthetic import LAYERS, node
from .controlled import controlled, samples_of

IMAGES = 9
ENTRY = {"first": {"query_ids": ["q0"]}, "second": {"query_ids": ["q1"]}, "plane": True}
STEPS = [-3, -2, -1, 0, 1, 2, 3]
# q0 and q1 generate five tokens each and answer with the third, q2 three and answers with the first.
ANSWER = {"q0": 2, "q1": 2, "q2": 0}
NO_CONDITIONS = pd.DataFrame({"condition": pd.Series(dtype=object)})


def planted(images=IMAGES, **contrasts):
    """Widths of even maps by chance; those of q0 are wider at the answer and the step behind it, in layers 1 and 2."""
    random = np.random.default_rng(4)
    samples = samples_of(images)
    for sample in samples:
        sample.width = random.integers(6, 9, sample.width.shape)
        if sample.query_id == "q0":
            sample.width[2:4, 1:3] += 6
    return samples, controlled(samples, node(samples), contrasts={"plane": ENTRY, **contrasts})


@pytest.fixture(scope="module")
def case():
    return planted()


def only_planes(case, **contrasts):
    """The settings that ship declare planes of their own; here those of the test alone."""
    names = {"plane", *contrasts}
    declared = {name: entry for name, entry in case.run.settings["contrasts"].items() if name in names}
    run = replace(case.run, settings={**case.run.settings, "contrasts": declared})
    return planes.clusters(arms.Evidence(run, case.grounding, case.nodes, NO_CONDITIONS), plan_of(run.settings))


@pytest.fixture(scope="module")
def found(case):
    return only_planes(case[1])


def entropy_differences(samples):
    """(image, layer, step) of ln width, q0 minus q1, aligned by hand."""
    differences = np.full((IMAGES, LAYERS, len(STEPS)), np.nan)
    widths = {sample.sample_id: sample.width for sample in samples}
    for image in range(IMAGES):
        first, second = (np.log(widths[f"image_{image:02d}-{query}"]) for query in ("q0", "q1"))
        for place, shift in enumerate(STEPS):
            step = ANSWER["q0"] + shift
            if 0 <= step < len(first):
                differences[image, :, place] = first[step] - second[step]
    return differences


def test_t_is_that_of_paired_differences_at_the_aligned_step(case, found):
    differences = entropy_differences(case[0])
    plane = found["cluster_plane"].set_index(["layer", "step"])
    for layer in range(LAYERS):
        for place, shift in enumerate(STEPS):
            row, values = plane.loc[(layer, shift)], differences[:, layer, place]
            known = np.isfinite(values)
            assert row["n"] == known.sum()
            if known.any():
                assert row["t"] == pytest.approx(stats.ttest_1samp(values, 0).statistic, abs=1e-4)
            else:
                assert np.isnan(row["t"])


def test_the_planted_cluster_is_found_where_it_was_planted(case, found):
    (cluster,) = found["clusters"].loc[found["clusters"]["p"] <= 0.05].to_dict("records")
    assert (cluster["layers"], cluster["steps"], cluster["cells"], cluster["n"]) == ("1 to 2", "0 to 1", 4, IMAGES)
    inside = found["cluster_plane"][found["cluster_plane"]["cluster"] == cluster["cluster"]]
    assert set(zip(inside["layer"], inside["step"], strict=True)) == {(1, 0), (1, 1), (2, 0), (2, 1)}
    assert cluster["mass"] == pytest.approx(inside["t"].sum())
    assert cluster["mass"] > 0


def test_queries_that_answer_at_other_steps_are_aligned_at_the_answer():
    """q2 answers with its first token: nothing stands before it, and its answer meets q0's third token."""
    samples, case = planted(other={**ENTRY, "second": {"query_ids": ["q2"]}})
    plane = only_planes(case, other={})["cluster_plane"]
    plane = plane[plane["contrast"] == "other"].set_index(["layer", "step"])
    assert (plane.xs(-1, level="step")["n"] == 0).all()
    widths = {sample.sample_id: np.log(sample.width) for sample in samples}
    values = [widths[f"image_{k:02d}-q0"][2, 1] - widths[f"image_{k:02d}-q2"][0, 1] for k in range(IMAGES)]
    assert plane.loc[(1, 0), "t"] == pytest.approx(stats.ttest_1samp(values, 0).statistic, abs=1e-4)


def test_samples_of_one_image_are_averaged_first():
    samples, case = planted(
        other={"first": {"query_types": ["counting"]}, "second": {"query_ids": ["q2"]}, "plane": True}
    )
    plane = only_planes(case, other={})["cluster_plane"]
    row = plane[(plane["contrast"] == "other") & (plane["layer"] == 1) & (plane["step"] == 0)].iloc[0]
    widths = {sample.sample_id: np.log(sample.width) for sample in samples}
    values = [
        np.mean([widths[f"image_{k:02d}-{q}"][2, 1] for q in ("q0", "q1")]) - widths[f"image_{k:02d}-q2"][0, 1]
        for k in range(IMAGES)
    ]
    assert row["n"] == IMAGES
    assert row["t"] == pytest.approx(stats.ttest_1samp(values, 0).statistic, abs=1e-4)


def test_a_band_of_layers_limits_the_plane():
    late = {arm: {**ENTRY[arm], "layers": "late"} for arm in ("first", "second")}
    _, case = planted(other={**late, "plane": True})
    plane = only_planes(case, other={})["cluster_plane"]
    assert set(plane.loc[plane["contrast"] == "other", "layer"]) == {2}


def test_equal_arms_have_a_row_that_says_that_there_is_no_cluster():
    _, case = planted(plane={**ENTRY, "second": {"query_ids": ["q0"]}})
    (row,) = only_planes(case)["clusters"].to_dict("records")
    assert (row["cluster"], row["cells"], row["n"]) == (0, 0, IMAGES)
    assert row["note"] == "no cell passes the threshold of a cluster"


def test_too_few_images_are_refused_with_the_reason():
    _, case = planted(images=5)
    found = only_planes(case)
    (row,) = found["clusters"].to_dict("records")
    assert (row["cluster"], row["n"], row["note"]) == (0, 5, "5 image(s); a test needs 6 in a cell")
    assert found["cluster_plane"]["t"].isna().all()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({**ENTRY, "second": {"query_ids": ["q9"]}}, "the study has no query q9"),
        ({**ENTRY, "second": {"condition": "twin"}}, "no sample has a map under condition twin, which needs a target"),
        ({"first": {"layers": "late"}, "second": {"layers": "early"}, "plane": True}, "no layer in common"),
    ],
)
def test_a_plane_that_cannot_be_made_says_why(entry, told):
    _, case = planted(plane=entry)
    found = only_planes(case)
    (row,) = found["clusters"].to_dict("records")
    assert row["cluster"] == 0
    assert told in row["note"]
    assert found["cluster_plane"].empty


def test_controls_have_no_plane(case):
    made = planted(plane={**ENTRY, "second": {"condition": "twin"}})[1]
    declared = {"plane": made.run.settings["contrasts"]["plane"]}
    run = replace(made.run, settings={**made.run.settings, "contrasts": declared})
    evidence = arms.Evidence(run, made.grounding, made.nodes, pd.DataFrame({"condition": ["twin"]}))
    (row,) = planes.clusters(evidence, plan_of(run.settings))["clusters"].to_dict("records")
    assert row["note"] == "control conditions have maps at the selected step alone"


def test_without_declared_planes_the_tables_are_empty_with_their_columns(case):
    run = replace(case[1].run, settings={**case[1].run.settings, "contrasts": {}})
    found = planes.clusters(arms.Evidence(run, case[1].grounding, {}, NO_CONDITIONS), plan_of(run.settings))
    assert list(found["clusters"]) == planes.CLUSTERS
    assert list(found["cluster_plane"]) == planes.PLANE
    assert found["clusters"].empty
