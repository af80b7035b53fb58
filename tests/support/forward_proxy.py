"""A forward proxy for plain HTTP: a request in absolute form goes on to its server, the answer comes back as it is.

Only tests import it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.support.raw_server import raw_server, read_request


@asynccontextmanager
async def forward_proxy() -> AsyncIterator[tuple[list[str], str]]:
    """A proxy on a port of its own: the request lines that went through it, and its URL."""
    lines: list[str] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _, rest = (await read_request(reader)).partition(b"\r\n")
        lines.append(line.decode())
        method, target, version = line.decode().split(" ")
        url = urlsplit(target)
        up_reader, up_writer = await asyncio.open_connection(url.hostname, url.port)
        up_writer.write(f"{method} {url.path} {version}\r\nconnection: close\r\n".encode() + rest)
        while data := await up_reader.read(65_536):
            writer.write(data)
            await writer.drain()
        up_writer.close()

    async with raw_server(pass_on) as server:
        yield lines, f"http://127.0.0.1:{server.port}"
