"""Two chains behind one face, for the suite that runs on both: anvil (a real EVM) and the sandbox's node.

Anvil runs as a process of its own with real contracts; the sandbox runs in a thread. Both have Base's chain id, USDC's
address, a `safe` block four behind the latest and a `finalized` one eight behind. Only tests import this.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final, Protocol

import httpx

from tests.support.servers import serve
from tokenbooth.config.chains import BASE, BRIDGED_TOKEN, NATIVE_TOKENS
from tokenbooth.payments.usdc.receipts import TRANSFER_TOPIC
from tokenbooth_sandbox.chain import ChainConfig, ChainSandbox

USDC: Final = NATIVE_TOKENS[BASE]
USDBC: Final = BRIDGED_TOKEN
FAKE: Final = "0x00000000000000000000000000000000fa4e0000"
"""A contract of somebody else's with the same events."""
WALLET: Final = "0x000000000000000000000000000000005a11e700"
SAFE_BLOCKS: Final = 4
FINAL_BLOCKS: Final = 8
_FIRST_BLOCKS: Final = 10
_CONTRACTS: Final = Path(__file__).parents[2] / "system" / "usdc"
_COMPILER: Final = Path(sys.prefix) / "chain" / "bin" / "vyper"
_START_TIMEOUT_S: Final = 20.0
_PURSE: Final = 10**15
_SELECTORS: Final = {"transfer": "a9059cbb", "mint": "40c10f19", "emit_short": "5aff2502", "pay": "623f3e13"}

Payment = tuple[str, int]
"""A recipient, and micro-USD."""


class DrivenChain(Protocol):
    """A chain that a test drives."""

    url: str

    def pay(self, to: str, units: int, *, token: str = USDC) -> str:
        """Mine a transfer in a block of its own; returns the transaction's hash."""
        ...

    def pay_through_wallet(self, payments: Sequence[Payment]) -> str:
        """Several transfers in one transaction, which calls a wallet and not the token."""
        ...

    def mint(self, to: str, units: int) -> str:
        """A transfer out of nothing, of any amount."""
        ...

    def pay_failing(self, to: str, units: int) -> str:
        """A transaction that calls for a transfer and fails."""
        ...

    def emit_short(self, to: str) -> str:
        """A Transfer event of the token with only four bytes of data."""
        ...

    def mine(self, blocks: int) -> None:
        """Add empty blocks."""
        ...

    def reorganise(self, depth: int, again: Mapping[str, int] | None = None) -> None:
        """Replace the last blocks; transactions in `again` are mined again, so far into the new ones."""
        ...

    def head(self) -> int:
        """The latest block's number."""
        ...


class _Rpc:
    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(timeout=30)
        self._ids = count(1)

    def call(self, method: str, *params: object) -> object:
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        answer = self._client.post(self.url, json=body).json()
        assert "error" not in answer, answer
        return answer["result"]

    def text(self, method: str, *params: object) -> str:
        result = self.call(method, *params)
        assert isinstance(result, str)
        return result

    def close(self) -> None:
        self._client.close()


class Anvil:
    """A real chain."""

    def __init__(self, rpc: _Rpc) -> None:
        self.url = rpc.url
        self._rpc = rpc
        accounts = rpc.call("eth_accounts")
        assert isinstance(accounts, list)
        # Senders take turns, so that a transaction that is reorganised away does not block the next one's nonce.
        self._accounts = [str(account) for account in accounts]
        self._turn = count()
        for address in (USDC, USDBC, FAKE):
            rpc.call("anvil_setCode", address, _runtime("token"))
        rpc.call("anvil_setCode", WALLET, _runtime("wallet"))
        self.mine(1)
        rpc.call("evm_setAutomine", False)
        for holder in (*self._accounts, WALLET):
            for token in (USDC, USDBC, FAKE):
                self._submit(token, "mint", _address(holder), _word(_PURSE), sender=self._accounts[0])
        self.mine(1)
        rpc.call("evm_setAutomine", True)
        self.mine(_FIRST_BLOCKS)

    def pay(self, to: str, units: int, *, token: str = USDC) -> str:
        return self._send(token, "transfer", _address(to), _word(units))

    def pay_through_wallet(self, payments: Sequence[Payment]) -> str:
        entries = "".join(_address(USDC) + _address(to) + _word(units) for to, units in payments)
        return self._send(WALLET, "pay", _word(32), _word(len(payments)), entries)

    def mint(self, to: str, units: int) -> str:
        return self._send(USDC, "mint", _address(to), _word(units))

    def pay_failing(self, to: str, units: int) -> str:
        return self._send(USDC, "transfer", _address(to), _word(2 * _PURSE + units))

    def emit_short(self, to: str) -> str:
        return self._send(USDC, "emit_short", _address(to))

    def mine(self, blocks: int) -> None:
        self._rpc.call("anvil_mine", hex(blocks))

    def reorganise(self, depth: int, again: Mapping[str, int] | None = None) -> None:
        kept = [
            [self._rpc.text("eth_getRawTransactionByHash", tx_hash), offset]
            for tx_hash, offset in (again or {}).items()
        ]
        self._rpc.call("anvil_reorg", depth, kept)

    def head(self) -> int:
        return int(self._rpc.text("eth_blockNumber"), 16)

    def _send(self, contract: str, function: str, *arguments: str) -> str:
        """Send a transaction and wait for its block: a busy node answers before it has mined it."""
        tx_hash = self._submit(contract, function, *arguments)
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while self._rpc.call("eth_getTransactionReceipt", tx_hash) is None:
            assert time.monotonic() < deadline_s, "anvil did not mine in time"
            time.sleep(0.005)
        return tx_hash

    def _submit(self, contract: str, function: str, *arguments: str, sender: str | None = None) -> str:
        call = {
            "from": sender or self._accounts[next(self._turn) % len(self._accounts)],
            "to": contract,
            "data": f"0x{_SELECTORS[function]}{''.join(arguments)}",
            # Given, so that nobody estimates it: a transaction that fails would not be sent.
            "gas": hex(1_000_000),
        }
        return self._rpc.text("eth_sendTransaction", call)


class SandboxChain:
    """The sandbox's node."""

    def __init__(self, rpc: _Rpc) -> None:
        self.url = rpc.url
        self._rpc = rpc
        self.mine(_FIRST_BLOCKS)

    def pay(self, to: str, units: int, *, token: str = USDC) -> str:
        return self._send(token, [_log(token, to, f"0x{_word(units)}")])

    def pay_through_wallet(self, payments: Sequence[Payment]) -> str:
        return self._send(WALLET, [_log(USDC, to, f"0x{_word(units)}") for to, units in payments])

    def mint(self, to: str, units: int) -> str:
        return self.pay(to, units)

    def pay_failing(self, to: str, units: int) -> str:
        return self._send(USDC, [_log(USDC, to, f"0x{_word(units)}")], reverted=True)

    def emit_short(self, to: str) -> str:
        return self._send(USDC, [_log(USDC, to, "0x00000001")])

    def mine(self, blocks: int) -> None:
        self._rpc.call("sandbox_mine", blocks)

    def reorganise(self, depth: int, again: Mapping[str, int] | None = None) -> None:
        self._rpc.call("sandbox_reorganise", depth, dict(again or {}))

    def head(self) -> int:
        return int(self._rpc.text("eth_blockNumber"), 16)

    def _send(self, to: str, logs: Sequence[Mapping[str, object]], *, reverted: bool = False) -> str:
        return self._rpc.text("sandbox_send", {"to": to, "logs": list(logs), "reverted": reverted})


@contextmanager
def running_anvil() -> Iterator[Anvil]:
    """A real chain in a process of its own, with the contracts."""
    command = [
        str(_anvil()),
        *("--chain-id", str(BASE), "--port", "0", "--host", "127.0.0.1"),
        *("--slots-in-an-epoch", str(SAFE_BLOCKS)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        rpc = _Rpc(_listening(process))
        try:
            yield Anvil(rpc)
        finally:
            rpc.close()
    finally:
        process.kill()
        process.communicate()


@contextmanager
def running_sandbox() -> Iterator[SandboxChain]:
    """The sandbox's node on a real server."""
    config = ChainConfig(safe_blocks=SAFE_BLOCKS, final_blocks=FINAL_BLOCKS, max_range_blocks=1_000)
    with serve(ChainSandbox(config), lifespan="off") as url:
        rpc = _Rpc(url)
        try:
            yield SandboxChain(rpc)
        finally:
            rpc.close()


def _anvil() -> Path:
    found = sorted((_CONTRACTS / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil"))
    assert found, "anvil is not installed: run `make setup-test`"
    return found[0]


def _listening(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        line = process.stdout.readline()
        found = re.search(r"Listening on (\S+)", line)
        if found is not None:
            return f"http://{found.group(1)}"
        assert line, "anvil ended before it listened"
    raise AssertionError("anvil did not listen in time")


@cache
def _runtime(name: str) -> str:
    """A contract's code, compiled from its source."""
    command = (_COMPILER, "-f", "bytecode_runtime", _CONTRACTS / f"{name}.vy")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _log(token: str, to: str, data: str) -> Mapping[str, object]:
    return {"address": token, "topics": [TRANSFER_TOPIC, f"0x{_word(0)}", f"0x{_address(to)}"], "data": data}


def _address(address: str) -> str:
    return f"{address[2:].lower():0>64}"


def _word(number: int) -> str:
    return f"{number:064x}"
