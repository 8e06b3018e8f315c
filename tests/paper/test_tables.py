"""Published tables: every format says the same, digit by digit, and what a reader sees is what was given."""

import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.paper import catalogue, tables
from attention_atlas.paper.columns import COLUMNS, read_published, read_summary
from markdown_it import MarkdownIt

# What LaTeX and Markdown would not print as it stands, and what CSV must quote.
NASTY = r'50% & $x_1 #{2} ~^\end <b> a|b `c` *d* [e](f) &amp; "g", h'
# LaTeX companion, table 3.2 and the textcomp names: how each of these characters is written to be printed.
LATEX_NAMES = {
    **{rf"\{char}": char for char in "%&$#_{}"},
    **{r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textbackslash{}": "\\"},
    **{r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", "$-$": "-", "--": "–"},
}
WITH_TEXT = ("table1", "steps", "ablation")
P_COLUMNS = ("p_difference", "smallest_p", "q_difference", "p_equivalence", "q_equivalence", "p_binomial", "p")


def values_of(name, rows, seed=0):
    """A summary of `rows` rows, every number of it random with more digits than are printed."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({column: random.normal(1, 2, rows) for column in COLUMNS[name]})
    whole = [*("num_cells", "samples", "failed", "no_answer", "undefined", "other_conditions", "n", "n_accuracy")]
    whole += ["layer", "step", "layer_of_min", "modal_layer", "shown_layer"]
    whole += ["n_first", "n_second", "datasets", "rejections", "tests", "head", "number", "n_select"]
    for column in [*whole, "cluster", "cells", "n_chance", "n_attention", "n_cause", "left_out", "n_same_answer"]:
        if column in frame:
            frame[column] = random.integers(2, 40, rows)
    texts = {
        **{"query_id": [f"q{k}" for k in range(rows)], "query_type": "counting", "question": "How many?"},
        **{"pooling": "max", "selector": "answer", "measure": "entropy", "token": " 3", "interval_note": ""},
        **{"entropy_band": "high", "layer_band": "early", "num_cells": 64},
        **{"score": "auroc", "kind": "paired", "verdict": "moved", "arm_first": "q0", "arm_second": "q1"},
        **dict.fromkeys(("name", "contrast", "family", "test", "world", "passes", "claim", "original"), "some text"),
        **{"method": "selected heads", "heads": "L4H2, L5H0", "selected": "yes"},
        **{"check": "knockout", "quantity": "Δ log p (nats)", "order": "map", "uses": "yes", "why": "moved -, n = 8"},
        **dict.fromkeys(("sign", "verdict_note", "direction", "reading", "note"), ""),
        **{"condition": "twin", "nearest_baseline": "gaussian", "layers": "3 to 5", "steps": "-1 to 2"},
        **{f"{leg}_{part}": "holds" for leg in ("chance", "attention", "cause") for part in ("state", "reason")},
    }
    return frame.assign(**{column: value for column, value in texts.items() if column in frame})


@pytest.fixture
def publish(tmp_path):
    """Write a summary as all of its formats; returns the paths by format."""

    def write(name, frame, formats=None):
        source = tmp_path / f"analysis/shapes/tiny/{name}.parquet"
        source.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(source, index=False)
        paths = {ending: tmp_path / f"tables/{name}.{ending}" for ending in formats or catalogue.TABLE_FORMATS[name]}
        tables.write_table(name, source, 0.95, paths["csv"], paths.get("md"), paths.get("tex"))
        return paths

    return write


def markdown_parts(path):
    """Caption, cells by row, and remarks of a Markdown table, as a CommonMark parser shows them to a reader."""
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    rows, paragraphs, inside = [], [], False
    for token in tokens:
        inside = (inside or token.type == "table_open") and token.type != "table_close"
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline":
            kinds = {child.type for child in token.children}
            assert kinds <= {"text", "softbreak"}, f"{token.content!r} is not shown literally"
            (rows[-1] if inside else paragraphs).append("".join(child.content for child in token.children))
    return paragraphs[0], rows, paragraphs[1:]


def latex_rows(path):
    """Cells by row of a LaTeX table (header first), read back by what each command prints."""
    text = path.read_text(encoding="utf-8")
    header = re.search(r"\\toprule\n(.*?) \\\\\n", text).group(1)
    body = re.findall(r"^(.*) \\\\$", text.split("\\endlastfoot" if "longtable" in text else "\\midrule")[1], re.M)
    return [[latex_printed(cell.strip()) for cell in re.split(r"(?<!\\) & ", row)] for row in (header, *body)]


def latex_printed(source):
    """What LaTeX prints for escaped text; fails on a character that LaTeX would take as a command."""
    commands = sorted(LATEX_NAMES, key=len, reverse=True)
    printed = re.sub("|".join(map(re.escape, commands)), lambda match: LATEX_NAMES[match.group()], source)
    left = re.sub("|".join(map(re.escape, commands)), "", source)
    assert not set(left) & set("%&$#_{}~^\\<>|"), f"{source!r} is not escaped"
    return printed


def numbers_in(text):
    return [Decimal(number) for number in re.findall(r"-?\d+\.\d+", text)]


@pytest.mark.parametrize("name", WITH_TEXT)
def test_markdown_and_latex_have_the_same_cells(name, publish):
    paths = publish(name, values_of(name, 5))
    _, rows, _ = markdown_parts(paths["md"])
    assert len(rows) == 6
    assert [[cell.replace("−", "-") for cell in row] for row in rows] == latex_rows(paths["tex"])


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        (
            "table1",
            {
                **{"Mean entropy": "entropy_mean", "Min. entropy": "entropy_min", "Accuracy": "accuracy"},
                **{"Profile min.": "profile_min"},
            },
        ),
        ("steps", {"Mean entropy": "entropy_mean", "Min. entropy": "entropy_min", "Answer here": "answer_share"}),
        ("ablation", {"Max over heads": "entropy_max_pool", "Mean over heads": "entropy_mean_pool"}),
    ],
)
def test_readers_tables_agree_with_the_csv_to_their_last_digit(name, printed, publish):
    paths = publish(name, values_of(name, 20))
    frame = pd.read_csv(paths["csv"], dtype=str)
    _, (header, *rows), _ = markdown_parts(paths["md"])
    for title, column in printed.items():
        columns = [part for part in (column, f"{column}_low", f"{column}_high") if part in frame]
        for row, exact in zip(rows, frame[columns].values.tolist(), strict=True):
            shown = numbers_in(row[header.index(title)])
            assert len(shown) == len(exact)
            assert all(abs(short - Decimal(long)) <= Decimal("0.005") for short, long in zip(shown, exact, strict=True))


def test_differences_keep_a_third_decimal(publish):
    paths = publish("ablation", values_of("ablation", 5))
    frame = pd.read_csv(paths["csv"], dtype=str)
    _, (header, *rows), _ = markdown_parts(paths["md"])
    column = header.index("Difference, max − mean")
    expected = frame["difference"] + " [" + frame["difference_low"] + ", " + frame["difference_high"] + "]"
    assert [row[column] for row in rows] == expected.tolist()


@pytest.mark.parametrize("name", catalogue.TABLES)
def test_csv_is_the_summary_rounded_to_three_decimals(name, publish):
    frame = values_of(name, 30)
    written = pd.read_csv(publish(name, frame)["csv"], dtype=str)
    assert list(written) == list(COLUMNS[name])
    for column in frame.select_dtypes("float"):
        decimals = 4 if column in P_COLUMNS else 3
        assert written[column].str.fullmatch(rf"-?\d+\.\d{{{decimals}}}").all()
        assert (written[column].astype(float) - frame[column]).abs().max() <= 0.5 * 10**-decimals + 1e-12
    for column in frame.select_dtypes("integer"):
        assert written[column].tolist() == frame[column].astype(str).tolist()


def test_nothing_is_printed_as_minus_zero(publish):
    frame = values_of("ablation", 2).assign(difference=-0.0004, difference_low=-0.0001, entropy_max_pool=-0.004)
    paths = publish("ablation", frame)
    assert pd.read_csv(paths["csv"], dtype=str)["difference"].tolist() == ["0.000", "0.000"]
    _, (header, *rows), _ = markdown_parts(paths["md"])
    assert rows[0][header.index("Max over heads")].startswith("0.00 ")
    assert "-0.000" not in paths["tex"].read_text()


@pytest.mark.parametrize("name", catalogue.TABLES)
def test_a_published_table_is_read_back_as_it_was_rounded(name, publish):
    frame = values_of(name, 6)
    count = next(column for column in ("n", "n_first", "datasets", "n_chance") if column in frame)
    frame.loc[frame.index[0], count] = 0
    back = read_published(publish(name, frame)["csv"], name)
    pd.testing.assert_frame_equal(back, tables.rounded(frame[list(COLUMNS[name])]), check_dtype=False)
    kinds = {column: str(kind) for column, kind in back.dtypes.items()}
    assert kinds[count] == "Int64"
    assert {kinds[column] for column in frame.select_dtypes("float")} <= {"float64"}


@pytest.mark.parametrize("text", ["007", "nan", "NA", "", " 3", "1e3", NASTY, "ein\nBruch", 'say "no"', "−"])
def test_texts_come_back_as_they_were_never_as_numbers_or_gaps(text, publish):
    back = read_published(publish("steps", values_of("steps", 1).assign(token=text))["csv"], "steps")
    assert back["token"].tolist() == [text.replace("\n", r"\n")]


def test_special_characters_are_shown_literally_in_every_format(publish):
    frame = values_of("table1", 2).assign(question=NASTY, query_id=["q_0", "q|1"])
    paths = publish("table1", frame)
    _, (header, *rows), _ = markdown_parts(paths["md"])
    assert [row[header.index("Question")] for row in rows] == [NASTY, NASTY]
    assert [row[0] for row in rows] == ["q_0 counting", "q|1 counting"]
    assert [row[1] for row in latex_rows(paths["tex"])[1:]] == [NASTY, NASTY]
    assert pd.read_csv(paths["csv"])["question"].tolist() == [NASTY, NASTY]


def test_special_characters_are_shown_literally_in_caption_and_remarks(publish):
    paths = publish("table1", values_of("table1", 1).assign(query_id="q_0*", interval_note=NASTY, failed=3))
    caption, _, remarks = markdown_parts(paths["md"])
    assert caption.startswith("shapes asked of tiny: entropy (nats)")
    assert remarks[-1] == f"No interval: q_0*: {NASTY}."
    written = paths["tex"].read_text(encoding="utf-8")
    told = re.search(r"\\caption\{(.*)\}(?: \\label.*)?$", written, re.M).group(1)
    assert NASTY in latex_printed(told)


def test_a_label_has_no_character_that_breaks_a_reference(publish):
    written = publish("table1", values_of("table1", 1))["tex"].read_text()
    assert re.search(r"\\label\{tab:shapes-tiny-table1\}", written)
    printed = tables.printed("table1", tables.rounded(values_of("table1", 1)), "my_study", "a%b", 0.9)
    assert re.search(r"\\label\{tab:my-study-a-b-table1\}", tables.as_latex(printed))


@pytest.mark.parametrize("name", WITH_TEXT)
def test_braces_and_environments_of_latex_are_balanced(name, publish):
    text = publish(name, values_of(name, 3).assign(query_type=NASTY))["tex"].read_text(encoding="utf-8")
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{(.*?)\}", text) == re.findall(r"\\end\{(.*?)\}", text)[::-1]
    columns = re.search(r"\\begin\{(?:tabular|longtable)\}(?:\[t\])?\{(.*)\}", text).group(1)
    assert len(re.sub(r"\{.*?\}", "", columns)) == len(latex_rows_of(text))


def latex_rows_of(text):
    """The header's cells of a LaTeX table."""
    return re.split(r"(?<!\\) & ", re.search(r"\\toprule\n(.*?) \\\\\n", text).group(1))


def test_what_is_left_out_is_printed_by_query_with_its_count(publish):
    counts = {"failed": [1, 0, 0], "no_answer": [2, 0, 5], "undefined": [0, 0, 3], "other_conditions": [48, 0, 0]}
    _, _, remarks = markdown_parts(publish("table1", values_of("table1", 3).assign(**counts))["md"])
    assert remarks == [
        "Left out: q0: 1 failed, 2 without an answer, 48 of other conditions; "
        "q2: 5 without an answer, 3 without finite positive vision mass."
    ]


def test_nothing_left_out_is_said_too(publish):
    counts = {"failed": 0, "no_answer": 0, "undefined": 0, "other_conditions": 0}
    _, _, remarks = markdown_parts(publish("table1", values_of("table1", 2).assign(**counts))["md"])
    assert remarks == ["Left out: nothing."]


def test_used_and_asked_samples_stand_in_one_cell(publish):
    _, rows, _ = markdown_parts(publish("table1", values_of("table1", 1).assign(n=45, samples=48))["md"])
    assert rows[1][2] == "45 of 48"


@pytest.mark.parametrize("name", WITH_TEXT)
def test_the_reason_of_a_missing_interval_is_told_once_with_its_queries(name, publish):
    frame = values_of(name, 3).assign(interval_note=["few images", "", "few images"])
    _, _, remarks = markdown_parts(publish(name, frame)["md"])
    assert remarks[-1] == "No interval: q0, q2: few images."


def test_a_dash_stands_where_there_is_no_value(publish):
    frame = values_of("table1", 1)
    empty = [column for column in COLUMNS["table1"] if column.startswith(("accuracy", "modal", "profile", "layer_of"))]
    frame[[*empty, "entropy_min_low", "entropy_min_high"]] = np.nan
    paths = publish("table1", frame.assign(layer_band="", entropy_min=1.234))
    _, (header, row), _ = markdown_parts(paths["md"])
    shown = dict(zip(header, row, strict=True))
    assert {shown[name] for name in ("Layer of min.", "Profile min.", "Modal layer", "Accuracy")} == {"–"}
    assert shown["Min. entropy"] == "1.23"
    assert latex_rows(paths["tex"])[1] == row
    assert " -- " in paths["tex"].read_text()
    written = pd.read_csv(paths["csv"], dtype=str, keep_default_na=False)
    assert set(written[empty].to_numpy().ravel()) == {""}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"measure": "entropy", "num_cells": 64}, r"entropy \(nats\) .* 64 vision tokens, at most ln 64 = 4\.16\."),
        ({"measure": "entropy", "num_cells": [16, 64]}, r"entropy \(nats\) of attention over vision tokens\."),
        ({"measure": "entropy_normalised", "num_cells": 0}, r"normalised entropy \(H / ln N\)"),
        ({"selector": "final"}, "Map at the last token before the end token, heads pooled by max"),
    ],
)
def test_the_caption_says_what_was_measured_and_where(change, told, publish):
    caption, _, _ = markdown_parts(publish("table1", values_of("table1", 2).assign(**change))["md"])
    assert re.search(told, caption)


def test_the_caption_names_the_level_of_the_intervals(tmp_path, publish):
    printed = tables.printed("table1", tables.rounded(values_of("table1", 1)), "shapes", "tiny", 0.9)
    assert "Brackets: 90 % intervals over images" in printed.caption


def test_a_correction_is_printed_and_named_only_where_it_was_made(publish):
    frame = values_of("grounding", 3)
    unmade = frame.assign(**dict.fromkeys([name for name in frame if name.startswith("without_massive")], np.nan))
    for given, printed in ((frame, True), (unmade, False)):
        shown = publish("grounding", given)["md"].read_text()
        assert ("Without massive" in shown) == printed
        assert ("massive activations" in shown) == printed
        assert "Without sinks" in shown
        assert "Corrections: without cells that take weight in other images too (sinks), " in shown


def test_an_empty_table_is_written_and_read_back_empty(publish):
    for name in catalogue.TABLES:
        paths = publish(name, pd.DataFrame(columns=list(COLUMNS[name])))
        assert read_published(paths["csv"], name).empty
        if name in WITH_TEXT:
            assert len(markdown_parts(paths["md"])[1]) == 1


def test_a_misspelt_column_is_refused_with_the_nearest_name(tmp_path):
    path = tmp_path / "table1.csv"
    values_of("table1", 1).rename(columns={"entropy_mean": "entropy_maen"}).to_csv(path, index=False)
    with pytest.raises(AtlasError) as refused:
        read_published(path, "table1")
    assert f"{path} is not a table 'table1'" in str(refused.value)
    assert "column 'entropy_mean' is missing" in str(refused.value)
    assert "unknown column 'entropy_maen'. Did you mean 'entropy_mean'?" in str(refused.value)


def test_a_summary_with_other_columns_is_refused_too(tmp_path):
    path = tmp_path / "steps.parquet"
    values_of("steps", 1).drop(columns=["token", "n"]).to_parquet(path)
    with pytest.raises(AtlasError, match=r"column 'token' is missing\n  column 'n' is missing"):
        read_summary(path, "steps")


def test_columns_are_published_in_one_order_whatever_the_files(tmp_path, publish):
    frame = values_of("steps", 2)
    paths = publish("steps", frame[sorted(frame)])
    assert list(pd.read_csv(paths["csv"])) == list(COLUMNS["steps"])


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [("n", "4.5", "n '4.5' is not a whole number"), ("entropy_mean", "high", "entropy_mean 'high' is not a number")],
)
def test_a_broken_number_is_refused_with_its_row(column, value, told, tmp_path):
    frame = values_of("table1", 3).astype(str)
    frame.loc[1, column] = value
    frame.to_csv(tmp_path / "table1.csv", index=False)
    with pytest.raises(AtlasError, match=rf"table1\.csv, row 2: {told}"):
        read_published(tmp_path / "table1.csv", "table1")


@pytest.mark.parametrize("read", [read_published, read_summary])
def test_a_missing_file_names_the_commands_that_bring_it(read, tmp_path):
    with pytest.raises(AtlasError, match=r"no such file; `snakemake tables` makes it, `dvc pull` fetches it"):
        read(tmp_path / "table1", "table1")


def test_a_file_that_is_no_table_is_refused_by_name(tmp_path):
    (tmp_path / "table1.parquet").write_bytes(b"not parquet")
    with pytest.raises(AtlasError, match=r"table1\.parquet: cannot be read as a parquet table"):
        read_summary(tmp_path / "table1.parquet", "table1")
    (tmp_path / "table1.csv").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(AtlasError, match=r"table1\.csv: cannot be read as a CSV table"):
        read_published(tmp_path / "table1.csv", "table1")


def test_a_table_of_csv_alone_has_no_other_format_and_leaves_no_file(publish, tmp_path):
    with pytest.raises(AtlasError, match="'layer_profile' is written as CSV alone"):
        publish("layer_profile", values_of("layer_profile", 1), formats=("csv", "md"))
    assert not list(tmp_path.glob("tables/*"))


def test_an_unknown_table_is_refused_with_the_nearest_name():
    with pytest.raises(AtlasError, match=r"unknown table 'table_1'\. Did you mean 'table1'\?"):
        catalogue.known_table("table_1")


def test_every_table_of_the_catalogue_has_columns_and_each_reader_format_a_printer():
    assert set(catalogue.TABLE_FORMATS) == set(COLUMNS)
    assert {name for name, formats in catalogue.TABLE_FORMATS.items() if "md" in formats} == set(tables.PRINTERS)


def method_rows():
    """A table of heads whose first method has random sets and no interval, and whose second has no heads."""
    frame = values_of("heads", 2).assign(method=["random heads", "VEA layers"], heads="-", n_select=24)
    frame[["random_low", "random_high", "p", "auroc"]] = [[0.61, 0.79, 0.0012, 0.7], [np.nan] * 4]
    return frame.assign(note=["5 image(s); an interval needs 6", ""], auroc_low=np.nan, auroc_high=np.nan)


def test_the_table_of_heads_says_where_they_were_chosen_and_what_random_means(publish):
    paths = publish("heads", method_rows())
    caption, (header, *rows), remarks = markdown_parts(paths["md"])
    for told in (
        "chosen on 24 images of the split select",
        "boxes were used",
        "sets of as many heads as were selected",
    ):
        assert told in caption
    assert remarks == ["Notes: random heads: 5 image(s); an interval needs 6."]
    random, without = (dict(zip(header, row, strict=True)) for row in rows)
    assert (random["AUROC"], random["Random sets"], random["p"]) == ("0.70", "[0.61, 0.79]", "0.0012")
    assert (without["AUROC"], without["Random sets"], without["p"], without["Heads"]) == ("–", "–", "–", "–")
    assert [[cell.replace("−", "-") for cell in row] for row in (header, *rows)] == latex_rows(paths["tex"])


def test_what_the_causal_checks_mean_and_leave_out_is_told_once(publish):
    frame = values_of("causal", 4).assign(
        query_type=["attribute", "attribute", "spatial", "spatial"],
        check=["occlusion", "knockout", "occlusion", "knockout"],
        quantity=["rho", "nats", "rho", "nats"],
        note=["", "1 sample(s): no knockout", "", "1 sample(s): no knockout"],
        difference=[0.5, -0.5, 0.5, -0.5],
        verdict=["moved", "moved", "undecided", "undecided"],
        second=[np.nan, 0.1, np.nan, 0.1],
    )
    caption, (header, *rows), remarks = markdown_parts(publish("causal", frame)["md"])
    assert "occlusion: rho; knockout: nats. Without" in caption
    assert remarks == ["Notes: attribute knockout, spatial knockout: 1 sample(s): no knockout."]
    assert [row[header.index("Verdict")] for row in rows] == ["moved +", "moved -", "undecided", "undecided"]
    assert [row[header.index("Control")] for row in rows] == ["–", "0.10", "–", "0.10"]
