"""Our side of Stripe's API: the few calls we make, answered in our own values.

The official SDK runs in a small thread pool of its own, so that a slow Stripe never blocks the event loop.
No Stripe object and no Stripe exception leaves this module, and no error text carries a key. Built once by
the composition root; imported by it, by the management plane and by the jobs.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit

import requests
import stripe

from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.payments.stripe_events import ObjectRef, key_is_live
from tokenbooth.payments.stripe_snapshots import (
    US_PER_S,
    InvoiceSnapshot,
    SessionSnapshot,
    Snapshot,
    SubscriptionSnapshot,
    UnexpectedShape,
    parse_invoice,
    parse_session,
    parse_subscription,
)
from tokenbooth.payments.stripe_webhooks import WebhookEvent, parse_event

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams

API_VERSION = "2026-10-28.endive"
_THREADS = 8
_EVENT_PAGE = 100
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

T = TypeVar("T")
PlanInterval = Literal["day", "week", "month", "year"]


class PaymentProviderError(Exception):
    """Stripe did not do what was asked. `message` is safe to show to a customer.

    `unavailable`: Stripe (or our access to it) is away, try later. `declined`: the card was refused.
    `invalid`: Stripe does not accept the call. `provider_code` is Stripe's own code, such as
    `resource_missing`, if it gave one.
    """

    def __init__(
        self,
        kind: Literal["unavailable", "declined", "invalid"],
        message: str,
        *,
        provider_code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.provider_code = provider_code
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class CheckoutCreated:
    """A hosted checkout page waits at `url` until `expires_at_us`."""

    session_id: str
    url: str
    expires_at_us: int


@dataclass(frozen=True, slots=True)
class EventPage:
    """One page of Stripe's event list, newest first. `last_id` continues it; None when it is empty."""

    events: tuple[WebhookEvent, ...]
    has_more: bool
    last_id: str | None


class StripeGateway:
    """The calls to Stripe. Close it when done."""

    def __init__(
        self,
        secret_key: str,
        *,
        api_base: str | None = None,
        timeout_s: float = 20.0,
        max_network_retries: int = 2,
    ) -> None:
        """`api_base`: None for Stripe itself, else where a twin of its API stands. `timeout_s` is per
        attempt, in seconds. Raises ValueError for an empty key."""
        if not secret_key.strip():
            raise ValueError("the Stripe secret key must not be empty")
        self.livemode = key_is_live(secret_key)
        self._client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base.rstrip("/")} if api_base else {},
            max_network_retries=max_network_retries,
            http_client=_http_client(api_base, timeout_s),
        )
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="stripe")

    async def aclose(self) -> None:
        """Let running calls end and release the threads."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _translated, work)

    async def ensure_customer(self, account_id: str, email: str, existing_id: str | None, idempotency_key: str) -> str:
        """The id of the account's Stripe customer; made when `existing_id` is None or was deleted at
        Stripe."""

        def work() -> str:
            if existing_id is not None and self._customer_exists(existing_id):
                return existing_id
            made = self._client.v1.customers.create(
                {"email": email, "metadata": {"account_id": account_id}}, {"idempotency_key": idempotency_key}
            )
            return made.id

        return await self._call(work)

    def _customer_exists(self, customer_id: str) -> bool:
        try:
            found = self._client.v1.customers.retrieve(customer_id)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return False
            raise
        return found.to_dict().get("deleted") is not True

    async def create_subscription_checkout(
        self,
        *,
        customer_id: str,
        plan_slug: str,
        plan_name: str,
        price_nano: int,
        interval: PlanInterval,
        account_id: str,
        checkout_id: str,
        success_url: str,
        cancel_url: str,
        idempotency_key: str,
    ) -> CheckoutCreated:
        """A checkout page for a plan at `price_nano` nano-USD per interval, a whole number of cents."""
        marks = {"account_id": account_id, "plan_slug": plan_slug, "checkout_id": checkout_id}
        params: SessionCreateParams = {
            "mode": "subscription",
            "customer": customer_id,
            "client_reference_id": checkout_id,
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": _cents(price_nano),
                        "recurring": {"interval": interval},
                        "product_data": {"name": plan_name, "metadata": {"plan_slug": plan_slug}},
                    },
                }
            ],
            "metadata": marks,
            "subscription_data": {"metadata": marks},
            # In another currency the amount would differ from what our record says.
            "adaptive_pricing": {"enabled": False},
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        return await self._create_session(params, idempotency_key)

    async def create_topup_checkout(
        self,
        *,
        customer_id: str,
        amount_cents: int,
        account_id: str,
        checkout_id: str,
        success_url: str,
        cancel_url: str,
        idempotency_key: str,
    ) -> CheckoutCreated:
        """A checkout page for prepaid credit; the card is kept for later top-ups."""
        marks = {"account_id": account_id, "checkout_id": checkout_id}
        params: SessionCreateParams = {
            "mode": "payment",
            "customer": customer_id,
            "client_reference_id": checkout_id,
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": amount_cents,
                        "product_data": {"name": "Prepaid credit"},
                    },
                }
            ],
            "metadata": marks,
            "payment_intent_data": {"metadata": marks, "setup_future_usage": "off_session"},
            "adaptive_pricing": {"enabled": False},
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        return await self._create_session(params, idempotency_key)

    async def _create_session(self, params: "SessionCreateParams", idempotency_key: str) -> CheckoutCreated:
        def work() -> CheckoutCreated:
            made = self._client.v1.checkout.sessions.create(params, {"idempotency_key": idempotency_key})
            session = parse_session(made.to_dict())
            if session.url is None:
                raise UnexpectedShape("session.url", "a text")
            return CheckoutCreated(session.session_id, session.url, session.expires_at_us)

        return await self._call(work)

    async def cancel_at_period_end(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """Let the subscription end with its period; asked again, the same."""

        def work() -> SubscriptionSnapshot:
            updated = self._client.v1.subscriptions.update(
                subscription_id, {"cancel_at_period_end": True}, {"idempotency_key": idempotency_key}
            )
            return parse_subscription(updated.to_dict())

        return await self._call(work)

    async def fetch_subscription(self, subscription_id: str) -> SubscriptionSnapshot:
        """The subscription as it is now."""
        return await self._call(
            lambda: parse_subscription(self._client.v1.subscriptions.retrieve(subscription_id).to_dict())
        )

    async def fetch_invoice(self, invoice_id: str) -> InvoiceSnapshot:
        """The invoice as it is now."""
        return await self._call(lambda: parse_invoice(self._client.v1.invoices.retrieve(invoice_id).to_dict()))

    async def fetch_session(self, session_id: str) -> SessionSnapshot:
        """The checkout session as it is now."""
        return await self._call(lambda: parse_session(self._client.v1.checkout.sessions.retrieve(session_id).to_dict()))

    async def fetch(self, ref: ObjectRef) -> Snapshot:
        """Whatever `ref` names, as it is now."""
        match ref.kind:
            case "subscription":
                return await self.fetch_subscription(ref.object_id)
            case "invoice":
                return await self.fetch_invoice(ref.object_id)
            case "session":
                return await self.fetch_session(ref.object_id)

    async def list_events(self, *, created_from_us: int, after_id: str | None = None) -> EventPage:
        """A page of the events since `created_from_us` (UTC microseconds), newest first, older than
        `after_id`."""

        def work() -> EventPage:
            since_s = created_from_us // US_PER_S
            page = self._client.v1.events.list(
                {"limit": _EVENT_PAGE, "created": {"gte": since_s}, "starting_after": after_id}
                if after_id
                else {"limit": _EVENT_PAGE, "created": {"gte": since_s}}
            )
            events = tuple(parse_event(entry.to_dict()) for entry in page.data)
            return EventPage(events, page.has_more, events[-1].event_id if events else None)

        return await self._call(work)


def _http_client(api_base: str | None, timeout_s: float) -> stripe.RequestsClient:
    """The SDK's HTTP client. A twin of Stripe on this machine is reached directly, past any configured proxy."""
    if api_base is None or urlsplit(api_base).hostname not in _LOOPBACK:
        return stripe.RequestsClient(timeout=timeout_s)
    direct = requests.Session()
    direct.trust_env = False
    return stripe.RequestsClient(timeout=timeout_s, session=direct)


def _cents(amount_nano: int) -> int:
    cents, rest = divmod(amount_nano, NANO_PER_CENT)
    if rest:
        raise ValueError("Stripe charges whole cents only")
    return cents


def _translated(work: Callable[[], T]) -> T:
    """Run `work`, turning the SDK's errors into ours. Their chain is cut: the SDK's texts may quote a key."""
    try:
        return work()
    except stripe.CardError as error:
        failure = _failure("declined", error.user_message or "The card was declined.", error)
    except (stripe.InvalidRequestError, stripe.IdempotencyError) as error:
        failure = _failure("invalid", "The payment provider did not accept the request.", error)
    except stripe.StripeError as error:
        failure = _failure("unavailable", "The payment provider cannot be reached. Please try again.", error)
    raise failure


def _failure(
    kind: Literal["unavailable", "declined", "invalid"], message: str, error: stripe.StripeError
) -> PaymentProviderError:
    return PaymentProviderError(kind, message, provider_code=error.code, request_id=error.request_id)
