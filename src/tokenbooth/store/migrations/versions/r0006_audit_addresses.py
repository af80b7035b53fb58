"""From which address something was done."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of what was done before, nobody knows."""
    op.add_column("audit_log", sa.Column("address", sa.String(), nullable=True))
