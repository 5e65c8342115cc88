"""How many tokens a model's window holds: as its server says, as the catalog knows, as the price list has it."""

import sys

from agent.cancel import CancelToken
from agent.config import ModelChoice
from agent.errors import ModelError
from agent.models import catalog, prices

_told: dict[tuple[str, str], int] = {}
"""What servers said, by (base_url, model); "" is the model an endpoint gives to who names none."""
_asked: set[str] = set()
"""Endpoints that were asked."""


def learn(base_url: str, windows: dict[str, int]) -> None:
    """Keep what an endpoint's list of models says; 0 is no answer."""
    _asked.add(base_url)
    _told.update({(base_url, model): tokens for model, tokens in windows.items() if tokens})
    if first := next(iter(windows), ""):
        _told.setdefault((base_url, ""), windows[first])


def known(choice: ModelChoice) -> int:
    """Tokens that fit, 0 when nobody here knows. Quick: no network, and nothing slow to import."""
    told = _told.get((choice.base_url, choice.model)) or catalog.context_window(choice.model)
    if told or "genai_prices" not in sys.modules:
        return told or 0
    return prices.window(choice)


def found(choice: ModelChoice, cancel: CancelToken) -> int:
    """As `known`; an endpoint that was not asked yet is, which may take some seconds. Raises: Cancelled."""
    tokens = known(choice)
    if tokens or not choice.base_url or choice.base_url in _asked:
        return tokens
    _asked.add(choice.base_url)
    from agent.models.openai import list_models

    try:
        list_models(choice, cancel=cancel)
    except ModelError:
        return 0
    return known(choice)
