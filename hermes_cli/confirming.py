"""Sub-commands that delete ask first."""

import sys
from typing import Annotated

import typer

from hermes_cli.options import UsageError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]


def confirm(question: str, yes: bool) -> None:
    """Go on only with a yes. Raises: UsageError where nobody can say it, typer.Abort on a no."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"{question} Nobody is there to say yes.", hint="Add --yes.")
    typer.confirm(question, abort=True)
