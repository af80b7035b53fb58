"""A request from the gateway's side: what it is priced by, and how each upstream is asked it.

A client's body is read once, into a `PricedRequest`. What goes to an upstream is an `OutboundRequest`: the same object
where client and upstream use one wire format, a translation where they do not. Nothing here does I/O.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Literal

from tokenbooth.config.catalog import Model, Route, WireFormat
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.json.body import Fields, raw
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.public_answers import ClientAnswer

OUTPUT_FLOOR: Final = 256
"""The fewest output tokens that an answer is worth starting for."""
REASONING_OUTPUT_FLOOR: Final = 4_096
"""The same for a model that thinks before its first word."""
_MESSAGE_OVERHEAD_TOKENS: Final = 64
_BYTES_PER_TOKEN: Final = 4
Credential = Literal["authorization", "x-api-key"]
CostNano = Callable[[Usage], int]


class UpstreamAnswer:
    """A whole answer of an upstream, read once: its usage, and what the client gets."""

    __slots__ = ("_client_answer", "_read_usage", "_reported")

    def __init__(
        self,
        reported: object,
        read_usage: Callable[[dict[str, object]], Usage],
        client_answer: Callable[[Usage, str], ClientAnswer],
    ) -> None:
        """Keep what was read.

        Args:
            reported: the usage object of the answer; anything else counts as none.
            read_usage: reads a usage object; raises InvalidUsage.
            client_answer: makes the client's answer of the usage and our request id; raises UNREADABLE.
        """
        self._reported = reported
        self._read_usage = read_usage
        self._client_answer = client_answer

    def reported_usage(self) -> Usage | None:
        """The usage that the upstream reported; None for none.

        Raises:
            InvalidUsage: the counts are impossible.
        """
        reported = self._reported
        return self._read_usage(reported) if isinstance(reported, dict) and reported else None

    def client_answer(self, usage: Usage, request_id: str = "") -> ClientAnswer:
        """The answer for the client, without its cost. Call it last, and once: it changes what was read.

        Args:
            usage: what the answer consumed.
            request_id: the answer's id is made from it.

        Raises:
            UNREADABLE: it is no answer after all.
        """
        return self._client_answer(usage, request_id)


class OutboundRequest(ABC):
    """A request in the wire format of one upstream: path, headers, body, and readers of the answer.

    Attributes:
        wire: the wire format.
        path: the path at the upstream, after its base URL.
        credential: the header in which the upstream expects our key.
        omitted: names of fields that do not go upstream, because they change nothing or have no counterpart there.
    """

    __slots__ = ("omitted",)

    wire: ClassVar[WireFormat]
    path: ClassVar[str]
    credential: ClassVar[Credential] = "authorization"
    omitted: tuple[str, ...]

    @property
    @abstractmethod
    def request(self) -> "PricedRequest":
        """The request that was priced."""

    def headers(self) -> Mapping[str, str]:
        """Headers that the format needs beside the usual ones."""
        return {}

    @abstractmethod
    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        """The body, with the upstream's name of the model, and one output ceiling under the name that it obeys.

        Args:
            route: the upstream and the model's name there.
            clamped_output_tokens: the ceiling as lowered to what the hold pays; None when it was not lowered.
        """

    @abstractmethod
    def meter(self, cost_nano: CostNano, request_id: str = "") -> Meter:
        """A meter for the stream that answers this request.

        Args:
            cost_nano: the cost of a usage, in nano-USD.
            request_id: the answer's id is made from it.
        """

    @abstractmethod
    def read_answer(self, body: bytes) -> UpstreamAnswer:
        """Read a whole answer.

        Raises:
            UNREADABLE: the body is no answer.
            UpstreamFailure: it is a failure in the place of one.
        """

    @abstractmethod
    def text_bytes_in(self, body: bytes) -> int:
        """The bytes of all texts in a whole answer, for a count without usage; 0 if it is no answer."""

    def as_answer(self, body: bytes) -> bytes:
        """Put the events of a stream that came to its end together to a whole answer.

        Raises:
            UNREADABLE: they are no answer.
        """
        return body

    def as_events(self, body: bytes) -> bytes | None:
        """Write a whole answer as the events of a stream; None for a format without streams.

        Raises:
            UNREADABLE: the body is no answer.
        """
        return None


class PricedRequest(OutboundRequest):
    """A client's request with everything that decides about its price. It is its own outbound request.

    Attributes:
        endpoint: the route's name in charges.
        model: the model that the client named.
        fields: the top level of the body.
        stream: whether the client asked for a stream.
        text_bytes: bytes that may become prompt tokens.
        parts_tokens: the most prompt tokens of everything that is no text, such as images.
        choices: the number of answers, over all prompts.
        ceiling_named: whether the client gave an output ceiling, under whatever name.
        output_ceiling: the most output tokens of one choice.
        floor_tokens: the fewest output tokens of one choice that are worth starting for.
        wants_usage: whether the client asked for the usage event of a stream.
        prompts: the number of prompts; each may fill the context.
        asks_to_think: whether the request asks the model to think; None until `thinking` has looked.
    """

    __slots__ = (
        "asks_to_think",
        "ceiling_named",
        "choices",
        "endpoint",
        "fields",
        "floor_tokens",
        "model",
        "output_ceiling",
        "parts_tokens",
        "prompts",
        "stream",
        "text_bytes",
        "wants_usage",
    )

    def __init__(
        self,
        endpoint: str,
        model: Model,
        fields: Fields,
        *,
        stream: bool,
        text_bytes: int,
        asked_ceiling: int | None,
        floor_tokens: int,
        parts_tokens: int = 0,
        choices: int = 1,
        wants_usage: bool = False,
        prompts: int = 1,
        omitted: tuple[str, ...] = (),
    ) -> None:
        """Take what was read; `asked_ceiling` is the client's output ceiling, None for none."""
        self.endpoint = endpoint
        self.model = model
        self.fields = fields
        self.stream = stream
        self.text_bytes = text_bytes
        self.parts_tokens = parts_tokens
        self.choices = choices
        self.ceiling_named = asked_ceiling is not None
        most = model.max_output_tokens
        self.output_ceiling = most if asked_ceiling is None else min(asked_ceiling, most)
        self.floor_tokens = floor_tokens
        self.wants_usage = wants_usage
        self.prompts = prompts
        self.omitted = omitted
        self.asks_to_think: bool | None = None

    @property
    def request(self) -> "PricedRequest":
        return self

    @property
    def extra_tokens(self) -> int:
        """The most prompt tokens that do not come from text: other parts, and the frame of the messages."""
        return _MESSAGE_OVERHEAD_TOKENS + self.parts_tokens

    @property
    def most_prompt_tokens(self) -> int:
        """The longest input that the model can read for this request, in tokens."""
        return self.model.context_tokens * self.prompts

    def sent_ceiling(self, route: Route, clamped_output_tokens: int | None) -> int | None:
        """The output ceiling that goes upstream; None for none, and then the hold pays the model's maximum."""
        if clamped_output_tokens is not None:
            return clamped_output_tokens
        if self.ceiling_named or route.upstream.kind.takes_unnamed_ceiling:
            return self.output_ceiling
        return None

    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        return self.addressed(self.fields, route, clamped_output_tokens, self.wire)

    def addressed(self, fields: Fields, route: Route, clamped_output_tokens: int | None, wire: WireFormat) -> Fields:
        """A copy of a body in a wire format, with the model's name and the ceiling of one upstream."""
        fields = dict(fields)
        fields["model"] = raw(route.model)
        ceiling = self.sent_ceiling(route, clamped_output_tokens)
        if ceiling is not None:
            fields[self.model.ceiling_field(route, wire)] = raw(ceiling)
        return fields

    def outbound(self, formats: frozenset[str]) -> OutboundRequest | None:
        """The request for an upstream of these wire formats; None when none of them can express it."""
        return self if self.wire in formats else None


def output_floor(model: Model, *, asks_to_think: bool) -> int:
    """The fewest output tokens that are worth starting for: a model that reasons thinks before its first word."""
    return REASONING_OUTPUT_FLOOR if model.reasoning or asks_to_think else OUTPUT_FLOOR


def estimated_tokens(text_bytes: int) -> int:
    """About how many tokens a text has: four bytes each, rounded up."""
    return -(-text_bytes // _BYTES_PER_TOKEN)
