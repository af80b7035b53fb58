"""Webhooks: signed, posted, tried again, and mistreated on demand.

Events of one call go out one after another, those of different calls side by side. A failed delivery is
tried again a bounded number of times in the background; `/v1/events` lists the event whatever becomes of
it.
"""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import Event
from tokenbooth_sandbox.stripe.world import World

RETRY_DELAYS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)
_LOG_LENGTH = 2_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery. `status` is the answer's, None when none came or the webhook was dropped (see
    `outcome`)."""

    event_id: str
    type: str
    number: int
    outcome: str
    status: int | None


def sign(secret: str, at_s: int, body: bytes) -> str:
    """The `Stripe-Signature` header of a body. `at_s`: UTC seconds."""
    digest = hmac.new(secret.encode(), str(at_s).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


class Postman:
    """Delivers one sandbox's events. Belongs to one event loop."""

    def __init__(
        self,
        world: World,
        *,
        secret: str,
        url: str,
        timeout_s: float = 15.0,
        retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S,
    ) -> None:
        """`timeout_s` is per attempt; `retry_delays_s` are the pauses before each further one, all in
        seconds."""
        self._world = world
        self._secret = secret
        self._url = url
        self._timeout_s = timeout_s
        self._retry_delays_s = retry_delays_s
        self._client: Client | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._held: list[str] = []
        self.attempts: deque[Attempt] = deque(maxlen=_LOG_LENGTH)

    async def deliver(self, events: Iterable[Event]) -> None:
        """Post events for the first time, in order, as the delivery mode says; return when all were
        answered."""
        for event in events:
            mode = self._world.settings
            match mode.delivery:
                case "drop":
                    self._note(event, 0, "dropped", None)
                case "hold":
                    self._held.append(event.id)
                    self._note(event, 0, "held", None)
                case "normal":
                    for _ in range(mode.copies):
                        await self._first(event)

    def deliver_soon(self, events: list[Event]) -> None:
        """The same in the background."""
        if events:
            self._start(self.deliver(events), self._running)

    def resume(self) -> None:
        """Post what an earlier process did not get through, oldest first, in the background."""
        pending = [event for event in self._world.state.newest(Event) if event.pending]
        self.deliver_soon(pending[::-1])

    async def idle(self) -> None:
        """Wait until no first delivery is under way (retries may still be waiting)."""
        while self._running:
            await asyncio.wait(self._running)

    @property
    def held(self) -> list[str]:
        """The ids of the events that wait to be released, oldest first."""
        return list(self._held)

    async def release(self, order: list[str] | None) -> None:
        """Deliver held events, all in order of age or exactly those that `order` names. Raises
        `StripeFailure`."""
        chosen = self.held if order is None else order
        unknown = [event_id for event_id in chosen if event_id not in self._held]
        if unknown:
            raise StripeFailure(f"Not held: {unknown[0]}", param="order")
        self._held = [event_id for event_id in self._held if event_id not in chosen]
        for event_id in chosen:
            await self._first(self._world.state.get(Event, event_id))

    async def resend(self, event_id: str, copies: int) -> None:
        """Deliver an event again, `copies` times at once. Raises `StripeFailure` for an unknown id."""
        event = self._world.state.get(Event, event_id)
        await asyncio.gather(*(self._first(event) for _ in range(copies)))

    async def aclose(self) -> None:
        """Stop everything that is under way; what is unanswered stays pending."""
        tasks = self._running | self._waiting
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _start(self, work: Coroutine[object, object, None], group: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        group.add(task)
        task.add_done_callback(group.discard)

    async def _first(self, event: Event) -> None:
        if not await self._post(event, 1):
            self._start(self._again(event), self._waiting)

    async def _again(self, event: Event) -> None:
        for number, delay_s in enumerate(self._retry_delays_s, start=2):
            await asyncio.sleep(delay_s)
            if await self._post(event, number):
                return

    async def _post(self, event: Event, number: int) -> bool:
        if self._client is None:
            timeout = timedelta(seconds=self._timeout_s)
            # Straight to the endpoint: a proxy of the environment must not see test webhooks.
            self._client = ClientBuilder().no_proxy().follow_redirects(False).timeout(timeout).build()
        body = event.body.encode()
        request = (
            self._client.post(self._url)
            .header("content-type", "application/json; charset=utf-8")
            .header("user-agent", "Stripe/1.0 (sandbox)")
            # The real time: an endpoint refuses an old signature, wherever the test clock stands.
            .header("stripe-signature", sign(self._secret, self._world.real_now(), body))
            .body_bytes(body)
            .build()
        )
        try:
            response = await request.send()
        except PyreqwestError:
            self._note(event, number, "unreachable", None)
            return False
        good = 200 <= response.status < 300
        self._note(event, number, "delivered" if good else "refused", response.status)
        if good:
            self._mark_delivered(event.id)
        return good

    def _mark_delivered(self, event_id: str) -> None:
        event = self._world.state.get(Event, event_id)
        if event.pending:
            with self._world.state.transaction():
                self._world.state.put(replace(event, pending=False))

    def _note(self, event: Event, number: int, outcome: str, status: int | None) -> None:
        self.attempts.append(Attempt(event.id, event.type, number, outcome, status))
