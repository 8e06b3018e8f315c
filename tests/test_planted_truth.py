"""From planted maps to the sentences of the findings: every command of analysis and paper recovers what was planted."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from attention_atlas import store
from attention_atlas.cli import app
from attention_atlas.paper import catalogue
from attention_atlas.paper.columns import read_published
from scipy import stats

from .synthetic import Planted, interventions_of, node, settings_file, settings_of, with_map, write_study

IMAGES = 12
END = "<|im_end|>"
# Query -> type, answer, and the number of cells that the map of image k is even over.
QUERIES = {
    "q0": ("counting", "3", lambda k: 8 + k % 3),
    "q1": ("spatial", "left", lambda k: 3 + k % 3),
    "q3": ("recognition", "yes", lambda k: 6 + k % 2),
    "q4": ("recognition", "yes", lambda k: 6 + k % 2),
}
TARGET = [0, 1, 4, 5]  # the upper left quarter of 4 x 4 cells
LOCALISING = (1, 1)  # layer and head whose map is even over the target alone
WIDE = 16
SETTINGS = settings_of(
    heads={"count": 1, "random_sets": 99},
    tests={"simulations": 100},
    causal={"checks": ["knockout", "counterfactual"]},
)
SETTINGS["query_types"]["spatial"]["needs_target"] = False  # asked without one too, below
RUN = Path("results/attention/planted/tiny")
MADE, TABLES = Path("results/analysis/planted/tiny"), Path("results/paper/tables/planted/tiny")


def samples(condition="", width=None, suffix="", target="object_0", images=IMAGES):
    """Every query of every image; the answer is the one token before the end."""
    return [
        Planted(
            f"image_{k:02d}-{query_id}{suffix}",
            f"image_{k:02d}.png",
            [answer, END],
            np.full((2, 3), width or widths(k)),
            query_id,
            query_type,
            f"{query_id}?",
            answer,
            target,
            condition,
        )
        for query_id, (query_type, answer, widths) in QUERIES.items()
        for k in range(images)
    ]


def with_localising_head(dataset, own):
    """One head of one layer looks at the target, half as strongly as the other."""
    layer, head = LOCALISING
    for sample in own:
        maps = dataset["attention"].sel(sample=sample.sample_id, step=0, layer=layer).values.copy()
        maps[head] = np.where(np.isin(np.arange(16), TARGET), 0.1, 0).reshape(4, 4)
        dataset = with_map(dataset, sample.sample_id, 0, layer, maps)
    return dataset


def write_shards(folder, dataset):
    store.write_shard(folder / "000.nc", {"grid_4x4": dataset})
    store.write_manifest(folder / "manifest.json", [folder / "000.nc"])
    return str(folder / "000.nc")


def write_splits(study):
    """Every other image is for selection."""
    table = pd.read_csv(study / "samples.csv", dtype=str, keep_default_na=False)
    even = table["image"].str.extract(r"(\d+)")[0].astype(int) % 2 == 0
    table.assign(split=np.where(even, "select", "evaluate")).to_csv(study / "samples.csv", index=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project in which every command has run, on shards, a study and interventions that were planted."""
    root = tmp_path_factory.mktemp("planted")
    own = samples()
    write_splits(write_study(root, own))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        shards = write_shards(RUN, with_localising_head(node(own), own))
        twins = write_shards(RUN / "controls", node(samples("twin", WIDE, ".twin")))
        random = np.random.default_rng(5)
        drops = {
            sample.sample_id: {
                "knockout": {0: -2 + random.normal(0, 0.1), **{k: random.normal(-0.1, 0.02) for k in range(1, 100)}},
                "twin": {0: -3 + random.normal(0, 0.1)},
                "random_region": {k: random.normal(0, 0.02) for k in range(1, 9)},
            }
            for sample in own
        }
        interventions_of(drops, steps=2, step=0).to_parquet("interventions.parquet")
        for command in commands(shards, twins, ["interventions.parquet"]):
            app(command, standalone_mode=False)
    return root


def bare_run(root, images=IMAGES):
    """The folder of a run of a study without targets and without any control condition."""
    own = samples(target="", images=images)
    write_splits(write_study(root, own))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for command in commands(write_shards(RUN, node(own)), None, []):
            app(command, standalone_mode=False)
    return root


def commands(shards, twins, interventions):
    given = ["--settings", settings_file(".", SETTINGS)]
    study = ["--study", "data/planted"]
    for part, shard in [(MADE, shards), *([(MADE / "controls", twins)] if twins else [])]:
        samples, tokens, answers = (str(part / f"{name}.parquet") for name in ("samples", "tokens", "answers"))
        yield ["transcript", "--samples", samples, "--tokens", tokens, shard]
        yield ["answers", *study, "--samples", samples, "--tokens", tokens, *given, "--output", answers]
        steps = ["--samples", samples, "--answers", answers, *given]
        yield ["step-maps", *steps, "--output", str(part / "step_maps.nc"), shard]
    maps = str(MADE / "step_maps.nc")
    other = ["--controls", str(MADE / "controls/step_maps.nc")] if twins else []
    tables = {name: str(MADE / f"{name}.parquet") for name in ("samples", "tokens", "answers", "focus", "mass")}
    yield ["focus", "--output", tables["focus"], shards]
    yield ["mass", "--output", tables["mass"], shards]
    of_run = [part for name, path in tables.items() for part in (f"--{name}", path)]
    of_run += ["--manifest", str(RUN / "manifest.json"), *given]
    scores, controls, causal = (
        str(MADE / f"{name}.parquet") for name in ("grounding_scores", "condition_scores", "causal_samples")
    )
    yield ["summary-tables", *of_run, "--output", str(MADE)]
    yield ["ground", "--maps", maps, *other, *study, *given, "--output", scores]
    yield ["conditions", "--maps", maps, *other, *study, *given, "--output", controls]
    summed = ["--output", str(MADE / "conditions.parquet")]
    answered = ["--controls", str(MADE / "controls")] if twins else []
    yield ["condition-summary", "--scores", controls, *answered, *of_run, *summed]
    heads = ["--heads", str(MADE / "heads.json"), "--table", str(MADE / "heads.parquet")]
    yield ["heads", "--maps", maps, *study, *given, *heads, "--scores", str(MADE / "head_auroc.parquet")]
    judged = ["--samples", tables["samples"], "--answers", tables["answers"]]
    yield ["causal", "--maps", maps, *judged, *given, "--output", str(MADE), *interventions]
    tested = ["--maps", maps, "--grounding", scores, "--conditions", controls, "--causal", causal, *study]
    yield ["compare", *of_run, *tested, "--output", str(MADE)]
    for name in catalogue.TABLES:
        written = ["--csv", str(TABLES / f"{name}.csv")]
        yield ["table", "--name", name, "--input", str(MADE / f"{name}.parquet"), *given, *written]
    yield ["findings", "--tables", str(TABLES), *given, "--output", str(TABLES / "findings.md")]


def published(root, name):
    return read_published(root / TABLES / f"{name}.csv", name)


def layer_mean(width):
    """Entropy of the map pooled by max, mean over the three layers, in closed form."""
    cells = np.arange(16)
    pooled = np.maximum(np.where(cells < width, 0.8 / width, 0), np.where(np.isin(cells, TARGET), 0.1, 0))
    return (2 * np.log(width) + stats.entropy(pooled)) / 3


def test_entropies_are_those_of_the_planted_maps(root):
    table = published(root, "table1").set_index("query_id")
    for query_id, (_, _, widths) in QUERIES.items():
        expected = np.mean([layer_mean(widths(k)) for k in range(IMAGES)])
        assert table.loc[query_id, "entropy_mean"] == pytest.approx(expected, abs=6e-4)
        assert table.loc[query_id, ["n", "accuracy"]].tolist() == [IMAGES, 1.0]


def test_planted_differences_and_equalities_get_their_verdicts(root):
    table = published(root, "contrasts").set_index("name")
    wider = table.loc["counting_vs_spatial"]
    means = [np.mean([layer_mean(QUERIES[q][2](k)) for k in range(IMAGES)]) for q in ("q0", "q1")]
    assert wider["difference"] == pytest.approx(means[0] - means[1], abs=6e-4)
    assert wider[["verdict", "sign", "reading"]].tolist() == ["moved", "+", "supported"]
    assert table.loc["q3_vs_q4", "verdict"] == "equivalent"
    assert table.loc["q3_vs_q4", "difference"] == 0
    twin = table.loc["scene_vs_twin"]
    own = np.mean([layer_mean(widths(k)) for _, _, widths in QUERIES.values() for k in range(IMAGES)])
    assert twin["difference"] == pytest.approx(own - np.log(WIDE), abs=6e-4)
    assert twin[["verdict", "sign"]].tolist() == ["moved", "-"]


def test_a_condition_that_was_not_made_is_told_and_not_read_as_no_difference(root):
    row = published(root, "contrasts").set_index("name").loc["scene_vs_control_twin"]
    assert row["verdict"] == "no verdict"
    assert "no sample has a map under condition control_twin, which needs as many other objects" in row["note"]


def test_the_planted_head_is_found_on_one_split_and_localises_on_the_other(root):
    frozen = json.loads((root / MADE / "heads.json").read_text())
    assert [(head["layer"], head["head"], head["score"]) for head in frozen["heads"]] == [(*LOCALISING, 1.0)]
    assert frozen["n"] == IMAGES // 2
    row = published(root, "heads").set_index("method").loc["selected heads"]
    assert row[["heads", "n", "auroc"]].tolist() == ["L1H1", IMAGES // 2, 1.0]


def test_an_even_control_map_is_no_better_than_chance_on_the_target(root):
    scores = pd.read_parquet(root / MADE / "condition_scores.parquet")
    means = scores[scores["condition"] == "twin"].groupby("measure")["value"].agg(["min", "max"])
    np.testing.assert_allclose(means.loc["enrichment"], 1.0, rtol=1e-5)
    np.testing.assert_allclose(means.loc["entropy"], np.log(WIDE), rtol=1e-5)


def test_planted_causes_support_the_word_uses(root):
    support = published(root, "causal_support").set_index("query_type")
    assert set(support["uses"]) == {"yes"}
    checks = published(root, "causal").set_index(["query_type", "check"])
    assert checks.loc[("counting", "knockout"), "difference"] == pytest.approx(-1.9, abs=0.1)
    assert checks.loc[("spatial", "counterfactual, random region"), "difference"] == pytest.approx(-3, abs=0.15)
    findings = (root / TABLES / "findings.md").read_text()
    assert findings.count("the answer uses the target") == 3
    assert "**supported**" in findings


def test_no_shortcut_is_claimed_where_the_answer_needs_the_target(root):
    table = published(root, "shortcut").set_index("query_type")
    assert set(table["verdict"]) <= {"no shortcut", "no verdict"}
    assert set(table["cause_state"]) == {"fails"}


def test_a_study_without_targets_has_every_table_and_says_what_is_left_out(tmp_path):
    root = bare_run(tmp_path)
    contrasts = published(root, "contrasts").set_index("name")
    assert contrasts.loc["counting_vs_spatial", "verdict"] == "moved", "entropy needs no boxes"
    assert contrasts.loc["spatial_vs_counting_auroc", "verdict"] == "no verdict"
    assert "no sample has a map under condition twin, which needs a target" in contrasts.loc["scene_vs_twin", "note"]
    for name in ("grounding", "grounding_profile", "shortcut", "conditions"):
        assert published(root, name).empty
    assert set(published(root, "causal_support")["uses"]) == {"not tested"}
    findings = (root / TABLES / "findings.md").read_text()
    assert "## Where the maps lie\n\nNo map was scored: no sample has both a target and a map" in findings
    assert (
        "whether the target matters for the answer is not tested (no sample was put through these checks)" in findings
    )
    assert " uses " not in findings
    assert not published(root, "heads")["note"].eq("").all()


def test_fewer_than_six_images_are_described_but_not_tested(tmp_path):
    root = bare_run(tmp_path, images=5)
    table = published(root, "contrasts").set_index("name")
    assert set(table["verdict"]) == {"no verdict"}
    assert "a test needs 6" in table.loc["counting_vs_spatial", "note"]
    assert (published(root, "table1")["interval_note"] != "").all()
