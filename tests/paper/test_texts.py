"""Texts of users: read back as they were from every format, and never taken for a command of it."""

import csv
import re
import unicodedata
from html.parser import HTMLParser

import hypothesis.strategies as st
import pandas as pd
import pytest
from attention_atlas.paper import texts
from attention_atlas.paper.columns import read_published
from attention_atlas.paper.findings import write_findings
from hypothesis import given
from markdown_it import MarkdownIt

from tests.paper.test_findings import CONTRAST, ROWS, TABLE1, publish
from tests.paper.test_tables import latex_printed, values_of

HOSTILE = [
    "a | b || c",
    "*bold* **bolder** _thin_ __under__ snake_case `code` ``more`` ~~gone~~",
    "<b>tag</b> <script>alert(1)</script> <!-- comment --> &lt; &amp;",
    "[link](http://example.org) ![image](x.png) [ref][1] [^note] <http://auto.link>",
    "http://example.org www.example.org someone@example.org",
    "# heading > quote - item + item 1. item ---",
    "$x_1$ $$y$$ \\(z\\) {braces} %s {model}",
    "back\\slash \\* \\\\ end\\",
    "quotes \" ' “ ”",
    "图中有几只猫？ 고양이 🐱",
]
FORMULAS = [
    "=1+1",
    "+49 30 1",
    "-x",
    "@SUM(A1)",
    '=HYPERLINK("http://e.org")',
    "'=quoted",
    "''=twice",
    "-2 to 3",
    "＝１",
]


class Seen(HTMLParser):
    """What a reader of HTML sees, and the tags that are there."""

    def __init__(self):
        super().__init__()
        self.text, self.tags = "", []

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def rendered(markdown):
    """A Markdown text as GitHub's flavour shows it, with tables, strikethrough, and no address that becomes a link."""
    assert not re.search(r"(?<!\\)://|www\.|[a-z]@[a-z]", markdown)
    seen = Seen()
    seen.feed(MarkdownIt("gfm-like", {"linkify": False}).render(markdown))
    return seen


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "analysis/mine/tiny").mkdir(parents=True)
    for name, rows in ROWS.items():
        publish(tmp_path, name, rows)
    return tmp_path / "tables/mine/tiny"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_findings_show_what_users_wrote_and_nothing_of_it_is_markdown(hostile, folder, tmp_path):
    plain = "a plain text"
    seen = {}
    for text in (plain, hostile):
        told = dict.fromkeys(("query_id", "query_type", "question"), text)
        publish(tmp_path, "table1", [{**TABLE1, **told}])
        claimed = dict.fromkeys(("name", "claim", "original", "arm_first", "arm_second", "note"), text)
        publish(tmp_path, "contrasts", [{**CONTRAST, **claimed}])
        write_findings(folder / "findings.md", folder, 0.95)
        seen[text] = rendered((folder / "findings.md").read_text(encoding="utf-8"))
    assert seen[hostile].text.count(hostile) >= 6
    assert seen[hostile].tags == seen[plain].tags
    expected = seen[plain].text.replace(plain, hostile).replace("A plain text", f"{hostile[0].upper()}{hostile[1:]}")
    assert seen[hostile].text == expected


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markdown_tables_show_what_users_wrote(hostile, tmp_path):
    (tmp_path / "analysis/mine/tiny").mkdir(parents=True)
    publish(
        tmp_path, "table1", values_of("table1", 1).assign(question=hostile, interval_note=hostile).to_dict("records")
    )
    seen = rendered((tmp_path / "tables/mine/tiny/table1.md").read_text(encoding="utf-8"))
    assert seen.text.count(hostile) == 2
    assert set(seen.tags) <= {"p", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("text", [*FORMULAS, *HOSTILE, "-1", "+2.5", "plain", "'", "it's", "-"])
def test_a_csv_restores_every_text_and_no_spreadsheet_computes_one(text, tmp_path):
    (tmp_path / "analysis/mine/tiny").mkdir(parents=True)
    told = dict.fromkeys(("query_id", "query_type", "question", "interval_note"), text)
    publish(tmp_path, "table1", values_of("table1", 1).assign(**told).to_dict("records"))
    path = tmp_path / "tables/mine/tiny/table1.csv"
    back = read_published(path, "table1")
    assert {name: back[name][0] for name in told} == told
    with path.open(encoding="utf-8", newline="") as file:
        (by_csv,) = csv.DictReader(file)
    by_pandas = pd.read_csv(path, dtype=str, keep_default_na=False).iloc[0].to_dict()
    assert by_csv == by_pandas
    number = re.compile(r"[+-]?\d+(\.\d+)?")
    assert not [cell for cell in by_csv.values() if cell[:1] in "=+-@\t\r＝" and cell and not number.fullmatch(cell)]


def test_numbers_stay_numbers_in_a_csv(tmp_path):
    (tmp_path / "analysis/mine/tiny").mkdir(parents=True)
    publish(tmp_path, "table1", values_of("table1", 1).assign(entropy_mean=-1.5).to_dict("records"))
    assert pd.read_csv(tmp_path / "tables/mine/tiny/table1.csv")["entropy_mean"][0] == -1.5


@given(st.text(max_size=20) | st.text(alphabet="'=+-@1. ", max_size=8))
def test_every_text_is_restored_from_its_cell(text):
    assert texts.csv_text(texts.csv_cell(text)) == text


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=40))
def test_latex_prints_every_text_of_ascii_as_it_is(text):
    apart = texts.latex_text(text)
    for pair in ("-{}-", "'{}'", "`{}`", "?{}`", "!{}`", ",{},"):
        while pair in apart:
            apart = apart.replace(pair, pair[0] + pair[-1])
    assert latex_printed(apart) == text


@pytest.mark.parametrize(("text", "written"), [("a--b", "a-{}-b"), ("''", "'{}'"), ("?`", "?{}`"), ("---", "-{}-{}-")])
def test_characters_that_latex_would_join_are_kept_apart(text, written):
    assert texts.latex_text(text) == written


def test_a_first_cell_is_not_taken_for_an_option_of_the_row_before(tmp_path):
    """After the end of a row LaTeX reads [..] as a length and * as a star."""
    (tmp_path / "analysis/mine/tiny").mkdir(parents=True)
    frame = values_of("table1", 2).assign(query_id=["[1]", "*"])
    publish(tmp_path, "table1", frame.to_dict("records"))
    written = (tmp_path / "tables/mine/tiny/table1.tex").read_text(encoding="utf-8")
    assert not re.search(r"\\\\\\\\\s*[\[*]", written)
    assert "{}[1] counting" in written


@pytest.mark.parametrize("text", ["图中有几只猫？", "고양이", "🐱"])
def test_a_latex_file_names_the_characters_that_pdflatex_lacks(text, tmp_path):
    (tmp_path / "analysis/mine/tiny").mkdir(parents=True)
    publish(tmp_path, "table1", values_of("table1", 1).assign(question=text).to_dict("records"))
    head = (tmp_path / "tables/mine/tiny/table1.tex").read_text(encoding="utf-8").splitlines()[1]
    assert head.startswith("% pdfLaTeX does not know these characters: ")
    assert set(unicodedata.normalize("NFC", text)) <= set(head)
    assert head.endswith("Use LuaLaTeX or XeLaTeX with a font for them.")


def test_letters_that_need_another_encoding_of_fonts_are_named():
    """Found by compiling every letter up to U+017F with pdfLaTeX of TeX Live 2022, in OT1 and in T1."""
    assert texts.latex_note("Łódź się „tak“") == "% These characters need \\usepackage[T1]{fontenc}: ę„\n"
    assert texts.latex_note("Ħal").startswith("% pdfLaTeX does not know these characters: Ħ. ")


def test_letters_and_signs_of_science_are_commands_that_pdflatex_has():
    assert texts.latex_text("Δρ ≤ Ω → λ") == r"$\Delta$$\rho$ $\leq$ $\Omega$ $\rightarrow$ $\lambda$"
    assert texts.latex_note("Größe “œuvre” … ½") == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u3000b", "a\u3000b"),
        ("नहीं\u200c", "नहीं\u200c"),
        ("👨\u200d👩", "👨\u200d👩"),
        ("a\nb\x00\u202e", r"a\nb\x00\u202e"),
    ],
)
def test_spaces_and_joiners_of_scripts_stay_and_controls_are_escaped(text, shown):
    assert texts.printable(text) == shown


@given(st.text(alphabet="abc 猫が🐱고é", max_size=80), st.integers(8, 40), st.integers(1, 4))
def test_wrapped_lines_are_never_wider_than_their_place_and_lose_nothing_unsaid(text, width, most):
    lines = texts.wrapped(text, width, most)
    assert len(lines) <= most
    assert all(texts.text_width(line) <= width for line in lines)
    if not lines[-1].endswith("…"):
        assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_text_without_spaces_fills_all_its_lines():
    assert texts.wrapped("图中有几只猫请仔细数一数", 8, 3) == ["图中有几", "只猫请仔", "细数一数"]
    first, second = texts.wrapped("图中有几只猫请仔细数一数，然后回答", 12, 2)
    assert (first, second) == ("图中有几只猫", "请仔细数一 …")
