"""Which owners were told that their automatic top-ups are off."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; a failure that is on record already is told once more than never."""
    op.create_table(
        "auto_topup_notices",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("failed_at_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("noted_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_auto_topup_notices_account_id")),
        sa.PrimaryKeyConstraint("account_id", "failed_at_us", name=op.f("pk_auto_topup_notices")),
    )
