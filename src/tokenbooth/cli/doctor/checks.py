"""`tokenbooth doctor`: looks at everything that a server needs and says what to do about it.

It must never show a secret, and never change more than a start would that fails at once: the lock's file and, where
there is none, an empty database file are made.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select

from tokenbooth.cli.doctor.ask import Outcome, ask_all
from tokenbooth.cli.doctor.findings import Finding, Level
from tokenbooth.cli.doctor.probe import Probe, probe_upstream
from tokenbooth.cli.doctor.stripe import examine_stripe
from tokenbooth.cli.failures import CONFIGURATION, FAILURE
from tokenbooth.cli.node import open_node
from tokenbooth.cli.output import print_json, print_table
from tokenbooth.config.catalog import build_catalog, kind_lines
from tokenbooth.config.payments import UsdcSettings
from tokenbooth.config.settings import Settings, SettingsError, load_settings
from tokenbooth.domain.windows import SECOND_US
from tokenbooth.gateway.access.ceilings import DISTRUST_US
from tokenbooth.gateway.access.registration import SILENT_S, describe
from tokenbooth.gateway.settlement.charge_files import count_set_aside, set_aside
from tokenbooth.gateway.settlement.charge_log import DataDirectoryLocked, DirectoryLock
from tokenbooth.kit.clock import SystemClock, iso_ms
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.payments.usdc.addresses import AddressBook, checksummed
from tokenbooth.payments.usdc.rpc import NodeError, NodeTrouble
from tokenbooth.runtime.application import data_dir
from tokenbooth.runtime.database import open_database
from tokenbooth.store import processes
from tokenbooth.store.ceilings import CeilingRow, load_ceilings, note_obeyed
from tokenbooth.store.migrate import REVISIONS, SchemaState, schema_state, schema_version
from tokenbooth.store.processes import Process, ProcessState
from tokenbooth.store.reports.operator import plans_in_use
from tokenbooth.store.tables import ledger_transfers

_EARLIEST_US: Final = 1_767_225_600 * SECOND_US
"""2026-01-01: a machine whose clock is before it has lost its time."""
_TOLERATED_SKEW_S: Final = 60
_FILES_NAMED: Final = 5
_SHOWN_PROCESSES: Final = 10


def run_doctor(config: Path, *, as_json: bool, ask: bool) -> int:
    """Run every check and print the findings; returns the exit code.

    Args:
        config: the file.
        as_json: print for a program.
        ask: also ask the models which name of an output ceiling they obey, which costs money at the upstreams.
    """
    try:
        settings = load_settings(config)
    except SettingsError as mistake:
        _print([Finding("configuration", Level.FAILED, str(mistake), "correct the file")], as_json=as_json)
        return CONFIGURATION
    findings = [*examine(settings, config), *(_ask_for_ceilings(settings) if ask else ())]
    _print(findings, as_json=as_json)
    return FAILURE if any(finding.level is Level.FAILED for finding in findings) else 0


def examine(settings: Settings, config: Path) -> Iterator[Finding]:
    """The findings for a configuration that is valid in itself."""
    yield Finding(
        "configuration",
        Level.OK,
        f"{config}: {len(settings.plans)} plans, {len(settings.models)} models, {len(settings.upstreams)} upstreams",
    )
    if not settings.models:
        yield Finding("models", Level.WARNING, "none is configured", "add [upstreams.…] and [models.…]")
    yield from _examine_database(settings)
    yield _examine_data_dir(data_dir(settings))
    yield _examine_charge_log(data_dir(settings))
    yield _examine_clock()
    yield from _examine_upstreams(settings)
    if settings.upstreams:
        yield Finding("upstream kinds", Level.OK, ", ".join(kind_lines(settings)))
    yield from examine_stripe(settings)
    yield from _examine_usdc(settings.usdc)


def _examine_database(settings: Settings) -> Iterator[Finding]:
    try:
        store = open_database(settings)
    except SettingsError as mistake:
        yield Finding("database", Level.FAILED, str(mistake), "correct store.url")
        return
    try:
        state, version = store.read_now(schema_state), store.read_now(schema_version)
        yield _schema_finding(state, version)
        if state is SchemaState.CURRENT:
            yield _plans_finding(settings, store.read_now(plans_in_use, now_us=SystemClock().now_us()))
            yield _latest_finding(store.read_now(_latest_transfer_us))
            yield from _ceiling_findings(store.read_now(load_ceilings), SystemClock().now_us())
            yield _processes_finding(store.read_now(processes.newest, _SHOWN_PROCESSES))
    except StoreUnavailable:
        yield Finding(
            "database", Level.FAILED, "does not answer", "start it, or correct store.url and the file's permissions"
        )
    finally:
        store.close()


def _schema_finding(state: SchemaState, version: str | None) -> Finding:
    match state:
        case SchemaState.CURRENT:
            return Finding("database", Level.OK, f"answers, schema {version}")
        case SchemaState.EMPTY:
            return Finding("database", Level.WARNING, "answers, empty", "nothing; the first start makes the schema")
        case SchemaState.OLD:
            advice = f"`tokenbooth migrate` brings it to {REVISIONS[-1]}; so does the next start"
            return Finding("database", Level.WARNING, f"answers, schema {version} is old", advice)
        case SchemaState.NEWER:
            advice = "install the version of Tokenbooth that made it, or a later one"
            return Finding("database", Level.FAILED, f"schema {version} is newer than this program", advice)
        case SchemaState.FOREIGN:
            advice = "point store.url at an empty database"
            return Finding("database", Level.FAILED, "holds tables of something else", advice)


def _plans_finding(settings: Settings, subscribers_by_plan: dict[str, int]) -> Finding:
    gone = [slug for slug in subscribers_by_plan if slug not in settings.plans]
    if gone:
        advice = "put them back; the server does not start without"
        return Finding("plans", Level.FAILED, f"gone, but with subscribers: {', '.join(gone)}", advice)
    return Finding("plans", Level.OK, f"{sum(subscribers_by_plan.values())} subscriptions, all of known plans")


def _processes_finding(found: list[Process]) -> Finding:
    running = [process for process in found if process.state is not ProcessState.CLOSED]
    if not running:
        return Finding("servers", Level.OK, "none is registered in the database")
    named = "; ".join(f"{describe(process)}, last beat {process.silent_s} s ago" for process in running)
    if any(process.silent_s >= SILENT_S for process in running):
        advice = "if it is dead, start on its data directory, or `tokenbooth processes close` its row"
        return Finding("servers", Level.WARNING, named, advice)
    return Finding("servers", Level.OK, named)


def _latest_transfer_us(conn: Connection) -> int | None:
    latest_us: int | None = conn.execute(select(func.max(ledger_transfers.c.created_at_us))).scalar_one()
    return latest_us


def _latest_finding(latest_us: int | None) -> Finding:
    if latest_us is not None and latest_us > SystemClock().now_us() + _TOLERATED_SKEW_S * SECOND_US:
        advice = "set this machine's clock: it is behind the one that wrote to the database"
        return Finding("ledger", Level.FAILED, f"the last transfer is of {iso_ms(latest_us)}, the future", advice)
    return Finding("ledger", Level.OK, "empty" if latest_us is None else f"last transfer {iso_ms(latest_us)}")


def _ceiling_findings(seen: list[CeilingRow], now_us: int) -> Iterator[Finding]:
    """What the server saw of output ceilings; those that were exceeded within a day are not trusted."""
    for row in seen:
        if row.exceeded_at_us is None or row.exceeded_at_us + DISTRUST_US <= now_us:
            continue
        key = row.key
        found = (
            f"{key.field} = {row.sent_tokens} was sent, {row.reported_tokens} tokens came at "
            f"{iso_ms(row.exceeded_at_us)}; calls hold the model's maximum until "
            f"{iso_ms(row.exceeded_at_us + DISTRUST_US)}"
        )
        advice = "`tokenbooth doctor --ask` finds the name that it obeys; set output_limit_field"
        yield Finding(f"ceiling of {key.model} at {key.upstream} ({key.wire_format})", Level.WARNING, found, advice)
    obeyed = sorted({f"{row.key.model} at {row.key.upstream}" for row in seen if row.obeyed_at_us is not None})
    if obeyed:
        yield Finding("ceilings", Level.OK, f"seen obeyed: {', '.join(obeyed)}")


def _ask_for_ceilings(settings: Settings) -> Iterator[Finding]:
    """Ask each upstream; one that obeys is remembered, so that the first calls of customers need not be bounded."""
    today = datetime.fromtimestamp(SystemClock().now_us() / 1_000_000, UTC).date()
    try:
        asked = list(ask_all(build_catalog(settings, today=today)))
        store = open_database(settings)
    except SettingsError as mistake:
        yield Finding("ceilings", Level.FAILED, str(mistake), "correct the file")
        return
    try:
        if store.read_now(schema_state) is SchemaState.CURRENT:
            for one in asked:
                if one.outcomes[one.key.field] is Outcome.OBEYED:
                    store.write_now(note_obeyed, one.key, now_us=SystemClock().now_us())
    except StoreUnavailable:
        yield Finding("ceilings", Level.WARNING, "not kept: the database does not answer", "ask again when it does")
    finally:
        store.close()
    yield from (one.finding for one in asked)


def _examine_data_dir(directory: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as failure:
        advice = "make the directory, writable for the user that runs the server"
        return Finding("data directory", Level.FAILED, f"{directory}: {failure.strerror}", advice)
    try:
        DirectoryLock(directory).release()
    except DataDirectoryLocked:
        return Finding("data directory", Level.OK, f"{directory}: writable, a server is running on it")
    return Finding("data directory", Level.OK, f"{directory}: writable, no server is running on it")


def _examine_charge_log(directory: Path) -> Finding:
    waiting = set_aside(directory)
    if not waiting:
        return Finding("charge log", Level.OK, "nothing was damaged or refused")
    kinds = ", ".join(f"{number} {kind}" for kind, number in count_set_aside(directory).items() if number)
    found = f"set aside: {kinds} ({', '.join(path.name for path in waiting[:_FILES_NAMED])})"
    advice = "`tokenbooth charges list` shows them; with the server stopped `tokenbooth charges replay` books them"
    return Finding("charge log", Level.FAILED, found, advice)


def _examine_clock() -> Finding:
    now_us = SystemClock().now_us()
    if now_us < _EARLIEST_US:
        return Finding("clock", Level.FAILED, f"it is {iso_ms(now_us)}", "set the clock, and keep it by NTP")
    return Finding("clock", Level.OK, iso_ms(now_us))


def _examine_upstreams(settings: Settings) -> Iterator[Finding]:
    if not settings.upstreams:
        return
    with ThreadPoolExecutor(min(8, len(settings.upstreams))) as pool:
        probes = pool.map(probe_upstream, settings.upstreams.values())
        for name, probe in zip(settings.upstreams, probes, strict=True):
            yield _upstream_finding(f"upstream {name}", probe)


def _upstream_finding(check: str, probe: Probe) -> Finding:
    if probe.status is None:
        return Finding(check, Level.FAILED, f"{probe.url}: {probe.failure}", "check base_url, and the network")
    if probe.status in (401, 403):
        return Finding(check, Level.FAILED, f"{probe.url}: refuses our key", "check api_key_env or api_key_file")
    if probe.clock_skew_s is not None and abs(probe.clock_skew_s) > _TOLERATED_SKEW_S:
        found = f"{probe.url}: answers; our clock differs by {probe.clock_skew_s:.0f} s"
        return Finding(check, Level.WARNING, found, "keep this machine's clock by NTP")
    if probe.status >= 400:
        found = f"{probe.url}: answers {probe.status}"
        return Finding(check, Level.WARNING, found, "fine if it has no list of models; else check base_url")
    return Finding(check, Level.OK, f"{probe.url}: answers")


def _examine_usdc(usdc: UsdcSettings | None) -> Iterator[Finding]:
    if usdc is None:
        yield Finding("usdc", Level.WARNING, "not configured: no USDC", "add [usdc] to take deposits")
        return
    first = checksummed(AddressBook(usdc.xpub).address(0))
    yield Finding("usdc.xpub", Level.OK, f"address 0 is {first}", "compare it with what your wallet shows as the first")
    yield asyncio.run(_examine_node(usdc))


async def _examine_node(usdc: UsdcSettings) -> Finding:
    node = open_node(usdc)
    try:
        await node.check_chain()
        await node.check_token()
        counted = await node.head(usdc.credit_at)
    except NodeError as failure:
        match failure.trouble:
            case NodeTrouble.WRONG_CHAIN:
                advice = "point usdc.rpc_url to a node of the right chain, or correct usdc.chain_id"
            case NodeTrouble.WRONG_TOKEN:
                advice = "correct usdc.token"
            case _:
                advice = "check usdc.rpc_url, and the network"
        return Finding("usdc node", Level.FAILED, failure.detail, advice)
    finally:
        await node.aclose()
    found = f"chain {usdc.chain_id}, {usdc.credit_at} block {counted.number}, the token has 6 decimals"
    return Finding("usdc node", Level.OK, found)


def _print(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        rows = [{"check": f.check, "level": f.level, "found": f.found, "advice": f.advice} for f in findings]
        print_json({"ok": all(f.level is not Level.FAILED for f in findings), "findings": rows})
        return
    print_table(("check", "", "found", "what to do"), ((f.check, f.level, f.found, f.advice) for f in findings))
