"""Deposits of USDC: an address to pay to, and a check of a transaction when the customer says that one was sent.

A pasted hash is only a hint to check now: who is credited is decided by the address that was paid. Nothing here credits
what the chain's node has not shown in a block that counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection

from tokenbooth.domain.deposits import REFUSAL_TEXTS, BlockRef, PendingDeposit, Refusal, TokenTransfer, payment_uri
from tokenbooth.domain.ledger import credit_of
from tokenbooth.domain.windows import SECOND_US
from tokenbooth.kit.errors import InvalidRequest, NotFound, Unavailable, Unprocessable
from tokenbooth.payments.usdc.addresses import checksummed, normal_tx_hash
from tokenbooth.payments.usdc.node import Tag, TransactionCheck, TransactionStatus, check_transaction, find_heads
from tokenbooth.payments.usdc.receipts import why_nothing
from tokenbooth.payments.usdc.rpc import NodeError
from tokenbooth.services.context import ServiceContext, UsdcDeps
from tokenbooth.services.idempotency import IdempotentAttempt
from tokenbooth.store import ledger
from tokenbooth.store.usdc import deposit_addresses, deposits
from tokenbooth.store.usdc.deposits import Deposit

NOT_FOUND_AFTER_US: Final = 600 * 1_000_000
"""How long a hash that nobody knows is said to be pending; wallets show one before every node has it."""
MAX_PENDING_HASHES: Final = 100

TYPICAL_S: Final = {"safe": 120, "finalized": 1_200}
"""How old a block is when it begins to count, by the tag that deposits count at."""

_LATEST: Final = 5

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClaimedDeposit:
    """What a customer says was sent: the transaction (lower case), and how much, in nano-USD."""

    tx_hash: str
    amount_nano: int


@dataclass(frozen=True, slots=True)
class DepositRequest:
    """What to pay, and where: for a wallet and for the person who holds it.

    Attributes:
        address, token: with their checksums.
        chain_id: of the chain.
        amount_nano: in nano-USD.
        uri: a link that wallets open as a filled-in transfer (EIP-681).
    """

    address: str
    token: str
    chain_id: int
    amount_nano: int
    uri: str


@dataclass(frozen=True, slots=True)
class DepositProgress:
    """How an account's deposits stand.

    Attributes:
        address: the account's own, with its checksum; None before its first request.
        payment: what was requested and did not come yet; None for nothing.
        pending: what is on its way, in blocks that do not count yet.
        credited: the last ones, each with when it was credited (UTC microseconds).
        balance_nano: the account's credit, in nano-USD.
    """

    address: str | None
    payment: DepositRequest | None
    pending: list[PendingDeposit]
    credited: list[tuple[Deposit, int]]
    balance_nano: int


@dataclass(frozen=True, slots=True)
class CreditedDeposit:
    """A transaction whose deposits are credited.

    Attributes:
        tx_hash: in lower case.
        credited_nano: the credit, in nano-USD.
        balance_nano: the account's credit afterwards.
        amount_differs: whether another amount was claimed.
    """

    tx_hash: str
    credited_nano: int
    balance_nano: int
    amount_differs: bool


@dataclass(frozen=True, slots=True)
class UncountedDeposit:
    """A transaction that does not count yet; it is credited by itself when it does.

    Attributes:
        tx_hash: in lower case.
        reason: why it does not count yet; a sentence.
        confirmations: blocks on top of it, its own included.
        counts_at: the tag that its block must have.
        expected_s: in how many seconds it will typically count.
    """

    tx_hash: str
    reason: str
    confirmations: int
    counts_at: Tag
    expected_s: int


CheckedDeposit = CreditedDeposit | UncountedDeposit


def configured_usdc(context: ServiceContext) -> UsdcDeps:
    """Our way to the chain.

    Raises:
        Unavailable: none is configured.
    """
    if context.usdc is None:
        raise Unavailable("usdc_not_configured", "USDC deposits are not set up on this server.")
    return context.usdc


def request_deposit(
    conn: Connection, *, usdc: UsdcDeps, account_id: str, amount_nano: int, now_us: int
) -> DepositRequest:
    """What to pay to the account's address, which is scanned from this transaction on."""
    address = deposit_addresses.request_deposit(
        conn,
        account_id,
        key_fingerprint=usdc.book.fingerprint,
        derive=usdc.book.address,
        amount_nano=amount_nano,
        now_us=now_us,
    )
    return _request(usdc, address, amount_nano)


def deposit_progress(conn: Connection, *, usdc: UsdcDeps, account_id: str) -> DepositProgress:
    """How an account's deposits stand, from the books and from what the scan saw last; the node is not asked."""
    shown = deposit_addresses.shown_to(conn, account_id, key_fingerprint=usdc.book.fingerprint)
    ours = deposit_addresses.of_account(conn, account_id)
    coming = [one for one in usdc.pending() if one.recipient in ours]
    # What was credited since the scan looked is no longer on its way.
    in_books = deposits.blocks_of(conn, usdc.node.chain_id, {one.tx_hash for one in coming})
    payment = None
    if shown is not None and shown.announced_nano is not None:
        payment = _request(usdc, shown.address, shown.announced_nano)
    return DepositProgress(
        address=None if shown is None else checksummed(shown.address),
        payment=payment,
        pending=[one for one in coming if one.tx_hash not in in_books],
        credited=deposits.latest_of_account(conn, account_id, limit=_LATEST),
        balance_nano=ledger.balance_nano(conn, credit_of(account_id)),
    )


def claimed_deposit(tx_hash: str, amount_nano: int) -> ClaimedDeposit:
    """What a customer says was sent.

    Raises:
        InvalidRequest: that is no transaction's hash.
    """
    normal = normal_tx_hash(tx_hash)
    if normal is None:
        raise InvalidRequest("invalid_value", "`txHash` must be 0x and 64 hexadecimal digits.", param="txHash")
    return ClaimedDeposit(normal, amount_nano)


async def check_deposit(
    context: ServiceContext,
    usdc: UsdcDeps,
    account_id: str,
    claimed: ClaimedDeposit,
    attempt: IdempotentAttempt[CheckedDeposit],
) -> CheckedDeposit:
    """Check a transaction now; credit what counts, complete `attempt`, and say how it stands. While the node does not
    answer the transaction is said not to count yet: the scan finds the deposit later.

    Raises:
        NotFound: nobody has known the transaction for ten minutes.
        Unprocessable: it brings this account nothing; the code says why.
        Conflict: the account asks about too many unknown hashes.
        RateLimited: it has too many transactions checked.
    """

    async def uncounted(reason: str, found: TransactionCheck | None = None) -> UncountedDeposit:
        result = _uncounted(claimed.tx_hash, usdc.counts_at, reason, found, now_us=context.clock.now_us())
        await context.store.write(attempt.complete, result)
        return result

    known = await context.store.read(_credited, usdc.node.chain_id, account_id, claimed)
    if known is not None:
        await context.store.write(attempt.complete, known)
        return known
    checks, now_us = context.transaction_checks, context.clock.monotonic_us()
    refused = checks.refusal(account_id, claimed.tx_hash, now_us=now_us)
    if refused is not None:
        raise _refused(refused)
    if not checks.admit(account_id, now_us=now_us):
        return await uncounted("Very many transactions are looked up now.")
    try:
        heads = await find_heads(usdc.node, counts_at=usdc.counts_at)
        found = await check_transaction(usdc.node, claimed.tx_hash, heads=heads)
    except NodeError as failure:
        _log.warning("usdc_node_failed", trouble=failure.trouble, detail=failure.detail, action="It is tried again.")
        return await uncounted("The chain's node does not answer now.")
    if found.receipt is None or found.block is None:
        if found.status is not TransactionStatus.UNKNOWN:
            return await uncounted("No block has the transaction yet.", found)
        await _refuse_long_unknown(context, account_id, claimed.tx_hash)
        return await uncounted("The chain does not show the transaction yet.", found)
    is_settled = found.status is TransactionStatus.SETTLED
    transfers = found.receipt.reading.transfers
    ours = await context.store.read(deposit_addresses.of_account, account_id)
    is_ours = any(transfer.recipient in ours for transfer in transfers)
    if is_ours and is_settled:
        return await context.store.write(
            _credit,
            usdc.node.chain_id,
            account_id,
            claimed,
            transfers=transfers,
            block=found.block,
            attempt=attempt,
            now_us=context.clock.now_us(),
        )
    if is_ours:
        return await uncounted("Its block does not count yet.", found)
    reason = why_nothing(found.receipt, ours)
    if is_settled:
        # It may be another customer's, who then need not wait for the scan.
        await context.store.write(
            deposits.settle,
            chain_id=usdc.node.chain_id,
            tx_hash=claimed.tx_hash,
            transfers=transfers,
            block=found.block,
            now_us=context.clock.now_us(),
        )
        checks.remember(account_id, claimed.tx_hash, reason, now_us=now_us)
    raise _refused(reason)


def _request(usdc: UsdcDeps, address: str, amount_nano: int) -> DepositRequest:
    shown, token, chain_id = checksummed(address), checksummed(usdc.node.token), usdc.node.chain_id
    uri = payment_uri(token=token, chain_id=chain_id, address=shown, amount_nano=amount_nano)
    return DepositRequest(shown, token, chain_id, amount_nano, uri)


def _credit(
    conn: Connection,
    chain_id: int,
    account_id: str,
    claimed: ClaimedDeposit,
    *,
    transfers: Sequence[TokenTransfer],
    block: BlockRef,
    attempt: IdempotentAttempt[CheckedDeposit],
    now_us: int,
) -> CheckedDeposit:
    deposits.settle(conn, chain_id=chain_id, tx_hash=claimed.tx_hash, transfers=transfers, block=block, now_us=now_us)
    credited = _credited(conn, chain_id, account_id, claimed)
    assert credited is not None, "a transfer to the account's address was just settled"
    return attempt.complete(conn, credited)


def _credited(conn: Connection, chain_id: int, account_id: str, claimed: ClaimedDeposit) -> CreditedDeposit | None:
    """The deposits of a transaction that were credited to this account; None when there are none."""
    own = [
        deposit
        for deposit in deposits.of_transaction(conn, chain_id, claimed.tx_hash)
        if deposit.account_id == account_id and deposit.is_in_books
    ]
    if not own:
        return None
    credited_nano = sum(deposit.amount_nano for deposit in own)
    return CreditedDeposit(
        tx_hash=claimed.tx_hash,
        credited_nano=credited_nano,
        balance_nano=ledger.balance_nano(conn, credit_of(account_id)),
        amount_differs=credited_nano != claimed.amount_nano,
    )


async def _refuse_long_unknown(context: ServiceContext, account_id: str, tx_hash: str) -> None:
    now_us = context.clock.now_us()
    first_us = await context.store.write(
        deposit_addresses.asked_first_us, account_id, tx_hash, max_hashes=MAX_PENDING_HASHES, now_us=now_us
    )
    if now_us >= first_us + NOT_FOUND_AFTER_US:
        raise NotFound(
            "tx_not_found",
            "No such transaction is on the chain. Check the hash and the network; a deposit that does arrive is "
            "credited by itself.",
            param="txHash",
        )


def _uncounted(
    tx_hash: str, counts_at: Tag, reason: str, found: TransactionCheck | None, *, now_us: int
) -> UncountedDeposit:
    waited_s = 0
    if found is not None and found.block is not None:
        waited_s = max(now_us // SECOND_US - found.block.timestamp_s, 0)
    return UncountedDeposit(
        tx_hash=tx_hash,
        reason=reason,
        confirmations=0 if found is None else found.confirmations,
        counts_at=counts_at,
        expected_s=max(TYPICAL_S[counts_at] - waited_s, 1),
    )


def _refused(reason: Refusal) -> Unprocessable:
    return Unprocessable(reason, REFUSAL_TEXTS[reason], param="txHash")
