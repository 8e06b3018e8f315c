"""Figures of tables in one column of a paper: for any study, nothing is hidden, pressed flat or left unsaid."""

import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from attention_atlas.paper import catalogue, panels, verdict_rows
from matplotlib.collections import PatchCollection, QuadMesh

from tests.paper.test_figures import (
    OF_TABLES,
    assert_every_text_is_readable,
    assert_fits_a_page,
    contrasts_of_size,
    draw,
    heads_of_size,
    tables_of_size,
    texts_of,
)

OF_QUERIES = ("layer_profile", "step_progression", "layer_step", "vision_mass", "pooling", "grounding")
# What a user may write: mathtext, TeX, str.format and percent signs are letters here.
NASTY = r"q_$x_1$ \frac{a} {model} 100% of_the_queries_that_are_asked_"
assert len(NASTY) == 60


def renamed(tables):
    """The tables with names as long and odd as a user may choose."""
    long = {name: frame.copy() for name, frame in tables.items()}
    for frame in long.values():
        for column in {"query_id", "contrast", "name"} & set(frame):
            frame[column] = NASTY + frame[column].astype(str)
        if "query_type" in frame:
            frame["query_type"] = "a_type_{of} $queries$ " + frame["query_type"]
        if "arm_first" in frame:
            frame["arm_first"] = frame["arm_second"] = NASTY
    return long


def with_gaps(tables):
    """The tables with columns, a query and numbers of images that are missing in part."""
    gaps = {name: frame.copy() for name, frame in tables.items()}
    scores = gaps["grounding_profile"]
    for version in ("without_massive", "random_weights", "relative"):
        scores[[column for column in scores if column.startswith(version)]] = np.nan
    for name in ("grounding_profile", "layer_profile", "pooling_profile", "vision_mass", "steps", "layer_step"):
        frame = gaps[name]
        values = frame.select_dtypes("number").columns.difference(["layer", "step", "n", "num_cells"])
        frame.loc[frame["query_id"] == "q1", values] = np.nan
    gaps["steps"]["n"] = 48 - gaps["steps"]["step"]
    return gaps


def of_four_types(tables):
    """The tables with causal checks of as many types of query as the demo has."""
    kept = ["attribute", "counting", "recognition", "spatial"]
    causal = {name: frame[frame["query_type"].isin(kept)] for name, frame in tables.items() if "causal" in name}
    return {**tables, **causal}


@cache
def tables_of(study):
    """The tables of a study by its name."""
    return {
        "eight queries": lambda: of_four_types(tables_of_size(8, 6, 9)),
        "one query": lambda: tables_of_size(1, 6, 5),
        "twenty queries": lambda: tables_of_size(20, 12, 9, note="5 image(s); an interval needs 6"),
        "long names, 36 layers, 24 steps": lambda: renamed(tables_of_size(6, 36, 24)),
        "missing values, 24 steps": lambda: with_gaps(tables_of_size(6, 36, 24)),
        "forty contrasts": lambda: renamed(contrasts_of_size(40, "", 48)),
    }[study]()


@cache
def figure_of(study, name):
    """A figure of a study, drawn once."""
    return draw(name, [tables_of(study)[table] for table in catalogue.figure_tables(name)])


CASES = [
    *(
        (study, name)
        for study in ("one query", "twenty queries", "long names, 36 layers, 24 steps")
        for name in OF_TABLES
    ),
    *(("missing values, 24 steps", name) for name in OF_QUERIES),
    *(("forty contrasts", name) for name in ("contrasts", "power")),
]


@pytest.mark.parametrize(("study", "name"), CASES)
def test_every_text_of_every_study_is_readable(study, name):
    figure = figure_of(study, name)
    assert_fits_a_page(figure)
    assert_every_text_is_readable(figure)


@pytest.mark.parametrize("name", OF_TABLES)
def test_a_study_of_eight_queries_fits_one_column_of_a_paper(name):
    figure = figure_of("eight queries", name)
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(85)
    assert_every_text_is_readable(figure)


def letters(text):
    """A text without white space, which a line's end may take the place of."""
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("name", [name for name in OF_TABLES if name != "head_auroc"])
def test_names_are_printed_letter_by_letter(name):
    tables = tables_of("long names, 36 layers, 24 steps")
    figure = figure_of("long names, 36 layers, 24 steps", name)
    texts = [text for text, _ in texts_of(figure)]
    assert not any(text.get_parse_math() for text in texts)
    told = [letters(text.get_text()) for text in texts]
    table = tables[catalogue.figure_tables(name)[0]]
    column = {"contrasts": "arm_first", "causal": "query_type", "deletion": "query_type"}.get(name)
    column = column or ("contrast" if "contrast" in table else "query_id")
    for written in table[column].unique():
        assert any(letters(written) in text for text in told), written


@pytest.mark.parametrize("name", ["layer_profile", "pooling", "step_progression", "grounding"])
def test_values_fill_at_least_half_of_their_axis(name):
    """Entropies of 2.5 to 3 nats; an axis from 0 to above ln 196 = 5.28 would leave them 8 % of it."""
    axes = [axes for axes in figure_of("eight queries", name).get_axes() if axes.get_title(loc="left")]
    low, high = axes[0].get_ylim()
    lines = [line.get_ydata() for panel in axes for line in panel.get_lines() if len(line.get_ydata()) > 2]
    values = np.concatenate([np.asarray(ys, dtype=float) for ys in lines])
    assert (np.nanmax(values) - np.nanmin(values)) / (high - low) >= 0.5


def told_in(figure):
    """All that a figure says, as one line."""
    return " ".join(" ".join(text.get_text().split()) for text, _ in texts_of(figure))


@pytest.mark.parametrize("name", ["layer_profile", "pooling", "step_progression"])
def test_an_axis_that_leaves_out_zero_says_so(name):
    assert "vertical axis cut to the values: it does not begin at 0" in told_in(figure_of("eight queries", name))


def test_marks_beyond_the_axis_are_named_with_their_values():
    told = told_in(figure_of("eight queries", "layer_profile"))
    assert "uniform map: ln 196 = 5.28 (above the axis)" in told
    assert "low < 1.90 ≤ medium ≤ 3.81 < high (off the axis)" in told  # 1.5 and 3 of ln 64 as shares of ln 196


def test_an_axis_of_equal_values_is_not_stretched_to_their_last_digits():
    table = tables_of("one query")["layer_profile"].assign(entropy=4.0, entropy_low=4.0, entropy_high=4.0)
    low, high = draw("layer_profile", [table]).get_axes()[0].get_ylim()
    assert high - low >= 0.05 * np.log(196)


def test_each_type_fills_its_own_axis_of_deletion():
    curves = tables_of("eight queries")["causal_curves"].copy()
    small = curves["query_type"] == "counting"
    curves.loc[small, ["delta", "delta_low", "delta_high"]] /= 100
    figure = draw("deletion", [curves])
    for axes in (axes for axes in figure.get_axes() if axes.get_title(loc="left")):
        values = np.concatenate([line.get_ydata() for line in axes.get_lines() if len(line.get_ydata()) > 2])
        low, high = axes.get_ylim()
        if "counting" not in axes.get_title(loc="left"):
            assert (values.max() - values.min()) / (high - low) >= 0.5
        assert high - low <= 4.5 if "counting" not in axes.get_title(loc="left") else high - low <= 0.12
    assert "each type has its own vertical axis" in told_in(figure)


def test_no_panel_of_grounding_holds_more_than_six_series():
    figure = figure_of("eight queries", "grounding")
    drawn = {axes.get_title(loc="left"): len(axes.get_lines()) for axes in figure.get_axes()}
    assert max(drawn.values()) <= 6
    table = tables_of("eight queries")["grounding_profile"]
    shown = [np.asarray(line.get_ydata()) for axes in figure.get_axes()[:2] for line in axes.get_lines()]
    rows = table[table["query_id"] == "q0"]
    versions = ("raw", "without_sinks", "without_massive", "relative", "value_weighted")
    baselines = ("position_mean", "other_image", "random_weights", "uniform", "gaussian")
    for column in (*versions, *baselines):
        assert any(np.array_equal(rows[column], ys) for ys in shown), column


def test_poolings_that_coincide_are_both_seen():
    table = tables_of("one query")["pooling_profile"].copy()
    table["entropy"] = table["layer"].map(lambda layer: 3 + 0.1 * layer)
    figure = draw("pooling", [tables_of("one query")["ablation"], table])
    panel = next(axes for axes in figure.get_axes() if axes.get_title(loc="left"))
    below, above = panel.get_lines()
    assert below.get_linewidth() >= 2 * above.get_linewidth()
    assert below.get_linestyle() == "-" != above.get_linestyle()
    assert above.get_markerfacecolor() == "white"


def test_a_token_is_not_read_as_a_number():
    assert panels.token_label(" 3", 4) == "4: “3”"
    assert panels.token_label(" ", 0) == "0: space"
    assert panels.token_label("", 1) == "1: none"
    assert panels.token_label("\n", 2) == "2: “\\n”"


@pytest.mark.parametrize("name", ["step_progression", "layer_step"])
def test_no_text_in_a_panel_is_turned(name):
    figure = figure_of("missing values, 24 steps", name)
    assert {text.get_rotation() for axes in figure.get_axes() for text in axes.texts} <= {0}


def test_no_text_of_contrasts_touches_the_edge_of_the_page():
    figure = figure_of("eight queries", "contrasts")
    millimetre = figure.dpi / 25.4
    for text, box in texts_of(figure):
        assert box.x0 >= millimetre, text.get_text()
        assert box.x1 <= figure.bbox.x1 - millimetre, text.get_text()


def test_contrasts_that_could_not_be_tested_are_named():
    table = tables_of("eight queries")["contrasts"].copy()
    table.loc[3, ["difference", "low", "high"]] = np.nan
    assert "not shown, because too few images were there for a test: contrast_3" in told_in(draw("contrasts", [table]))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("contrasts", ["contrasts"]),
        ("power", ["power", "contrasts"]),
        ("clusters", ["cluster_plane", "clusters"]),
    ],
)
def test_a_figure_of_contrasts_says_where_none_is_declared(name, given):
    of_run = tables_of("eight queries")
    told = told_in(draw(name, [of_run[table].iloc[:0] for table in given]))
    assert "settings: contrasts" in told
    assert "images" not in told


def test_a_reading_that_is_the_verdict_is_not_said_twice():
    table = tables_of("eight queries")["contrasts"].copy()
    table["verdict"], table["reading"], table["sign"] = "no verdict", "no verdict", ""
    told = told_in(draw("contrasts", [table]))
    assert told.count("no verdict") == len(table)


def test_long_names_are_shortened_only_where_a_page_is_too_short_and_say_so():
    few, many = figure_of("long names, 36 layers, 24 steps", "contrasts"), figure_of("forty contrasts", "contrasts")
    assert "…" not in told_in(few)
    if "…" in told_in(many):
        assert "long names are shortened in their middle" in told_in(many)
    shown = [label.get_text() for axes in many.get_axes() for label in axes.get_yticklabels()]
    assert len(shown) == 40


def test_the_causal_figure_says_why_a_verdict_is_undecided():
    table = tables_of("eight queries")["causal"].copy()
    undecided = table["verdict"] == "undecided"
    table["verdict_note"] = np.where(undecided, "test not valid at this n", "")
    told = told_in(draw("causal", [table]))
    assert "(a) test not valid at this n" in told
    assert told.count("undecided (a), n = 48") == undecided.sum()


def test_checks_of_one_quantity_share_their_axis():
    figure = figure_of("eight queries", "causal")
    limits = {axes.get_title(loc="left"): axes.get_xlim() for axes in figure.get_axes()}
    assert limits["occlusion"] == limits["occlusion, without sinks"] == limits["occlusion, relative"]


def test_power_shows_every_share_of_the_table_under_its_number_of_images():
    table = tables_of("eight queries")["power"]
    figure = figure_of("eight queries", "power")
    drawn = {part.get_gid(): part for axes in figure.get_axes() for part in axes.collections}
    for name, rows in table.groupby("contrast"):
        for verdict in ("moved", "equivalent"):
            cells = drawn[f"{verdict} {name}"]
            assert isinstance(cells, PatchCollection)
            np.testing.assert_array_equal(cells.get_array(), rows[verdict])
    told = [text.get_text() for text, _ in texts_of(figure)]
    assert all(told.count(n) == 2 for n in ("12", "24", "48", "96"))
    assert "planted in entropy (nats): 0, 0.1, 0.2, 0.3, 0.4" in told


def test_power_writes_numbers_of_images_that_differ_beside_the_name():
    table = tables_of("eight queries")["power"].copy()
    mine = table["contrast"] == "contrast_2"
    table.loc[mine & (table["n_first"] == 24), "n_second"] = 23
    told = letters(told_in(draw("power", [table, tables_of("eight queries")["contrasts"]])))
    assert letters("contrast_2 (n = 12 | 24, 23 | 48 | 96)") in told


def test_outliers_do_not_wash_out_the_colours_of_clusters():
    """Of a plane with a few cells at ±35, those of an ordinary t of 5 take at least half of the colours."""
    plane = tables_of("eight queries")["cluster_plane"].copy()
    plane["t"] = plane["t"].where(plane["t"].isna(), np.where(np.arange(len(plane)) % 2, 5.0, -5.0))
    known = plane.index[plane["t"].notna()]
    plane.loc[known[:2], "t"] = 35.0, -35.0
    figure = draw("clusters", [plane, tables_of("eight queries")["clusters"]])
    mesh = next(part for part in figure.get_axes()[0].collections if isinstance(part, QuadMesh))
    assert abs(float(mesh.norm(5.0)) - 0.5) >= 0.25
    told = told_in(figure)
    assert "colours end at ±5" in told
    assert "t is −35 to 35" in told


def test_the_sign_of_clusters_shows_without_colour():
    plane = pd.DataFrame({"contrast": "a", "layer": [0, 1, 0, 1], "step": [0, 0, 1, 1], "t": [3.0, 4.0, -3.0, -4.0]})
    plane = plane.assign(cluster=[1, 1, 2, 2], n=9)
    clusters = pd.DataFrame({"contrast": "a", "cluster": [1, 2], "p": [0.01, 0.01]})
    lines = draw("clusters", [plane, clusters]).get_axes()[0].get_lines()
    marked = {(x, line.get_marker()) for line in lines for x in line.get_xdata()}
    assert marked == {(0, "+"), (1, "_")}


def test_heads_below_chance_show_without_colour():
    table = heads_of_size(36, 32)
    (minus,) = draw("head_auroc", [table]).get_axes()[0].get_lines()
    below = table[table["auroc"] < 0.5]
    assert set(zip(*minus.get_data(), strict=True)) == set(zip(below["head"], below["layer"], strict=True))


def test_missing_intervals_are_told_once_for_the_figure():
    told = told_in(figure_of("twenty queries", "layer_profile"))
    assert told.count("no interval: 5 image(s); an interval needs 6") == 1


def test_missing_intervals_of_some_panels_name_them():
    table = tables_of("eight queries")["layer_profile"].copy()
    mine = (table["query_id"] == "q3") & (table["layer"] < 2)
    table.loc[mine, ["entropy_low", "entropy_high"]] = np.nan
    table.loc[mine, "interval_note"] = "all values are equal"
    assert "no interval (q3; in places): all values are equal" in told_in(draw("layer_profile", [table]))


@pytest.mark.parametrize("queries", [2, 20])
def test_panels_are_as_wide_as_their_titles_are_folded_for(queries):
    study = "eight queries" if queries == 2 else "twenty queries"
    figure = figure_of(study, "vision_mass")
    texts_of(figure)
    names = list(dict.fromkeys(tables_of(study)["vision_mass"]["query_id"]))
    grid = panels.grid_for(names, ["n = 48"] * len(names), 34)
    for axes in figure.get_axes():
        assert axes.get_window_extent().width / figure.dpi * 25.4 >= grid.panel_width - 0.5


@pytest.mark.parametrize("text", [NASTY, "a b", "x" * 80, "counting_vs_spatial-maps", "", "-0.5 and 2.5"])
@pytest.mark.parametrize("width", [9.0, 20.0, 60.0])
def test_folding_keeps_every_letter_and_the_width(text, width):
    folded = panels.fold(text, width)
    assert letters(folded) == letters(text)
    assert all(panels.text_width(line) <= width for line in folded.split("\n"))
    short = panels.fold(text, width, most=2)
    assert short.count("\n") <= 1
    assert letters(short).partition("…")[0] == letters(text)[: len(letters(short).partition("…")[0])]
    assert letters(text).endswith(letters(short).rpartition("…")[2])


def test_a_number_of_images_is_not_parted():
    for width in range(8, 30):
        assert "n = 48" in panels.fold(f"undecided (a), {verdict_rows.count(48)}", width)


def test_a_long_panel_goes_on_in_the_next_column():
    row = verdict_rows.Row("a − b", {}, "moved")
    long, short = (verdict_rows.Panel(title, "x", (row,) * n) for title, n in (("long", 40), ("short", 3)))
    columns, height = verdict_rows.packed([long, short], 2, 87)
    assert [[(panel.title, len(panel.rows)) for panel in column] for column in columns][1][-1] == ("short", 3)
    assert sum(len(panel.rows) for column in columns for panel in column) == 43
    assert columns[1][0].title == "long (continued)"
    assert height < verdict_rows.height_of([long, short], 87) * 0.6
    (first, _), _ = verdict_rows.packed([short, long], 2, 87)
    assert [panel.title for panel in first] == ["short", "long"]
