"""The processes that take model calls, the highest limit of each window and cap, and an id for each change."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; the caps of today's keys are known, limits of earlier windows are not."""
    op.create_table(
        "gateway_processes",
        sa.Column("epoch", sa.String(), nullable=False),
        sa.Column("directory_id", sa.String(), nullable=False),
        sa.Column("directory", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("catalog_hash", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=False),
        sa.Column("closed_how", sa.String(), nullable=True),
        sa.Column("closed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("beat_at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("mode IN ('whole', 'leased', 'none')", name=op.f("ck_gateway_processes_mode")),
        sa.CheckConstraint("state IN ('live', 'draining', 'closed')", name=op.f("ck_gateway_processes_state")),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_gateway_processes")),
    )
    op.create_index(
        "uq_gateway_processes_open_directory_id",
        "gateway_processes",
        ["directory_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'closed'"),
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.create_table(
        "spend_limits",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("highest_nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_spend_limits")),
    )
    op.execute(
        "INSERT INTO spend_limits (account_id, highest_nano) "
        "SELECT 'key_spend:' || id, max_budget_nano FROM api_keys WHERE max_budget_nano IS NOT NULL"
    )
    op.add_column("changes", sa.Column("id", sa.String(), nullable=True))
