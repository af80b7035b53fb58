"""The initial schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table, and the change sequence's counter at zero."""
    _create_accounts()
    _create_audit_log()
    _create_change_counter()
    _create_changes()
    _create_idempotency_records()
    _create_inbox()
    _create_ledger_accounts()
    _create_ledger_transfers()
    _create_retention()
    _create_usage_events()
    _create_usage_hours()
    _create_usage_days()
    _create_checkouts()
    _create_ledger_entries()
    _create_management_keys()
    _create_subscriptions()
    _create_api_keys()
    _create_subscription_periods()
    _create_sessions()
    _create_mail_links()
    _create_deposit_addresses()
    _create_deposits()
    _create_deposit_hints()
    _create_chain_cursors()
    _create_auto_topups()
    _create_payments()
    _create_reversals()
    _create_balance_transactions()
    _create_cursors()
    counter = sa.table("change_counter", sa.column("id", sa.Integer), sa.column("seq", sa.BigInteger))
    op.bulk_insert(counter, [{"id": 1, "seq": 0}])


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("suspended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("stripe_customer_id", sa.String(), nullable=True),
        sa.Column("disputed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("is_admin", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("email", name=op.f("uq_accounts_email")),
        sa.UniqueConstraint("stripe_customer_id", name=op.f("uq_accounts_stripe_customer_id")),
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_at_us", "audit_log", ["at_us"], unique=False)
    op.create_index("ix_audit_log_account_id_at_us", "audit_log", ["account_id", "at_us"], unique=False)
    op.create_index("ix_audit_log_action_at_us", "audit_log", ["action", "at_us"], unique=False)


def _create_change_counter() -> None:
    op.create_table(
        "change_counter",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_counter")),
    )


def _create_changes() -> None:
    op.create_table(
        "changes",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("delta_nano", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_changes")),
    )
    op.create_index(op.f("ix_changes_at_us"), "changes", ["at_us"], unique=False)


def _create_idempotency_records() -> None:
    op.create_table(
        "idempotency_records",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("leased_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "route", "key", name=op.f("pk_idempotency_records")),
    )
    op.create_index(
        op.f("ix_idempotency_records_created_at_us"), "idempotency_records", ["created_at_us"], unique=False
    )


def _create_inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at_us", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False),
        sa.Column("handled_at_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("status IN ('due', 'handled', 'parked')", name=op.f("ck_inbox_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_inbox_source_external_id")),
    )
    op.create_index("ix_inbox_status_due_at_us", "inbox", ["status", "due_at_us"], unique=False)


def _create_ledger_accounts() -> None:
    op.create_table(
        "ledger_accounts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("balance_nano", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind <> 'credit' OR balance_nano >= 0", name=op.f("ck_ledger_accounts_credit_floor")),
        sa.CheckConstraint("kind <> 'debt' OR balance_nano <= 0", name=op.f("ck_ledger_accounts_debt_ceiling")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_accounts")),
    )


def _create_ledger_transfers() -> None:
    op.create_table(
        "ledger_transfers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("corrects", sa.String(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["corrects"], ["ledger_transfers.id"], name=op.f("fk_ledger_transfers_corrects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_transfers")),
        sa.UniqueConstraint("reference", name=op.f("uq_ledger_transfers_reference")),
    )
    op.create_index(
        "ix_ledger_transfers_kind_created_at_us", "ledger_transfers", ["kind", "created_at_us"], unique=False
    )


def _create_retention() -> None:
    op.create_table(
        "retention",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("usage_pruned_until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention")),
    )


def _create_usage_events() -> None:
    op.create_table(
        "usage_events",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("window_start_us", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("finished_at_us", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("cache_write_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("reasoning_tokens", sa.Integer(), nullable=False),
        sa.Column("input_price", sa.BigInteger(), nullable=False),
        sa.Column("cached_price", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_price", sa.BigInteger(), nullable=False),
        sa.Column("output_price", sa.BigInteger(), nullable=False),
        sa.Column("per_request_nano", sa.BigInteger(), nullable=False),
        sa.Column("charged_nano", sa.BigInteger(), nullable=False),
        sa.Column("uncollected_nano", sa.BigInteger(), nullable=False),
        sa.Column("upstream_cost_nano", sa.BigInteger(), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("transfer_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_usage_events")),
    )
    op.create_index(
        "ix_usage_events_account_id_finished_at_us", "usage_events", ["account_id", "finished_at_us"], unique=False
    )
    op.create_index("ix_usage_events_transfer_id", "usage_events", ["transfer_id"], unique=False)


def _create_usage_hours() -> None:
    op.create_table(
        "usage_hours",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("hour_us", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("charged_nano", sa.BigInteger(), nullable=False),
        sa.Column("uncollected_nano", sa.BigInteger(), nullable=False),
        sa.Column("upstream_cost_nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "hour_us", "key_id", "model", name=op.f("pk_usage_hours")),
    )


def _create_checkouts() -> None:
    op.create_table(
        "checkouts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("plan_slug", sa.String(), nullable=True),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.Column("stripe_session_id", sa.String(), nullable=True),
        sa.Column("stripe_payment_method_id", sa.String(), nullable=True),
        sa.Column("stripe_payment_intent_id", sa.String(), nullable=True),
        sa.Column("subscription_id", sa.String(), nullable=True),
        sa.Column("failure", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('subscription', 'top_up', 'direct_top_up', 'auto_top_up', 'plan_change')",
            name=op.f("ck_checkouts_kind"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'paid', 'expired', 'failed', 'review')", name=op.f("ck_checkouts_status")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_checkouts_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkouts")),
        sa.UniqueConstraint("stripe_session_id", name=op.f("uq_checkouts_stripe_session_id")),
        sa.UniqueConstraint("stripe_payment_intent_id", name=op.f("uq_checkouts_stripe_payment_intent_id")),
    )
    op.create_index("ix_checkouts_account_id_status", "checkouts", ["account_id", "status"], unique=False)
    one_at_a_time = sa.text("kind = 'auto_top_up' AND status = 'pending'")
    op.create_index(
        "uq_checkouts_one_auto_top_up",
        "checkouts",
        ["account_id"],
        unique=True,
        sqlite_where=one_at_a_time,
        postgresql_where=one_at_a_time,
    )


def _create_ledger_entries() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("transfer_id", sa.String(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["ledger_accounts.id"], name=op.f("fk_ledger_entries_account_id")),
        sa.ForeignKeyConstraint(["transfer_id"], ["ledger_transfers.id"], name=op.f("fk_ledger_entries_transfer_id")),
        sa.PrimaryKeyConstraint("transfer_id", "line", name=op.f("pk_ledger_entries")),
    )
    op.create_index("ix_ledger_entries_account_id", "ledger_entries", ["account_id", "transfer_id"], unique=False)


def _create_management_keys() -> None:
    op.create_table(
        "management_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at_us", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_management_keys_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_management_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_management_keys_digest")),
    )
    op.create_index(op.f("ix_management_keys_account_id"), "management_keys", ["account_id"], unique=False)


def _create_subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("plan_slug", sa.String(), nullable=False),
        sa.Column("price_nano", sa.BigInteger(), nullable=False),
        sa.Column("stripe_subscription_id", sa.String(), nullable=False),
        sa.Column("checkout_id", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("paid_until_us", sa.BigInteger(), nullable=True),
        sa.Column("cancel_at_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_subscriptions_account_id")),
        sa.ForeignKeyConstraint(["checkout_id"], ["checkouts.id"], name=op.f("fk_subscriptions_checkout_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
        sa.UniqueConstraint("checkout_id", name=op.f("uq_subscriptions_checkout_id")),
        sa.UniqueConstraint("stripe_subscription_id", name=op.f("uq_subscriptions_stripe_subscription_id")),
    )
    op.create_index(op.f("ix_subscriptions_account_id"), "subscriptions", ["account_id"], unique=False)


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("subscription_id", sa.String(), nullable=True),
        sa.Column("max_budget_nano", sa.BigInteger(), nullable=True),
        sa.Column("rpm", sa.Integer(), nullable=True),
        sa.Column("tpm", sa.Integer(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at_us", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("max_budget_nano > 0", name=op.f("ck_api_keys_max_budget")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_api_keys_account_id")),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscriptions.id"], name=op.f("fk_api_keys_subscription_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_index(op.f("ix_api_keys_account_id"), "api_keys", ["account_id"], unique=False)
    op.create_index(op.f("ix_api_keys_subscription_id"), "api_keys", ["subscription_id"], unique=False)


def _create_subscription_periods() -> None:
    op.create_table(
        "subscription_periods",
        sa.Column("stripe_invoice_id", sa.String(), nullable=False),
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.Column("refunded_nano", sa.BigInteger(), nullable=False),
        sa.Column("granted_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_subscription_periods_subscription_id")
        ),
        sa.PrimaryKeyConstraint("stripe_invoice_id", name=op.f("pk_subscription_periods")),
    )
    op.create_index(
        op.f("ix_subscription_periods_subscription_id"), "subscription_periods", ["subscription_id"], unique=False
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("user_agent", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_sessions_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("digest", name=op.f("uq_sessions_digest")),
    )
    op.create_index(op.f("ix_sessions_account_id"), "sessions", ["account_id"], unique=False)
    op.create_index(op.f("ix_sessions_expires_at_us"), "sessions", ["expires_at_us"], unique=False)


def _create_mail_links() -> None:
    op.create_table(
        "mail_links",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("purpose IN ('sign_up', 'reset')", name=op.f("ck_mail_links_purpose")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_mail_links")),
    )
    op.create_index(op.f("ix_mail_links_expires_at_us"), "mail_links", ["expires_at_us"], unique=False)
    op.create_index("ix_mail_links_email_created_at_us", "mail_links", ["email", "created_at_us"], unique=False)


def _create_usage_days() -> None:
    op.create_table(
        "usage_days",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("dimension", sa.String(), nullable=False),
        sa.Column("day_us", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("charged_nano", sa.BigInteger(), nullable=False),
        sa.Column("uncollected_nano", sa.BigInteger(), nullable=False),
        sa.Column("upstream_cost_nano", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "dimension IN ('all', 'key', 'model', 'subscription')", name=op.f("ck_usage_days_dimension")
        ),
        sa.PrimaryKeyConstraint("account_id", "dimension", "day_us", "name", name=op.f("pk_usage_days")),
    )


def _create_deposit_addresses() -> None:
    op.create_table(
        "deposit_addresses",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("key_fingerprint", sa.String(), nullable=False),
        sa.Column("child_index", sa.Integer(), nullable=False),
        sa.Column("announced_nano", sa.BigInteger(), nullable=True),
        sa.Column("announced_at_us", sa.BigInteger(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_deposit_addresses_account_id")),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_deposit_addresses")),
        sa.UniqueConstraint(
            "account_id", "key_fingerprint", name=op.f("uq_deposit_addresses_account_id_key_fingerprint")
        ),
        sa.UniqueConstraint(
            "key_fingerprint", "child_index", name=op.f("uq_deposit_addresses_key_fingerprint_child_index")
        ),
    )
    op.create_index(
        op.f("ix_deposit_addresses_announced_at_us"), "deposit_addresses", ["announced_at_us"], unique=False
    )


def _create_deposits() -> None:
    op.create_table(
        "deposits",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.Column("announced_nano", sa.BigInteger(), nullable=True),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("times_credited", sa.Integer(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('credited', 'final', 'reversed')", name=op.f("ck_deposits_status")),
        sa.CheckConstraint("amount_nano > 0", name=op.f("ck_deposits_amount")),
        sa.ForeignKeyConstraint(["address"], ["deposit_addresses.address"], name=op.f("fk_deposits_address")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_deposits_account_id")),
        sa.PrimaryKeyConstraint("chain_id", "tx_hash", "position", name=op.f("pk_deposits")),
    )
    op.create_index(op.f("ix_deposits_account_id"), "deposits", ["account_id"], unique=False)
    op.create_index(op.f("ix_deposits_address"), "deposits", ["address"], unique=False)
    op.create_index("ix_deposits_status_block_number", "deposits", ["status", "block_number"], unique=False)


def _create_deposit_hints() -> None:
    op.create_table(
        "deposit_hints",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("tx_hash", sa.String(), nullable=False),
        sa.Column("first_asked_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_deposit_hints_account_id")),
        sa.PrimaryKeyConstraint("account_id", "tx_hash", name=op.f("pk_deposit_hints")),
    )
    op.create_index(op.f("ix_deposit_hints_tx_hash"), "deposit_hints", ["tx_hash"], unique=False)
    op.create_index(op.f("ix_deposit_hints_first_asked_at_us"), "deposit_hints", ["first_asked_at_us"], unique=False)


def _create_chain_cursors() -> None:
    op.create_table(
        "chain_cursors",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("pass", sa.String(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.String(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "token", "pass", name=op.f("pk_chain_cursors")),
    )


def _create_auto_topups() -> None:
    op.create_table(
        "auto_topups",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("threshold_nano", sa.BigInteger(), nullable=False),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.Column("monthly_limit_nano", sa.BigInteger(), nullable=False),
        sa.Column("failure", sa.String(), nullable=True),
        sa.Column("failed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_auto_topups_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_auto_topups")),
    )


def _create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("stripe_payment_intent_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("paid_nano", sa.BigInteger(), nullable=False),
        sa.Column("credited_nano", sa.BigInteger(), nullable=False),
        sa.Column("checkout_id", sa.String(), nullable=True),
        sa.Column("subscription_id", sa.String(), nullable=True),
        sa.Column("stripe_invoice_id", sa.String(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('top_up', 'subscription')", name=op.f("ck_payments_kind")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_payments_account_id")),
        sa.PrimaryKeyConstraint("stripe_payment_intent_id", name=op.f("pk_payments")),
        sa.UniqueConstraint("reference", name=op.f("uq_payments_reference")),
        sa.UniqueConstraint("stripe_invoice_id", name=op.f("uq_payments_stripe_invoice_id")),
    )
    op.create_index(op.f("ix_payments_account_id"), "payments", ["account_id"], unique=False)


def _create_reversals() -> None:
    op.create_table(
        "reversals",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("stripe_payment_intent_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("taken_nano", sa.BigInteger(), nullable=False),
        sa.Column("moves", sa.Integer(), nullable=False),
        sa.Column("pauses", sa.Boolean(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('refund', 'dispute')", name=op.f("ck_reversals_kind")),
        sa.CheckConstraint("taken_nano >= 0", name=op.f("ck_reversals_taken_floor")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_reversals_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reversals")),
    )
    op.create_index("ix_reversals_account_id_kind", "reversals", ["account_id", "kind"], unique=False)
    op.create_index(
        op.f("ix_reversals_stripe_payment_intent_id"), "reversals", ["stripe_payment_intent_id"], unique=False
    )


def _create_balance_transactions() -> None:
    op.create_table(
        "balance_transactions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=True),
        sa.Column("stripe_payment_intent_id", sa.String(), nullable=True),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.Column("fee_nano", sa.BigInteger(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_balance_transactions")),
    )
    op.create_index(
        op.f("ix_balance_transactions_created_at_us"), "balance_transactions", ["created_at_us"], unique=False
    )


def _create_cursors() -> None:
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("position_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
