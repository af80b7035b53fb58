"""E-mails: what goes to a mail server, and what happens without one or when it fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from pydantic import SecretStr

from tokenbooth.dashboard.mail import LogMailer, Mail, SmtpMailer, make_mailer
from tokenbooth.settings import MailSettings

MAIL = Mail("ada@example.com", "Open your account", "Follow this link.", "http://booth.test/signup/abc")


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


def _settings(port: int) -> MailSettings:
    return MailSettings(
        host="127.0.0.1",
        port=port,
        sender="Booth <booth@example.com>",
        username="booth",
        password=SecretStr("fake"),
        security="none",
        timeout_s=5,
    )


async def test_a_mail_goes_to_its_recipient() -> None:
    """The server is logged in to, and gets sender, recipient, subject and the link."""
    received: list[str] = []
    async with mail_server(received) as port:
        await make_mailer(_settings(port)).send(MAIL)
    said = "\n".join(received)
    for text in ("AUTH PLAIN", "mail FROM:<booth@example.com>", "rcpt TO:<ada@example.com>", MAIL.subject, MAIL.link):
        assert text is not None
        assert text in said


async def test_a_mail_that_is_refused_is_logged_without_its_link() -> None:
    """Nothing is raised, and the log does not hold the link."""
    with structlog.testing.capture_logs() as lines:
        async with mail_server([], refuses=True) as port:
            await SmtpMailer(_settings(port)).send(MAIL)
        await SmtpMailer(_settings(port)).send(MAIL)
    assert [(line["event"], line["log_level"]) for line in lines] == [("mail_failed", "error")] * 2
    assert "signup/abc" not in repr(lines)


@pytest.mark.parametrize("link", [MAIL.link, None])
async def test_without_a_mail_server_the_link_is_in_the_log(link: str | None) -> None:
    """The line says for whom, about what, and the link."""
    mailer = make_mailer(None)
    assert (isinstance(mailer, LogMailer), mailer.is_mailed) == (True, False)
    with structlog.testing.capture_logs() as lines:
        await mailer.send(Mail(MAIL.recipient, MAIL.subject, MAIL.text, link))
    assert [(line["event"], line["recipient"], line["link"]) for line in lines] == [
        ("mail_not_sent", "ada@example.com", link)
    ]
