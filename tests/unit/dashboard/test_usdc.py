"""Topping up with USDC: where to pay, what is on its way, what came."""

import html
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.support.dashboard.dashboard import Booth, Browser, open_booth
from tests.support.fakes import FakeClock
from tests.support.usdc.chains import SAFE_BLOCKS, USDC, SandboxChain, running_sandbox
from tokenbooth.config.chains import BASE
from tokenbooth.jobs.chain_scan import ChainScan, ScanSettings
from tokenbooth.payments.usdc.addresses import AddressBook
from tokenbooth.payments.usdc.node import ChainNode
from tokenbooth.payments.usdc.rpc import HttpRpc
from tokenbooth.services.context import UsdcDeps
from tokenbooth.store.engine import Store
from tokenbooth_sandbox.chain.wallet import new_extended_public_key

BILLING = "/dashboard/billing"
PAGE = "/dashboard/billing/usdc"
UNITS = 10**6


@dataclass(frozen=True, slots=True)
class Till:
    """A dashboard that takes USDC, with its chain and the scan that follows it."""

    booth: Booth
    chain: SandboxChain
    scan: ChainScan

    async def pay(self, to: str, units: int) -> str:
        """Send USDC and let the scan see it; returns the transaction's hash."""
        tx_hash = self.chain.pay(to, units)
        await self.scan.scan()
        return tx_hash

    async def settle(self) -> None:
        """Make everything mined so far count, and let the scan see it."""
        self.chain.mine(SAFE_BLOCKS)
        await self.scan.scan()


@pytest.fixture(scope="module")
def chain() -> Iterator[SandboxChain]:
    """The sandbox's node; each test has an extended key of its own, so addresses are never shared."""
    with running_sandbox() as running:
        yield running


@pytest.fixture
async def till(store: Store, chain: SandboxChain) -> AsyncIterator[Till]:
    """A dashboard on a chain."""
    node = ChainNode(HttpRpc(chain.url, timeout_s=10), chain_id=BASE, token=USDC)
    settings = ScanSettings(counts_at="safe", max_range_blocks=500, full_scan_s=0)
    scan = ChainScan(store, node, FakeClock(), settings)
    book = AddressBook(new_extended_public_key())
    desk = UsdcDeps(node=node, book=book, counts_at="safe", pending=lambda: scan.pending)
    try:
        async with open_booth(store, usdc=desk) as booth:
            yield Till(booth, chain, scan)
    finally:
        await node.aclose()


async def _announce(browser: Browser, amount: str = "50") -> str:
    """Say how much will come; returns the address."""
    answer = await browser.send(PAGE, PAGE, amount=amount)
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    found = re.search(r'id="pay-address">(0x[0-9a-fA-F]{40})<', (await browser.get(PAGE)).text)
    assert found is not None
    return found.group(1)


async def _look(browser: Browser, tx_hash: str) -> tuple[int, str]:
    """Look now; the status, and where it leads or what is said."""
    answer = await browser.send(PAGE, f"{PAGE}/look", txHash=tx_hash)
    said = re.search(r'role="alert">([^<]*)<', answer.text)
    return answer.status_code, answer.headers["location"] if said is None else html.unescape(said.group(1))


async def test_it_is_offered_only_where_it_is_set_up(booth: Booth) -> None:
    """Without a chain the billing page does not name USDC, and the page says that it is not set up."""
    browser = await booth.logged_in()
    assert "USDC" not in (await browser.get(BILLING)).text
    for path in (PAGE, f"{PAGE}/live"):
        page = await browser.get(path)
        assert (page.status_code, "not set up" in page.text) == (503, True)


async def test_it_shows_where_to_pay(till: Till) -> None:
    """The billing page leads there; the page has the account's address, a link for wallets and its QR code."""
    browser = await till.booth.logged_in()
    assert f'formaction="{PAGE}"' in (await browser.get(BILLING)).text
    assert "<svg" not in (await browser.get(PAGE)).text
    address = await _announce(browser, "12.5")
    page = (await browser.get(PAGE)).text
    assert f"address={address}&amp;uint256=12500000" in page
    assert ("<svg viewBox=" in page, "Send 12.50 USDC on Base" in page, "Waiting for" in page) == (True, True, True)
    assert re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|javascript:", page) is None
    other = await till.booth.logged_in("eve@example.com")
    assert (await _announce(browser), await _announce(other) != address) == (address, True)


@pytest.mark.parametrize("amount", ["9.99", "10000.01", "10.0000001", "NaN", "", "ten"])
async def test_amounts_that_cannot_be_bought_are_refused(till: Till, amount: str) -> None:
    """Too little, too much, too fine or no number: said on the page, and nothing is announced."""
    browser = await till.booth.logged_in()
    answer = await browser.send(PAGE, PAGE, amount=amount)
    assert (answer.status_code, 'role="alert"' in answer.text, "pay-address" in answer.text) == (400, True, False)


async def test_a_deposit_is_followed_until_it_is_credited(till: Till) -> None:
    """Unchanged, the live part says nothing; then it shows the transfer with its confirmations, then the credit."""
    browser = await till.booth.logged_in()
    address = await _announce(browser)
    live = re.search(r'hx-get="([^"]+)"', (await browser.get(PAGE)).text)
    assert live is not None
    assert (await browser.get(live.group(1))).status_code == 204
    tx_hash = await till.pay(address, 40 * UNITS)
    coming = (await browser.get(live.group(1))).text
    for text in ("On its way", "40 USDC", "pending", "1 confirmation ", tx_hash, "<html"):
        assert (text in coming) == (text != "<html")
    till.chain.mine(1)
    await till.scan.scan()
    assert "2 confirmations" in (await browser.get(live.group(1))).text
    other = await till.booth.logged_in("eve@example.com")
    assert tx_hash not in (await other.get(PAGE)).text
    await till.settle()
    came = (await browser.get(live.group(1))).text
    for text in ("pending", "On its way", "<svg"):
        assert text not in came
    for text in ("$40.00", "40 USDC", "credited", tx_hash):
        assert text in came


async def test_a_look_credits_what_counts(till: Till) -> None:
    """A pasted hash is looked up at once: first it does not count yet, then it is credited, before any scan."""
    browser = await till.booth.logged_in()
    tx_hash = await till.pay(await _announce(browser), 50 * UNITS)
    assert await _look(browser, f" {tx_hash.upper().replace('0X', '0x')} ") == (303, f"{PAGE}?done=pending")
    assert "not credited yet" in (await browser.get(f"{PAGE}?done=pending")).text
    till.chain.mine(SAFE_BLOCKS)
    assert await _look(browser, tx_hash) == (303, f"{PAGE}?done=credited")
    page = (await browser.get(PAGE)).text
    # What the scan saw on its way is in the books by now.
    assert ("$50.00" in page, page.count(tx_hash), "pending" in page) == (True, 1, False)
    assert await _look(browser, tx_hash) == (303, f"{PAGE}?done=credited")


async def test_a_look_says_what_is_wrong(till: Till) -> None:
    """No hash, an unknown one, somebody else's deposit: each is told as it is, and nothing is credited."""
    browser, other = await till.booth.logged_in(), await till.booth.logged_in("eve@example.com")
    await _announce(browser)
    tx_hash = await till.pay(await _announce(other), 50 * UNITS)
    await till.settle()
    status, said = await _look(browser, "0x12")
    assert (status, "“Transaction hash” must be 0x" in said) == (400, True)
    assert await _look(browser, "0x" + "ab" * 32) == (303, f"{PAGE}?done=pending")
    status, said = await _look(browser, tx_hash)
    assert (status, "another address" in said) == (422, True)
    assert "$0.00" in (await browser.get(PAGE)).text
