"""Events that leave the agent hold no secret, whichever of their texts it is in."""

from dataclasses import fields

import pytest

from agent.events import ApprovalRequested, ApprovalSettled, Event, TurnFinished, TurnSuspended, cleaned
from agent.redact import Redactor

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "event",
    [
        ApprovalRequested("r", "c", "terminal", "execute", SECRET, SECRET, "/", SECRET, why=f"a rule forbids {SECRET}"),
        ApprovalSettled("r", False, f"not {SECRET}"),
        TurnSuspended(reason=f"it met {SECRET}"),
        TurnFinished("failed", "", error=SECRET, hint=SECRET),
    ],
)
def test_no_text_of_an_event_holds_a_secret(event: Event) -> None:
    clean = cleaned(event, Redactor([SECRET]))
    assert not [one.name for one in fields(clean) if SECRET in str(getattr(clean, one.name))]
