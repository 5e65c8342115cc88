"""Looking after the commands that run in the background."""

import time
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, ToolContext, ToolResult, Verbatim
from agent.tools.bench import Workbench
from agent.tools.jobs import Job
from agent.tools.output import printable
from agent.tools.prose import prose

LONGEST_TEXT = 4_000
"""Characters written at once."""


class ProcessArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    action: Annotated[
        Literal["list", "poll", "tail", "write", "close", "wait", "kill"],
        Meta(description="poll: state and new output; tail: the last lines; close: end its input."),
    ]
    id: Annotated[str, Meta(description="Such as p1; not for list.")] = ""
    text: Annotated[str, Meta(max_length=LONGEST_TEXT, description="For write, with its newline.")] = ""
    lines: Annotated[int, Meta(ge=1, le=2000, description="For tail.")] = 40
    seconds: Annotated[float, Meta(gt=0, le=3600, description="For wait: at most so long.")] = 60.0


class Process:
    """Lists, reads, writes to, waits for and ends background commands of this session."""

    name = "process"
    arguments = ProcessArguments

    def __init__(self, bench: Workbench | None = None) -> None:
        self._jobs = (bench or Workbench()).jobs

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: ProcessArguments, context: ToolContext) -> Action:
        if args.action == "list":
            return Action("read", "background commands", (context.cwd,))
        job = self._jobs.find(args.id)
        if args.action != "write":
            # They are its own, and were agreed to when they began: ending one needs no second yes.
            return Action("read", f"{args.action} {job.id}", (context.cwd,))
        if not args.text:
            raise ToolError("There is no text to write.")
        import shlex

        # What it amounts to, so that rules about programs that run what they read count here, too.
        command = f"printf %s {shlex.quote(args.text)} | {job.running.spawn.command}"
        return Action("execute", f"write to {job.id}", command=command, directory=job.running.spawn.cwd)

    def preview(self, args: ProcessArguments, context: ToolContext) -> str:
        del context
        return f"{args.text}\n# to {args.id}: {self._jobs.find(args.id).running.spawn.command}" if args.text else ""

    def run(self, args: ProcessArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        if args.action == "list":
            found = [job.line(context.redact) for job in self._jobs.all()]
            text = "\n".join(found) or "No command runs in the background."
            return ToolResult(text, summary=f"{len(found)}", display=text, own=True)
        job = self._jobs.find(args.id)
        match args.action:
            case "tail":
                text = job.after(0, context.redact)[0]
                return _told(job, "\n".join(text.rstrip("\n").split("\n")[-args.lines :]))
            case "write":
                job.running.write(args.text.encode(errors="replace"))
                _settle(job, cancel)
            case "close":
                job.running.end_input()
                _settle(job, cancel)
            case "wait":
                job.running.wait(args.seconds, cancel)
                cancel.raise_if_cancelled()
            case "kill" if not job.running.over:
                job.running.stop(leftovers_only=False)
        return _told(job, job.news(context.redact))


def _settle(job: Job, cancel: CancelToken) -> None:
    """A moment for the answer to what was written: until some came and no more follows."""
    before, deadline = job.position, time.monotonic() + 1.0
    seen = before
    while time.monotonic() < deadline and not cancel.wait(0.1):
        now = job.after(seen, Verbatim())[1]
        if now > before and now == seen:
            break
        seen = now


def _told(job: Job, text: str) -> ToolResult:
    text = printable(text)
    body = text if not text or text.endswith("\n") else f"{text}\n"
    return ToolResult(f"{body}[{job.id}: {job.state}]", summary=job.state, display=text, own=not text)


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = Process()
