"""The one statement that is spelled per database: an insert that gives way to a row that is there."""

from collections.abc import Mapping

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_unless_there(conn: Connection, table: Table, values: Mapping[str, object]) -> bool:
    """Insert a row. False when a unique constraint already has one like it; then nothing changes.

    On PostgreSQL a row of a transaction that ran meanwhile makes this one be repeated, so False is always
    true.
    """
    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(dict(values)).on_conflict_do_nothing()
    # Without the option an insert on PostgreSQL says -1.
    return conn.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1
