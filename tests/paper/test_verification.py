"""Verification: what passes as another processor's last bits, and what does not, on the demo's published tables."""

import json
import math
import re
import shutil

import pandas as pd
import pytest
import scipy.stats
from attention_atlas.cli import app
from attention_atlas.paper.catalogue import TABLES
from attention_atlas.paper.columns import COLUMNS, INTEGERS, TEXT
from attention_atlas.paper.findings import write_findings
from attention_atlas.paper.numbers import write_numbers
from attention_atlas.paper.tables import as_latex, as_markdown, printed
from attention_atlas.paper.verification import compare_folders, read_published
from typer.testing import CliRunner

from ..workflow.conftest import ROOT

RUN = "paper/tables/shapes/shapes-tiny"
SIMULATED = ("validation", "causal_validation")


@pytest.fixture
def published(tmp_path):
    """The demo's published files."""
    folder = tmp_path / "published"
    shutil.copytree(ROOT / "results/paper/tables", folder / "paper/tables")
    shutil.copy(ROOT / "results/summary.json", folder)
    return folder


@pytest.fixture
def found(published, tmp_path):
    """A copy of them, to be changed."""
    return shutil.copytree(published, tmp_path / "found")


def lines(found, published):
    return {line.file: line for line in compare_folders(found, published)}


def verdict(found, published, name):
    """The verdict on one file; all others are the same."""
    all_lines = lines(found, published)
    assert {file for file, line in all_lines.items() if not str(line).startswith("ok  ")} <= {name}
    return str(all_lines[name]).split(name)[0].strip()


def cells(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def write(path, frame):
    frame.to_csv(path, index=False, lineterminator="\n")


def edit(folder, table, row, **values):
    """Replace cells of one row of a table."""
    path = folder / RUN / f"{table}.csv"
    frame = cells(path)
    for column, value in values.items():
        frame.loc[row, column] = str(value)
    write(path, frame)


def moved(text, by):
    """A printed number, moved by some units of its last digit; a missing one stays missing."""
    decimals = len(text.partition(".")[2])
    return f"{float(text) + by * 10**-decimals:.{decimals}f}" if text else text


def numbers_of(table):
    return [name for name in COLUMNS[table] if name not in TEXT]


def test_the_same_files_are_ok(found, published):
    told = [str(line) for line in lines(found, published).values()]
    assert len(told) == len([path for path in published.rglob("*") if path.is_file()])
    assert all(line.startswith("ok  ") for line in told)


@pytest.mark.parametrize("table", TABLES)
def test_every_number_larger_by_two_thousandths_differs(found, published, table):
    name = f"{RUN}/{table}.csv"
    frame = cells(found / name)
    for column in numbers_of(table):
        frame[column] = [f"{float(text) + 0.002:.3f}" if text else text for text in frame[column]]
    write(found / name, frame)
    assert verdict(found, published, name) == "DIFFERS"


@pytest.mark.parametrize("table", [name for name in TABLES if set(numbers_of(name)) - INTEGERS])
def test_every_decimal_larger_by_two_units_differs_and_by_one_does_not(found, published, table):
    name = f"{RUN}/{table}.csv"
    before = cells(found / name)
    for units, expected in ((2, "DIFFERS"), (1, "ok, within tolerance")):
        frame = before.copy()
        for column in set(numbers_of(table)) - INTEGERS:
            frame[column] = [moved(text, units) for text in frame[column]]
        write(found / name, frame)
        assert verdict(found, published, name) == expected


@pytest.mark.parametrize("value", ["0.001", "0.004", "0.009"])
def test_a_small_number_is_checked_to_its_printed_digits(found, published, value):
    edit(published, "conditions", 0, js_divergence=value)
    for digits, expected in ((moved(value, 1), "ok, within tolerance"), (moved(value, 2), "DIFFERS")):
        edit(found, "conditions", 0, js_divergence=digits)
        assert str(lines(found, published)[f"{RUN}/conditions.csv"]).startswith(expected)


@pytest.mark.parametrize(("p", "near", "far"), [("0.0004", "0.0005", "0.0006"), ("0.0300", "0.0306", "0.0308")])
def test_a_small_p_is_checked_to_a_fiftieth_of_itself(found, published, p, near, far):
    edit(published, "contrasts", 0, p_difference=p)
    for value, expected in ((near, "ok, within tolerance"), (far, "DIFFERS")):
        edit(found, "contrasts", 0, p_difference=value)
        assert str(lines(found, published)[f"{RUN}/contrasts.csv"]).startswith(expected)


@pytest.mark.parametrize("table", TABLES)
def test_counts_layers_and_names_are_exact(found, published, table):
    name = f"{RUN}/{table}.csv"
    before = cells(found / name)
    exact = [column for column in before if column in INTEGERS | TEXT and column not in ("rejections",)]
    for column in exact:
        frame = before.copy()
        frame.loc[0, column] = str(int(frame.loc[0, column] or 0) + 1) if column in INTEGERS else "another"
        write(found / name, frame)
        line = lines(found, published)[name]
        assert str(line).startswith("DIFFERS"), column
        assert f"row 1, {column}: {frame.loc[0, column]} instead of" in line.different[0]


def binomial_p(rejections, datasets):
    return scipy.stats.binom.sf(rejections - 1, datasets, 0.05)


@pytest.mark.parametrize("table", SIMULATED)
@pytest.mark.parametrize("direction", [1, -1])
def test_a_simulated_count_is_compared_with_its_monte_carlo_error(found, published, table, direction):
    row = cells(found / RUN / f"{table}.csv")["rejections"].astype(int).idxmax()
    old = cells(found / RUN / f"{table}.csv").loc[row].to_dict()
    count, datasets = int(old["rejections"]), int(old["datasets"])
    error = math.sqrt(datasets * (count / datasets) * (1 - count / datasets))
    for change, expected in ((2, "ok, within tolerance"), (math.ceil(error) + 1, "DIFFERS")):
        new = count + direction * change
        size, p = f"{new / datasets:.3f}", f"{binomial_p(new, datasets):.4f}"
        edit(found, table, row, rejections=new, size=size, p_binomial=p)
        line = lines(found, published)[f"{RUN}/{table}.csv"]
        assert str(line).startswith(expected)
        if line.different:
            assert line.different[0] == f"row {row + 1}, rejections: {new} instead of {count}"


def test_a_count_of_none_may_be_one_and_not_three(found, published):
    row = cells(found / RUN / "causal_validation.csv")["rejections"].astype(int).idxmin()
    for count, expected in ((1, "ok, within tolerance"), (3, "DIFFERS")):
        edit(found, "causal_validation", row, rejections=count)
        assert verdict(found, published, f"{RUN}/causal_validation.csv") == expected


def test_the_p_of_a_simulated_count_follows_its_count_and_nothing_else(found, published):
    edit(found, "validation", 0, p_binomial=moved(cells(found / RUN / "validation.csv").loc[0, "p_binomial"], 300))
    assert verdict(found, published, f"{RUN}/validation.csv") == "DIFFERS"


@pytest.mark.parametrize(
    ("q", "expected"), [("0.0449", "DIFFERS"), ("0.0450", "ok, within tolerance"), ("0.0550", "ok, within tolerance")]
)
def test_a_verdict_may_turn_where_its_q_is_all_but_the_level(found, published, q, expected):
    edit(published, "contrasts", 3, q_equivalence=q)
    edit(found, "contrasts", 3, q_equivalence=q, verdict="undecided", sign="", verdict_note="the interval includes 0")
    assert str(lines(found, published)[f"{RUN}/contrasts.csv"]).startswith(expected)


def remake(folder):
    """What is made from tables, made from the tables of a folder."""
    tables = folder / RUN
    write_findings(tables / "findings.md", tables, 0.95)
    names = ("table1", "ablation", "contrasts", "grounding", "heads", "causal")
    write_numbers(tables.parents[1] / "numbers.tex", [tables / f"{name}.csv" for name in names])
    for name in ("contrasts", "claims", "validation"):
        table = printed(name, read_published(tables / f"{name}.csv", name), "shapes", "shapes-tiny", 0.95)
        (tables / f"{name}.md").write_text(as_markdown(table), encoding="utf-8")
        (tables / f"{name}.tex").write_text(as_latex(table), encoding="utf-8")


def test_what_is_made_from_tables_is_what_the_same_tables_give(found, published):
    remake(found)
    assert all(str(line).startswith("ok  ") for line in lines(found, published).values())


def test_words_follow_a_verdict_that_may_turn(found, published):
    for folder in (found, published):
        edit(folder, "contrasts", 3, q_equivalence="0.0490")
    remake(published)
    edit(found, "contrasts", 3, verdict="undecided", sign="", verdict_note="the interval includes 0")
    remake(found)
    changed = {name: line for name, line in lines(found, published).items() if not str(line).startswith("ok  ")}
    assert set(changed) == {
        *(f"{RUN}/contrasts.{kind}" for kind in ("csv", "md", "tex")),
        *(f"{RUN}/findings.md", "paper/tables/numbers.tex"),
    }
    assert all(str(line).startswith("ok, within tolerance") for line in changed.values())
    shutil.copy(published / RUN / "contrasts.csv", found / RUN)
    changed = {name for name, line in lines(found, published).items() if line.different}
    assert changed == {f"{RUN}/contrasts.md", f"{RUN}/contrasts.tex", f"{RUN}/findings.md", "paper/tables/numbers.tex"}


def test_the_name_of_the_largest_simulated_error_follows_the_counts(found, published):
    frame = cells(published / RUN / "validation.csv")
    own = frame[(frame["test"] == "difference") & (frame["world"] == "gaussian")]
    largest, other = own["rejections"].astype(int).nlargest(2).index
    top = int(frame.loc[largest, "rejections"])
    for folder, count in ((published, top - 1), (found, top + 3)):
        size, p = f"{count / 2000:.3f}", f"{binomial_p(count, 2000):.4f}"
        edit(folder, "validation", other, rejections=count, size=size, p_binomial=p)
        remake(folder)
    line = lines(found, published)[f"{RUN}/findings.md"]
    assert (found / RUN / "findings.md").read_text() != (published / RUN / "findings.md").read_text()
    assert str(line).startswith("ok, within tolerance")


PRINTED = {
    f"{RUN}/table1.md": (r"3\.\d\d \[", "ok, within tolerance"),
    f"{RUN}/contrasts.tex": (r"\$-\$0\.\d\d\d \[", "ok, within tolerance"),
    f"{RUN}/findings.md": (r"AUROC 0\.\d\d ", "ok, within tolerance"),
    "paper/tables/numbers.tex": (r"\{0\.\d\d\}", "ok, within tolerance"),
    "summary.json": (r"3\.\d\d\d", "ok, within tolerance"),
}


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize(("units", "expected"), [(1, "ok, within tolerance"), (2, "DIFFERS")])
def test_what_is_printed_of_a_number_may_move_by_one_unit_of_its_last_digit(found, published, name, units, expected):
    text = (found / name).read_text(encoding="utf-8")
    number = re.search(r"\d\.\d+", re.search(PRINTED[name][0], text)[0])[0]
    (found / name).write_text(text.replace(number, moved(number, units), 1), encoding="utf-8")
    assert verdict(found, published, name) == expected


@pytest.mark.parametrize("name", PRINTED)
def test_every_printed_number_larger_by_two_thousandths_differs(found, published, name):
    text = (found / name).read_text(encoding="utf-8")
    larger = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]) + 0.002:.3f}", text)
    (found / name).write_text(larger, encoding="utf-8")
    assert verdict(found, published, name) == "DIFFERS"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (f"{RUN}/findings.md", "**moved**", "**equivalent**"),
        (f"{RUN}/findings.md", "n = 48", "n = 47"),
        (f"{RUN}/contrasts.tex", "$-$", ""),
        (f"{RUN}/table1.md", "| q1 ", "| q2 "),
        ("summary.json", '"n": 48', '"n": 48.0'),
        ("summary.json", '"failed": 0', '"failed": null'),
        (f"{RUN}/contents.json", "steps.csv", "step.csv"),
    ],
)
def test_words_signs_and_counts_are_exact(found, published, name, old, new):
    text = (found / name).read_text(encoding="utf-8")
    assert old in text
    (found / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    assert verdict(found, published, name) == "DIFFERS"


def test_a_p_below_what_is_printed_may_become_the_least_that_is(found, published):
    name = f"{RUN}/contrasts.md"
    text = (found / name).read_text(encoding="utf-8")
    (found / name).write_text(text.replace("\\<0.0001", "0.0001", 1), encoding="utf-8")
    assert verdict(found, published, name) == "ok, within tolerance"
    (found / name).write_text(text.replace("\\<0.0001", "0.0002", 1), encoding="utf-8")
    assert verdict(found, published, name) == "DIFFERS"


ANY = (f"{RUN}/steps.csv", f"{RUN}/steps.md", "paper/tables/numbers.tex", "summary.json", f"{RUN}/contents.json")


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00garbage", b"{", None], ids=str)
def test_a_file_that_is_missing_empty_or_garbage_is_named(found, published, name, content, tmp_path):
    (found / name).unlink()
    if content is not None:
        (found / name).write_bytes(content)
    assert verdict(found, published, name) == "DIFFERS"
    done = CliRunner().invoke(app, ["verify", "--found", str(found), "--published", str(published)])
    assert done.exit_code == 1
    assert f"DIFFERS               {name}" in done.stdout
    assert "1 differ" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("cut", [0.5, 0.95])
def test_a_file_that_was_cut_off_differs(found, published, cut):
    for name in ANY:
        whole = (published / name).read_bytes()
        (found / name).write_bytes(whole[: int(cut * len(whole))])
    differing = {name for name, line in lines(found, published).items() if line.different}
    assert differing == set(ANY)


def test_a_file_that_is_not_published_is_named(found, published):
    (found / RUN / "table1 (copy).csv").write_text("x\n")
    assert verdict(found, published, f"{RUN}/table1 (copy).csv") == "DIFFERS"
    assert "is not published" in lines(found, published)[f"{RUN}/table1 (copy).csv"].different[0]


def test_every_file_of_results_itself_is_compared_and_none_of_its_maps(found, published):
    for folder, number in ((published, 0.5), (found, 0.502)):
        (folder / "metrics.json").write_text(json.dumps({"accuracy": number}))
        (folder / "analysis").mkdir()
        (folder / "analysis/focus.parquet").write_bytes(b"not published")
    assert verdict(found, published, "metrics.json") == "DIFFERS"
    assert not {name for name in lines(found, published) if name.startswith("analysis")}


def test_the_command_prints_the_first_values_that_differ_and_counts_the_rest(found, published):
    frame = cells(found / RUN / "table1.csv")
    frame["n"] = "7"
    write(found / RUN / "table1.csv", frame)
    command = ["verify", "--found", str(found), "--published", str(published), "--show", "2"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    at = done.stdout.splitlines().index(next(line for line in done.stdout.splitlines() if line.startswith("DIFFERS")))
    assert done.stdout.splitlines()[at + 1 : at + 4] == [
        "    row 1, n: 7 instead of 48",
        "    row 2, n: 7 instead of 48",
        "    ... and 6 more",
    ]
    shutil.copy(published / RUN / "table1.csv", found / RUN)
    assert CliRunner().invoke(app, command).exit_code == 0


def test_a_folder_of_tables_alone_can_be_compared(found, published):
    names = {line.file for line in compare_folders(found / "paper/tables", published / "paper/tables")}
    assert "shapes/shapes-tiny/table1.csv" in names


def test_a_missing_value_is_not_a_number(found, published):
    edit(found, "table1", 0, entropy_mean="")
    assert verdict(found, published, f"{RUN}/table1.csv") == "DIFFERS"
    document = json.loads((found / "summary.json").read_text())
    document["shapes"]["shapes-tiny"]["queries"]["q0"]["entropy_mean"] = None
    (found / "summary.json").write_text(json.dumps(document))
    assert lines(found, published)["summary.json"].different[0].endswith("entropy_mean: None instead of 3.817")


def test_settings_that_are_given_and_not_there_are_refused(found, published, tmp_path):
    given = ["--settings", str(tmp_path / "typo.yaml")]
    done = CliRunner().invoke(app, ["verify", "--found", str(found), "--published", str(published), *given])
    assert done.exit_code == 1
    assert "typo.yaml: is not there" in done.stderr
