"""Figures: drawn from published tables alone, at a paper's sizes, the same bytes every time, every text readable."""

import re

import numpy as np
import pandas as pd
import pytest
from attention_atlas import store
from attention_atlas.analysis import (
    causal,
    causal_tables,
    comparisons,
    grounding_summaries,
    selected_maps,
    step_maps,
)
from attention_atlas.analysis.conditions import condition_scores
from attention_atlas.analysis.summaries import SUMMARIES, read_run
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.study import read_study
from attention_atlas.paper import catalogue, fonts, overlay, panels, style
from attention_atlas.paper.columns import COLUMNS, TEXT, read_published
from attention_atlas.paper.tables import write_table
from matplotlib import font_manager
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image
from sklearn.metrics import roc_auc_score

from tests.paper.test_fonts import make_font
from tests.synthetic import (
    Planted,
    draw_images,
    grounding_table,
    interventions_of,
    node,
    settings_of,
    tables_of,
    tree_of,
    with_map,
    write_study,
)

DPI = 100
SETTINGS = settings_of(
    figures={"dpi": DPI},
    tests={"simulations": 100},
    contrasts={
        "first_vs_second": {
            "first": {"query_ids": ["q0"]},
            "second": {"query_ids": ["q1"]},
            "claim": "first is higher",
            "plane": True,
        },
        "late_vs_early": {"first": {"layers": "late"}, "second": {"layers": "early"}, "direction": "less"},
        "aurocs": {"measure": "auroc", "first": {"query_ids": ["q2"]}, "second": {"query_ids": ["q3"]}},
        "top": {"kind": "top_layers", "direction": "greater"},
    },
)
OF_TABLES = [name for name, sources in catalogue.FIGURES.items() if not sources.maps]
OF_MAPS = [name for name, sources in catalogue.FIGURES.items() if sources.maps]
END = "<|im_end|>"
# Query -> type, expected answer, target, the tokens of an answer.
QUERIES = {
    "q0": ("counting", "3", "", ["There", " are", " 3", " shapes", ".", END]),
    "q1": ("recognition", "yes", "", ["Yes", ",", " $x_1$", END]),
    "q2": ("attribute", "red", "object_0", ["The", " circle", " is", " red", END]),
    "q3": ("spatial", "top left", "object_0", ["Top", " left", END]),
}
ANSWER_STEPS = {"q0": 2, "q1": 0, "q2": 3, "q3": 0}


def planted():
    """Eight images asked four queries, with maps of random widths, one failed and one silent sample."""
    random = np.random.default_rng(11)
    samples = []
    for query_id, (query_type, expected, target, tokens) in QUERIES.items():
        for k in range(8):
            text = tokens if k or query_id != "q0" else ["There", " are", " some", END]
            widths = random.integers(1, 17, size=(len(text), 3))
            sample = Planted(f"image_{k}-{query_id}", f"image_{k}.png", text, widths, query_id, query_type)
            sample.expected_answer, sample.target_object = expected, target
            samples.append(sample)
    samples[9].error = "out of memory"
    return samples


def with_heads_that_differ(dataset, samples):
    """Where answers begin, at layer 1: one head even over cells, another on a single one, so that pooling matters."""
    cells = np.arange(16).reshape(4, 4)
    for k, sample in enumerate(samples):
        if not sample.error:
            heads = np.stack([0.05 * (cells < 4 + k % 8), 0.3 * (cells == k % 3)])
            dataset = with_map(dataset, sample.sample_id, ANSWER_STEPS[sample.query_id], 1, heads)
    return dataset


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a planted run's published tables, its selected maps and its study."""
    root, samples = tmp_path_factory.mktemp("run"), planted()
    study = write_study(root, samples)
    draw_images(study, samples)
    tree = tree_of(with_heads_that_differ(node(samples), samples))
    tables = tables_of(tree, samples, SETTINGS)
    of_run, scores = read_run(tables, 3, SETTINGS), scores_of(nodes_of(tree, tables), study)
    summaries = {
        **{name: summary(of_run) for name, summary in SUMMARIES.items()},
        **comparisons.comparisons(of_run, scores, {}, condition_scores({}, {}, None, "max")),
        "grounding_profile": grounding_summaries.grounding_profile(of_run, scores),
        "head_auroc": heads_of_size(layers=3, heads=2),
        **causal_of(tree, tables),
    }
    for name, frame in summaries.items():
        frame.to_parquet(root / f"{name}.parquet", index=False)
        write_table(name, root / f"{name}.parquet", 0.95, root / f"{name}.csv", None, None)
    asked = read_study(study, SETTINGS["query_types"], images=())
    described = tables["samples"], tables["answers"], summaries["table1"], scores
    maps = selected_maps.selected_maps(tree, asked, *described, SETTINGS)
    store.write_tree(root / "selected_maps.nc", maps)
    return root


def nodes_of(tree, tables):
    """The run's step maps."""
    steps = step_maps.steps_of(tables["samples"], tables["answers"], "answer")
    return {node.name: node.to_dataset() for node in step_maps.step_maps(tree, steps).leaves}


def scores_of(nodes, study):
    """The run's grounding scores."""
    asked = read_study(study, SETTINGS["query_types"], images=())
    return grounding_table(nodes, asked, "max")


def causal_of(tree, tables):
    """The tables of the run's causal checks: what is perturbed hurts by chance, by more from query to query."""
    random, causal_settings = np.random.default_rng(4), SETTINGS["causal"]
    steps, orders = causal_settings["steps"], ("", "_random")
    counts = {"knockout": 100, "occlusion": 16, "random_region": 9, "twin": 1, "control_twin": 1}
    counts |= {f"{check}{order}": steps + 1 for check in ("deletion", "insertion") for order in orders}
    parts = []
    for row in tables["answers"].sort_values("sample_id").itertuples():
        strength = int(row.sample_id[-1])
        drops = {
            kind: dict(enumerate(-strength * random.uniform(0, 1, count) + random.normal(0, 0.05, count)))
            for kind, count in counts.items()
        }
        parts.append(interventions_of({row.sample_id: drops}, steps=4, step=max(int(row.answer_step), 0)))
    nodes = nodes_of(tree, tables)
    given = (tables["samples"], tables["answers"], SETTINGS)
    every = pd.concat(parts, ignore_index=True)
    per_sample = causal.causal_samples(every, nodes, None, *given)
    return causal_tables.causal_tables(every, per_sample, *given)


def published(run, name):
    return read_published(run / f"{name}.csv", name)


def sources_of(name, run):
    """What a figure is drawn from, read from the run's files."""
    sources = catalogue.figure_sources(name)
    if sources.maps:
        return [overlay.read_selected(run / "selected_maps.nc", name, run / "data/planted")]
    return [published(run, table) for table in sources.tables]


def draw(name, sources, settings=SETTINGS):
    return catalogue.draw_function(name)(*sources, settings)


@pytest.fixture(scope="module")
def figures(run):
    """Every figure of the catalogue, by name."""
    return {name: draw(name, sources_of(name, run)) for name in catalogue.FIGURES}


@pytest.fixture(scope="module")
def files(figures, tmp_path_factory):
    """Every figure as the bytes of its PDF and PNG."""
    folder = tmp_path_factory.mktemp("figures")
    return {name: saved(figure, folder / name) for name, figure in figures.items()}


def saved(figure, stem, dpi=DPI):
    paths = [stem.with_suffix(ending) for ending in (".pdf", ".png")]
    style.save(figure, *paths, dpi)
    return tuple(path.read_bytes() for path in paths)


def tables_of_size(queries, layers, steps, note="", images=48):
    """Published tables of a study of another size, with tokens as long as words get."""
    random = np.random.default_rng(1)
    types = ["attribute", "counting", "recognition", "spatial"]
    words = ["There", " are", " several", " 3", " shapes", " incomprehensible", ",", " the", " $x_1$", END]
    rows = {}
    of_queries = ("layer_profile", "pooling_profile", "layer_step", "vision_mass", "steps", "ablation")
    for name in (*of_queries, "grounding_profile"):
        keys = [(f"q{q}",) for q in range(queries)]
        if "layer" in COLUMNS[name]:
            keys = [(*key, layer) for key in keys for layer in range(layers)]
        if "step" in COLUMNS[name]:
            keys = [(*key, step) for key in keys for step in range(steps)]
        named = ["query_id", *(part for part in ("layer", "step") if part in COLUMNS[name])]
        frame = pd.DataFrame(keys, columns=named)
        if name == "pooling_profile":
            frame = pd.concat([frame.assign(pooling=how) for how in ("max", "mean")], ignore_index=True)
        for column in COLUMNS[name]:
            if column not in frame:
                frame[column] = random.uniform(0.1, 0.9, len(frame))
            if column.startswith("entropy"):
                frame[column] = random.uniform(2.5, 3, len(frame))
            if column.endswith(("_low", "_high")):
                shift = np.nan if note else 0.1 if column.endswith("_high") else -0.1
                frame[column] = frame[column.rpartition("_")[0]] + shift
        frame["query_type"] = [types[int(query[1:]) % 4] for query in frame["query_id"]]
        for column, value in {
            **{"n": images, "selector": "answer", "measure": "entropy", "num_cells": 196, "interval_note": note}
        }.items():
            if column in frame:
                frame[column] = value
        if "score" in frame:
            frame["score"] = "auroc"
        if "pooling" in frame and name != "pooling_profile":
            frame["pooling"] = "max"
        if "layer_band" in frame:
            frame["layer_band"] = np.select(
                [frame["layer"] < layers * 11 / 36, frame["layer"] < layers * 25 / 36], ["early", "middle"], "late"
            )
        if "token" in frame:
            frame["token"] = [words[step % len(words)] for step in frame["step"]]
        if "answer_share" in frame:
            frame["answer_share"] = np.where(frame["step"] == min(3, steps - 1), 0.94, 0)
        rows[name] = frame[list(COLUMNS[name])]
    return {
        **{**rows, **contrasts_of_size(queries, note, images), **clusters_of_size(queries, layers, steps, images)},
        "head_auroc": heads_of_size(layers, 32 if layers == 36 else 4, "" if note else "no", images),
        **causal_of_size(queries, note, images),
    }


def heads_of_size(layers, heads, selected="no", images=48):
    """Scores of as many heads, below and above chance, one of them chosen and one undefined."""
    random = np.random.default_rng(4)
    keys = [(layer, head) for layer in range(layers) for head in range(heads)]
    frame = pd.DataFrame(keys, columns=["layer", "head"]).assign(n=images, selected=selected)
    frame = frame.assign(auroc=random.uniform(0.3, 0.95, len(keys)), vision_mass=random.uniform(0, 1, len(keys)))
    frame.loc[1, ["auroc", "n"]] = np.nan, 0
    frame.loc[frame["auroc"].idxmax(), "selected"] = "yes" if selected else ""
    return frame[list(COLUMNS["head_auroc"])]


def causal_of_size(count, note, images):
    """Causal checks of as many types of query, with all corrections of occlusion, and their curves."""
    random = np.random.default_rng(3)
    types = ["attribute", "counting", "recognition", "spatial", "comparison", "left or right"][:count]
    checks = [(query_type, check) for query_type in types for check in causal_tables.CHECKS]
    tested = pd.DataFrame({"query_type": [t for t, _ in checks], "check": [c.name for _, c in checks]})
    difference = random.uniform(-3, 3, len(tested))
    tested = tested.assign(
        quantity=[check.quantity for _, check in checks],
        difference=difference,
        low=np.nan if note else difference - 0.3,
        high=np.nan if note else difference + 0.3,
        margin=[0.1 if check.margin else np.nan for _, check in checks],
        verdict="no verdict" if note else ["moved", "equivalent", "undecided"] * (len(tested) // 3),
        n=images,
        left_out=1,
    )
    rest = [column for column in COLUMNS["causal"] if column not in tested]
    tested = tested.assign(**{column: "" if column in TEXT else 0.5 for column in rest})
    keys = [
        (query_type, check, order, k / 16) for query_type in types for check, order in causal.CURVES for k in range(17)
    ]
    curves = pd.DataFrame(keys, columns=["query_type", "check", "order", "fraction"])
    delta = random.uniform(-3, 0, len(curves))
    ends = {"delta_low": np.nan if note else delta - 0.2, "delta_high": np.nan if note else delta + 0.2}
    curves = curves.assign(n=images, delta=delta, **ends, interval_note=note)
    return {"causal": tested[list(COLUMNS["causal"])], "causal_curves": curves[list(COLUMNS["causal_curves"])]}


def contrasts_of_size(count, note, images):
    """Contrasts and power curves of as many comparisons, with arms as long as they get."""
    random = np.random.default_rng(2)
    verdicts = ["moved", "equivalent", "undecided"] if not note else ["no verdict"]
    contrasts = pd.DataFrame({"name": [f"contrast_{k}" for k in range(count)]})
    for column in COLUMNS["contrasts"]:
        if column not in contrasts:
            contrasts[column] = "" if column in TEXT else random.uniform(0.05, 0.2, count)
    contrasts = contrasts.assign(
        measure=[("entropy", "auroc", "ln_enrichment")[k % 3 if count > 2 else 0] for k in range(count)],
        kind="paired",
        verdict=[verdicts[k % len(verdicts)] for k in range(count)],
        arm_first="recognition, attribute, late layers, right answers",
        arm_second="counting",
        n_first=images,
        n_second=images,
        low=np.nan if note else contrasts["difference"] - 0.03,
        high=np.nan if note else contrasts["difference"] + 0.03,
        reading=["supported" if k % 2 else "" for k in range(count)],
        sign=["+" if verdicts[k % len(verdicts)] == "moved" else "" for k in range(count)],
    )
    keys = [(name, n, e / 10) for name in contrasts["name"] for n in (12, 24, 48, 96) for e in range(5)]
    power = pd.DataFrame(keys, columns=["contrast", "n_first", "effect"])
    shares = {name: random.uniform(0, 1, len(power)) for name in ("moved", "equivalent", "undecided")}
    power = power.assign(n_second=power["n_first"], datasets=500, **shares)
    return {"contrasts": contrasts[list(COLUMNS["contrasts"])], "power": power[list(COLUMNS["power"])]}


def clusters_of_size(count, layers, steps, images):
    """Planes of as many contrasts with a cluster each, and a step that too few images have."""
    random = np.random.default_rng(3)
    names = [f"the_queries_of_one_type_against_those_of_another_{k}" for k in range(count)]
    keys = [(name, layer, step) for name in names for layer in range(layers) for step in range(-1, steps)]
    plane = pd.DataFrame(keys, columns=["contrast", "layer", "step"])
    plane = plane.assign(t=random.normal(0, 3, len(plane)), cluster=0, n=images)
    plane["t"] = plane["t"].where(plane["step"] >= 0)
    plane.loc[(plane["step"] == 0) & (plane["layer"] < 4), "cluster"] = 1
    clusters = pd.DataFrame(
        {"contrast": names, "cluster": 1, "layers": "0 to 3", "steps": "0", "cells": min(4, layers)}
    )
    clusters = clusters.assign(mass=9.0, p=0.01, n=images, note="")
    return {"clusters": clusters[list(COLUMNS["clusters"])], "cluster_plane": plane[list(COLUMNS["cluster_plane"])]}


SIZES = {
    "a large model with long answers": tables_of_size(queries=6, layers=36, steps=16),
    "two queries of few images": tables_of_size(2, 28, 9, note="5 image(s); an interval needs 6", images=5),
    "one layer and step": tables_of_size(queries=3, layers=1, steps=1),
}


def texts_of(figure):
    """(text, box in pixels) of every text that is really drawn: ticks outside an axis' limits are not."""
    drawn, original = {}, Text.draw

    def record(text, renderer, *args, **kwargs):
        original(text, renderer, *args, **kwargs)
        if text.get_visible() and text.get_text().strip():
            drawn[text] = text.get_window_extent(renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", record)
        style.house_style(figure.draw_without_rendering)()
    return list(drawn.items())


def assert_every_text_is_readable(figure):
    """Inside the page, at least 6 pt, and none over another (by more than the white around letters, 0.7 pt)."""
    texts = texts_of(figure)
    assert texts
    page, slack = figure.bbox, 0.7 * figure.dpi / 72
    for text, box in texts:
        assert text.get_fontsize() >= 6, text.get_text()
        assert box.x0 >= page.x0 - 0.5, f"{text.get_text()!r} leaves the page at the left"
        assert box.y0 >= page.y0 - 0.5, f"{text.get_text()!r} leaves the page at the bottom"
        assert box.x1 <= page.x1 + 0.5, f"{text.get_text()!r} leaves the page at the right"
        assert box.y1 <= page.y1 + 0.5, f"{text.get_text()!r} leaves the page at the top"
    for index, (text, box) in enumerate(texts):
        for other, beside in texts[:index]:
            wide = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            tall = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            assert min(wide, tall) <= slack, f"{text.get_text()!r} lies over {other.get_text()!r}"


def assert_fits_a_page(figure):
    width, height = figure.get_size_inches() * 25.4
    assert width == pytest.approx(85) or width == pytest.approx(178)
    assert height <= 230 + 1e-9


def panels_of(figure, name):
    """The panels of a table figure by query id, in the order of its titles."""
    panels = {axes.get_title(loc="left").split(" ")[0]: axes for axes in figure.get_axes()}
    panels.pop("", None)
    assert list(panels) == list(QUERIES), name
    return panels


def line_with(axes, values):
    """Whether a panel has a line of exactly these values."""
    values = np.asarray(values, dtype=float)
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()]
    return any(ys.shape == values.shape and np.array_equal(ys, values) for ys in drawn)


def ribbon_of(axes):
    """The filled outlines of a panel, as one array of their vertices."""
    return np.vstack([path.vertices for part in axes.collections for path in part.get_paths()])


@pytest.mark.parametrize("name", catalogue.FIGURES)
def test_the_same_tables_give_the_same_bytes(name, run, files, tmp_path):
    """Drawn again from the files, after another figure has been drawn."""
    assert saved(draw(name, sources_of(name, run)), tmp_path / name) == files[name]


@pytest.mark.parametrize("name", catalogue.FIGURES)
def test_fonts_are_embedded_as_truetype(name, files):
    pdf = files[name][0]
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


@pytest.mark.parametrize("name", catalogue.FIGURES)
def test_pages_are_a_column_or_two_wide_and_no_longer_than_a_page(name, files, tmp_path):
    pdf, png = files[name]
    media = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    width, height = (float(points) / 72 * 25.4 for points in media.groups())
    assert min(abs(width - 85), abs(width - 178)) < 0.1
    assert height <= 230.1
    (tmp_path / "figure.png").write_bytes(png)
    with Image.open(tmp_path / "figure.png") as image:
        assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
        assert image.size == pytest.approx((width / 25.4 * DPI, height / 25.4 * DPI), abs=1)


@pytest.mark.parametrize("name", catalogue.FIGURES)
def test_every_text_of_a_figure_is_readable(name, figures):
    assert_every_text_is_readable(figures[name])
    assert_fits_a_page(figures[name])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OF_TABLES)
def test_figures_of_other_studies_are_readable_too(name, size):
    figure = draw(name, [SIZES[size][table] for table in catalogue.figure_tables(name)])
    assert_fits_a_page(figure)
    assert_every_text_is_readable(figure)


@pytest.mark.parametrize("name", OF_TABLES)
def test_an_empty_table_gives_a_figure_that_says_so(name, tmp_path):
    empty = [pd.DataFrame(columns=list(COLUMNS[table])) for table in catalogue.figure_tables(name)]
    figure = draw(name, empty)
    assert not figure.get_axes()
    assert_every_text_is_readable(figure)
    (message,) = (text.get_text() for text, _ in texts_of(figure))
    assert message.startswith("No ")
    assert saved(figure, tmp_path / name)[0].startswith(b"%PDF")


@pytest.mark.parametrize("name", OF_MAPS)
def test_no_selected_sample_gives_a_figure_that_says_so(name):
    figure = draw(name, [[]])
    assert not figure.get_axes()
    assert_every_text_is_readable(figure)


WITHOUT_QUERIES = ("contrasts", "power", "clusters", "head_auroc", "causal", "deletion")


@pytest.mark.parametrize("name", [name for name in OF_TABLES if name not in WITHOUT_QUERIES])
def test_a_query_without_any_value_has_a_panel_that_says_so(name, run):
    tables = {table: published(run, table) for table in catalogue.figure_tables(name)}
    for frame in tables.values():
        mine, kept = frame["query_id"] == "q3", {"layer", "step", "num_cells", "n"}
        numbers = [column for column in frame.select_dtypes("number") if column not in kept]
        frame.loc[mine, [column for column in numbers if "share" not in column]] = np.nan
        frame.loc[mine, "n"] = 0
        if "interval_note" in frame:
            frame.loc[mine, "interval_note"] = "no image"
    figure = draw(name, list(tables.values()))
    told = " ".join(" ".join(text.get_text().split()) for text, _ in texts_of(figure))
    assert "no value: no image" in told or "no interval: no image" in told
    assert_every_text_is_readable(figure)


def test_layer_profiles_are_the_column_of_the_table(run, figures):
    table = published(run, "layer_profile")
    for query, axes in panels_of(figures["layer_profile"], "layer_profile").items():
        rows = table[table["query_id"] == query]
        assert line_with(axes, rows["entropy"])
        ribbon = ribbon_of(axes)
        for layer, low, high in rows[["layer", "entropy_low", "entropy_high"]].itertuples(index=False):
            at_layer = ribbon[ribbon[:, 0] == layer][:, 1]
            assert {low, high} <= set(at_layer)


def test_pooling_draws_both_profiles_and_the_differences_of_the_tables(run, figures):
    profile, ablation = published(run, "pooling_profile"), published(run, "ablation")
    figure = figures["pooling"]
    panels = {axes.get_title(loc="left").split(" ")[0]: axes for axes in figure.get_axes()}
    for query in QUERIES:
        for how in ("max", "mean"):
            rows = profile[(profile["query_id"] == query) & (profile["pooling"] == how)]
            assert line_with(panels[query], rows["entropy"])
    drawn = [np.asarray(line.get_xdata(), dtype=float) for axes in figure.get_axes() for line in axes.get_lines()]
    for column in ("entropy_max_pool", "entropy_mean_pool", "difference"):
        assert any(np.array_equal(xs, ablation[column]) for xs in drawn), column


def test_steps_are_drawn_as_the_table_has_them(run, figures):
    table = published(run, "steps")
    for query, axes in panels_of(figures["step_progression"], "step_progression").items():
        rows = table[table["query_id"] == query]
        assert line_with(axes, rows["entropy_mean"])
        assert line_with(axes, rows["entropy_min"])


def test_tick_labels_are_the_tokens_of_the_table(run, figures):
    table = published(run, "steps")
    for query, axes in panels_of(figures["step_progression"], "step_progression").items():
        rows = table[table["query_id"] == query]
        expected = [f"{step}: “{token.strip()}”" for token, step in zip(rows["token"], rows["step"], strict=True)]
        counts = rows["n"].tolist()
        fewer = [f", n = {n}" if k and n != counts[k - 1] else "" for k, n in enumerate(counts)]
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == [token + n for token, n in zip(expected, fewer, strict=True)]


def test_vision_mass_draws_all_four_masses_of_the_table(run, figures):
    table = published(run, "vision_mass")
    for query, axes in panels_of(figures["vision_mass"], "vision_mass").items():
        rows = table[table["query_id"] == query]
        for column in ("vision_mass", "first_token_mass", "prompt_text_mass", "generated_text_mass"):
            assert line_with(axes, rows[column]), column


def test_layer_step_planes_hold_the_table_at_their_cells(run, figures):
    table = published(run, "layer_step")
    for query, axes in panels_of(figures["layer_step"], "layer_step").items():
        (plane,) = (part for part in axes.collections if isinstance(part, QuadMesh))
        rows = table[table["query_id"] == query]
        steps, layers = sorted(set(rows["step"])), sorted(set(rows["layer"]))
        array = plane.get_array()
        assert array.shape == (len(layers), len(steps))
        for row in rows.itertuples():
            assert array[layers.index(row.layer), steps.index(row.step)] == row.entropy
        corners = plane.get_coordinates()
        np.testing.assert_allclose(corners[0, :, 0], np.arange(len(steps) + 1) - 0.5)
        np.testing.assert_allclose(corners[:, 0, 1], np.arange(len(layers) + 1) - 0.5)


@pytest.mark.parametrize("name", ["layer_profile", "vision_mass", "layer_step"])
def test_panels_are_titled_by_query_and_number_of_images(name, run, figures):
    table = published(run, name)
    for query, axes in panels_of(figures[name], name).items():
        counts = table.loc[table["query_id"] == query, "n"]
        low, high = counts.min(), counts.max()
        assert axes.get_title(loc="left") == f"{query} {QUERIES[query][0]}"
        assert axes.get_title(loc="right") == (f"n = {low}" if low == high else f"n = {low}–{high}")


def test_the_ceiling_and_the_cuts_of_entropy_are_marked(figures):
    """ln 16, and the cuts of 64 cells as the same shares of it."""
    axes = panels_of(figures["layer_profile"], "layer_profile")["q0"]
    marked = {round(float(line.get_ydata()[0]), 6) for line in axes.get_lines() if len(line.get_ydata()) == 2}
    ceiling = np.log(16)
    expected = (ceiling, 1.5 / np.log(64) * ceiling, 3 / np.log(64) * ceiling)
    assert {round(value, 6) for value in expected} <= marked


def test_the_step_of_most_answers_is_marked_in_the_plane(figures):
    panels = panels_of(figures["layer_step"], "layer_step")
    marks = {
        query: [float(line.get_xdata()[0]) for line in axes.get_lines() if line.get_marker() == "v"]
        for query, axes in panels.items()
    }
    assert marks == {query: [step] for query, step in ANSWER_STEPS.items()}


def test_planes_of_contrasts_hold_their_t_at_their_cells_on_a_symmetric_scale():
    tables = SIZES["two queries of few images"]
    figure = draw("clusters", [tables["cluster_plane"], tables["clusters"]])
    planes = [part for axes in figure.get_axes() for part in axes.collections if isinstance(part, QuadMesh)][:2]
    for plane, (_, rows) in zip(planes, tables["cluster_plane"].groupby("contrast", sort=False), strict=True):
        expected = rows.pivot(index="layer", columns="step", values="t").to_numpy()
        np.testing.assert_array_equal(np.ma.filled(plane.get_array(), np.nan), expected)
        assert plane.norm.vmin == -plane.norm.vmax
        assert plane.norm.vmax == tables["cluster_plane"]["t"].abs().quantile(0.9)


def dotted(axes):
    """The (step, layer) of the cells that a plane marks as of a cluster."""
    return {
        point
        for line in axes.get_lines()
        for point in zip(*(np.asarray(part) for part in line.get_data()), strict=True)
    }


def sides(axes):
    """The sides of cells that are drawn, as sets of two corners."""
    lines = [part for part in axes.collections if isinstance(part, LineCollection)]
    return sorted(sorted(map(tuple, segment.tolist())) for part in lines for segment in part.get_segments())


def test_significant_clusters_are_outlined_and_others_are_not():
    plane = pd.DataFrame([("a", layer, step, 1.0, 0, 9) for layer in (0, 4) for step in (0, 1)])
    plane.columns = list(COLUMNS["cluster_plane"])
    plane.loc[[0, 1], "cluster"], plane.loc[3, "cluster"] = 1, 2
    clusters = pd.DataFrame({"contrast": "a", "cluster": [1, 2], "p": [0.05, 0.051]})
    axes = draw("clusters", [plane, clusters]).get_axes()[0]
    assert dotted(axes) == {(0, 0), (1, 0)}
    below = [[(x - 0.5, y), (x + 0.5, y)] for x in (0, 1) for y in (-0.5, 0.5)]
    beside = [[(x, -0.5), (x, 0.5)] for x in (-0.5, 1.5)]
    assert sides(axes) == sorted(below + beside)


def test_a_cluster_of_another_contrast_is_outlined_in_its_own_panel_alone():
    plane = pd.DataFrame([(name, layer, 0, 1.0, 1, 9) for name in "ab" for layer in (0, 1)])
    plane.columns = list(COLUMNS["cluster_plane"])
    clusters = pd.DataFrame({"contrast": ["a", "b"], "cluster": [1, 1], "p": [0.5, 0.01]})
    first, second = draw("clusters", [plane, clusters]).get_axes()[:2]
    assert not dotted(first)
    assert dotted(second) == {(0, 0), (0, 1)}


def test_contrasts_of_every_measure_have_a_panel_with_its_unit():
    table = SIZES["a large model with long answers"]["contrasts"].copy()
    table["measure"] = ["entropy", "auroc", "ln_enrichment", "js_excess", "centre_excess", "js_excess"]
    figure = draw("contrasts", [table])
    titles = [" ".join(axes.get_xlabel().split()) for axes in figure.get_axes()]
    assert "difference in Jensen–Shannon divergence (nats), first minus second" in titles
    assert "difference in centre shift (cells), first minus second" in titles
    assert len(titles) == 5
    assert_every_text_is_readable(figure)


def test_heads_are_drawn_at_their_layer_and_number_around_chance(run, figures):
    table = published(run, "head_auroc")
    axes, bar = figures["head_auroc"].get_axes()
    (plane,) = (part for part in axes.collections if isinstance(part, QuadMesh))
    for row in table.itertuples():
        drawn = plane.get_array()[row.layer, row.head]
        assert (drawn is np.ma.masked) if np.isnan(row.auroc) else drawn == row.auroc
    assert (plane.norm.vmin + plane.norm.vmax) / 2 == pytest.approx(0.5)
    known = table["auroc"].dropna()
    assert bar.get_ylim() == pytest.approx((min(known.min(), 0.5), max(known.max(), 0.5)))


def test_chosen_heads_are_outlined(run, figures):
    table, axes = published(run, "head_auroc"), figures["head_auroc"].get_axes()[0]
    chosen = table[table["selected"] == "yes"]
    frames = [patch.get_xy() for patch in axes.patches if isinstance(patch, Rectangle)]
    assert frames == [(head - 0.5, layer - 0.5) for layer, head in zip(chosen["layer"], chosen["head"], strict=True)]


def test_numbers_of_heads_are_written_where_cells_are_large_enough(run, figures):
    table = published(run, "head_auroc")
    texts = {text.get_text() for text, _ in texts_of(figures["head_auroc"])}
    assert {f"{value:.2f}" for value in table["auroc"].dropna()} <= texts
    assert "nan" not in texts
    for layers, heads in ((36, 32), (80, 4)):
        large = draw("head_auroc", [heads_of_size(layers, heads)])
        assert not large.get_axes()[0].texts
        assert_every_text_is_readable(large)
        assert_fits_a_page(large)


def test_heads_that_were_not_chosen_are_told(run):
    figure = draw("head_auroc", [SIZES["two queries of few images"]["head_auroc"]])
    assert any(text.get_text() == "no head was chosen" for text, _ in texts_of(figure))


def test_heads_without_any_score_give_a_figure_that_says_so():
    figure = draw("head_auroc", [heads_of_size(2, 2).assign(auroc=np.nan)])
    assert not figure.get_axes()
    assert any(text.get_text().startswith("No map of heads") for text, _ in texts_of(figure))


def selected_of(run, name):
    return sources_of(name, run)[0]


def over_images(figure):
    """The panels that show an image, in the order drawn."""
    return [axes for axes in figure.get_axes() if axes.get_images()]


def meshes(axes):
    return [part for part in axes.collections if isinstance(part, QuadMesh)]


def test_the_gallery_shows_each_selected_map_between_its_own_borders(run, figures):
    samples, axes = selected_of(run, "gallery"), over_images(figures["gallery"])
    assert len(axes) == 2 * len(samples) == 8
    for selected, image, over in zip(samples, axes[::2], axes[1::2], strict=True):
        assert not meshes(image)
        (mesh,) = meshes(over)
        maps = selected.maps
        np.testing.assert_array_equal(mesh.get_array(), maps["map"].sel(layer=maps.attrs["shown_layer"]))
        columns, rows = np.meshgrid(maps["col_edge"], maps["row_edge"])
        np.testing.assert_array_equal(mesh.get_coordinates(), np.stack([columns, rows], axis=-1))
        assert over.get_xlim() == (0, 64)
        assert over.get_ylim() == (64, 0)


def test_the_page_shows_every_layer_in_order_on_one_scale(run, figures):
    (selected,) = selected_of(run, "layers_page")
    image, *layers = over_images(figures["layers_page"])
    assert not meshes(image)
    assert len(layers) == 3
    for layer, axes in enumerate(layers):
        (mesh,) = meshes(axes)
        np.testing.assert_array_equal(mesh.get_array(), selected.maps["map"].sel(layer=layer))
        entropy = float(selected.maps["entropy"].sel(layer=layer))
        mass = float(selected.maps["vision_mass"].sel(layer=layer))
        assert axes.get_title(loc="left") == f"{layer}: H = {entropy:.2f}\nmass {mass:.2f}"
        assert mesh.norm.vmax == pytest.approx(float(selected.maps["map"].max()))


def test_the_best_samples_stand_above_the_worst_each_at_its_own_layer(run, figures):
    samples, axes = selected_of(run, "best_worst"), over_images(figures["best_worst"])
    assert len(axes) == 2 * len(samples) == 16
    assert [selected.told("rank") for selected in samples] == ["best"] * 4 + ["worst"] * 4
    for selected, over in zip(samples, axes[1::2], strict=True):
        (mesh,) = meshes(over)
        np.testing.assert_array_equal(mesh.get_array(), selected.maps["map"].sel(layer=selected.told("shown_layer")))
    tops = [axis.get_position().y0 for axis in axes]
    assert min(tops[:8]) > max(tops[8:])
    told = "\n".join(text.get_text() for text, _ in texts_of(figures["best_worst"]))
    for selected in samples:
        assert f"layer {selected.told('shown_layer')}, vision mass " in told
    assert "Best and worst of 16 samples" in " ".join(told.split())


def test_the_title_of_a_best_or_worst_sample_is_the_score_of_the_map_below_it(run, figures):
    """Recomputed from the drawn map and the target's box by scikit-learn; the box covers whole cells."""
    axes = over_images(figures["best_worst"])[1::2]
    titles = [text.get_text() for text in figures["best_worst"].texts if "AUROC" in text.get_text()]
    titles = [title for title in titles if title.startswith(("best: ", "worst: "))]
    assert len(titles) == len(axes) == 8
    for title, over, selected in zip(titles, axes, selected_of(run, "best_worst"), strict=True):
        (mesh,) = meshes(over)
        left, top, right, bottom = (int(edge // 16) for edge in selected.boxes[0])
        inside = np.zeros((4, 4), dtype=bool)
        inside[top:bottom, left:right] = True
        weights = np.ma.getdata(mesh.get_array()).ravel()
        assert title.split(",")[0].split(" ")[-1] == f"{roc_auc_score(inside.ravel(), weights):.2f}"


@pytest.mark.parametrize("name", ["gallery", "best_worst"])
def test_all_maps_of_a_figure_have_one_scale_which_it_states(name, run, figures):
    samples = selected_of(run, name)
    largest = max(float(one.maps["map"].sel(layer=one.told("shown_layer")).max()) for one in samples)
    norms = [meshes(axes)[0].norm for axes in over_images(figures[name])[1::2]]
    assert {(norm.vmin, norm.vmax) for norm in norms} == {(largest / 100, largest)}
    told = "\n".join(text.get_text() for text, _ in texts_of(figures[name]))
    assert f"one logarithmic scale for all maps; no colour below {largest / 100:.2g}" in told
    assert f"{largest:.2g}" in told


def test_a_map_with_little_attention_is_paler_than_one_with_much_and_says_so(run):
    """The same map a thousandth as strong has no colour at all; its vision mass stands below it."""
    strong = selected_of(run, "gallery")[2]
    weak = overlay.Selected("weak", strong.maps.copy(deep=True), strong.image, strong.boxes)
    for name in ("map", "vision_mass"):
        weak.maps[name] = weak.maps[name] / 1000
    figure = draw("gallery", [[strong, weak]])
    shades = [meshes(axes)[0] for axes in over_images(figure)[1::2]]
    opacity = [shade.cmap(shade.norm(shade.get_array()))[..., 3].max() for shade in shades]
    assert opacity[0] == pytest.approx(0.9)
    assert opacity[1] == 0
    told = "\n".join(text.get_text() for text, _ in texts_of(figure))
    mass = float(strong.maps["vision_mass"].sel(layer=strong.told("shown_layer")))
    assert f"vision mass {mass:.2f}, largest weight " in told
    assert "vision mass <0.01, largest weight " in told


def test_layers_beside_a_much_stronger_one_are_not_blank(run):
    """A page whose layer 1 is forty times as strong as the others, as one-token maps are among even ones."""
    (one,) = selected_of(run, "layers_page")
    maps = one.maps.copy(deep=True)
    maps["map"].values[:] = 0.016
    maps["map"].values[1] = np.where(np.arange(16).reshape(4, 4) == 5, 0.64, 0.002)
    figure = draw("layers_page", [[overlay.Selected("s", maps, one.image, one.boxes)]])
    drawn = [meshes(axes)[0] for axes in over_images(figure)[1:]]
    opacity = [mesh.cmap(mesh.norm(mesh.get_array()))[..., 3].max() for mesh in drawn]
    assert opacity[1] == pytest.approx(0.9)
    assert min(opacity) > 0.25


@pytest.fixture
def wide(run):
    """A selected sample on a picture of 90 x 40 pixels, with a grid of 2 x 3 cells of unequal size."""
    one = selected_of(run, "gallery")[0]
    maps = one.maps.isel(row=slice(2), col=slice(3), row_border=slice(3), col_border=slice(4)).copy(deep=True)
    maps["row_edge"].values[:] = [0, 15, 40]
    maps["col_edge"].values[:] = [0, 20, 50, 90]
    maps.attrs |= {"rank": "best", "score": 0.9, "mean_score": 0.8, "ranked": 16, "layer_chosen_on": "split select"}
    return overlay.Selected(one.sample_id, maps, np.zeros((40, 90, 3), dtype=np.uint8), ((10.0, 5.0, 30.0, 25.0),))


@pytest.mark.parametrize("name", OF_MAPS)
def test_cells_of_unequal_size_are_drawn_where_they_are(name, wide):
    figure = draw(name, [[wide]])
    mesh = meshes(over_images(figure)[1])[0]
    np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], [0, 20, 50, 90])
    np.testing.assert_array_equal(mesh.get_coordinates()[:, 0, 1], [0, 15, 40])
    assert over_images(figure)[1].get_xlim() == (0, 90)
    assert over_images(figure)[1].get_ylim() == (40, 0)
    assert_every_text_is_readable(figure)


@pytest.mark.parametrize("name", OF_MAPS)
def test_smoothing_blends_the_cells_over_the_same_extent_and_says_so(name, wide):
    figure = draw(name, [[wide]], settings_of(figures={"smoothing": True}))
    axes = over_images(figure)[1]
    assert not meshes(axes)
    blended = axes.get_images()[1]
    assert blended.get_extent() == [0, 90, 40, 0]
    assert blended.get_interpolation() == "bicubic"
    assert any("cells blended" in text.get_text() for text, _ in texts_of(figure))


@pytest.mark.parametrize("name", OF_MAPS)
def test_boxes_of_the_target_are_drawn_in_pixels_on_image_and_map(name, wide):
    for axes in over_images(draw(name, [[wide]]))[:2]:
        (box,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
        assert (box.get_xy(), box.get_width(), box.get_height()) == ((10, 5), 20, 20)


def test_boxes_are_those_of_the_studys_objects(run):
    boxes = {selected.sample_id: selected.boxes for selected in selected_of(run, "gallery")}
    assert boxes["image_2-q2"] == ((0.0, 0.0, 32.0, 32.0),)
    assert boxes["image_1-q0" if "image_1-q0" in boxes else next(iter(boxes))] == ()


def test_the_gallery_says_what_was_answered_and_whether_it_is_right(run, wide):
    wide.maps.attrs |= {"correct": 0, "expected_answer": "4", "generated_text": "There are 3.", "query": "How many?"}
    told = "\n".join(text.get_text() for text, _ in texts_of(draw("gallery", [[wide]])))
    assert "How many?" in told
    assert "“There are 3.” (wrong, expected: 4)" in told


def shaped(one, width, height, **attributes):
    """A selected sample on a picture of another size."""
    maps = one.maps.copy(deep=True)
    maps["row_edge"].values[:] = np.linspace(0, height, maps.sizes["row"] + 1)
    maps["col_edge"].values[:] = np.linspace(0, width, maps.sizes["col"] + 1)
    maps.attrs |= attributes
    return overlay.Selected(one.sample_id, maps, np.zeros((height, width, 3), dtype=np.uint8), one.boxes)


def test_a_row_of_wide_pictures_is_not_as_high_as_one_of_tall_ones(run):
    """Six images, five gaps and two margins fill 178 mm; at 5 to 2 an image is 0.4 as high as wide, at 2 to 3 1.5."""
    one = selected_of(run, "gallery")[0]
    figure = draw("gallery", [[shaped(one, 250, 100)] * 3 + [shaped(one, 100, 150)] * 3 + [shaped(one, 250, 100)]])
    assert_fits_a_page(figure)
    assert_every_text_is_readable(figure)
    _, page = figure.get_size_inches() * 25.4
    tops = [(1 - axes.get_position().y1) * page for axes in over_images(figure)]
    first, second, third = tops[0], tops[6], tops[12]
    assert tops == pytest.approx([first] * 6 + [second] * 6 + [third] * 2)
    side = (178 - 2 * 2 - 2 * 5 - 3 * 1) / 6
    assert (third - second) - (second - first) == pytest.approx((1.5 - 0.4) * side, abs=0.01)


def test_a_verdict_is_told_however_long_the_answer_is(run):
    one = selected_of(run, "gallery")[0]
    told = {"correct": 0, "expected_answer": "bottom right", "generated_text": "It is " + "to the left, or " * 40}
    question, *lines = overlay.question_lines(shaped(one, 64, 64, query="Where?", **told), 30, 3)
    assert question == "Where?"
    assert len(lines) == 3
    assert " ".join(lines).startswith("“It is to the left, or to")
    assert " ".join(lines).endswith(" …” (wrong, expected: bottom right)")


def test_a_caption_names_the_grid_of_its_map(wide):
    told = "\n".join(text.get_text() for text, _ in texts_of(draw("gallery", [[wide]])))
    assert f"{wide.sample_id}, 2 × 3 cells" in told
    told = "\n".join(text.get_text() for text, _ in texts_of(draw("layers_page", [[wide]])))
    assert "2 × 3 cells; titles: layer, entropy H in nats (at most 1.79)" in told  # ln 6


def test_many_boxes_are_drawn_thinner_than_few(wide):
    def thickness(count):
        many = overlay.Selected("s", wide.maps, wide.image, wide.boxes * count)
        return {patch.get_linewidth() for patch in over_images(draw("gallery", [[many]]))[0].patches}

    assert max(thickness(24)) < min(thickness(2))


@pytest.mark.parametrize(
    ("queries", "width", "columns"),
    [(1, 85, 1), (2, 85, 2), (5, 85, 2), (8, 85, 2), (20, 85, 3), (24, 85, 3), (30, 178, 4)],
)
def test_panels_fill_one_column_of_a_paper_before_two(queries, width, columns):
    grid = panels.grid_for([f"q{k}" for k in range(queries)], ["n = 48"] * queries, 36)
    assert (grid.width, grid.columns) == (width, columns)
    assert grid.height <= 230
    bottom = [index for index in range(queries) if grid.is_bottom(index)]
    assert bottom == list(range(queries - columns, queries))


def test_reasons_that_differ_in_a_number_alone_are_told_as_one():
    reasons = ["5 image(s); an interval needs 6", "no image", "3 image(s); an interval needs 6", "no image"]
    assert panels.in_short(reasons) == ["3 to 5 image(s); an interval needs 6", "no image"]
    assert panels.in_short(reasons[:2]) == reasons[:2]


@pytest.mark.parametrize("step", [0, 1, 12, 22, 23])
def test_the_share_of_answers_is_written_within_its_panel(step):
    steps = tables_of_size(queries=6, layers=3, steps=24)["steps"]
    figure = draw("step_progression", [steps.assign(answer_share=(steps["step"] == step) * 1.0)])
    labels = [(text, box) for text, box in texts_of(figure) if text.get_text() == "answer 100%"]
    assert len(labels) == 6
    for text, box in labels:
        panel = text.axes.get_window_extent()
        assert panel.x0 <= box.x0 < box.x1 <= panel.x1


def test_numbers_of_images_that_change_often_stand_at_their_steps():
    steps = tables_of_size(6, 3, 24, note="5 image(s); an interval needs 6")["steps"]
    figure = draw("step_progression", [steps.assign(n=5 - steps["step"] % 3)])
    told = [" ".join(text.get_text().split()) for text, _ in texts_of(figure)]
    assert any("no interval: 5 image(s); an interval needs 6" in text for text in told)
    assert any(text == "6: “,”, n = 5" for text in told)
    assert any("n on a tick label: number of images from that step on" in text for text in told)
    assert_every_text_is_readable(figure)


def test_a_check_without_any_value_has_an_axis_about_zero():
    table = SIZES["a large model with long answers"]["causal"].copy()
    check = "knockout"  # no other check has its quantity
    table.loc[table["check"] == check, ["difference", "low", "high", "margin"]] = np.nan
    panel = next(axes for axes in draw("causal", [table]).get_axes() if axes.get_title(loc="left") == check)
    assert panel.get_xlim() == (-1, 1)


def test_a_target_that_the_study_lost_is_refused_with_the_nearest_name(run, tmp_path):
    lines = (run / "data/planted/objects.csv").read_text().replace("object_0", "object_9")
    (tmp_path / "objects.csv").write_text(lines)
    (tmp_path / "images").symlink_to(run / "data/planted/images")
    with pytest.raises(AtlasError, match=r"no object 'object_0' of 'image_\d\.png'\. Did you mean 'object_9'\?"):
        overlay.read_selected(run / "selected_maps.nc", "gallery", tmp_path)


def test_an_unknown_figure_is_refused_with_the_nearest_name():
    with pytest.raises(AtlasError, match=r"unknown figure 'galery'\. Did you mean 'gallery'\?"):
        catalogue.figure_sources("galery")


def test_the_users_own_style_reaches_no_figure(run, files, tmp_path):
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "lines.linewidth": 9, "pdf.fonttype": 3}):
        again = saved(draw("layer_profile", sources_of("layer_profile", run)), tmp_path / "layer_profile")
    assert again == files["layer_profile"]


def test_causal_checks_are_drawn_as_the_table_has_them(run, figures):
    table = published(run, "causal")
    panels = {axes.get_title(loc="left"): axes for axes in figures["causal"].get_axes()}
    assert set(table["check"]) == set(panels)
    letters = {}
    for check, rows in table.groupby("check", sort=False):
        axes = panels[check]
        types = [label.get_text() for label in axes.get_yticklabels()]
        points = [line for line in axes.get_lines() if len(line.get_xdata()) == 1]
        drawn = [line.get_xdata()[0] for line in sorted(points, key=lambda line: line.get_ydata()[0])]
        assert drawn == [rows.set_index("query_type")["difference"][name] for name in types]
        bars = {tuple(path.vertices[:, 0]) for part in axes.collections for path in part.get_paths()}
        assert {(row.low, row.high) for row in rows.itertuples() if row.low < row.high} <= bars
        for row, text in zip(rows.itertuples(), axes.texts, strict=True):
            told = re.fullmatch(r"(.+?)(?: \((.)\))?, n = (\d+)", " ".join(text.get_text().split()))
            assert (told[1], told[3]) == (row.verdict, str(row.n))
            assert letters.setdefault(row.verdict_note, told[2]) == told[2]
    below = " ".join(" ".join(text.get_text() for text in figures["causal"].texts).split())
    for note, letter in letters.items():
        assert (letter is None) == (note == "")
        assert not note or f"({letter}) {note}" in below


def test_deletion_curves_are_the_columns_of_the_table(run, figures):
    table = published(run, "causal_curves")
    panels = {axes.get_title(loc="left"): axes for axes in figures["deletion"].get_axes()}
    for (query_type, check, order), rows in table.groupby(["query_type", "check", "order"]):
        axes = panels[f"{query_type}, {check}"]
        assert line_with(axes, rows["delta"]), order
        inner = rows[rows["delta_low"].notna()]
        vertices = {tuple(point) for point in ribbon_of(axes)}
        for row in inner.itertuples():
            assert {(row.fraction, row.delta_low), (row.fraction, row.delta_high)} <= vertices


def test_panels_of_deletion_without_a_value_say_so():
    curves = SIZES["a large model with long answers"]["causal_curves"].copy()
    mine = (curves["query_type"] == "counting") & (curves["check"] == "deletion")
    curves.loc[mine, ["delta", "delta_low", "delta_high"]] = np.nan
    curves.loc[mine, "n"] = 0
    curves.loc[mine, "interval_note"] = "no image"
    figure = draw("deletion", [curves])
    assert "no value: no image" in " ".join(" ".join(text.get_text().split()) for text, _ in texts_of(figure))
    assert_every_text_is_readable(figure)


@pytest.mark.parametrize("name", ["causal", "deletion", "power", "clusters", "contrasts"])
def test_no_place_for_a_panel_stays_empty(name):
    tables = SIZES["a large model with long answers"]
    figure = draw(name, [tables[table] for table in catalogue.figure_tables(name)])
    assert all(axes.axison or axes.texts for axes in figure.get_axes())


CHINESE = {"q0": "数一数", "counting": "计数", "recognition": "识别", "object_0": "物体", "There": "有", " 3": "三"}


@pytest.fixture
def chinese_font(tmp_path, monkeypatch):
    """Pretend that one font is installed, and that it has the Chinese characters of this module."""
    fonts.fallbacks.cache_clear()
    path = make_font(tmp_path / "chinese.ttf", "".join(CHINESE.values()) + "图中有几只猫？是的，共")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [path])
    yield
    fonts.fallbacks.cache_clear()


def in_chinese(frame):
    """A published table whose ids, types and tokens are Chinese."""
    texts = [name for name in frame if name in TEXT]
    return frame.assign(**{name: frame[name].replace(CHINESE) for name in texts})


@pytest.mark.parametrize("name", OF_TABLES)
def test_every_figure_draws_chinese_names(name, run, chinese_font, tmp_path, caplog):
    tables = [in_chinese(published(run, table)) for table in catalogue.figure_tables(name)]
    figure = draw(name, tables)
    saved(figure, tmp_path / name)
    assert not caplog.records
    assert_every_text_is_readable(figure)


@pytest.mark.parametrize("name", OF_MAPS)
def test_figures_of_maps_draw_chinese_questions_within_their_column(name, run, chinese_font, tmp_path, caplog):
    samples = selected_of(run, name)
    for selected in samples:
        texts = {"query": "图中有几只猫？" * 12, "generated_text": "是的，共三只猫" * 30, "token_text": "三"}
        selected.maps.attrs |= {**texts, "query_type": "计数", "correct": 1}
    figure = draw(name, [samples])
    saved(figure, tmp_path / name)
    assert not caplog.records
    assert_every_text_is_readable(figure)


HOSTILE = "$x^2$ \\frac{1}{2} $\\undefined{a}$ {model} %s \x00\t"


@pytest.mark.parametrize("name", catalogue.FIGURES)
def test_no_text_of_a_user_is_taken_for_a_formula(name, run, tmp_path):
    """Mathtext would refuse an unknown command, and swallow dollar signs."""
    if name in OF_MAPS:
        sources = [selected_of(run, name)]
        for selected in sources[0]:
            told = {"query": HOSTILE, "generated_text": HOSTILE, "token_text": HOSTILE, "query_type": "$a_b$"}
            selected.maps.attrs |= told | {"query_id": "$q$"}
    else:
        formulas = {"q0": "$q$", "q2": "$q_2$", "counting": "$a_b$", "attribute": "$a^b$"}
        sources = [published(run, table).replace(formulas) for table in catalogue.figure_tables(name)]
    figure = draw(name, sources)
    saved(figure, tmp_path / name)
    told = "\n".join(text.get_text() for text, _ in texts_of(figure))
    # What a figure of contrasts shows of their arms is its own affair.
    shows_queries = name in OF_MAPS or any("query_id" in table for table in sources)
    assert "$" in told or not shows_queries
    assert "\x00" not in told
