"""One admitted request and whom to answer. The relay runs it; only the gateway's own parts import it."""

from dataclasses import dataclass

from tokenbooth.clock import Clock
from tokenbooth.gateway.admission import Admitted
from tokenbooth.gateway.endpoints import Endpoint
from tokenbooth.gateway.routing import Attempt
from tokenbooth.gateway.stream_slots import StreamSlot
from tokenbooth.gateway.upstreams import ClientHungUp, UpstreamCall
from tokenbooth.http_exchange import HttpExchange


@dataclass(init=False, slots=True)
class Exchange:
    """One admitted request on its way: whom to answer, and what is known so far.

    Attributes:
        http: the client's request and its answer.
        attempt: its way through the upstreams.
        upstream: the name of the one that is asked, or answers.
        call: the call to it.
        asked: whether an upstream works on it, and its prompt is to be paid.
        stops_with_client: whether the call ends when the client hangs up.
        parts_sent: how many parts of the answer's body have left.
        stream_slot: its place among the key's open streams, if those are bounded.
        error_body: what an upstream said that refused the request as wrong; None before that.
    """

    request_id: str
    admitted: Admitted
    http: HttpExchange
    attempt: Attempt
    endpoint: Endpoint
    clock: Clock
    stream_slot: StreamSlot | None
    upstream: str
    call: UpstreamCall | None
    asked: bool
    stops_with_client: bool
    parts_sent: int
    error_body: bytes | None

    def __init__(
        self,
        request_id: str,
        admitted: Admitted,
        http: HttpExchange,
        attempt: Attempt,
        endpoint: Endpoint,
        clock: Clock,
        stream_slot: StreamSlot | None,
    ) -> None:
        self.request_id = request_id
        self.admitted = admitted
        self.http = http
        self.attempt = attempt
        self.endpoint = endpoint
        self.clock = clock
        self.stream_slot = stream_slot
        self.upstream = ""
        self.call = None
        self.asked = False
        self.stops_with_client = False
        self.parts_sent = 0
        self.error_body = None

    def watch(self) -> None:
        """From now on the call ends when the client hangs up; what waits for it raises `ClientHungUp`.

        Raises:
            ClientHungUp: the client is gone already.
        """
        self.stops_with_client = True
        self.http.on_gone = self._hung_up
        self.stop_if_hung_up()

    def stop_if_hung_up(self) -> None:
        """Go on, unless the client that is watched for is gone.

        Raises:
            ClientHungUp: so it is.
        """
        if self.stops_with_client and self.http.gone:
            raise ClientHungUp

    def _hung_up(self) -> None:
        if self.stops_with_client and self.call is not None:
            self.call.interrupt()

    def header_lines(self, content_type: bytes) -> bytes:
        """The header lines of the answer, with the limits as they are now."""
        admitted, face = self.admitted, self.endpoint.face
        lines = b"content-type: %b\r\n%b%b" % (
            content_type,
            face.id_lines(self.request_id),
            face.limit_lines(admitted.key, admitted.pool, self.clock),
        )
        if admitted.clamped_output_tokens is not None:
            lines += b"x-max-tokens-clamped: %d\r\n" % admitted.clamped_output_tokens
        if admitted.request.omitted:
            lines += b"x-omitted: %b\r\n" % ", ".join(admitted.request.omitted).encode()
        return lines

    def send(self, part: bytes) -> None:
        """Send a part of the answer's body."""
        self.parts_sent += 1
        self.http.send(part)

    def finish(self, part: bytes) -> None:
        """Send the last part; the place among the key's streams is free before the client knows of the end."""
        if self.stream_slot is not None:
            self.stream_slot.free()
        self.http.finish(part)
