"""Attention Atlas: where a vision-language model looks while it answers."""

from attention_atlas.store import open_run as open
from attention_atlas.store import sample

__all__ = ["open", "sample"]
