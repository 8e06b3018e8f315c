"""Finding answers in generated text: by whole words, and back to the tokens that hold them."""

import string

import numpy as np
import pytest
from attention_atlas.inputs.answers import (
    answer_span,
    answers_table,
    canonical,
    failed_row,
    find_answer,
    judge,
    spelling_key,
)
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
        ("3_", NUMBERS),
        ("threefold", NUMBERS),
        ("someone", NUMBERS),
        ("often", NUMBERS),
        ("eyes", YES_NO),
        ("not now", YES_NO),
        ("nobody", YES_NO),
        ("redder", COLOURS),
        ("infrared", COLOURS),
        ("cafés", CAFE),
        ("数字", CAFE),
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
    others = [word for word in before if word not in spellings and word != "answer"]
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
        spelled = {spelling_key(spelling) for spelling in (match.answer, *answers[match.answer])}
        assert spelling_key(text[match.start : match.end]) in spelled


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [("3", "3"), ("Three", "3"), (" THREE\t", "3"), ("\uff13", "3"), ("3.5", None), ("thre", None), ("", None)],
)
def test_the_canonical_name_is_that_of_any_spelling(spelling, expected):
    assert canonical(spelling, NUMBERS) == expected


def test_the_canonical_name_holds_whatever_the_case_and_space_on_either_side():
    assert canonical("Upper  LEFT", PLACES) == "top left"
    assert canonical("light blue", {"Blue": ["Light   Blue"]}) == "Blue"


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
