"""Tool calls of a streamed chat completion: which call a piece belongs to, and what its pieces say together.

Servers number calls, or give them ids, or neither, or number all of them alike, or give each piece a new id.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

from tokenbooth.gateway.formats.chat_answer import (
    CallPiece,
    UnreadableAnswer,
    decode_lenient,
    ends_in_half,
    whole_characters,
)

# Some servers begin the arguments of a call with this and go on with the real ones.
_PLACEHOLDER: Final = ["{}"]


class ToolCall:
    """A call of a tool, as far as its pieces came.

    Attributes:
        index: the call's number at the server; None for none.
        told_id: the id that the server gave it; empty for none.
        name: the tool's name; empty while it has none.
        is_custom: whether the arguments are any text; else they are JSON.
        written: the pieces of its arguments, in whole characters.
        sent: how many of these have left.
    """

    __slots__ = ("_half", "index", "is_custom", "name", "sent", "told_id", "written")

    def __init__(self, piece: CallPiece) -> None:
        self.index = piece.index
        self.told_id = piece.call_id
        self.name = piece.name
        self.is_custom = piece.is_custom
        self.written: list[str] = []
        self.sent = 0
        self._half = ""

    def add(self, piece: CallPiece) -> None:
        """Add the arguments of a piece."""
        text, self._half = self._half + piece.arguments, ""
        if ends_in_half(text):
            text, self._half = text[:-1], text[-1]
        if self.written == _PLACEHOLDER and not self.sent and text.lstrip()[:1] == "{":
            self.written.clear()
        if text:
            self.written.append(whole_characters(text))

    def take_name(self, piece: CallPiece) -> None:
        """Take the id and the name of a piece: some servers repeat the name, some write it in pieces."""
        self.told_id = self.told_id or piece.call_id
        self.name = piece.name if piece.name.startswith(self.name) else self.name + piece.name

    def arguments(self) -> str:
        """All arguments so far."""
        return "".join(self.written) + ("\ufffd" if self._half else "")

    def is_whole(self) -> bool:
        """Whether the call has a name, and its arguments are a whole object."""
        last = self.written[-1].rstrip() if self.written else ""
        if not self.name or self.is_custom or not last.endswith("}"):
            return False
        try:
            return isinstance(decode_lenient("".join(self.written)), dict)
        except UnreadableAnswer:
            return False


Call = TypeVar("Call", bound=ToolCall)


def call_of(piece: CallPiece, calls: Sequence[Call], in_event: Sequence[Call]) -> Call | None:
    """The call that a piece goes on with; None when it begins another one.

    Args:
        piece: the piece.
        calls: all calls of the answer, in their order.
        in_event: those of which the same event has a piece already.
    """
    latest = next((call for call in reversed(calls) if piece.index in (None, call.index)), None)
    if not piece.call_id:
        if latest is None or not piece.name or not latest.name:
            return latest
        is_another = latest in in_event or latest.is_whole() or (piece.name != latest.name and piece.begins)
        return None if is_another else latest
    same_id = (call for call in reversed(calls) if call.told_id == piece.call_id)
    # Named under another number it is another call, although some servers give all of them one id.
    known = next((call for call in same_id if not piece.name or piece.index in (None, call.index)), None)
    if known is not None and not (piece.name and known in in_event):
        return known
    if latest is None or (piece.name and latest in in_event):
        return None
    if latest.told_id and not latest.name and not latest.written:
        # Calls are begun one by one before any of them is named.
        return None
    if latest.name and (piece.name or latest.is_whole()):
        # With an id of its own it is another call, unless this is the late id of a call that has no arguments yet.
        is_late = not latest.told_id and piece.name == latest.name and not latest.written
        return latest if is_late else None
    return latest
