"""Every error Hermes raises on purpose.

    HermesError                 something a person can act on
    ├── ConfigError             a setting, a policy file or a credential file is wrong
    ├── ModelError              the model did not answer
    │   ├── AuthenticationError     the key is missing, wrong or not allowed this model
    │   ├── ContextFullError        the conversation does not fit the model's window
    │   ├── RefusedError            the provider declined: content filter, no credit, region
    │   ├── UnavailableError        rate limit, overload, no connection, broken stream: try later
    │   └── BadRequestError         the provider did not understand the request
    ├── ToolError               a tool call cannot be done; the text is for the model to read
    └── StoreError              a conversation or a task could not be stored

    Cancelled                   a signal, not a failure: the person stopped the work
    ApprovalPending             a signal: the turn cannot go on before somebody answers
    Parked                      a signal: a call was let go of with its turn, and goes on with it

The signals are no HermesError, so a handler for failures never swallows them.
"""

from collections.abc import Callable, Iterable


class HermesError(Exception):
    """A failure with advice.

    `str(error)` is one sentence saying what happened; `hint` is one saying what to do next,
    or "" when there is nothing to add. Neither ever holds a secret.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def explain(self) -> str:
        """The message and the hint, for showing to a person."""
        return f"{self} {self.hint}".strip()


class ConfigError(HermesError):
    """A setting, a policy file or a credential file is wrong."""


class ModelError(HermesError):
    """The model did not answer."""


class AuthenticationError(ModelError):
    """The key is missing, wrong, or not allowed to use this model."""


class ContextFullError(ModelError):
    """The conversation does not fit the model's context window."""


class RefusedError(ModelError):
    """The provider declined to answer: content filter, no credit, region."""


class UnavailableError(ModelError):
    """The model cannot be reached now; the same request may work later."""


class BadRequestError(ModelError):
    """The provider did not understand the request."""


class ToolError(HermesError):
    """A tool call cannot be done. The text is written for the model, which reads it as the result."""


class StoreError(HermesError):
    """A conversation or a task could not be stored."""


class Cancelled(Exception):  # noqa: N818  (a signal, not an error)
    """The work was stopped on request."""


class ApprovalPending(Exception):  # noqa: N818  (a signal, not an error)
    """The turn stops here until the approval request `request_id` is answered, and resumes from the store."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id


class Parked(Exception):  # noqa: N818  (a signal, not an error)
    """A tool call was let go of, because its turn is to be; both go on from what the store holds."""


def did_you_mean(
    name: str, known: Iterable[str], otherwise: str, *, cutoff: float = 0.6, show: Callable[[str], str] = str
) -> str:
    """A hint for a name that there is not: the nearest that there is, or else what to say instead."""
    import difflib

    near = difflib.get_close_matches(name, list(known), 1, cutoff)
    return f"Did you mean {show(near[0])}?" if near else otherwise
