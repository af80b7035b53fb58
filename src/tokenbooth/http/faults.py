"""What a client can do wrong before its request is one, in the words of an answer."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a connection is closed; without a status line nothing is said."""

    status_line: bytes
    text: bytes

    def answer(self, request_id: str) -> bytes:
        """The whole answer, as it is written to the client."""
        return (
            b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"x-request-id: %b\r\nconnection: close\r\n\r\n%b"
            % (self.status_line, len(self.text), request_id.encode(), self.text)
        )


_BAD_REQUEST: Final = b"400 Bad Request"
NOT_HTTP: Final = Fault(_BAD_REQUEST, b"This is not valid HTTP/1.1.")
HEAD_TOO_LARGE: Final = Fault(b"431 Request Header Fields Too Large", b"The headers are too large. Send fewer.")
BODY_TOO_LARGE: Final = Fault(b"413 Content Too Large", b"The body is too large. Send less.")
TOO_SLOW: Final = Fault(b"408 Request Timeout", b"The request did not arrive in time. Send it again.")
TOO_MANY_REQUESTS: Final = Fault(_BAD_REQUEST, b"Too many requests at once on one connection. Wait for answers.")
SMALL_CHUNKS: Final = Fault(
    _BAD_REQUEST, b"The body comes in too many small chunks. Send larger ones, or a Content-Length."
)
NO_ROOM: Final = Fault(b"503 Service Unavailable", b"Too many bodies arrive at once. Try again in a second.")
UNSAID: Final = Fault(b"", b"")
