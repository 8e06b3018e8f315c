"""Shards: which images go where, and which edits of samples.csv make the extraction run again."""

import csv
import hashlib

import pytest
from attention_atlas.errors import AtlasError
from attention_atlas.inputs.shards import digest, shard_of, shards_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COLUMNS = [
    *("sample_id", "image", "query_id", "query_type", "query"),
    *("expected_answer", "condition", "target_object", "split"),
]
EXTRACTED = ["sample_id", "image", "query", "query_id", "query_type", "condition"]
# A busy machine is no reason to fail.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Reading as text turns a carriage return inside a cell into a new line.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=12)


def row(image, **values):
    return dict.fromkeys(COLUMNS, "x") | {"image": image, "sample_id": f"of {image}"} | values


def write(path, rows, columns=COLUMNS):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def table(tmp_path):
    return tmp_path / "samples.csv"


def test_the_shard_of_a_known_name_is_that_of_the_published_hash():
    # FIPS 180-2, appendix B.1: the hash of "abc" ends in 15ad, and the last digits are the remainder by powers of 16.
    assert shard_of("abc", 16) == f"{0xD:03d}"
    assert shard_of("abc", 256) == f"{0xAD:03d}"
    assert shard_of("abc", 1) == "000"


@unhurried
@given(NAMES, st.integers(1, 999))
def test_the_shard_is_the_remainder_of_the_names_hash_in_three_digits(image, shards):
    remainder = int.from_bytes(hashlib.sha256(image.encode("utf-8")).digest(), "big") % shards
    assert shard_of(image, shards) == str(remainder).zfill(3)
    assert len(shard_of(image, shards)) == 3


def test_every_row_is_in_the_shard_of_its_image_in_the_order_of_the_table(table):
    rows = [row(f"{number % 7}.png", sample_id=f"s{number}") for number in range(40)]
    divided = shards_of(write(table, rows), 5)
    assert list(divided) == sorted({shard_of(one["image"], 5) for one in rows})
    numbered = [one | {"line": str(line)} for line, one in enumerate(rows, start=2)]
    for shard, mine in divided.items():
        assert mine == [one for one in numbered if shard_of(one["image"], 5) == shard]


def test_cells_that_a_short_row_lacks_are_empty(table):
    table.write_text(",".join(COLUMNS) + "\ns1,a.png\n")
    lacking = dict.fromkeys(COLUMNS, "") | {"sample_id": "s1", "image": "a.png", "line": "2"}
    assert shards_of(table, 1) == {"000": [lacking]}


def test_names_are_taken_as_written_with_byte_order_mark_or_lines_of_windows(table):
    rows = [row('ü, "数".png'), row("b\n.png")]
    plain = shards_of(write(table, rows), 3)
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert shards_of(table, 3) == plain
    assert sorted(one["image"] for mine in plain.values() for one in mine) == sorted(['ü, "数".png', "b\n.png"])


@unhurried
@given(st.lists(NAMES, min_size=1, max_size=8, unique=True), NAMES, st.integers(1, 9))
def test_adding_an_image_touches_its_own_shard_alone(tmp_path_factory, images, added, shards):
    table = tmp_path_factory.getbasetemp() / "shards.csv"
    rows = [row(image) for image in images if image != added]

    def digests(rows):
        return {shard: digest(mine) for shard, mine in shards_of(write(table, rows), shards).items()} if rows else {}

    before, after = digests(rows), digests([*rows, row(added)])
    assert {shard for shard in after if before.get(shard) != after[shard]} == {shard_of(added, shards)}
    assert before.keys() <= after.keys()


@pytest.mark.parametrize("column", [*COLUMNS, "line"])
def test_the_digest_changes_with_what_the_extraction_reads_and_with_nothing_else(column):
    rows = [row("a.png"), row("b.png")]
    edited = [rows[0], rows[1] | {column: "other"}]
    assert (digest(edited) != digest(rows)) == (column in EXTRACTED)


def test_the_digest_changes_with_the_order_and_the_number_of_rows():
    first, second = row("a.png"), row("b.png")
    assert len({digest(rows) for rows in ([first, second], [second, first], [first], [first, first], [])}) == 5


def test_the_digest_holds_the_columns_apart():
    assert digest([row("a", query="bc", query_id="d")]) != digest([row("a", query="b", query_id="cd")])


def test_the_digest_does_not_depend_on_the_order_of_the_columns():
    one = row("a.png")
    assert digest([dict(reversed(one.items()))]) == digest([one])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ": there is no such file"),
        (b"", ", line 1: column(s) missing: sample_id, image, query, query_id, query_type, condition"),
        (b"sample_id,image,query\n", ", line 1: column(s) missing: query_id, query_type, condition"),
        (",".join(COLUMNS).encode() + b"\n", ": has no samples"),
        (",".join(COLUMNS).encode() + b"\ns1,a.png,q,t,what\ns2,,q,t,what\n", ", line 3: image is empty"),
        (",".join(COLUMNS).encode() + b"\ns1\n", ", line 2: image is empty"),
        (",".join(COLUMNS).encode() + b"\n\xff,a.png\n", ": is not UTF-8"),
        (",".join(COLUMNS).encode() + b'\n"s1"x,a.png\n', ": cannot be read as CSV"),
        (",".join(COLUMNS).encode() + b'\n"s1,a.png\n', ": cannot be read as CSV"),
    ],
    ids=["no file", "no content", "columns missing", "no rows", "no image", "short row", "not UTF-8", "quote", "open"],
)
def test_a_table_that_cannot_be_divided_is_told_with_its_line(table, content, told):
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(AtlasError) as caught:
        shards_of(table, 4)
    assert str(caught.value).startswith(f"{table}{told}")
