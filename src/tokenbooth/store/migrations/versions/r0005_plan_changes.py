"""The plan that a subscription changes to, and the tax inside a payment's credit."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nothing is pending, and no tax was inside anything, before."""
    for column in (
        sa.Column("pending_plan_slug", sa.String(), nullable=True),
        sa.Column("pending_price_nano", sa.BigInteger(), nullable=True),
        sa.Column("plan_changes_at_us", sa.BigInteger(), nullable=True),
        sa.Column("no_upgrade_until_us", sa.BigInteger(), nullable=True),
    ):
        op.add_column("subscriptions", column)
    op.create_index("ix_subscriptions_plan_changes_at_us", "subscriptions", ["plan_changes_at_us"])
    op.add_column("payments", sa.Column("tax_included_nano", sa.BigInteger(), server_default="0", nullable=False))
