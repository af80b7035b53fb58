"""The routes that cost money, each with its reader and with how it speaks of errors and limits.

A new one is written down in `ENDPOINTS`; the gateway serves all of them through the one admission.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.access.cache import KeyState
from tokenbooth.gateway.access.pool import Pool
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.anthropic.messages import messages_request_steps
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.formats.json.body import Fields
from tokenbooth.gateway.formats.json.steps import at_once
from tokenbooth.gateway.formats.openai.chat import chat_request_steps, read_chat_request
from tokenbooth.gateway.formats.openai.completions import completions_request_steps
from tokenbooth.gateway.formats.openai.embeddings import embeddings_request_steps
from tokenbooth.gateway.formats.openai.responses import responses_request_steps
from tokenbooth.gateway.replies import anthropic, openai
from tokenbooth.gateway.replies.limit_headers import limit_lines
from tokenbooth.http.exchange import RawHeaders
from tokenbooth.kit.clock import Clock

ANTHROPIC_PREFIX: Final = "/anthropic"
# Their inputs may be token ids, each a value, which are counted and never become objects.
TOKEN_ID_PATHS: Final = ("/v1/completions", "/v1/embeddings")


@dataclass(frozen=True, slots=True)
class ApiStyle:
    """How errors, limits and request ids are written for the SDKs of one API.

    Attributes:
        error: status and body of a refusal, given our request id.
        limit_lines: the header lines that tell a key its limits.
        id_lines: the header lines that carry our request id, under each name that the format's SDKs look for.
    """

    error: Callable[[Refusal, str], tuple[int, bytes]]
    limit_lines: Callable[[KeyState, Pool | None, Clock], bytes]
    id_lines: Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route that can cost money.

    Attributes:
        read: reads what decides about the price: top level, model, size of the body in bytes, the client's headers.
        steps: the same in steps, for a large body.
        style: how errors and limits are written, for the SDKs of this API.
        error_event: an error in mid-stream, as the format's SDKs understand it.
    """

    read: Callable[[Fields, Model, int, RawHeaders], PricedRequest]
    steps: Callable[[Fields, Model, int, RawHeaders], Generator[None, None, PricedRequest]]
    style: ApiStyle
    error_event: Callable[[Refusal], bytes]


def style_of(path: str) -> ApiStyle:
    """The API whose style a path answers in."""
    return ANTHROPIC if path.startswith(ANTHROPIC_PREFIX) else OPENAI


def _openai_error(refusal: Refusal, request_id: str) -> tuple[int, bytes]:
    return refusal.status, openai.error_body(refusal)


def _openai_limits(key: KeyState, pool: Pool | None, clock: Clock) -> bytes:
    return limit_lines(key, pool, clock.monotonic_us())


def _openai_id(request_id: str) -> bytes:
    return b"x-request-id: %b\r\n" % request_id.encode()


def _anthropic_error(refusal: Refusal, request_id: str) -> tuple[int, bytes]:
    return anthropic.error_status(refusal), anthropic.error_body(refusal, request_id)


def _anthropic_limits(key: KeyState, pool: Pool | None, clock: Clock) -> bytes:
    return anthropic.all_limit_lines(key, pool, clock.monotonic_us(), clock.now_us())


def _anthropic_id(request_id: str) -> bytes:
    encoded = request_id.encode()
    return b"x-request-id: %b\r\nrequest-id: %b\r\n" % (encoded, encoded)


def _responses_error_event(refusal: Refusal) -> bytes:
    """The format's own event, with the error also where its SDK looks for one in any stream."""
    error = msgspec.json.decode(openai.error_body(refusal), type=dict[str, dict[str, object]])["error"]
    event = {"type": "error", "sequence_number": 0, **{name: error[name] for name in ("code", "message", "param")}}
    return b"event: error\ndata: " + msgspec.json.encode({**event, "error": error}) + b"\n\n"


OPENAI: Final = ApiStyle(_openai_error, _openai_limits, _openai_id)
ANTHROPIC: Final = ApiStyle(_anthropic_error, _anthropic_limits, _anthropic_id)
ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "/v1/chat/completions": Endpoint(
        lambda fields, model, size, _: read_chat_request(fields, model, size),
        lambda fields, model, size, _: chat_request_steps(fields, model, size),
        OPENAI,
        openai.error_event,
    ),
    "/v1/completions": Endpoint(
        lambda fields, model, size, _: at_once(completions_request_steps(fields, model, size)),
        lambda fields, model, size, _: completions_request_steps(fields, model, size),
        OPENAI,
        openai.error_event,
    ),
    "/v1/embeddings": Endpoint(
        lambda fields, model, size, _: at_once(embeddings_request_steps(fields, model, size)),
        lambda fields, model, size, _: embeddings_request_steps(fields, model, size),
        OPENAI,
        openai.error_event,
    ),
    "/v1/responses": Endpoint(
        lambda fields, model, size, _: at_once(responses_request_steps(fields, model, size)),
        lambda fields, model, size, _: responses_request_steps(fields, model, size),
        OPENAI,
        _responses_error_event,
    ),
    "/anthropic/v1/messages": Endpoint(
        lambda fields, model, size, headers: at_once(messages_request_steps(fields, model, size, headers)),
        messages_request_steps,
        ANTHROPIC,
        anthropic.error_event,
    ),
}
