"""The calls about prepaid credit: buy it on a page, with the saved card or with USDC, and see it."""

from enum import StrEnum
from functools import partial
from typing import Annotated, Final, Literal, Self

from fastapi import APIRouter
from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.auth import authenticate
from tokenbooth.api.billing.subscriptions import checkout_outcome
from tokenbooth.api.openapi import CREDENTIAL, either, json_body, object_answer, or_accepted, stripe_answer
from tokenbooth.api.parsing import authenticated_body
from tokenbooth.api.responses import respond, success
from tokenbooth.api.schemas import Payload, UnsignedUsd
from tokenbooth.config.chains import chain_name
from tokenbooth.domain.keys import Scope
from tokenbooth.domain.money import format_usd
from tokenbooth.kit.request_models import (
    Id,
    RequestModel,
    UsdcUsdNano,
    read_amount_nano,
    read_text,
    usd_schema,
)
from tokenbooth.services import topups, usdc
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.idempotency import Outcome, replayed, run_idempotent, run_idempotent_tx
from tokenbooth.services.topups import CARD_DECIMALS, USDC_DECIMALS, ChargedTopUp, Credit, check_amount
from tokenbooth.services.usdc import CheckedDeposit, CreditedDeposit, DepositRequest, UncountedDeposit
from tokenbooth.store.accounts.idempotency import Answer, Claim

_ACCEPTED: Final = 202
_METHOD_MAX: Final = 100


class TopUpMethod(StrEnum):
    """How credit is paid."""

    STRIPE = "stripe"
    STRIPE_DIRECT = "stripe_direct"
    USDC = "usdc"


def _read_method(value: object) -> TopUpMethod:
    text = read_text(value, max_length=_METHOD_MAX)
    if text not in tuple(TopUpMethod):
        names = ", ".join(f"`{name}`" for name in TopUpMethod)
        raise PydanticCustomError("unsupported_method", "must be one of: {names}", {"names": names})
    return TopUpMethod(text)


def _read_top_up_nano(value: object, info: ValidationInfo) -> int:
    """An amount with as many decimals as the method takes."""
    by_usdc = info.data.get("method") is TopUpMethod.USDC
    return read_amount_nano(value, max_decimals=USDC_DECIMALS if by_usdc else CARD_DECIMALS)


class NewTopUp(RequestModel):
    """How much credit to buy, and how it is paid."""

    method: Annotated[
        TopUpMethod, PlainValidator(_read_method), WithJsonSchema({"type": "string", "enum": list(TopUpMethod)})
    ]
    amount: Annotated[int, PlainValidator(_read_top_up_nano), usd_schema(USDC_DECIMALS)] = Field(
        description="USD above zero, as a number or a decimal string; in whole cents, but with `usdc`.",
        examples=[50, "50.00"],
    )


class DepositToVerify(RequestModel):
    """The transaction of a deposit, and how much it was announced to be."""

    tx_hash: Id
    amount: UsdcUsdNano = Field(description="USD above zero, as a number or a decimal string.", examples=[50, "50.00"])


class TopUpPayload(Payload):
    """With `stripe` a page on which to pay; with `stripe_direct` what came of the charge."""

    session_url: str | None = None
    session_id: str | None = None
    status: Literal["credited", "pending"] | None = None
    top_up_id: str | None = None
    credited: UnsignedUsd | None = None
    balance: UnsignedUsd | None = None


class DepositAddressPayload(Payload):
    """Where to send USDC. `uri` opens a wallet (EIP-681)."""

    address: str = Field(pattern="^0x[0-9a-fA-F]{40}$")
    chain: str = Field(examples=["base"])
    amount: str = Field(examples=["50"])
    asset: Literal["USDC"]
    chain_id: int = Field(examples=[8453])
    token_address: str = Field(pattern="^0x[0-9a-fA-F]{40}$")
    uri: str

    @classmethod
    def of(cls, wanted: DepositRequest) -> Self:
        """What to pay, and where, as an answer shows it."""
        return cls(
            address=wanted.address,
            chain=chain_name(wanted.chain_id),
            amount=format_usd(wanted.amount_nano, min_decimals=0),
            asset="USDC",
            chain_id=wanted.chain_id,
            token_address=wanted.token,
            uri=wanted.uri,
        )


class VerifiedDeposit(Payload):
    """A deposit that was credited."""

    status: Literal["credited"]
    credited: UnsignedUsd
    balance: UnsignedUsd
    tx_hash: str
    amount_mismatch: bool

    @classmethod
    def of(cls, deposit: CreditedDeposit) -> Self:
        """A credited deposit as an answer shows it."""
        return cls(
            status="credited",
            credited=deposit.credited_nano,
            balance=deposit.balance_nano,
            tx_hash=deposit.tx_hash,
            amount_mismatch=deposit.amount_differs,
        )


class PendingDeposit(Payload):
    """A deposit that does not count yet; it is credited by itself when it does."""

    status: Literal["pending"]
    confirmations: int
    credited_at: Literal["safe", "finalized"]
    expected_seconds: int
    tx_hash: str
    message: str

    @classmethod
    def of(cls, deposit: UncountedDeposit) -> Self:
        """A deposit that does not count yet as an answer shows it."""
        return cls(
            status="pending",
            confirmations=deposit.confirmations,
            credited_at=deposit.counts_at,
            expected_seconds=deposit.expected_s,
            tx_hash=deposit.tx_hash,
            message=f"{deposit.reason} It is credited by itself when the chain calls its block `{deposit.counts_at}`.",
        )


class CreditsPayload(Payload):
    """An account's credit."""

    balance: UnsignedUsd
    held: UnsignedUsd
    available: UnsignedUsd
    total_top_up: UnsignedUsd
    total_spent: UnsignedUsd

    @classmethod
    def of(cls, credit: Credit) -> Self:
        """An account's credit as an answer shows it."""
        return cls(
            balance=credit.balance_nano,
            held=credit.held_nano,
            available=credit.available_nano,
            total_top_up=credit.total_topup_nano,
            total_spent=credit.total_spent_nano,
        )


_TOP_UP: Final = either(stripe_answer(TopUpPayload, 402, 422), object_answer(DepositAddressPayload))
_VERIFYING: Final = or_accepted(
    object_answer(VerifiedDeposit, 404, 422, body=True), PendingDeposit, "Not in a block that counts yet."
)


def router(context: ServiceContext) -> APIRouter:
    """Prepaid credit."""
    routes = APIRouter(prefix="/api/billing", tags=["billing"], dependencies=[CREDENTIAL])

    @routes.post("/topup", responses=_TOP_UP, openapi_extra=json_body(NewTopUp))
    async def top_up(request: Request) -> Response:
        """Buy prepaid credit: with `stripe`, open `sessionUrl` in a browser and pay; `stripe_direct` charges the saved
        card at once; with `usdc`, send USDC on Base to `address`, which is this account's own."""
        caller, claim, asked = await authenticated_body(context, request, Scope.BILLING_WRITE, NewTopUp)
        check_amount(context.settings.billing, asked.amount)
        if asked.method is TopUpMethod.USDC:
            return respond(await _request_deposit(context, caller.account_id, claim, asked.amount))
        detail = f"{format_usd(asked.amount)} USD of credit"
        if asked.method is TopUpMethod.STRIPE_DIRECT:
            charge = partial(topups.charge_saved_card, context, caller.account_id, asked.amount)
            entry = caller.entry(context, "credit.bought", detail)
            return respond(await run_idempotent(context, claim, charge, _charge_outcome, entry=entry))
        page = partial(topups.open_checkout, context, caller.account_id, asked.amount)
        entry = caller.entry(context, "checkout.opened", detail)
        return respond(await run_idempotent(context, claim, page, checkout_outcome, entry=entry))

    @routes.post("/verify-topup", responses=_VERIFYING, openapi_extra=json_body(DepositToVerify))
    async def verify_topup(request: Request) -> Response:
        """Have a USDC deposit looked up now. Deposits are credited without this, too, a little later."""
        caller, claim, asked = await authenticated_body(context, request, Scope.BILLING_WRITE, DepositToVerify)
        chain = usdc.configured_usdc(context)
        claimed = usdc.claimed_deposit(asked.tx_hash, asked.amount)
        work = partial(usdc.check_deposit, context, chain, caller.account_id, claimed)
        return respond(await run_idempotent(context, claim, work, _deposit_outcome))

    @routes.get("/credits", responses=object_answer(CreditsPayload))
    async def credit(request: Request) -> Response:
        """The account's credit: what is left, what calls in flight hold, and the totals so far."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        return respond(success(CreditsPayload.of(await topups.find_credit(context, caller.account_id))))

    return routes


async def _request_deposit(context: ServiceContext, account_id: str, claim: Claim | None, amount_nano: int) -> Answer:
    chain, now_us = usdc.configured_usdc(context), context.clock.now_us()

    def effect(conn: Connection) -> Outcome:
        wanted = usdc.request_deposit(conn, usdc=chain, account_id=account_id, amount_nano=amount_nano, now_us=now_us)
        return replayed(success(DepositAddressPayload.of(wanted)))

    return await run_idempotent_tx(context, claim, effect)


def _charge_outcome(charged: ChargedTopUp) -> Outcome:
    if charged.credited_nano is None:
        return replayed(success(TopUpPayload(status="pending", top_up_id=charged.id), status=_ACCEPTED))
    payload = TopUpPayload(
        status="credited", top_up_id=charged.id, credited=charged.credited_nano, balance=charged.balance_nano
    )
    return replayed(success(payload))


def _deposit_outcome(checked: CheckedDeposit) -> Outcome:
    """A repetition checks again while the transaction does not count."""
    match checked:
        case CreditedDeposit():
            return replayed(success(VerifiedDeposit.of(checked)))
        case UncountedDeposit():
            return Outcome(success(PendingDeposit.of(checked), status=_ACCEPTED), replay=None)
