"""The parts of a message that a chat completion becomes: content blocks, the stop reason, the usage."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal
from uuid import uuid4

from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.chat_answer import (
    CallPiece,
    Choice,
    Json,
    UnreadableAnswer,
    decode_lenient,
    ends_in_half,
    whole_characters,
    whole_texts,
)
from tokenbooth.gateway.formats.json.body import encode
from tokenbooth.gateway.formats.sse import BrokenStream
from tokenbooth.gateway.formats.tool_calls import ToolCall

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "tool_calls": "tool_use",
    "tool_use": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
    "safety": "refusal",
    "sensitive": "refusal",
    "refusal": "refusal",
}
NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
# Some servers begin the arguments of a call with these and go on with the real ones.
_NO_ARGUMENTS: Final = ("", "{}")


class TextBlock:
    """A block of text or of thinking in a stream; it keeps what has not left yet.

    Attributes:
        kind: the type of the block.
        is_open: whether the event that starts it has left.
    """

    __slots__ = ("_half", "_unsent", "is_open", "kind")

    def __init__(self, kind: Literal["text", "thinking"]) -> None:
        self.kind = kind
        self.is_open = False
        self._unsent: list[str] = []
        self._half = ""

    def add(self, text: str) -> None:
        """Add some text; the first half of a character waits for the second."""
        text, self._half = self._half + text, ""
        if ends_in_half(text):
            text, self._half = text[:-1], text[-1]
        if text:
            self._unsent.append(whole_characters(text))

    def is_whole(self) -> bool:
        """Whether it may be closed: what comes later can stand in a block of its own."""
        return True

    def start(self) -> Json:
        """The block as it begins."""
        if self.kind == "text":
            return {"type": "text", "text": ""}
        return {"type": "thinking", "thinking": "", "signature": ""}

    def delta(self, *, is_last: bool) -> Json | None:
        """The delta that may leave now; None for none."""
        if is_last and self._half:
            self._half = ""
            self._unsent.append("\ufffd")
        text = "".join(self._unsent)
        self._unsent.clear()
        return {"type": f"{self.kind}_delta", self.kind: text} if text else None


class ToolUseBlock(ToolCall):
    """A block that calls a tool; it keeps what has not left yet.

    Attributes:
        call_id: the id that the client gets.
        is_open: whether the event that starts it has left.
    """

    __slots__ = ("_taken_ids", "call_id", "is_open")

    def __init__(self, piece: CallPiece, taken_ids: set[str]) -> None:
        ToolCall.__init__(self, piece)
        self._taken_ids = taken_ids
        self.call_id = _unique_id(piece.call_id, taken_ids)
        self.is_open = False

    def take_name(self, piece: CallPiece) -> None:
        """Take the id and the name of a piece.

        Raises:
            BrokenStream: the client has got another name.
        """
        if self.is_open and piece.name not in ("", self.name):
            raise BrokenStream("a call changes its name")
        if piece.call_id and not self.told_id and not self.is_open:
            # The id of our own is not needed: the client has not seen it.
            self.call_id = _unique_id(piece.call_id, self._taken_ids)
        ToolCall.take_name(self, piece)

    def start(self) -> Json:
        """The block as it begins."""
        return {"type": "tool_use", "id": self.call_id, "name": self.name, "input": {}}

    def may_start(self) -> bool:
        """Whether its name is known for good, and its arguments can leave as they come."""
        first = "".join(self.written[:2])
        return bool(self.name) and not self.is_custom and first not in _NO_ARGUMENTS and first.lstrip()[:1] == "{"

    def delta(self, *, is_last: bool) -> Json | None:
        """The delta that may leave now; None for none."""
        is_all = is_last and self.written and not self.sent
        text = self._input_json() if is_all else "".join(self.written[self.sent :])
        self.sent = len(self.written)
        return {"type": "input_json_delta", "partial_json": text} if text else None

    def input(self) -> object:
        """The arguments as an object, which they are as a rule."""
        arguments = self.arguments()
        if self.is_custom:
            return {"input": arguments}
        try:
            decoded = decode_lenient(arguments or "{}")
            if isinstance(decoded, str):
                # Some servers write the JSON of the JSON.
                decoded = decode_lenient(decoded or "{}")
        except UnreadableAnswer:
            return {"arguments": arguments}
        if decoded is None:
            return {}
        return whole_texts(decoded) if isinstance(decoded, dict) else {"arguments": arguments}

    def in_completion(self) -> Json:
        """The call as a completion has it, with the arguments as they were written."""
        kind, name = ("custom", "input") if self.is_custom else ("function", "arguments")
        return {"id": self.call_id, "type": kind, kind: {"name": self.name, name: self.arguments()}}

    def _input_json(self) -> str:
        """The arguments as the JSON of an object; the beginning of one stays as it is, because the answer was cut."""
        written = "".join(self.written)
        if not self.is_custom and written.lstrip()[:1] == "{":
            return written
        return encode(self.input()).decode()


def _unique_id(call_id: str, taken: set[str]) -> str:
    """The id that a client gets for a call: the server's, or one of ours if there is none, or another call has it."""
    if not call_id or call_id in taken:
        call_id = f"toolu_{uuid4().hex[:24]}"
    taken.add(call_id)
    return call_id


def stop_reason(choice: Choice) -> str:
    """The reason for which a choice ended, in the words of this format."""
    return _STOP_REASONS.get((choice.finish_reason or "stop").lower(), "end_turn")


def stop_fields(choice: Choice, *, called: bool) -> Json:
    """The fields of a message that say why it ended; `called` says whether it calls a tool."""
    if choice.stop_sequence and choice.finish_reason == "stop":
        # Some servers report which stop sequence it was.
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stop_sequence}
    reason = stop_reason(choice)
    return {"stop_reason": "tool_use" if called and reason == "end_turn" else reason, "stop_sequence": None}


def usage_fields(usage: Usage) -> Json:
    """The usage object of a message."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
