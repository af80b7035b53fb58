"""The dashboard's log-in as seen by a request: its cookie, whose it is, and whether the request is from our own pages.

A cookie alone does not prove intent (CSRF): whatever changes something must also come from our own origin.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from tokenbooth.kit.errors import Forbidden
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.sessions import SessionOwner, find_session, secret_digest

_SECRET_MAX: Final = 100
_OWN_SITES: Final = frozenset({"same-origin", "none"})


def cookie_name(base_url: str) -> str:
    """The cookie's name; with HTTPS one that browsers accept only for this host and only when it is secure."""
    return "__Host-tokenbooth" if base_url.startswith("https://") else "tokenbooth"


def cookie_secret(context: ServiceContext, request: Request) -> str | None:
    """The value of the request's log-in cookie; None when there is none that could be ours."""
    secret = request.cookies.get(cookie_name(context.settings.server.base_url()), "")
    return secret if 0 < len(secret) <= _SECRET_MAX and secret.isascii() else None


async def session_owner(context: ServiceContext, request: Request) -> SessionOwner | None:
    """Who is logged in; None for nobody.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    secret = cookie_secret(context, request)
    if secret is None:
        return None
    return await context.store.read(find_session, secret_digest(secret), now_us=context.clock.now_us())


def require_own_origin(context: ServiceContext, request: Request, *, writes: bool) -> None:
    """Refuse what another site made a browser send: the standing defence against forged requests (CSRF).

    Args:
        context: for our own address.
        request: its `Origin` (RFC 6454) and its `Sec-Fetch-Site` (Fetch Metadata) must not name another site.
        writes: whether it changes something; then one of the two must be there.

    Raises:
        Forbidden: it comes from elsewhere, or, for a write, does not say.
    """
    origins = request.headers.getlist("origin")
    sites = request.headers.getlist("sec-fetch-site")
    is_named = bool(origins or sites)
    fits = (
        len(origins) <= 1
        and all(_is_ours(context, request, origin) for origin in origins)
        and all(site in _OWN_SITES for site in sites)
    )
    if fits and (is_named or not writes):
        return
    raise Forbidden("wrong_origin", "This request did not come from a page of this site, so it was not carried out.")


def _is_ours(context: ServiceContext, request: Request, origin: str) -> bool:
    """Our public origin, or the very host that was asked: no other site can make a browser say either."""
    try:
        given = urlsplit(origin)
    except ValueError:
        # An open bracket, which no browser sends.
        return False
    public = urlsplit(context.settings.server.base_url())
    if (given.scheme, given.netloc) == (public.scheme, public.netloc):
        return True
    return given.scheme in ("http", "https") and bool(given.netloc) and given.netloc == request.headers.get("host")


def client_address(request: Request) -> str:
    """The client's address; behind a trusted proxy, the one that the proxy gave."""
    return "" if request.client is None else request.client.host
