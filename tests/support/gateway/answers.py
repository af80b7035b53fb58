"""Answers of every format with a text, an end and reports of usage at given places, whole and streamed.

Only tests import this.
"""

from collections.abc import Mapping
from typing import Final, Literal, assert_never

import msgspec

from tests.support.gateway.answer_rig import Format, Json

TEXT: Final = "four words of text, and again four words of text, and then some more of it."
PIECES: Final = (TEXT[:40], TEXT[40:])
Phase = Literal["first", "second", "finish", "last"]
"""Of a stream: the events with its two pieces of text, the one with its end, and one behind it."""
Place = Literal["top", "choice", "x_groq", "delta"]
"""Where a usage is: in an answer with choices, in one of them, in a vendor's extension; in what ends a message."""
Reports = Mapping[Phase, object]
NO_REPORTS: Final[Reports] = {}
DONE: Final = b"data: [DONE]\n\n"


def whole(form: Format, usage: object = None, *, place: Place = "top", message: Json | None = None) -> bytes:
    """A whole answer.

    Args:
        form: its format.
        usage: what it reports; None for nothing.
        place: where.
        message: the message of a chat completion, for another one than one that says `TEXT`.
    """
    match form:
        case "chat" | "translated":
            said = {"message": {"role": "assistant", "content": TEXT} if message is None else message}
            answer = _of_choices("chat.completion", {**said, "finish_reason": "stop"}, usage, place)
        case "completions":
            answer = _of_choices("text_completion", {"text": TEXT, "finish_reason": "stop"}, usage, place)
        case "responses":
            answer = _response(usage)
        case "messages":
            answer = {**_MESSAGE, "content": [{"type": "text", "text": TEXT}], **_said("usage", usage)}
        case "embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.25]}]
            answer = {"object": "list", "data": data, "model": "up", **_said("usage", usage)}
        case _:
            assert_never(form)
    return msgspec.json.encode(answer)


def streamed(form: Format, reports: Reports = NO_REPORTS, *, place: Place = "top") -> bytes:
    """The same as a stream.

    Args:
        form: its format.
        reports: what is reported when; a message has the first one in its first event and the last in its last but one,
            a response has the last one only.
        place: where.
    """
    match form:
        case "chat" | "translated":
            return _chunks("chat.completion.chunk", [{"delta": {"content": piece}} for piece in PIECES], reports, place)
        case "completions":
            return _chunks("text_completion", [{"text": piece} for piece in PIECES], reports, place)
        case "responses":
            return named(
                {"type": "response.created", "response": {**_response(None), "status": "in_progress", "output": []}},
                *(
                    {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": one}
                    for one in PIECES
                ),
                {"type": "response.completed", "response": _response(reports.get("last"))},
            )
        case "messages":
            start = {**_MESSAGE, "content": [], "stop_reason": None, **_said("usage", reports.get("first"))}
            last = _said("usage", reports.get("last"))
            end: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **last}
            if place == "delta":
                end = {"type": "message_delta", "delta": {"stop_reason": "end_turn", **last}}
            return named(
                {"type": "message_start", "message": start},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                *(
                    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": one}}
                    for one in PIECES
                ),
                {"type": "content_block_stop", "index": 0},
                end,
                {"type": "message_stop"},
            )
        case "embeddings":
            raise AssertionError("embeddings are not streamed")
        case _:
            assert_never(form)


def chunks(form: Format, *choices: Json, usage: object = None) -> list[bytes]:
    """An event for each of these choices, and one behind them for the usage."""
    kind = "text_completion" if form == "completions" else "chat.completion.chunk"
    told: list[Json] = [{"id": "c", "object": kind, "choices": [choice]} for choice in choices]
    if usage is not None:
        told.append({"id": "c", "object": kind, "choices": [], "usage": usage})
    return [b"data: " + msgspec.json.encode(one) + b"\n\n" for one in told]


def named(*events: Json) -> bytes:
    """Events with their types as their names."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (one["type"].encode(), msgspec.json.encode(one)) for one in events)


_MESSAGE: Final[Json] = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "up",
    "stop_reason": "end_turn",
    "stop_sequence": None,
}


def _said(name: str, value: object) -> Json:
    return {} if value is None else {name: value}


def _of_choices(kind: str, choice: Json, usage: object, place: Place) -> Json:
    answer: Json = {"id": "c", "object": kind, "created": 1, "model": "up", "choices": [{"index": 0, **choice}]}
    if usage is None:
        return answer
    match place:
        case "top":
            answer["usage"] = usage
        case "choice":
            answer["choices"][0]["usage"] = usage
        case "x_groq":
            answer["x_groq"] = {"id": "req", "usage": usage}
        case "delta":
            raise AssertionError("no answer with choices has it there")
        case _:
            assert_never(place)
    return answer


def _chunks(kind: str, pieces: list[Json], reports: Reports, place: Place) -> bytes:
    empty: Json = {"delta": {}} if "delta" in pieces[0] else {"text": ""}
    told = [
        _of_choices(kind, {**pieces[0], "finish_reason": None}, reports.get("first"), place),
        _of_choices(kind, {**pieces[1], "finish_reason": None}, reports.get("second"), place),
        _of_choices(kind, {**empty, "finish_reason": "stop"}, reports.get("finish"), place),
    ]
    if "last" in reports:
        last = _of_choices(kind, empty, reports["last"], place)
        told.append(last if place == "choice" else {**last, "choices": []})
    return b"".join(b"data: " + msgspec.json.encode(one) + b"\n\n" for one in told) + DONE


def _response(usage: object) -> Json:
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    item = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return {"id": "r", "object": "response", "status": "completed", "output": [item], **_said("usage", usage)}
