"""Requests of every wire format as the gateway reads them, for tests of its pure parts. Only tests import this."""

from dataclasses import replace

import msgspec

from tests.support.catalog_samples import SAMPLE_ROUTE, sample_model
from tokenbooth.config.catalog import Model
from tokenbooth.gateway.formats.anthropic.messages import MessagesRequest, messages_request_steps
from tokenbooth.gateway.formats.base import OutboundRequest
from tokenbooth.gateway.formats.json.body import decode_fields, encode_fields
from tokenbooth.gateway.formats.json.steps import at_once
from tokenbooth.gateway.formats.openai.chat import ChatRequest, read_chat_request
from tokenbooth.gateway.formats.openai.completions import CompletionsRequest, completions_request_steps
from tokenbooth.gateway.formats.openai.embeddings import EmbeddingsRequest, embeddings_request_steps
from tokenbooth.gateway.formats.openai.responses import ResponsesRequest, responses_request_steps
from tokenbooth.http.exchange import RawHeaders

ANTHROPIC = frozenset(("anthropic.messages",))
CHAT = frozenset(("openai.chat",))

Json = dict[str, object]


def speaking(model: Model, *formats: str) -> Model:
    """The model with one upstream for each of these formats."""
    (route,) = model.routes
    routes = tuple(replace(route, upstream=replace(route.upstream, formats=frozenset((one,)))) for one in formats)
    return replace(model, routes=routes)


def messages_model(*allowed: str, reasoning: bool = False) -> Model:
    """A model whose upstream speaks Anthropic's format."""
    return speaking(sample_model(*allowed, reasoning=reasoning), "anthropic.messages")


def read_chat(**fields: object) -> ChatRequest:
    """A chat request with one message, unless the fields say otherwise."""
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields})
    return read_chat_request(decode_fields(body, 128), sample_model(), len(body))


def read_completions(body: bytes, model: Model | None = None) -> CompletionsRequest:
    """A completions request."""
    return at_once(completions_request_steps(decode_fields(body, 128), model or sample_model(), len(body)))


def read_embeddings(body: bytes, model: Model | None = None) -> EmbeddingsRequest:
    """An embeddings request."""
    return at_once(embeddings_request_steps(decode_fields(body, 128), model or sample_model(), len(body)))


def read_responses(body: bytes, model: Model | None = None) -> ResponsesRequest:
    """A responses request."""
    return at_once(responses_request_steps(decode_fields(body, 128), model or sample_model(), len(body)))


def read_messages(body: bytes, model: Model | None = None, headers: RawHeaders | None = None) -> MessagesRequest:
    """A messages request."""
    return at_once(
        messages_request_steps(decode_fields(body, 128), model or messages_model(), len(body), headers or [])
    )


def messages_body(**fields: object) -> bytes:
    """The body of a messages request with one message, unless the fields say otherwise."""
    return msgspec.json.encode(
        {"model": "m", "max_tokens": 1_000, "messages": [{"role": "user", "content": "Hi"}], **fields}
    )


def sent(outbound: OutboundRequest, clamped: int | None = None) -> Json:
    """What the upstream gets."""
    decoded: Json = msgspec.json.decode(encode_fields(outbound.upstream_fields(SAMPLE_ROUTE, clamped)))
    return decoded


def events_in(stream: bytes) -> list[Json]:
    """The data of each event of a stream, decoded."""
    lines = [line.removeprefix(b"data: ") for line in stream.splitlines() if line.startswith(b"data: ")]
    return [msgspec.json.decode(line) for line in lines if line != b"[DONE]"]
