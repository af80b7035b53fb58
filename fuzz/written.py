"""What a model says, written in the format of an upstream, event by event and whole.

Each event knows what it says, whether it tells a failure and whether it ends the stream; beside what is said stands
what is the operator's own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from fuzz.booth import Asked
from fuzz.choices import Choices
from fuzz.failures import CANARY, WORDS
from tokenbooth.domain.usage import Usage

Json = dict[str, object]

TEXTS: Final = (
    *("Hello", " there.", "\n\n", 'He said "stop".', "[DONE]", "data: x", '"finish_reason":"stop"', "null", "\u2028"),
    *(
        '{"error":{"message":"no"}}',
        "event: error\n\ndata: {}\n\n",
        "caf\u00e9 \U0001f600",
        "\\",
        "error",
        "}",
        "a" * 300,
    ),
    *('"usage":{"prompt_tokens":1}', '"type":"message_stop"', '"type":"response.completed"', " ", "\t", "0", "\ufeff"),
)
_COMMENTS: Final = ((b": keep-alive",), (b":",), (b"",), (b": " + CANARY.encode(),), (b"retry: 5",), (b"event: ping",))
_NO_ENDS: Final[tuple[object, ...]] = (None, "", "null")
_ENDS: Final = {
    "openai.chat": ("stop", "length", "tool_calls", "content_filter", "STOP", "eos"),
    "openai.completions": ("stop", "length"),
    "anthropic.messages": ("end_turn", "max_tokens", "tool_use", "stop_sequence"),
}
_FAILED_ENDS: Final = ("error", "engine_error", "insufficient_system_resource")


class Says(IntEnum):
    """Whether an event says something of an answer."""

    NOTHING = 0
    PERHAPS = 1
    """It is a part of the format's frame, such as the event that begins a message."""
    SOMETHING = 2


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is written.

    Attributes:
        lines: without their ends.
        says: whether it says something of an answer.
        text: what it says; of the tools' arguments, too.
        fails: whether it tells a failure.
        finishes: the choice whose end it tells; None for no end.
        gives_up: whether that end is a failure.
        is_last: whether it ends the stream.
        tells_usage: whether it tells what the answer consumed.
    """

    lines: tuple[bytes, ...]
    says: Says = Says.SOMETHING
    text: str = ""
    fails: bool = False
    finishes: int | None = None
    gives_up: bool = False
    is_last: bool = False
    tells_usage: bool = False


@dataclass(slots=True)
class Truth:
    """What has to come of an answer.

    Attributes:
        failed: the client must be told of an error; None where both may be right.
        says: whether something of an answer came before the failure.
        text: what was said before that.
        usage: what was consumed; None where that has to be counted.
    """

    failed: bool | None = False
    says: Says = Says.NOTHING
    text: str = ""
    usage: Usage | None = None


@dataclass(slots=True)
class Story:
    """What the model says.

    Attributes:
        parts: kind, choice and text of each piece.
        end: the reason of the end of each choice.
        usage: what was consumed, as it is told; None where nothing is told that counts.
        has_zeros: whether nothing but zeros and nulls are told of it.
    """

    asked: Asked
    parts: list[tuple[str, int, str]] = field(default_factory=list)
    end: str = "stop"
    usage: Usage | None = None
    has_zeros: bool = False


def story_of(asked: Asked, choices: Choices) -> Story:
    """What a model says to this."""
    story = Story(asked)
    kinds: tuple[str, ...] = ("text",)
    if asked.wire in ("openai.chat", "anthropic.messages"):
        kinds = ("text", "thought", "call")
    elif asked.wire == "openai.responses":
        kinds = ("text", "call")
    for _ in range(choices.pick((2, 0, 1, 3, 5))):
        kind = choices.pick((*("text",) * 3, *kinds))
        story.parts.append((kind, choices.below(asked.choices), choices.pick(TEXTS)))
    story.end = choices.pick(_ENDS.get(asked.wire, ("stop",)))
    match choices.below(5):
        case 0 | 1:
            prompt, completion = 5 + choices.below(200), 1 + choices.below(200)
            story.usage = Usage(prompt, completion, cached_tokens=choices.below(min(prompt, 250)))
        case 2:
            story.has_zeros = True
        case _:
            pass
    return story


class Writer:
    """Writes a story in the format of the upstream."""

    def __init__(self, story: Story, choices: Choices) -> None:
        self._story = story
        self._choices = choices
        self._is_ascii = choices.happens(2)
        self._separators = choices.pick(((",", ":"), (", ", ": ")))
        self._has_canaries = not choices.happens(4)
        self._is_pretty = choices.happens(12)
        self.usage = story.usage

    def events(self) -> Iterator[Event]:
        """The answer as a stream."""
        match self._story.asked.wire:
            case "openai.chat" | "openai.completions":
                told = self._chunks()
            case "anthropic.messages":
                told = self._message_events()
            case _:
                told = self._response_events()
        yield from self._noise()
        for event in told:
            yield event
            yield from self._noise()

    def whole(self) -> tuple[bytes, Truth]:
        """The answer in one piece."""
        story = self._story
        truth = Truth(False, Says.SOMETHING, self._said(), story.usage)
        match story.asked.wire:
            case "openai.chat" | "openai.completions":
                body = self._completion()
            case "anthropic.messages":
                body = self._message()
            case "openai.responses":
                body = self._response()
            case _:
                data = [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}]
                body = {"object": "list", "data": data, **self._own("id", "provider", "system_fingerprint")}
                truth.text = ""
                if story.usage is not None:
                    story.usage = truth.usage = Usage(story.usage.prompt_tokens, 0)
                body |= self._usage()
        if not story.parts and story.asked.wire != "openai.embeddings":
            # An empty answer may be taken for a failure.
            truth.failed = None
        if self._choices.happens(10):
            body["error"] = {"message": WORDS[1]}
            truth = Truth(failed=True)
        elif self._choices.happens(4):
            body["error"] = self._choices.pick((None, {}, "", False, []))
        return self._json(body), truth

    def _said(self) -> str:
        return "".join(text for kind, _, text in self._in_order() if kind != "thought")

    def _in_order(self) -> list[tuple[str, int, str]]:
        """The parts as a whole answer has them: choice by choice, text before calls."""
        parts = [
            (kind, number, self._arguments(text) if kind == "call" else text)
            for kind, number, text in self._story.parts
        ]
        if self._story.asked.wire in ("openai.chat", "openai.completions"):
            return sorted(parts, key=lambda part: (part[1], part[0] == "call"))
        return parts

    def _arguments(self, text: str) -> str:
        return json.dumps({"q": text}, ensure_ascii=True, separators=(",", ":"))

    def _json(self, value: object) -> bytes:
        return json.dumps(value, ensure_ascii=self._is_ascii, separators=self._separators).encode()

    def _own(self, *names: str) -> Json:
        """Fields that are the operator's own."""
        if not self._has_canaries:
            return {}
        return {name: f"{name}-{CANARY}" for name in names if self._choices.happens(2)}

    def _event(self, data: Json, name: str = "", **truth: object) -> Event:
        lines = [b"data: " + self._json(data)]
        if self._is_pretty:
            # Several lines of data are one text.
            lines = [
                b"data: " + line
                for line in json.dumps(data, ensure_ascii=self._is_ascii, indent=1).encode().split(b"\n")
            ]
        if name:
            lines.insert(self._choices.below(2), b"event: " + name.encode())
        if self._choices.happens(12):
            lines.append(b"id: " + CANARY.encode())
        return replace(Event(tuple(lines)), **truth)  # type: ignore[arg-type]

    def _noise(self) -> Iterator[Event]:
        if not self._choices.happens(6):
            return
        if self._choices.happens(3):
            wire = self._story.asked.wire
            ping: Json = {"type": "ping"} if wire == "anthropic.messages" else {"choices": [], **self._own("id")}
            if wire != "openai.responses":
                yield self._event(ping, "ping" if wire == "anthropic.messages" else "", says=Says.NOTHING)
                return
        yield Event(self._choices.pick(_COMMENTS), Says.NOTHING)

    def _usage(self) -> Json:
        """The usage of OpenAI's formats, if it is told."""
        story = self._story
        if story.has_zeros:
            return {"usage": self._choices.pick(({"prompt_tokens": 0, "completion_tokens": 0}, None, {}))}
        if story.usage is None:
            return {}
        usage, is_new = story.usage, story.asked.wire == "openai.responses"
        prompt, completion = ("input_tokens", "output_tokens") if is_new else ("prompt_tokens", "completion_tokens")
        told: Json = {prompt: usage.prompt_tokens, completion: usage.completion_tokens}
        told["total_tokens"] = usage.prompt_tokens + usage.completion_tokens
        if usage.cached_tokens:
            told[f"{prompt}_details"] = {"cached_tokens": usage.cached_tokens}
        if self._has_canaries:
            told |= {
                "cost": 0.5,
                "cost_details": {"upstream_inference_cost": CANARY},
                **self._own("account", "is_byok"),
            }
        return {"usage": told}

    def _top(self, kind: str) -> Json:
        return {
            "id": f"chatcmpl-{CANARY}" if self._has_canaries else "chatcmpl-1",
            "object": kind,
            "created": 1_700_000_000,
            "model": f"model-{CANARY}" if self._has_canaries else "m",
            **self._own("system_fingerprint", "provider", "request_id", "user_id", "x_cost"),
        }

    def _chunks(self) -> Iterator[Event]:
        story, choices = self._story, self._choices
        is_chat = story.asked.wire == "openai.chat"
        kind = "chat.completion.chunk" if is_chat else "text_completion"
        if is_chat and not choices.happens(3):
            role = [{"index": 0, "delta": {"role": "assistant", "content": choices.pick(("", None))}}]
            yield self._event({**self._top(kind), "choices": role}, says=Says.PERHAPS)
        calls = 0
        for part, number, text in story.parts:
            if part == "call":
                text = self._arguments(text)
            choice: Json = {"index": number, "finish_reason": choices.pick(_NO_ENDS), **self._own("gateway")}
            if not is_chat:
                choice["text"] = text
            elif part == "thought":
                choice["delta"] = {choices.pick(("reasoning_content", "reasoning")): text}
            elif part == "text":
                choice["delta"] = {"content": text}
            else:
                function = {"name": "look", "arguments": text}
                call = {"index": calls, "id": f"call_{calls}", "type": "function", "function": function}
                choice["delta"] = {"tool_calls": [call]}
                calls += 1
            data = {**self._top(kind), "choices": [choice]}
            if choices.happens(6):
                data["usage"] = choices.pick((None, {}))
            if choices.happens(6):
                data["error"] = choices.pick((None, {}, "", False))
            yield self._event(data, text="" if part == "thought" else text)
        yield from self._chunk_ends(kind)
        if choices.below(4) != 3:
            yield Event((b"data: [DONE]",), Says.NOTHING, is_last=True)

    def _chunk_ends(self, kind: str) -> Iterator[Event]:
        story, choices = self._story, self._choices
        gives_up = choices.happens(12)
        usage = self._usage()
        place = choices.pick(("apart", "beside", "x_groq", "choice")) if usage else ""
        for number in range(story.asked.choices):
            end = choices.pick(_FAILED_ENDS) if gives_up else story.end
            choice: Json = {"index": number, "delta": {}, "finish_reason": end}
            if story.asked.wire != "openai.chat":
                choice["text"] = ""
            data: Json = {**self._top(kind), "choices": [choice]}
            is_final = number == story.asked.choices - 1
            tells = is_final and place not in ("", "apart")
            if tells and place == "beside":
                data |= usage
            elif tells and place == "x_groq":
                data["x_groq"] = {"id": CANARY, **usage}
            elif tells:
                choice |= usage
            yield self._event(data, says=Says.PERHAPS, finishes=number, gives_up=gives_up, tells_usage=tells)
        if place == "apart":
            yield self._event({**self._top(kind), "choices": [], **usage}, says=Says.PERHAPS, tells_usage=True)

    def _completion(self) -> Json:
        story, choices = self._story, self._choices
        told: list[Json] = []
        is_chat = story.asked.wire == "openai.chat"
        for number in range(story.asked.choices):
            own = [(kind, text) for kind, of, text in self._in_order() if of == number]
            text = "".join(text for kind, text in own if kind == "text")
            choice: Json = {"index": number, "finish_reason": story.end, **self._own("gateway")}
            if is_chat:
                message: Json = {"role": "assistant", "content": text}
                thought = "".join(text for kind, text in own if kind == "thought")
                if thought:
                    message[choices.pick(("reasoning_content", "reasoning"))] = thought
                calls = [text for kind, text in own if kind == "call"]
                if calls:
                    message["tool_calls"] = [
                        {"id": f"call_{at}", "type": "function", "function": {"name": "look", "arguments": arguments}}
                        for at, arguments in enumerate(calls)
                    ]
                choice["message"] = message
            else:
                choice["text"] = text
            told.append(choice)
        kind = "chat.completion" if is_chat else "text_completion"
        return {**self._top(kind), "choices": told, **self._usage()}

    def _messages_usage(self) -> tuple[Json, Json]:
        """What is told at the begin of a message, and at its end."""
        usage = self._story.usage
        if usage is None:
            return ({"usage": {"input_tokens": 0, "output_tokens": 0}}, {}) if self._story.has_zeros else ({}, {})
        prompt: Json = {"input_tokens": usage.prompt_tokens - usage.cached_tokens}
        if usage.cached_tokens:
            prompt["cache_read_input_tokens"] = usage.cached_tokens
        prompt |= self._own("account", "cost_details")
        return {"usage": {**prompt, "output_tokens": 1}}, {"usage": {"output_tokens": usage.completion_tokens}}

    def _message_top(self) -> Json:
        own = f"msg_{CANARY}" if self._has_canaries else "msg_1"
        model = f"model-{CANARY}" if self._has_canaries else "m"
        return {
            "id": own,
            "type": "message",
            "role": "assistant",
            "model": model,
            **self._own("provider", "request_id"),
        }

    def _message_events(self) -> Iterator[Event]:
        story, choices = self._story, self._choices
        begin, end = self._messages_usage()
        message = {**self._message_top(), "content": [], "stop_reason": None, **begin}
        yield self._event({"type": "message_start", "message": message}, "message_start", says=Says.PERHAPS)
        for index, (kind, _, text) in enumerate(story.parts):
            if kind == "call":
                text = self._arguments(text)
            block, delta = _block(kind, index, text)
            own = self._own("request_id", "provider")
            started = {"type": "content_block_start", "index": index, "content_block": block, **own}
            yield self._event(started, "content_block_start", says=Says.PERHAPS)
            said = {"type": "content_block_delta", "index": index, "delta": delta, **own}
            yield self._event(said, "content_block_delta", text="" if kind == "thought" else text)
            stopped: Json = {"type": "content_block_stop", "index": index}
            yield self._event(stopped, "content_block_stop", says=Says.PERHAPS)
        gives_up = choices.happens(12)
        reason = choices.pick(_FAILED_ENDS) if gives_up else story.end
        delta_end: Json = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, **end}
        yield self._event(
            delta_end, "message_delta", says=Says.PERHAPS, finishes=0, gives_up=gives_up, tells_usage=bool(end)
        )
        yield self._event({"type": "message_stop"}, "message_stop", says=Says.NOTHING, is_last=True)

    def _message(self) -> Json:
        blocks: list[Json] = []
        for index, (kind, _, text) in enumerate(self._story.parts):
            match kind:
                case "text":
                    blocks.append({"type": "text", "text": text})
                case "thought":
                    blocks.append({"type": "thinking", "thinking": text, "signature": "s"})
                case _:
                    blocks.append({"type": "tool_use", "id": f"toolu_{index}", "name": "look", "input": {"q": text}})
        begin, end = self._messages_usage()
        usage: Json = {}
        for told in (begin, end):
            counts = told.get("usage")
            usage |= counts if isinstance(counts, dict) else {}
        top = {**self._message_top(), "content": blocks, "stop_reason": self._story.end, "stop_sequence": None}
        return {**top, "usage": usage} if usage else top

    def _items(self) -> list[Json]:
        items: list[Json] = []
        for index, (kind, _, text) in enumerate(self._story.parts):
            if kind == "call":
                arguments = self._arguments(text)
                call = {"type": "function_call", "id": f"fc_{index}", "call_id": f"call_{index}", "name": "look"}
                items.append({**call, "arguments": arguments, "status": "completed"})
            else:
                part = {"type": "output_text", "text": text, "annotations": []}
                items.append({"type": "message", "id": f"msg_{index}", "role": "assistant", "content": [part]})
        return items

    def _response(self, status: str = "completed") -> Json:
        own = f"resp_{CANARY}" if self._has_canaries else "resp_1"
        model = f"model-{CANARY}" if self._has_canaries else "m"
        top: Json = {"id": own, "object": "response", "created_at": 1, "model": model, "status": status, "error": None}
        top |= self._own("billing", "safety_identifier", "user", "provider")
        items: list[Json] = self._items() if status != "in_progress" else []
        told = self._usage() if status != "in_progress" else {"usage": None}
        return {**top, "output": items, **told}

    def _response_events(self) -> Iterator[Event]:
        begun: Json = {"type": "response.created", "response": self._response("in_progress"), "sequence_number": 0}
        yield self._event(begun, "response.created", says=Says.PERHAPS)
        for index, (item, (kind, _, text)) in enumerate(zip(self._items(), self._story.parts, strict=True)):
            name = "response.function_call_arguments.delta" if kind == "call" else "response.output_text.delta"
            text = self._arguments(text) if kind == "call" else text
            at = {"output_index": index, "item_id": str(item["id"]), "sequence_number": index + 1}
            yield self._event(
                {"type": name, **at, "delta": text, **self._own("response_id", "provider")}, name, text=text
            )
        failed = self._choices.happens(12)
        status = "failed" if failed else self._choices.pick(("completed", "incomplete"))
        end = f"response.{status}"
        response = self._response(status)
        if failed:
            response["error"] = {"code": "server_error", "message": WORDS[0]}
        yield self._event(
            {"type": end, "response": response},
            end,
            says=Says.PERHAPS,
            fails=failed,
            is_last=not failed,
            tells_usage=True,
        )


def _block(kind: str, index: int, text: str) -> tuple[Json, Json]:
    """A block of a message as it begins, and what is added to it."""
    match kind:
        case "text":
            return {"type": "text", "text": ""}, {"type": "text_delta", "text": text}
        case "thought":
            return {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": text}
        case _:
            call: Json = {"type": "tool_use", "id": f"toolu_{index}", "name": "look", "input": {}}
            return call, {"type": "input_json_delta", "partial_json": text}
