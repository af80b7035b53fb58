"""What an exchange consumed, what is charged for it, and what is learned from it.

What is charged when a call does not end well is the matrix of docs/billing.md.
"""

from tokenbooth.gateway.access.ceilings import Ceilings
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.formats.base import UpstreamAnswer
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.thinking import thinks
from tokenbooth.gateway.settlement.estimates import Estimates
from tokenbooth.gateway.settlement.settle import BilledUsage, Settler, Terms
from tokenbooth.gateway.settlement.usage import (
    Figures,
    Unseen,
    count_answer,
    count_cut,
    count_stream,
    learn_answer,
    learn_stream,
    most_billed,
)


class Billing:
    """Counts and settles exchanges."""

    def __init__(self, settler: Settler, ceilings: Ceilings, estimates: Estimates) -> None:
        self._settler = settler
        self._ceilings = ceilings
        self._estimates = estimates
        # Upstreams that answered the last stream of a model in one piece: they don't hear of a client that leaves.
        self._whole_answerers: set[tuple[str, str]] = set()

    def release(self, exchange: Exchange) -> None:
        """End what the exchange holds, where nothing was settled, and its part of what is at risk."""
        self._settler.release(exchange.admitted)
        exchange.admitted.end_risk()

    def learn_form(self, exchange: Exchange) -> None:
        """Whether this upstream streams the model's answers when it is asked to."""
        if exchange.is_whole:
            self._whole_answerers.add((exchange.upstream, exchange.request.model.name))
        elif self._whole_answerers:
            self._whole_answerers.discard((exchange.upstream, exchange.request.model.name))

    def answers_whole(self, exchange: Exchange) -> bool:
        """Whether this upstream answered the last stream of the model in one piece."""
        return (exchange.upstream, exchange.request.model.name) in self._whole_answerers

    def thinks(self, exchange: Exchange) -> bool:
        """Whether the model may think before it answers."""
        request = exchange.request
        return thinks(request) or self._estimates.reasons(request.model.name)

    def unseen(self, exchange: Exchange) -> Unseen:
        """What is charged of an answer that is cut, beside what was seen of it."""
        bills_on = exchange.routed.route.upstream.bills_after_disconnect
        is_complete = exchange.meter is not None and exchange.meter.saw_finish_reason()
        if (exchange.is_whole or exchange.timed_out or bills_on or self.answers_whole(exchange)) and not is_complete:
            return Unseen.REST
        return Unseen.THINKING if self.thinks(exchange) else Unseen.NOTHING

    def read_and_count(self, exchange: Exchange, body: bytes) -> BilledUsage:
        """What a whole answer consumed that nobody gets.

        Raises:
            UNREADABLE, UpstreamFailure: it is none.
        """
        return self.count_answer(exchange, exchange.routed.outbound.read_answer(body), body)

    def count_answer(self, exchange: Exchange, answer: UpstreamAnswer, body: bytes) -> BilledUsage:
        """What a whole answer consumed, of which `body` is what came; learns from it."""
        outbound, figures = exchange.routed.outbound, self._figures(exchange)
        counted = count_answer(
            outbound, answer, body, figures, request_id=exchange.request_id, upstream=exchange.upstream
        )
        if not counted.estimated:
            learn_answer(figures, outbound, counted.usage, body)
        return counted

    def count_stream(self, exchange: Exchange, meter: Meter) -> BilledUsage:
        """What a stream consumed that came to its end; learns from it."""
        request, figures = exchange.request, self._figures(exchange)
        counted = count_stream(request, meter, figures, request_id=exchange.request_id, upstream=exchange.upstream)
        if not counted.estimated:
            learn_stream(figures, request, counted.usage, meter)
        return counted

    def count_cut(self, exchange: Exchange, unseen: Unseen) -> BilledUsage:
        """What an answer consumed whose end nobody heard."""
        return count_cut(
            exchange.request,
            exchange.meter,
            unseen,
            self._figures(exchange),
            request_id=exchange.request_id,
            upstream=exchange.upstream,
        )

    def settle(self, exchange: Exchange, counted: BilledUsage, terms: Terms = Terms.IN_FULL) -> int:
        """Charge the exchange; returns the charge in nano-USD, which is on disk."""
        return self._settler.settle(
            exchange.admitted, counted, request_id=exchange.request_id, upstream=exchange.upstream, terms=terms
        )

    def settle_lost(self, exchange: Exchange, counted: BilledUsage, terms: Terms) -> int:
        """Settle an answer that nobody got; what is not paid of its bill is booked as uncollected."""
        return self._settler.settle(
            exchange.admitted,
            counted,
            request_id=exchange.request_id,
            upstream=exchange.upstream,
            terms=terms,
            bill=most_billed(exchange.request, counted, self._figures(exchange)),
        )

    def book_lost(self, exchange: Exchange) -> None:
        """Nobody pays for an answer that never came; what it may cost is booked as uncollected."""
        if exchange.is_worked_on:
            self.settle_lost(exchange, self.count_cut(exchange, Unseen.REST), Terms.NOTHING)

    def settle_cut(self, exchange: Exchange) -> int:
        """Nobody hears the end of the answer; what the upstream was asked is paid."""
        if not exchange.is_worked_on:
            return 0
        counted = self.count_cut(exchange, self.unseen(exchange))
        if exchange.timed_out:
            return self.settle_lost(exchange, counted, Terms.AT_MOST_HELD)
        self.compare(exchange, counted)
        return self.settle(exchange, counted)

    def settle_stopped(self, exchange: Exchange) -> None:
        """This process ends: who waits for an answer pays what was delivered of it."""
        if exchange.http.gone or exchange.timed_out:
            self.settle_cut(exchange)
        elif exchange.began:
            self.settle(exchange, self.count_cut(exchange, Unseen.NOTHING))
        elif exchange.is_worked_on:
            self.settle_lost(exchange, self.count_cut(exchange, self.unseen(exchange)), Terms.NOTHING)

    def compare(self, exchange: Exchange, counted: BilledUsage, stopped: bool = False) -> None:
        """Learn whether the upstream kept its ceiling; `stopped`: whether the answer says that one cut it off."""
        admitted, routed = exchange.admitted, exchange.routed
        self._ceilings.compare(
            exchange.request,
            routed.route,
            routed.outbound.wire,
            admitted.clamped_output_tokens,
            counted.usage,
            estimated=counted.estimated,
            text_bytes=counted.text_bytes,
            held_maximum=admitted.held_maximum,
            stopped=stopped,
        )

    def _figures(self, exchange: Exchange) -> Figures:
        return Figures(self._estimates, exchange.admitted.key.account.account_id)
