"""Deposits from the chain to the customer's credit: the scenarios, on both chains and both databases."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.support.usdc.chains import FAKE, FINAL_BLOCKS, SAFE_BLOCKS, USDBC, USDC
from tests.support.usdc.deposit_rig import UNITS, USD, Booth
from tokenbooth.domain.ledger import USDC_CLEARING, TransferKind, credit_of, debt_of
from tokenbooth.payments.usdc.addresses import checksummed
from tokenbooth.payments.usdc.rpc import Json
from tokenbooth.services.transaction_checks import CHECKS_PER_MINUTE
from tokenbooth.store import ledger
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.usdc import deposits

STRANGER = "0x00000000000000000000000000000000000057a9"


async def test_a_deposit_is_announced_sent_and_verified(booth: Booth) -> None:
    """The reference's two steps: an address of the account's own, then the credit."""
    answer = await booth.post(booth.ada, "topup", {"amount": 50, "method": "usdc"})
    address = checksummed(booth.book.address(0))
    expected = {
        "address": address,
        "chain": "base",
        "amount": "50",
        "asset": "USDC",
        "chainId": 8453,
        "tokenAddress": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        "uri": f"ethereum:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913@8453/transfer?address={address}&uint256=50000000",
    }
    assert (answer.status_code, answer.json()["data"]) == (200, expected)
    tx_hash = booth.chain.pay(address, 50 * UNITS)
    booth.settle()
    verified = await booth.verify(booth.ada, tx_hash)
    credited = {
        "status": "credited",
        "credited": "50.00",
        "balance": "50.00",
        "txHash": tx_hash,
        "amountMismatch": False,
    }
    assert (verified.status_code, verified.json()["data"]) == (200, credited)
    again = await booth.verify(booth.ada, tx_hash)
    assert (again.status_code, again.json()["data"]) == (200, credited)
    assert await booth.balance(booth.ada) == "50.00"


async def test_an_account_keeps_its_address(booth: Booth) -> None:
    """Scenario 32: the same account gets the same address again, two accounts never one."""
    asked = [booth.address(who, amount) for who in (booth.ada, booth.bob) for amount in (10, 20, "30.5", 40)]
    first, second = (set(addresses) for addresses in _halves(await asyncio.gather(*asked)))
    assert (len(first), len(second), len(first | second)) == (1, 1, 2)


async def test_two_accounts_claim_one_transaction(booth: Booth) -> None:
    """Scenario 23: claimed by two accounts at once, often: credited once, to the owner of the address."""
    address = await booth.address(booth.ada)
    tx_hash = booth.chain.pay(address, 50 * UNITS)
    booth.settle()
    claims = [booth.told(who, tx_hash) for who in (booth.bob, booth.ada) * 6]
    outcomes = await asyncio.gather(*claims, booth.run_scan())
    assert set(outcomes[0:12:2]) == {(422, "wrong_recipient")}
    assert set(outcomes[1:12:2]) == {(200, "credited")}
    assert (await booth.balance(booth.ada), await booth.balance(booth.bob)) == ("50.00", "0.00")


async def test_a_strangers_claim_credits_the_owner(booth: Booth) -> None:
    """A pasted hash is a hint to look now, whoever pastes it."""
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.settle()
    assert await booth.told(booth.bob, tx_hash) == (422, "wrong_recipient")
    assert (await booth.balance(booth.ada), await booth.balance(booth.bob)) == ("50.00", "0.00")


async def test_what_is_no_deposit_is_refused_with_its_reason(booth: Booth) -> None:
    """Scenario 24: another token, bridged USDC, a look-alike, failed, zero, short data, to somebody else."""
    address = await booth.address(booth.ada)
    sent = {
        booth.chain.pay(address, 5 * UNITS, token=USDBC): "wrong_token",
        booth.chain.pay(address, 5 * UNITS, token=FAKE): "wrong_token",
        booth.chain.pay_failing(address, 5 * UNITS): "tx_reverted",
        booth.chain.pay(address, 0): "zero_amount",
        booth.chain.emit_short(address): "invalid_transfer",
        booth.chain.pay(STRANGER, 5 * UNITS): "wrong_recipient",
    }
    booth.settle()
    told = {tx_hash: await booth.told(booth.ada, tx_hash) for tx_hash in sent}
    assert told == {tx_hash: (422, reason) for tx_hash, reason in sent.items()}
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "0.00"


async def test_another_chain_credits_nothing(booth: Booth) -> None:
    """Scenario 24 and 28: a node that is suddenly on another chain is not believed, neither by hand nor by the scan."""
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.settle()
    booth.node.answers["eth_chainId"] = lambda _, __: hex(1)
    assert await booth.told(booth.ada, tx_hash) == (202, "pending")
    await booth.run_scan()
    assert (await booth.balance(booth.ada), booth.scan.figures.node_is_up) == ("0.00", False)
    booth.node.answers.clear()
    await booth.run_scan()
    assert (await booth.balance(booth.ada), booth.scan.figures.node_is_up) == ("50.00", True)


async def test_two_transfers_in_one_transaction(booth: Booth) -> None:
    """Scenario 25: two to one account count both; one to us and one to a stranger counts one."""
    ada, bob = await booth.address(booth.ada), await booth.address(booth.bob)
    twice = booth.chain.pay_through_wallet([(ada, 20 * UNITS), (ada, 30 * UNITS)])
    mixed = booth.chain.pay_through_wallet([(STRANGER, 7 * UNITS), (bob, 4 * UNITS), (ada, UNITS)])
    booth.settle()
    first = (await booth.verify(booth.ada, twice)).json()
    assert (first["credited"], first["amountMismatch"]) == ("50.00", False)
    assert (await booth.verify(booth.ada, mixed)).json()["credited"] == "1.00"
    assert (await booth.balance(booth.ada), await booth.balance(booth.bob)) == ("51.00", "4.00")
    await booth.run_scan()
    assert (await booth.balance(booth.ada), await booth.balance(booth.bob)) == ("51.00", "4.00")


async def test_a_payment_through_a_smart_wallet(booth: Booth) -> None:
    """Scenario 26: what the transaction calls does not matter, only the token's event."""
    tx_hash = booth.chain.pay_through_wallet([(await booth.address(booth.ada), 50 * UNITS)])
    booth.settle()
    assert await booth.told(booth.ada, tx_hash) == (200, "credited")


async def test_pending_until_its_block_counts(booth: Booth) -> None:
    """Scenario 27: before its block is safe, a deposit is pending, with its confirmations."""
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.chain.mine(SAFE_BLOCKS - 1)
    answer = await booth.verify(booth.ada, tx_hash)
    assert (answer.status_code, answer.json()["status"], answer.json()["confirmations"]) == (202, "pending", 4)
    assert answer.json()["expectedSeconds"] >= 1
    await booth.run_scan()
    assert (await booth.balance(booth.ada), booth.scan.figures.deposits_pending) == ("0.00", 1)
    booth.chain.mine(1)
    await booth.run_scan()
    assert (await booth.balance(booth.ada), booth.scan.figures.deposits_pending) == ("50.00", 0)


async def test_reorganised_away_before_it_counts(booth: Booth) -> None:
    """Scenario 27: a transaction that leaves the chain while it is pending is never credited."""
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    assert await booth.told(booth.ada, tx_hash) == (202, "pending")
    booth.chain.reorganise(2)
    booth.chain.mine(FINAL_BLOCKS)
    assert await booth.told(booth.ada, tx_hash) == (202, "pending")
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "0.00"
    booth.clock.advance(600)
    assert await booth.told(booth.ada, tx_hash) == (404, "tx_not_found")


async def test_mined_again_in_another_block(booth: Booth) -> None:
    """Scenario 27: a transaction that moves to another block is credited once."""
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.chain.mine(1)
    booth.chain.reorganise(3, {tx_hash: 2})
    booth.settle()
    assert await booth.told(booth.ada, tx_hash) == (200, "credited")
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"


async def test_credited_then_mined_in_another_block(booth: Booth) -> None:
    """Scenario 28: a deposit that was safe and moves to another block, where its log has another index, stays one."""
    address = await booth.address(booth.ada)
    tx_hash = booth.chain.pay(address, 50 * UNITS)
    other = booth.chain.pay(STRANGER, 9 * UNITS)
    booth.settle()
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"
    # The other one comes first in the same block now.
    booth.chain.reorganise(SAFE_BLOCKS + 2, {other: 1, tx_hash: 1})
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"
    booth.chain.mine(FINAL_BLOCKS)
    await booth.run_scan()
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"
    [deposit] = booth.store.read_now(deposits.of_transaction, 8453, tx_hash)
    assert deposit.status is deposits.DepositStatus.FINAL


async def test_a_safe_deposit_that_vanishes_is_taken_back(booth: Booth) -> None:
    """Scenario 28: a credited deposit that leaves the chain is reversed; what was spent of it is a debt."""
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.settle()
    await booth.run_scan()
    booth.store.write_now(
        change_credit,
        account=booth.ada.account_id,
        kind=TransferKind.ADJUSTMENT,
        amount_nano=-20 * USD,
        reason="spent",
        reference=None,
        now_us=booth.clock.now_us(),
    )
    booth.chain.reorganise(SAFE_BLOCKS + 1)
    booth.chain.mine(1)
    await booth.run_scan()
    accounts = [credit_of(booth.ada.account_id), debt_of(booth.ada.account_id), USDC_CLEARING]
    balances = booth.store.read_now(ledger.balances_nano, accounts)
    assert list(balances.values()) == [0, -20 * USD, 0]
    assert await booth.told(booth.ada, tx_hash) == (202, "pending")


async def test_reversed_and_mined_again(booth: Booth) -> None:
    """A deposit that was taken back and comes again is credited again, and pays the debt first."""
    address = await booth.address(booth.ada)
    tx_hash = booth.chain.pay(address, 50 * UNITS)
    booth.settle()
    await booth.run_scan()
    booth.node.answers["eth_getTransactionReceipt"] = lambda _, __: None
    booth.chain.reorganise(SAFE_BLOCKS + 1, {tx_hash: 1})
    booth.settle()
    with_receipts_gone = booth.scan.scan()
    with pytest.raises(Exception, match="not its receipt"):
        await with_receipts_gone
    assert await booth.balance(booth.ada) in ("0.00", "50.00")
    booth.node.answers.clear()
    booth.chain.mine(FINAL_BLOCKS)
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"
    booth.chain.mine(FINAL_BLOCKS)
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"


@pytest.mark.parametrize(("sent", "mismatch"), [(49_999_999, True), (50_000_001, True), (50_000_000, False)])
async def test_another_amount_than_announced(booth: Booth, sent: int, mismatch: bool) -> None:
    """Scenario 29: less or more than announced: exactly what arrived is credited, and marked."""
    tx_hash = booth.chain.pay(await booth.address(booth.ada), sent)
    booth.settle()
    answer = (await booth.verify(booth.ada, tx_hash)).json()
    assert (answer["credited"], answer["amountMismatch"]) == (f"{sent / 1e6:.6f}".rstrip("0").ljust(5, "0"), mismatch)
    [deposit] = booth.store.read_now(deposits.of_transaction, 8453, tx_hash)
    assert (deposit.amount_nano, deposit.announced_nano) == (sent * 1_000, 50 * USD)


async def test_later_than_announced(booth: Booth) -> None:
    """Scenario 29: a deposit that comes months later, to an address dormant by then, is credited all the same."""
    address = await booth.address(booth.ada)
    await booth.run_scan()
    booth.clock.advance(90 * 86_400)
    tx_hash = booth.chain.pay(address, 50 * UNITS)
    booth.chain.mine(FINAL_BLOCKS)
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"
    assert await booth.told(booth.ada, tx_hash) == (200, "credited")


async def test_an_amount_beyond_what_we_hold(booth: Booth) -> None:
    """Scenario 31: amounts beyond 64 bits are refused, and break nothing."""
    address = await booth.address(booth.ada)
    huge = [booth.chain.mint(address, units) for units in (2**64, 2**63 // 1_000 + 1, 2**255)]
    good = booth.chain.pay(address, 50 * UNITS)
    booth.settle()
    assert [await booth.told(booth.ada, tx_hash) for tx_hash in huge] == [(422, "amount_too_large")] * 3
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"
    assert await booth.told(booth.ada, good) == (200, "credited")


async def test_letter_case_does_not_matter(booth: Booth) -> None:
    """Scenario 32: an address and a hash are the same in any letter case."""
    address = await booth.address(booth.ada)
    tx_hash = booth.chain.pay(address.upper().replace("X", "x", 1), 50 * UNITS)
    booth.settle()
    spelt = f"0x{tx_hash[2:].upper()}"
    answers = [(await booth.verify(booth.ada, spelling)).json() for spelling in (spelt, tx_hash)]
    assert [answer["txHash"] for answer in answers] == [tx_hash, tx_hash]
    assert await booth.balance(booth.ada) == "50.00"


async def test_the_token_address_is_compared_in_any_case(booth: Booth) -> None:
    """Scenario 32: a node that answers with checksummed addresses is understood."""

    def in_capitals(_: Sequence[Json], answer: Json) -> Json:
        assert isinstance(answer, dict)
        logs = answer["logs"]
        assert isinstance(logs, list)
        return {**answer, "logs": [{**log, "address": checksummed(USDC)} for log in logs if isinstance(log, dict)]}

    booth.node.answers["eth_getTransactionReceipt"] = in_capitals
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.settle()
    assert await booth.told(booth.ada, tx_hash) == (200, "credited")


def _halves(found: list[str]) -> tuple[list[str], list[str]]:
    return found[: len(found) // 2], found[len(found) // 2 :]


async def test_repetitions_with_an_idempotency_key(booth: Booth) -> None:
    """A pending answer is not kept for its key, a final one is; the same key with another body is refused."""
    address = await booth.address(booth.ada)
    tx_hash = booth.chain.pay(address, 50 * UNITS)
    key = {"Idempotency_Key": "one"}
    assert (await booth.verify(booth.ada, tx_hash, **key)).status_code == 202
    booth.settle()
    credited = await booth.verify(booth.ada, tx_hash, **key)
    booth.chain.pay(address, UNITS)
    booth.settle()
    await booth.run_scan()
    again = await booth.verify(booth.ada, tx_hash, **key)
    assert (credited.status_code, again.status_code, again.text) == (200, 200, credited.text)
    other = await booth.verify(booth.ada, tx_hash, 51, **key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_mismatch")
    assert await booth.balance(booth.ada) == "51.00"


async def test_bad_input_asks_the_chain_nothing(booth: Booth) -> None:
    """P14: what is no hash or no amount is refused before anything is asked, and announces nothing."""
    bad: tuple[tuple[str, dict[str, object], str], ...] = (
        ("verify-topup", {"txHash": "0x1", "amount": 50}, "txHash"),
        ("verify-topup", {"txHash": "0x" + "g" * 64, "amount": 50}, "txHash"),
        ("verify-topup", {"txHash": "0x" + "1" * 64, "amount": 0}, "amount"),
        ("verify-topup", {"txHash": "0x" + "1" * 64, "amount": "1.0000001"}, "amount"),
        ("topup", {"amount": 9, "method": "usdc"}, "amount"),
        ("topup", {"amount": "50.0000001", "method": "usdc"}, "amount"),
    )
    told = []
    for path, body, _ in bad:
        answer = await booth.post(booth.ada, path, body)
        told.append((path, body, answer.json()["error"]["param"] if answer.status_code == 400 else answer.text))
    assert told == list(bad)
    assert booth.node.asked == []
    assert booth.store.read_now(deposits.totals, 8453).addresses == 0


async def test_too_many_unknown_hashes(booth: Booth) -> None:
    """An account may ask about a hundred hashes that nobody knows, and no more; real deposits are not held up."""
    statuses = [(await booth.told(booth.ada, f"0x{number:064x}"))[0] for number in range(101)]
    assert statuses == [202] * 100 + [409]
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.settle()
    assert await booth.told(booth.ada, tx_hash) == (200, "credited")
    assert await booth.told(booth.bob, f"0x{7:064x}") == (202, "pending")


async def test_looks_at_the_chain_are_bounded(booth: Booth) -> None:
    """An account that asks on and on gets a 429, and the node is asked no more for it; another is served."""
    unknown = "0x" + "1" * 64
    statuses = [(await booth.told(booth.ada, unknown))[0] for _ in range(CHECKS_PER_MINUTE + 20)]
    assert statuses == [202] * CHECKS_PER_MINUTE + [429] * 20
    assert booth.node.count("eth_getTransactionReceipt") == CHECKS_PER_MINUTE
    assert (await booth.told(booth.bob, unknown))[0] == 202
    booth.clock.advance(61)
    assert (await booth.told(booth.ada, unknown))[0] == 202


async def test_a_settled_transaction_of_others_is_looked_at_once(booth: Booth) -> None:
    """What brings an account nothing is remembered for it: asked again, the node is not."""
    paid = booth.chain.pay(await booth.address(booth.bob), 50 * UNITS)
    booth.settle()
    first = await booth.told(booth.ada, paid)
    asked = len(booth.node.asked)
    assert first[0] == 422
    assert [await booth.told(booth.ada, paid) for _ in range(5)] == [first] * 5
    assert len(booth.node.asked) == asked
    assert (await booth.told(booth.bob, paid)) == (200, "credited")
