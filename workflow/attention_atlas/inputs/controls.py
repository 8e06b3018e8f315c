"""Control conditions: what else is asked of which picture, and how its samples are named."""

import re


def source_of(sample_id: str, condition: str) -> str:
    """The study's sample behind a sample of a condition: its id without ".<condition>" and a number behind that."""
    return re.sub(rf"\.{re.escape(condition)}(\.\d+)?$", "", sample_id)
