"""Reading what people write: YAML, JSON and tables that mean something else than they say are refused."""

import json
import os
import random
import time
from pathlib import Path

import pytest
from attention_atlas.config import load_models, load_settings
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.coco import read_coco
from attention_atlas.inputs.query_templates import read_templates
from attention_atlas.inputs.question_tables import import_table, parse_columns
from attention_atlas.inputs.study import OBJECT_COLUMNS, SAMPLE_COLUMNS, read_study
from attention_atlas.wiring import check_config_files
from PIL import Image

ROOT = Path(__file__).parents[1]
CONFIG = (ROOT / "config" / "config.yaml").read_bytes()
MODELS = (ROOT / "config" / "models.yaml").read_bytes()
QUERY_TYPES = {
    "counting": {"needs_target": False, "without_target": "0", "answers": {str(n): [] for n in range(21)}},
    "seen": {"needs_target": False, "without_target": "no", "answers": {"yes": [], "no": []}},
}
TEMPLATES = b"""\
- query_id: q0
  query_type: counting
  query: How many {plural} are there?
  for_each: label
  expected_answer: '{count}'
- {query_id: q1, query_type: seen, query: 'Is there {a_label}?', for_each: label, expected_answer: 'yes'}
"""
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3], "iscrowd": 0}],
    },
    indent=1,
).encode()
SAMPLES = (",".join(SAMPLE_COLUMNS) + "\na-q0,a.png,q0,counting,How many?,2,,cat_0,select\n").encode()
OBJECTS = (",".join(OBJECT_COLUMNS) + "\na.png,cat_0,cat,red,1,1,4,4\n").encode()
QUESTIONS_JSON = b"""\
{"image": "a.png", "query_type": "counting", "query": "How many?", "expected_answer": 2, "box": [1, 1, 4, 4]}
{"image": "a.png", "query_type": "seen", "query": "Is there a cat?", "expected_answer": true}
"""
QUESTIONS_CSV = b'image,query_type,query,expected_answer,box\na.png,counting,"How many, please?",2,"1,1,4,4"\n'
DEEP = 100_000


@pytest.fixture
def folder(tmp_path):
    """A study in order, and beside it every other file that is read."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


FILES = {
    "config.yaml": CONFIG,
    "models.yaml": MODELS,
    "queries.yaml": TEMPLATES,
    "coco.json": COCO,
    "samples.csv": SAMPLES,
    "objects.csv": OBJECTS,
    "questions.jsonl": QUESTIONS_JSON,
    "questions.csv": QUESTIONS_CSV,
}
READERS = {
    "config.yaml": load_settings,
    "models.yaml": load_models,
    "queries.yaml": read_templates,
    "coco.json": read_coco,
    "samples.csv": lambda path: read_study(path.parent, QUERY_TYPES),
    "objects.csv": lambda path: read_study(path.parent, QUERY_TYPES),
    "questions.jsonl": lambda path: import_table(path, path.parent, {}, QUERY_TYPES),
    "questions.csv": lambda path: import_table(path, path.parent, {}, QUERY_TYPES),
}


def told(folder, name, content=None):
    """What a reader refuses a file with; its path is left out."""
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(AtlasError) as caught:
        READERS[name](folder / name)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("name", FILES)
def test_every_file_in_order_is_read_with_a_byte_order_mark_too(folder, name):
    READERS[name](folder / name)
    (folder / name).write_bytes(b"\xef\xbb\xbf" + FILES[name].replace(b"\n", b"\r\n"))
    READERS[name](folder / name)


# Keys that stand twice


def test_a_setting_that_stands_twice_is_refused_with_both_lines(folder):
    lines = CONFIG.decode().splitlines()
    first = lines.index("shards: 4") + 1
    content = CONFIG.replace(b"shards: 4\n", b"shards: 4\n\nshards: 2\n")
    assert told(folder, "config.yaml", content) == (
        f"config.yaml, line {first + 2}: the key 'shards' stands twice, in line {first} and line {first + 2}; "
        "leave one out"
    )
    with pytest.raises(AtlasError, match="the key 'shards' stands twice"):
        check_config_files([folder / "config.yaml"])


@pytest.mark.parametrize(
    ("name", "content", "key", "lines"),
    [
        ("models.yaml", "models:\n  a: {path: x}\n  b: {path: y}\n  a: {path: z}\n", "'a'", (2, 4)),
        ("models.yaml", "models:\n  a: {path: x,\n   path: z}\n", "'path'", (2, 3)),
        ("models.yaml", "models:\n  a: {path: x}\nmodels: {}\n", "'models'", (1, 3)),
        ("config.yaml", "runs: []\nquery_types:\n  x:\n    answers:\n      a: []\n      'a': []\n", "'a'", (5, 6)),
        ("config.yaml", "1: a\n0x1: b\n", "1", (1, 2)),
        ("queries.yaml", "- query_id: a\n  query: b\n  query_id: c\n", "'query_id'", (1, 3)),
        ("models.yaml", "a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", "'<<'", (3, 4)),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(folder, name, content, key, lines):
    assert told(folder, name, content.encode()).endswith(
        f", line {lines[1]}: the key {key} stands twice, in line {lines[0]} and line {lines[1]}; leave one out"
    )


def test_what_is_merged_may_be_said_otherwise(folder):
    text = "models:\n  a: &a {path: x, dtype: float32}\n  b: &b {<<: *a, path: y}\n  c: {<<: *b, dtype: float16}\n"
    (folder / "models.yaml").write_text(text, encoding="utf-8")
    models = load_models(folder / "models.yaml")
    assert {name: (one.path, one.dtype) for name, one in models.items()} == {
        **{"a": ("x", "float32"), "b": ("y", "float32"), "c": ("y", "float16")}
    }


def test_a_key_that_stands_twice_in_json_is_refused_with_both_places(folder):
    assert told(folder, "coco.json", b'{"images": [{"id": 1,\n  "\\u0069d": 2}], "x": {"id": "id", "y": []}}') == (
        "coco.json: the key 'id' stands twice in one object, line 1 column 14 and line 2 column 3; leave one out"
    )
    row = b'{"image": "a.png", "query_type": "seen", "query": "A?", "query": "B?"}\n'
    place = "column 42 and column 57"
    assert f"questions.jsonl, line 2: the key 'query' stands twice in one object, {place};" in told(
        folder, "questions.jsonl", b"\n" + row
    )


def test_a_column_that_is_given_twice_is_refused():
    with pytest.raises(AtlasError, match="'query' is given 2 times, as 'x' and 'y'; leave all but one out"):
        parse_columns("query=x, image=file ,query = y")


# What YAML and JSON read as something else, or not at all


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("runs: [{study: 2024-01-01, model: b}]", ", line 1: '2024-01-01' is a date to YAML; write it in quotes"),
        ("2024-01-01: x", ", line 1: '2024-01-01' is a date"),
        ("\nshards: 010", ", line 2: '010' is no plain decimal number"),
        ("shards: 1:30", ", line 1: '1:30' is no plain decimal number"),
        ("shards: 0b11", ", line 1: '0b11' is no plain decimal number"),
        ("shards: " + "9" * 6000, ", line 1: '999"),
        ("x: .inf", ", line 1: '.inf' is no finite"),
        ("x: .nan", ", line 1: '.nan' is no finite"),
        ("x: 1:30.5", ", line 1: '1:30.5' is no finite"),
        ("x: 1.0e+999", ", line 1: '1.0e+999' is no finite"),
        ("x: =", ", line 1: '=' is a sign of its own to YAML"),
        ("x: !!python/object:os.system {}", ", line 1: the tag '!!python/object:os.system' is not for settings"),
        ("x: !!set {a}", ", line 1: the tag '!!set'"),
        ("x: !!binary aGk=", ", line 1: the tag '!!binary'"),
        ("x: !own 1", ", line 1: the tag '!own'"),
        ("a: &a [*a]", ", line 1: a value that holds itself"),
        ("{a: b}: c", ", line 1: a key must be a single value"),
        ('x: "a\\0b"', r", line 1: 'a\x00b' holds the character '\x00'; take it out"),
        ('x: "\\e"', r"holds the character '\x1b'"),
        ('x: "\\ud800"', r"holds the character '\ud800'"),
        ("x: a\0b", r"line 1 holds the character '\x00'; take it out"),
        ("runs:\n\t- a", "line 2 column 1: while scanning for the next token found character '\\t'"),
        ("a: 1\n---\nb: 2", "line 2 column 1: expected a single document"),
        ("a: *x", "line 1 column 4: found undefined alias 'x'"),
        ("runs: " + "[" * DEEP, ", line 1: is nested deeper than 100 levels"),
        ("- " * DEEP, ", line 1: is nested deeper than 100 levels"),
        ("x: [" + "1," * DEEP + "]", ", line 1: has more than 20000 values"),
        ("#" * 3_000_000, ": has 3000000 characters"),
    ],
    ids=lambda text: text[:20],
)
def test_yaml_that_means_something_else_is_refused_with_its_line_and_value(folder, content, problem):
    sentence = told(folder, "config.yaml", content.encode())
    assert sentence.startswith("config.yaml")
    assert problem in sentence
    assert len(sentence.splitlines()) == 1
    assert len(sentence) < 400


@pytest.mark.parametrize("link", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_that_stand_for_billions_of_values_are_refused_at_once(folder, link):
    lines = ["a0: &a0 " + ("[x]" if link == "[{}]" else "{x: 1}")]
    lines += [f"a{n}: &a{n} " + link.format(",".join([f"*a{n - 1}"] * 9)) for n in range(1, 12)]
    begin = time.process_time()
    assert "its aliases stand for more than 20000 values" in told(folder, "config.yaml", "\n".join(lines).encode())
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"a": NaN}', "NaN is no JSON number (column 7)"),
        ('{"NaN": -Infinity}', "-Infinity is no JSON number (column 9)"),
        (r'{"a": "\ud800"}', r"holds '\ud800', half of a surrogate pair"),
        ('{"a": ' + "9" * 5000 + "}", "holds a number of over 4300 digits"),
        ("[" * DEEP, "nested too deep"),
        ('{"a":' * DEEP, "nested too deep"),
        ('{"a"', "is not JSON (Expecting ':' delimiter, column 5)"),
        ("7", "must be a JSON object, not 7"),
        ('{"image": "a.png", "query_type": "seen", "query": ["A?"]}', "query ['A?'] must be a text"),
        ('{"image": "a.png", "query_type": "seen", "query": "A\\u0000?"}', r"holds the character '\x00'"),
        ('{"image": "a.png", "query_type": "seen", "query": "A?", "box": "' + "[" * 99_000 + '"}', "must be four"),
        (
            '{"image": "a.png", "query_type": "seen", "query": "A?", "box": [1, 1, 4, 1' + "0" * 400 + "]}",
            "must be four",
        ),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_readers_answer_in_different_ways_is_refused_with_its_line(folder, row, problem):
    sentence = told(folder, "questions.jsonl", QUESTIONS_JSON + row.encode())
    assert "questions.jsonl, line 3: " in sentence
    assert problem in sentence
    assert len(sentence) < 700


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_another_encoding_is_told_so(folder, name):
    text = FILES[name].decode()
    assert f"{name}: is not UTF-8 (it looks like UTF-16, byte 0); save it as UTF-8" in told(
        folder, name, text.encode("utf-16")
    )
    assert f"{name}: is not UTF-8 (" in told(folder, name, text.encode() + b"\xff")


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_told_so_and_not_waited_for(folder, name):
    path = folder / name
    path.unlink()
    path.mkdir()
    assert f"{name}: is a folder; give a file" in told(folder, name)
    path.rmdir()
    os.mkfifo(path)
    assert f"{name}: is a pipe; give a file" in told(folder, name)
    path.unlink()
    path.symlink_to(path)
    assert f"{name}: cannot be read (Too many levels of symbolic links)" in told(folder, name)


@pytest.mark.parametrize("reader", [load_settings, load_models, read_templates, read_coco])
def test_a_name_that_no_file_can_have_is_told_in_short(reader):
    for name in ("x" * 5000, "a\0b", "y/" * 5000):
        with pytest.raises(AtlasError) as caught:
            reader(Path(name))
        assert len(str(caught.value)) < 600


# Tables


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs"), ("|", "'|'")])
@pytest.mark.parametrize("name", ["samples.csv", "objects.csv", "questions.csv"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_table_with_another_separator_is_told_so_in_one_sentence(folder, name, separator, called, quote):
    columns = FILES[name].decode().splitlines()[0].split(",")
    row = separator.join(f"{quote}{cell}{quote}" for cell in columns)
    sentence = told(folder, name, f"{row}\n{row}\n".encode())
    assert f"{name}, line 1: its cells are parted by {called}, not commas; save it as CSV with commas" in sentence
    assert "is missing" not in sentence
    assert f"{name}, line 1: its cells are parted by" in told(folder, name, f"sep={separator}\n{row}\n".encode())


@pytest.mark.parametrize("name", ["samples.csv", "objects.csv"])
def test_a_table_without_its_header_is_told_so_once(folder, name):
    lines = told(folder, name, FILES[name].split(b"\n", 1)[1]).splitlines()
    (line,) = (one for one in lines if name in one)
    assert line.startswith(f"  {name}, line 1: names none of the columns; write a first line that does: ")


def test_commas_and_other_signs_in_cells_are_no_separators(folder):
    text = 'image,query_type,query\na.png,seen,"Is it; a|b;c\td, or not?"\n'
    (folder / "questions.csv").write_text(text, encoding="utf-8")
    study = import_table(folder / "questions.csv", folder, {}, QUERY_TYPES)
    assert study.samples[0]["query"] == "Is it; a|b;c\td, or not?"


def test_an_open_quotation_mark_is_told_by_the_line_that_its_row_begins_in(folder):
    content = SAMPLES + b'b,a.png,q0,counting,"How many?,2,,,select\n' + b"x,y\n" * 40
    assert "which begins in line 3" in told(folder, "samples.csv", content)
    content = SAMPLES + b'b,a.png,q0,counting,"How many?,2,,,select\n' + b"x,y\n" * 100_000
    assert "which begins in line 3" in told(folder, "samples.csv", content)


@pytest.mark.parametrize("odd", ["\0", "\x07", "\x1b", "\x7f"])
@pytest.mark.parametrize("name", ["samples.csv", "objects.csv", "questions.csv"])
def test_control_characters_in_a_table_are_refused_with_their_line(folder, name, odd):
    content = FILES[name] + FILES[name].split(b"\n")[1].replace(b"a.png", f"a{odd}.png".encode())
    assert f"{name}, line 3: holds the character {odd!r}; take it out" in told(folder, name, content)


@pytest.mark.parametrize(
    ("expected", "hint"),
    [("1.5", "Known: '0', '1', '2'"), ("21", "Known: '0', '1', '2'"), ("1,0", "Known: '0', '1', '2'")],
)
def test_a_number_that_the_vocabulary_lacks_is_not_taken_for_one_that_looks_like_it(folder, expected, hint):
    sentence = told(folder, "samples.csv", SAMPLES.replace(b",2,,", f',"{expected}",,'.encode()))
    assert f"expected_answer '{expected}' is not in the vocabulary of query type 'counting'. {hint}" in sentence


@pytest.mark.parametrize("expected", ["2.0", "2.", "2e0", " 2 ", "２", "+2"])
def test_a_whole_number_is_the_answer_however_it_is_written(folder, expected):
    (folder / "samples.csv").write_bytes(SAMPLES.replace(b",2,,", f",{expected},,".encode()))
    assert read_study(folder, QUERY_TYPES).samples["expected_answer"].tolist() == [expected]


def test_a_picture_whose_name_has_other_capitals_is_named(folder):
    (folder / "images" / "a.png").rename(folder / "images" / "A.PNG")
    assert "; 'A.PNG' lies there in other capitals: rename the file" in told(folder, "samples.csv")


# Whatever bytes: a result, or a sentence of bounded length, in bounded time

ODD = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\t", b"\r", b"\n\n", b'"', b"'", b"\\", b"\\ud800", b"\\u0000", b"\x1b"),
    *(b"{", b"}", b"[", b"]", b":", b",", b";", b"|", b"- ", b"? ", b"&a ", b"*a", b"<<: ", b"!!set ", b"---\n", b"%"),
    *(
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"2024-01-01",
        b"010",
        b"1:30",
        b".inf",
        b"=",
        b"~",
        b"9" * 5000,
    ),
    *(b"[" * 2000, b"{" * 2000, b'{"a":' * 2000, b"- " * 2000, b"x" * 200_000, "e\u0301\u200b\u202e".encode(), b"../"),
)
CASES, SECONDS, LONGEST = 60, 5, 60_000


def damaged(content, draw):
    """A file of which some bytes are lost, doubled, swapped or odd."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(content) + 1)
        end = min(len(content), start + draw.choice((0, 1, 3, 20, 200)))
        part = content[start:end]
        before, after = content[:start], content[end:]
        content = draw.choice(
            (
                before + after,
                before,
                before + part + part + after,
                before + part * 50 + after,
                before + draw.choice(ODD) + after,
                before + draw.choice(ODD) + part + after,
                before + bytes(byte ^ (1 << draw.randrange(8)) for byte in part) + after,
            )
        )
    return content


@pytest.mark.parametrize("name", FILES)
def test_whatever_the_bytes_a_reader_gives_a_result_or_a_sentence(folder, name):
    draw = random.Random(name)
    for number in range(CASES):
        content = damaged(FILES[name], draw)
        (folder / name).write_bytes(content)
        begin = time.process_time()
        assert len(outcome(READERS[name], folder / name)) < LONGEST, (number, content[:2000])
        assert time.process_time() - begin < SECONDS, (number, content[:2000])


def outcome(reader, path):
    """What a reader says of a file: nothing, or why it refuses it."""
    try:
        reader(path)
    except AtlasError as error:
        return str(error)
    return ""
