"""Fonts: which installed fonts draw the characters of a study that DejaVu Sans, matplotlib's own font, lacks.

Matplotlib takes each character from the first font of a list that has it. The list is longer than DejaVu Sans only
where a text needs it, so the fonts of a machine change no figure that does without them.
"""

import atexit
import logging
import re
import shutil
import tempfile
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from fontTools import subset, ttLib
from fontTools import unicodedata as scripts
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font, LoadFlags

BASE = "DejaVu Sans"  # comes with matplotlib: the same glyphs on every machine
# Ends of family names; a Chinese character has another shape in Japan and in Korea.
REGIONS = {"Hira": "JP", "Kana": "JP", "Hang": "KR", "Bopo": "TC", "Hani": "SC"}
CJK = frozenset(REGIONS)
PACKAGES = {
    "fonts-noto-cjk": CJK,
    "fonts-symbola": frozenset({"Zyyy", "Zinh", "Zsym"}),  # emoji and symbols belong to no script
}
OTHER_SCRIPTS = "fonts-noto-core"
FIRST_EMOJI = 0x1F000
SHOWN_CHARACTERS = 8
MAX_ERROR = 0.0005  # of the em: how far an outline of a TrueType copy may leave the original

logger = logging.getLogger("attention_atlas")


@dataclass(frozen=True)
class Face:
    """One face of a font file."""

    path: str
    index: int
    family: str
    style: str


def texts_of(source: Any) -> Iterator[str]:
    """Yield every text in what a figure is drawn from: tables, attributes of datasets, fields, lists and mappings."""
    if isinstance(source, str):
        yield source
    elif isinstance(source, pd.DataFrame):
        for name in source.select_dtypes(["object", "string", "category"]):
            yield from (value for value in source[name].unique() if isinstance(value, str))
    elif isinstance(source, xr.Dataset):
        yield from texts_of(source.attrs)
    elif isinstance(source, Mapping):
        yield from texts_of([*source, *source.values()])
    elif isinstance(source, (list, tuple)):
        for part in source:
            yield from texts_of(part)
    elif is_dataclass(source):
        yield from texts_of(vars(source))


def families(texts: Iterable[str]) -> list[str]:
    """Return the font families that texts need: the base font, then as few installed ones as have the rest."""
    needed = frozenset(char for text in texts for char in set(text) if is_drawn(char) and not in_base(char))
    return [BASE, *fallbacks(needed)] if needed else [BASE]


def is_drawn(char: str) -> bool:
    """Return whether a character has a shape: controls, format characters and surrogates have none."""
    return not unicodedata.category(char).startswith("C") and not re.match("[\ufe00-\ufe0f\U000e0100-\U000e01ef]", char)


@cache
def in_base(char: str) -> bool:
    """Return whether the base font has a character."""
    return base_font().get_char_index(ord(char)) != 0


@cache
def base_font() -> FT2Font:
    """Return the base font, opened."""
    return FT2Font(font_manager.findfont(BASE))


@cache
def fallbacks(needed: frozenset[str]) -> tuple[str, ...]:
    """Return names of fonts, registered with matplotlib, that have the needed characters, as far as any font does."""
    found = {script_of(char) for char in needed}
    region = next((end for script, end in REGIONS.items() if script in found), "")
    coverage = {face: covered(face, needed) for face in installed_faces()}
    names, left = [], needed
    while left:
        best = min(coverage, key=lambda face: (-len(coverage[face] & left), *preference(face, region)), default=None)
        if best is None or not coverage[best] & left:
            break
        names.append(registered(best, needed))
        left -= coverage[best]
    return tuple(names)


def preference(face: Face, region: str) -> tuple[Any, ...]:
    """Return a sort key of faces that have equally many characters: upright sans serifs of ordinary weight first."""
    return (
        face.style.lower() not in ("regular", "book", "normal", "roman", "medium"),
        not face.family.endswith(f" {region}"),
        not face.family.startswith("Noto Sans"),
        *(face.family, face.path, face.index),
    )


def installed_faces() -> Iterator[Face]:
    """Yield the scalable faces of this machine, whether or not matplotlib's cache of fonts knows them yet."""
    for path in sorted(font_manager.findSystemFonts()):
        try:
            opened = FT2Font(path)
            for index in range(opened.num_faces):
                face = FT2Font(path, face_index=index)
                # A "last resort" font has a box for every character there is.
                if face.scalable and not re.search("last ?resort|adobe ?blank", face.family_name, re.IGNORECASE):
                    yield Face(path, index, face.family_name, face.style_name)
        except (OSError, RuntimeError, ValueError):
            continue  # not a font that FreeType reads


def covered(face: Face, needed: Iterable[str]) -> frozenset[str]:
    """Return which of the needed characters a face has, with an outline: colour fonts have pictures in their place."""
    opened = FT2Font(face.path, face_index=face.index)
    return frozenset(char for char in needed if has_outline(opened, char))


def has_outline(opened: FT2Font, char: str) -> bool:
    """Return whether a font draws a character."""
    glyph = opened.get_char_index(ord(char))
    if glyph == 0:
        return False
    try:
        opened.load_glyph(glyph, flags=LoadFlags.NO_HINTING)
        return len(opened.get_path()[0]) > 0 or unicodedata.category(char).startswith("Z")
    except RuntimeError:
        return False


def registered(face: Face, needed: Iterable[str]) -> str:
    """Make a face known to matplotlib under a name of its own, for ordinary and bold text; return that name."""
    path, index = truetype(face, needed)
    name = f"{face.family} {face.style}, font {len(font_manager.fontManager.ttflist)}"  # like no other font's
    for weight in (400, 700):
        entry = font_manager.FontEntry(path, index, name, "normal", "normal", weight, "normal", "scalable")
        font_manager.fontManager.ttflist.append(entry)
    return name


def truetype(face: Face, needed: Iterable[str]) -> tuple[str, int]:
    """Return path and index of a face with TrueType outlines: the face itself, or a copy of the needed characters.

    Matplotlib embeds every font as TrueType (PDF's type 42). Outlines of the kind CFF, as Noto Sans CJK has them,
    would then be blank in some viewers.
    """
    with ttLib.TTFont(face.path, fontNumber=face.index, lazy=True, recalcTimestamp=False) as font:
        if "glyf" in font:
            return face.path, face.index
        options = subset.Options(layout_features=["*"], notdef_outline=True, recalc_timestamp=False)
        options.drop_tables += ["VORG", "BASE", "vhea", "vmtx"]
        subsetter = subset.Subsetter(options)
        subsetter.populate(text="".join(sorted(needed)))
        subsetter.subset(font)
        with_quadratic_outlines(font)
        path = copies() / f"{re.sub('[^A-Za-z0-9]', '', face.family)}{len(list(copies().iterdir()))}.ttf"
        font.save(path)
    return str(path), 0


@cache
def copies() -> Path:
    """Return the folder of copied fonts, removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="atlas-fonts-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def with_quadratic_outlines(font: ttLib.TTFont) -> None:
    """Replace the cubic (CFF) outlines of a font by quadratic (TrueType) ones."""
    order, drawn = font.getGlyphOrder(), font.getGlyphSet()
    outlines = ttLib.newTable("glyf")
    outlines.glyphs, outlines.glyphOrder = {}, order
    for name in order:
        pen = TTGlyphPen(None)
        drawn[name].draw(Cu2QuPen(pen, MAX_ERROR * font["head"].unitsPerEm, reverse_direction=True))
        outlines.glyphs[name] = pen.glyph()
    font["glyf"], font["loca"] = outlines, ttLib.newTable("loca")
    font["maxp"].tableVersion = 0x00010000
    zeros = ("maxTwilightPoints", "maxStorage", "maxFunctionDefs", "maxInstructionDefs", "maxStackElements")
    for name in (*zeros, "maxSizeOfInstructions", "maxComponentElements"):
        setattr(font["maxp"], name, 0)
    font["maxp"].maxZones = 1
    font["post"].formatType = 3.0
    for name in ("CFF ", "CFF2"):
        if name in font:
            del font[name]
    font.sfntVersion = "\0\1\0\0"


@contextmanager
def tells_missing() -> Iterator[None]:
    """Tell in one warning which characters no installed font has, instead of matplotlib's warning for each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    missing: set[str] = set()
    for one in caught:
        glyph = re.match(r"Glyph (\d+) .*missing from font", str(one.message))
        if glyph:
            missing.add(chr(int(glyph.group(1))))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if missing:
        logger.warning(missing_text(sorted(missing)))


def missing_text(missing: Sequence[str]) -> str:
    """Say which characters are drawn as boxes, of which scripts, and which fonts would draw them."""
    by_script: dict[str, list[str]] = {}
    for char in missing:
        by_script.setdefault(script_of(char), []).append(char)
    told = [f"{script_name(script)} ({shortened(chars)})" for script, chars in sorted(by_script.items())]
    packages = sorted({package_of(script) for script in by_script})
    return (
        f"no installed font has these characters, so the figure shows boxes: {', '.join(told)}. Install fonts that "
        f"have them (on Debian and Ubuntu: apt-get install {' '.join(packages)}) and draw the figures again: "
        "snakemake --cores all --forcerun figure overlay_figure"
    )


def script_of(char: str) -> str:
    """Return the ISO 15924 code of a character's script; wide punctuation, which belongs to none, is Chinese."""
    wide = unicodedata.east_asian_width(char) in "WF" and ord(char) < FIRST_EMOJI
    script = scripts.script(char)
    return "Hani" if wide and script in PACKAGES["fonts-symbola"] else script


def script_name(script: str) -> str:
    """Return a script's name in words; characters of no script are emoji and symbols."""
    return "emoji and symbols" if script in PACKAGES["fonts-symbola"] else scripts.script_name(script).replace("_", " ")


def package_of(script: str) -> str:
    """Return the Debian package with a font for a script."""
    return next((package for package, held in PACKAGES.items() if script in held), OTHER_SCRIPTS)


def shortened(chars: Sequence[str]) -> str:
    """Return characters as one word, only the first of many."""
    return "".join(chars[:SHOWN_CHARACTERS]) + ("…" if len(chars) > SHOWN_CHARACTERS else "")
