"""What a client makes of an answer, in each format: read by the standard library, as the formats' SDKs read it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from fuzz.booth import Asked, Outcome

Json = dict[str, object]

_WITH_END_MARKER = ("/v1/chat/completions", "/v1/completions")


@dataclass(slots=True)
class Heard:
    """What a client was told.

    Attributes:
        text: what was said, arguments of calls included, without thoughts.
        thought: what the model was seen to think.
        has_ended: whether the answer came to its regular end.
        has_error: whether an error was told.
    """

    text: str = ""
    thought: str = ""
    has_ended: bool = False
    has_error: bool = False


def heard(asked: Asked, outcome: Outcome) -> Heard:
    """Read an answer.

    Raises:
        AssertionError: no client could read it.
    """
    told = Heard()
    if outcome.status != 200:
        told.has_error = True
        return told
    if not asked.stream:
        told.has_ended = outcome.is_complete
        _hear_whole(told, asked, _parsed(outcome.body))
        return told
    for data in _data(outcome.body):
        assert not told.has_ended, "something follows the end"
        if data == b"[DONE]":
            told.has_ended = asked.path in _WITH_END_MARKER
            continue
        _hear_event(told, asked, _parsed(data))
    told.has_ended = told.has_ended and not told.has_error
    assert outcome.is_complete, "the answer is never ended"
    return told


def _data(body: bytes) -> Iterator[bytes]:
    """The data of each event."""
    assert body.endswith(b"\n\n"), "half an event"
    for event in body.removesuffix(b"\n\n").split(b"\n\n"):
        data = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        if data:
            yield b"\n".join(data)


def _parsed(data: bytes) -> Json:
    try:
        # A number may be longer than Python converts; a character may be half of one.
        parsed: object = json.loads(data.decode("utf-8", "replace"), strict=False, parse_int=float)
    except ValueError as mistake:
        raise AssertionError("no client can read this") from mistake
    assert isinstance(parsed, dict), "no client can read this"
    return parsed


def _hear_event(told: Heard, asked: Asked, event: Json) -> None:
    kind = event.get("type")
    if event.get("error") or kind == "error":
        told.has_error = True
        return
    match asked.path:
        case "/v1/chat/completions":
            for choice in _objects(event.get("choices")):
                _hear_said(told, _object(choice.get("delta")))
        case "/v1/completions":
            told.text += "".join(_text(choice.get("text")) for choice in _objects(event.get("choices")))
        case "/v1/responses":
            told.has_ended = kind in ("response.completed", "response.incomplete")
            if kind == "response.output_text.delta":
                told.text += _text(event.get("delta"))
            elif kind == "response.function_call_arguments.delta":
                told.text += _arguments(event.get("delta"))
        case _:
            told.has_ended = kind == "message_stop"
            if kind == "content_block_delta":
                delta = _object(event.get("delta"))
                told.text += _text(delta.get("text")) + _arguments(delta.get("partial_json"))
                told.thought += _text(delta.get("thinking"))


def _hear_whole(told: Heard, asked: Asked, answer: Json) -> None:
    match asked.path:
        case "/v1/chat/completions":
            for choice in _objects(answer.get("choices")):
                _hear_said(told, _object(choice.get("message")))
        case "/v1/completions":
            told.text += "".join(_text(choice.get("text")) for choice in _objects(answer.get("choices")))
        case "/v1/responses":
            for item in _objects(answer.get("output")):
                told.text += "".join(_text(part.get("text")) for part in _objects(item.get("content")))
                told.text += _arguments(item.get("arguments"))
        case "/anthropic/v1/messages":
            for block in _objects(answer.get("content")):
                told.text += _text(block.get("text"))
                told.thought += _text(block.get("thinking"))
                if block.get("type") == "tool_use":
                    told.text += _arguments(json.dumps(block.get("input")))
        case _:
            """An embedding says nothing."""


def _hear_said(told: Heard, said: Json) -> None:
    told.text += _text(said.get("content"))
    told.thought += _text(said.get("reasoning_content")) + _text(said.get("reasoning"))
    for call in _objects(said.get("tool_calls")):
        told.text += _arguments(_object(call.get("function")).get("arguments"))


def _arguments(value: object) -> str:
    """Arguments of a call, written as everybody's are who means the same."""
    written = _text(value)
    try:
        return json.dumps(json.loads(written, strict=False), separators=(",", ":")) if written else ""
    except ValueError:
        return written


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
