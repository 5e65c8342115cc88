"""Any endpoint that speaks OpenAI's Chat Completions, through the official SDK.

The SDK carries the request: authentication, retries with Retry-After, connections. Its answer is read as bytes and
decoded at this edge (`_wire.py`): one event takes a few microseconds, and whether a stream came to its proper end
can be told. This module imports neither SDK nor network; the first request does.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.cancel import CancelToken
from agent.config import ModelChoice
from agent.errors import BadRequestError, Cancelled, ModelError, RefusedError, UnavailableError
from agent.messages import Message
from agent.models import _sdk, catalog
from agent.protocols import ChatModel, ModelOutput, Reply, Restarted, ToolSpec

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

    from agent.models._http import Work
    from agent.models._request import Request
    from agent.models._wire import Chunk, Failure

MAX_RETRIES = 2
"""Attempts after the first at getting an answer to begin; the SDK makes them."""

_RESTARTS = 2
_PAUSE_SECONDS = 0.25
_DRAIN_SECONDS = 0.05


class OpenAIChatModel:
    """A model behind an OpenAI-compatible endpoint. Safe to share between threads.

    An answer that breaks off is asked for again, at most twice, an empty one once; `Restarted` tells of it.
    With `choice.model` empty the first model the endpoint lists is used.
    """

    def __init__(
        self, choice: ModelChoice, *, max_retries: int = MAX_RETRIES, http_client: "httpx2.Client | None" = None
    ) -> None:
        self._choice = choice
        self._max_retries = max_retries
        self._http_client = http_client
        self._lock = threading.Lock()
        self._own_client: OpenAI | None = None

    @property
    def name(self) -> str:
        return self._choice.model

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, cancel: CancelToken
    ) -> Iterator[ModelOutput]:
        """Ask, and yield the answer as it comes.

        Raises: every ModelError; Cancelled.
        """
        cancel.raise_if_cancelled()
        request = self._request(messages, tools, cancel)
        faults = 0
        while True:
            try:
                yield (yield from self._attempt(request, cancel))
                return
            except _Broken as broken:
                faults += 1
                if faults > broken.restarts:
                    raise UnavailableError(
                        f"{broken.what[0].upper()}{broken.what[1:]} ({faults} times).", hint=broken.hint
                    ) from broken
                reason = broken.what
            yield Restarted(f"{reason}; asking again")
            if cancel.wait(_PAUSE_SECONDS * faults):
                raise Cancelled

    def _request(self, messages: Sequence[Message], tools: Sequence[ToolSpec], cancel: CancelToken) -> "Request":
        _sdk.load()
        from agent.models import _failures
        from agent.models._request import Request

        if catalog.needs_key(self._choice):
            raise _failures.missing_key(self._choice)
        if not self._choice.model:
            self._choice = replace(self._choice, model=_first_model(self._choice, cancel))
        return Request(self._choice, tuple(messages), tuple(tools))

    def _attempt(self, request: "Request", cancel: CancelToken) -> Generator[ModelOutput, None, Reply]:
        from agent.models._http import Work

        work = Work(cancel)
        with cancel.closing(work.stop):
            response = yield from self._post(request, work)
            try:
                return (yield from _read(response, request, work))
            finally:
                response.close()

    def _post(self, request: "Request", work: "Work") -> Generator[ModelOutput, None, "httpx2.Response"]:
        """The response, its body unread. Tells of long waits, and of what the server made us leave out.

        A server that rejects a field it does not know is asked without it, from then on.
        """
        from agent.models._http import LongWait

        retries = self._max_retries
        while True:
            try:
                response, told = self._try(request, work, retries)
            except LongWait as wait:
                status = f" ({wait.status})" if wait.status else ""
                yield Restarted(f"the server asks for patience{status}: trying again in {wait.seconds:.0f} s")
                work.sleep(wait.seconds)
                retries = wait.retries
                continue
            if told:
                yield Restarted(told)
            return response

    def _try(self, request: "Request", work: "Work", retries: int) -> tuple["httpx2.Response", str]:
        """The response, and what the server made us leave out, if a person should know. Raises: LongWait."""
        import openai

        from agent.models._http import timeout
        from agent.models._wire import decode_failure

        told = ""
        limits = timeout(request.choice.timeout)
        while True:
            body = request.body()
            with _mapped(request.choice, images=request.holds_images), work:
                try:
                    stream = self._client().post(
                        "/chat/completions",
                        cast_to=object,
                        body=body,
                        options={"timeout": limits, "max_retries": retries},
                        stream=True,
                        stream_cls=openai.Stream[object],
                    )
                    return stream.response, told
                except openai.APIStatusError as error:
                    failure = decode_failure(error.response.text)
                    if (rejected := request.rejected(error.status_code, failure, body)) is None:
                        raise
                    request.leave_out(rejected)
                    if rejected in ("tools", "images"):
                        told = f"the model does not take {rejected}; asking without them"

    def _client(self) -> "OpenAI":
        from agent.models import _http

        if self._http_client is None:
            return _http.client_for(self._choice.base_url, self._choice.api_key)
        with self._lock:
            if self._own_client is None:
                self._own_client = _http.new_client(self._choice.base_url, self._choice.api_key, self._http_client)
            return self._own_client


def list_models(choice: ModelChoice, timeout: float = 5.0, *, cancel: CancelToken | None = None) -> list[str]:
    """The ids the endpoint lists, in its order. What it says of their windows is kept in `windows`.

    Raises: ModelError; Cancelled.
    """
    _sdk.load()
    import httpx2
    import msgspec

    from agent.models import _http, _wire, windows

    cancel = cancel or CancelToken()
    choice, work = replace(choice, timeout=timeout), _http.Work(cancel)
    with _mapped(choice), cancel.closing(work.stop), work:
        response = _http.client_for(choice.base_url, choice.api_key).get(
            "/models", cast_to=httpx2.Response, options={"timeout": _http.timeout(timeout), "max_retries": 0}
        )
    try:
        found = _wire.decode_models(response.content)
    except msgspec.DecodeError as error:
        raise BadRequestError(
            f"{choice.base_url}/models is no list of models.", hint="Check the address; it usually ends in /v1."
        ) from error
    windows.learn(choice.base_url, found)
    return list(found)


if TYPE_CHECKING:
    _: ChatModel = OpenAIChatModel(catalog.OFFLINE)


def _first_model(choice: ModelChoice, cancel: CancelToken) -> str:
    if models := list_models(choice, cancel=cancel):
        return models[0]
    raise BadRequestError(f"{choice.base_url} lists no models.", hint="Name one: /model, or `hermes model`.")


# -- answers ---------------------------------------------------------------------------------------


class _Broken(Exception):  # noqa: N818  (never leaves this module)
    """This attempt gave no usable answer, and another may."""

    def __init__(
        self, what: str, *, hint: str = "Try again, or choose another model: /model.", restarts: int = _RESTARTS
    ):
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.restarts = restarts


def _read(response: "httpx2.Response", request: "Request", work: "Work") -> Generator[ModelOutput, None, Reply]:
    from agent.models._wire import Assembly

    assembly = Assembly(set(request.taken))
    for chunk in _chunks(response, request, work):
        if (failure := chunk.failure) is not None:
            _fail(failure, request.choice)
        yield from assembly.add(chunk)
    if assembly.finish_reason == "content_filter" and assembly.empty:
        raise RefusedError(
            "The provider's content filter withheld the answer.", hint="Rephrase, or choose another model: /model."
        )
    if assembly.finish_reason == "error":
        raise _Broken("the model stopped with an error")
    if assembly.empty:
        raise _Broken(_empty(assembly.finish_reason), restarts=1)
    return assembly.reply()


def _chunks(response: "httpx2.Response", request: "Request", work: "Work") -> Iterator["Chunk"]:
    """The events of the answer, or the one object it is.

    Raises: _Broken when it does not come to a proper end.
    """
    import httpx2
    import msgspec

    from agent.models._wire import decode_chunk, event_data

    finished = False
    try:
        if "json" in response.headers.get("content-type", ""):
            with work:
                yield decode_chunk(response.read())
            return
        events = work.pull(event_data(response.iter_bytes()))
        for data in events:
            if data.startswith(b"[DONE]"):
                _drain(events, work)
                return
            chunk = decode_chunk(data)
            finished = finished or any(choice.finish_reason for choice in chunk.choices or ())
            yield chunk
    except httpx2.TimeoutException as error:
        raise _timed_out(request.choice) from error
    except httpx2.HTTPError as error:
        if not finished:
            raise _Broken("the connection was cut in the middle of the answer") from error
    except msgspec.DecodeError as error:
        raise _Broken("the server sent something that is no chat completion") from error
    if not finished:
        raise _Broken("the answer broke off")


def _drain(events: Iterator[bytes], work: "Work") -> None:
    """Read to the end of the response: only then can the connection be used again, which saves a handshake."""
    import httpx2

    work.patience = _DRAIN_SECONDS
    with suppress(httpx2.HTTPError):
        next(events, None)


def _fail(failure: "Failure", choice: ModelChoice) -> None:
    from agent.models import _failures

    error = _failures.from_stream(failure, choice=choice)
    if isinstance(error, UnavailableError):
        raise _Broken(str(error).rstrip("."), hint=error.hint) from error
    raise error


def _empty(finish_reason: str) -> str:
    why = " because it reached its limit of tokens" if finish_reason == "length" else ""
    return f"the model sent an empty reply{why}"


def _timed_out(choice: ModelChoice) -> ModelError:
    from agent.models import _failures

    return _failures.from_connection("", choice=choice, timed_out=True)


@contextmanager
def _mapped(choice: ModelChoice, *, images: bool = False) -> Iterator[None]:
    """Raise our errors for the SDK's. `images`: some were sent."""
    import httpx2
    import openai

    from agent.models import _failures, _wire

    try:
        yield
    except openai.APIStatusError as error:
        failure = _wire.decode_failure(error.response.text)
        raise _failures.from_status(
            error.status_code, failure, choice=choice, headers=error.response.headers, images=images
        ) from error
    except (openai.APIConnectionError, httpx2.HTTPError) as error:
        cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
        if isinstance(cause, httpx2.TimeoutException) and not isinstance(cause, httpx2.ConnectTimeout):
            raise _timed_out(choice) from error
        reason = str(cause or error)
        raise _failures.from_connection(reason, choice=choice, timed_out=False) from error
    except (openai.OpenAIError, httpx2.InvalidURL) as error:
        raise BadRequestError(f"The request cannot be made: {_failures.scrub(str(error), choice)}") from error
