"""Fonts of figures: every script is drawn where a font is installed, and named once where none is; the PDF holds it."""

import io
import logging
import re
import unicodedata
import warnings
import zlib

import pytest
from attention_atlas.paper import fonts, style
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from matplotlib import font_manager

# Script as the message names it, a question in it, the package that it names.
QUESTIONS = {
    "Chinese": ("Han", "图中有几只猫？", "fonts-noto-cjk"),
    "Japanese": ("Hiragana", "この画像に猫は何匹いますか。", "fonts-noto-cjk"),
    "Korean": ("Hangul", "고양이가 몇 마리 있습니까?", "fonts-noto-cjk"),
    "Hindi": ("Devanagari", "कितनी बिल्लियाँ हैं?", "fonts-noto-core"),
    "Thai": ("Thai", "มีแมวกี่ตัว", "fonts-noto-core"),
    "Amharic": ("Ethiopic", "ስንት ድመቶች አሉ?", "fonts-noto-core"),
    "Tamil": ("Tamil", "எத்தனை பூனைகள்?", "fonts-noto-core"),
    "emoji": ("emoji and symbols", "🦜 or 🪁?", "fonts-symbola"),
}
IN_BASE = ["How many cats?", "Сколько кошек?", "Πόσες γάτες;", "كم عدد القطط؟", "כמה חתולים?", "Œuvre № 3 ≤ 4 → ♥ ½"]


def draw_box(pen, quadratic):
    """A box with one curved side, so that cubic outlines have something to lose."""
    pen.moveTo((100, 0))
    pen.lineTo((100, 700))
    pen.qCurveTo((500, 900), (800, 700)) if quadratic else pen.curveTo((300, 900), (600, 900), (800, 700))
    pen.lineTo((800, 0))
    pen.closePath()


def make_font(path, chars, truetype=True, family="Made"):
    """A font file with a box for each character, its outlines TrueType or CFF."""
    chars = sorted(set(chars))
    names = [".notdef", *(f"u{ord(char):05X}" for char in chars)]
    builder = FontBuilder(1000, isTTF=truetype)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(char): name for char, name in zip(chars, names[1:], strict=True)})
    pens = {name: TTGlyphPen(None) if truetype else T2CharStringPen(900, None) for name in names}
    for pen in pens.values():
        draw_box(pen, truetype)
    if truetype:
        builder.setupGlyf({name: pen.glyph() for name, pen in pens.items()})
    else:
        charstrings = {name: pen.getCharString() for name, pen in pens.items()}
        builder.setupCFF(family, {"FullName": family}, charstrings, {})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (900, 100)))
    builder.setupHorizontalHeader(ascent=900, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular", "psName": family.replace(" ", "")})
    builder.setupOS2(sTypoAscender=900, usWinAscent=900, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def install(monkeypatch):
    """Pretend that the given font files, and no others, are installed."""

    def only(*paths):
        fonts.fallbacks.cache_clear()
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(paths))

    yield only
    fonts.fallbacks.cache_clear()


@style.house_style
def draw(texts):
    figure = style.new_figure(85, 60, layout="none")
    for number, text in enumerate(texts):
        figure.text(0.05, 0.9 - 0.1 * number, text, weight="bold" if number % 2 else "normal")
    figure.legend(handles=[], title=texts[0])
    return figure


def saved(texts, folder):
    style.save(draw(texts), folder / "f.pdf", folder / "f.png", 72)
    return (folder / "f.pdf").read_bytes(), (folder / "f.png").read_bytes()


def embedded(pdf):
    """The font files in a PDF."""
    for start in (match.end() for match in re.finditer(rb"stream\r?\n", pdf)):
        try:
            data = zlib.decompressobj().decompress(pdf[start:])
        except zlib.error:
            continue
        if data[:4] in (b"\0\1\0\0", b"OTTO", b"true"):
            yield TTFont(io.BytesIO(data))


@pytest.mark.parametrize("truetype", [True, False], ids=["TrueType", "CFF"])
@pytest.mark.parametrize("language", QUESTIONS)
def test_a_question_is_drawn_in_every_script_and_embedded_as_truetype(language, truetype, install, tmp_path, caplog):
    """Viewers draw nothing of a CFF font that a PDF calls TrueType, so each embedded font must have real outlines."""
    _, question, _ = QUESTIONS[language]
    install(make_font(tmp_path / "made.otf", question, truetype))
    pdf, _ = saved([question, "plain"], tmp_path)
    assert not caplog.records
    assert b"/Type3" not in pdf
    assert b"LastResort" not in pdf
    drawn = 0
    for font in embedded(pdf):
        assert "glyf" in font
        if not font["name"].getDebugName(6) or "DejaVu" not in font["name"].getDebugName(6):
            drawn += sum(font["glyf"][name].numberOfContours > 0 for name in font.getGlyphOrder())
    # Marks of Indic scripts that DejaVu lacks are glyphs of the font too.
    lacking = {char for char in question if not fonts.in_base(char)}
    assert drawn >= len(lacking)


@pytest.mark.parametrize("language", QUESTIONS)
def test_characters_that_no_font_has_are_named_once_with_a_package(language, install, tmp_path, caplog):
    script, question, package = QUESTIONS[language]
    install()
    saved([question, question, f"again {question}"], tmp_path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith("no installed font has these characters, so the figure shows boxes: ")
    assert f"{script} (" in record.message
    assert f"apt-get install {package})" in record.message


def test_a_figure_names_every_missing_script_in_one_sentence(install, tmp_path, caplog):
    install()
    saved([question for _, question, _ in QUESTIONS.values()], tmp_path)
    (record,) = caplog.records
    assert all(f"{script} (" in record.message for script, _, _ in QUESTIONS.values())


def test_installed_fonts_change_no_figure_that_does_without_them(install, tmp_path):
    install()
    without = saved(IN_BASE, tmp_path)
    install(make_font(tmp_path / "all.ttf", "".join(IN_BASE) + "图", family="DejaVu Sans"))
    assert fonts.families(IN_BASE) == ["DejaVu Sans"]
    assert saved(IN_BASE, tmp_path) == without


@pytest.mark.parametrize("truetype", [True, False], ids=["TrueType", "CFF"])
def test_the_same_fonts_give_the_same_bytes(truetype, install, tmp_path):
    path = make_font(tmp_path / "made.otf", "图中有几只猫？", truetype)
    install(path)
    first = saved(["图中有几只猫？"], tmp_path)
    install(path)  # chosen, and copied, anew
    assert saved(["图中有几只猫？"], tmp_path) == first


def test_as_few_fonts_as_possible_are_taken_and_scripts_share_one(install, tmp_path):
    every = "".join(question for _, question, _ in QUESTIONS.values())
    paths = [make_font(tmp_path / f"{name}.ttf", text, family=name) for name, (_, text, _) in QUESTIONS.items()]
    install(*paths, make_font(tmp_path / "every.ttf", every, family="Every"))
    base, other = fonts.families([every])
    assert (base, other.split(",")[0]) == ("DejaVu Sans", "Every Regular")
    install(*paths)
    assert len(fonts.families([every])) == 1 + len(QUESTIONS)


def test_chinese_characters_have_the_shapes_of_the_language_they_are_in(install, tmp_path):
    families = [f"Noto Sans CJK {region}" for region in ("JP", "KR", "SC")]
    text = "猫はか고양이"
    install(*(make_font(tmp_path / f"{name}.ttf", text, family=name) for name in families))
    chosen = {language: fonts.families([word])[1] for language, word in (("SC", "猫"), ("JP", "猫は"), ("KR", "猫고"))}
    assert {language: name.split(" Regular")[0][-2:] for language, name in chosen.items()} == {
        language: language for language in chosen
    }


def test_a_file_that_is_no_font_is_passed_over(install, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    install(str(tmp_path / "broken.ttf"), make_font(tmp_path / "made.ttf", "猫"))
    assert fonts.families(["猫"])[1].startswith("Made Regular")


def test_other_warnings_are_not_lost():
    @fonts.tells_missing()
    def warn():
        warnings.warn("something else", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="something else"):
        warn()


def test_characters_without_a_shape_need_no_font(install):
    """Joiners, variation selectors, line breaks, direction marks."""
    install()
    assert fonts.families(["a\u200d\u200c\ufe0f\u202e\n\t\x00b"]) == ["DejaVu Sans"]


def test_the_base_font_is_the_one_that_comes_with_matplotlib():
    assert "mpl-data" in fonts.base_font().fname
    assert all(unicodedata.category(char) != "Cn" for question in IN_BASE for char in question)
