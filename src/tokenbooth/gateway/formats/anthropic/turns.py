"""The conversation of a messages request as the messages of a chat completion.

The order stays the client's where it can. Chat completions want the results of tools directly after their calls, and in
the same order, because templates print them without ids; what the user says before or between them follows.
"""

from collections.abc import Generator, Iterable
from typing import Final

import msgspec

from tokenbooth.gateway.errors import invalid_request
from tokenbooth.gateway.formats.anthropic.raw_text import as_text, blocks_in, joined, object_in, texts_of
from tokenbooth.gateway.formats.anthropic.tool_names import ToolNames
from tokenbooth.gateway.formats.anthropic.untranslatable import Omitted, no_counterpart
from tokenbooth.gateway.formats.json.body import (
    Object,
    is_empty,
    is_null,
    is_object,
    is_text,
    raw,
    short_text,
    short_value,
    size_of,
)
from tokenbooth.gateway.formats.json.steps import STEP_ITEMS

THOUGHT: Final = "reasoning_content"
"""Where an assistant's message holds what was thought, before it goes to an upstream with another name for it."""

_EMPTY: Final = b'""'
_TEXT: Final = raw("text")
_PARAGRAPH: Final = raw("\n\n")
_NO_INPUT: Final = raw("{}")
# Fields of blocks that are translated, or only control caching, calling or quoting.
_KNOWN: Final = frozenset(
    (
        "cache_control",
        "caller",
        "citations",
        "content",
        "context",
        "data",
        "id",
        "input",
        "is_error",
        "name",
        "signature",
        "source",
        "text",
        "thinking",
        "title",
        "tool_use_id",
        "toolset_name",
        "type",
    )
)


class Conversation:
    """Translates messages one by one.

    Messages of one role that follow each other are one turn, as they are to Anthropic's models: several servers refuse
    roles that don't alternate, and all of them calls that are not answered before the next message.

    Attributes:
        messages: what has been translated.
    """

    __slots__ = ("_after_calls", "_calls", "_images", "_names", "_omitted", "_role", "_turn", "messages")

    def __init__(self, names: ToolNames, omitted: Omitted) -> None:
        self.messages: list[Object] = []
        self._names = names
        self._omitted = omitted
        self._role = ""
        self._turn: list[list[Object]] = []
        # The place of each call among those of the last assistant's message, and where its results go.
        self._calls: dict[str, int] = {}
        self._after_calls = 0
        # How many images the user's turn has so far.
        self._images = 0

    def take(self, message: Object) -> Generator[None, None, None]:
        """Add the next message.

        Raises:
            Refusal: something in it has no form in the other format.
        """
        role, content = short_text(message.get("role")), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise invalid_request("invalid_parameter", "A message's 'role' must be user or assistant.", "messages")
        if role != self._role:
            yield from self.end_turn()
            self._role = role
        if content is not None and is_text(content):
            self._turn.append([{"type": _TEXT, "text": content}])
            return
        self._turn.append((yield from blocks_in(content)))

    def end_turn(self) -> Generator[None, None, None]:
        """Translate the messages that were added since the last turn ended.

        Raises:
            Refusal: something in it has no form in the other format.
        """
        turn, self._turn = self._turn, []
        if not turn:
            return
        match self._role:
            case "assistant":
                yield from self._assistant(turn)
            case "user":
                yield from self._user(turn)
            case _:
                yield from self._system(turn)

    def ends_begun(self) -> bool:
        """Whether the last message is an assistant's answer that the model is to continue."""
        last: Object = self.messages[-1] if self.messages else {}
        return last.get("role") == "assistant" and "tool_calls" not in last

    def _system(self, turn: list[list[Object]]) -> Generator[None, None, None]:
        texts: list[msgspec.Raw | None] = []
        for number, block in enumerate(_blocks(turn), 1):
            if number % STEP_ITEMS == 0:
                yield
            kind = short_text(block.get("type"))
            if kind != "text":
                raise no_counterpart(f"content.{kind}", "Put only texts into a message of the system.")
            self._look_for_unknown(block)
            texts.append(block.get("text"))
        text = yield from joined(texts, rb"\n\n")
        if size_of(text) > len(_EMPTY):
            self.messages.append({"role": "system", "content": text})

    def _assistant(self, turn: list[list[Object]]) -> Generator[None, None, None]:
        texts: list[msgspec.Raw | None] = []
        thoughts: list[msgspec.Raw | None] = []
        calls: list[Object] = []
        self._calls = {}
        number = 0
        for blocks in turn:
            # Citations cut a text in pieces; between others there was something else.
            goes_on = False
            for block in blocks:
                number += 1
                if number % STEP_ITEMS == 0:
                    yield
                self._look_for_unknown(block)
                kind = short_text(block.get("type"))
                match kind:
                    case "text":
                        if texts and not goes_on:
                            texts.append(_PARAGRAPH)
                        texts.append(block.get("text"))
                    case "tool_use":
                        self._calls.setdefault(short_text(block.get("id")), len(calls))
                        calls.append((yield from self._tool_call(block)))
                    case "thinking" if is_empty(block.get("signature")):
                        thoughts.append(block.get("thinking"))
                    case "thinking" | "redacted_thinking":
                        self._omitted.add("content.thinking")
                    case _:
                        raise no_counterpart(f"content.{kind}", "Leave it out of the assistant's earlier messages.")
                goes_on = kind == "text"
        text = yield from joined(texts)
        message: Object = {"role": "assistant", "content": text if size_of(text) > len(_EMPTY) or not calls else None}
        if calls:
            message["tool_calls"] = calls
        if thoughts:
            thought = yield from joined(thoughts)
            if size_of(thought) > len(_EMPTY):
                message[THOUGHT] = thought
        self.messages.append(message)
        self._after_calls = len(self.messages)

    def _tool_call(self, block: Object) -> Generator[None, None, Object]:
        call_id = _call_id(block, "id", "A 'tool_use' needs an 'id', which is a text.")
        given: msgspec.Raw | None = block.get("input")
        if given is not None and not is_object(given) and not is_null(given):
            raise invalid_request("invalid_parameter", "The 'input' of a 'tool_use' must be an object.", "messages")
        arguments = _NO_INPUT if given is None or is_null(given) else (yield from as_text(given))
        function = {"name": self._names.sent(block.get("name"), "messages"), "arguments": arguments}
        return {"id": call_id, "type": "function", "function": function}

    def _user(self, turn: list[list[Object]]) -> Generator[None, None, None]:
        results: list[Object] = []
        parts: list[Object] = []
        self._images = 0
        for number, block in enumerate(_blocks(turn), 1):
            if number % STEP_ITEMS == 0:
                yield
            kind = short_text(block.get("type"))
            if kind == "tool_result":
                results.append((yield from self._result(block, parts)))
                continue
            if kind == "text" and _is_usual(block):
                parts.append(_text_part(block["text"]))
                continue
            more = yield from self._parts(block)
            self._images += sum(part["type"] != "text" for part in more)
            parts += more
        self._place(results)
        if len(parts) == 1 and parts[0]["type"] == "text":
            self.messages.append({"role": "user", "content": parts[0]["text"]})
        elif parts or not results:
            self.messages.append({"role": "user", "content": parts or ""})

    def _place(self, results: list[Object]) -> None:
        """Put results directly after their calls, in the order of the calls. What answers no call comes last."""
        fitting: list[tuple[int, Object]] = []
        strays: list[Object] = []
        for result in results:
            position = self._calls.get(short_text(result["tool_call_id"]))
            if position is None:
                strays.append(result)
            else:
                fitting.append((position, result))
        fitting.sort(key=lambda one: one[0])
        at = self._after_calls
        self.messages[at:at] = [result for _, result in fitting]
        self._after_calls += len(fitting)
        self.messages += strays

    def _result(self, block: Object, parts: list[Object]) -> Generator[None, None, Object]:
        """The message with a tool's result, which is text: images go to the user's parts, and the text names them."""
        call_id = _call_id(block, "tool_use_id", "A 'tool_result' needs the 'tool_use_id' of its call.")
        self._look_for_unknown(block)
        content: msgspec.Raw | None = block.get("content")
        texts: list[msgspec.Raw | None] = []
        if content is not None and is_text(content):
            texts.append(content)
        else:
            for number, inner in enumerate((yield from blocks_in(content)), 1):
                if number % STEP_ITEMS == 0:
                    yield
                if short_text(inner.get("type")) == "text" and _is_usual(inner):
                    texts.append(inner["text"])
                    continue
                for part in (yield from self._parts(inner)):
                    if part["type"] == "text":
                        texts.append(part["text"])
                        continue
                    parts.append(part)
                    self._images += 1
                    texts.append(raw(f"[image {self._images} of the next user message]"))
        text = yield from joined(texts, rb"\n")
        if short_value(block.get("is_error")) is True:
            text = yield from joined([raw("Error: "), text])
        return {"role": "tool", "tool_call_id": call_id, "content": text}

    def _parts(self, block: Object) -> Generator[None, None, list[Object]]:
        self._look_for_unknown(block)
        kind = short_text(block.get("type"))
        match kind:
            case "text":
                return [_text_part((yield from joined([block.get("text")])))]
            case "image":
                return [(yield from _image(object_in(block.get("source"))))]
            case "document":
                self._look_for_citations(block)
                return (yield from self._document(block))
            case "search_result":
                self._look_for_citations(block)
                found = yield from texts_of(block.get("content"))
                heads = [head for head in (block.get("title"), block.get("source")) if not is_empty(head)]
                return [_text_part((yield from joined([*heads, found], rb"\n")))]
            case _:
                raise no_counterpart(f"content.{kind}", "Leave it out, or write what it says as a text.")

    def _document(self, block: Object) -> Generator[None, None, list[Object]]:
        """The parts of a document that is text or blocks, after its title and context."""
        source = object_in(block.get("source"))
        heads = [head for head in (block.get("title"), block.get("context")) if not is_empty(head)]
        content: msgspec.Raw | None = source.get("content")
        match short_text(source.get("type")):
            case "text":
                return [_text_part((yield from joined([*heads, source.get("data")], rb"\n\n")))]
            case "content" if content is not None and is_text(content):
                return [_text_part((yield from joined([*heads, content], rb"\n\n")))]
            case "content":
                parts = [_text_part((yield from joined(heads, rb"\n\n")))] if heads else []
                for number, inner in enumerate((yield from blocks_in(content)), 1):
                    if number % STEP_ITEMS == 0:
                        yield
                    if short_text(inner.get("type")) not in ("text", "image"):
                        raise no_counterpart("content.document", "Put only texts and images into a document.")
                    parts += yield from self._parts(inner)
                return parts
            case _:
                raise no_counterpart("content.document", "Send its text, or its pages as images.")

    def _look_for_unknown(self, block: Object) -> None:
        if block.keys() <= _KNOWN:
            return
        for name, value in block.items():
            if name not in _KNOWN and not is_empty(value):
                self._omitted.add(f"content.{name}")

    def _look_for_citations(self, block: Object) -> None:
        if short_value(object_in(block.get("citations")).get("enabled")) is True:
            self._omitted.add("citations")


def _call_id(block: Object, name: str, problem: str) -> msgspec.Raw:
    call_id: msgspec.Raw | None = block.get(name)
    if call_id is None or not is_text(call_id):
        raise invalid_request("invalid_parameter", problem, "messages")
    return call_id


def _blocks(turn: list[list[Object]]) -> Iterable[Object]:
    return (block for blocks in turn for block in blocks)


def _is_usual(block: Object) -> bool:
    """Whether a text block has only fields that are translated or need not be."""
    text: msgspec.Raw | None = block.get("text")
    return text is not None and is_text(text) and block.keys() <= _KNOWN


def _text_part(text: msgspec.Raw) -> Object:
    return {"type": "text", "text": text}


def _image(source: Object) -> Generator[None, None, Object]:
    kind = short_text(source.get("type"))
    media_type, data, address = source.get("media_type"), source.get("data"), source.get("url")
    if kind == "base64" and data is not None and short_text(media_type):
        url = yield from joined([raw("data:"), media_type, raw(";base64,"), data])
    elif kind == "url" and address is not None and is_text(address):
        url = address
    else:
        raise no_counterpart("content.image", "An image needs 'media_type' and 'data' in base64, or a 'url'.")
    return {"type": "image_url", "image_url": {"url": url}}
