"""From what servers and networks say went wrong to the error tree, with advice.

Vendors agree on little beyond the status; the patterns below are words from their answers.
"""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from urllib.parse import urlsplit

from agent.config import ModelChoice
from agent.errors import (
    AuthenticationError,
    BadRequestError,
    ContextFullError,
    ModelError,
    RefusedError,
    UnavailableError,
)
from agent.models import catalog
from agent.models._wire import Failure
from agent.redact import SHORTEST_SECRET

_CONTEXT_FULL = re.compile(
    r"context_length_exceeded|exceed_context_size|model_context_window|string_above_max_length|request_too_large"
    r"|context (length|window|size)|maximum context|max_model_len|prompt is too long"
    r"|(prompt|input|request).{0,30}too (long|large)"
    r"|input token count|too many (input )?tokens|reduce the length"
    r"|exceeds? the (maximum|available|model'?s?).{0,40}(token|context)"
    r"|maximum (prompt|input|sequence) length|longer than the (maximum|model)"
)
_FILTERED = re.compile(
    r"content_filter|content_policy|content management policy|responsibleaipolicy|moderation|flagged|safety"
    r"|usage policy|prompt was blocked|invalid_prompt"
)
_NO_CREDIT = re.compile(
    r"insufficient.{0,12}(quota|credit|balance|funds)|credit balance|exceeded your current quota|billing"
    r"|payment required"
)
_REGION = re.compile(r"country|region|territory|location is not supported")
_NO_MODEL = re.compile(
    r"model_not_found|unknown_model|invalid model|no such model"
    r"|model.{0,80}(not found|does not exist|is not available|not exist)"
)
_KEY = re.compile(r"(?:bearer\s+\S+|\b(?:sk|pk|gsk|xai|key|nvapi|tgp|hf|AIza)[-_][\w.*\-]{6,}|\bAIza[\w\-]{10,})", re.I)


def from_status(
    status: int,
    failure: Failure,
    *,
    choice: ModelChoice,
    headers: Mapping[str, str] | None = None,
    images: bool = False,
) -> ModelError:
    """The error for an HTTP status (or an error object in a stream that bears one). `images`: some were sent."""
    words, where = failure.words, _where(choice)
    said = scrub(failure.message or "", choice)
    detail = f": {said if said.endswith(_ENDS) else f'{said}.'}" if said else "."
    advice = _retry_advice(headers or {})
    if status in (400, 413, 422, 500) and _CONTEXT_FULL.search(words):
        return ContextFullError(f"The conversation does not fit the model{detail}", hint=_COMPACT)
    if status in (401, 407):
        return AuthenticationError(f"{where} did not accept the key ({status}){detail}", hint=key_advice(choice))
    if status == 402 or (status in (400, 403, 429) and _NO_CREDIT.search(words)):
        return RefusedError(f"{where} declined, there is no credit left ({status}){detail}", hint=_CREDIT)
    if status in (400, 403, 422, 451) and _FILTERED.search(words):
        return RefusedError(f"{where} declined the content of the conversation ({status}){detail}", hint=_REPHRASE)
    if status == 451 or (status in (400, 403) and _REGION.search(words)):
        return RefusedError(
            f"{where} does not serve this place ({status}){detail}", hint="Use another provider: /model."
        )
    if status == 403:
        return AuthenticationError(f"{where} does not allow this key to use the model ({status}){detail}", hint=_OTHER)
    if status == 404 or _NO_MODEL.search(words):
        return _not_found(status, failure, choice, detail)
    if status in (408, 409, 425, 429) or status >= 500:
        what = "limits the rate of requests" if status == 429 else "is not available"
        return UnavailableError(f"{where} {what} ({status}){detail}", hint=advice)
    hint = f"{_BAD_IMAGE} {_BAD_REQUEST}" if images else _BAD_REQUEST
    return BadRequestError(f"{where} did not understand the request ({status}){detail}", hint=hint)


def from_stream(failure: Failure, *, choice: ModelChoice) -> ModelError:
    """The error for an error object inside an answer; UnavailableError when it may go away by itself."""
    code = failure.code
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdigit()) else 0
    if not 400 <= status < 600:
        status = 429 if "rate_limit" in failure.words or "overloaded" in failure.words else 0
    if status == 0:
        status = 400 if any(p.search(failure.words) for p in (_CONTEXT_FULL, _NO_CREDIT, _FILTERED, _NO_MODEL)) else 502
    return from_status(status, failure, choice=choice)


def from_connection(reason: str, *, choice: ModelChoice, timed_out: bool) -> UnavailableError:
    """Nothing came, or no connection was made. `reason` is what the system says about it."""
    where = _where(choice)
    if timed_out:
        hint = "Try again, or raise `request_timeout` if the model is only slow."
        return UnavailableError(f"{where} sent nothing for {choice.timeout:g} s ({choice.base_url}).", hint=hint)
    local = (provider := catalog.find(choice.provider)) is not None and provider.local
    hint = f"Start {where}, or choose another model: /model." if local else "Check the network and the address: /model."
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        hint = "Set SSL_CERT_FILE to a file with the certificates you trust, or check the address: /model."
    reason = scrub(reason, choice) or "no connection"
    return UnavailableError(f"Cannot reach {where} at {choice.base_url}: {reason.rstrip('.')}.", hint=hint)


def missing_key(choice: ModelChoice) -> AuthenticationError:
    return AuthenticationError(f"There is no key for {_where(choice)}.", hint=key_advice(choice))


def key_advice(choice: ModelChoice) -> str:
    provider = catalog.find(choice.provider)
    variable = provider.key_variable if provider and provider.name != "custom" else "OPENAI_API_KEY"
    return f"Set {variable}, or store a key with `hermes model`." if variable else "Store a key with `hermes model`."


def scrub(text: str, choice: ModelChoice) -> str:
    """One line without markup and without anything that looks like a key; servers echo what they were sent."""
    if len(choice.api_key) >= SHORTEST_SECRET:
        text = text.replace(choice.api_key, "[key]")
    if text.lstrip().startswith("<"):
        text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.S | re.I)
    text = " ".join(_KEY.sub("[key]", text).split())
    return text if len(text) <= 300 else f"{text[:299]}…"


_ENDS = (".", "!", "?", "…")
_COMPACT = "Start a new conversation, or choose a model with a larger window: /model."
_CREDIT = "Add credit with the provider, or choose another model: /model."
_REPHRASE = "Rephrase, or choose another model: /model."
_OTHER = "Choose another model: /model; or use another key: `hermes model`."
_BAD_IMAGE = "An image may be the reason: /undo takes the last prompt back, with what came after it."
_BAD_REQUEST = "Choose another model: /model; some do not take tools or reasoning effort."


def _not_found(status: int, failure: Failure, choice: ModelChoice, detail: str) -> BadRequestError:
    where = _where(choice)
    if status == 404 and "model" not in failure.words:
        hint = "Check the address; it usually ends in /v1."
        return BadRequestError(f"{where} has no chat completions at {choice.base_url} (404){detail}", hint=hint)
    return BadRequestError(f"{where} has no model {choice.model!r} ({status}){detail}", hint="Choose one: /model.")


def _where(choice: ModelChoice) -> str:
    provider = catalog.find(choice.provider)
    if provider is not None and provider.name != "custom":
        return provider.title
    return urlsplit(choice.base_url).netloc.rpartition("@")[2] or choice.provider or "The endpoint"


def _retry_advice(headers: Mapping[str, str]) -> str:
    seconds = _retry_after(headers)
    return (
        f"Try again in {math.ceil(seconds)} s."
        if seconds
        else "Try again in a moment, or choose another model: /model."
    )


def _retry_after(headers: Mapping[str, str]) -> float:
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (TypeError, ValueError):
        return 0.0
