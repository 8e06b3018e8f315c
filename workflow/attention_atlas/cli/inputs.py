"""Commands of the phase inputs."""

import typer


def add_commands(app: typer.Typer) -> None:
    """Register this phase's commands."""
