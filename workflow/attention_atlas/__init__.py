"""Attention Atlas: where a vision-language model looks while it answers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attention_atlas.store import open_run as open
    from attention_atlas.store import sample

__all__ = ["open", "sample"]


def __getattr__(name: str) -> Any:
    """`open` and `sample` on first use: the Snakefile imports this package while it parses, without xarray."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from attention_atlas import store

    return {"open": store.open_run, "sample": store.sample}[name]


def __dir__() -> list[str]:
    """The module's names with the public functions, which are there on first use alone."""
    return sorted({*globals(), *__all__})
