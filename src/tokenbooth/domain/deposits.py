"""Deposits of USDC: what one is, and what a transaction may be refused for.

Amounts on the chain are micro-USD ("units"), six decimals; in the books they are nano-USD. Nothing here talks to a
chain or a database.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tokenbooth.domain.money import NANO_PER_MICRO_USD

DECIMALS: Final = 6
MAX_UNITS: Final = 10**15
"""One billion USD: far above any deposit, far below where 64 bits of nano-USD end."""


class Refusal(StrEnum):
    """Why a transaction brings nothing; stable codes, for programs."""

    REVERTED = "tx_reverted"
    WRONG_TOKEN = "wrong_token"  # noqa: S105
    WRONG_RECIPIENT = "wrong_recipient"
    ZERO_AMOUNT = "zero_amount"
    TOO_LARGE = "amount_too_large"
    INVALID_TRANSFER = "invalid_transfer"
    REMOVED = "tx_removed"


REFUSAL_TEXTS: Final = {
    Refusal.REVERTED: "The transaction failed on the chain, so nothing was transferred.",
    Refusal.WRONG_TOKEN: "The transaction transfers another token. Only native USDC on this chain is credited.",
    Refusal.WRONG_RECIPIENT: "The transaction pays another address than this account's deposit address.",
    Refusal.ZERO_AMOUNT: "The transaction transfers an amount of zero.",
    Refusal.TOO_LARGE: "The amount is beyond what this server can hold; please contact the operator.",
    Refusal.INVALID_TRANSFER: "The transaction's Transfer event does not have the form of an ERC-20 transfer.",
    Refusal.REMOVED: "The chain was reorganised and the transaction is no longer in it. Ask again in some minutes.",
}


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block: its number, its hash, and when it was made (UTC seconds)."""

    number: int
    hash: str
    timestamp_s: int


@dataclass(frozen=True, slots=True)
class TokenTransfer:
    """A transfer of the token that a transaction made.

    Attributes:
        position: of the event among those of its transaction. The number that nodes give counts within the block, and
            changes when the transaction is mined again elsewhere; this one does not.
        recipient: the address that was paid, in lower case.
        units: micro-USD.
    """

    position: int
    recipient: str
    units: int

    @property
    def amount_nano(self) -> int:
        """The amount in nano-USD."""
        return self.units * NANO_PER_MICRO_USD


@dataclass(frozen=True, slots=True)
class PendingDeposit:
    """A transfer to an address of ours in a block that does not count yet; for people to see, not for the books.

    Attributes:
        tx_hash: in lower case.
        recipient: in lower case.
        amount_nano: in nano-USD.
        confirmations: blocks on top of it when the chain was last looked at, its own included.
    """

    tx_hash: str
    recipient: str
    amount_nano: int
    confirmations: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a transaction did with the token.

    Attributes:
        transfers: the good ones, to whomever.
        refused: what is wrong with others: the reason, and the recipient in lower case where one can be told.
    """

    transfers: tuple[TokenTransfer, ...]
    refused: tuple[tuple[Refusal, str | None], ...] = ()


def payment_uri(*, token: str, chain_id: int, address: str, amount_nano: int) -> str:
    """A link that wallets open as a filled-in transfer (EIP-681).

    Args:
        token, address: with their checksums.
        chain_id: the chain.
        amount_nano: whole micro-USD, in nano-USD.
    """
    units = amount_nano // NANO_PER_MICRO_USD
    return f"ethereum:{token}@{chain_id}/transfer?address={address}&uint256={units}"
