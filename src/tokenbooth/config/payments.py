"""The tables of the configuration that are about taking money: `[stripe]`, `[usdc]`, `[billing]`."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from tokenbooth.config.chains import BASE, NATIVE_TOKENS
from tokenbooth.config.values import DurationUs, ExtendedKey, Section, Token, UsdNano, names_a_server
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.windows import DAY_US, HOUR_US


class StripeSettings(Section):
    """`[stripe]`: the payment processor; without it cards are not taken."""

    secret_key: SecretStr
    webhook_secrets: list[SecretStr] = Field(min_length=1)
    api_base: str | None = None
    timeout_s: float = Field(20, gt=0)
    automatic_tax: bool = False

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
    """`[usdc]`: deposits on Base. The node's URL often holds a key, so it is never shown."""

    rpc_url: SecretStr
    chain_id: int = Field(BASE, ge=1, lt=2**53)
    token: Token | None = None
    xpub: ExtendedKey
    credit_at: Literal["safe", "finalized"] = "safe"
    poll_s: float = Field(4, gt=0, le=600)
    timeout_s: float = Field(10, gt=0, le=120)
    max_range_blocks: int = Field(2_000, ge=1, le=100_000)
    full_scan_s: float = Field(600, ge=0)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not self.rpc_url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("rpc_url must begin with http:// or https://")
        if not names_a_server(self.rpc_url.get_secret_value()):
            # What is wrong in it is not shown: it may be next to the key.
            raise ValueError("rpc_url names no server: look for spaces, and for a port that is none")
        if self.token is None and self.chain_id not in NATIVE_TOKENS:
            raise ValueError(f"token is missing: no address of USDC is known for chain {self.chain_id}")
        return self

    def token_address(self) -> str:
        """The contract of USDC, in lower case."""
        return self.token if self.token is not None else NATIVE_TOKENS[self.chain_id]


class BillingSettings(Section):
    """`[billing]`: rules of payments."""

    min_top_up_nano: UsdNano = Field(10 * NANO_PER_USD, alias="min_top_up_usd")
    max_top_up_nano: UsdNano = Field(10_000 * NANO_PER_USD, alias="max_top_up_usd")
    renewal_grace_us: DurationUs = Field(6 * HOUR_US, alias="renewal_grace")
    young_account_us: DurationUs = Field(7 * DAY_US, alias="young_account")
    young_account_top_up_nano_per_day: UsdNano = Field(10_000 * NANO_PER_USD, alias="young_account_top_up_usd_per_day")
    max_declined_cards_per_day: int = Field(5, ge=1)
