"""Which shard a sample belongs to, and what of its rows the extraction depends on; standard library alone."""

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

# What the extraction reads of a row; the other columns mean something to the analysis alone.
EXTRACTED_COLUMNS = ("sample_id", "image", "query", "query_id", "query_type", "condition")


def shard_of(image: str, shards: int) -> str:
    """The shard of an image: a hash of its name, so that adding an image touches one shard."""
    return f"{int(hashlib.sha256(image.encode()).hexdigest(), 16) % shards:03d}"


def rows_by_shard(samples_csv: Path | str, shards: int) -> dict[str, list[dict[str, str]]]:
    """Shard -> its rows of samples.csv, in the table's order."""
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    with Path(samples_csv).open(newline="", encoding="utf-8-sig") as table:
        for row in csv.DictReader(table):
            rows[shard_of(row["image"], shards)].append(row)
    return dict(rows)


def digest(rows: Iterable[Mapping[str, str]]) -> str:
    """A hash of what the extraction reads of rows."""
    read = [[row.get(column) or "" for column in EXTRACTED_COLUMNS] for row in rows]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()[:16]
