"""How we talk to Stripe at all: the official SDK in threads of its own, and its failures as ours.

No Stripe object and no Stripe exception leaves the modules `stripe_*`, and no error text carries a key.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

import requests
import stripe

from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.payments.stripe.events import key_is_live

API_VERSION: Final = "2026-10-28.endive"
IDEMPOTENCY: Final = "idempotency_error"
_NOT_THE_CUSTOMERS: Final = frozenset(
    {IDEMPOTENCY, "idempotency_key_in_use", "stripe_tax_inactive", "parameter_unknown", "parameter_missing"}
)
_THREADS = 8
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

T = TypeVar("T")


class PaymentProviderError(Exception):
    """Stripe did not do what was asked. `message` is safe to show to a customer.

    `unavailable`: Stripe (or our access to it) is away, try later. `declined`: the card was refused.
    `invalid`: Stripe does not accept the call. `provider_code` is Stripe's own code, such as
    `resource_missing` or a card's `insufficient_funds`, if it gave one; `object_id` is the id of the payment that
    was refused.
    """

    def __init__(
        self,
        kind: Literal["unavailable", "declined", "invalid"],
        message: str,
        *,
        provider_code: str | None = None,
        request_id: str | None = None,
        object_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.provider_code = provider_code
        self.request_id = request_id
        self.object_id = object_id

    @property
    def is_lasting(self) -> bool:
        """Whether the same call will be refused again, because of what it names: a customer or a card that is gone,
        a place that is not known. What the operator has to mend, or what was asked before, is not."""
        return self.kind == "invalid" and self.provider_code not in _NOT_THE_CUSTOMERS


class StripeCalls:
    """The connection to Stripe. Close it when done."""

    def __init__(
        self,
        secret_key: str,
        *,
        api_base: str | None = None,
        timeout_s: float = 20.0,
        max_network_retries: int = 2,
        collects_tax: bool = False,
    ) -> None:
        """`collects_tax`: whether Stripe adds tax to what is sold. `api_base`: None for Stripe itself, else where
        a twin of its API stands. `timeout_s` is per attempt, in seconds. Raises ValueError for an empty key."""
        if not secret_key.strip():
            raise ValueError("the Stripe secret key must not be empty")
        self.livemode = key_is_live(secret_key)
        self.collects_tax = collects_tax
        self._client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base.rstrip("/")} if api_base else {},
            max_network_retries=max_network_retries,
            http_client=_http_client(api_base, timeout_s),
        )
        self._price_ids: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="stripe")

    async def aclose(self) -> None:
        """Let running calls end and release the threads."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _translated, work)


def _http_client(api_base: str | None, timeout_s: float) -> stripe.RequestsClient:
    """The SDK's HTTP client. A twin of Stripe on this machine is reached directly, past any configured proxy."""
    if api_base is None or urlsplit(api_base).hostname not in _LOOPBACK:
        return stripe.RequestsClient(timeout=timeout_s)
    direct = requests.Session()
    direct.trust_env = False
    return stripe.RequestsClient(timeout=timeout_s, session=direct)


def whole_cents(amount_nano: int) -> int:
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
        if isinstance(error, stripe.IdempotencyError):
            failure.provider_code = failure.provider_code or IDEMPOTENCY
    except stripe.StripeError as error:
        failure = _failure("unavailable", "The payment provider cannot be reached. Please try again.", error)
    raise failure


def _failure(
    kind: Literal["unavailable", "declined", "invalid"], message: str, error: stripe.StripeError
) -> PaymentProviderError:
    return PaymentProviderError(
        kind,
        message,
        provider_code=_code(error),
        request_id=error.request_id,
        object_id=_refused_payment(error),
    )


def _code(error: stripe.StripeError) -> str | None:
    """Why a card was refused, in the words that say most; else the error's own code."""
    detail = error.error
    decline_code = None if detail is None else getattr(detail, "decline_code", None)
    return decline_code if isinstance(decline_code, str) else error.code


def _refused_payment(error: stripe.StripeError) -> str | None:
    detail = error.error
    payment = None if detail is None else getattr(detail, "payment_intent", None)
    found = None if payment is None else getattr(payment, "id", None)
    return found if isinstance(found, str) else None
