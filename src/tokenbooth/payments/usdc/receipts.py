"""Reads a transaction's receipt: which transfers of the token it made, and what is wrong with the others.

Pure: what a node answered goes in, values come out. Only events count. Who sent a transaction, what it called and its
value are never looked at: a payment may come through a smart wallet, and a call may have failed inside.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tokenbooth.domain.deposits import MAX_UNITS, Reading, Refusal, TokenTransfer
from tokenbooth.payments.usdc.rpc import Json

TRANSFER_TOPIC: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""Keccak-256 of "Transfer(address,address,uint256)"."""

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
_WORD: Final = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_DATA: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_PADDING: Final = "0x" + 24 * "0"
_TRANSFER_TOPICS: Final = 3


class MalformedAnswer(ValueError):
    """A node's answer does not have the form that the JSON-RPC specification gives it; the message names the field."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction: where it is, and what it did with the token."""

    tx_hash: str
    block_number: int
    block_hash: str
    reverted: bool
    reading: Reading


def read_receipt(answer: Json, *, tx_hash: str, token: str) -> Receipt:
    """What a receipt says.

    Args:
        answer: a node's receipt object.
        tx_hash: what was asked for, in lower case.
        token: the contract that counts, in lower case.

    Raises:
        MalformedAnswer: it is no receipt, or another transaction's.
    """
    receipt = mapping(answer, "receipt")
    if word(receipt, "transactionHash") != tx_hash:
        raise MalformedAnswer("transactionHash is another transaction's")
    status = quantity(receipt, "status")
    if status not in (0, 1):
        raise MalformedAnswer("status")
    block_hash = word(receipt, "blockHash")
    logs = [mapping(log, "log") for log in _list(receipt, "logs")]
    if any(word(log, "blockHash") != block_hash for log in logs):
        raise MalformedAnswer("logs are of another block than the receipt")
    # A transaction that failed leaves no events behind.
    reading = Reading(()) if status == 0 else _read_logs(logs, token)
    return Receipt(tx_hash, quantity(receipt, "blockNumber"), block_hash, status == 0, reading)


def why_nothing(receipt: Receipt, addresses: frozenset[str]) -> Refusal:
    """Why a receipt brings nothing to any of an account's `addresses` (lower case)."""
    if receipt.reverted:
        return Refusal.REVERTED
    refused = receipt.reading.refused
    ours = [reason for reason, recipient in refused if recipient in addresses]
    if ours:
        return ours[0]
    if receipt.reading.transfers:
        return Refusal.WRONG_RECIPIENT
    # Nobody knows whom an event without a readable recipient was meant for; it says more than the one for strangers.
    unreadable = [reason for reason, recipient in refused if recipient is None]
    return unreadable[0] if unreadable else Refusal.WRONG_TOKEN


def _read_logs(logs: Sequence[Mapping[str, Json]], token: str) -> Reading:
    transfers: list[TokenTransfer] = []
    refused: list[tuple[Refusal, str | None]] = []
    in_order = sorted(logs, key=lambda log: quantity(log, "logIndex"))
    for position, log in enumerate(in_order):
        read = _read_log(log, position, token)
        if isinstance(read, TokenTransfer):
            transfers.append(read)
        elif read is not None:
            refused.append(read)
    return Reading(tuple(transfers), tuple(refused))


def _read_log(log: Mapping[str, Json], position: int, token: str) -> TokenTransfer | tuple[Refusal, str | None] | None:
    """A transfer, why an event is none that counts, or None for an event of another kind."""
    topics = _list(log, "topics")
    if not topics or not _is_text(topics[0], _WORD) or str(topics[0]).lower() != TRANSFER_TOPIC:
        return None
    recipient = recipient_of(topics)
    if address(log, "address") != token:
        return Refusal.WRONG_TOKEN, recipient
    units = units_of(text(log, "data", _DATA))
    if recipient is None or units is None:
        return Refusal.INVALID_TRANSFER, recipient
    # Some nodes leave the field out; in a receipt it should never be true.
    if log.get("removed", False) is not False:
        return Refusal.REMOVED, recipient
    if units == 0:
        return Refusal.ZERO_AMOUNT, recipient
    if units > MAX_UNITS:
        return Refusal.TOO_LARGE, recipient
    return TokenTransfer(position, recipient, units)


def units_of(data: Json) -> int | None:
    """The amount of a transfer, in micro-USD; None when the data is not that of one."""
    return int(str(data), 16) if _is_text(data, _WORD) else None


def recipient_of(topics: Sequence[Json]) -> str | None:
    """The recipient of a transfer, in lower case; None when the topics are not those of one."""
    if len(topics) != _TRANSFER_TOPICS or not _is_text(topics[2], _WORD):
        return None
    padded = str(topics[2]).lower()
    return f"0x{padded[len(_PADDING) :]}" if padded.startswith(_PADDING) else None


def mapping(value: Json, name: str) -> Mapping[str, Json]:
    """An object of an answer, or `MalformedAnswer`."""
    if not isinstance(value, Mapping):
        raise MalformedAnswer(name)
    return value


def quantity(fields: Mapping[str, Json], name: str) -> int:
    """A number of an answer (0x and hexadecimal digits), or `MalformedAnswer`."""
    return int(text(fields, name, _QUANTITY), 16)


def word(fields: Mapping[str, Json], name: str) -> str:
    """A hash of an answer in lower case, or `MalformedAnswer`."""
    return text(fields, name, _WORD).lower()


def address(fields: Mapping[str, Json], name: str) -> str:
    """An address of an answer in lower case, or `MalformedAnswer`."""
    return text(fields, name, _ADDRESS).lower()


def text(fields: Mapping[str, Json], name: str, form: re.Pattern[str]) -> str:
    """A text of an answer that has a form, or `MalformedAnswer`."""
    value = fields.get(name)
    if not _is_text(value, form):
        raise MalformedAnswer(name)
    return str(value)


def _list(fields: Mapping[str, Json], name: str) -> Sequence[Json]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise MalformedAnswer(name)
    return value


def _is_text(value: Json, form: re.Pattern[str]) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None
