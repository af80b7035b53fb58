"""Every field that we read stands where the SDK's types have it, and nothing else is read."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.support.billing.stripe_fields import FIELDS, NOT_IN_EXAMPLES, find_in_sdk
from tests.support.billing.stripe_rig import Rig, paid_subscription, running_sandbox
from tokenbooth.payments.stripe.balance import parse_balance_transaction
from tokenbooth.payments.stripe.customers import parse_customer_invoice
from tokenbooth.payments.stripe.parsing import (
    parse_dispute,
    parse_invoice,
    parse_payment,
    parse_refund,
    parse_session,
    parse_subscription,
)
from tokenbooth.payments.stripe.setup import parse_endpoint
from tokenbooth.payments.stripe.webhooks import parse_event


class Watched(Mapping[str, object]):
    """A JSON object that notes which fields are read, by their paths."""

    def __init__(self, value: Mapping[str, object], read: set[str], path: str = "") -> None:
        self._value = value
        self._read = read
        self._path = path

    def __getitem__(self, name: str) -> object:
        path = f"{self._path}.{name}" if self._path else name
        self._read.add(path)
        return _watched(self._value[name], self._read, path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __contains__(self, name: object) -> bool:
        return name in self._value


def _watched(value: object, read: set[str], path: str) -> object:
    if isinstance(value, Mapping):
        return Watched(value, read, path)
    if isinstance(value, list):
        return [_watched(entry, read, path) for entry in value]
    return value


READERS: dict[str, tuple[str, tuple[Callable[[object], object], ...]]] = {
    "subscription": ("subscriptions", (parse_subscription,)),
    "invoice": ("invoices?expand[]=data.payments", (parse_invoice, parse_customer_invoice)),
    "checkout.session": ("checkout/sessions", (parse_session,)),
    "payment_intent": ("payment_intents", (parse_payment,)),
    "refund": ("refunds", (parse_refund,)),
    "dispute": ("disputes", (parse_dispute,)),
    "balance_transaction": ("balance_transactions?expand[]=data.source", (parse_balance_transaction,)),
    "webhook_endpoint": ("webhook_endpoints", (parse_endpoint,)),
    "event": ("events", (parse_event,)),
}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A sandbox in which one of everything happened."""
    with running_sandbox() as running:
        paid_subscription(running)
        client = running.client
        intent = client.v1.payment_intents.list().data[0].id
        client.v1.refunds.create({"payment_intent": intent, "amount": 100})
        running.control("dispute", payment_intent=intent)
        client.v1.webhook_endpoints.create({"url": "https://shop.example/hook", "enabled_events": ["invoice.paid"]})
        yield running


PLACES = [(name, path) for name, (_, paths) in FIELDS.items() for path in paths]


@pytest.mark.parametrize(("name", "path"), PLACES)
def test_a_field_stands_in_the_sdks_types(name: str, path: str) -> None:
    """15: the place of every field that we read, in the official SDK of the pinned version."""
    assert find_in_sdk(FIELDS[name][0], path)


def test_a_place_that_is_not_there_is_not_found() -> None:
    """The look-up tells old places apart: a subscription's own period, an invoice's subscription."""
    assert not find_in_sdk(FIELDS["subscription"][0], "current_period_end")
    assert not find_in_sdk(FIELDS["invoice"][0], "subscription")
    assert not find_in_sdk(FIELDS["payment_intent"][0], "invoice")
    assert not find_in_sdk(FIELDS["invoice"][0], "lines.data.period.middle")


@pytest.mark.parametrize("name", sorted(READERS))
def test_nothing_else_is_read(rig: Rig, name: str) -> None:
    """The list is whole: what the readers touch in an object is in it."""
    path, readers = READERS[name]
    listed = rig.raw_call("GET", f"/v1/{path}").json()["data"]
    assert listed
    read: set[str] = set()
    for value in listed:
        for reader in readers:
            reader(Watched(value, read))
    allowed = set(FIELDS[name][1])
    parents = {path.rsplit(".", depth)[0] for path in allowed for depth in range(1, path.count(".") + 1)}
    # A metadata map is read by names of our own; of a balance transaction's source, its id and its payment.
    free = ("metadata.", "source.", "data.object.", "latest_invoice.", "customer.")
    assert {path for path in read - allowed - parents if not path.startswith(free)} == set()


def test_the_exceptions_are_in_the_list() -> None:
    """What the published examples leave out is read, and said so."""
    for name, paths in NOT_IN_EXAMPLES.items():
        assert set(paths) <= set(FIELDS[name][1])
