"""The tables. Times are UTC microseconds, money is nano-USD, ids are ours; floors are CHECK constraints.

A change here needs a migration; a test compares the two.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of the rows for which a condition holds."""
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


accounts = Table(
    "accounts",
    metadata,
    Column("id", String, primary_key=True),
    Column("email", String, nullable=False, unique=True),
    Column("password_hash", String),
    Column("suspended_at_us", BigInteger),
    Column("stripe_customer_id", String, unique=True),
    Column("disputed_at_us", BigInteger),
    Column("created_at_us", BigInteger, nullable=False),
    Column("is_admin", Boolean, nullable=False, server_default=false()),
    Index("ix_accounts_created_at_us", "created_at_us", "id"),
    # PostgreSQL finds the beginning of a text only in an index that is made for it.
    Index("ix_accounts_email_beginning", "email", postgresql_ops={"email": "text_pattern_ops"}),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("created_at_us", BigInteger, nullable=False),
    Column("last_seen_at_us", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger, nullable=False, index=True),
    Column("address", String, nullable=False),
    Column("user_agent", String, nullable=False),
)

mail_links = Table(
    "mail_links",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("purpose", String, nullable=False),
    Column("email", String, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger, nullable=False, index=True),
    CheckConstraint("purpose IN ('sign_up', 'reset')", name="purpose"),
    Index("ix_mail_links_email_created_at_us", "email", "created_at_us"),
)

management_keys = Table(
    "management_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, ForeignKey("accounts.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("prefix", String, nullable=False),
    Column("scopes", String, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger),
    Column("last_used_at_us", BigInteger),
    Column("deleted_at_us", BigInteger),
    # Of the keys that a list shows: of deleted ones there may be many more.
    _partial_index("ix_management_keys_live", "account_id", "created_at_us", "id", where="deleted_at_us IS NULL"),
    _partial_index("ix_management_keys_deleted_at_us", "deleted_at_us", where="deleted_at_us IS NOT NULL"),
)

checkouts = Table(
    "checkouts",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, ForeignKey("accounts.id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("plan_slug", String),
    Column("amount_nano", BigInteger, nullable=False),
    Column("stripe_session_id", String, unique=True),
    Column("stripe_payment_method_id", String),
    Column("stripe_payment_intent_id", String, unique=True),
    Column("subscription_id", String),
    Column("failure", String),
    Column("status", String, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    CheckConstraint(
        "kind IN ('subscription', 'top_up', 'direct_top_up', 'auto_top_up', 'plan_change')",
        name="kind",
    ),
    CheckConstraint("status IN ('pending', 'paid', 'expired', 'failed', 'review')", name="status"),
    Index("ix_checkouts_account_id_status_created_at_us", "account_id", "status", "created_at_us"),
    _partial_index("ix_checkouts_auto_top_ups", "account_id", "created_at_us", where="kind = 'auto_top_up'"),
    # Never two automatic charges of an account at once, whatever the processes do.
    _partial_index(
        "uq_checkouts_one_auto_top_up", "account_id", where="kind = 'auto_top_up' AND status = 'pending'", unique=True
    ),
)

auto_topups = Table(
    "auto_topups",
    metadata,
    Column("account_id", String, ForeignKey("accounts.id"), primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("threshold_nano", BigInteger, nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
    Column("monthly_limit_nano", BigInteger, nullable=False),
    Column("failure", String),
    Column("failed_at_us", BigInteger),
    Column("updated_at_us", BigInteger, nullable=False),
)

auto_topup_notices = Table(
    "auto_topup_notices",
    metadata,
    Column("account_id", String, ForeignKey("accounts.id"), primary_key=True),
    Column("failed_at_us", BigInteger, primary_key=True, autoincrement=False),
    Column("noted_at_us", BigInteger, nullable=False),
)

payments = Table(
    "payments",
    metadata,
    Column("stripe_payment_intent_id", String, primary_key=True),
    Column("account_id", String, ForeignKey("accounts.id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("reference", String, nullable=False, unique=True),
    Column("paid_nano", BigInteger, nullable=False),
    Column("credited_nano", BigInteger, nullable=False),
    Column("tax_included_nano", BigInteger, nullable=False, server_default="0"),
    Column("checkout_id", String),
    Column("subscription_id", String),
    Column("stripe_invoice_id", String, unique=True),
    Column("created_at_us", BigInteger, nullable=False),
    CheckConstraint("kind IN ('top_up', 'subscription')", name="kind"),
    Index("ix_payments_account_id_created_at_us", "account_id", "created_at_us"),
)

reversals = Table(
    "reversals",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("stripe_payment_intent_id", String, nullable=False, index=True),
    Column("account_id", String, ForeignKey("accounts.id"), nullable=False),
    Column("taken_nano", BigInteger, nullable=False),
    Column("moves", Integer, nullable=False),
    Column("pauses", Boolean, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    CheckConstraint("kind IN ('refund', 'dispute')", name="kind"),
    CheckConstraint("taken_nano >= 0", name="taken_floor"),
    Index("ix_reversals_account_id_kind", "account_id", "kind"),
)

balance_transactions = Table(
    "balance_transactions",
    metadata,
    Column("id", String, primary_key=True),
    Column("type", String, nullable=False),
    Column("source_id", String),
    Column("stripe_payment_intent_id", String),
    Column("amount_nano", BigInteger, nullable=False),
    Column("fee_nano", BigInteger, nullable=False),
    Column("created_at_us", BigInteger, nullable=False, index=True),
)

cursors = Table(
    "cursors",
    metadata,
    Column("name", String, primary_key=True),
    Column("position_us", BigInteger, nullable=False),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("plan_slug", String, nullable=False),
    Column("price_nano", BigInteger, nullable=False),
    Column("pending_plan_slug", String),
    Column("pending_price_nano", BigInteger),
    Column("plan_changes_at_us", BigInteger, index=True),
    Column("credited_until_us", BigInteger),
    Column("stripe_subscription_id", String, nullable=False, unique=True),
    Column("checkout_id", String, ForeignKey("checkouts.id"), unique=True),
    Column("status", String, nullable=False),
    Column("paid_until_us", BigInteger),
    Column("cancel_at_us", BigInteger),
    Column("ended_at_us", BigInteger),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)

subscription_periods = Table(
    "subscription_periods",
    metadata,
    Column("stripe_invoice_id", String, primary_key=True),
    Column("subscription_id", String, ForeignKey("subscriptions.id"), nullable=False, index=True),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
    Column("refunded_nano", BigInteger, nullable=False, default=0),
    Column("granted_at_us", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("account_id", String, ForeignKey("accounts.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("prefix", String, nullable=False),
    Column("subscription_id", String, ForeignKey("subscriptions.id")),
    Column("max_budget_nano", BigInteger),
    Column("rpm", Integer),
    Column("tpm", Integer),
    Column("created_at_us", BigInteger, nullable=False),
    Column("last_used_at_us", BigInteger),
    Column("deleted_at_us", BigInteger),
    CheckConstraint("max_budget_nano > 0", name="max_budget"),
    _partial_index("ix_api_keys_live", "account_id", "created_at_us", "id", where="deleted_at_us IS NULL"),
    _partial_index(
        "ix_api_keys_live_of_subscription", "subscription_id", "created_at_us", "id", where="deleted_at_us IS NULL"
    ),
    _partial_index("ix_api_keys_deleted_at_us", "deleted_at_us", where="deleted_at_us IS NOT NULL"),
)

key_counts = Table(
    "key_counts",
    metadata,
    Column("owner_id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("live", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    CheckConstraint("kind IN ('api_key', 'management_key')", name="kind"),
    sqlite_with_rowid=False,
)

ledger_accounts = Table(
    "ledger_accounts",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("balance_nano", BigInteger, nullable=False),
    CheckConstraint("kind <> 'credit' OR balance_nano >= 0", name="credit_floor"),
    CheckConstraint("kind <> 'debt' OR balance_nano <= 0", name="debt_ceiling"),
    _partial_index("ix_ledger_accounts_debts", "balance_nano", where="kind = 'debt'"),
)

ledger_transfers = Table(
    "ledger_transfers",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("reference", String, nullable=False, unique=True),
    Column("note", Text, nullable=False),
    Column("corrects", String, ForeignKey("ledger_transfers.id")),
    Column("created_at_us", BigInteger, nullable=False),
    Index("ix_ledger_transfers_kind_created_at_us", "kind", "created_at_us"),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("transfer_id", String, ForeignKey("ledger_transfers.id"), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("account_id", String, ForeignKey("ledger_accounts.id"), nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
    Index("ix_ledger_entries_account_id", "account_id", "transfer_id"),
)

# Tables of sums are their own index on SQLite (`sqlite_with_rowid`): rows are found by the whole key, and change often.
statement_lines = Table(
    "statement_lines",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("at_us", BigInteger, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("amount_nano", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

credit_months = Table(
    "credit_months",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("month_us", BigInteger, primary_key=True),
    Column("amount_nano", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

usage_events = Table(
    "usage_events",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("pool", String, nullable=False),
    Column("subscription_id", String, nullable=False),
    Column("window_start_us", BigInteger, nullable=False),
    Column("model", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("upstream", String, nullable=False),
    Column("finished_at_us", BigInteger, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("cache_write_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("input_price", BigInteger, nullable=False),
    Column("cached_price", BigInteger, nullable=False),
    Column("cache_write_price", BigInteger, nullable=False),
    Column("output_price", BigInteger, nullable=False),
    Column("per_request_nano", BigInteger, nullable=False),
    Column("charged_nano", BigInteger, nullable=False),
    Column("uncollected_nano", BigInteger, nullable=False),
    Column("upstream_cost_nano", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("transfer_id", String, nullable=False),
    Index("ix_usage_events_account_id_finished_at_us", "account_id", "finished_at_us"),
    Index("ix_usage_events_transfer_id", "transfer_id"),
)

spend_limits = Table(
    "spend_limits",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("highest_nano", BigInteger, nullable=False),
)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("hour_us", BigInteger, primary_key=True),
    Column("key_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("charged_nano", BigInteger, nullable=False),
    Column("uncollected_nano", BigInteger, nullable=False),
    Column("upstream_cost_nano", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("dimension", String, primary_key=True),
    Column("day_us", BigInteger, primary_key=True),
    Column("name", String, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("charged_nano", BigInteger, nullable=False),
    Column("uncollected_nano", BigInteger, nullable=False),
    Column("upstream_cost_nano", BigInteger, nullable=False),
    CheckConstraint("dimension IN ('all', 'key', 'model', 'subscription')", name="dimension"),
    sqlite_with_rowid=False,
)

sales_days = Table(
    "sales_days",
    metadata,
    Column("dimension", String, primary_key=True),
    Column("day_us", BigInteger, primary_key=True),
    Column("name", String, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("charged_nano", BigInteger, nullable=False),
    Column("uncollected_nano", BigInteger, nullable=False),
    Column("upstream_cost_nano", BigInteger, nullable=False),
    CheckConstraint("dimension IN ('all', 'model', 'plan', 'subscription_payments')", name="dimension"),
    sqlite_with_rowid=False,
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("external_id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at_us", BigInteger, nullable=False),
    Column("error", Text),
    Column("received_at_us", BigInteger, nullable=False),
    Column("handled_at_us", BigInteger),
    CheckConstraint("status IN ('due', 'handled', 'parked')", name="status"),
    UniqueConstraint("source", "external_id"),
    Index("ix_inbox_status_due_at_us", "status", "due_at_us"),
    Index("ix_inbox_status_received_at_us", "status", "received_at_us", "id"),
)

idempotency_records = Table(
    "idempotency_records",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("route", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("body_sha256", LargeBinary(32), nullable=False),
    Column("status_code", Integer),
    Column("response", Text),
    Column("created_at_us", BigInteger, nullable=False, index=True),
    Column("leased_at_us", BigInteger),
    Index("ix_idempotency_records_account_id_created_at_us", "account_id", "created_at_us"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", String, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("account_id", String),
    Column("detail", Text, nullable=False),
    Column("address", String),
    Index("ix_audit_log_at_us", "at_us"),
    Index("ix_audit_log_account_id_at_us", "account_id", "at_us"),
    Index("ix_audit_log_action_at_us", "action", "at_us"),
)

changes = Table(
    "changes",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("topic", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("delta_nano", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False, index=True),
    Column("id", String),
)

change_counter = Table(
    "change_counter",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
)

gateway_processes = Table(
    "gateway_processes",
    metadata,
    Column("epoch", String, primary_key=True),
    Column("directory_id", String, nullable=False),
    Column("directory", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String, nullable=False),
    Column("catalog_hash", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("state", String, nullable=False),
    Column("started_at_us", BigInteger, nullable=False),
    Column("closed_how", String),
    Column("closed_at_us", BigInteger),
    Column("beat", BigInteger, nullable=False),
    Column("beat_at_us", BigInteger, nullable=False),
    CheckConstraint("mode IN ('whole', 'leased', 'none')", name="mode"),
    CheckConstraint("state IN ('live', 'draining', 'closed')", name="state"),
    # A data directory has one lock, so of its runs one at most is open.
    _partial_index("uq_gateway_processes_open_directory_id", "directory_id", where="state <> 'closed'", unique=True),
)

retention = Table(
    "retention",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("usage_pruned_until_us", BigInteger, nullable=False),
)

deposit_addresses = Table(
    "deposit_addresses",
    metadata,
    Column("address", String, primary_key=True),
    Column("account_id", String, ForeignKey("accounts.id"), nullable=False),
    Column("key_fingerprint", String, nullable=False),
    Column("child_index", Integer, nullable=False),
    Column("announced_nano", BigInteger),
    Column("announced_at_us", BigInteger, nullable=False, index=True),
    Column("created_at_us", BigInteger, nullable=False),
    UniqueConstraint("account_id", "key_fingerprint"),
    UniqueConstraint("key_fingerprint", "child_index"),
)

deposits = Table(
    "deposits",
    metadata,
    Column("chain_id", BigInteger, primary_key=True),
    Column("tx_hash", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("address", String, ForeignKey("deposit_addresses.address"), nullable=False, index=True),
    Column("account_id", String, ForeignKey("accounts.id"), nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
    Column("announced_nano", BigInteger),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", String, nullable=False),
    Column("status", String, nullable=False),
    Column("times_credited", Integer, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    CheckConstraint("status IN ('credited', 'final', 'reversed')", name="status"),
    CheckConstraint("amount_nano > 0", name="amount"),
    Index("ix_deposits_status_block_number", "status", "block_number"),
    Index("ix_deposits_account_id_created_at_us", "account_id", "created_at_us"),
)

deposit_hints = Table(
    "deposit_hints",
    metadata,
    Column("account_id", String, ForeignKey("accounts.id"), primary_key=True),
    Column("tx_hash", String, primary_key=True, index=True),
    Column("first_asked_at_us", BigInteger, nullable=False, index=True),
)

chain_cursors = Table(
    "chain_cursors",
    metadata,
    Column("chain_id", BigInteger, primary_key=True),
    Column("token", String, primary_key=True),
    Column("pass", String, primary_key=True),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", String, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)

upstream_ceilings = Table(
    "upstream_ceilings",
    metadata,
    Column("upstream", String, primary_key=True),
    Column("base_url", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("wire_format", String, primary_key=True),
    Column("field", String, primary_key=True),
    Column("obeyed_at_us", BigInteger),
    Column("exceeded_at_us", BigInteger),
    Column("sent_tokens", BigInteger, nullable=False),
    Column("reported_tokens", BigInteger, nullable=False),
)
