"""How upstreams kept the output ceilings that they were sent, so that it is known after a restart too.

A row belongs to an upstream, its address, a model there, a wire format and the ceiling's field: where one of these is
configured anew, nothing is known. The gateway writes it; `doctor` reads it.
"""

from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, select, update

from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.tables import upstream_ceilings as table


class CeilingKey(NamedTuple):
    """Whose ceiling, and under which name it was sent."""

    upstream: str
    base_url: str
    model: str
    wire_format: str
    field: str


class CeilingRow(NamedTuple):
    """What was seen.

    Attributes:
        key: whose.
        obeyed_at_us: when an answer stopped at a ceiling of ours; None: never, or not since one went beyond it.
        exceeded_at_us: when an answer went beyond its ceiling last; None: never.
        sent_tokens, reported_tokens: of that answer, per choice; 0 when there was none.
    """

    key: CeilingKey
    obeyed_at_us: int | None
    exceeded_at_us: int | None
    sent_tokens: int
    reported_tokens: int


def load_ceilings(conn: Connection) -> list[CeilingRow]:
    """Everything that was seen."""
    return [
        CeilingRow(
            CeilingKey(row.upstream, row.base_url, row.model, row.wire_format, row.field),
            row.obeyed_at_us,
            row.exceeded_at_us,
            row.sent_tokens,
            row.reported_tokens,
        )
        for row in conn.execute(select(table))
    ]


def save_ceilings(conn: Connection, rows: list[CeilingRow]) -> None:
    """Keep what is known now in place of what was known before."""
    for row in rows:
        values = {
            "obeyed_at_us": row.obeyed_at_us,
            "exceeded_at_us": row.exceeded_at_us,
            "sent_tokens": row.sent_tokens,
            "reported_tokens": row.reported_tokens,
        }
        if not insert_unless_there(conn, table, {**row.key._asdict(), **values}):
            conn.execute(update(table).where(_is(row.key)).values(**values))


def note_obeyed(conn: Connection, key: CeilingKey, *, now_us: int) -> None:
    """Keep that a ceiling was seen obeyed; that one was exceeded before stays known."""
    fresh = {"obeyed_at_us": now_us, "exceeded_at_us": None, "sent_tokens": 0, "reported_tokens": 0}
    if not insert_unless_there(conn, table, {**key._asdict(), **fresh}):
        conn.execute(update(table).where(_is(key)).values(obeyed_at_us=now_us))


def _is(key: CeilingKey) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in key._asdict().items()))
