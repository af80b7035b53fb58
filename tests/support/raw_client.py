"""A client of raw bytes, for what no HTTP library would send. Only tests import it."""

import contextlib
import select
import socket
from dataclasses import dataclass
from typing import Final, Self

# No test is about how long something takes; this only ends a test that would hang.
_PATIENCE_S: Final = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    """One connection to a server on this machine."""

    def __init__(self, port: int, *, receive_buffer_bytes: int | None = None) -> None:
        """Args:
        port: of the server.
        receive_buffer_bytes: how much the kernel takes for a client that does not read; None for its own choice.
        """
        self._socket = socket.socket()
        if receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.settimeout(_PATIENCE_S)
        self._socket.connect(("127.0.0.1", port))
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> Self:
        """Send bytes; a server that has hung up meanwhile is no error."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)
        return self

    def hears(self, wait_s: float = 0) -> bool:
        """Whether there is something to read, the end included."""
        return bool(self._received) or bool(select.select([self._socket], [], [], wait_s)[0])

    def end_sending(self) -> Self:
        """Close our half of the connection."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Drop the connection without a good-bye."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self._socket.close()

    def answer(self) -> Answer:
        """The next answer, `100 Continue` included.

        Raises:
            EOFError: the connection ended before it was complete.
        """
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        return Answer(status, headers, self._exactly(int(headers.get("content-length", "0"))))

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        while self._receive():
            pass
        received, self._received = self._received, b""
        return received

    def is_cut_off(self, wait_s: float) -> bool:
        """Whether the connection ends, or has ended, within so many seconds; what arrives is kept."""
        return bool(select.select([self._socket], [], [], wait_s)[0]) and not self._receive()

    def is_closed(self) -> bool:
        """Whether the server closes the connection, saying nothing more."""
        return self.rest() == b""

    def read(self, mark: bytes) -> bytes:
        """What arrives up to a mark, which must come."""
        return self._until(mark)

    def read_some(self, most: int) -> None:
        """Read a few bytes that have arrived, if any, and forget them."""
        if select.select([self._socket], [], [], 0)[0]:
            with contextlib.suppress(ConnectionResetError):
                self._socket.recv(most)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size)
            self._exactly(2)
        self._exactly(2)
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            if not self._receive():
                raise EOFError(self._received)
        found, _, self._received = self._received.partition(mark)
        return found + mark

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            if not self._receive():
                raise EOFError(self._received)
        found, self._received = self._received[:size], self._received[size:]
        return found

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(65_536)
        except ConnectionResetError:
            return False
        self._received += data
        return bool(data)
