"""What is spelled per database: an insert that gives way to a row that is there, and the month of an instant."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Table, literal_column
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement

_SQLITE_MONTH: Final = "CAST(strftime('%s', {0} / 1000000, 'unixepoch', 'start of month') AS INTEGER) * 1000000"
_POSTGRESQL_MONTH: Final = (
    "CAST(EXTRACT(EPOCH FROM date_trunc('month', to_timestamp({0} / 1000000), 'UTC')) AS BIGINT) * 1000000"
)


def month_sql(dialect: str, column: str) -> str:
    """The first microsecond (UTC) of the month of a column of UTC microseconds, as `domain.windows.month_start_us`."""
    return (_SQLITE_MONTH if dialect == "sqlite" else _POSTGRESQL_MONTH).format(column)


def month_of(conn: Connection, column: Column[int]) -> ColumnElement[int]:
    """`month_sql` of a table's column, as an expression."""
    return literal_column(month_sql(conn.dialect.name, f"{column.table.name}.{column.name}"), BigInteger())


def insert_unless_there(conn: Connection, table: Table, values: Mapping[str, object]) -> bool:
    """Insert a row. False when a unique constraint already has one like it; then nothing changes.

    On PostgreSQL a row of a transaction that ran meanwhile makes this one be repeated, so False is always
    true.
    """
    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(dict(values)).on_conflict_do_nothing()
    # Without the option an insert on PostgreSQL says -1.
    return conn.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1
