"""What a handler of the API gets and gives, and what all lists and expansions have in common."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tokenbooth_sandbox.stripe.billing.records import Invoice, InvoicePayment
from tokenbooth_sandbox.stripe.forms import Params
from tokenbooth_sandbox.stripe.http import JsonObject, JsonValue, StripeFailure
from tokenbooth_sandbox.stripe.records import Record, Session
from tokenbooth_sandbox.stripe.render.checkout import line_item
from tokenbooth_sandbox.stripe.render.shared import listing
from tokenbooth_sandbox.stripe.world import World

R = TypeVar("R", bound=Record)

_MAX_EXPAND_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API: `ids` are the parts of the path in braces."""

    world: World
    params: Params
    path: str
    ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """An error answer whose effects are kept, such as a refused card's failed charge."""

    failure: StripeFailure
    payment_intent: JsonObject


Answer = JsonObject | Refused
Handler = Callable[[Call], Answer]


def retrieve(kind: type[Record], what: str | None = None) -> Handler:
    """A handler that shows one record; `what` is how a refusal calls it."""
    return lambda call: call.world.render(call.world.state.get(kind, call.ids["id"], what=what))


def list_of(kind: type[Record], *fields: str) -> Handler:
    """A handler that lists records, by the values of `fields` that parameters of the same names ask for."""

    def show(call: Call) -> Answer:
        asked = {name: call.params.opt_text(name) for name in fields}
        return page(
            call,
            [
                record
                for record in call.world.state.newest(kind)
                if all(value is None or getattr(record, name) == value for name, value in asked.items())
            ],
        )

    return show


def page(call: Call, records: list[R]) -> JsonObject:
    """A page of `records` (newest first) by `limit`, `starting_after`, `ending_before`, `created`."""
    limit = call.params.opt_int("limit", low=1, high=100) or 10
    records = _created_between(call.params, records)
    after, before = call.params.opt_text("starting_after"), call.params.opt_text("ending_before")
    ids = [record.id for record in records]
    if after is not None:
        records = records[_index(ids, after, "starting_after") + 1 :]
        shown, has_more = records[:limit], len(records) > limit
    elif before is not None:
        records = records[: _index(ids, before, "ending_before")]
        shown, has_more = records[-limit:], len(records) > limit
    else:
        shown, has_more = records[:limit], len(records) > limit
    return listing([call.world.render(record) for record in shown], call.path, has_more=has_more)


def _index(ids: list[str], wanted: str, param: str) -> int:
    if wanted not in ids:
        raise StripeFailure(f"No such object: '{wanted}'", code="resource_missing", param=param)
    return ids.index(wanted)


def _created_between(params: Params, records: list[R]) -> list[R]:
    if not params.has("created"):
        return records
    bounds = params.child("created")
    above, least = bounds.opt_int("gt"), bounds.opt_int("gte")
    below, most = bounds.opt_int("lt"), bounds.opt_int("lte")
    return [
        record
        for record in records
        if (above is None or record.created > above)
        and (least is None or record.created >= least)
        and (below is None or record.created < below)
        and (most is None or record.created <= most)
    ]


def expand(world: World, shown: JsonObject, paths: list[str]) -> None:
    """Replace ids in an answer by their objects, as `expand` asks. Raises `StripeFailure`."""
    for path in paths:
        names = path.split(".")
        if len(names) > _MAX_EXPAND_DEPTH:
            raise StripeFailure("You cannot expand more than 4 levels of a property", param="expand")
        _expand(world, shown, names, path)


def _expand(world: World, node: JsonValue, names: list[str], path: str) -> None:
    if isinstance(node, list):
        for entry in node:
            _expand(world, entry, names, path)
        return
    if not isinstance(node, dict) or not names:
        return
    name = names[0]
    if name not in node:
        node[name] = _included(world, node, name, path)
    value = node[name]
    if isinstance(value, str):
        record = world.state.any_of(value)
        if record is None or record.id == node.get("id"):
            raise _not_expandable(path)
        value = node[name] = world.render(record)
    if len(names) == 1 and isinstance(value, (int, float)):
        raise _not_expandable(path)
    _expand(world, value, names[1:], path)


def _included(world: World, node: JsonObject, name: str, path: str) -> JsonObject:
    """The lists that an object holds only when asked for."""
    match node.get("object"), name:
        case "invoice", "payments":
            invoice = world.state.get(Invoice, str(node["id"]))
            entries: list[JsonValue] = [
                world.render(payment) for payment in world.state.newest(InvoicePayment) if payment.invoice == invoice.id
            ]
            return listing(entries, f"/v1/invoice_payments?invoice={invoice.id}")
        case "checkout.session", "line_items":
            session = world.state.get(Session, str(node["id"]))
            return listing(
                [line_item(item, world.state) for item in session.line_items],
                f"/v1/checkout/sessions/{session.id}/line_items",
            )
        case _:
            raise _not_expandable(path)


def _not_expandable(path: str) -> StripeFailure:
    return StripeFailure(f"This property cannot be expanded ({path}).", param="expand")
