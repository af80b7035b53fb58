"""Which refusals concern the size of the call that got them."""

import json

import pytest

from tokenbooth.gateway.upstream.call_size import CallSize, is_too_large

ANTHROPIC_LIMIT = (
    "This request would exceed the rate limit for your organization (a-b) of 40,000 input tokens per minute."
)
SIZE = CallSize(prompt_tokens=20_000, output_tokens=4_000)


class Head:
    """The head of an answer with one header."""

    status = 429

    def __init__(self, name: str = "", value: str = "") -> None:
        self._name, self._value = name, value

    def header(self, name: str) -> str | None:
        """Its value."""
        return self._value if name == self._name else None


def told(message: str, **more: str) -> bytes:
    """The body of an error."""
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # OpenAI, Groq: a single call, and all of them.
        ("Request too large for m on tokens per min (TPM): Limit 30000, Requested 45000.", True),
        ("Request too large for m on tokens per min (TPM): Limit 30,000, Requested 45,000.", True),
        ("Rate limit reached for m on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.", False),
        ("Rate limit reached for m on requests per min (RPM): Limit 3, Used 3, Requested 1.", False),
        # Anthropic: the limit is named, with the same advice for both.
        ("This request would exceed your organization's rate limit of 10,000 input tokens per minute.", True),
        ("This request would exceed your organization's rate limit of 40,000 input tokens per minute.", False),
        (f"{ANTHROPIC_LIMIT} Please reduce the prompt length or the maximum tokens, or try again later.", False),
        ("This request would exceed your organization's rate limit of 8,000 output tokens per minute.", False),
        ("This request would exceed your organization's rate limit of 2,000 output tokens per minute.", True),
        ("This request would exceed the limit of 23,000 tokens.", True),
        ("Extra usage is required for long context requests.", True),
        ("prompt is too long: 210000 tokens > 200000 maximum", True),
        ("This model's maximum context length is 8192 tokens.", True),
        # OpenRouter.
        ("This request requires more credits, or fewer max_tokens. You can only afford 4000.", True),
        ("Please reduce the length of the messages.", True),
        ("Please reduce the length of the messages or try again later.", False),
        ("Rate limit exceeded. Try again in 20s.", False),
        ("Server overloaded, too many requests", False),
        ("", False),
    ],
)
def test_the_words_of_a_refusal(message: str, expected: bool) -> None:
    """A limit that is named is compared with the call; else the words decide."""
    assert is_too_large(SIZE, told(message), Head()) is expected


def test_a_code_alone_decides_too() -> None:
    """Where there is no text."""
    assert is_too_large(SIZE, told("", code="context_length_exceeded"))
    assert is_too_large(SIZE, told("", type="request_too_large"))


def test_an_event_of_a_stream_is_read_as_a_text() -> None:
    """Its data is JSON, the event is not."""
    event = b"event: error\ndata: " + told("Request too large: Limit 10, Requested 20") + b"\n\n"
    assert is_too_large(SIZE, event)
    assert not is_too_large(SIZE, event.replace(b"Requested 20", b"Requested 2"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("x-ratelimit-limit-tokens", "23999", True),
        ("x-ratelimit-limit-tokens", "24000", False),
        ("x-ratelimit-limit-tokens", "0", False),
        ("x-ratelimit-limit-tokens", "many", False),
        ("x-ratelimit-limit-tokens", "\u00b2", False),
        ("anthropic-ratelimit-input-tokens-limit", "19999", True),
        ("anthropic-ratelimit-input-tokens-limit", "20000", False),
        ("anthropic-ratelimit-output-tokens-limit", "3999", True),
        ("anthropic-ratelimit-output-tokens-limit", "4000", False),
        ("anthropic-ratelimit-tokens-limit", "9", True),
    ],
)
def test_a_limit_in_a_header_is_compared_with_the_call(name: str, value: str, expected: bool) -> None:
    """Of its kind of tokens, where it names one."""
    assert is_too_large(SIZE, told("Rate limit reached."), Head(name, value)) is expected


def test_what_is_no_error_says_nothing() -> None:
    """Nothing at all, a page, bytes."""
    for body in (b"", b"<html>too large</html>"[:0], b"\xff\xfe", b"[]", b"{}"):
        assert not is_too_large(SIZE, body, Head())
