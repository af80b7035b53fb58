"""Automatic top-ups: an account's rule, and the one charge at a time that it may lead to.

The rule is set by the account; a charge that fails switches it off (`topups.fail_direct`). Nothing here talks to
Stripe.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, Row, func, select, text, update

from tokenbooth.domain.ledger import credit_of
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.windows import month_start_us
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.store import ledger
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.payments import checkouts, topups
from tokenbooth.store.payments.checkouts import CheckoutKind, CheckoutStatus, Offer, TopUpCaps
from tokenbooth.store.tables import accounts, auto_topup_notices, auto_topups
from tokenbooth.store.tables import checkouts as checkout_rows


@dataclass(frozen=True, slots=True)
class Rule:
    """Below `threshold_nano` of available credit, `amount_nano` is charged; at most `monthly_limit_nano` in a
    calendar month (UTC). All in nano-USD."""

    enabled: bool
    threshold_nano: int
    amount_nano: int
    monthly_limit_nano: int


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule as its account sees it: with what it charged this month, and why it was switched off."""

    rule: Rule
    charged_this_month_nano: int
    failure: str | None
    failed_at_us: int | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account whose rule is on and whose balance may be too low."""

    account_id: str
    customer_id: str
    balance_nano: int
    rule: Rule


@dataclass(frozen=True, slots=True)
class UnnotifiedFailure:
    """A rule that a failure switched off, whose owner has not been told; the failure's time in UTC microseconds."""

    account_id: str
    email: str
    failure: str
    failed_at_us: int

    def __repr__(self) -> str:
        return f"UnnotifiedFailure({self.account_id!r})"


def view(conn: Connection, account_id: str, *, now_us: int) -> RuleView:
    """An account's rule; one that was never set is off, with zeros."""
    row = conn.execute(select(auto_topups).where(auto_topups.c.account_id == account_id)).first()
    if row is None:
        return RuleView(Rule(False, 0, 0, 0), 0, None, None)
    return RuleView(
        rule=_rule(row),
        charged_this_month_nano=_charged_this_month_nano(conn, account_id, now_us),
        failure=row.failure,
        failed_at_us=row.failed_at_us,
    )


def put(conn: Connection, account_id: str, rule: Rule, *, actor: str, now_us: int) -> RuleView:
    """Set an account's rule; a former failure is forgotten. `actor` is who asks, for the audit log."""
    before = view(conn, account_id, now_us=now_us).rule
    if rule != before:
        _record(conn, account_id, before, rule, actor=actor, now_us=now_us)
    values = {
        "enabled": rule.enabled,
        "threshold_nano": rule.threshold_nano,
        "amount_nano": rule.amount_nano,
        "monthly_limit_nano": rule.monthly_limit_nano,
        "failure": None,
        "failed_at_us": None,
        "updated_at_us": now_us,
    }
    if not insert_unless_there(conn, auto_topups, {"account_id": account_id, **values}):
        conn.execute(update(auto_topups).where(auto_topups.c.account_id == account_id).values(**values))
    return view(conn, account_id, now_us=now_us)


def _record(conn: Connection, account_id: str, before: Rule, after: Rule, *, actor: str, now_us: int) -> None:
    match before.enabled, after.enabled:
        case False, True:
            what = "switched_on"
        case True, False:
            what = "switched_off"
        case _:
            what = "changed"
    threshold, amount, limit = map(format_usd, (after.threshold_nano, after.amount_nano, after.monthly_limit_nano))
    audit_log.record(
        conn,
        actor=actor,
        action=f"auto_top_up.{what}",
        account_id=account_id,
        detail=f"below {threshold} USD: {amount} USD, at most {limit} USD a month",
        now_us=now_us,
    )


def switch_off(conn: Connection, account_id: str, failure: str, *, now_us: int) -> None:
    """Switch a rule off and say why; its account reads it with the rule."""
    topups.switch_off_auto_top_up(conn, account_id, failure, now_us=now_us)


def unnotified(conn: Connection) -> list[UnnotifiedFailure]:
    """Every rule that is off because of a failure that its owner has not been told."""
    noted = (
        select(auto_topup_notices.c.account_id)
        .where(
            auto_topup_notices.c.account_id == auto_topups.c.account_id,
            auto_topup_notices.c.failed_at_us == auto_topups.c.failed_at_us,
        )
        .exists()
    )
    rows = conn.execute(
        select(auto_topups.c.account_id, accounts.c.email, auto_topups.c.failure, auto_topups.c.failed_at_us)
        .join(accounts, accounts.c.id == auto_topups.c.account_id)
        .where(auto_topups.c.failed_at_us.is_not(None), ~noted)
    ).all()
    return [UnnotifiedFailure(row.account_id, row.email, row.failure, row.failed_at_us) for row in rows]


def mark_notified(conn: Connection, failed: UnnotifiedFailure, *, now_us: int) -> bool:
    """Note that an owner is being told of a failure; False when somebody noted it before."""
    values = {"account_id": failed.account_id, "failed_at_us": failed.failed_at_us, "noted_at_us": now_us}
    return insert_unless_there(conn, auto_topup_notices, values)


def candidates(conn: Connection) -> list[Candidate]:
    """Every account whose rule is on, that is not stopped and that has no charge under way."""
    under_way = select(checkout_rows.c.account_id).where(
        checkout_rows.c.kind == CheckoutKind.AUTO_TOP_UP, checkout_rows.c.status == CheckoutStatus.PENDING
    )
    rows = conn.execute(
        select(auto_topups, accounts.c.stripe_customer_id)
        .join(accounts, accounts.c.id == auto_topups.c.account_id)
        .where(
            auto_topups.c.enabled,
            accounts.c.suspended_at_us.is_(None),
            accounts.c.disputed_at_us.is_(None),
            accounts.c.stripe_customer_id.is_not(None),
            auto_topups.c.account_id.not_in(under_way),
        )
    ).all()
    balances_nano = ledger.balances_nano(conn, [credit_of(row.account_id) for row in rows])
    return [
        Candidate(
            account_id=row.account_id,
            customer_id=row.stripe_customer_id,
            balance_nano=balances_nano[credit_of(row.account_id)],
            rule=_rule(row),
        )
        for row in rows
    ]


def begin(
    conn: Connection,
    candidate: Candidate,
    *,
    checkout_id: str,
    card_id: str,
    held_nano: int,
    caps: TopUpCaps,
    now_us: int,
) -> bool:
    """Note a charge, when the rule still asks for it and none is under way; False when not.

    Args:
        candidate: whose.
        checkout_id: the charge's id.
        card_id: Stripe's id of the card.
        held_nano: what calls in flight hold of the credit.
        caps: the bounds on top-ups.
        now_us: UTC microseconds.
    """
    account_id = candidate.account_id
    now = view(conn, account_id, now_us=now_us)
    rule = now.rule
    if not rule.enabled or now.charged_this_month_nano + rule.amount_nano > rule.monthly_limit_nano:
        return False
    if ledger.balance_nano(conn, credit_of(account_id)) - held_nano >= rule.threshold_nano:
        return False
    offer = Offer(CheckoutKind.AUTO_TOP_UP, None, rule.amount_nano, card_id)
    try:
        checkouts.check_caps(conn, account_id, offer, caps, now_us=now_us)
    except TokenboothError:
        return False
    # The unique index lets one account have one pending charge only.
    return insert_unless_there(conn, checkout_rows, checkouts.row_of(checkout_id, account_id, offer, now_us))


def _rule(row: Row[tuple[object, ...]]) -> Rule:
    return Rule(row.enabled, row.threshold_nano, row.amount_nano, row.monthly_limit_nano)


def _charged_this_month_nano(conn: Connection, account_id: str, now_us: int) -> int:
    total = conn.execute(
        select(func.coalesce(func.sum(checkout_rows.c.amount_nano), 0)).where(
            checkout_rows.c.account_id == account_id,
            # As text, so that SQLite sees which index has these alone.
            text("kind = 'auto_top_up'"),
            checkout_rows.c.status.not_in([CheckoutStatus.EXPIRED, CheckoutStatus.FAILED]),
            checkout_rows.c.created_at_us >= month_start_us(now_us),
        )
    ).scalar_one()
    return int(total)
