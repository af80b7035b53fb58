"""An index for counting an account's idempotency records, and hosts of email addresses in ASCII."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ACCOUNTS = sa.table("accounts", sa.column("id", sa.String), sa.column("email", sa.String))


def upgrade() -> None:
    """Add the index; write hosts in other letters as they are written from now on, where that is possible."""
    op.create_index(
        "ix_idempotency_records_account_id_created_at_us", "idempotency_records", ["account_id", "created_at_us"]
    )
    conn = op.get_bind()
    emails = {row.email: row.id for row in conn.execute(sa.select(_ACCOUNTS.c.id, _ACCOUNTS.c.email))}
    for email, account_id in emails.items():
        wanted = _with_ascii_host(email)
        if wanted is not None and wanted not in emails:
            conn.execute(_ACCOUNTS.update().where(_ACCOUNTS.c.id == account_id).values(email=wanted))


def _with_ascii_host(email: str) -> str | None:
    """The address with its host in ASCII; None where that is no change, or another host."""
    local, _, host = email.rpartition("@")
    if host.isascii():
        return None
    try:
        encoded = host.encode("idna")
        return f"{local}@{encoded.decode('ascii')}" if encoded.decode("idna") == host else None
    except UnicodeError:
        return None
