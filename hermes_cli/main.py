"""`hermes`: the one place that chooses which front end runs. It imports each only when it is chosen.

Exit codes: 0 ok, 1 failed, 2 usage, 3 a limit was reached, 75 try again later, 130 interrupted.
"""

import gc
import os
import sys

TYPE_CHECKING = False  # as `typing` has it; importing that would be a tenth of `hermes --version`
if TYPE_CHECKING:
    from pathlib import Path
    from typing import NoReturn

    from agent.config import Config
    from hermes_cli.options import Request
    from hermes_cli.setup import LoadPolicy


def main() -> "NoReturn":
    """The console script."""
    arguments = sys.argv[1:]
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by whoever started us
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        getattr(sys, stream).reconfigure(errors="replace")
    if arguments in (["--version"], ["-V"]):
        sys.exit(_version())
    # What is imported stays; looking for garbage among it only delays the prompt.
    gc.disable()
    from agent.errors import ConfigError, HermesError

    try:
        code = _run(arguments)
    except HermesError as error:
        from hermes_cli.options import UsageError

        sys.stderr.write(f"hermes: {error.explain()}\n")
        code = 2 if isinstance(error, UsageError | ConfigError) else 1
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        # Whoever read our output has gone, or has no room; the interpreter's last flush must not complain too.
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"hermes: {error.strerror or error}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _version() -> int:
    from agent import __version__

    sys.stdout.write(f"hermes {__version__}\n")
    return 0


def _run(arguments: list[str]) -> int:
    from hermes_cli import options

    request = options.read(arguments)
    if request.help or request.subcommand or "_HERMES_COMPLETE" in os.environ:
        from gateway.cli import APPS, findings
        from hermes_cli.cli import run

        return run(arguments, APPS, findings)
    if request.flag("version"):
        return _version()
    if not request.flag("print") and request.text("output_format"):
        raise options.UsageError("--output-format goes with -p.")
    if request.flag("worktree") and request.wanted() is not None:
        raise options.UsageError("--worktree begins a session; -c and -r go on with one where it worked.")
    from hermes_cli.setup import prepare

    config, policy, cwd = prepare(request)
    if not request.flag("worktree"):
        return _begin(request, config, policy, cwd)
    from hermes_cli import own_tree

    tree = own_tree.enter(cwd, config.dirs.state)
    try:
        return _begin(request, config, policy, tree.cwd)
    finally:
        own_tree.leave(tree, config)


def _begin(request: "Request", config: "Config", policy: "LoadPolicy", cwd: "Path") -> int:
    if request.flag("print"):
        from hermes_cli.print_mode import answer

        return answer(request, config, policy, cwd)
    return _talk(request, config, policy, cwd)


def _talk(request: "Request", config: "Config", policy: "LoadPolicy", cwd: "Path") -> int:
    """The REPL, or plain lines where there is no terminal to draw on."""
    import asyncio

    plain = request.flag("plain") or os.environ.get("TERM", "dumb") == "dumb"
    if plain or not (sys.stdin.isatty() and sys.stdout.isatty()):
        from hermes_cli.plain import PlainScreen

        async def talk() -> None:
            await PlainScreen(config, policy, cwd=cwd).run(request.prompt or "", request.wanted())
    else:
        from hermes_cli.repl import Repl

        async def talk() -> None:
            await Repl(config, policy, cwd=cwd).run(request.prompt or "", request.wanted())

    # A key must not wait long for a thread that streams; see KeyboardFirst.
    sys.setswitchinterval(0.0005)
    gc.freeze()
    gc.enable()
    asyncio.run(talk())
    return 0


if __name__ == "__main__":
    main()
