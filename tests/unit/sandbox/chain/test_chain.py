"""The sandbox's chain by itself: time, tags, reorganisations, its file, and requests that are none."""

import json
from pathlib import Path

import pytest

from tokenbooth.payments.usdc.receipts import read_receipt
from tokenbooth_sandbox.chain import ChainConfig, ChainSandbox
from tokenbooth_sandbox.chain.rpc import Json
from tokenbooth_sandbox.chain.world import World, transfer

TO = "0x" + "ab" * 20
CONFIG = ChainConfig()


class Hand:
    """A clock that a test moves, in UTC seconds."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def _send(world: World) -> str:
    return world.send([transfer(CONFIG.token, TO, 5)], to=CONFIG.token)


def _ask(sandbox: ChainSandbox, method: str, *params: Json) -> Json:
    answer = sandbox.answer(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).encode())
    assert isinstance(answer, dict)
    assert answer["id"] == 7
    told: Json = answer["result"] if "result" in answer else answer["error"]["code"]
    return told


def test_blocks_pass_with_time() -> None:
    """A chain with a block time grows by itself, and its tags with it."""
    clock = Hand()
    world = World(ChainConfig(block_time_s=2, safe_blocks=3, final_blocks=5, clock=clock))
    assert [world.number(tag) for tag in ("latest", "safe", "finalized")] == [0, 0, 0]
    clock.now_s += 21
    assert [world.number(tag) for tag in ("latest", "safe", "finalized", "0xa", "0xb")] == [10, 7, 5, 10, None]


def test_safe_at_once() -> None:
    """In the demo a transaction's block is safe when the faucet answers."""
    world = World(ChainConfig(settle_at_once=True))
    found = world.find(_send(world))
    assert found is not None
    assert found[0] == world.number("safe")


def test_a_chain_goes_on_from_its_file(tmp_path: Path) -> None:
    """Started again on its file, the chain has the same blocks, transactions and forks."""
    config = ChainConfig(state_file=tmp_path / "chain.json")
    world = World(config)
    assert World(config).block_hash(0) == world.block_hash(0)
    tx_hash = _send(world)
    world.mine(3)
    world.reorganise(2, {})
    again = World(config)
    hashes = [again.block_hash(number) for number in range(5)]
    assert hashes == [world.block_hash(number) for number in range(5)]
    assert (again.head(), again.find(tx_hash)) == (world.head(), world.find(tx_hash))
    assert _send(again) != tx_hash


def test_a_reorganisation_changes_what_comes_after() -> None:
    """Blocks below keep their hashes, those at and above the fork get others; what is not mined again is gone."""
    world = World(CONFIG)
    world.mine(2)
    gone, kept = _send(world), _send(world)
    before = [world.block_hash(number) for number in range(world.head() + 1)]
    world.reorganise(2, {kept: 0})
    after = [world.block_hash(number) for number in range(world.head() + 1)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, True, False, False]
    assert (world.find(gone), world.find(kept) is not None) == (None, True)
    with pytest.raises(ValueError, match="not that long"):
        world.reorganise(9, {})


def test_its_receipts_are_read_as_those_of_a_real_node() -> None:
    """What the faucet sends is a receipt that the product reads."""
    sandbox = ChainSandbox(CONFIG)
    tx_hash = _ask(sandbox, "sandbox_sendUsdc", TO, "1.5")
    assert isinstance(tx_hash, str)
    receipt = read_receipt(_ask(sandbox, "eth_getTransactionReceipt", tx_hash), tx_hash=tx_hash, token=CONFIG.token)
    assert [(transfer.recipient, transfer.units) for transfer in receipt.reading.transfers] == [(TO, 1_500_000)]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_mine", [], -32601),
        ("eth_getBlockByNumber", [], -32602),
        ("eth_getBlockByNumber", ["newest", False], -32602),
        ("eth_getLogs", [{"fromBlock": "0x0"}], -32602),
        ("sandbox_sendUsdc", ["0x12", "1"], -32602),
        ("sandbox_sendUsdc", [TO, "-1"], -32602),
        ("sandbox_sendUsdc", [TO, "1.0000001"], -32602),
        ("sandbox_mine", ["1"], -32602),
        ("sandbox_reorganise", [5, {}], -32602),
    ],
)
def test_mistakes_are_errors(method: str, params: list[Json], code: int) -> None:
    """A wrong method or parameter is an error of JSON-RPC."""
    assert _ask(ChainSandbox(CONFIG), method, *params) == code


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_request(body: bytes) -> None:
    """Anything else is answered, too."""
    answer = ChainSandbox(CONFIG).answer(body)
    assert isinstance(answer, dict)
    assert answer["error"] == {"code": -32700, "message": "not a JSON-RPC request"}


def test_a_range_that_is_too_large_is_refused() -> None:
    """Like real nodes, it bounds what is asked at once."""
    sandbox = ChainSandbox(ChainConfig(max_range_blocks=2))
    sandbox.world.mine(9)
    asked: Json = {"fromBlock": "0x1", "toBlock": "0x3", "address": CONFIG.token, "topics": []}
    assert _ask(sandbox, "eth_getLogs", asked) == -32005
