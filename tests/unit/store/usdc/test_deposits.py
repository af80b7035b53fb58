"""Deposits in the store: one row and one credit each, whatever is said of them how often, and the audit over them."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, update

from tests.support.fakes import MARCH_5_2026_US
from tests.support.store import Customer, at_once, new_customer
from tokenbooth.domain.deposits import BlockRef, TokenTransfer
from tokenbooth.domain.ledger import USDC_CLEARING, TransferKind, credit_of, debt_of
from tokenbooth.kit.errors import Conflict
from tokenbooth.store import ledger
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.audit import AuditRow, audit
from tokenbooth.store.tables import deposits as deposits_table
from tokenbooth.store.tables import ledger_transfers
from tokenbooth.store.usdc import chain_cursors, deposit_addresses, deposits
from tokenbooth.store.usdc.chain_cursors import Cursor, Pass
from tokenbooth.store.usdc.deposit_addresses import ShownAddress
from tokenbooth.store.usdc.deposits import DepositStatus, Settled

NOW_US = MARCH_5_2026_US
USD = 10**9
CHAIN = 8453
TX = "0x" + "11" * 32
HERE, THERE = BlockRef(10, "0x" + "aa" * 32, 1), BlockRef(12, "0x" + "bb" * 32, 3)


def _derive(index: int) -> str:
    return f"0x{index + 1:040x}"


def _address(store: Store, customer: Customer, *, fingerprint: str = "one", amount_nano: int = 50 * USD) -> str:
    return store.write_now(
        deposit_addresses.request_deposit,
        customer.account_id,
        key_fingerprint=fingerprint,
        derive=_derive if fingerprint == "one" else lambda index: f"0x{index + 1_000:040x}",
        amount_nano=amount_nano,
        now_us=NOW_US,
    )


def _settle(store: Store, *transfers: TokenTransfer, block: BlockRef | None = HERE) -> Settled:
    return store.write_now(deposits.settle, chain_id=CHAIN, tx_hash=TX, transfers=transfers, block=block, now_us=NOW_US)


def _balance_nano(store: Store, customer: Customer) -> int:
    accounts = [credit_of(customer.account_id), debt_of(customer.account_id)]
    return sum(store.read_now(ledger.balances_nano, accounts).values())


@pytest.fixture
def ada(store: Store) -> Customer:
    return new_customer(store, now_us=NOW_US)


def test_settled_again_nothing_changes(store: Store, ada: Customer) -> None:
    """P5: however often a transaction is settled, its deposit is credited once."""
    transfer = TokenTransfer(0, _address(store, ada), 5_000_000)
    assert [len(_settle(store, transfer).credited) for _ in range(3)] == [1, 0, 0]
    assert (_balance_nano(store, ada), store.read_now(audit).differences) == (5 * USD, ())


def test_a_reversal_names_what_it_corrects(store: Store, ada: Customer) -> None:
    """P1: the transfer that takes a deposit back names the one that credited it, each time anew."""
    transfer = TokenTransfer(0, _address(store, ada), 5_000_000)
    for _ in range(3):
        assert len(_settle(store, transfer).credited) == 1
        assert len(_settle(store, block=None).reversed) == 1

    def corrections(conn: Connection) -> list[tuple[str, str]]:
        credited = ledger_transfers.alias()
        joined = ledger_transfers.join(credited, ledger_transfers.c.corrects == credited.c.id)
        rows = conn.execute(
            joined.select()
            .with_only_columns(ledger_transfers.c.reference, credited.c.reference)
            .order_by(ledger_transfers.c.id)
        )
        return [(row[0], row[1]) for row in rows]

    base = f"usdc:{CHAIN}:{TX}:0"
    references = [base, f"{base}:2", f"{base}:3"]
    assert sorted(store.read_now(corrections)) == [(f"reversal:{reference}", reference) for reference in references]
    assert (_balance_nano(store, ada), store.read_now(audit).differences) == (0, ())


def test_a_deposit_that_moves_keeps_its_credit(store: Store, ada: Customer) -> None:
    """Found in another block, a deposit is noted there and credited no second time."""
    transfer = TokenTransfer(3, _address(store, ada), 5_000_000)
    _settle(store, transfer)
    store.write_now(deposits.make_final, CHAIN, [HERE.hash], now_us=NOW_US)
    assert _settle(store, transfer, block=THERE) == Settled((), ())
    [deposit] = store.read_now(deposits.of_transaction, CHAIN, TX)
    assert (deposit.block_number, deposit.status) == (12, DepositStatus.CREDITED)


def test_a_transaction_that_does_something_else_now(store: Store, ada: Customer) -> None:
    """Run again in another block, a transaction may pay another amount: the old one is taken back, the new credited."""
    address = _address(store, ada)
    _settle(store, TokenTransfer(0, address, 5_000_000), TokenTransfer(1, address, 1_000_000))
    done = _settle(store, TokenTransfer(0, address, 7_000_000), block=THERE)
    assert ([d.amount_nano for d in done.credited], [d.amount_nano for d in done.reversed]) == (
        [7 * USD],
        [5 * USD, USD],
    )
    assert (_balance_nano(store, ada), store.read_now(audit).differences) == (7 * USD, ())


def test_what_was_spent_is_a_debt(store: Store, ada: Customer) -> None:
    """P3: a reversal never makes the balance negative; the debt is paid by the next deposit."""
    transfer = TokenTransfer(0, _address(store, ada), 5_000_000)
    _settle(store, transfer)
    store.write_now(
        change_credit,
        account=ada.account_id,
        kind=TransferKind.ADJUSTMENT,
        amount_nano=-2 * USD,
        reason="spent",
        reference=None,
        now_us=NOW_US,
    )
    _settle(store, block=None)
    accounts = [credit_of(ada.account_id), debt_of(ada.account_id)]
    assert list(store.read_now(ledger.balances_nano, accounts).values()) == [0, -2 * USD]
    _settle(store, transfer)
    assert list(store.read_now(ledger.balances_nano, accounts).values()) == [3 * USD, 0]


def test_an_announcement_is_for_one_deposit(store: Store, ada: Customer) -> None:
    """Scenario 29: a deposit is marked with what was announced; the next one was not announced."""
    address = _address(store, ada, amount_nano=9 * USD)
    _settle(store, TokenTransfer(0, address, 5_000_000), TokenTransfer(1, address, 4_000_000))
    found = store.read_now(deposits.of_transaction, CHAIN, TX)
    assert [deposit.announced_nano for deposit in found] == [9 * USD, None]


def test_addresses_of_another_key(store: Store, ada: Customer) -> None:
    """With a new extended key an account gets a new address, and the old one still counts."""
    old, new = _address(store, ada), _address(store, ada, fingerprint="two")
    assert old != new
    assert store.read_now(deposit_addresses.of_account, ada.account_id) == {old, new}
    _settle(store, TokenTransfer(0, old, 5_000_000), TokenTransfer(1, new, 1_000_000))
    assert _balance_nano(store, ada) == 6 * USD
    listed = store.read_now(deposits.received_by_address, CHAIN)
    assert [(entry.address, count, amount) for entry, count, amount in listed] == [(old, 1, 5 * USD), (new, 1, USD)]


def test_what_a_page_shows_of_deposits(store: Store, ada: Customer) -> None:
    """The address shown last with what was announced, and the deposits in the books with when they were credited."""
    assert store.read_now(deposit_addresses.shown_to, ada.account_id, key_fingerprint="one") is None
    address = _address(store, ada, amount_nano=7 * USD)
    assert store.read_now(deposit_addresses.shown_to, ada.account_id, key_fingerprint="one") == ShownAddress(
        address, 7 * USD
    )
    assert store.read_now(deposits.latest_of_account, ada.account_id, limit=5) == []
    _settle(store, TokenTransfer(0, address, 5_000_000), TokenTransfer(1, address, 1_000_000))
    latest = store.read_now(deposits.latest_of_account, ada.account_id, limit=5)
    assert [(deposit.amount_nano, at_us) for deposit, at_us in latest] == [(5 * USD, NOW_US), (USD, NOW_US)]


def test_an_account_keeps_its_address(store: Store, ada: Customer) -> None:
    """Announced again, the same address says what was announced last; addresses are scanned from the first one on."""
    assert store.read_now(deposit_addresses.first_created_us) is None
    address = _address(store, ada)
    assert _address(store, ada, amount_nano=7 * USD) == address
    ben = new_customer(store, now_us=NOW_US, email="ben@example.com")
    other = _address(store, ben)
    assert sorted(store.read_now(deposit_addresses.every_address)) == sorted([address, other])
    assert store.read_now(deposit_addresses.announced_since, NOW_US) == []
    assert store.read_now(deposit_addresses.first_created_us) == NOW_US
    owners = store.read_now(deposit_addresses.owners, [address, "0x" + "ee" * 20])
    assert {found: owner.account_id for found, owner in owners.items()} == {address: ada.account_id}


def test_a_deposit_is_final_when_its_block_is(store: Store, ada: Customer) -> None:
    """Until then it is asked about again, the oldest block first; the totals tell how many stand where."""
    address = _address(store, ada)
    _settle(store, TokenTransfer(0, address, 5_000_000))
    (waiting,) = store.read_now(deposits.not_final, CHAIN, limit=10)
    assert waiting.is_in_books
    assert store.read_now(deposits.blocks_of, CHAIN, [TX, "0x" + "22" * 32]) == {TX: HERE.hash}
    store.write_now(deposits.make_final, CHAIN, [THERE.hash], now_us=NOW_US)
    assert store.read_now(deposits.not_final, CHAIN, limit=10) == [waiting]
    store.write_now(deposits.make_final, CHAIN, [HERE.hash], now_us=NOW_US)
    assert store.read_now(deposits.not_final, CHAIN, limit=10) == []
    assert store.read_now(deposits.totals, CHAIN) == deposits.Totals({"final": 1}, 5 * USD, 1)
    _settle(store, block=None)
    assert store.read_now(deposits.totals, CHAIN) == deposits.Totals({"reversed": 1}, 0, 1)
    assert not store.read_now(deposits.of_transaction, CHAIN, TX)[0].is_in_books


def test_unknown_hashes_are_bounded(store: Store, ada: Customer) -> None:
    """An account may ask about so many unknown hashes; what is asked again is remembered from the first time."""

    def ask(number: int, now_us: int) -> int:
        return store.write_now(
            deposit_addresses.asked_first_us, ada.account_id, f"0x{number:064x}", max_hashes=2, now_us=now_us
        )

    assert [ask(1, 5), ask(2, 6), ask(1, 7)] == [5, 6, 5]
    with pytest.raises(Conflict, match="2 transactions"):
        ask(3, 8)
    assert store.write_now(deposits.forget_hints_before, 6) == 1
    assert ask(3, 9) == 9


def test_a_cursor_moves_from_where_it_stands(store: Store) -> None:
    """Whoever saw an older place does not move a cursor that another process, or the operator, has moved."""

    def advance(seen: Cursor | None, to: BlockRef) -> bool:
        return store.write_now(chain_cursors.advance, CHAIN, "0xt", Pass.RECENT, seen=seen, to=to, now_us=NOW_US)

    assert [advance(None, HERE), advance(None, THERE)] == [True, False]
    stands = Cursor(HERE.number, HERE.hash)
    assert [advance(stands, THERE), advance(stands, replace(THERE, number=99))] == [True, False]
    assert store.write_now(chain_cursors.set_back, CHAIN, "0xt", to_number=3, actor="operator", now_us=NOW_US) == 1
    assert store.read_now(chain_cursors.position, CHAIN, "0xt", Pass.RECENT) == Cursor(3, "")
    assert advance(Cursor(3, ""), HERE)


def test_the_audit_compares_deposits_with_the_books(store: Store, ada: Customer) -> None:
    """P2: a deposit that was changed behind the ledger's back is found."""
    _settle(store, TokenTransfer(0, _address(store, ada), 5_000_000))
    at_once(store, lambda conn: _ignore(conn.execute(update(deposits_table).values(amount_nano=4 * USD))))
    expected = AuditRow("usdc_deposits", USDC_CLEARING.id, 5 * USD, 4 * USD)
    assert store.read_now(audit).differences == (expected,)


def _ignore(_result: object) -> None:
    """A statement's result is of no interest."""


_STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=3, unique_by=lambda step: step[0]),
        st.sampled_from([HERE, THERE, None]),
    ),
    min_size=1,
    max_size=8,
)


@given(steps=_STEPS)
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_books_follow_the_chain(store: Store, steps: list[tuple[list[tuple[int, int]], BlockRef | None]]) -> None:
    """P7: whatever the chain said before, the credit is what it says last, and the audit is clean."""
    marker = store.read_now(deposits.totals, CHAIN).addresses
    customer = new_customer(store, now_us=NOW_US + marker, email=f"{marker}@example.com")
    address = _address(store, customer)
    tx_hash = f"0x{marker + 1:064x}"
    for entries, block in steps:
        transfers = [] if block is None else [TokenTransfer(position, address, units) for position, units in entries]
        store.write_now(
            deposits.settle, chain_id=CHAIN, tx_hash=tx_hash, transfers=transfers, block=block, now_us=NOW_US
        )
        assert _balance_nano(store, customer) == sum(transfer.amount_nano for transfer in transfers)
    assert store.read_now(audit).differences == ()
