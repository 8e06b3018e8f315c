"""Commands of the phase paper."""

import typer


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
