"""What servers say went wrong, sorted into the error tree, with advice and without keys."""

import pytest

from agent.config import ModelChoice
from agent.errors import (
    AuthenticationError,
    BadRequestError,
    ContextFullError,
    ModelError,
    RefusedError,
    UnavailableError,
)
from agent.models._failures import from_connection, from_status, from_stream, scrub
from agent.models._wire import Failure

OPENAI = ModelChoice(provider="openai", model="gpt-9", base_url="https://api.openai.com/v1", api_key="sk-secret123456")
LOCAL = ModelChoice(provider="ollama", model="llama3", base_url="http://127.0.0.1:11434/v1")


@pytest.mark.parametrize(
    ("status", "failure", "kind"),
    [
        (401, Failure("Incorrect API key provided", "invalid_api_key"), AuthenticationError),
        (403, Failure("You are not allowed to sample from this model"), AuthenticationError),
        (403, Failure("Country, region, or territory not supported"), RefusedError),
        (403, Failure("Input flagged by moderation"), RefusedError),
        (402, Failure("Insufficient credits"), RefusedError),
        (429, Failure("You exceeded your current quota", "insufficient_quota"), RefusedError),
        (400, Failure("Your credit balance is too low to access the API"), RefusedError),
        (400, Failure("The response was filtered", "content_filter"), RefusedError),
        (400, Failure("blocked by our content management policy"), RefusedError),
        # OpenAI, Anthropic, Gemini, llama.cpp, vLLM, xAI and OpenRouter, Mistral, Groq
        (400, Failure("too long", "context_length_exceeded"), ContextFullError),
        (400, Failure("prompt is too long: 210000 tokens > 200000 maximum"), ContextFullError),
        (400, Failure("The input token count (9) exceeds the maximum number of tokens allowed (8)."), ContextFullError),
        (
            400,
            Failure("the request exceeds the available context size", type="exceed_context_size_error"),
            ContextFullError,
        ),
        (400, Failure("This model's maximum context length is 8 tokens"), ContextFullError),
        (400, Failure("This model's maximum prompt length is 131072 but the request contains 9"), ContextFullError),
        (413, Failure("Request too large", "request_too_large"), ContextFullError),
        (400, Failure("Please reduce the length of the messages or completion."), ContextFullError),
        (404, Failure("The model `gpt-9` does not exist", "model_not_found"), BadRequestError),
        (400, Failure("invalid model ID"), BadRequestError),
        (404, Failure("404 page not found"), BadRequestError),
        (400, Failure("messages: at least one is required"), BadRequestError),
        (422, Failure("field required"), BadRequestError),
        (429, Failure("Rate limit reached: tokens per min limit exceeded, request too large"), UnavailableError),
        (408, Failure(), UnavailableError),
        (500, Failure("internal"), UnavailableError),
        (503, Failure("overloaded"), UnavailableError),
        (529, Failure("overloaded"), UnavailableError),
    ],
)
def test_each_failure_has_its_kind_and_advice(status: int, failure: Failure, kind: type[ModelError]) -> None:
    error = from_status(status, failure, choice=OPENAI)
    assert type(error) is kind
    assert error.hint


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure("overloaded", "overloaded_error"), UnavailableError),
        (Failure("provider returned error", 502), UnavailableError),
        (Failure("slow down", "rate_limit_exceeded"), UnavailableError),
        (Failure("No auth", 401), AuthenticationError),
        (Failure("maximum context length is 8"), ContextFullError),
        (Failure("something odd"), UnavailableError),
    ],
)
def test_an_error_inside_a_stream_has_its_kind(failure: Failure, kind: type[ModelError]) -> None:
    assert type(from_stream(failure, choice=OPENAI)) is kind


def test_a_wrong_key_is_told_where_to_be_set() -> None:
    error = from_status(401, Failure("no"), choice=OPENAI)
    assert "OPENAI_API_KEY" in error.hint
    assert "hermes model" in error.hint


def test_message_and_hint_read_as_two_sentences() -> None:
    error = from_status(429, Failure("Rate limit reached"), choice=OPENAI, headers={"retry-after": "2"})
    assert error.explain() == "OpenAI limits the rate of requests (429): Rate limit reached. Try again in 2 s."


def test_a_wait_that_the_server_asks_for_is_told() -> None:
    error = from_status(429, Failure("slow"), choice=OPENAI, headers={"retry-after": "11.2"})
    assert error.hint == "Try again in 12 s."


def test_a_wait_until_a_date_is_told_in_seconds() -> None:
    headers = {"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"}
    assert "Try again in" in from_status(503, Failure("slow"), choice=OPENAI, headers=headers).hint


def test_a_model_that_is_not_there_is_named() -> None:
    error = from_status(404, Failure("model 'x' not found"), choice=LOCAL)
    assert str(error).startswith("Ollama has no model 'llama3' (404)")
    assert "/model" in error.hint


def test_a_local_server_that_is_down_is_to_be_started() -> None:
    error = from_connection("[Errno 111] Connection refused", choice=LOCAL, timed_out=False)
    assert str(error) == "Cannot reach Ollama at http://127.0.0.1:11434/v1: [Errno 111] Connection refused."
    assert error.hint.startswith("Start Ollama")


def test_a_certificate_nobody_vouches_for() -> None:
    reason = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)"
    assert "SSL_CERT_FILE" in from_connection(reason, choice=OPENAI, timed_out=False).hint


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key provided: sk-secret123456.",
        "bad key sk-proj-abcdefghijk*****xyz",
        "header was Bearer abcdef",
        "gsk_abcdefghijk is wrong",
    ],
)
def test_a_key_never_shows(said: str) -> None:
    error = from_status(401, Failure(said), choice=OPENAI)
    assert "[key]" in str(error)
    assert not any(piece in error.explain() for piece in ("secret", "abcdef"))


def test_pages_of_markup_become_a_line() -> None:
    page = "<html><head><style>p {}</style></head>\n<body><h1>502 Bad Gateway</h1>\n<p>nginx</body></html>"
    assert scrub(page, OPENAI) == "502 Bad Gateway nginx"
    assert len(scrub("x" * 5000, OPENAI)) == 300


def test_a_key_that_only_fills_the_field_is_no_secret() -> None:
    choice = ModelChoice(provider="custom", model="m", base_url="http://localhost/v1", api_key="x")
    words = "This model's maximum context length is 4096 tokens."
    assert words in str(from_status(400, Failure(message=words), choice=choice))
