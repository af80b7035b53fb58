"""Projections, so that no page sums up what an account ever did; and indexes in the order in which lists are shown."""

# ruff: noqa: S608, the texts are ours

import sqlalchemy as sa
from alembic import op

from tokenbooth.store.dialect import month_sql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LIVE = sa.text("deleted_at_us IS NULL")
_DAY = "86400000000"
_SUMS = "SUM(d.requests), SUM(d.charged_nano), SUM(d.uncollected_nano), SUM(d.upstream_cost_nano)"


def upgrade() -> None:
    """Create the tables, fill them from the ledger, the daily sums and the keys, and change the indexes."""
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_sums()
    _create_tables()
    _fill_statements()
    _fill_sales()
    _fill_key_counts()
    _change_indexes()


_SUM_COLUMNS = (
    "requests",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "charged_nano",
    "uncollected_nano",
    "upstream_cost_nano",
)


def _rebuild_sums() -> None:
    """Make the tables of sums their own index: each had two trees, and each charge changes both."""
    for name, columns, constraints in (
        (
            "usage_hours",
            (("account_id", sa.String), ("hour_us", sa.BigInteger), ("key_id", sa.String), ("model", sa.String)),
            (),
        ),
        (
            "usage_days",
            (("account_id", sa.String), ("dimension", sa.String), ("day_us", sa.BigInteger), ("name", sa.String)),
            (
                sa.CheckConstraint(
                    "dimension IN ('all', 'key', 'model', 'subscription')", name=op.f("ck_usage_days_dimension")
                ),
            ),
        ),
    ):
        key = [column for column, _ in columns]
        op.rename_table(name, f"{name}_before")
        op.create_table(
            name,
            *(sa.Column(column, kind(), nullable=False) for column, kind in columns),
            *(sa.Column(column, sa.BigInteger(), nullable=False) for column in _SUM_COLUMNS),
            *constraints,
            sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")),
            sqlite_with_rowid=False,
        )
        all_columns = ", ".join((*key, *_SUM_COLUMNS))
        in_order = ", ".join(key)
        op.execute(f"INSERT INTO {name} ({all_columns}) SELECT {all_columns} FROM {name}_before ORDER BY {in_order}")
        op.drop_table(f"{name}_before")


def _create_tables() -> None:
    op.create_table(
        "statement_lines",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "at_us", "subject", "kind", name=op.f("pk_statement_lines")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "credit_months",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("month_us", sa.BigInteger(), nullable=False),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "kind", "month_us", name=op.f("pk_credit_months")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sales_days",
        sa.Column("dimension", sa.String(), nullable=False),
        sa.Column("day_us", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("charged_nano", sa.BigInteger(), nullable=False),
        sa.Column("uncollected_nano", sa.BigInteger(), nullable=False),
        sa.Column("upstream_cost_nano", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "dimension IN ('all', 'model', 'plan', 'subscription_payments')", name=op.f("ck_sales_days_dimension")
        ),
        sa.PrimaryKeyConstraint("dimension", "day_us", "name", name=op.f("pk_sales_days")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_counts",
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("live", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('api_key', 'management_key')", name=op.f("ck_key_counts_kind")),
        sa.PrimaryKeyConstraint("owner_id", "kind", name=op.f("pk_key_counts")),
        sqlite_with_rowid=False,
    )


def _fill_statements() -> None:
    op.execute(
        "INSERT INTO statement_lines (account_id, at_us, subject, kind, amount_nano) "
        "SELECT m.owner, m.at_us, m.subject, m.kind, SUM(m.amount_nano) FROM ("
        "SELECT substr(a.id, length(a.kind) + 2) AS owner, t.created_at_us AS at_us, t.id AS subject, t.kind AS kind, "
        "e.amount_nano AS amount_nano "
        "FROM ledger_transfers t JOIN ledger_entries e ON e.transfer_id = t.id "
        "JOIN ledger_accounts a ON a.id = e.account_id "
        "WHERE t.kind <> 'usage' AND a.kind IN ('credit', 'debt')) m "
        "GROUP BY m.owner, m.at_us, m.subject, m.kind"
    )
    op.execute(
        "INSERT INTO statement_lines (account_id, at_us, subject, kind, amount_nano) "
        "SELECT u.owner, u.day_us, u.key_id, 'usage', -SUM(u.spent_nano) FROM ("
        "SELECT substr(c.account_id, 8) AS owner, "
        f"t.created_at_us - t.created_at_us % {_DAY} AS day_us, "
        "substr(k.account_id, 11) AS key_id, k.amount_nano AS spent_nano "
        "FROM ledger_transfers t "
        "JOIN ledger_entries c ON c.transfer_id = t.id AND substr(c.account_id, 1, 7) = 'credit:' "
        "JOIN ledger_entries k ON k.transfer_id = t.id AND substr(k.account_id, 1, 10) = 'key_spend:' "
        "WHERE t.kind = 'usage') u "
        "GROUP BY u.owner, u.day_us, u.key_id"
    )
    month = month_sql(op.get_bind().dialect.name, "at_us")
    op.execute(
        "INSERT INTO credit_months (account_id, kind, month_us, amount_nano) "
        "SELECT l.account_id, l.kind, l.month_us, SUM(l.amount_nano) FROM ("
        f"SELECT account_id, kind, {month} AS month_us, amount_nano FROM statement_lines) l "
        "GROUP BY l.account_id, l.kind, l.month_us"
    )


def _fill_sales() -> None:
    target = (
        "INSERT INTO sales_days "
        "(dimension, day_us, name, requests, charged_nano, uncollected_nano, upstream_cost_nano) "
    )
    op.execute(
        f"{target}SELECT d.dimension, d.day_us, d.name, {_SUMS} FROM usage_days d "
        "WHERE d.dimension IN ('all', 'model') GROUP BY d.dimension, d.day_us, d.name"
    )
    op.execute(
        f"{target}SELECT 'plan', d.day_us, COALESCE(s.plan_slug, d.name), {_SUMS} FROM usage_days d "
        "LEFT JOIN subscriptions s ON s.id = d.name "
        "WHERE d.dimension = 'subscription' GROUP BY d.day_us, COALESCE(s.plan_slug, d.name)"
    )
    op.execute(
        f"{target}SELECT 'subscription_payments', p.day_us, '', COUNT(*), SUM(p.amount_nano), 0, 0 FROM ("
        f"SELECT granted_at_us - granted_at_us % {_DAY} AS day_us, amount_nano FROM subscription_periods) p "
        "GROUP BY p.day_us"
    )


def _fill_key_counts() -> None:
    for table, owner, kind in (
        ("api_keys", "account_id", "api_key"),
        ("api_keys", "subscription_id", "api_key"),
        ("management_keys", "account_id", "management_key"),
    ):
        op.execute(
            "INSERT INTO key_counts (owner_id, kind, live, created) "
            f"SELECT {owner}, '{kind}', COUNT(*) FILTER (WHERE deleted_at_us IS NULL), COUNT(*) "
            f"FROM {table} WHERE {owner} IS NOT NULL GROUP BY {owner}"
        )


def _change_indexes() -> None:
    for table, owner, name in (
        ("management_keys", "account_id", "ix_management_keys_live"),
        ("api_keys", "account_id", "ix_api_keys_live"),
        ("api_keys", "subscription_id", "ix_api_keys_live_of_subscription"),
    ):
        op.drop_index(f"ix_{table}_{owner}", table)
        op.create_index(
            name, table, [owner, "created_at_us", "id"], unique=False, sqlite_where=_LIVE, postgresql_where=_LIVE
        )
    deleted = sa.text("deleted_at_us IS NOT NULL")
    for table in ("management_keys", "api_keys"):
        op.create_index(
            f"ix_{table}_deleted_at_us",
            table,
            ["deleted_at_us"],
            unique=False,
            sqlite_where=deleted,
            postgresql_where=deleted,
        )
    for table in ("payments", "deposits"):
        op.drop_index(f"ix_{table}_account_id", table)
        op.create_index(f"ix_{table}_account_id_created_at_us", table, ["account_id", "created_at_us"], unique=False)
    op.drop_index("ix_checkouts_account_id_status", "checkouts")
    op.create_index(
        "ix_checkouts_account_id_status_created_at_us",
        "checkouts",
        ["account_id", "status", "created_at_us"],
        unique=False,
    )
    op.create_index("ix_inbox_status_received_at_us", "inbox", ["status", "received_at_us", "id"], unique=False)
    automatic = sa.text("kind = 'auto_top_up'")
    op.create_index(
        "ix_checkouts_auto_top_ups",
        "checkouts",
        ["account_id", "created_at_us"],
        unique=False,
        sqlite_where=automatic,
        postgresql_where=automatic,
    )
    debts = sa.text("kind = 'debt'")
    op.create_index(
        "ix_ledger_accounts_debts",
        "ledger_accounts",
        ["balance_nano"],
        unique=False,
        sqlite_where=debts,
        postgresql_where=debts,
    )
    op.create_index("ix_accounts_created_at_us", "accounts", ["created_at_us", "id"], unique=False)
    op.create_index(
        "ix_accounts_email_beginning",
        "accounts",
        ["email"],
        unique=False,
        postgresql_ops={"email": "text_pattern_ops"},
    )
