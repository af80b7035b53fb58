"""E-mails: what goes to a mail server, and what happens without one or when it fails."""

import asyncio
import smtplib
import threading
from email import message_from_string
from email.policy import default

import pytest
import structlog

from tests.support.mail import mail_server, mail_settings
from tokenbooth.services.mail import LogMailer, Mail, SmtpMailer, make_mailer

MAIL = Mail("ada@example.com", "Open your account", "Follow this link.", "http://booth.test/signup/abc")


async def test_a_mail_goes_to_its_recipient() -> None:
    """The server is logged in to, and gets sender, recipient, subject and the link."""
    received: list[str] = []
    async with mail_server(received) as port:
        await make_mailer(mail_settings(port)).send(MAIL)
    said = "\n".join(received)
    for text in ("AUTH PLAIN", "mail FROM:<booth@example.com>", "rcpt TO:<ada@example.com>", MAIL.subject, MAIL.link):
        assert text is not None
        assert text in said


@pytest.mark.parametrize(
    "recipient",
    [
        "=?utf-8?q?victim=40bank.example?=,1@evil.example",
        "=?utf-8?q?victim?=@bank.example",
        "victim@bank.example, eve@evil.example",
        "eve@evil.example\r\nRCPT TO:<victim@bank.example>",
        "Eve <victim@bank.example>",
        "friends:victim@bank.example;",
        "eve@evil.example(victim@bank.example)",
    ],
)
async def test_what_is_not_one_address_is_never_mailed_to(recipient: str) -> None:
    """Also when the store holds it since an earlier version; the log says that a mail failed."""
    received: list[str] = []
    with structlog.testing.capture_logs() as lines:
        async with mail_server(received) as port:
            await SmtpMailer(mail_settings(port)).send(Mail(recipient, MAIL.subject, MAIL.text, None))
    assert ([line["event"] for line in lines], received) == (["mail_failed"], [])


@pytest.mark.parametrize("recipient", ["o'brien_&=/#~-1+x@example.com", f"{'a' * 64}@{'b' * 60}.{'c' * 60}.example"])
async def test_a_mail_has_one_recipient(recipient: str) -> None:
    """The server is told the address once, as it is, and the header says the same."""
    received: list[str] = []
    async with mail_server(received) as port:
        await SmtpMailer(mail_settings(port)).send(Mail(recipient, MAIL.subject, MAIL.text, None))
    assert [line for line in received if line.lower().startswith("rcpt")] == [f"rcpt TO:<{recipient}>"]
    headers = message_from_string("\n".join(received[received.index("data") + 1 :]), policy=default)
    assert [found.addr_spec for found in headers["To"].addresses] == [recipient]
    assert headers["From"] == "Booth <booth@example.com>"


async def test_a_mail_that_is_refused_is_logged_without_its_link() -> None:
    """Nothing is raised, and the log does not hold the link."""
    with structlog.testing.capture_logs() as lines:
        async with mail_server([], refuses=True) as port:
            await SmtpMailer(mail_settings(port)).send(MAIL)
        await SmtpMailer(mail_settings(port)).send(MAIL)
    assert [(line["event"], line["log_level"]) for line in lines] == [("mail_failed", "error")] * 2
    assert "signup/abc" not in repr(lines)


async def test_mails_that_take_long_hold_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail server, or a name server, that is silent: what else needs a thread gets one."""
    may_answer = threading.Event()

    def silent(*_args: object, **_more: object) -> smtplib.SMTP:
        assert may_answer.wait(20)
        raise OSError("silent")

    monkeypatch.setattr(smtplib, "SMTP", silent)
    mailer = SmtpMailer(mail_settings(1))
    sending = [asyncio.ensure_future(mailer.send(MAIL)) for _ in range(64)]
    await asyncio.sleep(0)

    assert await asyncio.to_thread(lambda: True)
    assert not any(task.done() for task in sending)
    may_answer.set()
    await asyncio.gather(*sending)


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
