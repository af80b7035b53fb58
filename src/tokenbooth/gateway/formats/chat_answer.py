"""A tolerant reader of chat completions: servers send the same things under many names and in many shapes.

It accepts whatever has one plain meaning: numbers in the place of texts, halves of a character in two events, an object
where its JSON is due. Everything else is an error, because the client pays for the answer and must not lose a part of
it. Never compiled: it works on decoded JSON of any shape.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tokenbooth.gateway.formats.ends import is_end
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_json
from tokenbooth.gateway.formats.texts import REASONING

Json = dict[str, object]

_ABSENT: Final = ("", "null")
_THOUGHT_PARTS: Final = ("thinking", "reasoning", "reasoning.text", "reasoning.summary")
# What only the server can read, or what only points at sources.
_SILENT_PARTS: Final = ("reasoning.encrypted", "redacted_thinking", "reference", "tool_reference")
_TEXTS: Final = ("text", "thinking", "summary", "content", "reasoning", "refusal", "transcript", "value")


class UnreadableAnswer(msgspec.ValidationError):
    """An answer holds something that has no meaning that we know."""


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A call of a tool, or a piece of one.

    Attributes:
        index: the call's number at the server; None for none.
        call_id: the call's id; empty for none.
        name: the tool's name; empty for none.
        arguments: JSON, or a custom tool's text.
        is_custom: whether the arguments are any text.
        begins: whether it has an id or a type, even an empty one, as the first piece of a call does.
    """

    index: int | None
    call_id: str
    name: str
    arguments: str
    is_custom: bool = False
    begins: bool = False


@dataclass(frozen=True, slots=True)
class MessageContent:
    """The thought, the text and the tool calls of a message, or of a piece of one."""

    thought: str = ""
    text: str = ""
    calls: list[CallPiece] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether any of them is there."""
        return bool(self.thought or self.text or self.calls)


NO_CONTENT: Final = MessageContent()


@dataclass(frozen=True, slots=True)
class Choice:
    """The first choice of a completion, or of a chunk.

    Attributes:
        delta: what a chunk adds.
        message: the whole message.
        finish_reason: why the answer ended; empty while it goes on.
        stop_sequence: the stop sequence that ended it; empty when the server does not report it.
        index: its number; 0 when it has none.
    """

    delta: MessageContent = NO_CONTENT
    message: MessageContent = NO_CONTENT
    finish_reason: str = ""
    stop_sequence: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion, or a chunk of one.

    Attributes:
        choice: its first choice; None when it has none.
    """

    choice: Choice | None


def read_completion(body: bytes) -> Completion | None:
    """Read a completion, or a chunk of one; None when it is JSON and no object.

    Raises:
        UnreadableAnswer: it is no JSON, or something in it has no meaning that we know.
    """
    decoded = decode_lenient(body)
    if not isinstance(decoded, dict):
        return None
    return Completion(_first_choice(decoded.get("choices")))


def decode_lenient(text: bytes | str) -> object:
    """Decode JSON whose texts may hold halves of a character.

    Raises:
        UnreadableAnswer: it is no JSON.
    """
    try:
        return decode_json(text)
    except UNREADABLE:
        pass
    try:
        decoded: object = json.loads(text.decode(errors="replace") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as mistake:
        raise UnreadableAnswer("the answer is not JSON") from mistake
    return decoded


def whole_characters(text: str) -> str:
    """Text with the halves of a character put together; a half that stands alone becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_texts(value: object) -> object:
    """A decoded value whose texts hold no halves of characters."""
    match value:
        case str():
            return whole_characters(value)
        case list():
            return [whole_texts(one) for one in value]
        case dict():
            return {whole_characters(str(name)): whole_texts(one) for name, one in value.items()}
        case _:
            return value


def ends_in_half(text: str) -> bool:
    """Whether a text ends in the first half of a character."""
    return "\ud800" <= text[-1:] <= "\udbff"


def _first_choice(choices: object) -> Choice | None:
    if choices is None:
        return None
    if not isinstance(choices, list):
        raise UnreadableAnswer("'choices' is no list")
    for choice in choices:
        if isinstance(choice, dict):
            return _choice(choice)
    return None


def _choice(choice: Json) -> Choice:
    reason, stop = choice.get("finish_reason"), choice.get("stop_reason")
    return Choice(
        # Some servers write it as a completion does.
        _content_of(choice.get("delta") or choice.get("text")),
        _content_of(choice.get("message")),
        whole_characters(reason) if isinstance(reason, str) and is_end(reason) else "",
        # Some servers write the number of a token here.
        whole_characters(stop) if isinstance(stop, str) else "",
        _number(choice.get("index")) or 0,
    )


def _content_of(message: object) -> MessageContent:
    if not message:
        return NO_CONTENT
    if isinstance(message, str):
        return MessageContent(text=message)
    if not isinstance(message, dict):
        raise UnreadableAnswer("a message is no object")
    thought, text = _parts(message.get("content"))
    # The same thought stands under several names at some servers, so the first one counts.
    for name in REASONING:
        if thought := thought or _thought(message.get(name)):
            break
    if not text and isinstance(message.get("text"), str):
        text = _text(message["text"])
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal != text:
        text += refusal
    audio = message.get("audio")
    if not text and isinstance(audio, dict):
        text = _text(audio.get("transcript"))
    if message.get("images"):
        raise UnreadableAnswer("an answer that is an image has no form in this format")
    return MessageContent(thought, text, _calls(message))


def _thought(value: object) -> str:
    if isinstance(value, list):
        return "".join(map(_thought, value))
    if isinstance(value, dict):
        return "" if value.get("type") in _SILENT_PARTS else _text(value)
    return value if isinstance(value, str) else ""


def _parts(content: object) -> tuple[str, str]:
    """The thought and the text of a content, which is a text or a list of parts."""
    if content is None or isinstance(content, str):
        return "", content or ""
    if isinstance(content, bool | int | float):
        return "", _written(content)
    thought = text = ""
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if part is None or kind in _SILENT_PARTS:
            continue
        if kind in _THOUGHT_PARTS:
            thought += _text(part)
        else:
            text += _text(part)
    return thought, text


def _text(value: object) -> str:
    """The text in a part, or in a list of parts, or a text itself."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list):
        return "".join(map(_text, value))
    if isinstance(value, dict):
        for name in _TEXTS:
            if value.get(name) is not None:
                return _text(value[name])
        if set(value) <= {"type", "id", "index", "format", "signature", "annotations"} and value.get("type") in (
            "text",
            "output_text",
            *_THOUGHT_PARTS,
        ):
            return ""
    raise UnreadableAnswer("a part of the answer is no text")


def _calls(message: Json) -> list[CallPiece]:
    given = message.get("tool_calls")
    calls = [given] if isinstance(given, dict) else given or []
    if not isinstance(calls, list):
        raise UnreadableAnswer("'tool_calls' is no list")
    read = [read_call(call) for call in calls if call]
    legacy = message.get("function_call")
    if legacy and not read:
        read.append(read_call({"function": legacy}))
    return read


def read_call(call: object) -> CallPiece:
    """Read a call of a tool, or a piece of one.

    Raises:
        UnreadableAnswer: it is no object, or its function is none.
    """
    if not isinstance(call, dict):
        raise UnreadableAnswer("a call of a tool is no object")
    custom, function = call.get("custom"), call.get("function")
    # Some servers leave the object around the function out.
    held = custom or function or call
    if not isinstance(held, dict):
        raise UnreadableAnswer("a call's function is no object")
    arguments = held.get("input" if custom else "arguments")
    return CallPiece(
        _number(call.get("index")),
        _meaningful(call.get("id")),
        _meaningful(held.get("name")),
        arguments if isinstance(arguments, str) else "" if arguments is None else _written(arguments),
        is_custom=bool(custom) or call.get("type") == "custom",
        begins="id" in call or "type" in call,
    )


def _written(value: object) -> str:
    """A value as its JSON."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _meaningful(value: object) -> str:
    """A name or an id; some servers write numbers, and some write that there is none."""
    if isinstance(value, bool) or value is None:
        return ""
    text = value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""
    return "" if text in _ABSENT else whole_characters(text)


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:9])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # A number beyond all others, such as 1e400, numbers nothing.
    return int(value) if math.isfinite(value) else None
