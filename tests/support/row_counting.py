"""How many rows a database reads for what is asked of it, and by how many statements. Only tests import it.

PostgreSQL counts rows itself, by table and by index, in its statistics of the transaction. SQLite has no such counter
that Python reaches, so the steps of its virtual machine are counted: one row costs at least four.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine, event

STEPS_PER_ROW: Final = 4
_STEPS_AT_ONCE: Final = 20
_ROWS_READ: Final = """
SELECT COALESCE(SUM(COALESCE(pg_stat_get_xact_tuples_returned(oid), 0)), 0) FROM pg_class WHERE relkind IN ('r', 'i')
AND relnamespace = 'public'::regnamespace
"""


@dataclass(slots=True)
class Reads:
    """What was read since it was reset: rows (of SQLite the most that its steps can have been), and statements."""

    rows: int = 0
    statements: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Begin anew."""
        self.rows = 0
        self.statements.clear()


@contextmanager
def counted(engine: Engine) -> Iterator[Reads]:
    """Count what every connection of an engine reads; its connections are opened anew."""
    reads = Reads()
    is_sqlite = engine.dialect.name == "sqlite"

    def connected(driver_connection: Any, _entry: object) -> None:
        def step() -> None:
            reads.rows += _STEPS_AT_ONCE // STEPS_PER_ROW

        driver_connection.set_progress_handler(step, _STEPS_AT_ONCE)

    def began(conn: Connection) -> None:
        conn.info["rows_read"] = _rows_read(conn)

    def ends(conn: Connection) -> None:
        # Statistics are kept for the session until it is idle, so it is the difference that counts.
        reads.rows += _rows_read(conn) - conn.info.pop("rows_read", 0)

    def executes(
        _conn: Connection, _cursor: object, statement: str, _parameters: object, _context: object, _many: object
    ) -> None:
        if not statement.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN")):
            reads.statements.append(statement)

    listeners: list[tuple[str, Any]] = [("before_cursor_execute", executes)]
    listeners += [("connect", connected)] if is_sqlite else [("begin", began), ("commit", ends)]
    engine.dispose()
    for name, listener in listeners:
        event.listen(engine, name, listener)
    yield reads
    for name, listener in listeners:
        event.remove(engine, name, listener)


def _rows_read(conn: Connection) -> int:
    driver = conn.connection.driver_connection
    assert driver is not None
    (rows,) = driver.execute(_ROWS_READ).fetchone()
    return int(rows)
