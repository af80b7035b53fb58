"""Connecting to upstream servers. Never compiled: the compiler loses exceptions over `async with`."""

import asyncio
import ssl
from functools import cached_property

from tokenbooth.gateway.errors import UpstreamUnreachable


class Connector:
    """Makes connections, with TLS where it is asked for."""

    def __init__(self, connect_s: float) -> None:
        """`connect_s` is how long a connection may take, in seconds."""
        self._connect_s = connect_s

    async def connect(self, protocol: asyncio.Protocol, host: str, port: int, *, is_tls: bool) -> None:
        """Connect a protocol.

        Raises:
            UpstreamUnreachable: there is no connection within the time for it.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                await loop.create_connection(lambda: protocol, host, port, ssl=self._tls if is_tls else None)
        # A host that is no name at all fails as UnicodeError, a certificate as an OSError.
        except (OSError, UnicodeError, TimeoutError) as failure:
            raise UpstreamUnreachable(str(failure) or "no connection in time") from failure

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading the system's certificates takes long; only an upstream with TLS needs them.
        return ssl.create_default_context()
