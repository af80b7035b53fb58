"""The sandbox's memory: records by id, kept in one SQLite file, changed in whole transactions.

Reads are from memory. A transaction that fails leaves no trace; one that ends is on disk before its caller
answers (it survives `kill -9`). It must be used from one thread at a time.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from tokenbooth.kit.private_files import make_private_directory, touch_private
from tokenbooth_sandbox.stripe.billing.records import (
    Invoice,
    InvoiceItem,
    InvoicePayment,
    Subscription,
    SubscriptionSchedule,
)
from tokenbooth_sandbox.stripe.http import no_such
from tokenbooth_sandbox.stripe.records import (
    BalanceTransaction,
    Charge,
    Customer,
    Dispute,
    Event,
    KeptAnswer,
    PaymentIntent,
    PaymentMethod,
    Payout,
    PortalConfiguration,
    PortalSession,
    Price,
    Product,
    Record,
    Refund,
    Session,
    Settings,
    SetupIntent,
    TaxCalculation,
    TaxTransaction,
    TestClock,
    WebhookEndpoint,
)

R = TypeVar("R", bound=Record)

KINDS: tuple[type[Record], ...] = (
    Customer,
    Product,
    Price,
    Session,
    PaymentMethod,
    PaymentIntent,
    SetupIntent,
    Charge,
    Refund,
    Dispute,
    Payout,
    BalanceTransaction,
    Subscription,
    SubscriptionSchedule,
    TaxCalculation,
    TaxTransaction,
    Invoice,
    InvoiceItem,
    InvoicePayment,
    Event,
    WebhookEndpoint,
    PortalConfiguration,
    PortalSession,
    KeptAnswer,
    Settings,
    TestClock,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (seq INTEGER PRIMARY KEY, kind TEXT, id TEXT, body BLOB, UNIQUE (kind, id))
"""
_UPSERT = """
INSERT INTO record (kind, id, body) VALUES (?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body
"""


class State:
    """All records of one sandbox."""

    def __init__(self, file: Path | None) -> None:
        """`file`: where the records are kept; None forgets them with the process."""
        self._tables: dict[type[Record], dict[str, Record]] = {kind: {} for kind in KINDS}
        self._undo: list[tuple[type[Record], str, Record | None]] | None = None
        if file is not None:
            make_private_directory(file.parent)
            touch_private(file)
        self._connection = sqlite3.connect(file or ":memory:", check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(_SCHEMA)
        self._load()

    def _load(self) -> None:
        decoders = {kind.__name__: (kind, msgspec.json.Decoder(kind)) for kind in KINDS}
        for name, record_id, body in self._connection.execute("SELECT kind, id, body FROM record ORDER BY seq"):
            kind, decoder = decoders[name]
            self._tables[kind][record_id] = decoder.decode(body)

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def find(self, kind: type[R], record_id: str | None) -> R | None:
        """The record, or None."""
        found = self._tables[kind].get(record_id or "")
        return found if isinstance(found, kind) else None

    def get(self, kind: type[R], record_id: str, *, what: str | None = None, param: str = "id") -> R:
        """The record. Raises Stripe's refusal, which names `what` and the parameter, when there is none."""
        found = self.find(kind, record_id)
        if found is None:
            raise no_such(what or kind.__name__.lower(), record_id, param)
        return found

    def newest(self, kind: type[R]) -> list[R]:
        """All records of a kind, the newest first."""
        return [record for record in reversed(self._tables[kind].values()) if isinstance(record, kind)]

    def any_of(self, record_id: str) -> Record | None:
        """Whatever object has this id."""
        return next((table[record_id] for table in self._tables.values() if record_id in table), None)

    def put(self, record: R) -> R:
        """Add or replace a record, within a transaction."""
        table = self._tables[type(record)]
        self._note(type(record), record.id, table.get(record.id))
        table[record.id] = record
        return record

    def drop(self, record: Record) -> None:
        """Forget a record, within a transaction."""
        self._note(type(record), record.id, self._tables[type(record)].pop(record.id))

    def _note(self, kind: type[Record], record_id: str, before: Record | None) -> None:
        if self._undo is None:
            raise RuntimeError("the sandbox's state changes in transactions only")
        self._undo.append((kind, record_id, before))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside are kept together, or none when it raises."""
        if self._undo is not None:
            raise RuntimeError("the sandbox's transactions do not nest")
        self._undo = []
        try:
            yield
            self._write(self._undo)
        except BaseException:
            self._roll_back(self._undo)
            raise
        finally:
            self._undo = None

    def _roll_back(self, changes: list[tuple[type[Record], str, Record | None]]) -> None:
        for kind, record_id, before in reversed(changes):
            if before is None:
                self._tables[kind].pop(record_id, None)
            else:
                self._tables[kind][record_id] = before

    def _write(self, changes: list[tuple[type[Record], str, Record | None]]) -> None:
        touched = dict.fromkeys((kind, record_id) for kind, record_id, _ in changes)
        if not touched:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for kind, record_id in touched:
                record = self._tables[kind].get(record_id)
                if record is None:
                    self._connection.execute("DELETE FROM record WHERE kind = ? AND id = ?", (kind.__name__, record_id))
                else:
                    body = msgspec.json.encode(record)
                    self._connection.execute(_UPSERT, (kind.__name__, record_id, body))
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
