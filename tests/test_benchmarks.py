"""The benchmarks run, compare what is equal, and leave the text around their figures alone."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def benchmarks(monkeypatch):
    """Imports a module of the benchmarks as their scripts do."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module


def test_every_way_of_generating_gives_the_same_tokens_and_is_timed_in_every_round(benchmarks):
    times = benchmarks("overhead").measure(benchmarks("common").reference_batch(2), rounds=2)
    assert {name: len(seconds) for name, seconds in times.items()} == {
        **{"capture": 2, "uncaptured": 2, "plain": 2, "eager": 2}
    }


def test_every_other_round_runs_in_reverse(benchmarks):
    order = []
    runs = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    assert benchmarks("common").alternating(runs, rounds=3) == {"a": [1.0] * 3, "b": [1.0] * 3, "c": [1.0] * 3}
    assert "".join(order) == "abccbaabc"


def test_a_table_shows_the_median_and_the_range(benchmarks):
    assert benchmarks("common").spread([1.25, 0.5, 4.0]) == "1.25 (0.50–4.00)"


def test_only_the_text_between_the_markers_is_replaced(benchmarks, tmp_path):
    run = benchmarks("run")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n", encoding="utf-8")
    run.write(page, "new")
    assert page.read_text(encoding="utf-8") == f"before\n{run.BEGIN}\nnew\n{run.END}\nafter\n"


def test_a_page_without_markers_is_told(benchmarks, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text", encoding="utf-8")
    with pytest.raises(SystemExit, match="lacks the markers"):
        benchmarks("run").write(page, "new")
