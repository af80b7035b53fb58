SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.accounts (
    id character varying NOT NULL,
    email character varying NOT NULL,
    password_hash character varying,
    suspended_at_us bigint,
    stripe_customer_id character varying,
    disputed_at_us bigint,
    created_at_us bigint NOT NULL,
    is_admin boolean DEFAULT false NOT NULL
);
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.api_keys (
    id character varying NOT NULL,
    account_id character varying NOT NULL,
    name character varying NOT NULL,
    digest bytea NOT NULL,
    prefix character varying NOT NULL,
    subscription_id character varying,
    max_budget_nano bigint,
    rpm integer,
    tpm integer,
    created_at_us bigint NOT NULL,
    last_used_at_us bigint,
    deleted_at_us bigint,
    CONSTRAINT ck_api_keys_max_budget CHECK ((max_budget_nano > 0))
);
CREATE TABLE public.audit_log (
    id character varying NOT NULL,
    at_us bigint NOT NULL,
    actor character varying NOT NULL,
    action character varying NOT NULL,
    account_id character varying,
    detail text NOT NULL
);
CREATE TABLE public.auto_topup_notices (
    account_id character varying NOT NULL,
    failed_at_us bigint NOT NULL,
    noted_at_us bigint NOT NULL
);
CREATE TABLE public.auto_topups (
    account_id character varying NOT NULL,
    enabled boolean NOT NULL,
    threshold_nano bigint NOT NULL,
    amount_nano bigint NOT NULL,
    monthly_limit_nano bigint NOT NULL,
    failure character varying,
    failed_at_us bigint,
    updated_at_us bigint NOT NULL
);
CREATE TABLE public.balance_transactions (
    id character varying NOT NULL,
    type character varying NOT NULL,
    source_id character varying,
    stripe_payment_intent_id character varying,
    amount_nano bigint NOT NULL,
    fee_nano bigint NOT NULL,
    created_at_us bigint NOT NULL
);
CREATE TABLE public.chain_cursors (
    chain_id bigint NOT NULL,
    token character varying NOT NULL,
    pass character varying NOT NULL,
    block_number bigint NOT NULL,
    block_hash character varying NOT NULL,
    updated_at_us bigint NOT NULL
);
CREATE TABLE public.change_counter (
    id integer NOT NULL,
    seq bigint NOT NULL
);
CREATE TABLE public.changes (
    seq bigint NOT NULL,
    topic character varying NOT NULL,
    subject character varying NOT NULL,
    delta_nano bigint NOT NULL,
    at_us bigint NOT NULL
);
CREATE TABLE public.checkouts (
    id character varying NOT NULL,
    account_id character varying NOT NULL,
    kind character varying NOT NULL,
    plan_slug character varying,
    amount_nano bigint NOT NULL,
    stripe_session_id character varying,
    stripe_payment_method_id character varying,
    stripe_payment_intent_id character varying,
    subscription_id character varying,
    failure character varying,
    status character varying NOT NULL,
    created_at_us bigint NOT NULL,
    updated_at_us bigint NOT NULL,
    CONSTRAINT ck_checkouts_kind CHECK (((kind)::text = ANY ((ARRAY['subscription'::character varying, 'top_up'::character varying, 'direct_top_up'::character varying, 'auto_top_up'::character varying, 'plan_change'::character varying])::text[]))),
    CONSTRAINT ck_checkouts_status CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'paid'::character varying, 'expired'::character varying, 'failed'::character varying, 'review'::character varying])::text[])))
);
CREATE TABLE public.cursors (
    name character varying NOT NULL,
    position_us bigint NOT NULL
);
CREATE TABLE public.deposit_addresses (
    address character varying NOT NULL,
    account_id character varying NOT NULL,
    key_fingerprint character varying NOT NULL,
    child_index integer NOT NULL,
    announced_nano bigint,
    announced_at_us bigint NOT NULL,
    created_at_us bigint NOT NULL
);
CREATE TABLE public.deposit_hints (
    account_id character varying NOT NULL,
    tx_hash character varying NOT NULL,
    first_asked_at_us bigint NOT NULL
);
CREATE TABLE public.deposits (
    chain_id bigint NOT NULL,
    tx_hash character varying NOT NULL,
    "position" integer NOT NULL,
    address character varying NOT NULL,
    account_id character varying NOT NULL,
    amount_nano bigint NOT NULL,
    announced_nano bigint,
    block_number bigint NOT NULL,
    block_hash character varying NOT NULL,
    status character varying NOT NULL,
    times_credited integer NOT NULL,
    created_at_us bigint NOT NULL,
    updated_at_us bigint NOT NULL,
    CONSTRAINT ck_deposits_amount CHECK ((amount_nano > 0)),
    CONSTRAINT ck_deposits_status CHECK (((status)::text = ANY ((ARRAY['credited'::character varying, 'final'::character varying, 'reversed'::character varying])::text[])))
);
CREATE TABLE public.idempotency_records (
    account_id character varying NOT NULL,
    route character varying NOT NULL,
    key character varying NOT NULL,
    body_sha256 bytea NOT NULL,
    status_code integer,
    response text,
    created_at_us bigint NOT NULL,
    leased_at_us bigint
);
CREATE TABLE public.inbox (
    id character varying NOT NULL,
    source character varying NOT NULL,
    external_id character varying NOT NULL,
    type character varying NOT NULL,
    payload bytea NOT NULL,
    status character varying NOT NULL,
    attempts integer NOT NULL,
    due_at_us bigint NOT NULL,
    error text,
    received_at_us bigint NOT NULL,
    handled_at_us bigint,
    CONSTRAINT ck_inbox_status CHECK (((status)::text = ANY ((ARRAY['due'::character varying, 'handled'::character varying, 'parked'::character varying])::text[])))
);
CREATE TABLE public.ledger_accounts (
    id character varying NOT NULL,
    kind character varying NOT NULL,
    balance_nano bigint NOT NULL,
    CONSTRAINT ck_ledger_accounts_credit_floor CHECK ((((kind)::text <> 'credit'::text) OR (balance_nano >= 0))),
    CONSTRAINT ck_ledger_accounts_debt_ceiling CHECK ((((kind)::text <> 'debt'::text) OR (balance_nano <= 0)))
);
CREATE TABLE public.ledger_entries (
    transfer_id character varying NOT NULL,
    line integer NOT NULL,
    account_id character varying NOT NULL,
    amount_nano bigint NOT NULL
);
CREATE TABLE public.ledger_transfers (
    id character varying NOT NULL,
    kind character varying NOT NULL,
    reference character varying NOT NULL,
    note text NOT NULL,
    corrects character varying,
    created_at_us bigint NOT NULL
);
CREATE TABLE public.mail_links (
    digest bytea NOT NULL,
    purpose character varying NOT NULL,
    email character varying NOT NULL,
    created_at_us bigint NOT NULL,
    expires_at_us bigint NOT NULL,
    CONSTRAINT ck_mail_links_purpose CHECK (((purpose)::text = ANY ((ARRAY['sign_up'::character varying, 'reset'::character varying])::text[])))
);
CREATE TABLE public.management_keys (
    id character varying NOT NULL,
    account_id character varying NOT NULL,
    name character varying NOT NULL,
    digest bytea NOT NULL,
    prefix character varying NOT NULL,
    scopes character varying NOT NULL,
    created_at_us bigint NOT NULL,
    expires_at_us bigint,
    last_used_at_us bigint,
    deleted_at_us bigint
);
CREATE TABLE public.payments (
    stripe_payment_intent_id character varying NOT NULL,
    account_id character varying NOT NULL,
    kind character varying NOT NULL,
    reference character varying NOT NULL,
    paid_nano bigint NOT NULL,
    credited_nano bigint NOT NULL,
    checkout_id character varying,
    subscription_id character varying,
    stripe_invoice_id character varying,
    created_at_us bigint NOT NULL,
    CONSTRAINT ck_payments_kind CHECK (((kind)::text = ANY ((ARRAY['top_up'::character varying, 'subscription'::character varying])::text[])))
);
CREATE TABLE public.retention (
    id integer NOT NULL,
    usage_pruned_until_us bigint NOT NULL
);
CREATE TABLE public.reversals (
    id character varying NOT NULL,
    kind character varying NOT NULL,
    stripe_payment_intent_id character varying NOT NULL,
    account_id character varying NOT NULL,
    taken_nano bigint NOT NULL,
    moves integer NOT NULL,
    pauses boolean NOT NULL,
    created_at_us bigint NOT NULL,
    updated_at_us bigint NOT NULL,
    CONSTRAINT ck_reversals_kind CHECK (((kind)::text = ANY ((ARRAY['refund'::character varying, 'dispute'::character varying])::text[]))),
    CONSTRAINT ck_reversals_taken_floor CHECK ((taken_nano >= 0))
);
CREATE TABLE public.sessions (
    id character varying NOT NULL,
    account_id character varying NOT NULL,
    digest bytea NOT NULL,
    created_at_us bigint NOT NULL,
    last_seen_at_us bigint NOT NULL,
    expires_at_us bigint NOT NULL,
    address character varying NOT NULL,
    user_agent character varying NOT NULL
);
CREATE TABLE public.subscription_periods (
    stripe_invoice_id character varying NOT NULL,
    subscription_id character varying NOT NULL,
    start_us bigint NOT NULL,
    end_us bigint NOT NULL,
    amount_nano bigint NOT NULL,
    refunded_nano bigint NOT NULL,
    granted_at_us bigint NOT NULL
);
CREATE TABLE public.subscriptions (
    id character varying NOT NULL,
    account_id character varying NOT NULL,
    plan_slug character varying NOT NULL,
    price_nano bigint NOT NULL,
    stripe_subscription_id character varying NOT NULL,
    checkout_id character varying,
    status character varying NOT NULL,
    paid_until_us bigint,
    cancel_at_us bigint,
    ended_at_us bigint,
    created_at_us bigint NOT NULL,
    updated_at_us bigint NOT NULL
);
CREATE TABLE public.usage_days (
    account_id character varying NOT NULL,
    dimension character varying NOT NULL,
    day_us bigint NOT NULL,
    name character varying NOT NULL,
    requests bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    charged_nano bigint NOT NULL,
    uncollected_nano bigint NOT NULL,
    upstream_cost_nano bigint NOT NULL,
    CONSTRAINT ck_usage_days_dimension CHECK (((dimension)::text = ANY ((ARRAY['all'::character varying, 'key'::character varying, 'model'::character varying, 'subscription'::character varying])::text[])))
);
CREATE TABLE public.usage_events (
    request_id character varying NOT NULL,
    account_id character varying NOT NULL,
    key_id character varying NOT NULL,
    pool character varying NOT NULL,
    subscription_id character varying NOT NULL,
    window_start_us bigint NOT NULL,
    model character varying NOT NULL,
    endpoint character varying NOT NULL,
    upstream character varying NOT NULL,
    finished_at_us bigint NOT NULL,
    prompt_tokens integer NOT NULL,
    cached_tokens integer NOT NULL,
    cache_write_tokens integer NOT NULL,
    completion_tokens integer NOT NULL,
    reasoning_tokens integer NOT NULL,
    input_price bigint NOT NULL,
    cached_price bigint NOT NULL,
    cache_write_price bigint NOT NULL,
    output_price bigint NOT NULL,
    per_request_nano bigint NOT NULL,
    charged_nano bigint NOT NULL,
    uncollected_nano bigint NOT NULL,
    upstream_cost_nano bigint NOT NULL,
    estimated boolean NOT NULL,
    transfer_id character varying NOT NULL
);
CREATE TABLE public.usage_hours (
    account_id character varying NOT NULL,
    hour_us bigint NOT NULL,
    key_id character varying NOT NULL,
    model character varying NOT NULL,
    requests bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    charged_nano bigint NOT NULL,
    uncollected_nano bigint NOT NULL,
    upstream_cost_nano bigint NOT NULL
);
INSERT INTO public.accounts VALUES
	('acct_06615ffa94f3dd5b09867cdd6d', 'demo@tokenbooth.invalid', '$argon2id$v=19$m=65536,t=3,p=4$q0xcvrLIjMGryPtAsKSHHQ$cv62o40qEK326pVCvULD2SP4zfVx58omrYSPtynPMOY', NULL, NULL, NULL, 1795914714117085, false),
	('acct_06615ffa9f23d2c00a9e48e22e', 'ada@example.com', '$argon2id$v=19$m=65536,t=3,p=4$TVXcOLgcQZuhltZktMZfJg$ChewZ4+XNr5tcJE88bodDvRW27UlfXiHcRlYQZL2D6w', NULL, 'cus_CDZ9DULBy1cIm0zvsqDj8Zmz', NULL, 1795914714784722, false),
	('acct_06615ffaaa0968bb3cfa800a33', 'bob@example.com', '$argon2id$v=19$m=65536,t=3,p=4$Dj0Avhx4nbDSAsZeMfV37g$sPirW6+wIN7/sH6uyTkbAb3rRYutCWfAWZWqoKZV19o', NULL, 'cus_t73TG3BamGnQtNaN0tJflc8p', NULL, 1795914715498856, false),
	('acct_06615ffac0ecb8aaef2881ec48', 'dan@example.com', '$argon2id$v=19$m=65536,t=3,p=4$RmmRs09cUwE63K0ndyWMpw$UdaVZDXdNAiSv3GraU8+IgW8p92vOL0GKe5QJjTkdlU', NULL, 'cus_UShSjqTVwjSSNbpV7ftDq941', 1795914722168317, 1795914716998840, false),
	('acct_06615ffab4a8068b3d898d6a07', 'carol@example.com', '$argon2id$v=19$m=65536,t=3,p=4$BUcwYlDSmQHX/pY99pz8Iw$4iThpB+KUAOG5yEEtTUL0ed+/5VSxiLzqA95CUkCTwM', NULL, 'cus_ydNeZKSqELmwiBIWZUJCJ8Or', NULL, 1795914716194822, true);
INSERT INTO public.alembic_version VALUES
	('0002');
INSERT INTO public.api_keys VALUES
	('key_06615fface710810045e161aac', 'acct_06615ffa9f23d2c00a9e48e22e', 'prod', '\x4a599a9eac6c59398c6dd5a596781255b68479efad5ee1e0314bc23fd3c82719', 'sk_live_SUKi', 'sub_06615ffacae6acbfe81c7db7af', NULL, NULL, NULL, 1795914717884680, 1795914718039809, NULL),
	('key_06615ffacf29469fe766ada3a2', 'acct_06615ffa9f23d2c00a9e48e22e', 'staging', '\x7d31e21db88df8e55bdeac96be54d9f00fb188f420815625f22b6c57f8c34d18', 'sk_live_DkEH', 'sub_06615ffacae6acbfe81c7db7af', NULL, NULL, NULL, 1795914717931846, 1795914718066582, NULL),
	('key_06615ffaf61a302fa13acc1777', 'acct_06615ffaaa0968bb3cfa800a33', 'bob', '\x11b0cc121e8c16fcddd6d6f0e09775f8faab98be36a68732ef746625901f6366', 'sk_live_ZpoI', NULL, NULL, NULL, NULL, 1795914720483888, 1795914720598659, NULL),
	('key_06615ffaf69aeda59e501fbf93', 'acct_06615ffaaa0968bb3cfa800a33', 'capped', '\x2d665a04ed9d671115d737c39f12c1b9a26266b3bcac166f375affaf4c8bc8fc', 'sk_live_kilb', NULL, 50000000, 500, 500000, 1795914720516845, 1795914720654224, NULL),
	('key_06615ffaf708e58cd4ec59474f', 'acct_06615ffaaa0968bb3cfa800a33', 'deleted', '\xcd105ec73568f3360adee2c780521a562b3e37849d16b2bcda43cfe139b8a6bc', 'sk_live_MxRV', NULL, NULL, NULL, NULL, 1795914720544997, 1795914720701733, 1795914720726240);
INSERT INTO public.audit_log VALUES
	('aud_06615ffa94f3dd10a514cf258a', 1795914714117085, 'operator', 'management_key.created', 'acct_06615ffa94f3dd5b09867cdd6d', 'mkey_06615ffa94f3dd9f42d03df65a'),
	('aud_06615ffa9f23d2e41ff063bf37', 1795914714784722, 'operator', 'management_key.created', 'acct_06615ffa9f23d2c00a9e48e22e', 'mkey_06615ffa9f23d2f6632715e91a'),
	('aud_06615ffaaa09684b71e24ecae1', 1795914715498856, 'operator', 'management_key.created', 'acct_06615ffaaa0968bb3cfa800a33', 'mkey_06615ffaaa096873d3cc4ea3d2'),
	('aud_06615ffab4a80615d6a88bc528', 1795914716194822, 'operator', 'management_key.created', 'acct_06615ffab4a8068b3d898d6a07', 'mkey_06615ffab4a806dce3aa5def8b'),
	('aud_06615ffab4a8066673a2660037', 1795914716194822, 'operator', 'account.made_admin', 'acct_06615ffab4a8068b3d898d6a07', 'acct_06615ffab4a8068b3d898d6a07'),
	('aud_06615ffac0ecb89f51d6fa2fac', 1795914716998840, 'operator', 'management_key.created', 'acct_06615ffac0ecb8aaef2881ec48', 'mkey_06615ffac0ecb8f1c2cd11eab4'),
	('aud_06615fface710815c05279dd3b', 1795914717884680, 'mkey_06615ffa9f23d2f6632715e91a', 'api_key.created', 'acct_06615ffa9f23d2c00a9e48e22e', 'key_06615fface710810045e161aac'),
	('aud_06615ffacf29465db25fedd1a1', 1795914717931846, 'mkey_06615ffa9f23d2f6632715e91a', 'api_key.created', 'acct_06615ffa9f23d2c00a9e48e22e', 'key_06615ffacf29469fe766ada3a2'),
	('aud_06615ffae4f7b460e5eebbbe2f', 1795914719360948, 'operator', 'payment.refunding', 'acct_06615ffaaa0968bb3cfa800a33', 'pi_g0nvipSSQ8q6rRVkDkjUoGCJ: sold too much'),
	('aud_06615ffaf360ef4f13b268e5a0', 1795914720305391, 'operator', 'credit.grant', 'acct_06615ffaaa0968bb3cfa800a33', '0.123456789 USD: welcome (operator:grant:welcome-bob)'),
	('aud_06615ffaf61a30eb4220490161', 1795914720483888, 'mkey_06615ffaaa096873d3cc4ea3d2', 'api_key.created', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf61a302fa13acc1777'),
	('aud_06615ffaf69aedaf8d33d9f825', 1795914720516845, 'mkey_06615ffaaa096873d3cc4ea3d2', 'api_key.created', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf69aeda59e501fbf93'),
	('aud_06615ffaf708e5855f2d46701e', 1795914720544997, 'mkey_06615ffaaa096873d3cc4ea3d2', 'api_key.created', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf708e58cd4ec59474f'),
	('aud_06615ffaf9cce0d90d3f93bd98', 1795914720726240, 'mkey_06615ffaaa096873d3cc4ea3d2', 'api_key.deleted', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf708e58cd4ec59474f'),
	('aud_06615ffafa67211d11fa0143d0', 1795914720765729, 'mkey_06615ffaaa096873d3cc4ea3d2', 'management_key.created', 'acct_06615ffaaa0968bb3cfa800a33', 'mkey_06615ffafa6721b420e7b409da'),
	('aud_06615ffafad9c614974654059b', 1795914720795078, 'mkey_06615ffaaa096873d3cc4ea3d2', 'management_key.created', 'acct_06615ffaaa0968bb3cfa800a33', 'mkey_06615ffafad9c608f5aafe1e64'),
	('aud_06615ffafbae8c38ff5a6b47de', 1795914720849548, 'mkey_06615ffaaa096873d3cc4ea3d2', 'management_key.deleted', 'acct_06615ffaaa0968bb3cfa800a33', 'mkey_06615ffafa6721b420e7b409da'),
	('aud_06615ffb02944e0e7218eb90a3', 1795914721301582, 'operator', 'credit.grant', 'acct_06615ffab4a8068b3d898d6a07', '10.00 USD: by mistake (operator:grant:tr_06615ffb02944e01755f189df4)'),
	('aud_06615ffb0b52159edc45dca455', 1795914721874453, 'operator', 'credit.adjustment', 'acct_06615ffab4a8068b3d898d6a07', '-15.00 USD: taken back (operator:adjustment:tr_06615ffb0b52151525fa84767e)'),
	('aud_06615ffb0fcdfdb5c705ab5045', 1795914722168317, 'stripe', 'account.keys_paused', 'acct_06615ffac0ecb8aaef2881ec48', 'dispute'),
	('aud_06615ffb1bd76666f2534e5e15', 1795914722957158, 'operator', 'audit.ran', NULL, 'clean (16 ledger accounts, 12 transfers)');
INSERT INTO public.auto_topups VALUES
	('acct_06615ffaaa0968bb3cfa800a33', true, 1000000000, 10000000000, 50000000000, NULL, NULL, 1795914720452600);
INSERT INTO public.chain_cursors VALUES
	(8453, '0x833589fcd6edb6e08f4c7c32d4f71b54bda02913', 'all', 0, '0x265b985384566a80629aae6953c5d55912fe5bdefbdff401701e86ac94507944', 1795914714197899),
	(8453, '0x833589fcd6edb6e08f4c7c32d4f71b54bda02913', 'recent', 5, '0x618f60d3147654c08c7a8e7eefe4b1bcc42ea6ac0601f4a0b01339ff636abdb4', 1795914722340222);
INSERT INTO public.change_counter VALUES
	(1, 28);
INSERT INTO public.changes VALUES
	(1, 'management_key', 'mkey_06615ffa94f3dd9f42d03df65a', 0, 1795914714117085),
	(2, 'management_key', 'mkey_06615ffa9f23d2f6632715e91a', 0, 1795914714784722),
	(3, 'management_key', 'mkey_06615ffaaa096873d3cc4ea3d2', 0, 1795914715498856),
	(4, 'management_key', 'mkey_06615ffab4a806dce3aa5def8b', 0, 1795914716194822),
	(5, 'management_key', 'mkey_06615ffac0ecb8f1c2cd11eab4', 0, 1795914716998840),
	(6, 'subscription', 'sub_06615ffac7716e609a4b7549dd', 0, 1795914717426030),
	(7, 'subscription', 'sub_06615ffac7716e609a4b7549dd', 0, 1795914717507202),
	(8, 'subscription', 'sub_06615ffacae6acbfe81c7db7af', 0, 1795914717652652),
	(9, 'subscription', 'sub_06615ffacae6acbfe81c7db7af', 0, 1795914717718971),
	(10, 'subscription', 'sub_06615ffac7716e609a4b7549dd', 0, 1795914717839825),
	(11, 'api_key_created', 'key_06615fface710810045e161aac', 0, 1795914717884680),
	(12, 'api_key_created', 'key_06615ffacf29469fe766ada3a2', 0, 1795914717931846),
	(13, 'credit', 'acct_06615ffaaa0968bb3cfa800a33', 50000000000, 1795914718171179),
	(14, 'credit', 'acct_06615ffaaa0968bb3cfa800a33', -12500000000, 1795914719402511),
	(15, 'credit', 'acct_06615ffaaa0968bb3cfa800a33', 50000000000, 1795914719799035),
	(16, 'credit', 'acct_06615ffaaa0968bb3cfa800a33', 123456789, 1795914720305391),
	(17, 'api_key_created', 'key_06615ffaf61a302fa13acc1777', 0, 1795914720483888),
	(18, 'api_key_created', 'key_06615ffaf69aeda59e501fbf93', 0, 1795914720516845),
	(19, 'api_key_created', 'key_06615ffaf708e58cd4ec59474f', 0, 1795914720544997),
	(20, 'api_key', 'key_06615ffaf708e58cd4ec59474f', 0, 1795914720726240),
	(21, 'management_key', 'mkey_06615ffafa6721b420e7b409da', 0, 1795914720765729),
	(22, 'management_key', 'mkey_06615ffafad9c608f5aafe1e64', 0, 1795914720795078),
	(23, 'management_key', 'mkey_06615ffafa6721b420e7b409da', 0, 1795914720849548),
	(24, 'credit', 'acct_06615ffab4a8068b3d898d6a07', 10000000000, 1795914721301582),
	(25, 'credit', 'acct_06615ffab4a8068b3d898d6a07', -10000000000, 1795914721874453),
	(26, 'credit', 'acct_06615ffac0ecb8aaef2881ec48', 30000000000, 1795914722083430),
	(27, 'credit', 'acct_06615ffac0ecb8aaef2881ec48', -30000000000, 1795914722168317),
	(28, 'account', 'acct_06615ffac0ecb8aaef2881ec48', 0, 1795914722168317);
INSERT INTO public.checkouts VALUES
	('chk_06615ffac59043829274c7015d', 'acct_06615ffa9f23d2c00a9e48e22e', 'subscription', 'standard', 20000000000, 'cs_test_a17yoNemeDLHZxC213mBMOkMIO', NULL, NULL, NULL, NULL, 'paid', 1795914717303213, 1795914717507202),
	('chk_06615ffaca11b327d4ff06fc2a', 'acct_06615ffa9f23d2c00a9e48e22e', 'subscription', 'pro', 60000000000, 'cs_test_a1qXE9zSCg8S0Y1SQsP2IoCuj3', NULL, NULL, NULL, NULL, 'paid', 1795914717598439, 1795914717718971),
	('chk_06615ffad3cf99dc3b1fb06349', 'acct_06615ffaaa0968bb3cfa800a33', 'top_up', NULL, 20000000000, 'cs_test_a1ZC1elTPHGScaaptOwJ7hKnao', NULL, NULL, NULL, NULL, 'pending', 1795914718242728, 1795914718255693),
	('chk_06615ffad1982e85b1a3596f78', 'acct_06615ffaaa0968bb3cfa800a33', 'top_up', NULL, 50000000000, 'cs_test_a1qgoCPDPdp9z6ZXmjdXgihShq', NULL, 'pi_g0nvipSSQ8q6rRVkDkjUoGCJ', NULL, NULL, 'paid', 1795914718091623, 1795914718171179),
	('chk_06615ffb0d5d077a5c54d9206c', 'acct_06615ffac0ecb8aaef2881ec48', 'top_up', NULL, 30000000000, 'cs_test_a1dgRzqmstzL0l7caZuYuams0S', NULL, 'pi_JpgUnTlI3ipFPyWH4U0UMTAN', NULL, NULL, 'paid', 1795914722009007, 1795914722083430),
	('chk_06615ffb110582eb2f18c77505', 'acct_06615ffab4a8068b3d898d6a07', 'subscription', 'standard', 20000000000, 'cs_test_a1yTtSOhDWeL3U6dBhldLswwlB', NULL, NULL, NULL, NULL, 'pending', 1795914722248629, 1795914722261508);
INSERT INTO public.deposit_addresses VALUES
	('0x5110efcaa8b3da5f35901e5a1050d46f221fda9c', 'acct_06615ffaaa0968bb3cfa800a33', 'a03bb82ccf27b957', 0, NULL, 1795914719701873, 1795914719701873);
INSERT INTO public.deposits VALUES
	(8453, '0x757a74f6e7451807dd413b10fd135868cfda5aea8c755314726329a550933c38', 0, '0x5110efcaa8b3da5f35901e5a1050d46f221fda9c', 'acct_06615ffaaa0968bb3cfa800a33', 50000000000, 50000000000, 4, '0x3e202b387d6495db6904bba7547f5e36af97e507860ed08025ca2ff8fa5178b9', 'credited', 1, 1795914719799035, 1795914719799035);
INSERT INTO public.idempotency_records VALUES
	('acct_06615ffaaa0968bb3cfa800a33', 'POST /api/billing/topup', 'fixture-1', '\x6d32a95b59cac7ae3389fc883911c4fa731f037d741fa8289df8f1da0bbb74ba', 200, '{"success":true,"sessionUrl":"http://127.0.0.1:60689/_sandbox/stripe/c/pay/cs_test_a1ZC1elTPHGScaaptOwJ7hKnao","sessionId":"cs_test_a1ZC1elTPHGScaaptOwJ7hKnao","data":{"sessionUrl":"http://127.0.0.1:60689/_sandbox/stripe/c/pay/cs_test_a1ZC1elTPHGScaaptOwJ7hKnao","sessionId":"cs_test_a1ZC1elTPHGScaaptOwJ7hKnao"}}', 1795914718236569, NULL),
	('acct_06615ffaaa0968bb3cfa800a33', 'POST /api/keys/credit', 'fixture-2', '\x91a73e713f3ccae0a3f290f976316ffdc5b7182fb96ebac574c92c424473b5c6', 409, '{"success":false,"error":{"message":"This request created the key named by `id` before. A key is shown only once: if it is lost, delete it and create another with a new Idempotency-Key.","type":"conflict_error","code":"key_already_created","param":"Idempotency-Key","id":"key_06615ffaf61a302fa13acc1777"}}', 1795914720483976, NULL);
INSERT INTO public.inbox VALUES
	('evt_06615ffac623974ccb2d116544', 'stripe', 'evt_xioDqqGjDg1qZxHay2RyLg77', 'customer.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f78696f447171476a446731715a784861793252794c673737222c2274797065223a22637573746f6d65722e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22637573746f6d6572222c226964223a226375735f43445a3944554c42793163496d307a767371446a385a6d7a227d7d7d', 'handled', 0, 1795914777346912, 'Events of type customer.created are not used.', 1795914717340567, 1795914717361306),
	('evt_06615ffac7098c4dfdd71060fe', 'stripe', 'evt_gCcym41nOfGXaBrGIfoORucB', 'payment_method.attached', '\x7b226f626a656374223a226576656e74222c226964223a226576745f674363796d34316e4f6647586142724749666f4f52756342222c2274797065223a227061796d656e745f6d6574686f642e6174746163686564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a227061796d656e745f6d6574686f64222c226964223a22706d5f6f73427745466b70314753324578563151794a6f544f7254227d7d7d', 'handled', 0, 1795914777404262, 'Events of type payment_method.attached are not used.', 1795914717399436, 1795914717405922),
	('evt_06615ffac734edd754c75c45b4', 'stripe', 'evt_W9B3vl3w8xlSheU59B1RqeDj', 'customer.subscription.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f57394233766c337738786c5368655535394231527165446a222c2274797065223a22637573746f6d65722e737562736372697074696f6e2e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22737562736372697074696f6e222c226964223a227375625f385742715232314b336e525a496235774f6934707137666d227d7d7d', 'handled', 0, 1795914777412616, NULL, 1795914717410541, 1795914717426030),
	('evt_06615ffac7916adeb3f1a68c03', 'stripe', 'evt_spRcOlB5hB7OuGTNwUIpSf6C', 'invoice.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f737052634f6c42356842374f7547544e7755497053663643222c2274797065223a22696e766f6963652e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f696365222c226964223a22696e5f73735963477930566848694a49784b58683541356a306958227d7d7d', 'handled', 0, 1795914777436337, 'Events of type invoice.created are not used.', 1795914717434218, 1795914717437839),
	('evt_06615ffac7af6f275473aa8506', 'stripe', 'evt_IlFVl9n8GlZu8w7sYcVTnHQL', 'invoice.finalized', '\x7b226f626a656374223a226576656e74222c226964223a226576745f496c46566c396e38476c5a7538773773596356546e48514c222c2274797065223a22696e766f6963652e66696e616c697a6564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f696365222c226964223a22696e5f73735963477930566848694a49784b58683541356a306958227d7d7d', 'handled', 0, 1795914777443639, 'Events of type invoice.finalized are not used.', 1795914717441903, 1795914717445029),
	('evt_06615ffac7d11366c5a5ab07d1', 'stripe', 'evt_VNMFXOAZUzgvhOP0jzp9S7t4', 'charge.succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f564e4d46584f415a557a6776684f50306a7a703953377434222c2274797065223a226368617267652e737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22636861726765222c226964223a2263685f52696f5a5839654c6c685038527078366a6e597741574236227d7d7d', 'handled', 0, 1795914777452266, 'Events of type charge.succeeded are not used.', 1795914717450515, 1795914717453519),
	('evt_06615ffac7eb5a3af4d42fa8ab', 'stripe', 'evt_Ok6efF6GshuIC2q9ZrTFw6mX', 'payment_intent.succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f4f6b36656646364773687549433271395a72544677366d58222c2274797065223a227061796d656e745f696e74656e742e737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a227061796d656e745f696e74656e74222c226964223a2270695f39584f673354387a646b6b494d3157464a6c5a4858365068227d7d7d', 'handled', 0, 1795914777458899, 'The payment is told of by its session or invoice, or is not one of ours.', 1795914717457242, 1795914717469666),
	('evt_06615ffac82b4afd81d288c7bd', 'stripe', 'evt_5mm2Dv6258XE1eGgh6YzBvDp', 'customer.subscription.updated', '\x7b226f626a656374223a226576656e74222c226964223a226576745f356d6d324476363235385845316547676836597a42764470222c2274797065223a22637573746f6d65722e737562736372697074696f6e2e75706461746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22737562736372697074696f6e222c226964223a227375625f385742715232314b336e525a496235774f6934707137666d227d7d7d', 'handled', 0, 1795914777475460, NULL, 1795914717473610, 1795914717480829),
	('evt_06615ffac85810a24793709ea4', 'stripe', 'evt_QfsRGPQWrzDaKmwgS1uldnKo', 'invoice_payment.paid', '\x7b226f626a656374223a226576656e74222c226964223a226576745f5166735247505157727a44614b6d77675331756c646e4b6f222c2274797065223a22696e766f6963655f7061796d656e742e70616964222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f6963655f7061796d656e74222c226964223a22696e7061795f4b6a73677854714e7a51526c664452433635727957776f54227d7d7d', 'handled', 0, 1795914777486706, 'Events of type invoice_payment.paid are not used.', 1795914717485072, 1795914717487980),
	('evt_06615ffac87236827a1e0f700d', 'stripe', 'evt_rxXEnLpbixx3kLc7Dhullrik', 'invoice.paid', '\x7b226f626a656374223a226576656e74222c226964223a226576745f727858456e4c7062697878336b4c63374468756c6c72696b222c2274797065223a22696e766f6963652e70616964222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f696365222c226964223a22696e5f73735963477930566848694a49784b58683541356a306958227d7d7d', 'handled', 0, 1795914777493528, NULL, 1795914717491766, 1795914717507202),
	('evt_06615ffac8ea4432b3234c713c', 'stripe', 'evt_V9IxVrMXOhp44rvzDecHyTNO', 'invoice.payment_succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f5639497856724d584f6870343472767a4465634879544e4f222c2274797065223a22696e766f6963652e7061796d656e745f737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f696365222c226964223a22696e5f73735963477930566848694a49784b58683541356a306958227d7d7d', 'handled', 0, 1795914777524338, 'Events of type invoice.payment_succeeded are not used.', 1795914717522500, 1795914717525645),
	('evt_06615ffac916c71e2a29976214', 'stripe', 'evt_AWFZ64vOrj897Hml6e5xLMdq', 'checkout.session.completed', '\x7b226f626a656374223a226576656e74222c226964223a226576745f4157465a3634764f726a383937486d6c366535784c4d6471222c2274797065223a22636865636b6f75742e73657373696f6e2e636f6d706c65746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22636865636b6f75742e73657373696f6e222c226964223a2263735f746573745f613137796f4e656d65444c485a78433231336d424d4f6b4d494f227d7d7d', 'handled', 0, 1795914777535623, NULL, 1795914717533895, 1795914717545414),
	('evt_06615ffacaaf1f22baa1e12310', 'stripe', 'evt_RnZA3MdZLor0KHGZynkWSZdB', 'payment_method.attached', '\x7b226f626a656374223a226576656e74222c226964223a226576745f526e5a41334d645a4c6f72304b48475a796e6b57535a6442222c2274797065223a227061796d656e745f6d6574686f642e6174746163686564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a227061796d656e745f6d6574686f64222c226964223a22706d5f4d58693178326431514a4c546b4b714f51497a6f784c4837227d7d7d', 'handled', 0, 1795914777640489, 'Events of type payment_method.attached are not used.', 1795914717638431, 1795914717641979),
	('evt_06615ffacacccc50bfb29d8819', 'stripe', 'evt_0RpfYHp8YLcpMcmq9hsyH9pW', 'customer.subscription.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f3052706659487038594c63704d636d713968737948397057222c2274797065223a22637573746f6d65722e737562736372697074696f6e2e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22737562736372697074696f6e222c226964223a227375625f4d6566397a684f4e48564c697743526b7774397a77623943227d7d7d', 'handled', 0, 1795914777647818, NULL, 1795914717646028, 1795914717652652),
	('evt_06615ffacafe68e79c6ff75eee', 'stripe', 'evt_WcVVpK1JxgjrGfghrhYyH1jF', 'invoice.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f57635656704b314a78676a72476667687268597948316a46222c2274797065223a22696e766f6963652e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f696365222c226964223a22696e5f7643597739796f6a724d575037334d565a4e6c6b6c543535227d7d7d', 'handled', 0, 1795914777660818, 'Events of type invoice.created are not used.', 1795914717658728, 1795914717662027),
	('evt_06615ffacb1a57a459ab2aaf06', 'stripe', 'evt_vdQSRrwJP28bXO8wOl1qKocD', 'invoice.finalized', '\x7b226f626a656374223a226576656e74222c226964223a226576745f766451535272774a50323862584f38774f6c31714b6f6344222c2274797065223a22696e766f6963652e66696e616c697a6564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f696365222c226964223a22696e5f7643597739796f6a724d575037334d565a4e6c6b6c543535227d7d7d', 'handled', 0, 1795914777667657, 'Events of type invoice.finalized are not used.', 1795914717665879, 1795914717669182),
	('evt_06615ffacb35f61476a81fe9f8', 'stripe', 'evt_C55MKe53mbuguCbhrTfW6itx', 'charge.succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f4335354d4b6535336d627567754362687254665736697478222c2274797065223a226368617267652e737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22636861726765222c226964223a2263685f6f39376c3035415253414e724962304d6f61696863323569227d7d7d', 'handled', 0, 1795914777674651, 'Events of type charge.succeeded are not used.', 1795914717672950, 1795914717675857),
	('evt_06615ffacb4fc705acee9aa03f', 'stripe', 'evt_K52qGsEyIUzOBrvWuq7AFIG5', 'payment_intent.succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f4b3532714773457949557a4f427276577571374146494735222c2274797065223a227061796d656e745f696e74656e742e737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a227061796d656e745f696e74656e74222c226964223a2270695f584633427a72357a414d6c706f716f6f31474f6d7853396d227d7d7d', 'handled', 0, 1795914777681363, 'The payment is told of by its session or invoice, or is not one of ours.', 1795914717679559, 1795914717684531),
	('evt_06615ffacbc63609be75a80add', 'stripe', 'evt_C9mkFdR4S8v7aMkHISZXammI', 'invoice.paid', '\x7b226f626a656374223a226576656e74222c226964223a226576745f43396d6b4664523453387637614d6b4849535a58616d6d49222c2274797065223a22696e766f6963652e70616964222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f696365222c226964223a22696e5f7643597739796f6a724d575037334d565a4e6c6b6c543535227d7d7d', 'handled', 0, 1795914777711622, NULL, 1795914717709878, 1795914717718971),
	('evt_06615ffacb729efffe472217dd', 'stripe', 'evt_edCJsaPUm4lp3qNmX5x3REtP', 'customer.subscription.updated', '\x7b226f626a656374223a226576656e74222c226964223a226576745f6564434a736150556d346c7033714e6d5835783352457450222c2274797065223a22637573746f6d65722e737562736372697074696f6e2e75706461746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22737562736372697074696f6e222c226964223a227375625f4d6566397a684f4e48564c697743526b7774397a77623943227d7d7d', 'handled', 0, 1795914777690606, NULL, 1795914717688478, 1795914717695441),
	('evt_06615ffacbac0a21271d1d8fc3', 'stripe', 'evt_ZmUs7Qn7lH6IisSMDedsebKH', 'invoice_payment.paid', '\x7b226f626a656374223a226576656e74222c226964223a226576745f5a6d557337516e376c4836496973534d4465647365624b48222c2274797065223a22696e766f6963655f7061796d656e742e70616964222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f6963655f7061796d656e74222c226964223a22696e7061795f385839665a634549716f7563675457506c7049584a6d5230227d7d7d', 'handled', 0, 1795914777704920, 'Events of type invoice_payment.paid are not used.', 1795914717703178, 1795914717706164),
	('evt_06615ffacdc3e502d97feac327', 'stripe', 'evt_47bbXbLXHdnJLgpcieuiaHgf', 'customer.subscription.updated', '\x7b226f626a656374223a226576656e74222c226964223a226576745f3437626258624c5848646e4a4c6770636965756961486766222c2274797065223a22637573746f6d65722e737562736372697074696f6e2e75706461746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22737562736372697074696f6e222c226964223a227375625f385742715232314b336e525a496235774f6934707137666d227d7d7d', 'handled', 0, 1795914777845075, NULL, 1795914717840357, 1795914717858226),
	('evt_06615ffad1ca958e8e1f0e028c', 'stripe', 'evt_AAEYuI1mHC17HcAnt9I8OVcQ', 'customer.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f414145597549316d484331374863416e743949384f566351222c2274797065223a22637573746f6d65722e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731382c2264617461223a7b226f626a656374223a7b226f626a656374223a22637573746f6d6572222c226964223a226375735f74373354473342616d476e51744e614e30744a666c633870227d7d7d', 'handled', 0, 1795914778110296, 'Events of type customer.created are not used.', 1795914718104213, 1795914718113712),
	('evt_06615ffae526ef0488d93c8972', 'stripe', 'evt_4PQEji8DiK18qgs19jldqKcb', 'refund.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f345051456a693844694b313871677331396a6c64714b6362222c2274797065223a22726566756e642e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731392c2264617461223a7b226f626a656374223a7b226f626a656374223a22726566756e64222c226964223a2272655f6376534336434d78333273704d7633587648725170555a34227d7d7d', 'handled', 0, 1795914779381211, NULL, 1795914719373039, 1795914719402511),
	('evt_06615ffae5e7f0c1b82b60eb73', 'stripe', 'evt_nfeGQK6lMNOlScP0Qip8LbO2', 'charge.refunded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f6e666547514b366c4d4e4f6c53635030516970384c624f32222c2274797065223a226368617267652e726566756e646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731392c2264617461223a7b226f626a656374223a7b226f626a656374223a22636861726765222c226964223a2263685f577a72477a504b744664664b794753696f7355395a506869227d7d7d', 'handled', 0, 1795914779425626, 'Events of type charge.refunded are not used.', 1795914719422448, 1795914719433949),
	('evt_06615ffacc15ff9dd6d75d015c', 'stripe', 'evt_L1NnS28vuO0Ih3caKRsv7u55', 'invoice.payment_succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f4c314e6e53323876754f3049683363614b52737637753535222c2274797065223a22696e766f6963652e7061796d656e745f737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22696e766f696365222c226964223a22696e5f7643597739796f6a724d575037334d565a4e6c6b6c543535227d7d7d', 'handled', 0, 1795914777732223, 'Events of type invoice.payment_succeeded are not used.', 1795914717730303, 1795914717733722),
	('evt_06615ffad27dad27133fb755c0', 'stripe', 'evt_As7Gfj2MtDxv515yjJM8pbjM', 'charge.succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f41733747666a324d74447876353135796a4a4d3870626a4d222c2274797065223a226368617267652e737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731382c2264617461223a7b226f626a656374223a7b226f626a656374223a22636861726765222c226964223a2263685f577a72477a504b744664664b794753696f7355395a506869227d7d7d', 'handled', 0, 1795914778151685, 'Events of type charge.succeeded are not used.', 1795914718150061, 1795914718153391),
	('evt_06615ffb10035e724fc34d1c6d', 'stripe', 'evt_TB2J1vn6CjnZQLMOItRFDE5u', 'charge.dispute.funds_withdrawn', '\x7b226f626a656374223a226576656e74222c226964223a226576745f5442324a31766e36436a6e5a514c4d4f4974524644453575222c2274797065223a226368617267652e646973707574652e66756e64735f77697468647261776e222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343732322c2264617461223a7b226f626a656374223a7b226f626a656374223a2264697370757465222c226964223a2264755f744b5971567a6535474431453936415067565738684c3846227d7d7d', 'handled', 0, 1795914782183851, NULL, 1795914722181982, 1795914722195267),
	('evt_06615ffacc33b40fea81d3b37c', 'stripe', 'evt_MC9AQkKvzmN0rfuzRndIHWfP', 'checkout.session.completed', '\x7b226f626a656374223a226576656e74222c226964223a226576745f4d433941516b4b767a6d4e307266757a526e644948576650222c2274797065223a22636865636b6f75742e73657373696f6e2e636f6d706c65746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731372c2264617461223a7b226f626a656374223a7b226f626a656374223a22636865636b6f75742e73657373696f6e222c226964223a2263735f746573745f6131715845397a53436738533059315351735032496f43756a33227d7d7d', 'handled', 0, 1795914777739875, NULL, 1795914717737908, 1795914717749247),
	('evt_06615ffad298f7cd96c6bef7b0', 'stripe', 'evt_XL4UnkNOdp61oSWoD9yXPOnF', 'payment_intent.succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f584c34556e6b4e4f647036316f53576f44397958504f6e46222c2274797065223a227061796d656e745f696e74656e742e737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731382c2264617461223a7b226f626a656374223a7b226f626a656374223a227061796d656e745f696e74656e74222c226964223a2270695f67306e7669705353513871367252566b446b6a556f47434a227d7d7d', 'handled', 0, 1795914778158767, 'The payment is told of by its session or invoice, or is not one of ours.', 1795914718157047, 1795914718162029),
	('evt_06615ffb0d89dc27c05359db87', 'stripe', 'evt_GbUecRSlzp2ugxugg2ltIDB8', 'customer.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f476255656352536c7a7032756778756767326c7449444238222c2274797065223a22637573746f6d65722e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343732322c2264617461223a7b226f626a656374223a7b226f626a656374223a22637573746f6d6572222c226964223a226375735f555368536a715456776a53534e6270563766744471393431227d7d7d', 'handled', 0, 1795914782025968, 'Events of type customer.created are not used.', 1795914722019804, 1795914722028280),
	('evt_06615ffad26101e402fe137ffa', 'stripe', 'evt_3WWaAEPio9RFxBO36xIOICuY', 'payment_method.attached', '\x7b226f626a656374223a226576656e74222c226964223a226576745f33575761414550696f39524678424f333678494f49437559222c2274797065223a227061796d656e745f6d6574686f642e6174746163686564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731382c2264617461223a7b226f626a656374223a7b226f626a656374223a227061796d656e745f6d6574686f64222c226964223a22706d5f4642724d795a58796768547047484b34614b41494e354852227d7d7d', 'handled', 0, 1795914778144751, 'Events of type payment_method.attached are not used.', 1795914718142721, 1795914718146210),
	('evt_06615ffad2bb5b0f4ef7c78d63', 'stripe', 'evt_9M0yX48NQ6bgqa8lDo1np8te', 'checkout.session.completed', '\x7b226f626a656374223a226576656e74222c226964223a226576745f394d30795834384e513662677161386c446f316e70387465222c2274797065223a22636865636b6f75742e73657373696f6e2e636f6d706c65746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343731382c2264617461223a7b226f626a656374223a7b226f626a656374223a22636865636b6f75742e73657373696f6e222c226964223a2263735f746573745f613171676f435044506470397a365a586d6a6458676968536871227d7d7d', 'handled', 0, 1795914778167593, NULL, 1795914718165851, 1795914718171179),
	('evt_06615ffb0e2cd215460560fe9d', 'stripe', 'evt_1j7zvvUvl0knciJOKEnfVkzh', 'charge.succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f316a377a767655766c306b6e63694a4f4b456e66566b7a68222c2274797065223a226368617267652e737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343732322c2264617461223a7b226f626a656374223a7b226f626a656374223a22636861726765222c226964223a2263685f587678794662706d6b7a7a3957714551445372434861594a227d7d7d', 'handled', 0, 1795914782063147, 'Events of type charge.succeeded are not used.', 1795914722061522, 1795914722064688),
	('evt_06615ffb0f89c96f9ec18dd96e', 'stripe', 'evt_GkKudgHjcc9cDkPqIaswL93c', 'charge.dispute.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f476b4b756467486a63633963446b5071496173774c393363222c2274797065223a226368617267652e646973707574652e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343732322c2264617461223a7b226f626a656374223a7b226f626a656374223a2264697370757465222c226964223a2264755f744b5971567a6535474431453936415067565738684c3846227d7d7d', 'handled', 0, 1795914782153205, NULL, 1795914722150857, 1795914722168317),
	('evt_06615ffb0e105255e6c7512f49', 'stripe', 'evt_XR1V9nt5Yg6WiUm8Lnz7ZMgZ', 'payment_method.attached', '\x7b226f626a656374223a226576656e74222c226964223a226576745f58523156396e74355967365769556d384c6e7a375a4d675a222c2274797065223a227061796d656e745f6d6574686f642e6174746163686564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343732322c2264617461223a7b226f626a656374223a7b226f626a656374223a227061796d656e745f6d6574686f64222c226964223a22706d5f694268506476544d76686f746a58356861795938706d4143227d7d7d', 'handled', 0, 1795914782056223, 'Events of type payment_method.attached are not used.', 1795914722054226, 1795914722057499),
	('evt_06615ffb0e6c33ac83c5ed684c', 'stripe', 'evt_OCvHjoySBVb7ceGw7ELiSaRh', 'checkout.session.completed', '\x7b226f626a656374223a226576656e74222c226964223a226576745f4f4376486a6f7953425662376365477737454c6953615268222c2274797065223a22636865636b6f75742e73657373696f6e2e636f6d706c65746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343732322c2264617461223a7b226f626a656374223a7b226f626a656374223a22636865636b6f75742e73657373696f6e222c226964223a2263735f746573745f61316467527a716d73747a4c306c3763615a755975616d733053227d7d7d', 'handled', 0, 1795914782079734, NULL, 1795914722077747, 1795914722083430),
	('evt_06615ffb1124487214bc959634', 'stripe', 'evt_sUA0Hg9DuxpLlThbRBjmQUdh', 'customer.created', '\x7b226f626a656374223a226576656e74222c226964223a226576745f73554130486739447578704c6c54686252426a6d51556468222c2274797065223a22637573746f6d65722e63726561746564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343732322c2264617461223a7b226f626a656374223a7b226f626a656374223a22637573746f6d6572222c226964223a226375735f79644e655a4b5371454c6d77694249575a554a434a384f72227d7d7d', 'handled', 0, 1795914782261855, 'Events of type customer.created are not used.', 1795914722255944, 1795914722263871),
	('evt_06615ffb0e4962dceb76832425', 'stripe', 'evt_LK51MQyC9KGXR7Xkd4vUw8VE', 'payment_intent.succeeded', '\x7b226f626a656374223a226576656e74222c226964223a226576745f4c4b35314d517943394b47585237586b6434765577385645222c2274797065223a227061796d656e745f696e74656e742e737563636565646564222c226c6976656d6f6465223a66616c73652c2263726561746564223a313739353931343732322c2264617461223a7b226f626a656374223a7b226f626a656374223a227061796d656e745f696e74656e74222c226964223a2270695f4a7067556e546c493369704650795748345530554d54414e227d7d7d', 'handled', 0, 1795914782070678, 'The payment is told of by its session or invoice, or is not one of ours.', 1795914722068834, 1795914722073984);
INSERT INTO public.ledger_accounts VALUES
	('revenue:subscriptions', 'revenue', 80000000000),
	('key_spend:key_06615fface710810045e161aac', 'key_spend', 359374),
	('key_spend:key_06615ffacf29469fe766ada3a2', 'key_spend', 37202),
	('window_spend:sub_06615ffacae6acbfe81c7db7af:1795910400000000', 'window_spend', 396576),
	('clearing:usdc', 'clearing', -50000000000),
	('credit:acct_06615ffaaa0968bb3cfa800a33', 'credit', 87623254859),
	('key_spend:key_06615ffaf61a302fa13acc1777', 'key_spend', 67310),
	('key_spend:key_06615ffaf69aeda59e501fbf93', 'key_spend', 67310),
	('key_spend:key_06615ffaf708e58cd4ec59474f', 'key_spend', 67310),
	('memo_contra:all', 'memo_contra', -995082),
	('revenue:usage', 'revenue', 201930),
	('credit:acct_06615ffab4a8068b3d898d6a07', 'credit', 0),
	('debt:acct_06615ffab4a8068b3d898d6a07', 'debt', -5000000000),
	('promotion:grants', 'promotion', 4876543211),
	('clearing:stripe', 'clearing', -117500000000),
	('credit:acct_06615ffac0ecb8aaef2881ec48', 'credit', 0);
INSERT INTO public.ledger_entries VALUES
	('tr_06615ffac8ae82fb3635637859', 0, 'clearing:stripe', -20000000000),
	('tr_06615ffac8ae82fb3635637859', 1, 'revenue:subscriptions', 20000000000),
	('tr_06615ffacbe9bb5cdca8c5ef16', 0, 'clearing:stripe', -60000000000),
	('tr_06615ffacbe9bb5cdca8c5ef16', 1, 'revenue:subscriptions', 60000000000),
	('tr_06615ffad2d02bfaac2a747652', 0, 'clearing:stripe', -50000000000),
	('tr_06615ffad2d02bfaac2a747652', 1, 'credit:acct_06615ffaaa0968bb3cfa800a33', 50000000000),
	('tr_06615ffad399397438f191cf1d', 0, 'window_spend:sub_06615ffacae6acbfe81c7db7af:1795910400000000', 396576),
	('tr_06615ffad399397438f191cf1d', 1, 'key_spend:key_06615fface710810045e161aac', 359374),
	('tr_06615ffad399397438f191cf1d', 2, 'key_spend:key_06615ffacf29469fe766ada3a2', 37202),
	('tr_06615ffad399397438f191cf1d', 3, 'memo_contra:all', -793152),
	('tr_06615ffae59a0fd45447de201b', 0, 'clearing:stripe', 12500000000),
	('tr_06615ffae59a0fd45447de201b', 1, 'credit:acct_06615ffaaa0968bb3cfa800a33', -12500000000),
	('tr_06615ffaeba6fb22a85afb170d', 0, 'clearing:usdc', -50000000000),
	('tr_06615ffaeba6fb22a85afb170d', 1, 'credit:acct_06615ffaaa0968bb3cfa800a33', 50000000000),
	('tr_06615ffaf360ef5cf553c41837', 0, 'promotion:grants', -123456789),
	('tr_06615ffaf360ef5cf553c41837', 1, 'credit:acct_06615ffaaa0968bb3cfa800a33', 123456789),
	('tr_06615ffafb544b1f04e523404a', 0, 'credit:acct_06615ffaaa0968bb3cfa800a33', -201930),
	('tr_06615ffafb544b1f04e523404a', 1, 'revenue:usage', 201930),
	('tr_06615ffafb544b1f04e523404a', 2, 'key_spend:key_06615ffaf61a302fa13acc1777', 67310),
	('tr_06615ffafb544b1f04e523404a', 3, 'key_spend:key_06615ffaf69aeda59e501fbf93', 67310),
	('tr_06615ffafb544b1f04e523404a', 4, 'key_spend:key_06615ffaf708e58cd4ec59474f', 67310),
	('tr_06615ffafb544b1f04e523404a', 5, 'memo_contra:all', -201930),
	('tr_06615ffb02944eeb1209fb721b', 0, 'promotion:grants', -10000000000),
	('tr_06615ffb02944eeb1209fb721b', 1, 'credit:acct_06615ffab4a8068b3d898d6a07', 10000000000),
	('tr_06615ffb0b5215b3e0b1848919', 0, 'promotion:grants', 15000000000),
	('tr_06615ffb0b5215b3e0b1848919', 1, 'credit:acct_06615ffab4a8068b3d898d6a07', -10000000000),
	('tr_06615ffb0b5215b3e0b1848919', 2, 'debt:acct_06615ffab4a8068b3d898d6a07', -5000000000),
	('tr_06615ffb0e82663aaba86059aa', 0, 'clearing:stripe', -30000000000),
	('tr_06615ffb0e82663aaba86059aa', 1, 'credit:acct_06615ffac0ecb8aaef2881ec48', 30000000000),
	('tr_06615ffb0fcdfd8e7edd1a0897', 0, 'clearing:stripe', 30000000000),
	('tr_06615ffb0fcdfd8e7edd1a0897', 1, 'credit:acct_06615ffac0ecb8aaef2881ec48', -30000000000);
INSERT INTO public.ledger_transfers VALUES
	('tr_06615ffac8ae82fb3635637859', 'subscription_payment', 'stripe:invoice:in_ssYcGy0VhHiJIxKXh5A5j0iX', 'Payment of sub_06615ffac7716e609a4b7549dd', NULL, 1795914717507202),
	('tr_06615ffacbe9bb5cdca8c5ef16', 'subscription_payment', 'stripe:invoice:in_vCYw9yojrMWP73MVZNlklT55', 'Payment of sub_06615ffacae6acbfe81c7db7af', NULL, 1795914717718971),
	('tr_06615ffad2d02bfaac2a747652', 'top_up', 'stripe:session:cs_test_a1qgoCPDPdp9z6ZXmjdXgihShq', 'Top-up by card, payment pi_g0nvipSSQ8q6rRVkDkjUoGCJ', NULL, 1795914718171179),
	('tr_06615ffad399397438f191cf1d', 'usage', 'usage:tr_06615ffad399397438f191cf1d', '', NULL, 1795914718222649),
	('tr_06615ffae59a0fd45447de201b', 'refund', 'stripe:refund:re_cvSC6CMx32spMv3XvHrQpUZ4:1', 'Refund re_cvSC6CMx32spMv3XvHrQpUZ4 of payment pi_g0nvipSSQ8q6rRVkDkjUoGCJ', 'tr_06615ffad2d02bfaac2a747652', 1795914719402511),
	('tr_06615ffaeba6fb22a85afb170d', 'top_up', 'usdc:8453:0x757a74f6e7451807dd413b10fd135868cfda5aea8c755314726329a550933c38:0', 'USDC deposit, block 4', NULL, 1795914719799035),
	('tr_06615ffaf360ef5cf553c41837', 'grant', 'operator:grant:welcome-bob', 'welcome', NULL, 1795914720305391),
	('tr_06615ffafb544b1f04e523404a', 'usage', 'usage:tr_06615ffafb544b1f04e523404a', '', NULL, 1795914720826443),
	('tr_06615ffb02944eeb1209fb721b', 'grant', 'operator:grant:tr_06615ffb02944e01755f189df4', 'by mistake', NULL, 1795914721301582),
	('tr_06615ffb0b5215b3e0b1848919', 'adjustment', 'operator:adjustment:tr_06615ffb0b52151525fa84767e', 'taken back', NULL, 1795914721874453),
	('tr_06615ffb0e82663aaba86059aa', 'top_up', 'stripe:session:cs_test_a1dgRzqmstzL0l7caZuYuams0S', 'Top-up by card, payment pi_JpgUnTlI3ipFPyWH4U0UMTAN', NULL, 1795914722083430),
	('tr_06615ffb0fcdfd8e7edd1a0897', 'dispute', 'stripe:dispute:du_tKYqVze5GD1E96APgVW8hL8F:1', 'Dispute du_tKYqVze5GD1E96APgVW8hL8F of payment pi_JpgUnTlI3ipFPyWH4U0UMTAN', 'tr_06615ffb0e82663aaba86059aa', 1795914722168317);
INSERT INTO public.mail_links VALUES
	('\x148358f8e72e67d1837918454b5ca63de2b8600f03233a0daa00b959b27d4c20', 'reset', 'carol@example.com', 1795914722429711, 1795918322429711);
INSERT INTO public.management_keys VALUES
	('mkey_06615ffa94f3dd9f42d03df65a', 'acct_06615ffa94f3dd5b09867cdd6d', 'first key', '\xda8e149d0c1981ee968d38e823279c5fb57260b6e3b359ef5942633ff642b0d7', 'mk_DPft', 'billing:read billing:write keys:read keys:write management-keys usage:read', 1795914714117085, NULL, NULL, NULL),
	('mkey_06615ffa9f23d2f6632715e91a', 'acct_06615ffa9f23d2c00a9e48e22e', 'first key', '\x0db410683e29fa0df6a179b84b43ce8109b1139cca9607873b55a9552a3f09cd', 'mk_4tvO', 'billing:read billing:write keys:read keys:write management-keys usage:read', 1795914714784722, NULL, 1795914717302653, NULL),
	('mkey_06615ffaaa096873d3cc4ea3d2', 'acct_06615ffaaa0968bb3cfa800a33', 'first key', '\xab02be922f5a37f23b6cccb32ae81765bc89c3ae9b4d15221df30fa407ac2034', 'mk_iFRt', 'billing:read billing:write keys:read keys:write management-keys usage:read', 1795914715498856, NULL, 1795914718091104, NULL),
	('mkey_06615ffafad9c608f5aafe1e64', 'acct_06615ffaaa0968bb3cfa800a33', 'reader', '\xd3d52f8bc9c5c4aa988a368a11ef7c504439dea1749f9168e012939b2eec5b8b', 'mk_8suD', 'billing:read keys:read', 1795914720795078, NULL, NULL, NULL),
	('mkey_06615ffafa6721b420e7b409da', 'acct_06615ffaaa0968bb3cfa800a33', 'ci', '\x342dca3deee4786c25b01f932859fde378e5320b6cd297cc030269ae67f9587b', 'mk_iX8A', 'usage:read', 1795914720765729, NULL, NULL, 1795914720849548),
	('mkey_06615ffac0ecb8f1c2cd11eab4', 'acct_06615ffac0ecb8aaef2881ec48', 'first key', '\xd0169328aa42c7d65967df2e15f6b79a5e04b497bd2ef611e8e0abffaada01cc', 'mk_uXQv', 'billing:read billing:write keys:read keys:write management-keys usage:read', 1795914716998840, NULL, 1795914722008120, NULL),
	('mkey_06615ffab4a806dce3aa5def8b', 'acct_06615ffab4a8068b3d898d6a07', 'first key', '\x05a6fc15976a6d8e95990d2246eeccaac806bf46d31746516921a2ee714c7748', 'mk_65G2', 'billing:read billing:write keys:read keys:write management-keys usage:read', 1795914716194822, NULL, 1795914722247843, NULL);
INSERT INTO public.payments VALUES
	('pi_9XOg3T8zdkkIM1WFJlZHX6Ph', 'acct_06615ffa9f23d2c00a9e48e22e', 'subscription', 'stripe:invoice:in_ssYcGy0VhHiJIxKXh5A5j0iX', 20000000000, 20000000000, NULL, 'sub_06615ffac7716e609a4b7549dd', 'in_ssYcGy0VhHiJIxKXh5A5j0iX', 1795914717507202),
	('pi_XF3Bzr5zAMlpoqoo1GOmxS9m', 'acct_06615ffa9f23d2c00a9e48e22e', 'subscription', 'stripe:invoice:in_vCYw9yojrMWP73MVZNlklT55', 60000000000, 60000000000, NULL, 'sub_06615ffacae6acbfe81c7db7af', 'in_vCYw9yojrMWP73MVZNlklT55', 1795914717718971),
	('pi_g0nvipSSQ8q6rRVkDkjUoGCJ', 'acct_06615ffaaa0968bb3cfa800a33', 'top_up', 'stripe:session:cs_test_a1qgoCPDPdp9z6ZXmjdXgihShq', 50000000000, 50000000000, 'chk_06615ffad1982e85b1a3596f78', NULL, NULL, 1795914718171179),
	('pi_JpgUnTlI3ipFPyWH4U0UMTAN', 'acct_06615ffac0ecb8aaef2881ec48', 'top_up', 'stripe:session:cs_test_a1dgRzqmstzL0l7caZuYuams0S', 30000000000, 30000000000, 'chk_06615ffb0d5d077a5c54d9206c', NULL, NULL, 1795914722083430);
INSERT INTO public.retention VALUES
	(1, 1761354714115589);
INSERT INTO public.reversals VALUES
	('re_cvSC6CMx32spMv3XvHrQpUZ4', 'refund', 'pi_g0nvipSSQ8q6rRVkDkjUoGCJ', 'acct_06615ffaaa0968bb3cfa800a33', 12500000000, 1, false, 1795914719402511, 1795914719402512),
	('du_tKYqVze5GD1E96APgVW8hL8F', 'dispute', 'pi_JpgUnTlI3ipFPyWH4U0UMTAN', 'acct_06615ffac0ecb8aaef2881ec48', 30000000000, 1, true, 1795914722168317, 1795914722168318);
INSERT INTO public.sessions VALUES
	('ses_06615ffb134eec803b1d471ff2', 'acct_06615ffaaa0968bb3cfa800a33', '\x4fedfb8ad50e6f8698b34603ebe87756998d6296a878c8f9a8d292e1c25e7bbf', 1795914722397932, 1795914722397932, 1798506722397932, '127.0.0.1', 'Fixture/1.0');
INSERT INTO public.subscription_periods VALUES
	('in_ssYcGy0VhHiJIxKXh5A5j0iX', 'sub_06615ffac7716e609a4b7549dd', 1795914717000000, 1798506717000000, 20000000000, 0, 1795914717507202),
	('in_vCYw9yojrMWP73MVZNlklT55', 'sub_06615ffacae6acbfe81c7db7af', 1795914717000000, 1798506717000000, 60000000000, 0, 1795914717718971);
INSERT INTO public.subscriptions VALUES
	('sub_06615ffacae6acbfe81c7db7af', 'acct_06615ffa9f23d2c00a9e48e22e', 'pro', 60000000000, 'sub_Mef9zhONHVLiwCRkwt9zwb9C', 'chk_06615ffaca11b327d4ff06fc2a', 'active', 1798506717000000, NULL, NULL, 1795914717000000, 1795914717718971),
	('sub_06615ffac7716e609a4b7549dd', 'acct_06615ffa9f23d2c00a9e48e22e', 'standard', 20000000000, 'sub_8WBqR21K3nRZIb5wOi4pq7fm', 'chk_06615ffac59043829274c7015d', 'active', 1798506717000000, 1798506717000000, NULL, 1795914717000000, 1795914717839825);
INSERT INTO public.usage_days VALUES
	('acct_06615ffa9f23d2c00a9e48e22e', 'all', 1795910400000000, '', 5, 957, 300, 163, 396576, 0, 377690),
	('acct_06615ffa9f23d2c00a9e48e22e', 'key', 1795910400000000, 'key_06615fface710810045e161aac', 4, 948, 300, 133, 359374, 0, 342260),
	('acct_06615ffa9f23d2c00a9e48e22e', 'key', 1795910400000000, 'key_06615ffacf29469fe766ada3a2', 1, 9, 0, 30, 37202, 0, 35430),
	('acct_06615ffa9f23d2c00a9e48e22e', 'model', 1795910400000000, 'deepseek/deepseek-chat-v3-0324', 5, 957, 300, 163, 396576, 0, 377690),
	('acct_06615ffa9f23d2c00a9e48e22e', 'subscription', 1795910400000000, 'sub_06615ffacae6acbfe81c7db7af', 5, 957, 300, 163, 396576, 0, 377690),
	('acct_06615ffaaa0968bb3cfa800a33', 'all', 1795910400000000, '', 6, 39, 0, 174, 201930, 0, 201930),
	('acct_06615ffaaa0968bb3cfa800a33', 'key', 1795910400000000, 'key_06615ffaf61a302fa13acc1777', 2, 13, 0, 58, 67310, 0, 67310),
	('acct_06615ffaaa0968bb3cfa800a33', 'key', 1795910400000000, 'key_06615ffaf69aeda59e501fbf93', 2, 13, 0, 58, 67310, 0, 67310),
	('acct_06615ffaaa0968bb3cfa800a33', 'key', 1795910400000000, 'key_06615ffaf708e58cd4ec59474f', 2, 13, 0, 58, 67310, 0, 67310),
	('acct_06615ffaaa0968bb3cfa800a33', 'model', 1795910400000000, 'deepseek/deepseek-chat-v3-0324', 6, 39, 0, 174, 201930, 0, 201930),
	('acct_06615ffaaa0968bb3cfa800a33', 'subscription', 1795910400000000, '', 6, 39, 0, 174, 201930, 0, 201930);
INSERT INTO public.usage_events VALUES
	('req_06615ffacfa07313715a17fb95', 'acct_06615ffa9f23d2c00a9e48e22e', 'key_06615fface710810045e161aac', 'window', 'sub_06615ffacae6acbfe81c7db7af', 1795910400000000, 'deepseek/deepseek-chat-v3-0324', 'chat.completions', 'demo', 1795914717969168, 6, 0, 0, 28, 0, 283500000, 73500000, 283500000, 1155000000, 0, 34041, 0, 32420, false, 'tr_06615ffad399397438f191cf1d'),
	('req_06615ffad014a6944a9b69daeb', 'acct_06615ffa9f23d2c00a9e48e22e', 'key_06615fface710810045e161aac', 'window', 'sub_06615ffacae6acbfe81c7db7af', 1795910400000000, 'deepseek/deepseek-chat-v3-0324', 'chat.completions', 'demo', 1795914717993984, 11, 0, 0, 50, 30, 283500000, 73500000, 283500000, 1155000000, 0, 60869, 0, 57970, false, 'tr_06615ffad399397438f191cf1d'),
	('req_06615ffad073a6e556ddf9d111', 'acct_06615ffa9f23d2c00a9e48e22e', 'key_06615fface710810045e161aac', 'window', 'sub_06615ffacae6acbfe81c7db7af', 1795910400000000, 'deepseek/deepseek-chat-v3-0324', 'responses', 'demo', 1795914718017547, 900, 300, 0, 40, 9, 283500000, 73500000, 283500000, 1155000000, 0, 238350, 0, 227000, false, 'tr_06615ffad399397438f191cf1d'),
	('req_06615ffad0cbfafa8f8c156a8d', 'acct_06615ffa9f23d2c00a9e48e22e', 'key_06615fface710810045e161aac', 'window', 'sub_06615ffacae6acbfe81c7db7af', 1795910400000000, 'deepseek/deepseek-chat-v3-0324', 'chat.completions', 'demo', 1795914718039809, 31, 0, 0, 15, 0, 283500000, 73500000, 283500000, 1155000000, 0, 26114, 0, 24870, true, 'tr_06615ffad399397438f191cf1d'),
	('req_06615ffad123cc27c764493396', 'acct_06615ffa9f23d2c00a9e48e22e', 'key_06615ffacf29469fe766ada3a2', 'window', 'sub_06615ffacae6acbfe81c7db7af', 1795910400000000, 'deepseek/deepseek-chat-v3-0324', 'chat.completions', 'demo', 1795914718066582, 9, 0, 0, 30, 0, 283500000, 73500000, 283500000, 1155000000, 0, 37202, 0, 35430, false, 'tr_06615ffad399397438f191cf1d'),
	('req_06615ffaf7718cd362f8a86324', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf61a302fa13acc1777', 'credit', '', 0, 'deepseek/deepseek-chat-v3-0324', 'chat.completions', 'demo', 1795914720575690, 6, 0, 0, 28, 0, 270000000, 70000000, 270000000, 1100000000, 0, 32420, 0, 32420, false, 'tr_06615ffafb544b1f04e523404a'),
	('req_06615ffaf7d6c4825ffed853f3', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf61a302fa13acc1777', 'credit', '', 0, 'deepseek/deepseek-chat-v3-0324', 'messages', 'demo', 1795914720598659, 7, 0, 0, 30, 0, 270000000, 70000000, 270000000, 1100000000, 0, 34890, 0, 34890, false, 'tr_06615ffafb544b1f04e523404a'),
	('req_06615ffaf84b6d2587160a50be', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf69aeda59e501fbf93', 'credit', '', 0, 'deepseek/deepseek-chat-v3-0324', 'chat.completions', 'demo', 1795914720631534, 6, 0, 0, 28, 0, 270000000, 70000000, 270000000, 1100000000, 0, 32420, 0, 32420, false, 'tr_06615ffafb544b1f04e523404a'),
	('req_06615ffaf8afe90ee817f1c73d', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf69aeda59e501fbf93', 'credit', '', 0, 'deepseek/deepseek-chat-v3-0324', 'messages', 'demo', 1795914720654224, 7, 0, 0, 30, 0, 270000000, 70000000, 270000000, 1100000000, 0, 34890, 0, 34890, false, 'tr_06615ffafb544b1f04e523404a'),
	('req_06615ffaf9085035b144e96bd2', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf708e58cd4ec59474f', 'credit', '', 0, 'deepseek/deepseek-chat-v3-0324', 'chat.completions', 'demo', 1795914720679828, 6, 0, 0, 28, 0, 270000000, 70000000, 270000000, 1100000000, 0, 32420, 0, 32420, false, 'tr_06615ffafb544b1f04e523404a'),
	('req_06615ffaf96a497489d418add0', 'acct_06615ffaaa0968bb3cfa800a33', 'key_06615ffaf708e58cd4ec59474f', 'credit', '', 0, 'deepseek/deepseek-chat-v3-0324', 'messages', 'demo', 1795914720701733, 7, 0, 0, 30, 0, 270000000, 70000000, 270000000, 1100000000, 0, 34890, 0, 34890, false, 'tr_06615ffafb544b1f04e523404a');
INSERT INTO public.usage_hours VALUES
	('acct_06615ffa9f23d2c00a9e48e22e', 1795914000000000, 'key_06615fface710810045e161aac', 'deepseek/deepseek-chat-v3-0324', 4, 948, 300, 133, 359374, 0, 342260),
	('acct_06615ffa9f23d2c00a9e48e22e', 1795914000000000, 'key_06615ffacf29469fe766ada3a2', 'deepseek/deepseek-chat-v3-0324', 1, 9, 0, 30, 37202, 0, 35430),
	('acct_06615ffaaa0968bb3cfa800a33', 1795914000000000, 'key_06615ffaf61a302fa13acc1777', 'deepseek/deepseek-chat-v3-0324', 2, 13, 0, 58, 67310, 0, 67310),
	('acct_06615ffaaa0968bb3cfa800a33', 1795914000000000, 'key_06615ffaf69aeda59e501fbf93', 'deepseek/deepseek-chat-v3-0324', 2, 13, 0, 58, 67310, 0, 67310),
	('acct_06615ffaaa0968bb3cfa800a33', 1795914000000000, 'key_06615ffaf708e58cd4ec59474f', 'deepseek/deepseek-chat-v3-0324', 2, 13, 0, 58, 67310, 0, 67310);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT pk_accounts PRIMARY KEY (id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT pk_audit_log PRIMARY KEY (id);
ALTER TABLE ONLY public.auto_topup_notices
    ADD CONSTRAINT pk_auto_topup_notices PRIMARY KEY (account_id, failed_at_us);
ALTER TABLE ONLY public.auto_topups
    ADD CONSTRAINT pk_auto_topups PRIMARY KEY (account_id);
ALTER TABLE ONLY public.balance_transactions
    ADD CONSTRAINT pk_balance_transactions PRIMARY KEY (id);
ALTER TABLE ONLY public.chain_cursors
    ADD CONSTRAINT pk_chain_cursors PRIMARY KEY (chain_id, token, pass);
ALTER TABLE ONLY public.change_counter
    ADD CONSTRAINT pk_change_counter PRIMARY KEY (id);
ALTER TABLE ONLY public.changes
    ADD CONSTRAINT pk_changes PRIMARY KEY (seq);
ALTER TABLE ONLY public.checkouts
    ADD CONSTRAINT pk_checkouts PRIMARY KEY (id);
ALTER TABLE ONLY public.cursors
    ADD CONSTRAINT pk_cursors PRIMARY KEY (name);
ALTER TABLE ONLY public.deposit_addresses
    ADD CONSTRAINT pk_deposit_addresses PRIMARY KEY (address);
ALTER TABLE ONLY public.deposit_hints
    ADD CONSTRAINT pk_deposit_hints PRIMARY KEY (account_id, tx_hash);
ALTER TABLE ONLY public.deposits
    ADD CONSTRAINT pk_deposits PRIMARY KEY (chain_id, tx_hash, "position");
ALTER TABLE ONLY public.idempotency_records
    ADD CONSTRAINT pk_idempotency_records PRIMARY KEY (account_id, route, key);
ALTER TABLE ONLY public.inbox
    ADD CONSTRAINT pk_inbox PRIMARY KEY (id);
ALTER TABLE ONLY public.ledger_accounts
    ADD CONSTRAINT pk_ledger_accounts PRIMARY KEY (id);
ALTER TABLE ONLY public.ledger_entries
    ADD CONSTRAINT pk_ledger_entries PRIMARY KEY (transfer_id, line);
ALTER TABLE ONLY public.ledger_transfers
    ADD CONSTRAINT pk_ledger_transfers PRIMARY KEY (id);
ALTER TABLE ONLY public.mail_links
    ADD CONSTRAINT pk_mail_links PRIMARY KEY (digest);
ALTER TABLE ONLY public.management_keys
    ADD CONSTRAINT pk_management_keys PRIMARY KEY (id);
ALTER TABLE ONLY public.payments
    ADD CONSTRAINT pk_payments PRIMARY KEY (stripe_payment_intent_id);
ALTER TABLE ONLY public.retention
    ADD CONSTRAINT pk_retention PRIMARY KEY (id);
ALTER TABLE ONLY public.reversals
    ADD CONSTRAINT pk_reversals PRIMARY KEY (id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT pk_sessions PRIMARY KEY (id);
ALTER TABLE ONLY public.subscription_periods
    ADD CONSTRAINT pk_subscription_periods PRIMARY KEY (stripe_invoice_id);
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT pk_subscriptions PRIMARY KEY (id);
ALTER TABLE ONLY public.usage_days
    ADD CONSTRAINT pk_usage_days PRIMARY KEY (account_id, dimension, day_us, name);
ALTER TABLE ONLY public.usage_events
    ADD CONSTRAINT pk_usage_events PRIMARY KEY (request_id);
ALTER TABLE ONLY public.usage_hours
    ADD CONSTRAINT pk_usage_hours PRIMARY KEY (account_id, hour_us, key_id, model);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT uq_accounts_email UNIQUE (email);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT uq_accounts_stripe_customer_id UNIQUE (stripe_customer_id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT uq_api_keys_digest UNIQUE (digest);
ALTER TABLE ONLY public.checkouts
    ADD CONSTRAINT uq_checkouts_stripe_payment_intent_id UNIQUE (stripe_payment_intent_id);
ALTER TABLE ONLY public.checkouts
    ADD CONSTRAINT uq_checkouts_stripe_session_id UNIQUE (stripe_session_id);
ALTER TABLE ONLY public.deposit_addresses
    ADD CONSTRAINT uq_deposit_addresses_account_id_key_fingerprint UNIQUE (account_id, key_fingerprint);
ALTER TABLE ONLY public.deposit_addresses
    ADD CONSTRAINT uq_deposit_addresses_key_fingerprint_child_index UNIQUE (key_fingerprint, child_index);
ALTER TABLE ONLY public.inbox
    ADD CONSTRAINT uq_inbox_source_external_id UNIQUE (source, external_id);
ALTER TABLE ONLY public.ledger_transfers
    ADD CONSTRAINT uq_ledger_transfers_reference UNIQUE (reference);
ALTER TABLE ONLY public.management_keys
    ADD CONSTRAINT uq_management_keys_digest UNIQUE (digest);
ALTER TABLE ONLY public.payments
    ADD CONSTRAINT uq_payments_reference UNIQUE (reference);
ALTER TABLE ONLY public.payments
    ADD CONSTRAINT uq_payments_stripe_invoice_id UNIQUE (stripe_invoice_id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT uq_sessions_digest UNIQUE (digest);
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT uq_subscriptions_checkout_id UNIQUE (checkout_id);
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT uq_subscriptions_stripe_subscription_id UNIQUE (stripe_subscription_id);
CREATE INDEX ix_api_keys_account_id ON public.api_keys USING btree (account_id);
CREATE INDEX ix_api_keys_subscription_id ON public.api_keys USING btree (subscription_id);
CREATE INDEX ix_audit_log_account_id_at_us ON public.audit_log USING btree (account_id, at_us);
CREATE INDEX ix_audit_log_action_at_us ON public.audit_log USING btree (action, at_us);
CREATE INDEX ix_audit_log_at_us ON public.audit_log USING btree (at_us);
CREATE INDEX ix_balance_transactions_created_at_us ON public.balance_transactions USING btree (created_at_us);
CREATE INDEX ix_changes_at_us ON public.changes USING btree (at_us);
CREATE INDEX ix_checkouts_account_id_status ON public.checkouts USING btree (account_id, status);
CREATE INDEX ix_deposit_addresses_announced_at_us ON public.deposit_addresses USING btree (announced_at_us);
CREATE INDEX ix_deposit_hints_first_asked_at_us ON public.deposit_hints USING btree (first_asked_at_us);
CREATE INDEX ix_deposit_hints_tx_hash ON public.deposit_hints USING btree (tx_hash);
CREATE INDEX ix_deposits_account_id ON public.deposits USING btree (account_id);
CREATE INDEX ix_deposits_address ON public.deposits USING btree (address);
CREATE INDEX ix_deposits_status_block_number ON public.deposits USING btree (status, block_number);
CREATE INDEX ix_idempotency_records_created_at_us ON public.idempotency_records USING btree (created_at_us);
CREATE INDEX ix_inbox_status_due_at_us ON public.inbox USING btree (status, due_at_us);
CREATE INDEX ix_ledger_entries_account_id ON public.ledger_entries USING btree (account_id, transfer_id);
CREATE INDEX ix_ledger_transfers_kind_created_at_us ON public.ledger_transfers USING btree (kind, created_at_us);
CREATE INDEX ix_mail_links_email_created_at_us ON public.mail_links USING btree (email, created_at_us);
CREATE INDEX ix_mail_links_expires_at_us ON public.mail_links USING btree (expires_at_us);
CREATE INDEX ix_management_keys_account_id ON public.management_keys USING btree (account_id);
CREATE INDEX ix_payments_account_id ON public.payments USING btree (account_id);
CREATE INDEX ix_reversals_account_id_kind ON public.reversals USING btree (account_id, kind);
CREATE INDEX ix_reversals_stripe_payment_intent_id ON public.reversals USING btree (stripe_payment_intent_id);
CREATE INDEX ix_sessions_account_id ON public.sessions USING btree (account_id);
CREATE INDEX ix_sessions_expires_at_us ON public.sessions USING btree (expires_at_us);
CREATE INDEX ix_subscription_periods_subscription_id ON public.subscription_periods USING btree (subscription_id);
CREATE INDEX ix_subscriptions_account_id ON public.subscriptions USING btree (account_id);
CREATE INDEX ix_usage_events_account_id_finished_at_us ON public.usage_events USING btree (account_id, finished_at_us);
CREATE INDEX ix_usage_events_transfer_id ON public.usage_events USING btree (transfer_id);
CREATE UNIQUE INDEX uq_checkouts_one_auto_top_up ON public.checkouts USING btree (account_id) WHERE (((kind)::text = 'auto_top_up'::text) AND ((status)::text = 'pending'::text));
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT fk_api_keys_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT fk_api_keys_subscription_id FOREIGN KEY (subscription_id) REFERENCES public.subscriptions(id);
ALTER TABLE ONLY public.auto_topup_notices
    ADD CONSTRAINT fk_auto_topup_notices_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.auto_topups
    ADD CONSTRAINT fk_auto_topups_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.checkouts
    ADD CONSTRAINT fk_checkouts_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.deposit_addresses
    ADD CONSTRAINT fk_deposit_addresses_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.deposit_hints
    ADD CONSTRAINT fk_deposit_hints_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.deposits
    ADD CONSTRAINT fk_deposits_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.deposits
    ADD CONSTRAINT fk_deposits_address FOREIGN KEY (address) REFERENCES public.deposit_addresses(address);
ALTER TABLE ONLY public.ledger_entries
    ADD CONSTRAINT fk_ledger_entries_account_id FOREIGN KEY (account_id) REFERENCES public.ledger_accounts(id);
ALTER TABLE ONLY public.ledger_entries
    ADD CONSTRAINT fk_ledger_entries_transfer_id FOREIGN KEY (transfer_id) REFERENCES public.ledger_transfers(id);
ALTER TABLE ONLY public.ledger_transfers
    ADD CONSTRAINT fk_ledger_transfers_corrects FOREIGN KEY (corrects) REFERENCES public.ledger_transfers(id);
ALTER TABLE ONLY public.management_keys
    ADD CONSTRAINT fk_management_keys_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.payments
    ADD CONSTRAINT fk_payments_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.reversals
    ADD CONSTRAINT fk_reversals_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT fk_sessions_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.subscription_periods
    ADD CONSTRAINT fk_subscription_periods_subscription_id FOREIGN KEY (subscription_id) REFERENCES public.subscriptions(id);
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT fk_subscriptions_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT fk_subscriptions_checkout_id FOREIGN KEY (checkout_id) REFERENCES public.checkouts(id);
