"""The connection to Stripe: the official SDK's async calls, and its failures as ours.

No object and no exception of the SDK leaves `payments.stripe`, and no error text carries a key.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar
from urllib.parse import urlsplit

import stripe

from tokenbooth.payments.stripe.transport import PyreqwestTransport

API_VERSION: Final = "2026-10-28.endive"
IDEMPOTENCY: Final = "idempotency_error"
_NOT_THE_CUSTOMERS: Final = frozenset(
    {IDEMPOTENCY, "idempotency_key_in_use", "stripe_tax_inactive", "parameter_unknown", "parameter_missing"}
)
_MAX_CALLS: Final = 8
"""How many calls are under way at once; others wait."""
_AWAY: Final = "The payment provider cannot be reached. Please try again."
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

_is_within_call: Final = ContextVar("_is_within_call", default=False)

P = ParamSpec("P")
T = TypeVar("T")

# Stripe would be told how long each request took.
stripe.enable_telemetry = False


class PaymentProviderError(Exception):
    """Stripe did not do what was asked. `message` is safe to show to a customer.

    Attributes:
        kind: `unavailable`: Stripe cannot be reached, or refuses our key; try later. `declined`: the card was refused.
            `invalid`: Stripe does not accept the call.
        provider_code: Stripe's code, such as `resource_missing` or a card's `insufficient_funds`, if it gave one.
        request_id: Stripe's id of the request, if it answered.
        object_id: the id of the payment that was refused.
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


class StripeConnection:
    """The SDK, set at one key and address. Close it when done.

    Attributes:
        sdk: what requests are made with, inside `complete` alone.
        collects_tax: whether Stripe adds tax to what is sold.
    """

    def __init__(
        self, secret_key: str, *, api_base: str | None, timeout_s: float, max_network_retries: int, collects_tax: bool
    ) -> None:
        """`api_base`: None for Stripe itself, else where a twin of its API stands. `timeout_s` is per attempt, in
        seconds. Raises ValueError for an empty key."""
        if not secret_key.strip():
            raise ValueError("the Stripe secret key must not be empty")
        self.livemode = key_is_live(secret_key)
        self.collects_tax = collects_tax
        # A twin of Stripe on this machine is reached directly.
        is_local = api_base is not None and urlsplit(api_base).hostname in _LOOPBACK
        self._transport = PyreqwestTransport(timeout_s=timeout_s, ignores_proxy=is_local)
        self.sdk = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base.rstrip("/")} if api_base else {},
            max_network_retries=max_network_retries,
            http_client=self._transport,
        )
        self._slots = asyncio.Semaphore(_MAX_CALLS)
        self._running: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def complete(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make a call, which may be several requests. Once begun it runs to its end, even if its caller is cancelled
        or stops waiting: between two requests Stripe would have half of a change. A call within a call is part of it.

        Raises:
            PaymentProviderError: Stripe did not do it, or the connection is closed.
        """
        if _is_within_call.get():
            return await call()
        await self._slots.acquire()
        if self._is_closed:
            self._slots.release()
            raise PaymentProviderError("unavailable", _AWAY)
        task = asyncio.create_task(_translated(call))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Let running calls end, refuse those that wait, and close every connection."""
        self._is_closed = True
        if self._running:
            await asyncio.wait(self._running)
        await self._transport.close_async()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._slots.release()
        if not task.cancelled():
            # Taken note of, for a caller that is gone.
            task.exception()


class StripeCalls:
    """A group of calls over one connection."""

    def __init__(self, connection: StripeConnection) -> None:
        self.connection = connection
        self._v1 = connection.sdk.v1


Calls = TypeVar("Calls", bound=StripeCalls)


def stripe_call(
    method: Callable[Concatenate[Calls, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Calls, P], Coroutine[Any, Any, T]]:
    """Make a method a call of `StripeConnection.complete`."""

    @wraps(method)
    async def call(self: Calls, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.connection.complete(partial(method, self, *args, **kwargs))

    return call


def key_is_live(secret_key: str) -> bool:
    """Whether a secret or restricted key belongs to Stripe's live mode."""
    return secret_key.startswith(("sk_live_", "rk_live_"))


async def _translated(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Turn the SDK's errors into ours. Their chain is cut: the SDK's texts may quote a key."""
    _is_within_call.set(True)
    try:
        return await call()
    except stripe.CardError as error:
        failure = _failure("declined", error.user_message or "The card was declined.", error)
    except (stripe.InvalidRequestError, stripe.IdempotencyError) as error:
        failure = _failure("invalid", "The payment provider did not accept the request.", error)
        if isinstance(error, stripe.IdempotencyError):
            failure.provider_code = failure.provider_code or IDEMPOTENCY
    except stripe.StripeError as error:
        failure = _failure("unavailable", _AWAY, error)
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
