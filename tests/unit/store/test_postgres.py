"""Schema, audit and the operator's credit on PostgreSQL, where they are written for both engines."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, text

from tests.support.fakes import MARCH_5_2026_US
from tests.support.store import new_customer
from tokenbooth.domain.ledger import TransferKind, credit_of
from tokenbooth.store import processes
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.engine import Store, make_engine, open_store
from tokenbooth.store.migrate import SchemaState, migrate, schema_state
from tokenbooth.store.processes import ClosedHow, NewProcess
from tokenbooth.store.reports.audit import AuditRow, audit
from tokenbooth.store.reports.figures import figures
from tokenbooth.store.reports.operator import plans_in_use
from tokenbooth.store.tables import metadata

NOW_US = MARCH_5_2026_US


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    engine = make_engine(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture
def migrated(postgres_url: str, engine: Engine) -> Iterator[Store]:
    """A store on a migrated database."""
    migrate(engine)
    opened = open_store(postgres_url)
    yield opened
    opened.close()


def _constraints(conn: Connection) -> list[tuple[str, str, str]]:
    rows = conn.execute(
        text(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE contype IN ('c', 'f', 'p', 'u') AND connamespace = 'public'::regnamespace "
            "AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2"
        )
    )
    return [(row[0], row[1], row[2]) for row in rows]


def test_the_migrated_schema_is_what_the_tables_say(engine: Engine) -> None:
    """Tables, columns and constraints are the same whether migrated or made from the tables."""
    migrate(engine)
    with engine.connect() as conn:
        assert schema_state(conn) is SchemaState.CURRENT
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []
        migrated = _constraints(conn)
    with engine.connect() as conn, conn.begin():
        conn.execute(text("DROP SCHEMA public CASCADE"))
        conn.execute(text("CREATE SCHEMA public"))
        metadata.create_all(conn)
        assert _constraints(conn) == migrated


def test_several_processes_migrate_once(postgres_url: str) -> None:
    """Scenario 54: processes that migrate at the same time all succeed, and one of them did the work."""
    program = (
        "import sys\n"
        "from tokenbooth.store.engine import make_engine\n"
        "from tokenbooth.store.migrate import migrate\n"
        "print(migrate(make_engine(sys.argv[1])).changed)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, postgres_url], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(outputs) == ["False", "False", "True"]


def test_the_operators_credit_and_its_audit(migrated: Store) -> None:
    """A grant counts once per reference, an adjustment may leave a debt, and the audit sees it all."""
    customer = new_customer(migrated, now_us=NOW_US)

    def change(kind: TransferKind, amount_nano: int, reference: str | None) -> tuple[int, int, bool]:
        done = migrated.write_now(
            change_credit,
            account=customer.email,
            kind=kind,
            amount_nano=amount_nano,
            reason="a test",
            reference=reference,
            now_us=NOW_US,
        )
        return done.balance_nano, done.debt_nano, done.repeated

    assert change(TransferKind.GRANT, 10, "one") == (10, 0, False)
    assert change(TransferKind.GRANT, 10, "one") == (10, 0, True)
    assert change(TransferKind.ADJUSTMENT, -15, None) == (0, 5, False)
    assert migrated.read_now(audit).differences == ()
    assert migrated.read_now(figures).requests == 0
    assert migrated.read_now(plans_in_use, now_us=NOW_US) == {}


def test_the_audit_finds_a_changed_balance(migrated: Store) -> None:
    """A balance that was changed by hand is found with exact integers."""
    customer = new_customer(migrated, now_us=NOW_US)
    migrated.write_now(
        change_credit,
        account=customer.account_id,
        kind=TransferKind.GRANT,
        amount_nano=3_999_999_999_999_999_999,
        reason="a test",
        reference=None,
        now_us=NOW_US,
    )

    def corrupt(conn: Connection) -> None:
        conn.execute(text("UPDATE ledger_accounts SET balance_nano = balance_nano - 1 WHERE kind = 'credit'"))

    migrated.write_now(corrupt)
    account = credit_of(customer.account_id).id
    expected = AuditRow("balance", account, 3_999_999_999_999_999_998, 3_999_999_999_999_999_999)
    assert migrated.read_now(audit).differences == (expected,)


def test_a_booking_that_began_before_a_close_finds_the_row_closed(migrated: Store) -> None:
    """The snapshot of the booking is older than the close; it begins anew instead of believing it."""
    new = NewProcess("gw_1", "one", "/var/lib/one", "host", 42, "1.0", "hash")
    migrated.write_now(processes.register, new, now_us=NOW_US)
    tries: list[bool] = []

    def booking(conn: Connection) -> bool:
        figures(conn)
        if not tries:
            migrated.write_now(processes.close, "gw_1", ClosedHow.COMMAND, now_us=NOW_US)
        tries.append(True)
        return processes.hold_open(conn, "gw_1")

    assert migrated.write_now(booking) is False
    assert len(tries) == 2


def test_a_beat_disturbs_no_booking(migrated: Store) -> None:
    """A row that beats while a booking holds it open is neither waited for nor a conflict."""
    new = NewProcess("gw_1", "one", "/var/lib/one", "host", 42, "1.0", "hash")
    migrated.write_now(processes.register, new, now_us=NOW_US)
    tries: list[int | None] = []

    def booking(conn: Connection) -> bool:
        assert processes.hold_open(conn, "gw_1")
        tries.append(migrated.write_now(processes.beat, "gw_1"))
        return processes.hold_open(conn, "gw_1")

    assert migrated.write_now(booking)
    assert tries == [1]
