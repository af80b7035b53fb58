"""E-mails with a link: through SMTP when a server is configured, else the link stands in the log.

A failure to send is logged and never shown: the page would tell who has an account.
"""

import asyncio
import smtplib
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final, Protocol

import structlog

from tokenbooth.config.settings import MailSettings
from tokenbooth.kit.email_addresses import normalise_address, parse_sender
from tokenbooth.kit.errors import InvalidRequest

_THREADS: Final = 4
_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mail:
    """An e-mail: to whom, about what, and a link with a sentence before it; no link where none is of use."""

    recipient: str
    subject: str
    text: str
    link: str | None


class Mailer(Protocol):
    """Sends e-mails."""

    async def send(self, mail: Mail) -> None:
        """Send one; it must not raise."""
        ...

    @property
    def is_mailed(self) -> bool:
        """Whether mail leaves this machine, so that a page may say where to look for the link."""
        ...


class LogMailer:
    """Writes the link to the server's log: for the demo, and for an operator who sends links by hand."""

    is_mailed = False

    async def send(self, mail: Mail) -> None:
        """Log the mail."""
        _log.info("mail_not_sent", recipient=mail.recipient, subject=mail.subject, link=mail.link)


class SmtpMailer:
    """Sends through a mail server, a connection for each mail, off the event loop."""

    is_mailed = True

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings
        # Of their own: while the server, or who knows its name, is silent, nothing else may wait for a thread.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mail")

    async def send(self, mail: Mail) -> None:
        """Send one; a failure is logged, without the link."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._send, mail)
        except (OSError, ValueError, InvalidRequest, smtplib.SMTPException) as failure:
            _log.error("mail_failed", subject=mail.subject, error=type(failure).__name__)

    def _send(self, mail: Mail) -> None:
        settings = self._settings
        # Once more, because a row may hold what an earlier version took for an address.
        sender, recipient = parse_sender(settings.sender), normalise_address(mail.recipient)
        message = EmailMessage()
        message["From"] = Address(sender.name, addr_spec=sender.address)
        message["To"] = Address(addr_spec=recipient)
        message["Subject"] = mail.subject
        message.set_content(mail.text if mail.link is None else f"{mail.text}\n\n{mail.link}\n")
        with self._connected() as server:
            if settings.username is not None and settings.password is not None:
                server.login(settings.username, settings.password.get_secret_value())
            # Who gets it is said here, and never read out of a header.
            server.send_message(message, sender.address, [recipient])

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        if settings.security == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_s, context=context)
        server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s)
        if settings.security == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server


def make_mailer(settings: MailSettings | None) -> Mailer:
    """The mailer that is configured."""
    return LogMailer() if settings is None else SmtpMailer(settings)
