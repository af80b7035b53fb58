"""The configuration: one TOML file, overridden by the environment, validated whole before anything starts.

This is the only module that reads the environment. Secrets are named by `…_env` (a variable) or `…_file` (a file);
a mistake is a `SettingsError` whose message names the key.
"""

import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tokenbooth.domain.money import NANO_PER_CENT, InvalidAmount, parse_usd
from tokenbooth.domain.plans import Interval
from tokenbooth.domain.windows import InvalidDuration, parse_duration

ENV_PREFIX: Final = "TOKENBOOTH_"


class SettingsError(Exception):
    """The configuration cannot be used; the message names each key and what is wrong with it."""


def _nano(value: object) -> int:
    if isinstance(value, float):
        value = Decimal(str(value))
    if not isinstance(value, int | str | Decimal):
        raise ValueError('must be an amount of USD, such as "0.14"')
    try:
        amount_nano = parse_usd(value)
    except InvalidAmount as mistake:
        raise ValueError(str(mistake)) from mistake
    if amount_nano < 0:
        raise ValueError("must not be negative")
    return amount_nano


def _duration(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError('must be a duration such as "5h"')
    try:
        parse_duration(value)
    except InvalidDuration as mistake:
        raise ValueError(str(mistake)) from mistake
    return value


UsdNano = Annotated[int, BeforeValidator(_nano)]
"""USD in the file (a string or a number), nano-USD in the program."""
Duration = Annotated[str, BeforeValidator(_duration)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Section(BaseModel):
    """A table of the file; names that are not known are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """`[server]`: where we listen and what a client may send."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    public_url: str | None = None
    max_body_bytes: int = Field(20 * 1024 * 1024, ge=1024)
    trusted_proxies: list[str] = []
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


class StripeSettings(Section):
    """`[stripe]`: the payment processor; without it cards are not taken."""

    secret_key: SecretStr
    webhook_secrets: list[SecretStr] = Field(min_length=1)
    api_base: str | None = None
    timeout_s: float = Field(20, gt=0)

    @model_validator(mode="after")
    def _no_empty_secret(self) -> Self:
        if not self.secret_key.get_secret_value():
            raise ValueError("secret_key is empty")
        if not all(secret.get_secret_value() for secret in self.webhook_secrets):
            raise ValueError("webhook_secret is empty")
        return self

    def is_live(self) -> bool:
        """Whether the key moves real money."""
        return "_live_" in self.secret_key.get_secret_value()


class UsdcSettings(Section):
    """`[usdc]`: deposits on Base."""

    rpc_url: str
    chain_id: int = 8453
    token: str
    xpub: str
    credit_at: Literal["safe", "finalized"] = "safe"


class BillingSettings(Section):
    """`[billing]`: rules of payments."""

    min_top_up_usd: UsdNano = 10 * 10**9
    max_top_up_usd: UsdNano = 10_000 * 10**9
    renewal_grace: Duration = "6h"


class GatewaySettings(Section):
    """`[gateway]`: the data plane."""

    hold_share_percent: int = Field(25, ge=1, le=100)
    hold_wait_ms: int = Field(2_000, ge=0, le=60_000)
    stale_key_ttl_s: int = Field(300, ge=1)
    max_json_depth: int = Field(128, ge=8)
    max_unflushed_charges: int = Field(200_000, ge=1)
    connect_timeout_s: float = Field(10, gt=0)
    first_byte_timeout_s: float = Field(300, gt=0)
    idle_timeout_s: float = Field(120, gt=0)
    max_draining: int = Field(256, ge=0)


class ManagementSettings(Section):
    """`[management]`: limits of the management plane."""

    requests_per_minute: int = Field(600, ge=1)
    max_body_bytes: int = Field(64 * 1024, ge=1024)
    max_keys: int = Field(10_000, ge=1)
    max_pending_checkouts: int = Field(100, ge=1)


class DashboardSettings(Section):
    """`[dashboard]`: who may sign up, how long a log-in lasts, how often an address may try."""

    registration: Literal["open", "invitation", "closed"] = "open"
    session_days: int = Field(30, ge=1, le=365)
    attempts_per_minute: int = Field(10, ge=1)


class MailSettings(Section):
    """`[mail]`: the server that takes our e-mails; without it, their links stand in the log."""

    host: str = Field(min_length=1)
    port: int = Field(587, ge=1, le=65535)
    sender: str = Field(min_length=3)
    username: str | None = None
    password: SecretStr | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    timeout_s: float = Field(20, gt=0)


class RetentionSettings(Section):
    """`[retention]`: how long single requests are kept; the hourly figures and the ledger stay for ever."""

    usage_days: int = Field(400, ge=1)


class PlanSettings(Section):
    """`[plans.<slug>]`: what a subscription costs and allows."""

    name: str | None = None
    price_usd: UsdNano
    interval: Interval = Interval.MONTH
    rpm: int = Field(ge=1)
    tpm: int | None = Field(None, ge=1)
    budget_usd: UsdNano = Field(gt=0)
    window: Duration = "5h"
    markup_percent: float = Field(0, ge=0, le=10_000)

    @field_validator("price_usd")
    @classmethod
    def _whole_cents(cls, price_nano: int) -> int:
        if price_nano % NANO_PER_CENT:
            raise ValueError("must be whole cents, because a card is charged with it")
        return price_nano


class UpstreamSettings(Section):
    """`[upstreams.<name>]`: a server that runs models."""

    base_url: str = Field(pattern=r"^https?://[^\s?#]+$")
    api_key: SecretStr | None = None
    bills_after_disconnect: bool = False


class ModelUpstreamSettings(Section):
    """One entry of a model's `upstreams`."""

    name: str
    model: str | None = None
    weight: int = Field(1, ge=1)


class ModelSettings(Section):
    """`[models."<name>"]`: a model that customers may call."""

    upstreams: list[ModelUpstreamSettings] = Field(min_length=1)
    input_usd_per_million: UsdNano | None = None
    output_usd_per_million: UsdNano | None = None
    cached_input_usd_per_million: UsdNano | None = None
    cache_write_usd_per_million: UsdNano | None = None
    reasoning_usd_per_million: UsdNano | None = None
    per_request_usd: UsdNano = 0
    upstream_input_usd_per_million: UsdNano | None = None
    upstream_output_usd_per_million: UsdNano | None = None
    upstream_cached_input_usd_per_million: UsdNano | None = None
    markup_percent: float = Field(0, ge=0, le=10_000)
    free: bool = False
    context_tokens: int = Field(ge=1, le=100_000_000)
    max_output_tokens: int = Field(ge=1, le=100_000_000)
    image_tokens_max: int = Field(2_000, ge=1)
    reasoning: bool = False
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    allowed_parameters: list[str] = []


def _default_plans() -> dict[Slug, PlanSettings]:
    return {
        "standard": PlanSettings(price_usd="20", rpm=60, budget_usd="0.14", window="5h"),
        "pro": PlanSettings(price_usd="60", rpm=200, budget_usd="0.42", window="5h"),
    }


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

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
    upstreams: dict[str, UpstreamSettings] = {}
    models: dict[str, ModelSettings] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment is above the file, which arrives as init arguments."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _models_name_known_upstreams(self) -> Self:
        for name, model in self.models.items():
            for upstream in model.upstreams:
                if upstream.name not in self.upstreams:
                    raise ValueError(f'models."{name}".upstreams names "{upstream.name}", which is not in [upstreams]')
            if not model.free and (model.input_usd_per_million is None or model.output_usd_per_million is None):
                raise ValueError(
                    f'models."{name}" has no price: set its input and output …_usd_per_million, or free = true'
                )
        return self


def load_settings(path: Path | None) -> Settings:
    """Read the file (None: defaults only) and the environment.

    Raises:
        SettingsError: the file is missing or malformed, a value is wrong, or a secret's source is missing.
    """
    raw = _read_toml(path) if path is not None else {}
    base_dir = path.resolve().parent if path is not None else Path.cwd()
    try:
        _resolve_secrets(raw, os.environ, base_dir)
        settings = Settings.model_validate(raw)
    except ValidationError as mistakes:
        lines = [
            f"{'.'.join(str(part) for part in m['loc']) or 'configuration'}: {m['msg']}" for m in mistakes.errors()
        ]
        raise SettingsError("\n".join(lines)) from None
    return _with_absolute_paths(settings, base_dir)


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; `tokenbooth init` writes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as mistake:
        raise SettingsError(f"{path}: {mistake}") from None


def _resolve_secrets(raw: dict[str, object], env: Mapping[str, str], base_dir: Path) -> None:
    """Replace `secret_key_env`, `webhook_secret_env`, `api_key_env` and their `_file` twins by the secrets."""
    stripe = raw.get("stripe")
    if isinstance(stripe, dict):
        _resolve_one(stripe, "stripe", "secret_key", env, base_dir)
        _resolve_one(stripe, "stripe", "webhook_secret", env, base_dir)
        secret = stripe.pop("webhook_secret", None)
        if secret is not None:
            # During a rotation both secrets stand in one variable, separated by a comma.
            stripe["webhook_secrets"] = [part.strip() for part in str(secret).split(",")]
    mail = raw.get("mail")
    if isinstance(mail, dict):
        _resolve_one(mail, "mail", "password", env, base_dir)
    upstreams = raw.get("upstreams")
    if isinstance(upstreams, dict):
        for name, upstream in upstreams.items():
            if isinstance(upstream, dict):
                _resolve_one(upstream, f"upstreams.{name}", "api_key", env, base_dir)


def _resolve_one(table: dict[str, object], where: str, name: str, env: Mapping[str, str], base_dir: Path) -> None:
    variable, file_name = table.pop(f"{name}_env", None), table.pop(f"{name}_file", None)
    if variable is not None:
        if str(variable) not in env:
            raise SettingsError(f"{where}.{name}_env: the environment variable {variable} is not set")
        table[name] = env[str(variable)]
    elif file_name is not None:
        try:
            table[name] = (base_dir / str(file_name)).read_text(encoding="utf-8").strip()
        except OSError as failure:
            raise SettingsError(f"{where}.{name}_file: {file_name}: {failure.strerror}") from None


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
