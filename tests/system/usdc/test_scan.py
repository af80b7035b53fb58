"""The scan: what it finds by itself, and what it does when the node fails it, on both chains and both databases."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from tests.support.store import new_customer
from tests.support.usdc.chains import FINAL_BLOCKS, SAFE_BLOCKS, USDC, DrivenChain
from tests.support.usdc.deposit_rig import UNITS, Booth, running_booth
from tokenbooth.config.chains import BASE
from tokenbooth.domain.deposits import PendingDeposit
from tokenbooth.jobs.chain_scan import ChainScan, ScanSettings
from tokenbooth.payments.usdc.log_scan import TransferFinder
from tokenbooth.payments.usdc.node import MAX_ADDRESSES, ChainNode
from tokenbooth.payments.usdc.rpc import Json, NodeError, NodeTrouble
from tokenbooth.store.engine import Store
from tokenbooth.store.usdc import chain_cursors, deposits
from tokenbooth.store.usdc.chain_cursors import Pass

FAILURES = (NodeTrouble.UNREACHABLE, NodeTrouble.TIMED_OUT, NodeTrouble.RATE_LIMITED, NodeTrouble.NONSENSE)


def _cursor(booth: Booth, which: Pass) -> int:
    found = booth.store.read_now(chain_cursors.position, BASE, USDC, which)
    assert found is not None
    return found.block_number


async def test_a_deposit_that_nobody_verifies_is_found(booth: Booth) -> None:
    """The scan credits what arrived, whether or not anybody pasted a hash."""
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.settle()
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"
    assert await booth.told(booth.ada, tx_hash) == (200, "credited")
    assert (booth.scan.figures.lag_blocks, booth.scan.figures.deposits_pending) == (0, 0)


async def test_what_is_on_its_way_is_seen(booth: Booth) -> None:
    """A transfer in a block that does not count yet is seen with its confirmations; a malformed one is not."""
    address = await booth.address(booth.ada)
    tx_hash = booth.chain.pay(address, 50 * UNITS)
    booth.chain.emit_short(address)
    await booth.run_scan()
    (seen,) = booth.scan.pending
    assert seen == PendingDeposit(tx_hash, address.lower(), 50 * 10**9, confirmations=2)
    booth.settle()
    await booth.run_scan()
    assert (list(booth.scan.pending), await booth.balance(booth.ada)) == ([], "50.00")


async def test_found_although_the_node_was_away_since_the_start(booth: Booth) -> None:
    """The first scan begins before the first address was made, so a deposit from before it is found."""
    booth.node.fail("eth_chainId", times=100)
    await booth.run_scan()
    booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.chain.mine(3 * FINAL_BLOCKS)
    booth.node.answers.clear()
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"


@pytest.mark.parametrize("trouble", FAILURES)
async def test_a_node_that_fails_by_hand_and_by_the_scan(booth: Booth, trouble: NodeTrouble) -> None:
    """Scenario 28: while the node is down, slow, limited or babbling, a deposit is pending; then it is credited."""
    tx_hash = booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.settle()
    for method in ("eth_chainId", "eth_getBlockByNumber", "eth_getTransactionReceipt"):
        booth.node.fail(method, times=1, trouble=trouble)
        assert await booth.told(booth.ada, tx_hash) == (202, "pending")
    for method in ("eth_getBlockByNumber", "eth_getLogs", "eth_getTransactionReceipt"):
        booth.node.fail(method, times=1, trouble=trouble)
        await booth.run_scan()
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"


async def test_a_failing_node_is_left_alone_for_a_while(booth: Booth) -> None:
    """After a failure the scan pauses, longer each time, and goes on at once when that time is over."""
    booth.node.fail("eth_chainId", times=3, trouble=NodeTrouble.RATE_LIMITED)
    for _ in range(5):
        await booth.scan.run()
    assert booth.node.count("eth_chainId") == 1
    booth.clock.advance(2)
    await booth.scan.run()
    booth.clock.advance(2)
    await booth.scan.run()
    assert booth.node.count("eth_chainId") == 2
    booth.clock.advance(2)
    await booth.scan.run()
    assert (booth.node.count("eth_chainId"), booth.scan.figures.node_is_up) == (3, False)


@pytest.mark.parametrize("works_for", range(0, 12, 2))
async def test_stopped_in_the_middle(store: Store, chain: DrivenChain, works_for: int) -> None:
    """Scenario 30: wherever the scan stops, it goes on there: no gap, no double."""
    async with running_booth(store, chain, max_range_blocks=3) as booth:
        addresses = [await booth.address(who) for who in (booth.ada, booth.bob)]
        for amount in range(1, 7):
            chain.pay(addresses[amount % 2], amount * UNITS)
            chain.mine(2)
        booth.settle()
        booth.node.fail("eth_getTransactionReceipt", times=1, after=works_for // 2)
        await booth.run_scan()
        booth.node.fail("eth_getLogs", times=1, after=works_for)
        for _ in range(3):
            await booth.run_scan()
        assert (await booth.balance(booth.ada), await booth.balance(booth.bob)) == ("12.00", "9.00")


async def test_a_scan_that_is_cut_off(store: Store, chain: DrivenChain) -> None:
    """Scenario 30: a scan that is cancelled at any await, as by a stop of the server, is taken up by the next one."""
    async with running_booth(store, chain, max_range_blocks=3) as booth:
        address = await booth.address(booth.ada)
        for _ in range(4):
            chain.pay(address, UNITS)
            chain.mine(2)
        booth.settle()
        for calls in range(3, 30, 4):
            booth.node.cancel_at = len(booth.node.asked) + calls
            with contextlib.suppress(asyncio.CancelledError):
                await booth.scan.scan()
        booth.node.cancel_at = None
        await booth.run_scan()
        assert await booth.balance(booth.ada) == "4.00"


async def test_two_scans_at_once(booth: Booth) -> None:
    """Two processes that scan one chain credit each deposit once."""
    address = await booth.address(booth.ada)
    for _ in range(5):
        booth.chain.pay(address, UNITS)
    booth.settle()
    settings = ScanSettings(counts_at="safe", max_range_blocks=2, full_scan_s=0)
    node = ChainNode(booth.node, chain_id=BASE, token=USDC)
    others = [ChainScan(booth.store, node, booth.clock, settings) for _ in range(3)]
    await asyncio.gather(booth.scan.scan(), *(other.scan() for other in others))
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "5.00"


async def test_an_incomplete_answer_is_made_up_for(booth: Booth) -> None:
    """A node that leaves out logs, as one does that lags, delays a deposit until the pass over finalized blocks."""
    await booth.run_scan()
    address = await booth.address(booth.ada)
    booth.chain.pay(address, 50 * UNITS)
    booth.settle()
    booth.node.answers["eth_getLogs"] = lambda _, __: []
    await booth.run_scan()
    booth.node.answers.clear()
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "0.00"
    booth.chain.mine(FINAL_BLOCKS)
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"


async def test_a_node_that_lags_loses_nothing(booth: Booth) -> None:
    """Behind a balancer, one node says how far the chain is and another one gives the logs: nothing is skipped."""
    await booth.run_scan()
    stands = _cursor(booth, Pass.RECENT)
    booth.chain.pay(await booth.address(booth.ada), 50 * UNITS)
    booth.settle()

    def behind(params: Sequence[Json], answer: Json) -> Json:
        return None if isinstance(params[0], str) and params[0].startswith("0x") else answer

    booth.node.answers["eth_getLogs"] = lambda _, __: []
    booth.node.answers["eth_getBlockByNumber"] = behind
    await booth.run_scan()
    assert (_cursor(booth, Pass.RECENT), booth.scan.figures.node_is_up) == (stands, False)
    booth.node.answers.clear()
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "50.00"


async def test_a_range_that_is_too_large_is_cut(booth: Booth) -> None:
    """A node that takes three blocks at once gets questions of three blocks, without being configured."""
    address = await booth.address(booth.ada)
    for _ in range(4):
        booth.chain.pay(address, UNITS)
        booth.chain.mine(5)

    def three_at_most(params: Sequence[Json], answer: Json) -> Json:
        if _span(params) > 3:
            raise NodeError(NodeTrouble.TOO_LARGE, "a test said so")
        return answer

    booth.settle()
    booth.node.answers["eth_getLogs"] = three_at_most
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "4.00"


async def test_many_addresses_are_asked_in_bounded_questions(store: Store, chain: DrivenChain) -> None:
    """At most 500 addresses and the configured range in one question, and none of them is missed."""
    async with running_booth(store, chain, max_range_blocks=20) as booth:
        customers = [
            new_customer(store, now_us=booth.clock.now_us() + number, email=f"{number}@example.com")
            for number in range(6)
        ]
        addresses = [await booth.address(customer) for customer in customers]
        finder_asks: list[int] = []
        padded = [f"0x{number:040x}" for number in range(1, 1_200)]
        chain.pay(addresses[5], UNITS)
        booth.settle()
        node = ChainNode(booth.node, chain_id=BASE, token=USDC)
        found = await TransferFinder(node, max_range_blocks=20).find(1, 20, [*padded, *map(str.lower, addresses)])
        for method, params in booth.node.asked:
            if method == "eth_getLogs":
                assert isinstance(params[0], dict)
                finder_asks.append(len(params[0]["topics"][2]))
        assert finder_asks == [MAX_ADDRESSES, MAX_ADDRESSES, 205]
        assert len(found) == 1
        await booth.run_scan()
        assert max(_span(params) for method, params in booth.node.asked if method == "eth_getLogs") <= 20
        assert [await booth.balance(customer) for customer in customers] == ["0.00"] * 5 + ["1.00"]


async def test_a_rescan_changes_nothing_that_is_right(booth: Booth) -> None:
    """Set back by the operator, both passes go over the same blocks again, and credit nothing twice."""
    address = await booth.address(booth.ada)
    booth.chain.pay(address, 50 * UNITS)
    booth.chain.mine(FINAL_BLOCKS)
    await booth.run_scan()
    moved = booth.store.write_now(
        chain_cursors.set_back, BASE, USDC, to_number=1, actor="operator", now_us=booth.clock.now_us()
    )
    assert (moved, _cursor(booth, Pass.RECENT), _cursor(booth, Pass.ALL)) == (2, 1, 1)
    await booth.run_scan()
    assert (_cursor(booth, Pass.RECENT), await booth.balance(booth.ada)) == (booth.chain.head() - SAFE_BLOCKS, "50.00")


async def test_a_deep_reorganisation(booth: Booth) -> None:
    """Even when blocks called finalized are replaced, the books follow the chain: gone is taken back, new is found."""
    address = await booth.address(booth.ada)
    gone = booth.chain.pay(address, 50 * UNITS)
    booth.settle()
    await booth.run_scan()
    booth.chain.mine(3)
    await booth.run_scan()
    booth.chain.reorganise(SAFE_BLOCKS + 4)
    came = booth.chain.pay(address, 7 * UNITS)
    booth.chain.mine(FINAL_BLOCKS)
    await booth.run_scan()
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "7.00"
    statuses = {
        tx_hash: [deposit.status.value for deposit in booth.store.read_now(deposits.of_transaction, BASE, tx_hash)]
        for tx_hash in (gone, came)
    }
    assert statuses == {gone: ["reversed"], came: ["final"]}


async def test_credited_only_when_finalized(store: Store, chain: DrivenChain) -> None:
    """With `credit_at = "finalized"` a safe block is not enough."""
    async with running_booth(store, chain, counts_at="finalized") as booth:
        tx_hash = chain.pay(await booth.address(booth.ada), 50 * UNITS)
        chain.mine(SAFE_BLOCKS)
        await booth.run_scan()
        assert await booth.told(booth.ada, tx_hash) == (202, "pending")
        chain.mine(FINAL_BLOCKS - SAFE_BLOCKS)
        await booth.run_scan()
        assert await booth.balance(booth.ada) == "50.00"


def _span(params: Sequence[Json]) -> int:
    wanted = params[0]
    assert isinstance(wanted, dict)
    return int(str(wanted["toBlock"]), 16) - int(str(wanted["fromBlock"]), 16) + 1


async def test_a_receipt_that_cannot_be_read_holds_up_nobody(booth: Booth) -> None:
    """A transaction made too large to be read, by whoever, is skipped with an alarm; the others are credited."""
    ada, bob = await booth.address(booth.ada), await booth.address(booth.bob)
    monstrous = booth.chain.pay(ada, UNITS)
    booth.chain.pay(bob, 2 * UNITS)
    booth.settle()

    def too_large(params: Sequence[Json], answer: Json) -> Json:
        if params[0] == monstrous:
            raise NodeError(NodeTrouble.TOO_LARGE, "a test said so")
        return answer

    booth.node.answers["eth_getTransactionReceipt"] = too_large
    await booth.run_scan()
    assert (await booth.balance(booth.ada), await booth.balance(booth.bob)) == ("0.00", "2.00")
    assert _cursor(booth, Pass.RECENT) == booth.chain.head() - SAFE_BLOCKS


async def test_a_node_without_old_blocks(booth: Booth) -> None:
    """A first scan on a node that forgot the oldest blocks begins at the oldest that it has."""
    address = await booth.address(booth.ada)
    booth.chain.mine(6)
    oldest = booth.chain.head() - 3
    booth.chain.pay(address, UNITS)
    booth.settle()

    def forgotten(params: Sequence[Json], answer: Json) -> Json:
        which = str(params[0])
        return None if which.startswith("0x") and int(which, 16) < oldest else answer

    booth.node.answers["eth_getBlockByNumber"] = forgotten
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "1.00"


async def test_a_long_outage_ends(booth: Booth) -> None:
    """However often the node failed before, the scan goes on a minute after it is back."""
    booth.chain.pay(await booth.address(booth.ada), UNITS)
    booth.settle()
    booth.node.fail("eth_chainId", times=1_500)
    for _ in range(1_500):
        booth.clock.advance(61)
        await booth.scan.run()
    await booth.run_scan()
    assert await booth.balance(booth.ada) == "1.00"
