"""What the relay asks of a request: how it is spoken to an upstream, and how the answer is metered and passed on.

A request is read once, from the client's format. Its `OutboundRequest` is its form in a format that an upstream
understands: the request itself where the formats are the same, a translation where they are not. Nothing here does I/O.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from tokenbooth.config.catalog import Model, Route, WireFormat
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.json.body import Fields
from tokenbooth.gateway.formats.public_answers import ClientAnswer

_MESSAGE_OVERHEAD_TOKENS: Final = 64
Credential = Literal["authorization", "x-api-key"]
CostNano = Callable[[Usage], int]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What was streamed so far, for a count when no usage came."""

    events: int
    text_bytes: int


class Meter(Protocol):
    """Meters one stream: passes events on, reads usage, holds back what may only leave after settlement.

    Attributes:
        usage: what the upstream reported for the whole answer so far.
        prompt_usage: what it reported before the answer, in a format that tells the prompt first.
        invalid_usage: it reported something impossible.
        ended: the event that ends the answer has come; it is in the tail.
        failed: the upstream reported an error; it does not leave, nor what follows.
    """

    usage: Usage | None
    prompt_usage: Usage | None
    invalid_usage: bool
    saw_end_marker: bool
    failed: bool

    def feed(self, chunk: bytes) -> bytes:
        """Take what arrived; returns what may leave now.

        Raises:
            BrokenStream: this is no event stream.
        """
        ...

    def end_of_body(self) -> bytes:
        """Nothing more comes; returns what leaves of an event that was left open.

        Raises:
            BrokenStream: the body ended inside of it.
        """
        ...

    @property
    def whole(self) -> bytearray | None:
        """The body, when it is no stream but one JSON text; None for a stream."""
        ...

    def has_answer(self) -> bool:
        """Whether what is held back is an answer by itself, although nothing has left."""
        ...

    def saw_finish_reason(self) -> bool:
        """Whether the model has said of all its answers why they stopped, so that only the usage can still come."""
        ...

    def may_end_without_marker(self) -> bool:
        """Whether the answer may end here, although the event that ends it did not come."""
        ...

    def has_final_usage(self) -> bool:
        """Whether the usage that came is that of the whole answer; one that came before its end is a lower bound."""
        ...

    def delivered(self) -> Delivered:
        """How much was streamed, counted from what left."""
        ...

    def final_events(self, charged_nano: int) -> bytes:
        """The rest of the answer, to be written once the charge (nano-USD) is on disk."""
        ...


class UpstreamAnswer:
    """A whole answer of an upstream, read once: what it consumed, and what its client gets of it."""

    __slots__ = ("_client_answer", "_read_usage", "_reported")

    def __init__(
        self,
        reported: object,
        read_usage: Callable[[dict[str, object]], Usage],
        client_answer: Callable[[Usage, str], ClientAnswer],
    ) -> None:
        """Args:
        reported: its usage object; anything else says nothing.
        read_usage: reads that object; raises InvalidUsage.
        client_answer: makes what the client gets of the usage and the request's id; raises UNREADABLE.
        """
        self._reported = reported
        self._read_usage = read_usage
        self._client_answer = client_answer

    def reported_usage(self) -> Usage | None:
        """What it says of its usage; None when it says nothing.

        Raises:
            InvalidUsage: it says something impossible.
        """
        reported = self._reported
        return self._read_usage(reported) if isinstance(reported, dict) and reported else None

    def client_answer(self, usage: Usage, request_id: str = "") -> ClientAnswer:
        """The answer as the client gets it, to be completed with its cost; asked for last, and once.

        Args:
            usage: what it consumed.
            request_id: the answer's id is made from it.

        Raises:
            UNREADABLE: it is no answer after all.
        """
        return self._client_answer(usage, request_id)


class OutboundRequest(Protocol):
    """A request as an upstream is asked it."""

    @property
    def request(self) -> "PricedRequest":
        """What was priced."""
        ...

    @property
    def omitted(self) -> tuple[str, ...]:
        """Names of what was left out: what it would do is not done here, or has no counterpart in this format."""
        ...

    @property
    def wire(self) -> WireFormat:
        """The wire format that it is in."""
        ...

    @property
    def path(self) -> str:
        """Where the upstream takes it, behind its base URL."""
        ...

    @property
    def credential(self) -> Credential:
        """The header in which the upstream expects our key."""
        ...

    def text_bytes_in(self, body: bytes) -> int:
        """The bytes of the texts of a whole answer, for a count when it has no usage; 0 if it is no answer."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Headers that the format needs beside the usual ones."""
        ...

    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        """The body: the model's name there, the usage asked for, and one ceiling under the name that is obeyed there.

        Args:
            route: where it goes.
            clamped_output_tokens: the ceiling as lowered to what the hold pays; None when it was not.
        """
        ...

    def meter(self, cost_nano: CostNano, request_id: str = "") -> Meter:
        """A meter for the stream that answers it.

        Args:
            cost_nano: what a usage costs, in nano-USD.
            request_id: the answer's id is made from it.
        """
        ...

    def read_answer(self, body: bytes) -> UpstreamAnswer:
        """Read a whole answer.

        Raises:
            UNREADABLE: the body is no answer.
            UpstreamFailure: it is a failure in the place of one.
        """
        ...

    def as_answer(self, body: bytes) -> bytes:
        """The events of a stream that has come to its end as the whole answer that they tell.

        Raises:
            UNREADABLE: they are no answer.
        """
        ...

    def as_events(self, body: bytes) -> bytes | None:
        """A whole answer as the upstream would have streamed it; None for a format in which that cannot be said.

        Raises:
            UNREADABLE: the body is no answer.
        """
        ...


@dataclass(init=False, slots=True)
class PricedRequest:
    """A request that may be priced.

    Attributes:
        endpoint: the route's name, as a charge has it.
        fields: the top level; what is sent upstream is made from it.
        text_bytes: bytes that may become prompt tokens.
        parts_tokens: the most tokens that other parts, such as images, count for.
        choices: how many answers are asked for, over all prompts.
        ceiling_named: whether the client gave a ceiling, under whatever name.
        output_ceiling: the most output tokens of one choice.
        floor_tokens: the fewest output tokens of one choice that are worth starting for.
        wants_usage: whether the client asked for the usage event of a stream.
        prompts: how many prompts there are, each as long as the context at most.
        omitted: names of fields that were left out because their values change nothing.
        asks_to_think: whether it asks the model to think; None until somebody wants to know.
    """

    endpoint: str
    model: Model
    fields: Fields
    stream: bool
    text_bytes: int
    parts_tokens: int
    choices: int
    ceiling_named: bool
    output_ceiling: int
    floor_tokens: int
    wants_usage: bool
    prompts: int
    omitted: tuple[str, ...]
    asks_to_think: bool | None

    def __init__(
        self,
        endpoint: str,
        model: Model,
        fields: Fields,
        stream: bool,
        text_bytes: int,
        parts_tokens: int,
        choices: int,
        ceiling_named: bool,
        output_ceiling: int,
        floor_tokens: int,
        wants_usage: bool,
        prompts: int = 1,
        omitted: tuple[str, ...] = (),
    ) -> None:
        self.endpoint = endpoint
        self.model = model
        self.fields = fields
        self.stream = stream
        self.text_bytes = text_bytes
        self.parts_tokens = parts_tokens
        self.choices = choices
        self.ceiling_named = ceiling_named
        self.output_ceiling = output_ceiling
        self.floor_tokens = floor_tokens
        self.wants_usage = wants_usage
        self.prompts = prompts
        self.omitted = omitted
        self.asks_to_think = None

    @property
    def extra_tokens(self) -> int:
        """The most prompt tokens that do not come from the text: other parts, and the frame of the messages."""
        return _MESSAGE_OVERHEAD_TOKENS + self.parts_tokens

    def sent_ceiling(self, route: Route, clamped_output_tokens: int | None) -> int | None:
        """The output ceiling that goes upstream; None for none, and then the hold pays the model's maximum."""
        if clamped_output_tokens is not None:
            return clamped_output_tokens
        if self.ceiling_named or route.upstream.kind.takes_unnamed_ceiling:
            return self.output_ceiling
        return None

    @property
    def most_prompt_tokens(self) -> int:
        """The longest input that the model can read for this request, in tokens."""
        return self.model.context_tokens * self.prompts

    def as_answer(self, body: bytes) -> bytes:
        """See `OutboundRequest.as_answer`: a format without streams has nothing to put together."""
        return body

    def as_events(self, body: bytes) -> bytes | None:
        """See `OutboundRequest.as_events`."""
        return None

    def outbound(self, formats: frozenset[str]) -> OutboundRequest | None:
        """The request for an upstream that speaks `formats`; None when it cannot be said in any of them."""
        raise NotImplementedError
