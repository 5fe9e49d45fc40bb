"""The list of commands, and what `demitasse` alone understands."""

from __future__ import annotations

from typing import Annotated

import typer

from demitasse import __version__
from demitasse.cli import (
    analyze,
    environments,
    explain,
    logs,
    models,
    operate,
    plan,
    publish,
    rolling,
    status,
    up,
)

app = typer.Typer(
    name="demitasse",
    help="Serves many people's deep-learning models behind one HTTP API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"demitasse {__version__}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Serves many people's deep-learning models behind one HTTP API."""


_RUN, _MODELS, _USE = "Run the platform", "Models and versions", "Use it"

app.command(rich_help_panel=_RUN)(up.up)
app.command(rich_help_panel=_RUN)(status.status)
app.command(rich_help_panel=_RUN)(logs.logs)
app.command(rich_help_panel=_RUN)(rolling.restart)
app.command(rich_help_panel=_RUN)(rolling.reload)
app.add_typer(environments.app, name="env", rich_help_panel=_RUN)
app.command(rich_help_panel=_MODELS)(publish.publish)
app.command(rich_help_panel=_MODELS)(models.models)
app.command(rich_help_panel=_MODELS)(models.history)
app.command(rich_help_panel=_MODELS)(operate.tune)
app.command(rich_help_panel=_MODELS)(operate.alias)
app.command(rich_help_panel=_MODELS)(operate.serve)
app.command(rich_help_panel=_MODELS)(operate.retire)
app.command(rich_help_panel=_MODELS)(plan.plan)
app.command(rich_help_panel=_USE)(analyze.analyze)
app.command(rich_help_panel=_USE)(explain.explain)
