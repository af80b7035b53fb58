"""A service killed with charges in its log, and the log damaged before the next start."""

import contextlib
import json
import signal
import sqlite3
from collections.abc import Iterator

import httpx
import psycopg
from sqlalchemy import select

from tests.support.command import wait_until
from tests.support.gateway.gateway_rig import MODEL
from tests.system.crash.test_kill import Service, cli, customer, database_url, service
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import usage_events

__all__ = ["database_url", "service"]
CALLS = 20


@contextlib.contextmanager
def held_away(url: str) -> Iterator[None]:
    """Keep everybody from writing charges, as a database that hangs does."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as conn:
            conn.execute("BEGIN IMMEDIATE")
            yield
            conn.execute("ROLLBACK")
        return
    with psycopg.connect(url) as conn:
        conn.execute("LOCK TABLE usage_events IN ACCESS EXCLUSIVE MODE")
        yield
        # What the killed process has asked for must not be done once the table is free.
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database() AND query LIKE '%usage_events%'"
        )
        conn.rollback()


def call(service: Service, key: str) -> str:
    """A call that is answered; the id of its request."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(
        f"{service.base_url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}, timeout=30
    )
    assert answer.status_code == 200
    return answer.headers["x-request-id"]


def booked(store: Store) -> set[str]:
    """The requests that were charged."""
    return store.read_now(lambda conn: set(conn.scalars(select(usage_events.c.request_id))))


def test_one_flipped_bit_loses_no_charge(service: Service, database_url: str) -> None:
    """Every answer is charged; the damage is an error in the log and a figure, and its file can be read."""
    store = open_store(database_url)
    key = customer(service, store)
    answered = {call(service, key)}
    _wait_until_flushed(service)
    with held_away(database_url):
        answered |= {call(service, key) for _ in range(CALLS)}
        service.end(signal.SIGKILL)
    (segment,) = (service.config.parent / "charges").glob("*.log")
    content = bytearray(segment.read_bytes())
    content[len(content) // 3] ^= 1
    segment.write_bytes(content)
    service.start()

    assert booked(store) == answered
    assert len(answered) == CALLS + 1
    assert store.read_now(audit).differences == ()
    (told,) = _lines(service, "charge_log_damaged")
    assert (told["level"], told["charges_read"], told["records_restored"], told["lost_bytes"]) == ("error", CALLS, 1, 0)
    figures = httpx.get(f"{service.base_url}/metrics").text
    assert 'tokenbooth_charge_log_damaged_records_total{outcome="restored"} 1.0' in figures
    assert 'tokenbooth_charge_files_set_aside{kind="damaged"} 1.0' in figures
    shown = json.loads(cli(service, "charges", "list", "--json"))["files"]
    assert [(file["charges"], file["notBooked"], file["lostBytes"]) for file in shown] == [(CALLS, [], 0)]
    store.close()


def test_a_damaged_block_costs_the_charges_in_it(service: Service, database_url: str) -> None:
    """A stretch of the file is overwritten: the charges around it are booked, and what is lost is said."""
    store = open_store(database_url)
    key = customer(service, store)
    answered = {call(service, key)}
    _wait_until_flushed(service)
    with held_away(database_url):
        later = [call(service, key) for _ in range(CALLS)]
        service.end(signal.SIGKILL)
    (segment,) = (service.config.parent / "charges").glob("*.log")
    content = bytearray(segment.read_bytes())
    begin, end = content.find(later[7].encode()), content.find(later[9].encode())
    content[begin:end] = bytes(end - begin)
    segment.write_bytes(content)
    service.start()

    # The eighth to the tenth: of the last of them its beginning was hit.
    assert booked(store) == answered | set(later) - set(later[7:10])
    assert store.read_now(audit).differences == ()
    (told,) = _lines(service, "charge_log_damaged")
    assert told["charges_read"] == CALLS - 3
    # Reckoned from the length of what is lost, as at least so many.
    assert told["records_lost"] in (2, 3)
    store.close()


def _lines(service: Service, event: str) -> list[dict[str, object]]:
    log = (service.config.parent / "serve.log").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def _wait_until_flushed(service: Service) -> None:
    wait_until(lambda: "tokenbooth_charges_waiting 0.0" in httpx.get(f"{service.base_url}/metrics").text, "the flush")
