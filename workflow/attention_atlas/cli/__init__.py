"""The command line: each phase adds its commands; a command imports its phase only when it runs."""

import typer

from attention_atlas.cli import analysis, attention, inputs, paper, reference_model

app = typer.Typer(
    name="atlas",
    help="Where a vision-language model looks while it answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for phase in (inputs, attention, analysis, paper, reference_model):
    phase.add_commands(app)
