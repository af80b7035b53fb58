"""`tokenbooth stripe setup`: everything that has to exist at Stripe, made without clicking; repeatable.

The signing secret of a new endpoint is told by Stripe once: it is written to a file or printed, and nowhere else.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from tokenbooth.cli.failures import CONFIGURATION, CommandFailed
from tokenbooth.cli.output import print_json, print_line
from tokenbooth.config.catalog import build_catalog
from tokenbooth.config.payments import StripeSettings
from tokenbooth.config.settings import load_settings
from tokenbooth.domain.plans import Plan
from tokenbooth.kit.private_files import write_private
from tokenbooth.payments.stripe.client import API_VERSION, PaymentProviderError, StripeClient
from tokenbooth.payments.stripe.setup import Endpoint
from tokenbooth.runtime.features import stripe_client
from tokenbooth.services.checkouts import plan_price

WEBHOOK_PATH = "/api/webhooks/stripe"


@dataclass(frozen=True, slots=True)
class Done:
    """What is at Stripe now. `secret` is that of an endpoint that was made now."""

    prices: dict[str, str]
    portal_id: str
    endpoint: Endpoint
    made_endpoint: bool


def set_up(config: Path, *, secret_file: Path | None, as_json: bool) -> None:
    """Make what is missing at Stripe, and say what is there."""
    settings = load_settings(config, webhook_secret_may_be_missing=True)
    if settings.stripe is None:
        raise CommandFailed("stripe: it is not configured; [stripe] needs secret_key_env", exit_code=CONFIGURATION)
    base_url = settings.server.base_url()
    if settings.stripe.api_base is None and not base_url.startswith("https://"):
        raise CommandFailed(
            "server.public_url: must be an https address; Stripe sends its webhooks there", exit_code=CONFIGURATION
        )
    plans = tuple(build_catalog(settings).plans.values())
    done = asyncio.run(_make(settings.stripe, plans, base_url))
    secret = done.endpoint.secret
    if secret is not None and secret_file is not None:
        _write_secret(secret_file, secret)
        secret = None
    if as_json:
        print_json(
            {
                "prices": done.prices,
                "portalConfiguration": done.portal_id,
                "endpoint": done.endpoint.id,
                "endpointUrl": done.endpoint.url,
                "apiVersion": done.endpoint.api_version,
                "madeEndpoint": done.made_endpoint,
                "webhookSecret": secret,
            }
        )
        return
    for slug, price_id in done.prices.items():
        print_line(f"plan {slug:<16} {price_id}")
    print_line(f"portal                {done.portal_id}")
    print_line(f"webhook endpoint      {done.endpoint.id} {done.endpoint.url}")
    if secret is not None:
        print_line(f"signing secret        {secret}")
        print_line("It is not shown again: put it where webhook_secret_env or webhook_secret_file points to.")
    elif done.made_endpoint:
        print_line(f"The signing secret is in {secret_file}.")


async def _make(settings: StripeSettings, plans: tuple[Plan, ...], base_url: str) -> Done:
    client = stripe_client(settings)
    try:
        prices = {
            plan.slug: await client.subscriptions.ensure_price(plan_price(plan, plan.price_nano)) for plan in plans
        }
        portal_id, _ = await client.setup.ensure_portal(f"{base_url}/")
        endpoint, made = await _endpoint(client, base_url + WEBHOOK_PATH)
        return Done(prices, portal_id, endpoint, made)
    except PaymentProviderError as failure:
        raise CommandFailed(f"Stripe: {failure.message} ({failure.provider_code or failure.kind})") from None
    finally:
        await client.aclose()


async def _endpoint(client: StripeClient, url: str) -> tuple[Endpoint, bool]:
    """The endpoint at our address and version; one of another version stays until the operator deletes it."""
    for endpoint in await client.setup.list_endpoints():
        if endpoint.url == url and endpoint.api_version == API_VERSION:
            if endpoint.missing_events or not endpoint.enabled:
                endpoint = await client.setup.subscribe_endpoint(endpoint.id)
            return endpoint, False
    return await client.setup.create_endpoint(url), True


def _write_secret(path: Path, secret: str) -> None:
    try:
        write_private(path, f"{secret}\n")
    except OSError as failure:
        raise CommandFailed(
            f"{path} cannot be written: {failure.strerror}. The endpoint is made; reveal its secret in Stripe's "
            "dashboard."
        ) from None
