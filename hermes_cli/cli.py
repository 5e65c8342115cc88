"""Sub-commands and --help, with typer. Not imported for the REPL or for -p."""

import inspect
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]

from agent.config import (
    Config,
    Directories,
    directories,
    load_config,
    read_keys,
    set_value,
    setting_fields,
    store_key,
    summary,
)
from agent.errors import ConfigError, HermesError, did_you_mean
from agent.findings import Finding
from agent.models import catalog
from hermes_cli import tasks_cli, tools_cli
from hermes_cli.editor import edit
from hermes_cli.options import OPTIONS, SUBCOMMANDS, Option, UsageError
from hermes_cli.sessions_cli import backup, sessions_app, titles
from hermes_cli.task_facts import in_shell

Checks = Callable[[Config], Iterator[Finding]]

app = typer.Typer(
    name="hermes",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Without a sub-command: the prompt. `hermes "prompt"` starts it with that first prompt.',
)
config_app = typer.Typer(help=SUBCOMMANDS["config"], rich_markup_mode=None, no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(sessions_app, name="sessions")
app.command(help=SUBCOMMANDS["backup"])(backup)
app.add_typer(tasks_cli.app, name="tasks")
app.add_typer(tools_cli.app, name="tools")


def nothing_more(config: Config) -> Iterator[Finding]:
    """Where there is no other front end to check."""
    yield from ()


def run(arguments: Sequence[str], others: Mapping[str, typer.Typer], checks: Checks = nothing_more) -> int:
    """Run typer on the whole command line and return its exit code.

    `others` are front ends of their own, and `checks` what `doctor` has to look at for them.

    Raises: HermesError.
    """
    completion_init()
    there = {group.name for group in app.registered_groups}
    for name, other in others.items():
        if name not in there:
            app.add_typer(other, name=name)
    command = typer.main.get_command(app)
    try:
        result = command.main(list(arguments), prog_name="hermes", standalone_mode=True, obj=checks)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 0
    except HermesError as error:
        error.args, error.hint = (in_shell(str(error)),), in_shell(error.hint)
        raise
    return int(result or 0)


def _root(**_values: Any) -> None:
    """An agent that lives in the terminal."""


def _annotation(option: Option) -> Any:
    completed = titles if option.name == "resume" else None
    declared = typer.Option(*option.flags, help=option.summary, autocompletion=completed)
    return Annotated[bool, declared] if option.kind == "flag" else Annotated[str | None, declared]


# The options are told to typer from the table, so that --help and the reader cannot disagree.
_root.__annotations__ = {option.name: _annotation(option) for option in OPTIONS}
_root.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if option.kind == "flag" else None,
            annotation=_annotation(option),
        )
        for option in OPTIONS
    ]
)
app.callback()(_root)


def _names() -> list[str]:
    return [
        name for row in catalog.PROVIDERS for name in (row.name, *(f"{row.name}:{model_id}" for model_id in row.models))
    ]


@app.command(help=SUBCOMMANDS["model"])
def model(
    name: Annotated[str, typer.Argument(help="provider, provider:model, or a model id", autocompletion=_names)] = "",
    key: Annotated[bool, typer.Option("--key", help="ask for the provider's API key and store it")] = False,
) -> None:
    dirs = directories()
    if not name:
        name = _pick()
    provider, _, model_id = name.partition(":")
    row = catalog.find(provider)
    if row is None:
        values = load_config().values
        asked = catalog.asked_for(name, values, None)
        if hint := did_you_mean(provider, (row.name for row in catalog.PROVIDERS), "", cutoff=0.8):
            raise HermesError(f"There is no provider {provider!r}.", hint=hint)
        # Stored without anybody to ask, it would stop every later start. Raises: ConfigError.
        catalog.in_force(asked, keys=read_keys(dirs))
        if asked.provider != values.provider:
            set_value(dirs, "provider", asked.provider)
        set_value(dirs, "model", name)
        typer.echo(f"model = {name}")
        return
    if key or (row.key_variable and not os.environ.get(row.key_variable) and _interactive()):
        _ask_key(dirs, row.name, row.key_variable)
    values = load_config().values
    if values.base_url and row.name not in (values.provider or "custom", "custom"):
        # It is another provider's: this one's key must not be sent there.
        set_value(dirs, "base_url", "")
    if row.name == "custom" and not values.base_url:
        set_value(dirs, "base_url", typer.prompt("Address of the endpoint (ends in /v1)"))
    set_value(dirs, "provider", row.name)
    set_value(dirs, "model", model_id)
    typer.echo(f"{row.title}: {model_id or row.default_model or 'the first model it lists'}")


def _pick() -> str:
    """Ask which provider, by number or name."""
    if not _interactive():
        raise HermesError("Which model?", hint="Example: hermes model openai:gpt-5-mini")
    rows = list(catalog.PROVIDERS)
    for number, row in enumerate(rows, 1):
        ready = " (key found)" if row.key_variable and os.environ.get(row.key_variable) else ""
        typer.echo(f"{number:>3}  {row.name:<12} {row.title}{ready}")
    answer = str(typer.prompt("Provider")).strip()
    if answer.isdecimal() and 1 <= int(answer) <= len(rows):
        answer = rows[int(answer) - 1].name
    row = catalog.provider(answer)
    model_id = str(typer.prompt("Model", default=row.default_model or "", show_default=bool(row.default_model)))
    return f"{row.name}:{model_id}"


def _ask_key(dirs: Directories, provider: str, variable: str) -> None:
    hint = f" (empty: leave it to {variable})" if variable else ""
    key = str(typer.prompt(f"API key for {provider}{hint}", hide_input=True, default="", show_default=False)).strip()
    if key:
        store_key(dirs, provider, key)
        typer.echo(f"Stored in {dirs.credentials_file}, readable by you only.")


def _interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


@config_app.command("show", help="every setting, its value, and where that comes from")
def config_show() -> None:
    config = load_config()
    for name in setting_fields():
        typer.echo(f"{name:<20} {getattr(config.values, name)!r:<24} {config.origins[name]}")


@config_app.command("get", help="the value of one setting")
def config_get(name: Annotated[str, typer.Argument(autocompletion=lambda: list(setting_fields()))]) -> None:
    if name not in setting_fields():
        raise ConfigError(f"No setting is called {name!r}.", hint="See `hermes config show`.")
    typer.echo(getattr(load_config().values, name))


@config_app.command("set", help="store a value in your own config.toml")
def config_set(name: Annotated[str, typer.Argument(autocompletion=lambda: list(setting_fields()))], value: str) -> None:
    stored = set_value(directories(), name, value)
    typer.echo(f"{name} = {stored!r}  ({summary(name)})")


@config_app.command("path", help="where your config.toml is")
def config_path() -> None:
    typer.echo(directories().config_file)


@config_app.command("edit", help="open your config.toml in $VISUAL or $EDITOR")
def config_edit() -> None:
    path = directories().config_file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        rows = (f"# {item.metadata['summary']}\n# {name} = …\n" for name, item in setting_fields().items())
        path.write_text("\n".join(rows), "utf-8")
    edit(path)
    load_config()
    typer.echo(f"{path} is well-formed.")


@app.command(help=SUBCOMMANDS["worker"])
def worker(
    idle: Annotated[float, typer.Option("--idle", min=0, help="leave after so many seconds without a task")] = 60.0,
    once: Annotated[bool, typer.Option("--once", help="leave as soon as none is left")] = False,
) -> None:
    from hermes_cli.worker import work

    raise typer.Exit(work(idle=idle, once=once))


@app.command(help=SUBCOMMANDS["doctor"])
def doctor(context: typer.Context) -> None:
    from hermes_cli.doctor import check

    findings = []
    try:
        config = load_config()
    except ConfigError as error:
        typer.echo(Finding(False, str(error), error.hint).line())
        raise typer.Exit(1) from error
    checks: Checks = context.obj or nothing_more
    for finding in itertools.chain(check(config), checks(config)):
        typer.echo(finding.line())
        findings.append(finding)
    raise typer.Exit(1 if any(finding.ok is False for finding in findings) else 0)


@app.command(help=SUBCOMMANDS["completion"])
def completion(shell: Annotated[str, typer.Argument(help="bash, zsh, fish or powershell")] = "bash") -> None:
    from typer._completion_shared import get_completion_script

    if shell not in ("bash", "zsh", "fish", "powershell"):
        raise UsageError(f"No completion for {shell!r}.", hint="There is: bash, zsh, fish, powershell.")
    typer.echo(get_completion_script(prog_name="hermes", complete_var="_HERMES_COMPLETE", shell=shell))
