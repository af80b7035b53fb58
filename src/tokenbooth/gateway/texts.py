"""The texts of answers, each once, for a count where no usage came.

Servers tell the same text under several names beside each other (a thought as `reasoning` and as `reasoning_content`),
or again as a whole behind its pieces (`message` behind `delta`). What is counted is what the model wrote: text, visible
thoughts, refusals, transcripts of audio, and what it calls tools with.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from tokenbooth.gateway.body import UNREADABLE
from tokenbooth.gateway.half_characters import decode_with_halves

_REASONING: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_REASONING_PARTS: Final = ("reasoning_details", "thinking_blocks")
_PART_TEXTS: Final = ("text", "thinking", "summary", "refusal", "transcript", "content")
# Of a whole answer's choice, what tells no text, and the message, in which all texts of such a choice are.
_SILENT_OF_CHOICE: Final = frozenset(("finish_reason", "index", "logprobs", "message"))
_decode_object: Final = msgspec.json.Decoder(dict[str, object]).decode
_NOTHING: Final[Mapping[str, object]] = {}


class ChatTexts:
    """Collects the texts of a chat completion or a completion, from a whole answer or event by event."""

    __slots__ = ("_repeated", "_text_bytes", "events")

    def __init__(self) -> None:
        self.events = 0
        self._text_bytes = 0
        # What stands in whole messages of a stream, by the choice.
        self._repeated: dict[object, str] = {}

    def add(self, data: bytes) -> None:
        """Take a whole answer, or the data of an event; what cannot be read has no text."""
        try:
            choices = _decode(data).get("choices")
        except UNREADABLE:
            return
        for choice in _objects(choices):
            content = _content_alone(choice)
            if content is not None:
                if content:
                    self.events += 1
                    self._repeat(choice.get("index"), content)
                continue
            said = list(_said(_object(choice.get("delta")))) + list(_said(choice, ("text",)))
            message = "".join(_said(_object(choice.get("message"))))
            if message:
                self._repeat(choice.get("index"), message)
            self.events += len(said) or bool(message)
            self._text_bytes += sum(map(size, said))

    def text_bytes(self, passed_bytes: int = 0) -> int:
        """The bytes of all texts, with those of pieces that were counted elsewhere."""
        return max(passed_bytes + self._text_bytes, sum(map(size, self._repeated.values())))

    def _repeat(self, index: object, message: str) -> None:
        """A message is told again, or on; what it repeats counts once."""
        key = index if isinstance(index, int) else 0
        before = self._repeated.get(key, "")
        if message.startswith(before):
            self._repeated[key] = message
        elif not before.startswith(message):
            self._repeated[key] = before + message


def _content_alone(choice: Mapping[str, object]) -> str | None:
    """The content of a whole answer's choice that says nothing else; None for any other choice.

    That is what almost all are, and looking under each name where a text may stand costs thirty times as much.
    """
    message = choice.get("message")
    if not isinstance(message, dict):
        return None
    for name in choice:
        if name not in _SILENT_OF_CHOICE:
            return None
    content = ""
    for name, value in message.items():
        if name == "content" and isinstance(value, str):
            content = value
        elif value is not None and name != "role" and value != []:
            return None
    return content


def chat_text_bytes(body: bytes) -> int:
    """The bytes of the texts of a whole chat completion or completion."""
    texts = ChatTexts()
    texts.add(body)
    return texts.text_bytes()


def messages_text_bytes(body: bytes) -> int:
    """The bytes of the texts of a whole message."""
    try:
        content = _decode(body).get("content")
    except UNREADABLE:
        return 0
    return sum(map(size, _block_texts(content)))


def message_event_texts(data: bytes) -> list[str]:
    """The texts of an event of a message."""
    try:
        event = _decode(data)
    except UNREADABLE:
        return []
    delta = _object(event.get("delta"))
    said = [text for name in ("text", "thinking", "partial_json") if (text := delta.get(name))]
    block = _object(event.get("content_block"))
    content = _object(event.get("message")).get("content")
    return [text for text in said if isinstance(text, str)] + _block_texts([block]) + _block_texts(content)


def responses_text_bytes(body: bytes) -> int:
    """The bytes of the texts of a whole response."""
    try:
        output = _decode(body).get("output")
    except UNREADABLE:
        return 0
    said: list[str] = []
    for item in _objects(output):
        for name in ("content", "summary"):
            said += [text for part in _objects(item.get(name)) for text in _first_text(part, _PART_TEXTS)]
        said += [text for name in ("arguments", "input") if (text := _as_text(item.get(name)))]
    return sum(map(size, said))


def _decode(data: bytes) -> dict[str, object]:
    return decode_with_halves(_decode_object, data)


def size(text: str) -> int:
    """The bytes of a text as JSON writes it."""
    try:
        return len(msgspec.json.encode(text)) - 2
    except UnicodeEncodeError:
        # A lone surrogate.
        return len(text.encode(errors="surrogatepass"))


def _said(message: Mapping[str, object], names: tuple[str, ...] = ()) -> Iterator[str]:
    """What a message, or a piece of one, says; each text once."""
    thoughts = [_plain(message.get(name)) for name in _REASONING]
    thoughts += [_parts(message.get(name)) for name in _REASONING_PARTS]
    content = message.get("content")
    if isinstance(content, list):
        thoughts.append("".join(_of_thinking(content)))
        content = "".join(_of_text(content))
    words = [_plain(content), _plain(message.get("refusal"))]
    words += [_plain(message.get(name)) for name in names]
    words.append(_plain(_object(message.get("audio")).get("transcript")))
    calls = [*_objects(message.get("tool_calls")), {"function": message.get("function_call")}]
    written = [
        text
        for call in calls
        for inside, name in (("function", "arguments"), ("custom", "input"))
        if (text := _as_text(_object(call.get(inside)).get(name)))
    ]
    # Two calls may be the same; the older form of a call repeats the newer one's.
    if len(written) > 1 and written[-1] in written[:-1] and message.get("function_call"):
        written.pop()
    yield from _once(thoughts)
    yield from _once(words)
    yield from written


def _once(texts: Iterable[str]) -> list[str]:
    """The texts without those that another holds."""
    kept: list[str] = []
    for text in sorted(filter(None, texts), key=len, reverse=True):
        if not any(text in longer for longer in kept):
            kept.append(text)
    return kept


def _of_thinking(parts: list[object]) -> Iterator[str]:
    for part in _objects(parts):
        if part.get("type") in ("thinking", "reasoning"):
            yield _parts(part.get("thinking")) or _parts([part])


def _of_text(parts: list[object]) -> Iterator[str]:
    for part in _objects(parts):
        if part.get("type") not in ("thinking", "reasoning"):
            yield from _first_text(part, _PART_TEXTS)


def _parts(value: object) -> str:
    return "".join(text for part in _objects(value) for text in _first_text(part, _PART_TEXTS))


def _first_text(part: Mapping[str, object], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if text := _plain(part.get(name)):
            yield text
            return


def _block_texts(content: object) -> list[str]:
    """The texts of blocks of a message."""
    said: list[str] = []
    for block in _objects(content):
        if block.get("type") in ("tool_use", "server_tool_use"):
            said.append(_as_text(block.get("input")))
        elif block.get("type") in ("text", "thinking"):
            said += _first_text(block, ("text", "thinking"))
    return [text for text in said if text]


def _as_text(value: object) -> str:
    """What a tool is called with; some servers write an object and no text."""
    if isinstance(value, dict | list) and value:
        return msgspec.json.encode(value).decode()
    return _plain(value)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else _NOTHING


def _objects(value: object) -> list[Mapping[str, object]]:
    if isinstance(value, str):
        return []
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
