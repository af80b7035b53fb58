"""What of an upstream's answer is the customer's: names that pass, an id and a model's name of ours, and our cost.

Everything else at the top of an answer, of an event, in its usage and beside a choice's message stays here: for an
upstream's ids, addresses, prices and the state of our account with it there are more names than anybody could list.
What was said (messages, deltas, content, items) passes as it came, with the ids in it, because they come back.

Most events of a stream differ from the one before by a text only. Such a pattern is learned from an event that was
decoded, and the next ones are compared with it byte by byte instead of being decoded.
"""

import re
from abc import ABC, abstractmethod
from typing import Final

import msgspec

from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.gateway.body import UNREADABLE, Fields, decode_object, decode_objects, encode, encoded, raw
from tokenbooth.gateway.half_characters import marked_halves, restored_halves
from tokenbooth.upstream_kinds import ANSWER_EXTENSIONS, CHOICE_EXTENSIONS, USAGE_EXTENSIONS

CHAT_ID: Final = "chatcmpl-"
COMPLETION_ID: Final = "cmpl-"
EMBEDDINGS_ID: Final = "embd-"
MESSAGE_ID: Final = "msg_"
RESPONSE_ID: Final = "resp_"

# OpenAI API reference: "The chat completion object", "The chat completion chunk object", "The completion object",
# "Create embeddings".
OPENAI_FIELDS: Final = ANSWER_EXTENSIONS | {
    "choices",
    "created",
    "data",
    "object",
    "obfuscation",
    "service_tier",
}
CHOICE_FIELDS: Final = CHOICE_EXTENSIONS | {
    "delta",
    "finish_reason",
    "index",
    "logprobs",
    "message",
    "text",
}
# Anthropic API reference: "Messages" and "Streaming Messages".
MESSAGE_FIELDS: Final = frozenset(
    (
        "container",
        "content",
        "context_management",
        "role",
        "stop_details",
        "stop_reason",
        "stop_sequence",
        "type",
    )
)
MESSAGE_EVENT_FIELDS: Final = frozenset(("content_block", "context_management", "delta", "index", "type"))
# OpenAI API reference: "The response object" and "Streaming events".
RESPONSE_FIELDS: Final = frozenset(
    (
        "background",
        "completed_at",
        "created_at",
        "incomplete_details",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "object",
        "output",
        "output_text",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "service_tier",
        "status",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
    )
)
RESPONSE_EVENT_FIELDS: Final = frozenset(
    (
        "annotation",
        "annotation_index",
        "arguments",
        "code",
        "content_index",
        "delta",
        "input",
        "item",
        "item_id",
        "logprobs",
        "name",
        "obfuscation",
        "output_index",
        "part",
        "partial_image_b64",
        "partial_image_index",
        "refusal",
        "sequence_number",
        "summary_index",
        "text",
        "type",
    )
)
# Of a usage object: numbers under names that end so, what divides them, and a few words.
_COUNTS: Final = ("_tokens", "_requests")
_DETAILS: Final = ("_tokens_details", "cache_creation", "server_tool_use")
_WORDS: Final = frozenset(("search_context_size", "service_tier"))
_WORD: Final = re.compile(rb'"[a-z_]{1,16}"|null')

# An event with a longer text is rare, and decoding it costs little beside its length.
_LONGEST_PATTERN_BYTES: Final = 4_096
# So many events are tried as patterns, and one more for each so many that were like one.
_PATTERNS: Final = 8
_REPEATS_PER_PATTERN: Final = 16
_CHANGING: Final = re.compile(
    rb'"(?:content|reasoning_content|reasoning|text|thinking|partial_json|arguments|delta|obfuscation)":\s?"'
    rb'((?:[^"\\\r\n]|\\.)+)"|"sequence_number":\s?([0-9]+)'
)
# Nobody writes these; where an upstream does, its event is no pattern.
_TEXT_MARK: Final = "text-%d-that-changes-5b1f"
_NUMBER_MARK: Final = 730_519_226_840_000
_LINE_ENDS: Final = re.compile(rb"[\r\n]+")
_EVENT_TYPE: Final = re.compile(r"[a-z][a-z_.]{0,63}")
_decode: Final = msgspec.json.Decoder().decode
_decode_type: Final = msgspec.json.Decoder(str).decode


class ClientAnswer:
    """A whole answer as its client gets it, but for what it cost."""

    __slots__ = ("_fields", "_usage")

    def __init__(self, fields: dict[str, object], usage: dict[str, object] | None) -> None:
        """Args:
        fields: the answer's top level.
        usage: its usage object; None when it has none.
        """
        self._fields = fields
        self._usage = usage

    def encode(self, charged_nano: int) -> bytes:
        """The body, with the charge (nano-USD) as `usage.cost` in USD, if there is a usage."""
        if self._usage is not None:
            self._fields["usage"] = {**self._usage, "cost": msgspec.Raw(usd_number(charged_nano))}
        return encode(self._fields)


def usd_number(amount_nano: int) -> bytes:
    """Nano-USD as an exact JSON number of USD."""
    whole, fraction = divmod(amount_nano, NANO_PER_USD)
    return b"%d.%09d" % (whole, fraction)


class PublicAnswer(ABC):
    """What a client gets to see of an answer in one format."""

    __slots__ = ("_id", "_model")

    def __init__(self, answer_id: str, model: str) -> None:
        """Args:
        answer_id: ours.
        model: the model as the client named it.
        """
        self._id = raw(answer_id)
        self._model = raw(model)

    @abstractmethod
    def public(self, fields: Fields) -> Fields:
        """The fields of a whole answer that pass, with ours in place of the upstream's."""

    @abstractmethod
    def public_event(self, fields: Fields) -> Fields:
        """The fields of an event that pass, with ours in place of the upstream's."""

    def whole(self, body: bytes) -> ClientAnswer:
        """A whole answer for the client.

        Raises:
            UNREADABLE: the body is no answer.
        """
        came = decode_object(body)
        usage = came.pop("usage", None)
        fields: dict[str, object] = {**self.public(came)}
        if usage is None:
            return ClientAnswer(fields, None)
        if bytes(usage)[:1] != b"{":
            # Null, or what servers write in its place.
            fields["usage"] = encoded(None)
            return ClientAnswer(fields, None)
        counts: dict[str, object] = {**_counts(decode_object(usage), 1)}
        return ClientAnswer(fields, counts)

    def event_data(self, data: bytes) -> bytes:
        """The data of an event for the client, in one line.

        Raises:
            UNREADABLE: it is no object.
        """
        told = encode(self.public_event(decode_object(data)))
        # Line ends between values would end the event's line.
        return _LINE_ENDS.sub(b" ", told) if b"\n" in told or b"\r" in told else told

    def _own(self, fields: Fields, passing: frozenset[str]) -> Fields:
        public: Fields = {}
        for name, value in fields.items():
            if name in passing:
                public[name] = value
            elif name == "id":
                public[name] = self._id
            elif name == "model":
                public[name] = self._model
            elif name == "usage":
                public[name] = public_usage(value)
        return public


class OpenAIAnswer(PublicAnswer):
    """An answer of one of OpenAI's older formats: chat completions, completions, embeddings."""

    __slots__ = ()

    def public(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public`."""
        public = self._own(fields, OPENAI_FIELDS)
        choices = fields.get("choices")
        if choices is not None:
            public["choices"] = _public_choices(choices)
        return public

    def public_event(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public_event`: a chunk has the form of the answer."""
        return self.public(fields)


class MessageAnswer(PublicAnswer):
    """An answer in Anthropic's messages format."""

    __slots__ = ()

    def public(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public`."""
        return self._own(fields, MESSAGE_FIELDS)

    def public_event(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public_event`: the one that starts a message holds it."""
        public = self._own(fields, MESSAGE_EVENT_FIELDS)
        public.pop("id", None)
        public.pop("model", None)
        message = fields.get("message")
        if message is not None:
            public["message"] = encoded(self.public(decode_object(message)))
        return public


class ResponseAnswer(PublicAnswer):
    """An answer in OpenAI's responses format."""

    __slots__ = ()

    def public(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public`; what clients of the format may look for and never is here stays as nothing."""
        public = self._own(fields, RESPONSE_FIELDS)
        for name in ("error", "previous_response_id"):
            if name in fields:
                public[name] = encoded(None)
        return public

    def public_event(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public_event`: those that tell how the response stands hold it."""
        public = self._own(fields, RESPONSE_EVENT_FIELDS)
        for name in ("id", "model", "usage"):
            public.pop(name, None)
        response = fields.get("response")
        if response is not None:
            public["response"] = encoded(self.public(decode_object(response)))
        return public


def public_usage(usage: msgspec.Raw) -> msgspec.Raw:
    """What of a usage object is a count; neither prices nor whose they are."""
    if bytes(usage) == b"null":
        return usage
    try:
        return encoded(_counts(decode_object(usage), 1))
    except UNREADABLE:
        return encoded(None)


def _counts(fields: Fields, depth: int) -> Fields:
    counts: Fields = {}
    for name, value in fields.items():
        if name.endswith(_DETAILS):
            if depth and bytes(value)[:1] == b"{":
                counts[name] = encoded(_counts(decode_object(value), depth - 1))
            elif bytes(value) == b"null":
                counts[name] = value
        elif name.endswith(_COUNTS) or name in USAGE_EXTENSIONS:
            number = bytes(value)
            if number.isdigit() or number == b"null":
                counts[name] = value
        elif name in _WORDS and _WORD.fullmatch(value) is not None:
            counts[name] = value
    return counts


def _public_choices(choices: msgspec.Raw) -> msgspec.Raw:
    if bytes(choices) in (b"null", b"[]"):
        return choices
    try:
        decoded = decode_objects(choices)
    except UNREADABLE:
        # Nothing that anybody could read as an answer.
        return encoded([])
    for choice in decoded:
        if not choice.keys() <= CHOICE_FIELDS:
            break
    else:
        return choices
    return encoded([_public_choice(choice) for choice in decoded])


def _public_choice(choice: Fields) -> Fields:
    public = {name: value for name, value in choice.items() if name in CHOICE_FIELDS}
    if "usage" in choice:
        public["usage"] = public_usage(choice["usage"])
    return public


class _Changing:
    """A text or number that changes from event to event, and what stands behind it."""

    __slots__ = ("behind", "behind_bytes", "end", "is_number", "own_behind")

    def __init__(self, is_number: bool, behind: bytes, own_behind: bytes) -> None:
        self.is_number = is_number
        self.end = behind[:1]
        self.behind = behind
        self.behind_bytes = len(behind)
        self.own_behind = own_behind


class _Pattern:
    """Events that are the same but for some texts and numbers."""

    __slots__ = ("_before", "_before_bytes", "_changing", "_own_before")

    def __init__(self, before: bytes, own_before: bytes, changing: list[_Changing]) -> None:
        self._before = before
        self._before_bytes = len(before)
        self._own_before = own_before
        self._changing = changing

    def rewritten(self, events: bytes) -> bytes | None:
        """The events as the client gets them; None when one of them is not of this pattern."""
        parts: list[bytes] = []
        at, size = 0, len(events)
        while at < size:
            if not events.startswith(self._before, at):
                return None
            at += self._before_bytes
            parts.append(self._own_before)
            for one in self._changing:
                # A quote within a text is not looked for: such an event is decoded.
                end = events.find(one.end, at)
                if end < at or not events.startswith(one.behind, end):
                    return None
                value = events[at:end]
                if (not value.isdigit()) if one.is_number else (b"\n" in value or b"\r" in value):
                    return None
                parts.append(value)
                parts.append(one.own_behind)
                at = end + one.behind_bytes
        return b"".join(parts)


class PublicStream:
    """Rewrites the events of one stream.

    Attributes:
        has_torn: the data of an event was no JSON, so that something is missing in what leaves.
    """

    __slots__ = ("_answer", "_learned", "_pattern", "_repeats", "has_torn")

    def __init__(self, answer: PublicAnswer) -> None:
        self._answer = answer
        self._pattern: _Pattern | None = None
        self._learned = 0
        self._repeats = 0
        self.has_torn = False

    def repeated(self, events: bytes) -> bytes | None:
        """Whole events as the client gets them, if they are like one that was learned; else None."""
        pattern = self._pattern
        if pattern is None:
            return None
        rewritten = pattern.rewritten(events)
        if rewritten is not None:
            self._repeats += 1
        return rewritten

    def data(self, data: bytes) -> bytes:
        """The data of one event as the client gets it; empty when it is no object, which no client can read."""
        try:
            return self._answer.event_data(data)
        except UNREADABLE:
            return self._mended(data)

    def _mended(self, data: bytes) -> bytes:
        """The same of data with halves of characters; what is no JSON is told by `has_torn`."""
        marked = marked_halves(data)
        try:
            told = _decode(marked)
        except UNREADABLE:
            self.has_torn = True
            return b""
        try:
            return restored_halves(self._answer.event_data(marked)) if isinstance(told, dict) else b""
        except UNREADABLE:
            return b""

    def rewrite(self, event: bytes, data: bytes, *, learn: bool) -> bytes:
        """One event as the client gets it: without comments and ids of the stream; empty when nothing is left.

        Args:
            event: the whole event.
            data: its data.
            learn: whether events like it have nothing that has to be looked into.
        """
        told = self._told(event, data)
        if (
            learn
            and told
            and len(event) <= _LONGEST_PATTERN_BYTES
            and self._learned < _PATTERNS + self._repeats // _REPEATS_PER_PATTERN
        ):
            self._learned += 1
            self._learn(event)
        return told

    def _told(self, event: bytes, data: bytes) -> bytes:
        told = self.data(data) if data else b""
        if not told or told == b"{}":
            # A ping, or what only said whose server it was.
            return b""
        kind = _kind_of(event, data)
        return b"event: %b\ndata: %b\n\n" % (kind, told) if kind else b"data: %b\n\n" % told

    def _learn(self, event: bytes) -> None:
        """Have the event as a pattern, if it is proven to be one.

        With marks in place of what changes, the event has to be JSON in which each mark is a value of its own, and to
        leave with the same marks in the same order.
        """
        found = list(_CHANGING.finditer(event))
        if not found:
            return
        marks: list[bytes] = []
        numbers: list[bool] = []
        before: list[bytes] = []
        start = 0
        for index, match in enumerate(found):
            is_number = match.group(1) is None
            numbers.append(is_number)
            group = 2 if is_number else 1
            before.append(event[start : match.start(group)])
            start = match.end(group)
            marks.append(b"%d" % (_NUMBER_MARK + index) if is_number else (_TEXT_MARK % index).encode())
        before.append(event[start:])
        marked = b"".join(part + mark for part, mark in zip(before, marks, strict=False)) + before[-1]
        data = _data_of(marked)
        try:
            values = _values(_decode(data))
        except UNREADABLE:
            return
        told = self._told(marked, data)
        own_before: list[bytes] = []
        rest = told
        for index, mark in enumerate(marks):
            value: object = _NUMBER_MARK + index if numbers[index] else _TEXT_MARK % index
            part, seen, rest = rest.partition(mark)
            if values.count(value) != 1 or not seen or mark in rest:
                return
            own_before.append(part)
        own_before.append(rest)
        self._pattern = _Pattern(
            before[0],
            own_before[0],
            [
                _Changing(is_number, behind, own)
                for is_number, behind, own in zip(numbers, before[1:], own_before[1:], strict=True)
            ],
        )


def _data_of(event: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))


def _kind_of(event: bytes, data: bytes) -> bytes:
    """The type that an event is sent under, if it has one and its data says the same."""
    if not any(line.startswith(b"event:") for line in event.splitlines()):
        return b""
    try:
        kind = _decode_type(decode_object(data).get("type", b'""'))
    except UNREADABLE:
        return b""
    return kind.encode() if _EVENT_TYPE.fullmatch(kind) else b""


def _values(tree: object) -> list[object]:
    """All texts and numbers in a decoded value."""
    values: list[object] = []
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif one is not None:
            values.append(one)
    return values
