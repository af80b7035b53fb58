"""Deposits of USDC: an address to pay to, and a look at a transaction when the customer says that one was sent.

A pasted hash is only a hint to look now: who is credited is decided by the address that was paid. The API and the
dashboard use this. Nothing here credits what the chain's node has not shown in a block that counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection

from tokenbooth.api.idempotency import Outcome, same
from tokenbooth.api.responses import Json, success
from tokenbooth.config.chains import chain_name
from tokenbooth.domain.deposits import REFUSAL_TEXTS, BlockRef, PendingDeposit, TokenTransfer, payment_uri
from tokenbooth.domain.ledger import credit_of
from tokenbooth.domain.money import format_usd
from tokenbooth.kit.errors import InvalidRequest, NotFound, Unavailable, Unprocessable
from tokenbooth.payments.usdc.addresses import checksummed, normal_tx_hash
from tokenbooth.payments.usdc.node import TransactionCheck, TransactionStatus, check_transaction, find_heads
from tokenbooth.payments.usdc.receipts import why_nothing
from tokenbooth.payments.usdc.rpc import NodeError
from tokenbooth.services.context import ServiceContext, UsdcDeps
from tokenbooth.store import ledger
from tokenbooth.store.accounts.idempotency import Answer, Attempt, complete
from tokenbooth.store.usdc import deposit_addresses, deposits
from tokenbooth.store.usdc.deposits import Deposit

ASSET: Final = "USDC"
NOT_FOUND_AFTER_US: Final = 600 * 1_000_000
"""How long a hash that nobody knows is said to be pending; wallets show one before every node has it."""
MAX_PENDING_HASHES: Final = 100

TYPICAL_S: Final = {"safe": 120, "finalized": 1_200}
"""How old a block is when it begins to count, by the tag that deposits count at."""

_ACCEPTED: Final = 202
_LATEST: Final = 5
_US_PER_S: Final = 1_000_000

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a customer says was sent: the transaction (lower case), and how much, in nano-USD."""

    tx_hash: str
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Payment:
    """What to pay, and where: for a wallet and for the person who holds it.

    Attributes:
        address, token: with their checksums.
        amount_nano: in nano-USD.
        uri: a link that wallets open as a filled-in transfer (EIP-681).
    """

    address: str
    token: str
    amount_nano: int
    uri: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How an account's deposits stand.

    Attributes:
        address: the account's own, with its checksum; None before its first announcement.
        payment: what was announced and did not come yet; None for nothing.
        pending: what is on its way, in blocks that do not count yet.
        credited: the last ones, each with when it was credited (UTC microseconds).
        balance_nano: the account's credit, in nano-USD.
    """

    address: str | None
    payment: Payment | None
    pending: list[PendingDeposit]
    credited: list[tuple[Deposit, int]]
    balance_nano: int


def configured(context: ServiceContext) -> UsdcDeps:
    """Our way to the chain.

    Raises:
        Unavailable: none is configured.
    """
    if context.usdc is None:
        raise Unavailable("usdc_not_configured", "USDC deposits are not set up on this server.")
    return context.usdc


def announce(conn: Connection, *, desk: UsdcDeps, account_id: str, amount_nano: int, now_us: int) -> Outcome:
    """The account's address, which is scanned from this transaction on; an effect for `idempotency.once`."""
    address = deposit_addresses.request_deposit(
        conn,
        account_id,
        key_fingerprint=desk.book.fingerprint,
        derive=desk.book.address,
        amount_nano=amount_nano,
        now_us=now_us,
    )
    payment = _payment(desk, address, amount_nano)
    payload: dict[str, Json] = {
        "address": payment.address,
        "chain": chain_name(desk.node.chain_id),
        "amount": format_usd(amount_nano, min_decimals=0),
        "asset": ASSET,
        "chainId": desk.node.chain_id,
        "tokenAddress": payment.token,
        "uri": payment.uri,
    }
    return same(success(payload))


def progress(conn: Connection, *, desk: UsdcDeps, account_id: str) -> Progress:
    """How an account's deposits stand, from the books and from what the scan saw last; the node is not asked."""
    shown = deposit_addresses.shown_to(conn, account_id, key_fingerprint=desk.book.fingerprint)
    ours = deposit_addresses.of_account(conn, account_id)
    coming = [one for one in desk.pending() if one.recipient in ours]
    # What was credited since the scan looked is no longer on its way.
    in_books = deposits.blocks_of(conn, desk.node.chain_id, {one.tx_hash for one in coming})
    payment = None
    if shown is not None and shown.announced_nano is not None:
        payment = _payment(desk, shown.address, shown.announced_nano)
    return Progress(
        address=None if shown is None else checksummed(shown.address),
        payment=payment,
        pending=[one for one in coming if one.tx_hash not in in_books],
        credited=deposits.latest_of_account(conn, account_id, limit=_LATEST),
        balance_nano=ledger.balance_nano(conn, credit_of(account_id)),
    )


def claimed(tx_hash: str, amount_nano: int) -> Claimed:
    """What a request says.

    Raises:
        InvalidRequest: that is no transaction's hash.
    """
    normal = normal_tx_hash(tx_hash)
    if normal is None:
        raise InvalidRequest("invalid_value", "`txHash` must be 0x and 64 hexadecimal digits.", param="txHash")
    return Claimed(normal, amount_nano)


async def verify(context: ServiceContext, desk: UsdcDeps, account_id: str, said: Claimed, attempt: Attempt) -> Answer:
    """Look at a transaction now; credit what counts, complete `attempt`, and say how it stands.

    Returns:
        200 credited, or 202 pending, also while the node does not answer: the scan finds the deposit later.

    Raises:
        NotFound: nobody has known the transaction for ten minutes.
        Unprocessable: it brings this account nothing; the code says why.
        Conflict: the account asks about too many unknown hashes.
        RateLimited: it has too many transactions looked up.
    """
    known = await context.store.read(_credited_already, desk.node.chain_id, account_id, said)
    if known is not None:
        await context.store.write(complete, attempt, known)
        return known
    now_us = context.clock.monotonic_us()
    refused = context.looks.refusal(account_id, said.tx_hash, now_us=now_us)
    if refused is not None:
        raise Unprocessable(refused, REFUSAL_TEXTS[refused], param="txHash")
    if not context.looks.admit(account_id, now_us=now_us):
        return await _pending(context, desk, said, attempt, None, "Very many transactions are looked up now.")
    try:
        heads = await find_heads(desk.node, counts_at=desk.counts_at)
        found = await check_transaction(desk.node, said.tx_hash, heads=heads)
    except NodeError as failure:
        _log.warning("usdc_node_failed", trouble=failure.trouble, detail=failure.detail, action="It is tried again.")
        return await _pending(context, desk, said, attempt, None, "The chain's node does not answer now.")
    if found.receipt is None or found.block is None:
        return await _not_mined(context, desk, account_id, said, attempt, found)
    ours = await context.store.read(deposit_addresses.of_account, account_id)
    transfers = found.receipt.reading.transfers
    if not any(transfer.recipient in ours for transfer in transfers):
        if found.status is TransactionStatus.SETTLED:
            # It may be another customer's, who then need not wait for the scan.
            await context.store.write(
                deposits.settle,
                chain_id=desk.node.chain_id,
                tx_hash=said.tx_hash,
                transfers=transfers,
                block=found.block,
                now_us=context.clock.now_us(),
            )
        reason = why_nothing(found.receipt, ours)
        if found.status is TransactionStatus.SETTLED:
            context.looks.remember(account_id, said.tx_hash, reason, now_us=now_us)
        raise Unprocessable(reason, REFUSAL_TEXTS[reason], param="txHash")
    if found.status is not TransactionStatus.SETTLED:
        return await _pending(context, desk, said, attempt, found, "Its block does not count yet.")
    return await context.store.write(
        _credit,
        desk.node.chain_id,
        account_id,
        said,
        transfers=transfers,
        block=found.block,
        attempt=attempt,
        now_us=context.clock.now_us(),
    )


def _payment(desk: UsdcDeps, address: str, amount_nano: int) -> Payment:
    shown, token = checksummed(address), checksummed(desk.node.token)
    uri = payment_uri(token=token, chain_id=desk.node.chain_id, address=shown, amount_nano=amount_nano)
    return Payment(shown, token, amount_nano, uri)


def _credit(
    conn: Connection,
    chain_id: int,
    account_id: str,
    said: Claimed,
    *,
    transfers: Sequence[TokenTransfer],
    block: BlockRef,
    attempt: Attempt,
    now_us: int,
) -> Answer:
    deposits.settle(conn, chain_id=chain_id, tx_hash=said.tx_hash, transfers=transfers, block=block, now_us=now_us)
    answer = _credited_already(conn, chain_id, account_id, said)
    assert answer is not None, "a transfer to the account's address was just settled"
    complete(conn, attempt, answer)
    return answer


def _credited_already(conn: Connection, chain_id: int, account_id: str, said: Claimed) -> Answer | None:
    """The answer for a transaction that was credited to this account; None when it was not."""
    own: list[Deposit] = [
        deposit
        for deposit in deposits.of_transaction(conn, chain_id, said.tx_hash)
        if deposit.account_id == account_id and deposit.is_in_books
    ]
    if not own:
        return None
    credited_nano = sum(deposit.amount_nano for deposit in own)
    payload: dict[str, Json] = {
        "status": "credited",
        "credited": format_usd(credited_nano),
        "balance": format_usd(ledger.balance_nano(conn, credit_of(account_id))),
        "txHash": said.tx_hash,
        "amountMismatch": credited_nano != said.amount_nano,
    }
    return success(payload)


async def _not_mined(
    context: ServiceContext, desk: UsdcDeps, account_id: str, said: Claimed, attempt: Attempt, found: TransactionCheck
) -> Answer:
    if found.status is TransactionStatus.UNKNOWN:
        now_us = context.clock.now_us()
        first_us = await context.store.write(
            deposit_addresses.asked_first_us,
            account_id,
            said.tx_hash,
            max_hashes=MAX_PENDING_HASHES,
            now_us=now_us,
        )
        if now_us >= first_us + NOT_FOUND_AFTER_US:
            raise NotFound(
                "tx_not_found",
                "No such transaction is on the chain. Check the hash and the network; a deposit that does arrive is "
                "credited by itself.",
                param="txHash",
            )
        return await _pending(context, desk, said, attempt, found, "The chain does not show the transaction yet.")
    return await _pending(context, desk, said, attempt, found, "No block has the transaction yet.")


async def _pending(
    context: ServiceContext, desk: UsdcDeps, said: Claimed, attempt: Attempt, found: TransactionCheck | None, why: str
) -> Answer:
    """202; not kept for repetitions, which look again."""
    await context.store.write(complete, attempt, None)
    typical_s = TYPICAL_S[desk.counts_at]
    waited_s = 0
    if found is not None and found.block is not None:
        waited_s = max(context.clock.now_us() // _US_PER_S - found.block.timestamp_s, 0)
    payload: dict[str, Json] = {
        "status": "pending",
        "confirmations": 0 if found is None else found.confirmations,
        "creditedAt": desk.counts_at,
        "expectedSeconds": max(typical_s - waited_s, 1),
        "txHash": said.tx_hash,
        "message": f"{why} It is credited by itself when the chain calls its block `{desk.counts_at}`.",
    }
    return success(payload, status=_ACCEPTED)
