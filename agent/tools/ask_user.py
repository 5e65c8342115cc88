"""Asking the person. The gate puts the question, as it puts any other; what it brings back is the answer."""

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent.approvals import NO_ANSWER
from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, ToolContext, ToolResult
from agent.tools.output import printable
from agent.tools.prose import prose

MOST_CHOICES = 8

TITLE = 120
"""Characters of the question on one line."""

Choice = Annotated[str, Meta(min_length=1, max_length=200)]


class AskUserArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: Annotated[str, Meta(min_length=1, max_length=2_000, description="What you want to know.")]
    choices: Annotated[
        tuple[Choice, ...], Meta(max_length=MOST_CHOICES, description="Likely answers, a few words each.")
    ] = ()


class AskUser:
    """Runs when it is answered already: the answer is in `context.approved`."""

    name = "ask_user"
    arguments = AskUserArguments

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: AskUserArguments, context: ToolContext) -> Action:
        del context
        question = printable(args.question).strip()
        choices = tuple(" ".join(printable(choice).split()) for choice in args.choices)
        if not question:
            raise ToolError("The question is empty.")
        if not all(choices) or NO_ANSWER in choices or len({choice.casefold() for choice in choices}) < len(choices):
            raise ToolError("Each choice must be a different answer, in words.")
        line = " ".join(question.split())
        return Action("ask", line if len(line) <= TITLE else f"{line[:TITLE]}…", choices=choices)

    def preview(self, args: AskUserArguments, context: ToolContext) -> str:
        choices = self.plan(args, context).choices
        numbered = [f"{number}. {choice}" for number, choice in enumerate(choices, 1)]
        return "\n".join([printable(args.question).strip(), *numbered])

    def run(self, args: AskUserArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        if context.approved is None or not (answer := context.approved.answer):
            raise ToolError("Nobody was asked.")
        chosen = " (one of your choices)" if answer in context.approved.action.choices else ""
        summary = " ".join(answer.split())
        content = f"The person answers{chosen}, in their own words:\n{answer}"
        return ToolResult(content, summary=summary, display=answer, own=True)


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = AskUser()
