"""Running a shell command, and leaving nothing of it behind."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, Redact, ToolContext, ToolResult
from agent.tools.bench import Workbench
from agent.tools.files import text_limit
from agent.tools.output import described_exit, printable
from agent.tools.prose import prose

if TYPE_CHECKING:
    from agent.tools.running import Running, Spawn

FIRST_LOOK = 0.5
"""Seconds a command in the background is given to fail at once."""


class TerminalArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: Annotated[str, Meta(min_length=1, description="The command line, for bash where there is one.")]
    timeout: Annotated[float, Meta(gt=0, le=86_400, description="Seconds after which it is stopped.")] | None = None
    background: Annotated[bool, Meta(description="Return at once; go on with `process`.")] = False
    pty: Annotated[bool, Meta(description="Give it a terminal.")] = False
    keep: Annotated[bool, Meta(description="In the background: let it outlive this session.")] = False


class SandboxedArguments(TerminalArguments, frozen=True, forbid_unknown_fields=True):
    outside: Annotated[bool, Meta(description="Run it outside of the sandbox; the person is asked.")] = False


class Terminal:
    """Runs a command in a fresh shell with its own process group, where the one before it ended."""

    name = "terminal"

    def __init__(self, bench: Workbench | None = None) -> None:
        self._bench = bench or Workbench()

    @property
    def arguments(self) -> type[TerminalArguments]:
        sandbox = self._bench.sandbox
        return SandboxedArguments if sandbox and not sandbox.must else TerminalArguments

    @property
    def description(self) -> str:
        sandbox = self._bench.sandbox
        return f"{prose(__file__)}\n{sandbox.told}" if sandbox else prose(__file__)

    def plan(self, args: TerminalArguments, context: ToolContext) -> Action:
        if not args.command.strip():
            raise ToolError("The command is empty.")
        if "\0" in args.command:
            raise ToolError("A command cannot hold a NUL character.")
        if args.keep and not args.background:
            raise ToolError("Only a command in the background can be kept.")
        aside = " (kept running)" if args.keep else " (in the background)" if args.background else ""
        return Action(
            "execute",
            _title(args.command, context.redact) + aside,
            command=args.command,
            directory=self._directory(context),
            outside=self._is_outside(args),
            confined=self._bench.sandbox is not None and self._bench.sandbox.confines and not self._is_outside(args),
        )

    def preview(self, args: TerminalArguments, context: ToolContext) -> str:
        directory = self._directory(context)
        there = f"\n# in {directory}" if directory != context.cwd else ""
        aside = "\n# in the background, also after Hermes has ended" if args.keep else ""
        outside = "\n# outside of the sandbox" if self._is_outside(args) else ""
        return f"{args.command}{there}{aside}{outside}"

    def run(self, args: TerminalArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        from agent.tools.running import Running, Spawn  # psutil is loaded with the first command, not before

        cancel.raise_if_cancelled()
        directory = (context.approved.action.directory if context.approved else None) or self._directory(context)
        spawn = Spawn(
            args.command,
            directory,
            text_limit(context.output_limit),
            args.pty,
            args.background,
            prefix=(wall := self._wall(args, directory, context)),
            guard=self._bench.sandbox.guard(context.cwd) if wall and self._bench.sandbox else None,
        )
        if args.background:
            return self._run_aside(args, spawn, context, cancel)
        command = Running(spawn)
        seconds = args.timeout or context.command_timeout
        finished = command.wait(seconds, cancel)
        if not (finished or cancel.cancelled or args.timeout):
            job = self._bench.jobs.add(command)
            return _aside(
                job.id, job.news(context.redact), f"still running after {seconds:g}s, and goes on as {job.id}"
            )
        stopped = command.stop(leftovers_only=finished)
        cancel.raise_if_cancelled()
        output = command.output.text(context.redact)
        if not finished:
            summary = f"timed out after {seconds:g}s"
            refused = f"; {command.refused}" if command.refused else ""
            result = _result(output, summary, f"[{summary}; it was stopped, with its child processes{refused}]", None)
        else:
            result = self._finished(command, output, stopped)
        return replace(result, whole=command.output.whole(context.redact))

    def _finished(self, command: "Running", output: str, stopped: int) -> ToolResult:
        code, summary = described_exit(command.exit_status)
        also = f"; {stopped} background process{'es' * (stopped != 1)} stopped" if stopped else ""
        if command.cwd is not None and command.cwd != command.spawn.cwd.resolve():
            self._bench.directory = command.cwd
            also += f"; the shell is now in {command.cwd}"
        if code and command.spawn.prefix and self._bench.sandbox and not self._bench.sandbox.must:
            also += "; it ran in the sandbox: if that is why it failed, run it with outside=true, which asks the person"
        if command.refused:
            summary, also = f"{summary}; {command.refused}", f"{also}; {command.refused}"
        return _result(output, summary, f"[{described_exit(command.exit_status)[1]}{also}]", code)

    def _is_outside(self, args: TerminalArguments) -> bool:
        """Whether it leaves a sandbox that is asked for: because it is told to, or because there is none that works.

        Raises: ToolError for one that must hold it.
        """
        sandbox = self._bench.sandbox
        if sandbox is None:
            return False
        leaves = getattr(args, "outside", False) or not sandbox.works
        if leaves and sandbox.must:
            why = "and may not leave it" if sandbox.works else "and none works on this machine"
            raise ToolError(f"Commands run only in a sandbox for whoever sent this, {why}.")
        return leaves

    def _wall(self, args: TerminalArguments, directory: Path, context: ToolContext) -> tuple[str, ...]:
        sandbox = self._bench.sandbox
        if sandbox is None or self._is_outside(args):
            return ()
        self._bench.masked |= sandbox.masks(context.cwd)
        return tuple(sandbox.prefix(context.cwd, directory, pty=args.pty, keep=args.keep))

    def _run_aside(
        self, args: TerminalArguments, spawn: "Spawn", context: ToolContext, cancel: CancelToken
    ) -> ToolResult:
        from agent.tools.running import Running

        jobs = self._bench.jobs
        jobs.require_room()
        command = Running(replace(spawn, log=jobs.log()) if args.keep else spawn)
        job = jobs.add(command)
        if command.wait(FIRST_LOOK, cancel):
            code, summary = described_exit(command.exit_status)
            return _result(job.news(context.redact), summary, f"[{job.id} has ended already: {summary}]", code)
        log = f"; its output goes to {command.spawn.log}" if command.spawn.log else ""
        return _aside(job.id, job.news(context.redact), f"{job.id} runs in the background, pid {command.pid}{log}")

    def _directory(self, context: ToolContext) -> Path:
        """Where the next shell starts: where the last one ended, if that is still there."""
        there = self._bench.directory
        return there if there is not None and there.is_dir() else context.cwd


def _title(command: str, redact: Redact) -> str:
    first, *more = command.strip().splitlines()
    return f"{redact.part(first, 0, 79)}…" if more or len(first) > 80 else first


def _aside(job_id: str, output: str, what: str) -> ToolResult:
    output = printable(output)
    body = output if not output or output.endswith("\n") else f"{output}\n"
    content = f"{body}[{what}; see it with process, id {job_id}]"
    return ToolResult(content, summary=f"runs as {job_id}", display=output, own=not output)


def _result(output: str, summary: str, trailer: str, code: int | None) -> ToolResult:
    body = output if not output or output.endswith("\n") else f"{output}\n"
    return ToolResult(body + trailer, summary=summary, display=output, ok=code == 0, exit_code=code, own=not output)


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = Terminal()
