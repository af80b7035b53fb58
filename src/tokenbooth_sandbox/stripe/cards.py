"""The card numbers that the sandbox knows, Stripe's documented test numbers, and how they behave.

A number lives only as long as the call that brings it; what is kept is brand and last four digits. Pure.
"""

from dataclasses import dataclass

from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import CardBehaviour


@dataclass(frozen=True, slots=True)
class Card:
    """A card that was typed in. `delayed`: the payment is confirmed or refused days later, as a bank
    debit's."""

    brand: str
    last4: str
    behaviour: CardBehaviour
    decline_code: str | None = None
    delayed: bool = False


_KNOWN = {
    "4242424242424242": Card("visa", "4242", "ok"),
    "5555555555554444": Card("mastercard", "4444", "ok"),
    "378282246310005": Card("amex", "0005", "ok"),
    "4000000000000341": Card("visa", "0341", "fails_later"),
    "4000000000000002": Card("visa", "0002", "declines", "generic_decline"),
    # Pays when the customer is there, needs their bank's page when not.
    "4000002500003155": Card("visa", "3155", "authenticate"),
    "4000000000000259": Card("visa", "0259", "disputed"),
    "4000000000009995": Card("visa", "9995", "declines", "insufficient_funds"),
    # A bank account number of Stripe's tests: typed as a card it stands for a method that is confirmed later.
    "000123456789": Card("bank", "6789", "ok", delayed=True),
}

DECLINED = "Your card was declined."
_MESSAGES = {
    "insufficient_funds": "Your card has insufficient funds.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}


def read_card(number: str) -> Card:
    """The card behind a number, written with or without spaces. Raises Stripe's refusals for any other."""
    digits = number.replace(" ", "").replace("-", "")
    if not digits.isascii() or not digits.isdigit() or not 12 <= len(digits) <= 19:
        message = "Your card number is incorrect."
        raise StripeFailure(message, status=402, kind="card_error", code="incorrect_number", param="number")
    card = _KNOWN.get(digits)
    if card is None:
        message = f"{DECLINED} This is a sandbox: use the test number 4242 4242 4242 4242."
        raise declined("test_mode_live_card", message)
    return card


def declined(decline_code: str | None, message: str | None = None) -> StripeFailure:
    """Stripe's refusal of a card."""
    return StripeFailure(
        message or _MESSAGES.get(decline_code or "", DECLINED),
        status=402,
        kind="card_error",
        code="authentication_required" if decline_code == "authentication_required" else "card_declined",
        decline_code=decline_code or "generic_decline",
    )
