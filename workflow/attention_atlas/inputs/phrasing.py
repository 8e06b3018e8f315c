"""What the words around a word of a vocabulary do to it: a longer word, a longer number, a negation.

Texts are folded (attention_atlas.folding), and so are the words of these tables.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from attention_atlas.folding import BETWEEN_WORDS, LONG_DASH, UNSEEN

# Scripts that write no spaces between words: Thai to Tibetan, Myanmar, Khmer, Tai, Balinese, Javanese, Kana, Bopomofo,
# Han, and the marks that Kana and Han share.
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaa7f"
    "\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
HANGUL = "\uac00-\ud7a3"
# What Korean attaches to a noun, and how a sentence ends on one; after one syllable nothing else may follow.
PARTICLES = (
    "(?:색|쪽|개|명|마리|가지|번|장|대)?(?:이?(?:입니다|에요|예요|이에요|이다|이고|이며|인데|네요|군요|요|다)|"
    "은|는|이|가|을|를|의|에|에서|에는|로|으로|와|과|도|만|인)?"
)


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


UNITS = words(
    "one two three four five six seven eight nine un une deux trois quatre cinq six sept huit neuf uno "
    "una dos tres cuatro cinco seis siete ocho nueve um uma dois duas quatro sete oito nove один одна два "
    "две три четыре пять шесть семь восемь девять ein eine zwei drei vier fünf sechs sieben acht neun"
)
TEENS = words(
    "zero ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
    "null zehn elf zwölf dix onze douze diez doce"
)
TENS = words(
    "twenty thirty forty fourty fifty sixty seventy eighty ninety vingt trente quarante cinquante "
    "soixante vingts veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa vinte trinta "
    "quarenta cinquenta sessenta oitenta двадцать тридцать сорок пятьдесят шестьдесят семьдесят "
    "восемьдесят девяносто yirmi otuz kirk elli altmis altmış yetmis yetmiş seksen doksan"
)
MULTIPLIERS = words(
    "hundred hundreds thousand thousands million millions billion billions trillion trillions dozen "
    "dozens hundert tausend millionen milliarden cent cents mille cien ciento cientos mil millones cem cento сто "
    "тысяча тысячи тысяч yuz yüz"
)
NUMBER_WORDS = UNITS | TEENS | TENS | MULTIPLIERS


def one_of(known: frozenset[str]) -> str:
    """A regular expression for one of some words."""
    return "(?:" + "|".join(sorted(known, key=lambda word: (-len(word), word))) + ")"


NUMBER = rf"(?:\d+|{one_of(NUMBER_WORDS)}\b)"
GAP = rf"[{BETWEEN_WORDS}{UNSEEN}]+"
HAN_NUMBER = "〇零一二三四五六七八九十百千万萬亿億两兩廿卅半"
THAI_NUMBER = "(?:หนึ่ง|สอง|สาม|สี่|ห้า|หก|เจ็ด|แปด|เก้า|สิบ|ยี่|เอ็ด|ร้อย|พัน|หมื่น|แสน|ล้าน)"

# A number of digits or words is part of a longer expression: a decimal, thousands, a fraction, a range, a calculation.
LONGER_BEFORE = re.compile(
    rf"""(?:
    \d[.,:/'] | (?:^|\s)\.                                          # 3.5  1,000  3:30  3/4  .5
    | \d[-*{LONG_DASH}] | \d\s*[~/+×÷^]\s* | \d\s+x\s+ | \d\.{{2,3}}               # 10-12  2 + 1
    | (?<![\w)\]])- | \b(?:minus|negative)\s+                       # -3
    | [^\W_]-                                                       # twenty-three  figure-3
    | {NUMBER}\s+(?:to|through|thru|bis|à|a|point|comma)\s+ | \bbetween\s+{NUMBER}\s+and\s+
    | frac\{{ | frac\{{[^{{}}]*\}}\{{                               # LaTeX
    | (?:第|分之|点|點|[{HAN_NUMBER}][到至]|\d[到至])               # ordinals and fractions
    )$""",
    re.VERBOSE,
)
LONGER_AFTER = re.compile(
    rf"""
    [.,:/']\d | \s\d{{3}}(?!\d) | \s?%
    | [-*{LONG_DASH}]\d | \s*[~/+×÷^=]\s*\d | \s+x\s+\d | \.{{2,3}}\d | (?:\s+and)?\s+\d+/\d
    | -[^\W\d_]                                                     # two-thirds  three-sided
    | {GAP}{one_of(MULTIPLIERS)}\b
    | {GAP}(?:halves|thirds|quarters|fifths|sixths|eighths|tenths)\b | \s+(?:half|third|quarter)\s+of\b
    | \s+and\s+(?:a|one)\s+(?:half|third|quarter)\b | \s+(?:point|comma)\s+{NUMBER}
    | \s+(?:to|through|thru|bis|à|a)\s+{NUMBER}
    | [点點][\d{HAN_NUMBER}] | 分之 | [到至][\d{HAN_NUMBER}] | [{HAN_NUMBER}]
    | [角边邊辺维維]
    """,
    re.VERBOSE,
)
BETWEEN_BEFORE, BETWEEN_AFTER = re.compile(r"\bbetween\s+$"), re.compile(rf"\s+and\s+{NUMBER}")
# "The one on the left" names a thing and counts none.
PRONOUN_BEFORE = re.compile(r"\b(?:this|that|which|each|every|another|other|last|same)\s+$")
THE_BEFORE = re.compile(r"\bthe\s+$")
PLACE_AFTER = re.compile(r"\s+(?:on|in|at|to|near|next|closest|above|below|under|behind|with|that|which)\b")
# "Step 1", "in image 2": the number is a name; "in the image 2 shapes are red" counts them.
LABEL_BEFORE = re.compile(
    r"(?<!\bthe\s)(?<!\bthis\s)\b(?:step|image|figure|fig\.?|picture|photo|question|option|panel|frame)\s+\#?$"
)
# "1. The circle 2. The square": the signs of a list.
ITEM = re.compile(r"(?:^|(?<=\s))(\d{1,3})[.)]\s+(?=[^\W\d])")
# What announces the answer of a text that has said more before.
ANNOUNCEMENT = re.compile(r"\banswer\s*(?:is|:|=)(?:\s+(?:that\s+)?(?:there\s+(?:is|are)|it\s+is|the|a|an))?[^\w]*$")
IN_TOTAL = re.compile(r"(?:\s+\w+)?\s+(?:in\s+total|altogether|in\s+all)\b")
# "That's right, it is on the left": a word of agreement.
ASSENT_BEFORE = re.compile(r"(?:\b(?:that'?s|that\s+is|you'?re|you\s+are|all|quite)\s+|^\W*)$")
ASSENT_AFTER = re.compile(r"\s*(?:[,.!;:\u2014]|-\s)\s*(?:so\b|it\b|the\b|i\b|there\b|\w+'s\b)")
# "10 - 12" is a range, "3 - 2 red and 1 blue" is a number and more.
RANGE_BEFORE, RANGE_AFTER = re.compile(r"(\d{1,15})\s+-\s+$"), re.compile(r"\s+-\s+(\d{1,15})")
# Words of one number side by side.
AFTER_TENS = re.compile(rf"\b{one_of(TENS)}{GAP}(?:(?:and|et|y|e){GAP})?$")
AFTER_MULTIPLIER = re.compile(rf"\b{one_of(MULTIPLIERS)}{GAP}(?:(?:and|et|y|e){GAP})?$")
BEFORE_UNIT = re.compile(rf"{GAP}(?:(?:et|y|e){GAP})?{one_of(UNITS)}\b")
BEFORE_TENS = re.compile(rf"{GAP}{one_of(TENS)}\b")
# Words that hold a numeral and count nothing.
HAN_OTHER_BEFORE = re.compile(f"(?:[{HAN_NUMBER}\\d第之唯统統同万每]|分之|[{HAN_NUMBER}\\d][到至~])$")
HAN_OTHER_AFTER = re.compile(
    f"[{HAN_NUMBER}\\d角边邊辺维維]|次元|原色|分之|[点點][{HAN_NUMBER}\\d]|[到至~][{HAN_NUMBER}\\d]|"
    "(?<=一)[共些样樣起般定直下旦致部番緒度]|(?<=十)[分字]"
)
THAI_OTHER_BEFORE, THAI_OTHER_AFTER = re.compile(rf"(?:{THAI_NUMBER}|ที่)$"), re.compile(rf"{THAI_NUMBER}|เหลี่ยม")

# "No" by itself, with which a sentence may begin whose answer follows.
NO_WORDS = words(
    "no nope nah none nein keine kein non aucun não nao nenhum нет нету hayir hayır nee nej nie لا नहीं "
    "いいえ いえ 不 不是 没有 沒有 아니요 아니오 아뇨 없습니다"
)
INTERJECTION = re.compile(
    r"""[*_`"')\]]*\s*(?:[,.;:!?…。，、；：！？—\n]|-\s|$)
    |\s+(?:there|it|they|i|we|he|she|this|that|these|those|the|just|actually|instead|because)\b""",
    re.VERBOSE,
)
NOT_NO = re.compile(
    r"\s+(?:doubt|reason|problem|question|need|idea|wonder|matter|longer|(?:more|fewer|less|other)\s+than)\b"
)

# Where what is denied ends: punctuation, and words that begin what is said instead.
CLAUSE = re.compile(
    rf"""[.;:!?,\n()。，、；：！？،؛؟।{LONG_DASH}] | \s-\s
    | \b(?:but|and|so|because|since|yet|still|while|whereas|though|although|sondern|aber|und|mais|et|sino|pero|ma|bensì
      |mas|maar|но|а|ale|lecz|ama|men|utan)\b | 而是 | 但""",
    re.VERBOSE,
)
NEGATION = re.compile(
    r"""\b(?:
      (?:is|are|was|were|do|does|did|has|have|had|ca|could|would|should|wo|must|might|need|ai)n'?t
      (?!\s+(?:only|just|merely|simply|solely|mistaken|wrong)\b)
      | (?<!or\ )not(?!\s+(?:only|just|merely|simply|solely|mistaken|wrong|counting|including)\b)
      | cannot | never | neither | nor | non | no\s+longer
      | nicht(?!\s+nur\b) | kein(?:e|en|em|er|es)? | weder | (?:an)?statt
      | pas(?!\s+(?:seulement|uniquement)\b) | ni | plutôt\s+que | au\s+lieu\s+d[e'] | aucune?(?!\s+doute\b)
      | n(?:e\s+|')\w+\s+(?:plus|jamais)(?!\s+d[eu']\b)
      | en\s+(?:vez|lugar)\s+de | ning[uú]n[ao]? | né | invece\s+di | não | nem | em\s+vez\s+de
      | niet | geen | не | ни | вместо | nie | inte
      | ليس | ليست | غير
      )\b
    | 不是 | 并不 | 並不 | 不在 | 不为 | 不呈 | 并非 | 並非 | 而非 | 没有 | 沒有 | 非(?!常) | 不(?=\w?$)""",
    re.VERBOSE,
)
# What denies no more than the noun that follows it; a verb after that noun says what is the case.
SET_ASIDE = re.compile(
    r"""\b(?:without(?!\s+(?:a|any)?\s*(?:doubt|question)\b) | unlike | rather\s+than | instead\s+of
      | (?<!none\ )(?<!nothing\ )other\s+than | as\s+opposed\s+to | not\s+(?:counting|including)
      )\b""",
    re.VERBOSE,
)
VERB = re.compile(r"\b(?:is|are|was|were|has|have|there|appears?|looks?|seems?|i)\b")
# "Not more than 3": what is denied is that there are more, not the number.
COMPARISON = re.compile(
    r"\b(?:more|less|fewer|greater|higher)\s+than\s+$|\b(?:mehr|weniger)\s+als\s+$|\b(?:plus|moins)\s+d[e']\s*$|"
    r"\b(?:más|menos|mais)\s+(?:de|que|do\s+que)\s+$"
)
# "Not just one, there are two": of a number it is a denial, of "not just red" none.
NOT_JUST = re.compile(r"(?:n'?t|\bnot)\s+(?:just|merely|simply|solely)\s+$")
# "There aren't any": no, in two words.
NOT_ANY = re.compile(
    r"\b(?:(?:is|are|was|were|do|does|did|has|have|had|ca|could)n'?t|cannot|not)"
    r"(?:\s+(?:there|see|find|detect|spot|notice|observe|have|contain|show|depict|include|appear|seem|to|be))*"
    r"\s+any\b(?!\s+(?:more|other|fewer|less)\b)|\bnot\s+a\s+single(?:\s+one)?\b"
)
NO_BEFORE = re.compile(r"\bno\b")
NEGATED_AFTER = re.compile(
    r"""[*_`"'」』]*(?:
    [^\W\d_]{0,4}?(?:では|じゃ|で)(?:ない|なく|ありません|無い|無く)
    | く(?:は)?(?:ない|なく|ありません) | [^\W\d_]{0,2}も(?:ない|ありません|いません)
    | でも(?:[^\W\d_]{1,4}でも)+(?:ない|なく|ありません)
    | (?<=[一1])[个個只隻张張][^\W\d_]{0,6}?[也都](?:没|沒|不)
    | (?:\s?[개명마리])?도\s*없
    | [^\W\d_]{0,3}(?:\s[^\W\d_]{1,3})?\s*(?:아니라|아니고|아니며|아닙니다|아니에요|아니다|아닌)
    | \?["'*]*\s+(?:no|nein|not)\b
    | (?:\s+\w+)?\s+(?:değil | नहीं(?!\s*[,।])))""",
    re.VERBOSE,
)
WINDOW = 50  # characters beside a number that can belong to it
MOST_WORDS, MOST_SIGNS = 6, 8  # between a negation and what it denies, where words have spaces and where not
MARKS = r"""[*_`~"')\](\[]*"""
FILLER = r"(?:\s+(?:to|on|at|in|the|a|an|der|die|das|le|la|el))*\s*"
OR_LINK = re.compile(
    rf"{MARKS}(?:\s+[^\W\d_]+){{0,2}}\s*,?\s*(?:\b(?:or|nor|oder|noch|ou|ni|nem|o|или|ни)\b|或者?|还是|也不是|または|か){FILLER}{MARKS}"
)
COMMA_LINK = re.compile(rf"{MARKS}\s*[,、]{FILLER}{MARKS}")
LIST_LINK = re.compile(rf"{MARKS}\s*、{MARKS}")


@cache
def marks(unspaced: bool = True) -> str:
    """Unicode's combining marks as the inside of a character class, of all scripts or of those with spaces."""
    own = re.compile(f"[{UNSPACED}]")
    found = [
        chr(code)
        for code in range(0x300, 0x20000)
        if unicodedata.category(chr(code)).startswith("M") and (unspaced or not own.match(chr(code)))
    ]
    return "".join(found)


@cache
def boundaries() -> tuple[str, str]:
    """Regular expressions for where a word may begin and end: anywhere in a script without spaces."""
    letter = rf"[^\W_{UNSPACED}]"
    unseen_before, unseen_after = f"(?<!{letter}{UNSEEN})", f"(?!{UNSEEN}{letter})"
    before = rf"(?:(?<!{letter})(?<![{marks(False)}]){unseen_before}|(?=[{UNSPACED}]))"
    korean = rf"(?<=[{HANGUL}])(?={PARTICLES}(?![{HANGUL}]))|(?<=[{HANGUL}]{{2}})(?=[{HANGUL}])|(?<=\d)(?=[{HANGUL}])"
    after = rf"(?![{marks()}])(?:(?!{letter}){unseen_after}|(?<=[{UNSPACED}])|{korean})"
    return before, after


def in_longer_number(text: str, start: int, end: int) -> bool:
    """Whether the number at [start, end) is a part of a longer one, or of a word that counts nothing."""
    found, before, after = text[start:end], text[max(0, start - WINDOW) : start], text[end : end + WINDOW]
    if all(sign in HAN_NUMBER for sign in found):
        return bool(HAN_OTHER_BEFORE.search(before) or HAN_OTHER_AFTER.match(text, end))
    if THAI_OTHER_AFTER.match(after) or THAI_OTHER_BEFORE.search(before):
        return True
    if LONGER_BEFORE.search(before) or LONGER_AFTER.match(after):
        return True
    if (BETWEEN_BEFORE.search(before) and BETWEEN_AFTER.match(after)) or in_range(found, before, after):
        return True
    if LABEL_BEFORE.search(before) or is_item(text, start):
        return True
    if found == "one" and (PRONOUN_BEFORE.search(before) or (THE_BEFORE.search(before) and PLACE_AFTER.match(after))):
        return True
    first, last = found.split()[0], found.split()[-1]
    return bool(
        AFTER_MULTIPLIER.search(before)
        or (AFTER_TENS.search(before) and first in UNITS | TEENS)
        or (last in TENS and BEFORE_UNIT.match(after))
        or (last in UNITS and BEFORE_TENS.match(after))
    )


def in_range(found: str, before: str, after: str) -> bool:
    """Whether a number is an end of a range that ascends, written with spaces around its hyphen."""
    low, high = RANGE_BEFORE.search(before), RANGE_AFTER.match(after)
    if not found.isdecimal():
        return False
    return bool((low and int(low[1]) < int(found)) or (high and int(found) < int(high[1])))


def is_item(text: str, start: int) -> bool:
    """Whether the number at `start` is the sign of an item in a list that begins with 1 and has a second item."""
    items = [(match.start(1), int(match[1])) for match in ITEM.finditer(text)]
    in_order = [number for _, number in items] == list(range(1, len(items) + 1))
    return in_order and len(items) > 1 and start in {place for place, _ in items}


def is_assent(text: str, start: int, end: int) -> bool:
    """Whether the word at [start, end) is "right" in the sense of yes, before what is the case."""
    before = text[max(0, start - WINDOW) : start]
    if text[start:end] != "right" or not ASSENT_BEFORE.search(before):
        return False
    return ASSENT_AFTER.match(text, end) is not None


def is_announced(text: str, start: int, end: int) -> bool:
    """Whether the text says of the word at [start, end) that it is the answer, or the total."""
    before = text[max(0, start - WINDOW) : start]
    return ANNOUNCEMENT.search(before) is not None or IN_TOTAL.match(text, end) is not None


def is_interjected(text: str, end: int) -> bool:
    """Whether a "no" that ends here stands by itself, before what is the case."""
    return INTERJECTION.match(text, end) is not None


def is_no_denial(text: str, end: int) -> bool:
    """Whether a "no" that ends here is of "no doubt", "no more than", and their like."""
    return NOT_NO.match(text, end) is not None


def is_denied(text: str, start: int, end: int, previous: int, no_is_an_answer: bool) -> bool:
    """Whether the word at [start, end) is what its clause says not to be; the word before it ended at `previous`."""
    if NEGATED_AFTER.match(text, end):
        return True
    if NOT_JUST.search(text[max(0, start - WINDOW) : start]) and re.fullmatch(NUMBER, text[start:end]):
        return True
    clause = max((cut.end() for cut in CLAUSE.finditer(text, previous, start)), default=previous)
    denials = [*NEGATION.finditer(text, clause, start)]
    if not no_is_an_answer:
        denials += [no for no in NO_BEFORE.finditer(text, clause, start) if not is_interjected(text, no.end())]
    aside = [one for one in SET_ASIDE.finditer(text, clause, start) if not VERB.search(text, one.end(), start)]
    return any(within_reach(text[denial.end() : start]) for denial in [*denials, *aside])


def within_reach(between: str) -> bool:
    """Whether few enough words stand between a negation and a word for the one to deny the other."""
    if COMPARISON.search(between):
        return False
    spaceless = re.findall(f"[{UNSPACED}]", between)
    return len(spaceless) <= MOST_SIGNS if spaceless else len(between.split()) <= MOST_WORDS


def linked(text: str, gaps: Iterable[tuple[int, int]]) -> int:
    """How many of the gaps between words, from the first on, go on with what was denied: "red, green or blue"."""
    length = 0
    for number, (start, end) in enumerate(gaps, start=1):
        if OR_LINK.fullmatch(text, start, end) or LIST_LINK.fullmatch(text, start, end):
            length = number
        elif not COMMA_LINK.fullmatch(text, start, end):
            break
    return length
