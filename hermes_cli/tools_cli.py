"""`hermes tools`: which tools the agent has."""

from typing import Annotated

import typer

from agent.config import load_config
from agent.tools import NAMES
from hermes_cli.options import SUBCOMMANDS
from hermes_cli.tool_switches import rows, switch

app = typer.Typer(help=SUBCOMMANDS["tools"], rich_markup_mode=None, invoke_without_command=True)

Names = Annotated[list[str], typer.Argument(metavar="NAME…", autocompletion=lambda: list(NAMES))]


@app.callback()
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_()


@app.command("list", help="every tool, and whether it is on")
def list_() -> None:
    for row in rows(load_config()):
        typer.echo(f"{row.name:<15} {row.state:<10} {row.summary}".rstrip())


@app.command("on", help="give the agent tools back, from the next conversation on")
def on(names: Names) -> None:
    switch(load_config(), names, on=True)
    typer.echo(f"On from the next conversation on: {', '.join(names)}")


@app.command("off", help="take tools from the agent, from the next conversation on")
def off(names: Names) -> None:
    switch(load_config(), names, on=False)
    typer.echo(f"Off from the next conversation on: {', '.join(names)}")
