"""Texts: how a text that somebody wrote is put into CSV, Markdown, LaTeX and figures so that readers see that text."""

import re
import textwrap
import unicodedata

# Spreadsheets take a cell that begins so for a formula, unless it is a number; full-width forms count in East Asia.
FORMULA = re.compile(r"'*(?![+-]?\d+(\.\d+)?([eE][+-]?\d+)?$)[=+\-@\t\r＝＋－＠]")
JOINERS = "\u200c\u200d"  # of emoji, and of letters in Persian and the scripts of India
WIDE = re.compile(
    "[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\U0001f000-\U0003fffd]"
)
FILLER = "\ue000"  # of the private use area: in no text


def printable(text: str) -> str:
    """Return a text on one line: line breaks and other characters without a shape as escapes."""
    kept = (char.isprintable() or char in JOINERS or unicodedata.category(char) == "Zs" for char in text)
    return "".join(char if keep else repr(char)[1:-1] for char, keep in zip(text, kept, strict=True))


def percent(confidence: float | str) -> str:
    """Return a confidence level as a percentage: 0.95 becomes "95 %"."""
    return f"{float(confidence) * 100:.4g} %"


def csv_cell(text: str) -> str:
    """Return a text as a cell of a published CSV: an apostrophe before what a spreadsheet would compute.

    One apostrophe more goes before a text that has apostrophes there already, so that `csv_text` restores every text.
    """
    return f"'{text}" if FORMULA.match(text) else text


def csv_text(cell: str) -> str:
    """Return the text of a cell that `csv_cell` wrote."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def markdown_text(text: str) -> str:
    """Return a text as Markdown shows it literally, inside a table too: no emphasis, link, HTML or formula."""
    escaped = re.sub(r"([\\`*_&<|~$]|\](?=[(\[]))", r"\\\1", text)
    # What GitHub makes a link of without being asked.
    return re.sub(r"(?<=[A-Za-z])(?=://)|(?<=www)(?=\.)|(?<=[\w.+-])(?=@\w)", r"\\", escaped)


def markdown_words(text: str) -> str:
    """Return a text as Markdown shows it literally in a sentence: inside a word an underscore is one anyway."""
    return re.sub(r"(?<=[A-Za-z0-9])\\_(?=[A-Za-z0-9])", "_", markdown_text(text))


def latex_text(text: str) -> str:
    """Return a text as LaTeX prints it literally, in any font encoding; a minus before a digit becomes a minus sign."""
    apart = LIGATURES.sub(FILLER, text)
    escaped = "".join(LATEX_ESCAPES.get(char, char) for char in apart)
    return re.sub(r"(?<!\w)-(?=\d)", r"$-$", escaped)


def latex_note(written: str) -> str:
    """Return comments for the head of a LaTeX file that say what its characters need beyond plain pdfLaTeX."""
    found = sorted(set(written))
    encoded = "".join(char for char in found if char in T1)
    unknown = "".join(char for char in found if char not in T1 and not PDFLATEX.fullmatch(char))
    some = unknown[:20] + ("…" if len(unknown) > 20 else "")
    needs = {
        f"% These characters need \\usepackage[T1]{{fontenc}}: {encoded}\n": encoded,
        f"% pdfLaTeX does not know these characters: {some}. Use LuaLaTeX or XeLaTeX with a font for them.\n": some,
    }
    return "".join(note for note, chars in needs.items() if chars)


# Pairs of characters that LaTeX prints as one.
LIGATURES = re.compile(r"(?<=-)(?=-)|(?<=')(?=')|(?<=`)(?=`)|(?<=[?!])(?=`)|(?<=,)(?=,)")
GREEK = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"
SIGNS = {
    "≤": "leq",
    "≥": "geq",
    "≈": "approx",
    "≠": "neq",
    "→": "rightarrow",
    "←": "leftarrow",
    "∈": "in",
    "∞": "infty",
}


def letter_command(char: str) -> str:
    """Return the name of the LaTeX command of a Greek letter."""
    name = unicodedata.name(char).split()[-1].replace("LAMDA", "LAMBDA")
    return name.lower() if char.islower() else name.capitalize()


LATEX_ESCAPES = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{char: f"$\\{name}$" for char, name in {**SIGNS, **{one: letter_command(one) for one in GREEK}}.items()},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "–": "--",
    FILLER: "{}",
}
# What plain pdfLaTeX (2022) prints: ASCII, Latin letters but those of T1 and nine others, punctuation of typography.
PDFLATEX = re.compile("(?![ĦħĸĿŀŉŦŧſ])[\n -~\u00a0-\u017f‐‑–—‘’“”†‡•…‰€™]")
T1 = frozenset("«»ÐÞðþĄąĐđĘęĮįŊŋŲų‚„‹›")


def text_width(text: str) -> int:
    """Return how many ordinary characters wide a text is; a Chinese character or an emoji counts as two."""
    return len(text) + len(WIDE.findall(text))


def wrapped(text: str, width: int, most: int) -> list[str]:
    """Return a text in lines of at most `width` ordinary characters; " …" ends the last of `most` lines if cut."""
    widened = WIDE.sub(lambda match: match.group() + FILLER, printable(" ".join(text.split())))
    lines = Wrapper(width, max_lines=most, placeholder=" …").wrap(widened)
    return [line.replace(FILLER, "") for line in lines] or [""]


class Wrapper(textwrap.TextWrapper):
    """A wrapper that may end a line after every wide character: Chinese is written without spaces."""

    def _split(self, text: str) -> list[str]:
        return [part for word in super()._split(text) for part in re.split(f"(.{FILLER})", word) if part]
