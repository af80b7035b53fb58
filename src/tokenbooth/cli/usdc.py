"""The commands about deposits of USDC; also while the server runs. None of them needs or knows a private key."""

import asyncio
import csv
import sys
from pathlib import Path

from tokenbooth.cli.failures import CONFIGURATION, CommandFailed
from tokenbooth.cli.node import open_node
from tokenbooth.cli.output import Json, print_json, print_line, print_table
from tokenbooth.config.chains import chain_name
from tokenbooth.config.payments import UsdcSettings
from tokenbooth.config.settings import load_settings
from tokenbooth.domain.money import format_usd
from tokenbooth.kit.clock import SystemClock
from tokenbooth.payments.usdc.addresses import AddressBook, checksummed
from tokenbooth.payments.usdc.node import ChainNode
from tokenbooth.payments.usdc.rpc import NodeError
from tokenbooth.runtime.database import ready_database
from tokenbooth.store.accounts.audit_log import OPERATOR
from tokenbooth.store.engine import Store
from tokenbooth.store.usdc import chain_cursors, deposits
from tokenbooth.store.usdc.chain_cursors import Cursor, Pass
from tokenbooth.store.usdc.deposit_addresses import DepositAddress


def show_status(config: Path, *, as_json: bool) -> None:
    """How far the scan is, and what it found."""
    settings = load_settings(config)
    usdc = _configured(settings.usdc)
    heads, failure = asyncio.run(_heads(usdc))
    with ready_database(settings) as store:
        cursors = {which: _cursor(store, usdc, which) for which in Pass}
        totals = store.read_now(deposits.totals, usdc.chain_id)
    shown: dict[str, Json] = {
        "chainId": usdc.chain_id,
        "token": checksummed(usdc.token_address()),
        "node": failure or "answers",
        **{tag: heads.get(tag) for tag in ("latest", "safe", "finalized")},
        "scanned": {which: None if at is None else at.block_number for which, at in cursors.items()},
        "lagBlocks": _lag(heads.get(usdc.credit_at), cursors[Pass.RECENT]),
        "addresses": totals.addresses,
        "deposits": totals.rows_by_status,
        "credited": format_usd(totals.amount_nano),
    }
    if as_json:
        print_json(shown)
    else:
        print_table(("what", "value"), [(name, _text(value)) for name, value in shown.items()])


def rescan(config: Path, *, from_block: int, as_json: bool) -> None:
    """Let both passes look again at everything from a block on; nothing is credited twice by it."""
    settings = load_settings(config)
    usdc = _configured(settings.usdc)
    with ready_database(settings) as store:
        moved = store.write_now(
            chain_cursors.set_back,
            usdc.chain_id,
            usdc.token_address(),
            to_number=from_block - 1,
            actor=OPERATOR,
            now_us=SystemClock().now_us(),
        )
    if as_json:
        print_json({"fromBlock": from_block, "passesMoved": moved})
    elif moved:
        print_line(f"The scan begins again at block {from_block}; a running server goes on from there by itself.")
    else:
        print_line(f"Nothing to do: the scan has not come to block {from_block} yet.")


def sweep_list(config: Path, *, as_json: bool) -> None:
    """Every address that received something, with its derivation path, for whoever holds the private key."""
    settings = load_settings(config)
    usdc = _configured(settings.usdc)
    book = AddressBook(usdc.xpub)
    with ready_database(settings) as store:
        received = store.read_now(deposits.received_by_address, usdc.chain_id)
    rows = [_sweep_row(book, address, count, amount_nano) for address, count, amount_nano in received]
    if as_json:
        print_json({"chain": chain_name(usdc.chain_id), "addresses": rows})
        return
    names = ("path", "address", "received", "deposits", "accountId", "extendedKey")
    writer = csv.writer(sys.stdout)
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)


def _sweep_row(book: AddressBook, address: DepositAddress, count: int, amount_nano: int) -> dict[str, Json]:
    is_current = address.key_fingerprint == book.fingerprint
    return {
        "path": f"m/44'/60'/0'/0/{address.child_index}",
        "address": checksummed(address.address),
        "received": format_usd(amount_nano),
        "deposits": count,
        "accountId": address.account_id,
        "extendedKey": "current" if is_current else f"earlier ({address.key_fingerprint})",
    }


async def _heads(usdc: UsdcSettings) -> tuple[dict[str, int], str | None]:
    """The numbers of the tagged blocks; or why there are none."""
    node: ChainNode = open_node(usdc)
    try:
        await node.check_chain()
        return {
            "latest": (await node.head("latest")).number,
            "safe": (await node.head("safe")).number,
            "finalized": (await node.head("finalized")).number,
        }, None
    except NodeError as failure:
        return {}, str(failure)
    finally:
        await node.aclose()


def _cursor(store: Store, usdc: UsdcSettings, which: Pass) -> Cursor | None:
    return store.read_now(chain_cursors.position, usdc.chain_id, usdc.token_address(), which)


def _lag(head: int | None, cursor: Cursor | None) -> int | None:
    return None if head is None or cursor is None else max(head - cursor.block_number, 0)


def _configured(usdc: UsdcSettings | None) -> UsdcSettings:
    if usdc is None:
        raise CommandFailed("[usdc] is not configured", exit_code=CONFIGURATION)
    return usdc


def _text(value: Json) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items()) or "none"
    return "unknown" if value is None else str(value)
