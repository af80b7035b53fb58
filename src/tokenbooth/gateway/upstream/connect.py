"""Connecting to upstream servers. Never compiled: the compiler loses exceptions over `async with`."""

import asyncio
import ssl
from collections.abc import Sequence
from functools import cached_property

from tokenbooth.gateway.errors import UpstreamUnreachable
from tokenbooth.gateway.upstream.names import Names


class Connector:
    """Makes connections, with TLS where it is asked for."""

    def __init__(self, connect_s: float, names: Names | None = None) -> None:
        """Take how long a connection may take, in seconds, and what finds the addresses of hosts."""
        self._connect_s = connect_s
        self._names = names or Names()

    async def connect(self, protocol: asyncio.Protocol, host: str, port: int, *, is_tls: bool) -> None:
        """Connect a protocol.

        Raises:
            UpstreamUnreachable: there is no connection within the time for it.
        """
        give_up_at_s = asyncio.get_running_loop().time() + self._connect_s
        addresses: Sequence[str] = ()
        try:
            async with asyncio.timeout_at(give_up_at_s):
                addresses = await self._names.addresses(host)
                await self._connect_to_one(protocol, addresses, host, port, is_tls, give_up_at_s)
        # A host that is no name at all fails as UnicodeError, a certificate as an OSError.
        except (OSError, UnicodeError, TimeoutError) as failure:
            slow = "no connection in time" if addresses else "the name was not looked up in time"
            raise UpstreamUnreachable(str(failure) or slow) from failure

    async def _connect_to_one(
        self,
        protocol: asyncio.Protocol,
        addresses: Sequence[str],
        host: str,
        port: int,
        is_tls: bool,
        give_up_at_s: float,
    ) -> None:
        """Connect to the first address that takes a connection; each has its part of the time that is left.

        Raises:
            OSError, TimeoutError: none does; what the last one said.
        """
        loop = asyncio.get_running_loop()
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            now_s = loop.time()
            try:
                async with asyncio.timeout_at(now_s + (give_up_at_s - now_s) / left):
                    # Given an address, the loop looks nothing up.
                    await loop.create_connection(
                        lambda: protocol,
                        address,
                        port,
                        ssl=self._tls if is_tls else None,
                        server_hostname=host if is_tls else None,
                    )
                return
            except (OSError, TimeoutError):
                self._names.failed(host, address)
                if left == 1:
                    raise

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading the system's certificates takes long; only an upstream with TLS needs them.
        return ssl.create_default_context()
