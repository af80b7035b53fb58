"""The texts of answers, each counted once, for a charge where no usage came.

Servers write the same text under several names (a thought as `reasoning` and as `reasoning_content`), or as a whole
after its pieces (`message` after `delta`). What counts is what the model wrote: text, visible thoughts, refusals,
transcripts of audio, and the arguments of tool calls.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_dict, encode
from tokenbooth.gateway.formats.json.half_characters import decode_with_halves

# Beside the usual names those of Copilot (`cot_summary`), GLM and Gemini's gateways (`thought`), Cohere (`tool_plan`).
REASONING: Final = (
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "reasoning_summary",
    "thinking",
    "thinking_content",
    "thought",
    "thoughts",
    "cot_summary",
    "tool_plan",
    "reasoning_details",
    "thinking_blocks",
)
_PART_TEXTS: Final = ("text", "thinking", "reasoning", "summary", "refusal", "transcript", "content", "value")
# Parts of parts; nobody writes more.
_MOST_DEPTH: Final = 4
# Fields of a whole answer's choice without text, and the message, which has all texts of such a choice.
_SILENT_OF_CHOICE: Final = frozenset(("finish_reason", "index", "logprobs", "message"))
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
        """Add a whole answer, or the data of an event."""
        for choice in _objects(_decode(data).get("choices")):
            content = _content_alone(choice)
            if content is not None:
                if content:
                    self.events += 1
                    self._repeat(choice.get("index"), content)
                continue
            texts = _message_texts(choice.get("delta")) + _message_texts(_plain(choice.get("text")))
            # MiniMax and Azure have a list of them.
            messages = [choice.get("message"), *_objects(choice.get("messages"))]
            message = "".join(text for one in messages for text in _message_texts(one))
            texts += [text for one in _objects(choice.get("messages")) for text in _message_texts(one.get("delta"))]
            if message:
                self._repeat(choice.get("index"), message)
            self.events += len(texts) or bool(message)
            self._text_bytes += sum(map(size, texts))

    def text_bytes(self, passed_bytes: int = 0) -> int:
        """The bytes of all texts, with those of pieces that were counted elsewhere."""
        return max(passed_bytes + self._text_bytes, sum(map(size, self._repeated.values())))

    def _repeat(self, index: object, message: str) -> None:
        """Count a whole message, which may repeat or continue an earlier one, once."""
        key = index if isinstance(index, int) else 0
        before = self._repeated.get(key, "")
        if message.startswith(before):
            self._repeated[key] = message
        elif not before.startswith(message):
            self._repeated[key] = before + message


def _content_alone(choice: Mapping[str, object]) -> str | None:
    """The content of a whole answer's choice that has no other text; None for any other choice.

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
    content = _decode(body).get("content")
    return size(content) if isinstance(content, str) else sum(map(size, _block_texts(content)))


def message_event_texts(data: bytes) -> list[str]:
    """The texts of an event of a message."""
    event = _decode(data)
    delta = _object(event.get("delta"))
    texts = [text for name in ("text", "thinking", "partial_json") if (text := delta.get(name))]
    block = _object(event.get("content_block"))
    content = _object(event.get("message")).get("content")
    return [text for text in texts if isinstance(text, str)] + _block_texts([block]) + _block_texts(content)


def responses_text_bytes(body: bytes) -> int:
    """The bytes of the texts of a whole response, or of the event that holds it."""
    decoded = _decode(body)
    response = _object(decoded.get("response")) or decoded
    texts: list[str] = []
    for item in _objects(response.get("output")):
        for name in ("content", "summary"):
            parts = item.get(name)
            texts += [_text_in(part) for part in (parts if isinstance(parts, list) else [parts])]
        # Of functions, of custom tools, of patches, of a shell.
        texts += [_as_text(item.get(name)) for name in ("arguments", "input", "operation", "action", "code")]
    # A server may write the whole text beside the items, or instead of them.
    return max(sum(map(size, texts)), size(_plain(response.get("output_text"))))


def _decode(data: bytes) -> dict[str, object]:
    """An object; empty for what cannot be read, which has no text."""
    try:
        return decode_with_halves(decode_dict, data)
    except UNREADABLE:
        return {}


def size(text: str) -> int:
    """The bytes of a text as JSON writes it."""
    try:
        return len(encode(text)) - 2
    except UnicodeEncodeError:
        # A lone surrogate.
        return len(text.encode(errors="surrogatepass"))


def _message_texts(message: object) -> list[str]:
    """The texts of a message, or of a piece of one, each once."""
    if not isinstance(message, dict):
        return [message] if isinstance(message, str) and message else []
    content = message.get("content")
    thoughts = [_text_in(message.get(name)) for name in REASONING]
    if isinstance(content, list):
        thoughts.append("".join(_text_in(part.get("thinking") or part) for part in _objects(content) if _thinks(part)))
        content = [part for part in content if not (isinstance(part, dict) and _thinks(part))]
    words = [_text_in(value) for value in (content, message.get("refusal"), message.get("text"))]
    words.append(_plain(_object(message.get("audio")).get("transcript")))
    given = message.get("tool_calls")
    calls = [*_objects([given] if isinstance(given, dict) else given), {"function": message.get("function_call")}]
    written = [text for call in calls if (text := _called_with(call))]
    # Two calls may be the same; the older form of a call repeats the newer one's.
    if len(written) > 1 and written[-1] in written[:-1] and message.get("function_call"):
        written.pop()
    return _once(thoughts) + _once(words) + written


def _called_with(call: Mapping[str, object]) -> str:
    """The arguments of a call; some servers leave the object around the function out."""
    for held in (_object(call.get("function")), _object(call.get("custom")), call):
        for name in ("arguments", "input"):
            if text := _as_text(held.get(name)):
                return text
    return ""


def _once(texts: Iterable[str]) -> list[str]:
    """The texts without those that another holds."""
    kept: list[str] = []
    for text in sorted(filter(None, texts), key=len, reverse=True):
        if not any(text in longer for longer in kept):
            kept.append(text)
    return kept


def _thinks(part: Mapping[str, object]) -> bool:
    return part.get("type") in ("thinking", "reasoning")


def _text_in(value: object, depth: int = _MOST_DEPTH) -> str:
    """The text of a value: itself, that of a part, or those of a list of parts and texts."""
    if isinstance(value, str):
        return value
    if not depth:
        return ""
    if isinstance(value, list):
        return "".join([_text_in(one, depth - 1) for one in value])
    if isinstance(value, dict):
        return next((text for name in _PART_TEXTS if (text := _text_in(value.get(name), depth - 1))), "")
    return ""


def _block_texts(content: object) -> list[str]:
    """The texts of blocks of a message."""
    texts: list[str] = []
    for block in _objects(content):
        if block.get("type") in ("tool_use", "server_tool_use"):
            texts.append(_as_text(block.get("input")))
        elif block.get("type") in ("text", "thinking"):
            texts.append(_plain(block.get("text")) or _plain(block.get("thinking")))
    return [text for text in texts if text]


def _as_text(value: object) -> str:
    """The arguments of a call as text; some servers write an object."""
    if isinstance(value, dict | list) and value:
        return encode(value).decode()
    return _plain(value)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else _NOTHING


def _objects(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
