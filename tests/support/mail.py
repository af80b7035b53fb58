"""A mail server of a few lines, for what is really sent. Only tests import it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from tokenbooth.config.settings import MailSettings


@asynccontextmanager
async def mail_server(received: list[str], *, refuses: bool = False) -> AsyncIterator[int]:
    """A mail server that takes one mail a connection and keeps what it was told; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        in_data = False
        while line := (await reader.readline()).decode():
            received.append(line.rstrip("\r\n"))
            command = line.upper()
            if in_data:
                if line != ".\r\n":
                    continue
                in_data = False
                answer = b"250 taken\r\n"
            elif command.startswith("EHLO"):
                answer = b"250-booth\r\n250 AUTH PLAIN\r\n"
            elif command.startswith("AUTH"):
                answer = b"235 welcome\r\n"
            elif command.startswith("DATA"):
                in_data, answer = True, b"354 go on\r\n"
            elif command.startswith("RCPT") and refuses:
                answer = b"550 nobody\r\n"
            else:
                answer = b"250 fine\r\n"
            writer.write(answer)
            await writer.drain()
            if command.startswith("QUIT"):
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


def mail_settings(port: int) -> MailSettings:
    """How to reach that server."""
    return MailSettings(
        host="127.0.0.1",
        port=port,
        sender="Booth <booth@example.com>",
        username="booth",
        password=SecretStr("fake"),
        security="none",
        timeout_s=5,
    )
