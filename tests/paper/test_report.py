"""The page that the report opens on, and the template that DVC's plots need no network with."""

import re
import runpy
from pathlib import Path

import pytest
from attention_atlas.paper import report
from docutils.core import publish_parts
from PIL import Image

ROOT = Path(__file__).parents[2]
FINDINGS = """# Findings: study mine asked of model tiny

What this is.

## Answers

- **q\\_0** (“How many \\<b> \\$x\\$?”): accuracy 0.98.
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A folder with a run's findings and two of its figures."""
    monkeypatch.chdir(tmp_path)
    tables, figures = (tmp_path / "results/paper" / name / "mine/tiny" for name in ("tables", "figures"))
    for folder in (tables, figures):
        folder.mkdir(parents=True)
    (tables / "findings.md").write_text(FINDINGS, encoding="utf-8")
    for name in ("gallery", "causal", "power"):
        Image.new("RGB", (4, 4)).save(figures / f"{name}.png")


def test_findings_and_main_figures_are_on_the_page_as_a_reader_wants_them(run):
    text = ".. include:: results/paper/tables/mine/tiny/findings.md\n   :parser: attention_atlas.paper.report\n"
    page = publish_parts(text, writer="html")["html_body"]
    assert "<h1>Findings: study mine asked of model tiny</h1>" in page
    assert "<strong>q_0</strong> (“How many &lt;b&gt; $x$?”): accuracy 0.98." in page
    pictures = re.findall(r'<img alt="(\w+)" src="data:image/png;base64,', page)
    assert pictures == ["Gallery", "Causal"]
    places = [page.index(part) for part in ("What this is", 'alt="Gallery"', "<h2>Answers", "<strong>", 'alt="Causal"')]
    assert places == sorted(places)


def test_html_in_findings_stays_text():
    assert "<script>" not in report.page("# T\n\n<script>alert(1)</script>\n", [])


def test_the_workflow_page_includes_the_findings_of_every_run():
    text = (ROOT / "workflow/report/workflow.rst").read_text(encoding="utf-8")
    assert ":parser: attention_atlas.paper.report" in text
    profile = (ROOT / "profiles/default/profile.yaml").read_text(encoding="utf-8")
    for option in ("report-metadata", "report-stylesheet"):
        (path,) = re.findall(rf"^{option}: (.+)$", profile, re.MULTILINE)
        assert (ROOT / path).is_file()


def test_the_template_of_plots_holds_its_libraries_and_loads_nothing(capsys):
    runpy.run_path(str(ROOT / "workflow/report/plots.py"), run_name="__main__")
    page = capsys.readouterr().out
    assert not re.search(r"<(script|link)[^>]*(src|href)=", page)
    assert page.count("<script>") == page.count("</script>") == 3
    assert "{plot_divs}" in page
    assert "{scripts}" not in page


def test_the_folder_of_plots_is_ignored_by_git():
    assert "/dvc_plots/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
