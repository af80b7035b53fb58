"""Links that open an account or choose a new password, and the mails that they go out in.

A link works once, for a while; only its digest is stored.
"""

import secrets
from typing import Final

from tokenbooth.domain.windows import DAY_US
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.mail import Mail, Mailer
from tokenbooth.store.accounts import accounts, audit_log, sessions
from tokenbooth.store.accounts.audit_log import Actor
from tokenbooth.store.accounts.sessions import Purpose, secret_digest

_SECRET_BYTES: Final = 32
_SIGN_UP_LIFE_US: Final = DAY_US
_INVITATION_LIFE_US: Final = 7 * DAY_US
_RESET_LIFE_US: Final = 3_600 * 1_000_000


async def mail_sign_up(context: ServiceContext, mailer: Mailer, email: str) -> None:
    """Mail who asked to sign up a link that opens an account; who has one is told so."""
    if await context.store.read(accounts.find_account_by_email, email) is None:
        await _mail_opening(context, mailer, email, life_us=_SIGN_UP_LIFE_US)
        return
    link = f"{context.settings.server.base_url()}/login"
    await mailer.send(
        Mail(email, "You have an account already", "You asked to sign up, and you have an account. Log in:", link)
    )


async def mail_invitation(context: ServiceContext, mailer: Mailer, email: str) -> bool:
    """Mail a link that opens an account; False when this email got enough links already."""
    return await _mail_opening(context, mailer, email, life_us=_INVITATION_LIFE_US)


async def mail_reset(context: ServiceContext, mailer: Mailer, email: str, address: str) -> None:
    """Mail a link that chooses a new password; nothing where there is no account. `address` is who asked."""
    account = await context.store.read(accounts.find_account_by_email, email)
    if account is None:
        return
    is_made = await _mail_link(
        context, mailer, email, Purpose.RESET, _RESET_LIFE_US, "reset", "Choose a new password",
        "Somebody, probably you, asked for a new password. This link works for one hour; if it was not you, "
        "do nothing.",
    )  # fmt: skip
    if is_made:
        await context.store.write(
            audit_log.record,
            actor=Actor(audit_log.NOBODY, address),
            action="account.reset_mailed",
            account_id=account.id,
            detail=account.id,
            now_us=context.clock.now_us(),
        )


async def _mail_opening(context: ServiceContext, mailer: Mailer, email: str, *, life_us: int) -> bool:
    return await _mail_link(
        context, mailer, email, Purpose.SIGN_UP, life_us, "signup", "Open your account",
        "Follow this link to choose a password and open your account.",
    )  # fmt: skip


async def _mail_link(
    context: ServiceContext,
    mailer: Mailer,
    email: str,
    purpose: Purpose,
    life_us: int,
    path: str,
    subject: str,
    text: str,
) -> bool:
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    now_us = context.clock.now_us()
    is_made = await context.store.write(
        sessions.create_link,
        secret_digest(secret),
        purpose=purpose,
        email=email,
        expires_at_us=now_us + life_us,
        now_us=now_us,
    )
    if is_made:
        # From the configuration: a link made from what a client says could lead anywhere.
        link = f"{context.settings.server.base_url()}/{path}/{secret}"
        await mailer.send(Mail(email, subject, text, link))
    return is_made
