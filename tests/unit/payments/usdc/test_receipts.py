"""Reading receipts: every form that an event may have, and answers that are no receipts."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.deposits import MAX_UNITS, Refusal, TokenTransfer
from tokenbooth.payments.usdc.receipts import TRANSFER_TOPIC, MalformedAnswer, Receipt, read_receipt, why_nothing
from tokenbooth.payments.usdc.rpc import Json

TOKEN = "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"
OURS = "0x00000000000000000000000000000000000000aa"
STRANGER = "0x00000000000000000000000000000000000000bb"
TX = "0x" + "11" * 32
BLOCK = "0x" + "22" * 32


def _word(number: int) -> str:
    return f"0x{number:064x}"


def _log(index: int = 0, changed: Mapping[str, Json] | None = None) -> dict[str, Json]:
    log: dict[str, Json] = {
        "address": TOKEN,
        "topics": [TRANSFER_TOPIC, _word(1), f"0x{OURS[2:]:0>64}"],
        "data": _word(50_000_000),
        "blockHash": BLOCK,
        "transactionHash": TX,
        "logIndex": hex(index),
        "removed": False,
    }
    return {**log, **(changed or {})}


def _receipt(*logs: Json, **changed: Json) -> dict[str, Json]:
    receipt: dict[str, Json] = {
        "transactionHash": TX,
        "blockHash": BLOCK,
        "blockNumber": "0x10",
        "status": "0x1",
        "logs": list(logs),
    }
    return {**receipt, **changed}


def _read(answer: Json) -> Receipt:
    return read_receipt(answer, tx_hash=TX, token=TOKEN)


def test_a_transfer_is_read() -> None:
    """The recipient and the amount come from the event; sender, call and value of the transaction are not looked at."""
    receipt = _read(_receipt(_log(), **{"from": "nonsense", "to": None, "value": "0x1"}))
    assert receipt.reading.transfers == (TokenTransfer(0, OURS, 50_000_000),)
    assert (receipt.block_number, receipt.block_hash, receipt.reverted) == (16, BLOCK, False)


def test_positions_are_those_in_the_transaction() -> None:
    """The index in the block depends on the block; the position among the transaction's events does not."""
    here = _read(_receipt(_log(7, {"topics": ["0x" + "33" * 32]}), _log(8), _log(9)))
    there = _read(_receipt(_log(103), _log(102), _log(101, {"topics": ["0x" + "33" * 32]})))
    assert [transfer.position for transfer in here.reading.transfers] == [1, 2]
    assert here.reading == there.reading


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"address": STRANGER}, Refusal.WRONG_TOKEN),
        ({"data": _word(0)}, Refusal.ZERO_AMOUNT),
        ({"data": _word(MAX_UNITS + 1)}, Refusal.TOO_LARGE),
        ({"data": _word(2**64)}, Refusal.TOO_LARGE),
        ({"data": _word(2**256 - 1)}, Refusal.TOO_LARGE),
        ({"data": "0x"}, Refusal.INVALID_TRANSFER),
        ({"data": "0x01"}, Refusal.INVALID_TRANSFER),
        ({"data": _word(1) + "00"}, Refusal.INVALID_TRANSFER),
        ({"removed": True}, Refusal.REMOVED),
        ({"removed": None}, Refusal.REMOVED),
        ({"topics": [TRANSFER_TOPIC, _word(1)]}, Refusal.INVALID_TRANSFER),
        ({"topics": [TRANSFER_TOPIC, _word(1), f"0x{OURS[2:]:0>64}", _word(2)]}, Refusal.INVALID_TRANSFER),
        ({"topics": [TRANSFER_TOPIC, _word(1), f"0x{OURS[2:]:1>64}"]}, Refusal.INVALID_TRANSFER),
    ],
)
def test_what_does_not_count_says_why(changed: Mapping[str, Json], reason: Refusal) -> None:
    """Scenario 24 and 31: each event that is no deposit is refused for its own reason."""
    receipt = _read(_receipt(_log(0, changed)))
    assert receipt.reading.transfers == ()
    assert why_nothing(receipt, frozenset({OURS})) is reason


def test_the_largest_amount_that_is_taken() -> None:
    """One billion USD is read exactly."""
    [transfer] = _read(_receipt(_log(0, {"data": _word(MAX_UNITS)}))).reading.transfers
    assert transfer.amount_nano == 10**18


def test_a_failed_transaction_left_nothing() -> None:
    """Whatever events a node shows for a transaction that failed, none counts."""
    receipt = _read(_receipt(_log(), status="0x0"))
    assert (receipt.reading.transfers, why_nothing(receipt, frozenset({OURS}))) == ((), Refusal.REVERTED)


def test_the_reason_that_is_about_us_is_told() -> None:
    """Among several refusals, the one that names the account's own address is told."""
    elsewhere = _log(1, {"address": STRANGER, "topics": [TRANSFER_TOPIC, _word(1), f"0x{STRANGER[2:]:0>64}"]})
    receipt = _read(_receipt(elsewhere, _log(2, {"data": _word(0)})))
    assert why_nothing(receipt, frozenset({OURS})) is Refusal.ZERO_AMOUNT
    assert why_nothing(_read(_receipt()), frozenset({OURS})) is Refusal.WRONG_TOKEN
    assert why_nothing(_read(_receipt(_log())), frozenset({STRANGER})) is Refusal.WRONG_RECIPIENT


@pytest.mark.parametrize(
    "answer",
    [
        [],
        "0x1",
        {},
        _receipt(transactionHash="0x" + "99" * 32),
        _receipt(status="0x2"),
        _receipt(status=1),
        _receipt(blockNumber="16"),
        _receipt(blockHash=None),
        _receipt(logs={}),
        _receipt(None),
        _receipt(_log(0, {"address": "0x1"})),
        _receipt(_log(0, {"data": "0x1"})),
        _receipt(_log(0, {"blockHash": "0x" + "99" * 32})),
        _receipt(_log(0, {"logIndex": None})),
    ],
)
def test_what_is_no_receipt_is_no_answer(answer: Json) -> None:
    """A node that answers something else is not believed at all, rather than in part."""
    with pytest.raises(MalformedAnswer):
        _read(answer)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([TX, BLOCK, TOKEN, "0x1", "0x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(_log())), inner, max_size=7),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*_receipt(), "extra"]), _JSON), _JSON)
def test_no_answer_breaks_the_reader(changed: dict[str, Json], log: Json) -> None:
    """P14: whatever a node answers is read or refused, never anything else."""
    for answer in (_receipt(log, **changed), _receipt(_log(0, changed))):
        try:
            read = _read(answer)
        except MalformedAnswer:
            continue
        assert all(0 < transfer.units <= MAX_UNITS for transfer in read.reading.transfers)
