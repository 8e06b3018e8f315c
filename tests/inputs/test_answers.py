"""Finding answers in generated text: by whole words, and back to the tokens that hold them."""

import string
import unicodedata

import numpy as np
import pytest
from attention_atlas.config import QUERY_TYPES
from attention_atlas.folding import UNSEEN, fold, spelling_key
from attention_atlas.inputs.answers import (
    answer_span,
    answers_table,
    canonical,
    failed_row,
    find_answer,
    judge,
)
from attention_atlas.inputs.phrasing import NEGATION
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

NUMBERS = {"1": ["one"], "3": ["three"], "5": [], "10": ["ten"], "13": ["thirteen"]}
YES_NO = {"yes": ["yeah", "yep"], "no": ["nope"]}
COLOURS = {"red": [], "grey": ["gray"], "orange": []}
PLACES = {
    "left": [],
    "right": [],
    "top": ["top middle"],
    "centre": ["center", "middle"],
    "top left": ["upper left", "top-left"],
}
CAFE = {"café": ["coffee house"], "naïve": [], "straße": [], "数": ["三"], "łódź": []}

# A busy machine is no reason to fail.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORD = st.text(string.ascii_lowercase, min_size=1, max_size=6)
SEPARATOR = st.sampled_from([" ", "  ", "\n", "\t", ", ", ". ", ": ", " (", "! ", "\u00a0"])


@pytest.mark.parametrize(
    ("text", "answers", "expected"),
    [
        ("There are 3 shapes.", NUMBERS, ("3", "3")),
        ("There are three shapes.", NUMBERS, ("3", "three")),
        ("3", NUMBERS, ("3", "3")),
        ("thirteen", NUMBERS, ("13", "thirteen")),
        ("I see 13.", NUMBERS, ("13", "13")),
        ("10 or 3", NUMBERS, ("10", "10")),
        ("The answer is:3.", NUMBERS, ("3", "3")),
        ("(3)", NUMBERS, ("3", "3")),
        ("It is '3', I think", NUMBERS, ("3", "3")),
        ("1, 3 and 5", NUMBERS, ("1", "1")),
        ("At 3.", NUMBERS, ("3", "3")),
        ("first. 3 of them", NUMBERS, ("3", "3")),
        ("YES, there is.", YES_NO, ("yes", "YES")),
        ("Nope", YES_NO, ("no", "Nope")),
        ("No, yes", YES_NO, ("no", "No")),
        ("The circle is Gray.", COLOURS, ("grey", "Gray")),
        ("It is red-brown.", COLOURS, ("red", "red")),
        ("At the top left.", PLACES, ("top left", "top left")),
        ("At the top-left.", PLACES, ("top left", "top-left")),
        ("At the Top\n Left corner", PLACES, ("top left", "Top\n Left")),
        ("upper\u00a0left", PLACES, ("top left", "upper\u00a0left")),
        ("On the left-hand side", PLACES, ("left", "left")),
        ("top lefty", PLACES, ("top", "top")),
        ("the top, left of it", PLACES, ("top", "top")),
        ("middle of the top", PLACES, ("centre", "middle")),
        ("Ein CAFÉ!", CAFE, ("café", "CAFÉ")),
        ("in der Straße", CAFE, ("straße", "Straße")),
        ("数", CAFE, ("数", "数")),
        ("ŁÓDŹ it is", CAFE, ("łódź", "ŁÓDŹ")),
        ("ΚΌΚΚΙΝΟΣ", {"κόκκινος": []}, ("κόκκινος", "ΚΌΚΚΙΝΟΣ")),
        ("It is blue", {"Blue": []}, ("Blue", "blue")),
        ("\uff13 shapes", NUMBERS, ("3", "\uff13")),
        ("😀 3", NUMBERS, ("3", "3")),
    ],
)
def test_an_answer_is_found_by_whole_words_and_its_place_is_in_the_text_as_given(text, answers, expected):
    match = find_answer(text, answers)
    assert (match.answer, text[match.start : match.end]) == expected


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("", NUMBERS),
        ("many", NUMBERS),
        ("3.5", NUMBERS),
        ("3,5", NUMBERS),
        ("1,000", NUMBERS),
        ("0.3", NUMBERS),
        ("33", NUMBERS),
        ("3rd", NUMBERS),
        ("x3", NUMBERS),
        ("threefold", NUMBERS),
        ("someone", NUMBERS),
        ("often", NUMBERS),
        ("eyes", YES_NO),
        ("not now", YES_NO),
        ("nobody", YES_NO),
        ("redder", COLOURS),
        ("infrared", COLOURS),
        ("cafés", CAFE),
        ("a b c", {}),
        ("a, - b", {"": ["", " "], "x": [""]}),
    ],
)
def test_parts_of_words_and_of_numbers_are_no_answer(text, answers):
    assert find_answer(text, answers) is None


def test_signs_in_a_spelling_stand_for_themselves():
    answers = {"a.b": [], "(c)": [], "d*": []}
    assert find_answer("axb, ccc, ddd", answers) is None
    assert find_answer("axb (c)", answers).answer == "(c)"


@unhurried
@given(
    spellings=st.lists(WORD, min_size=1, max_size=5, unique=True),
    before=st.lists(WORD, max_size=4),
    separator=SEPARATOR,
    data=st.data(),
)
def test_the_first_word_of_the_vocabulary_is_the_answer(spellings, before, separator, data):
    answers = {f"answer {number}": [word] for number, word in enumerate(spellings)}
    others = [word for word in before if word not in spellings and word != "answer" and not NEGATION.search(word)]
    wanted = data.draw(st.sampled_from(spellings))
    shown = data.draw(st.sampled_from([wanted, wanted.upper(), wanted.title()]))
    text = separator.join([*others, shown, *data.draw(st.lists(st.sampled_from(spellings), max_size=3))])
    match = find_answer(text, answers)
    assert match.answer == f"answer {spellings.index(wanted)}"
    assert match.start == sum(len(word) + len(separator) for word in others)
    assert text[match.start : match.end] == shown


@unhurried
@given(
    st.text(max_size=40), st.dictionaries(st.text(max_size=6), st.lists(st.text(max_size=6), max_size=3), max_size=4)
)
def test_what_is_found_is_always_a_spelling_of_its_answer_at_its_place(text, answers):
    match = find_answer(text, answers)
    if match is not None:
        spelled = {spelling_key(spelling).replace(" ", "") for spelling in (match.answer, *answers[match.answer])}
        assert spelling_key(text[match.start : match.end]).replace(" ", "") in spelled


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [("3", "3"), ("Three", "3"), (" THREE\t", "3"), ("\uff13", "3"), ("3.5", None), ("thre", None), ("", None)],
)
def test_the_canonical_name_is_that_of_any_spelling(spelling, expected):
    assert canonical(spelling, NUMBERS) == expected


def test_the_canonical_name_holds_whatever_the_case_and_space_on_either_side():
    assert canonical("Upper  LEFT", PLACES) == "top left"
    assert canonical("light blue", {"Blue": ["Light   Blue"]}) == "Blue"


COUNTING, SPATIAL, COLOUR, RECOGNITION = (
    QUERY_TYPES[name]["answers"] for name in ("counting", "spatial", "attribute", "recognition")
)
CHINESE = {"红色": ["红"], "蓝色": ["蓝"], "绿色": ["绿"]}
CHINESE_NUMBERS = {"0": ["零", "没有"], "1": ["一"], "2": ["两", "二"], "3": ["三"], "10": ["十"], "12": ["十二"]}
JAPANESE = {"赤": ["赤色"], "青": ["青色"], "2": ["二つ"], "3": ["三つ", "三"]}
KOREAN = {"빨간색": ["빨강"], "파란색": ["파랑"]}
KOREAN_NUMBERS = {"2": ["두", "이"], "3": ["세", "셋"], "12": ["열두"]}
THAI = {"แดง": ["สีแดง"], "2": ["สอง"], "3": ["สาม"], "10": ["สิบ"], "12": ["สิบสอง"]}
FRENCH = {"1": ["un", "une"], "2": ["deux"], "3": ["trois"], "4": ["quatre"], "20": ["vingt"]}


def answer_of(text, answers):
    match = find_answer(text, answers)
    return None if match is None else match.answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Step 1: look at the shapes. There are 4.", "4"),
        ("In image 1 there are 4 shapes.", "4"),
        ("In the image 3 shapes are red.", "3"),
        ("1. The circle\n2. The square", None),
        ("1) a circle 2) a square, so there are 2", "2"),
        ("1. A shape.", "1"),
        ("3. a star 4. a square", "3"),
        ("2 red and 1 blue, so three in total", "3"),
        ("I count 2 circles and 1 square. Answer: 3", "3"),
        ("There is 1 red and 1 blue shape. The answer is **2**.", "2"),
    ],
)
def test_a_number_that_names_a_step_or_an_item_counts_nothing_and_an_announced_one_is_the_answer(text, expected):
    assert answer_of(text, COUNTING) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("That's right, it's on the left.", "left"),
        ("You're right, it is on the left", "left"),
        ("Right, so it is on the left.", "left"),
        ("Right. It is on the left of the image.", "left"),
        ("Right.", "right"),
        ("That's right.", "right"),
        ("Right, not left", "right"),
        ("It is on the right, the circle is left of it.", "right"),
        ("The star that is right, top", "right"),
    ],
)
def test_right_in_the_sense_of_yes_is_no_place(text, expected):
    assert answer_of(text, SPATIAL) == expected


@pytest.mark.parametrize(
    "hyphen", [*"-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d\u00ad_ \u00a0\u3000", "** **", " - "]
)
def test_hyphens_and_marks_of_any_sort_are_spaces_between_words(hyphen):
    for text, expected in (("upper{}left", "top left"), ("LOWER{}Right", "bottom right"), ("Top{}middle", "top")):
        assert answer_of(f"In the {text.format(hyphen)}.", SPATIAL) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**Upper-Right**", "top right"),
        ("`top_left`", "top left"),
        ("It is in the upper-left-hand corner.", "top left"),
        ("In the upper-middle of the image.", "top"),
        ("center-left", "left"),
        ("\\boxed{\\text{top left}}", "top left"),
        ("pur\u00adple", None),
        ("top\u00adples", None),
    ],
)
def test_marks_around_words_are_no_part_of_them(text, expected):
    assert answer_of(text, SPATIAL) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, "2") for text in ("_two_", "**Two**", "`two`", "“two”", "Ｔｗｏ", "２", "٢", "२", "𝟐", "2️⃣", "two_")),
        *((text, "2") for text in ("\\boxed{2}", "$\\boxed{\\text{two}}$", "t\u00adwo", "two\u200b", "\u200f2\u200f")),
        *((text, None) for text in ("2.5", "2,000", "2 000", "2½", "2²", "½", "1/2", "-2", "−2", "minus two", ".2")),
        *(
            (text, None)
            for text in ("2-3", "10-12", "10–12", "10 - 12", "2 to 3", "between 2 and 3", "two through four")
        ),
        *(
            (text, None)
            for text in ("2nd", "1st", "12th", "2D", "two-sided", "two-thirds", "two and a half", "\\frac{1}{2}")
        ),
        *(
            (text, None)
            for text in ("twenty-three", "Twenty three", "ninety‑two", "one hundred", "two dozen", "2 hundred")
        ),
        *((text, None) for text in ("one hundred and two", "two point five", "two thousand", "_twenty one_")),
        *((text, None) for text in ("10..12", "2*3", "2 1/2", "three and 1/2", "1_000", "2 x 2", "2 and a half")),
        ("2 + 1 = 3", "3"),
        ("There are 3... red", "3"),
        ("No.3", "3"),
        ("3 - 2 red and 1 blue", "3"),
        ("- 2 circles\n- 3 squares", "2"),
        ("three-sided shapes: 2", "2"),
        ("one bin", "1"),
        *((text, None) for text in ("the one on the left", "This one.", "Which one?", "the one that is red")),
        *((text, "1") for text in ("There is one on the left.", "Just the one.", "one that is red", "Only one")),
        ("Each one is red; there are 3.", "3"),
    ],
)
def test_a_number_is_not_cut_out_of_a_longer_one(text, expected):
    assert answer_of(text, COUNTING) == expected


GERMAN = {"0": ["null", "kein", "keine"], "2": ["zwei"], "3": ["drei"], "4": ["vier"]}


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        *((text, GERMAN) for text in ("drei bis vier", "zwei bis drei Kreise", "zwei Millionen", "drei Milliarden")),
        *((text, FRENCH) for text in ("deux à trois", "de deux à trois cercles", "3 à 4")),
        *((text, CHINESE_NUMBERS) for text in ("三到十个", "二至三个", "二〜三", "3到10个")),
        *((text, COUNTING) for text in ("5%", "5 % of them")),
    ],
)
def test_ranges_and_great_numbers_of_other_languages_are_no_answer(text, answers):
    assert answer_of(text, answers) is None


@pytest.mark.parametrize(
    ("text", "expected", "answers"),
    [
        *(
            (text, "0", COUNTING)
            for text in (
                *("There aren't any.", "There are not any circles in the image.", "I don’t see any circles."),
                *("Not a single one.", "There isn't any, only a square", "I cannot see any of them"),
            )
        ),
        ("There aren't any circles, but 3 squares.", "0", COUNTING),
        ("I don't have any doubt that there are 3.", None, COUNTING),
        ("I can't say with any certainty, but 3.", "3", COUNTING),
        ("I don't see any other shapes; there are 3.", "3", COUNTING),
        ("I can't see any.", "no", RECOGNITION),
        ("I don't see any reason to doubt it: yes.", "yes", RECOGNITION),
        ("Yes, and there aren't any others.", "yes", RECOGNITION),
        ("There isn't any red.", None, COLOUR),
    ],
)
def test_not_any_is_no(text, expected, answers):
    assert answer_of(text, answers) == expected


@pytest.mark.parametrize(
    ("text", "expected", "answers"),
    [
        *(
            (text, "3", COUNTING)
            for text in (
                *("I cannot see more than 3 circles.", "not more than 3", "not less than three", "Not fewer than 3"),
                *("If I'm not mistaken there are 3", "Not including the square there are 3 circles"),
                *("Without counting the square there are 3", "Other than the square there are 3"),
            )
        ),
        ("nicht mehr als drei", "3", GERMAN),
        ("There isn't just one, there are two", "2", COUNTING),
        ("not just one but two", "2", COUNTING),
        ("pas plus de trois cercles", "3", FRENCH),
        *(
            (text, "red", COLOUR)
            for text in (
                *("The circle without a border is red", "Without a doubt red", "Without any question, red"),
                *("none other than red", "The circle isn't just red", "The circle, unlike the blue square is red"),
            )
        ),
        ("Without a doubt yes", "yes", RECOGNITION),
        ("sans aucun doute rouge", "rouge", {"rouge": [], "bleu": []}),
        ("il n'est pas seulement rouge", "rouge", {"rouge": [], "bleu": []}),
    ],
)
def test_what_a_negation_does_not_reach_is_an_answer(text, expected, answers):
    assert answer_of(text, answers) == expected


def test_a_longer_number_that_the_vocabulary_has_is_found():
    answers = {"3": ["three"], "23": ["twenty-three"], "-3": [], "3.5": [], "2-3": []}
    for text, expected in (("Twenty three.", "23"), ("−3", "-3"), ("3.5", "3.5"), ("2–3", "2-3"), ("three", "3")):
        assert answer_of(text, answers) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No, there are 3 shapes.", "3"),
        ("No. There are three shapes.", "3"),
        ("No - 3", "3"),
        ("No there are 3 shapes", "3"),
        ("Nope, two of them.", "2"),
        ("No, there are no shapes.", "0"),
        ("There are no shapes.", "0"),
        ("no circles, but 3 squares", "0"),
        ("None of the shapes", "0"),
        ("No.", "0"),
        ("There is no doubt that there are 3 shapes.", "3"),
        ("No fewer than 3", "3"),
    ],
)
def test_a_number_beside_no_decides_where_no_stands_by_itself(text, expected):
    assert answer_of(text, {**COUNTING, "0": [*COUNTING["0"], "nope"]}) == expected


@pytest.mark.parametrize(
    ("text", "expected", "answers"),
    [
        ("It is not red, it is blue.", "blue", COLOUR),
        ("It isn’t red; it’s blue.", "blue", COLOUR),
        ("It's not red it's blue", "blue", COLOUR),
        ("Not red but blue.", "blue", COLOUR),
        ("blue, not red", "blue", COLOUR),
        ("blue rather than red", "blue", COLOUR),
        ("Rather than red, it is blue.", "blue", COLOUR),
        ("instead of red, blue", "blue", COLOUR),
        ("neither red nor blue, but green", "green", COLOUR),
        ("It is not red or blue. It is green.", "green", COLOUR),
        ("It is not red, green or blue, but pink.", "pink", COLOUR),
        ("The circle does not appear to be red; it's blue.", "blue", COLOUR),
        ("The circle is not visible, but the square is red.", "red", COLOUR),
        ("It is not only red.", "red", COLOUR),
        ("No, it is blue.", "blue", COLOUR),
        ("Red? No, blue.", "blue", COLOUR),
        ("The answer is not 'yes' but 'no'.", "no", RECOGNITION),
        ("No red; blue", "blue", COLOUR),
        ("It is not red.", None, COLOUR),
        ("not left but right", "right", SPATIAL),
        ("The circle is not to the left of the square; it is to the right.", "right", SPATIAL),
        ("neither left nor right", None, SPATIAL),
        ("It is not 4, it is 3.", "3", COUNTING),
        ("There aren't 4 shapes but 3", "3", COUNTING),
        ("No doubt, yes.", "yes", RECOGNITION),
        ("No, there is not.", "no", RECOGNITION),
        ("Der Kreis ist nicht rot, sondern blau.", "blau", {"rot": [], "blau": []}),
        ("Ce n'est pas rouge, c'est bleu.", "bleu", {"rouge": [], "bleu": []}),
        ("No es rojo, es azul", "azul", {"rojo": [], "azul": []}),
        ("kırmızı değil, mavi", "mavi", {"kırmızı": [], "mavi": []}),
        ("不是红色，是蓝色。", "蓝色", CHINESE),
        ("不是红色而是蓝色", "蓝色", CHINESE),
        ("既不是红色也不是蓝色，是绿色", "绿色", CHINESE),
        ("赤ではなく青です", "青", JAPANESE),
        ("빨간색이 아니라 파란색입니다.", "파란색", KOREAN),
        ("빨간색 원이 아니라 파란색 원입니다.", "파란색", KOREAN),
        ("두 개가 아니라 세 개입니다", "3", KOREAN_NUMBERS),
        ("赤くない、青い", "青", JAPANESE),
        ("赤でも青でもない", None, JAPANESE),
        ("不是红色、蓝色，而是绿色", "绿色", CHINESE),
        ("一个圆形也没有", "0", CHINESE_NUMBERS),
        ("三个圆都没有边框", "3", CHINESE_NUMBERS),
        ("하나도 없습니다", None, {"1": ["한", "하나"], "2": ["두", "둘"]}),
        ("한 개도 없습니다", None, {"1": ["한", "하나"], "2": ["두", "둘"]}),
        ("Je ne pense pas que ce soit rouge, c'est bleu", "bleu", {"rouge": [], "bleu": []}),
        ("Le cercle n'est plus rouge, il est bleu", "bleu", {"rouge": [], "bleu": []}),
        ("Il n’est jamais rouge, il est bleu", "bleu", {"rouge": [], "bleu": []}),
    ],
)
def test_what_a_text_denies_is_not_its_answer(text, expected, answers):
    assert answer_of(text, answers) == expected


@pytest.mark.parametrize(
    ("text", "expected", "answers"),
    [
        ("红色。", "红色", CHINESE),
        ("是红色的。", "红色", CHINESE),
        ("颜色RGB红色", "红色", CHINESE),
        ("图中有2个圆形。", "2", CHINESE_NUMBERS),
        ("三个", "3", CHINESE_NUMBERS),
        ("十二个", "12", CHINESE_NUMBERS),
        ("图中一共有三个圆形", "3", CHINESE_NUMBERS),
        ("三角形有两个", "2", CHINESE_NUMBERS),
        ("没有，有三个", "3", CHINESE_NUMBERS),
        *(
            (text, None, CHINESE_NUMBERS)
            for text in ("二十三个", "十三", "三百", "第三", "三点五", "3.5个", "三分之一")
        ),
        ("円は赤色です。", "赤", JAPANESE),
        ("三つあります", "3", JAPANESE),
        ("วงกลมสีแดง", "แดง", THAI),
        ("มีสามรูป", "3", THAI),
        ("สิบสอง", "12", THAI),
        ("สามสิบ", None, THAI),
        ("ສິບສອງ", None, {"2": ["ສອງ"], "10": ["ສິບ"]}),
        ("ສອງ", "2", {"2": ["ສອງ"], "10": ["ສິບ"]}),
        ("빨간색입니다", "빨간색", KOREAN),
        ("두 개입니다", "2", KOREAN_NUMBERS),
        ("2개입니다", "2", KOREAN_NUMBERS),
        ("세개", "3", KOREAN_NUMBERS),
        ("열두 개", "12", KOREAN_NUMBERS),
        *((text, None, KOREAN_NUMBERS) for text in ("십이", "세상", "두부")),
        ("लाल", None, {"ला": []}),
    ],
)
def test_words_have_bounds_where_their_script_writes_them(text, expected, answers):
    assert answer_of(text, answers) == expected


@pytest.mark.parametrize("text", ["vingt-trois", "vingt et un", "quatre-vingts", "trente-deux", "soixante-deux"])
def test_parts_of_numbers_of_other_languages_are_no_answer(text):
    assert answer_of(text, FRENCH) is None


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("word", ["zéro", "빨간색", "ガラス", "Łódź", "straße", "ﬁve", "İKİ", "KIRMIZI", "q̣̇"])
def test_a_word_is_the_same_in_every_form_of_unicode_and_its_place_is_in_the_text_as_given(form, word):
    for written in (word, word.upper(), word.lower()):
        text = f"é: {unicodedata.normalize(form, written)}!"
        match = find_answer(text, {word: []})
        assert (match.answer, text[match.start : match.end]) == (word, text.split()[1][:-1])
        assert canonical(unicodedata.normalize(form, written), {word: []}) == word


def test_the_steps_of_an_answer_are_those_of_the_text_before_it_was_folded():
    tokens = ["Die ", "Stra", "ß", "e", " is", " ", "e\u0301", "ﬁ", "n", "."]
    assert judge(tokens, "strasse", {"strasse": []})["answer_step"] == 1
    assert judge(tokens, "strasse", {"strasse": []})["answer_last_step"] == 3
    found = judge(tokens, "éfin", {"éfin": []})
    assert (found["answer_step"], found["answer_last_step"]) == (6, 8)


@unhurried
@given(st.text(max_size=30))
def test_folding_is_that_of_the_whole_text_and_each_character_keeps_its_place(text):
    folded = fold(text)
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    assert all(0 <= start < end <= len(text) for start, end in zip(folded.starts, folded.ends, strict=True))
    assert list(folded.starts) == sorted(folded.starts)
    assert {n for s, e in zip(folded.starts, folded.ends, strict=True) for n in range(s, e)} == set(range(len(text)))


@unhurried
@given(st.text(st.characters(categories=["Lu", "Ll", "Lo", "Mn", "Zs"], exclude_characters="ıİ"), max_size=20))
def test_folding_is_pythons_own_case_folding_of_the_composed_text(text):
    whole = unicodedata.normalize("NFKC", text).casefold()
    expected = unicodedata.normalize("NFKC", whole).replace("i\u0307", "i").replace("ʼ", "'")
    unseen = {
        *map(chr, (0x34F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))),
        *"\u115f\u1160\u17b4\u17b5\u3164\uffa0",
    }
    assume(not unseen.intersection(text) and not any(unicodedata.decomposition(c).startswith("<s") for c in text))
    assert fold(text).text.replace(UNSEEN, "") == expected


SMALL = [COUNTING[str(number)][0] for number in range(21)]
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(number, join):
    """A number below 1,000 in English; `join` stands in twenty-three."""
    if number >= 100:
        rest = f" and {in_words(number % 100, join)}" if number % 100 else ""
        return f"{SMALL[number // 100]} hundred{rest}"
    if number <= 20:
        return SMALL[number]
    return TENS[number // 10] + (join + SMALL[number % 10] if number % 10 else "")


SENTENCES = (
    *("{}", "There are {} shapes.", "I count {}.", "**{}**", "Answer: {}", "No, there are {} shapes.", "({})"),
    *("It isn't 9, it's {}.", "{} shapes, not 9.", "The image shows\n_{}_ shapes", "\\boxed{{{}}}", "“{}”"),
)


@unhurried
@given(st.integers(0, 999), st.sampled_from(["-", " ", "\u2011", "\u2013"]), st.sampled_from(SENTENCES), st.data())
def test_a_number_in_a_sentence_is_found_where_the_vocabulary_has_it_and_no_part_of_it_is(number, join, sentence, data):
    shown = data.draw(st.sampled_from([str(number), in_words(number, join)]))
    shown = data.draw(st.sampled_from([shown, shown.upper(), shown.title()]))
    text = sentence.format(shown)
    match = find_answer(text, COUNTING)
    if number > 20:
        assert match is None or match.answer in ("0", "9")  # what else the sentence says
        assert match is None or text[match.start : match.end].casefold() not in shown.casefold()
    else:
        assert (match.answer, text[match.start : match.end]) == (str(number), shown)


@unhurried
@given(
    st.permutations(["red", "green", "blue", "yellow"]),
    st.sampled_from(
        [
            "It is not {0}, it is {1}.",
            "It isn't {0} but {1}.",
            "{1}, not {0}",
            "{1} rather than {0}",
            "neither {0} nor {2}, but {1}",
            "Not {0}, {2} or {3}: {1}!",
            "Instead of {0} I see {1}.",
            "The circle, which is not {0}, is {1}.",
            "No, it is {1}.",
        ]
    ),
    st.sampled_from(["{}", "**{}**", "“{}”", "_{}_"]),
)
def test_of_two_colours_that_are_set_against_each_other_the_one_that_is_there_is_found(colours, sentence, marked):
    assert answer_of(sentence.format(*map(marked.format, colours)), COLOUR) == colours[1]


@pytest.mark.parametrize(
    ("expected", "answers", "name"),
    [
        *((text, COUNTING, "1") for text in ("1.0", "1e0", "1.", " 1 ", "１", "+1", "01", "1.00")),
        *((text, COUNTING, None) for text in ("1.5", "1e-1", "1_0", "nan", "inf", "1e999", "true", "1.0000000001")),
        ("2.0", COUNTING, "2"),
        ("10.0", COUNTING, "10"),
        ("TRUE", RECOGNITION, "yes"),
        ("False", RECOGNITION, "no"),
        ("true", {"true": [], "yes": []}, "true"),
        ("1.0", {"1.0": [], "1": []}, "1.0"),
        ("Top-Left", SPATIAL, "top left"),
    ],
)
def test_what_spreadsheets_and_json_make_of_an_answer_is_read_as_the_answer(expected, answers, name):
    assert canonical(expected, answers) == name


@pytest.mark.parametrize(
    ("tokens", "start", "end", "expected"),
    [
        (["There", " are", " 3", " shapes"], 10, 11, (2, 2)),
        (["3", " shapes"], 0, 1, (0, 0)),
        (["are", " ", "3"], 4, 5, (2, 2)),
        (["th", "ir", "teen"], 0, 8, (0, 2)),
        (["at top", " left", "."], 3, 11, (0, 1)),
        (["a", "", "top", "", " left", ""], 1, 9, (2, 4)),
    ],
)
def test_the_span_is_of_the_tokens_that_hold_the_characters(tokens, start, end, expected):
    assert answer_span(tokens, start, end) == expected


@unhurried
@given(st.lists(st.text("ab c", max_size=4), min_size=1, max_size=8), st.data())
def test_the_span_holds_all_of_the_characters_and_no_token_without_any(tokens, data):
    text = "".join(tokens)
    assume(text)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    owner = np.repeat(np.arange(len(tokens)), [len(token) for token in tokens])
    assert answer_span(tokens, start, end) == (owner[start], owner[end - 1])


def row(answer, first, last, correct):
    return {
        **{"answer_found": int(answer != ""), "answer_text": answer, "answer_step": first},
        **{"answer_last_step": last, "correct": correct},
    }


@pytest.mark.parametrize(
    ("tokens", "expected", "answers", "judged"),
    [
        (["There", " are", " ", "3", " shapes", ".", ""], "3", NUMBERS, row("3", 3, 3, 1)),
        (["There", " are", " three", "."], "3", NUMBERS, row("3", 2, 2, 1)),
        (["There", " are", " three", "."], "three", NUMBERS, row("3", 2, 2, 1)),
        (["There", " are", " 3", "."], "5", NUMBERS, row("3", 2, 2, 0)),
        (["There", " are", " 3", "."], "", NUMBERS, row("3", 2, 2, -1)),
        (["Many", ".", ""], "3", NUMBERS, row("", -1, -1, 0)),
        (["Many", "."], "", NUMBERS, row("", -1, -1, -1)),
        ([""], "3", NUMBERS, row("", -1, -1, 0)),
        ([], "3", NUMBERS, row("", -1, -1, 0)),
        (["It", " is", " th", "ir", "teen"], "13", NUMBERS, row("13", 2, 4, 1)),
        (["1", "0"], "10", NUMBERS, row("10", 0, 1, 1)),
        (["3", ".", "5"], "3", NUMBERS, row("", -1, -1, 0)),
        (["3", ".", "", "5"], "5", NUMBERS, row("", -1, -1, 0)),
        (["at", " the", " top", " left", "."], "top left", PLACES, row("top left", 2, 3, 1)),
        (["at", " the", " top", "-", "left"], "top left", PLACES, row("top left", 2, 4, 1)),
        (["at", " the", " top", " left"], "top", PLACES, row("top left", 2, 3, 0)),
        (["no", ", ", "yes"], "yes", YES_NO, row("no", 0, 0, 0)),
        ([" 3", " 3"], "3", NUMBERS, row("3", 0, 0, 1)),
    ],
)
def test_a_sample_is_judged_by_its_first_answer_at_its_tokens(tokens, expected, answers, judged):
    assert judge(tokens, expected, answers) == judged


@unhurried
@given(st.lists(st.sampled_from(["thirteen", "there", "are", "top", "left", "3", "13", "red."]), min_size=1), st.data())
def test_how_a_text_is_cut_into_tokens_changes_the_steps_alone(words, data):
    text = " ".join(words)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    tokens = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    answers = NUMBERS | PLACES
    whole, cut = judge([text], "3", answers), judge(tokens, "3", answers)
    for name in ("answer_found", "answer_text", "correct"):
        assert cut[name] == whole[name]
    match = find_answer(text, answers)
    if match is not None:
        held = "".join(tokens[cut["answer_step"] : cut["answer_last_step"] + 1])
        assert text[match.start : match.end] in held


def test_nothing_can_be_said_of_a_failed_sample():
    assert failed_row() == row("", -1, -1, -1) | {"answer_found": -1}


def test_the_table_is_sorted_by_sample_with_small_flags():
    rows = [{"sample_id": name, **failed_row()} for name in ("b", "a")]
    table = answers_table(rows)
    assert table["sample_id"].tolist() == ["a", "b"]
    assert {name: str(table[name].dtype) for name in table.columns[1:] if name != "answer_text"} == {
        **{"answer_found": "int8", "answer_step": "int32", "answer_last_step": "int32", "correct": "int8"}
    }
    assert list(answers_table([]).columns) == list(table.columns)
