"""Commands of the phase reference_model."""

import typer


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
