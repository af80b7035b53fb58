"""The command that drives the demo's chain; it moves nothing of value, and talks to nothing but a sandbox."""

import asyncio
import json
from pathlib import Path
from typing import Final

from tokenbooth.cli.failures import CommandFailed
from tokenbooth.cli.node import PlainRpc
from tokenbooth.cli.output import print_json, print_line
from tokenbooth.payments.usdc.rpc import NodeError, NodeTrouble
from tokenbooth.runtime.application import CHAIN_SANDBOX_PATH

_DEMO_URL: Final = "http://127.0.0.1:8080"
_ACCESS_NAME: Final = "demo.json"
_TIMEOUT_S: Final = 10.0


def send_usdc(*, to: str, amount: str, data_dir: Path, node_url: str | None, as_json: bool) -> None:
    """Send made-up USDC from the faucet, and print the transaction's hash."""
    url = node_url or f"{_base_url(data_dir)}{CHAIN_SANDBOX_PATH}"
    tx_hash = asyncio.run(_send(url, to, amount))
    if as_json:
        print_json({"txHash": tx_hash})
    else:
        print_line(tx_hash)


async def _send(url: str, to: str, amount: str) -> str:
    rpc = PlainRpc(url, timeout_s=_TIMEOUT_S)
    try:
        return str(await rpc.call("sandbox_sendUsdc", [to, amount]))
    except NodeError as failure:
        if failure.trouble is NodeTrouble.REFUSED:
            raise CommandFailed("--to must be an address, --amount USD above zero with six decimals at most") from None
        raise CommandFailed(f"no sandbox answers at {url}; `tokenbooth demo` runs one ({failure})") from None
    finally:
        await rpc.aclose()


def _base_url(data_dir: Path) -> str:
    """Where the demo of this directory listens; the demo's default when it is not known."""
    try:
        return str(json.loads((data_dir / _ACCESS_NAME).read_text(encoding="utf-8"))["baseUrl"])
    except (OSError, ValueError, KeyError, TypeError):
        return _DEMO_URL
