"""The checks of `tokenbooth doctor` that are about Stripe: the key and its mode, the endpoint, the clock.

Nothing is changed at Stripe, and no secret is shown.
"""

import asyncio
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Final

from tokenbooth.cli.doctor.findings import Finding, Level
from tokenbooth.config.payments import StripeSettings
from tokenbooth.config.settings import Settings
from tokenbooth.payments.stripe.client import API_VERSION, PaymentProviderError, StripeClient
from tokenbooth.payments.stripe.setup import Endpoint

WEBHOOK_PATH: Final = "/api/webhooks/stripe"
_STRIPE: Final = "https://api.stripe.com"
_TIMEOUT_S: Final = 5.0
_TOLERATED_SKEW_S: Final = 60
"""Far within the five minutes after which a webhook's signature counts as too old."""


def examine_stripe(settings: Settings) -> Iterator[Finding]:
    """The findings about Stripe, those of its answers last."""
    stripe = settings.stripe
    if stripe is None:
        yield Finding("stripe", Level.WARNING, "not configured: no cards", "add [stripe] to take payments")
        return
    problems = list(_stripe_problems(stripe, settings.server.public_url))
    mode = "live" if stripe.is_live() else "test"
    if not problems:
        yield Finding("stripe", Level.OK, f"{mode} mode")
    for found, advice in problems:
        yield Finding("stripe", Level.FAILED if stripe.is_live() else Level.WARNING, f"{mode} mode: {found}", advice)
    yield from _examine_answers(stripe, settings.server.base_url())


def _stripe_problems(stripe: StripeSettings, public_url: str | None) -> Iterator[tuple[str, str]]:
    if not stripe.secret_key.get_secret_value().startswith(("sk_", "rk_")):
        yield "the secret key begins with neither sk_ nor rk_", "copy it again from Stripe's dashboard"
    if not all(secret.get_secret_value().startswith("whsec_") for secret in stripe.webhook_secrets):
        yield "a webhook secret does not begin with whsec_", "copy the endpoint's signing secret again"
    if stripe.api_base is not None:
        yield "api_base points away from Stripe", "remove stripe.api_base, unless this is a sandbox"
    if public_url is None or not public_url.startswith("https://"):
        yield "server.public_url is not an https address", "set it: Stripe sends customers and webhooks there"


def _examine_answers(stripe: StripeSettings, base_url: str) -> Iterator[Finding]:
    """What Stripe says itself; without an answer nothing more can be told."""
    skew_s = _clock_skew_s(stripe)
    if skew_s is None:
        yield Finding("stripe", Level.WARNING, "does not answer", "check the network; then run doctor again")
        return
    if abs(skew_s) > _TOLERATED_SKEW_S:
        found = f"our clock differs from Stripe's by {skew_s:.0f} s"
        yield Finding("stripe clock", Level.FAILED, found, "keep this machine's clock by NTP: webhooks are refused")
    else:
        yield Finding("stripe clock", Level.OK, "agrees with ours")
    try:
        endpoints = asyncio.run(_endpoints(stripe))
    except PaymentProviderError as failure:
        found = f"refuses our key ({failure.provider_code or failure.kind})"
        yield Finding("stripe key", Level.FAILED, found, "check secret_key_env or secret_key_file, and its rights")
        return
    yield Finding("stripe key", Level.OK, f"accepted, {'live' if stripe.is_live() else 'test'} mode")
    yield from _examine_endpoints(endpoints, base_url + WEBHOOK_PATH)


def _examine_endpoints(endpoints: tuple[Endpoint, ...], url: str) -> Iterator[Finding]:
    ours = [endpoint for endpoint in endpoints if endpoint.url == url and endpoint.enabled]
    if not ours:
        advice = "run `tokenbooth stripe setup`; until then the reconciler finds payments, minutes later"
        yield Finding("stripe endpoint", Level.WARNING, f"none for {url}", advice)
    for endpoint in ours:
        if endpoint.missing_events:
            found = f"{endpoint.id} lacks {', '.join(endpoint.missing_events)}"
            yield Finding("stripe endpoint", Level.FAILED, found, "run `tokenbooth stripe setup`")
        elif endpoint.api_version != API_VERSION:
            found = f"{endpoint.id} is at API version {endpoint.api_version or 'of the account'}, not {API_VERSION}"
            advice = "run `tokenbooth stripe setup`, let both secrets stand, then delete the old endpoint at Stripe"
            yield Finding("stripe endpoint", Level.WARNING, found, advice)
        else:
            yield Finding("stripe endpoint", Level.OK, f"{endpoint.id}: {url}, API {API_VERSION}")


async def _endpoints(stripe: StripeSettings) -> tuple[Endpoint, ...]:
    client = StripeClient(
        stripe.secret_key.get_secret_value(),
        api_base=stripe.api_base,
        timeout_s=_TIMEOUT_S,
        max_network_retries=0,
    )
    try:
        return await client.setup.list_endpoints()
    finally:
        await client.aclose()


def _clock_skew_s(stripe: StripeSettings) -> float | None:
    """By how much our clock is ahead of Stripe's, in seconds; None without an answer."""
    request = urllib.request.Request(f"{(stripe.api_base or _STRIPE).rstrip('/')}/v1/balance")  # noqa: S310
    try:
        # The key is not needed: any answer has a date.
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return _skew_s(answer.headers)
    except urllib.error.HTTPError as answer:
        with answer:
            return _skew_s(answer.headers)
    except (OSError, http.client.HTTPException):
        return None


def _skew_s(headers: Message) -> float:
    try:
        return time.time() - parsedate_to_datetime(str(headers["date"])).timestamp()
    except ValueError:
        return 0.0
