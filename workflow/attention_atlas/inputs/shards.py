"""Which shard a sample belongs to, and what of its rows the extraction depends on; standard library alone."""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from attention_atlas.errors import AtlasError
from attention_atlas.reading import read_text

# What the extraction reads of a row; the other columns mean something to the analysis alone.
EXTRACTED_COLUMNS = ("sample_id", "image", "query", "query_id", "query_type", "condition")


def shard_of(image: str, shards: int) -> str:
    """The shard of an image: a hash of its name, so that adding an image touches one shard."""
    return f"{int(hashlib.sha256(image.encode()).hexdigest(), 16) % shards:03d}"


def shards_of(samples_csv: Path | str, shards: int) -> dict[str, list[dict[str, str]]]:
    """Shard -> its rows of samples.csv with their `line`, in the table's order; shards without an image are left out.

    Refuses a table that cannot be divided; whether the rows themselves are in order is for `read_study` to say.
    """
    rows: dict[str, list[dict[str, str]]] = {}
    for line, row in rows_of(Path(samples_csv)):
        if not row["image"]:
            raise AtlasError(f"{samples_csv}, line {line}: image is empty; see all problems with `atlas validate`")
        rows.setdefault(shard_of(row["image"], shards), []).append({**row, "line": str(line)})
    if not rows:
        raise AtlasError(f"{samples_csv}: has no samples")
    return dict(sorted(rows.items()))


def rows_of(table: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV with the line that each ends in; cells that a short row lacks are empty."""
    text = read_text(table, "there is no such file; a study is data/<study>/samples.csv and more")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise AtlasError(f"{table}: cannot be read as CSV ({error}); see where with `atlas validate`") from None
    missing = [column for column in EXTRACTED_COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise AtlasError(f"{table}, line 1: column(s) missing: {', '.join(missing)}")
    return rows


def digest(rows: Iterable[Mapping[str, str]]) -> str:
    """A hash of what the extraction reads of rows."""
    read = [[row[column] for column in EXTRACTED_COLUMNS] for row in rows]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()[:16]
