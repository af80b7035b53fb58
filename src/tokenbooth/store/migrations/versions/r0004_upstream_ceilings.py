"""How upstreams kept the output ceilings that they were sent."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty: no upstream has shown yet that it keeps a ceiling."""
    op.create_table(
        "upstream_ceilings",
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("base_url", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("wire_format", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("obeyed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("exceeded_at_us", sa.BigInteger(), nullable=True),
        sa.Column("sent_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reported_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "upstream", "base_url", "model", "wire_format", "field", name=op.f("pk_upstream_ceilings")
        ),
    )
