"""The configuration: one TOML file, overridden by the environment, validated whole before anything starts.

This is the only module that reads the environment. Secrets are named by `…_env` (a variable) or `…_file` (a file);
a mistake is a `SettingsError` whose message names the key.
"""

import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from tokenbooth.config.payments import BillingSettings, StripeSettings, UsdcSettings
from tokenbooth.config.sources import SettingsError as SettingsError
from tokenbooth.config.sources import (
    overlay_environment,
    put_placeholder,
    read_toml,
    resolve_secrets,
    use_current_names,
)
from tokenbooth.config.values import (
    CeilingField,
    Duration,
    KindName,
    Section,
    Slug,
    UsdNano,
    WireFormat,
    check_path,
)
from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.domain.plans import Interval
from tokenbooth.domain.row_bounds import RowBound
from tokenbooth.kit.email_addresses import parse_sender
from tokenbooth.kit.errors import InvalidRequest

_URL_MAX: Final = 4_000


class ServerSettings(Section):
    """`[server]`: where we listen and what a client may send."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    public_url: str | None = None
    max_body_bytes: int = Field(20 * 1024 * 1024, ge=1024)
    max_all_bodies_bytes: int = Field(512 * 1024 * 1024, ge=1024)
    max_all_unread_bytes: int = Field(512 * 1024 * 1024, ge=1024)
    max_connections: int = Field(16_384, ge=8)
    max_header_bytes: int = Field(64 * 1024, ge=1024)
    max_header_count: int = Field(100, ge=8)
    header_timeout_s: float = Field(10, gt=0)
    body_timeout_s: float = Field(30, gt=0)
    min_bytes_per_s: float = Field(4_096, gt=0)
    transfer_timeout_s: float = Field(900, gt=0)
    idle_timeout_s: float = Field(75, gt=0)
    unread_timeout_s: float = Field(120, gt=0)
    trusted_proxies: list[str] = Field([])
    metrics_bind: str | None = None
    drain_s: int = Field(30, ge=0)
    log_format: Literal["auto", "console", "json"] = "auto"

    def base_url(self) -> str:
        """The address to print in links, without a slash at its end."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class StoreSettings(Section):
    """`[store]`: the database, and the directory of the charge log."""

    url: str = "sqlite:///tokenbooth.db"
    data_dir: str | None = None

    @field_validator("url")
    @classmethod
    def _usable_url(cls, url: str) -> str:
        if len(url) > _URL_MAX:
            raise ValueError(f"it has {len(url)} characters; {_URL_MAX} are the most")
        if url.startswith("sqlite:"):
            check_path(url.removeprefix("sqlite:"))
        return url

    @field_validator("data_dir")
    @classmethod
    def _usable_directory(cls, data_dir: str | None) -> str | None:
        if data_dir is None:
            return None
        if not data_dir.strip():
            raise ValueError(
                "it is empty; name a directory, or leave data_dir out: then it is the database's directory"
            )
        check_path(data_dir)
        return data_dir


class GatewaySettings(Section):
    """`[gateway]`: the data plane."""

    hold_share_percent: int = Field(25, ge=1, le=100)
    hold_wait_ms: int = Field(2_000, ge=0, le=60_000)
    stale_key_ttl_s: int = Field(300, ge=1)
    max_json_depth: int = Field(128, ge=8)
    max_json_values: int = Field(100_000, ge=1_000)
    max_json_names: int = Field(50_000, ge=1_000)
    max_json_containers: int = Field(40_000, ge=1_000)
    max_token_ids: int = Field(1_000_000, ge=1_000)
    max_unfunded_body_bytes: int = Field(256 * 1024, ge=1_024)
    max_unfunded_calls: int = Field(4, ge=1)
    max_unflushed_charges: int = Field(200_000, ge=1)
    connect_timeout_s: float = Field(10, gt=0)
    first_byte_timeout_s: float = Field(300, gt=0)
    whole_answer_timeout_s: float = Field(1_800, gt=0)
    idle_timeout_s: float = Field(120, gt=0)
    keep_alive_s: float = Field(10, gt=0)
    max_draining: int = Field(256, ge=0)
    max_draining_per_account: int = Field(16, ge=0)
    max_open_requests: int = Field(10_000, ge=1)
    max_streams_per_key: int | None = Field(None, ge=1)
    rest_after_failures: int = Field(3, ge=1)
    cooldown_s: float = Field(2, gt=0, le=3_600)
    max_rest_s: float = Field(120, gt=0, le=86_400)
    max_retry_after_s: float = Field(300, ge=0, le=3_600)


class ManagementSettings(Section):
    """`[management]`: limits of the management plane."""

    requests_per_minute: int = Field(600, ge=1)
    max_body_bytes: int = Field(64 * 1024, ge=1024)
    max_keys: int = Field(10_000, ge=1)
    max_unfunded_keys: int = Field(100, ge=1)
    max_pending_checkouts: int = Field(100, ge=1)
    max_unfunded_pending_checkouts: int = Field(20, ge=1)
    max_idempotency_keys_per_day: int = Field(10_000, ge=1)
    max_unfunded_idempotency_keys_per_day: int = Field(1_000, ge=1)
    max_actions_per_day: int = Field(10_000, ge=1)
    max_unfunded_actions_per_day: int = Field(1_000, ge=1)

    @property
    def keys(self) -> RowBound:
        """API keys of an account, and management keys."""
        return RowBound(self.max_keys, self.max_unfunded_keys)

    @property
    def pending_checkouts(self) -> RowBound:
        """Unpaid checkouts of an account."""
        return RowBound(self.max_pending_checkouts, self.max_unfunded_pending_checkouts)

    @property
    def idempotency_keys(self) -> RowBound:
        """Requests of an account in a day whose repetitions are recognised."""
        return RowBound(self.max_idempotency_keys_per_day, self.max_unfunded_idempotency_keys_per_day)

    @property
    def actions(self) -> RowBound:
        """Entries of the audit log in a day beyond which an account's repeatable actions are refused."""
        return RowBound(self.max_actions_per_day, self.max_unfunded_actions_per_day)


class DashboardSettings(Section):
    """`[dashboard]`: who may sign up, how long a log-in lasts, how often a network may try."""

    registration: Literal["open", "invitation", "closed"] = "open"
    session_days: int = Field(30, ge=1, le=365)
    attempts_per_minute: int = Field(10, ge=1)
    mails_per_day: int = Field(50, ge=1)


class MailSettings(Section):
    """`[mail]`: the server that takes our e-mails; without it, their links stand in the log."""

    host: str = Field(min_length=1)
    port: int = Field(587, ge=1, le=65535)
    sender: str = Field(min_length=3)
    username: str | None = None
    password: SecretStr | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    timeout_s: float = Field(20, gt=0)

    @field_validator("sender")
    @classmethod
    def _one_sender(cls, sender: str) -> str:
        try:
            parse_sender(sender)
        except InvalidRequest:
            raise ValueError("must be an email address, or a name and an address in angle brackets") from None
        return sender


class RetentionSettings(Section):
    """`[retention]`: how long single requests are kept; the hourly figures and the ledger stay for ever."""

    usage_days: int = Field(400, ge=1)


class PlanSettings(Section):
    """`[plans.<slug>]`: what a subscription costs and allows."""

    name: str | None = None
    price_nano: UsdNano = Field(alias="price_usd")
    interval: Interval = Interval.MONTH
    rpm: int = Field(ge=1)
    tpm: int | None = Field(None, ge=1)
    budget_nano: UsdNano = Field(gt=0, alias="budget_usd")
    window: Duration = "5h"
    markup_percent: float = Field(0, ge=0, le=10_000)

    @field_validator("price_nano")
    @classmethod
    def _whole_cents(cls, price_nano: int) -> int:
        if price_nano % NANO_PER_CENT:
            raise ValueError("must be whole cents, because a card is charged with it")
        return price_nano


class UpstreamSettings(Section):
    """`[upstreams.<name>]`: a server that runs models, and the wire formats that it speaks."""

    base_url: str = Field(pattern=r"^https?://[!-~]+$")
    api_key: SecretStr | None = Field(None, min_length=1)
    kind: KindName = None
    bills_after_disconnect: bool | None = None
    output_limit_field: CeilingField = None
    max_concurrent: int | None = Field(None, ge=1)
    formats: list[WireFormat] = Field(
        ["openai.chat", "openai.completions", "openai.embeddings", "openai.responses"], min_length=1
    )

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, base_url: str) -> str:
        parts = urlsplit(base_url)
        if parts.query or parts.fragment:
            raise ValueError("must end with its path: no ? and no #")
        if parts.username is not None:
            raise ValueError("must not hold a user name or password; set api_key_env")
        if not parts.hostname or parts.port == 0:
            raise ValueError("names no server")
        return base_url

    @field_validator("api_key")
    @classmethod
    def _printable(cls, api_key: SecretStr | None) -> SecretStr | None:
        # It becomes a header.
        if api_key is not None and not re.fullmatch(r"[!-~]+", api_key.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces; is there a line break at its end?")
        return api_key


class ModelUpstreamSettings(Section):
    """One entry of a model's `upstreams`."""

    name: str
    model: str | None = None
    weight: int = Field(1, ge=1)
    output_limit_field: CeilingField = None


class LongContextSettings(Section):
    """`[models."<name>".long_context]`: prices of a request whose prompt is longer than `above_tokens`."""

    above_tokens: int = Field(ge=1)
    input_nano_per_million: UsdNano = Field(alias="input_usd_per_million")
    output_nano_per_million: UsdNano = Field(alias="output_usd_per_million")
    cached_input_nano_per_million: UsdNano | None = Field(None, alias="cached_input_usd_per_million")
    cache_write_nano_per_million: UsdNano | None = Field(None, alias="cache_write_usd_per_million")


class ModelSettings(Section):
    """`[models."<name>"]`: a model that customers may call."""

    upstreams: list[ModelUpstreamSettings] = Field(min_length=1)
    input_nano_per_million: UsdNano | None = Field(None, alias="input_usd_per_million")
    output_nano_per_million: UsdNano | None = Field(None, alias="output_usd_per_million")
    cached_input_nano_per_million: UsdNano | None = Field(None, alias="cached_input_usd_per_million")
    cache_write_nano_per_million: UsdNano | None = Field(None, alias="cache_write_usd_per_million")
    reasoning_nano_per_million: UsdNano | None = Field(None, alias="reasoning_usd_per_million")
    per_request_nano: UsdNano = Field(0, alias="per_request_usd")
    long_context: LongContextSettings | None = None
    upstream_input_nano_per_million: UsdNano | None = Field(None, alias="upstream_input_usd_per_million")
    upstream_output_nano_per_million: UsdNano | None = Field(None, alias="upstream_output_usd_per_million")
    upstream_cached_input_nano_per_million: UsdNano | None = Field(None, alias="upstream_cached_input_usd_per_million")
    markup_percent: float = Field(0, ge=0, le=10_000)
    free: bool = False
    context_tokens: int = Field(ge=1, le=100_000_000)
    max_output_tokens: int = Field(ge=1, le=100_000_000)
    image_tokens_max: int | None = Field(None, ge=1)
    reasoning: bool = False
    output_limit_field: CeilingField = None
    allowed_parameters: list[str] = Field([])

    @model_validator(mode="after")
    def _free_is_free(self) -> Self:
        prices = (self.input_nano_per_million, self.output_nano_per_million, self.long_context)
        if self.free and any(price is not None for price in prices):
            raise ValueError("free = true and a price are both set; keep one of them")
        return self


DEFAULT_PLANS: Final[dict[str, dict[str, object]]] = {
    "standard": {"price_usd": "20", "rpm": 60, "budget_usd": "0.14", "window": "5h"},
    "pro": {"price_usd": "60", "rpm": 200, "budget_usd": "0.42", "window": "5h"},
}


def _default_plans() -> dict[Slug, PlanSettings]:
    return {slug: PlanSettings.model_validate(plan) for slug, plan in DEFAULT_PLANS.items()}


class Settings(Section):
    """The whole configuration."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    stripe: StripeSettings | None = None
    usdc: UsdcSettings | None = None
    billing: BillingSettings = BillingSettings()
    gateway: GatewaySettings = GatewaySettings()
    management: ManagementSettings = ManagementSettings()
    dashboard: DashboardSettings = DashboardSettings()
    mail: MailSettings | None = None
    retention: RetentionSettings = RetentionSettings()
    plans: dict[Slug, PlanSettings] = Field(default_factory=_default_plans)
    upstreams: dict[str, UpstreamSettings] = Field({})
    models: dict[str, ModelSettings] = Field({})

    @model_validator(mode="after")
    def _models_name_known_upstreams(self) -> Self:
        for name, model in self.models.items():
            for upstream in model.upstreams:
                if upstream.name not in self.upstreams:
                    raise ValueError(f'models."{name}".upstreams names "{upstream.name}", which is not in [upstreams]')
        return self


def load_settings(path: Path | None, *, webhook_secret_may_be_missing: bool = False) -> Settings:
    """Read the file (None: defaults only) and the environment.

    Args:
        path: the file.
        webhook_secret_may_be_missing: for the command that has Stripe make that secret: a placeholder stands in.

    Raises:
        SettingsError: the file is missing or malformed, a value is wrong, or a secret's source is missing.
    """
    raw = read_toml(path) if path is not None else {}
    use_current_names(raw)
    base_dir = path.resolve().parent if path is not None else Path.cwd()
    raw.setdefault("plans", deepcopy(DEFAULT_PLANS))
    overlay_environment(raw, os.environ, Settings.model_fields)
    if webhook_secret_may_be_missing:
        put_placeholder(raw, os.environ, base_dir)
    resolve_secrets(raw, os.environ, base_dir)
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as mistakes:
        lines = [f"{'.'.join(map(str, m['loc'])) or 'configuration'}: {m['msg']}" for m in mistakes.errors()]
        raise SettingsError("\n".join(lines)) from None
    return _with_absolute_paths(settings, base_dir)


def is_proxied(url: str) -> bool:
    """Whether the environment names a proxy for a URL: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, less NO_PROXY."""
    parts = urlsplit(url)
    proxies = getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    return bool(named) and not proxy_bypass(parts.netloc)


def _with_absolute_paths(settings: Settings, base_dir: Path) -> Settings:
    """Make a relative SQLite path, and the directory of the charge log, relative to the file."""
    url = settings.store.url
    data_dir = settings.store.data_dir
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        url = f"sqlite:///{base_dir / url.removeprefix('sqlite:///')}"
    if data_dir is None and url.startswith("sqlite:////"):
        data_dir = str(Path(url.removeprefix("sqlite:///")).parent)
    data_dir = str(base_dir / (data_dir or "."))
    store = settings.store.model_copy(update={"url": url, "data_dir": data_dir})
    return settings.model_copy(update={"store": store})
