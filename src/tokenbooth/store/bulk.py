"""Statements that every batch of charges runs: written in Core once, kept as text, given to the driver with tuples.

Core's part of a small batch (building a statement, its cache key, a checked dictionary for each row) costs several
times what the database itself does. Only what every batch runs goes this way.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, TypeVarTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Connection,
    Dialect,
    Insert,
    Row,
    Select,
    String,
    Table,
    any_,
    bindparam,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.sql.elements import ClauseElement, ColumnElement

Columns = TypeVarTuple("Columns")

# With placeholders that are filled by position.
_DIALECTS: Final[dict[str, Dialect]] = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": psycopg.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]  # the library's
}


class Bulk:
    """A statement that is run once for each row of values, in one call of the driver."""

    def __init__(self, make: Callable[[str], ClauseElement]) -> None:
        """`make`: writes the statement for the dialect of this name ("sqlite" or "postgresql")."""
        self._make = make
        self._texts: dict[str, str] = {}

    def run(self, conn: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Run it for every row, of which there is at least one.

        Args:
            conn: the transaction.
            rows: the values, in the order in which the statement names them.
        """
        conn.exec_driver_sql(self.text(conn), [*rows])

    def text(self, conn: Connection) -> str:
        """The statement as this database's driver takes it."""
        name = conn.dialect.name
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = str(self._make(name).compile(dialect=_DIALECTS[name]))
        return text


def adding(table: Table) -> Bulk:
    """Insert sums, or add them to those that are there. What is no part of the key is a sum."""
    return Bulk(partial(_adding, table))


def _adding(table: Table, dialect: str) -> Insert:
    upsert = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table)
    return upsert.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={column.name: column + upsert.excluded[column.name] for column in table.c if not column.primary_key},
    )


class Lookup(Generic[*Columns]):
    """Rows whose key is one of many, by one statement with one value whatever their number."""

    def __init__(self, query: Select[*Columns], key: Column[str]) -> None:
        """`query`: what to select, without a condition. `key`: the column to find rows by."""
        self._bulk = Bulk(lambda dialect: query.where(_is_one_of(key, dialect)))

    def find(self, conn: Connection, keys: Sequence[str]) -> Sequence[Row[*Columns]]:
        """The rows with these keys, in no particular order."""
        wanted: object = json.dumps(keys) if conn.dialect.name == "sqlite" else keys
        return conn.exec_driver_sql(self._bulk.text(conn), (wanted,)).all()


def is_one_of(conn: Connection, column: Column[int], values: Sequence[int]) -> ColumnElement[bool]:
    """Whether a column has one of these numbers, thousands maybe: they are one value of the statement."""
    if conn.dialect.name == "sqlite":
        return column.in_(select(func.json_each(json.dumps([*values])).table_valued("value").c.value))
    return column == any_(literal([*values], ARRAY(BigInteger)))


def _is_one_of(key: Column[str], dialect: str) -> ColumnElement[bool]:
    """A condition whose text does not change with the number of values, so that it is prepared once."""
    if dialect == "sqlite":
        values = func.json_each(bindparam("values", type_=String)).table_valued("value")
        return key.in_(select(values.c.value))
    return key == any_(bindparam("values", type_=ARRAY(String)))
