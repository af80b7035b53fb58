"""What is read of a damaged charge log: everything that the damage did not touch, and what can be restored for sure."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gateway.settlement.test_charge_log import CHARGE, EPOCH, charges
from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.gateway.settlement.charge_record import HEAD, MARK, encode_record, encode_segment_head
from tokenbooth.gateway.settlement.charge_recovery import (
    Damage,
    Recovered,
    UnknownChargeFormat,
    read_fields,
    recover,
)
from tokenbooth.kit.ids import IdPrefix, new_id

LEFT_BY_0_1_0 = Path(__file__).parents[3] / "system" / "upgrade" / "0.1.0" / "sqlite" / "charges" / "000000000001.log"


def real(number: int) -> Charge:
    """A charge as the service makes it."""
    return CHARGE._replace(
        request_id=new_id(IdPrefix.REQUEST, number),
        account_id=new_id(IdPrefix.ACCOUNT, number),
        key_id=new_id(IdPrefix.API_KEY, number),
        subscription_id=new_id(IdPrefix.SUBSCRIPTION, number) if number % 2 else "",
        pool=PoolKind.WINDOW if number % 2 else PoolKind.CREDIT,
        charged_nano=number * 977,
        estimated=number % 3 == 0,
    )


def encode_1(charge: Charge) -> bytes:
    """A record of format 1, written anew from its description."""
    payload = msgspec.msgpack.encode((1, *charge))
    return struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


def accounted_bytes(found: Recovered, encode: Callable[[Charge], bytes]) -> int:
    """How many bytes are told of: as a sound record, as damage, or as unfinished."""
    sound = [charge for charge in found.charges if charge.request_id not in found.restored]
    has_sound_head = found.epoch and not any(damage.restored == "" for damage in found.damages)
    told = sum(damage.size_bytes for damage in found.damages) + found.torn_bytes
    return told + sum(len(encode(charge)) for charge in sound) + (len(RECORDS_2[0]) if has_sound_head else 0)


WRITTEN = [real(number) for number in range(1, 5)]
RECORDS_2 = [encode_segment_head(EPOCH), *map(encode_record, WRITTEN)]
RECORDS_1 = [encode_1(charge) for charge in WRITTEN]


def touched(records: list[bytes], start: int, end: int) -> list[int]:
    """Which records have a byte in a stretch of the segment."""
    at, found = 0, []
    for number, record in enumerate(records):
        if at < end and start < at + len(record):
            found.append(number)
        at += len(record)
    return found


def kept(records: list[bytes], lost: list[int]) -> list[Charge]:
    """The charges of the other records."""
    first_charge = len(records) - len(WRITTEN)
    return [charge for number, charge in enumerate(WRITTEN, first_charge) if number not in lost]


@pytest.mark.parametrize("records", [RECORDS_2, RECORDS_1], ids=["format 2", "format 1"])
def test_an_undamaged_segment_is_read(records: list[bytes]) -> None:
    """Every charge of either format, in order, without a word of damage."""
    found = recover(b"".join(records))

    assert (found.charges, found.damages, found.torn_bytes) == (WRITTEN, [], 0)
    assert found.epoch == (EPOCH if records is RECORDS_2 else "")


def test_the_log_of_version_0_1_0_is_read() -> None:
    """What that version really wrote is what these tests write as format 1."""
    content = LEFT_BY_0_1_0.read_bytes()
    found = recover(content)

    assert (len(found.charges), found.damages, found.torn_bytes) == (15, [], 0)
    assert b"".join(map(encode_1, found.charges)) == content


@pytest.mark.parametrize("records", [RECORDS_2, RECORDS_1], ids=["format 2", "format 1"])
def test_one_flipped_bit_anywhere_loses_nothing(records: list[bytes]) -> None:
    """In lengths, checksums, marks, the segment's head and payloads alike; the damage is told with its place."""
    content = b"".join(records)
    for bit in range(len(content) * 8):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        found = recover(bytes(damaged))

        assert found.charges == WRITTEN, f"bit {bit}"
        (number,) = touched(records, bit // 8, bit // 8 + 1)
        at = len(b"".join(records[:number]))
        is_head = records is RECORDS_2 and number == 0
        restored = "" if is_head else WRITTEN[number - (records is RECORDS_2)].request_id
        assert found.damages == [Damage(at, len(records[number]), restored)], f"bit {bit}"
        assert found.torn_bytes == 0


@settings(max_examples=300)
@given(data=st.data(), is_old=st.booleans())
def test_a_run_of_bytes_costs_the_records_that_it_touches(data: st.DataObject, is_old: bool) -> None:
    """Overwritten, cut out or pushed in: all other records are read, nothing is made up, and it is told."""
    records = RECORDS_1 if is_old else RECORDS_2
    content = b"".join(records)
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start, len(content)))
    put = data.draw(st.one_of(st.binary(min_size=end - start, max_size=end - start), st.binary(max_size=600)))
    damaged = content[:start] + put + content[end:]
    found = recover(damaged)

    certain = kept(records, touched(records, start, end))
    assert [charge for charge in found.charges if charge in certain] == certain
    assert all(charge in WRITTEN for charge in found.charges)
    assert accounted_bytes(found, encode_1 if is_old else encode_record) == len(damaged)


@given(st.lists(charges, min_size=1, max_size=3), st.data())
def test_any_two_damages_lose_no_third_record(written: list[Charge], data: st.DataObject) -> None:
    """Whatever stands in the charges, bytes changed in two records leave those between and around them alone."""
    records = [encode_segment_head(EPOCH)]
    for charge in written:
        records += [encode_record(charge), encode_record(CHARGE)]
    numbers = data.draw(st.lists(st.integers(0, len(records) - 1), min_size=2, max_size=2, unique=True))
    spoilt = [bytearray(record) for record in records]
    for number in numbers:
        for _ in range(3):
            place = data.draw(st.integers(0, len(records[number]) - 1))
            spoilt[number][place] ^= data.draw(st.integers(1, 255))
    found = recover(b"".join(map(bytes, spoilt)))

    expected = [charge for pair in ((charge, CHARGE) for charge in written) for charge in pair]
    certain = [charge for number, charge in enumerate(expected, 1) if number not in numbers]
    assert len(found.charges) >= len(certain)
    assert all(charge in found.charges for charge in certain)
    assert all(charge in expected for charge in found.charges)


@pytest.mark.parametrize("records", [RECORDS_2, RECORDS_1], ids=["format 2", "format 1"])
def test_an_unfinished_last_record_is_no_damage(records: list[bytes]) -> None:
    """A process that was killed while it wrote leaves the beginning of a record, or zeros."""
    for length in range(1, len(records[-1])):
        found = recover(b"".join(records[:-1]) + records[-1][:length])
        assert (found.charges, found.damages, found.torn_bytes) == (WRITTEN[:-1], [], length)


@pytest.mark.parametrize("place", ["first", "in the middle", "last", "all of them"])
@settings(max_examples=50)
@given(count=st.integers(2, 200), texts=st.integers(0, 60))
def test_a_zeroed_stretch_counts_by_its_length(place: str, count: int, texts: int) -> None:
    """Nothing tells the records in it apart, so it says how many at least: never too many, and most of them."""
    numbers = range(1, count + 9)
    written = [real(number)._replace(model="m" * (20 + number * 7 % (texts + 1))) for number in numbers]
    records = [encode_segment_head(EPOCH), *map(encode_record, written)]
    start = {"first": 1, "in the middle": 5, "last": 9, "all of them": 0}[place]
    end = len(records) if place in ("last", "all of them") else start + count
    zeroed = [bytes(len(record)) if start <= number < end else record for number, record in enumerate(records)]
    found = recover(b"".join(zeroed))

    (damage,) = found.damages
    assert (damage.restored, damage.size_bytes) == (None, sum(map(len, records[start:end])))
    assert found.torn_bytes == 0
    lost = end - start
    least = lost // 2 if found.charges else damage.size_bytes // 1024
    assert max(least, 1) <= found.records_lost == found.records_in(damage) <= lost
    assert found.charges == [charge for number, charge in enumerate(written, 1) if not start <= number < end]


@pytest.mark.parametrize("length", [1, 7, 100, 250])
def test_zeros_of_one_record_at_the_end_are_unfinished(length: int) -> None:
    """A file that was made longer before a power loss took what stood there: one record, no damage."""
    found = recover(b"".join(RECORDS_2) + bytes(length))
    assert (found.charges, found.damages, found.torn_bytes) == (WRITTEN, [], length)


def test_a_flipped_bit_before_an_unfinished_record_is_restored() -> None:
    """Both at once, as after a power loss on a bad disk."""
    content = bytearray(b"".join(RECORDS_2[:-1]) + RECORDS_2[-1][:40])
    at = len(b"".join(RECORDS_2[:-2]))
    for place in (at, at + 5, at + 9, at + 13, at + 60):
        damaged = bytes(content[:place]) + bytes([content[place] ^ 8]) + bytes(content[place + 1 :])
        found = recover(damaged)
        assert (found.charges, found.torn_bytes) == (WRITTEN[:-1], 40)
        assert found.restored == [WRITTEN[-2].request_id]


def test_neighbours_that_are_damaged_each_are_restored_each() -> None:
    """One byte of every record is wrong, and all of them come back."""
    spoilt = [bytearray(record) for record in RECORDS_2]
    for number, record in enumerate(spoilt):
        record[(number * 37) % len(record)] ^= 0x10
    found = recover(b"".join(map(bytes, spoilt)))

    assert (found.charges, found.epoch) == (WRITTEN, EPOCH)
    assert len(found.damages) == len(RECORDS_2)


@settings(max_examples=300)
@given(data=st.data(), is_old=st.booleans())
def test_two_or_three_wrong_bits_restore_nothing_else(data: st.DataObject, is_old: bool) -> None:
    """A CRC-32 tells four wrong bits in so short a record for sure, so one that is restored is the one that was."""
    encode = encode_1 if is_old else encode_record
    spoilt = bytearray(encode(WRITTEN[1]))
    bits = st.integers(0, len(spoilt) * 8 - 1)
    for bit in data.draw(st.lists(bits, min_size=2, max_size=3, unique=True)):
        spoilt[bit // 8] ^= 1 << bit % 8
    found = recover(encode(WRITTEN[0]) + bytes(spoilt) + encode(WRITTEN[2]))

    others = [charge for charge in found.charges if charge != WRITTEN[1]]
    assert others == [WRITTEN[0], WRITTEN[2]]
    assert found.damages


def test_an_amount_that_differs_from_the_one_beside_it_is_not_booked() -> None:
    """A payload that fits its checksum by chance has to name the amount that stands in front of it."""
    other = encode_record(WRITTEN[1]._replace(charged_nano=10**15))
    forged = other[:12] + RECORDS_2[2][12:16] + other[16:]
    found = recover(RECORDS_2[1] + forged + RECORDS_2[3])

    assert found.charges == [WRITTEN[0], WRITTEN[2]]
    assert found.lost_bytes == len(forged)


@pytest.mark.parametrize(("encode", "next_record"), [(encode_record, RECORDS_2[1]), (encode_1, RECORDS_1[0])])
@pytest.mark.parametrize("strange", [{"request_id": "req_nobody_made_this"}, {"prompt_tokens": -1}])
def test_a_restored_charge_must_make_sense(
    encode: Callable[[Charge], bytes], next_record: bytes, strange: dict[str, Any]
) -> None:
    """A single bit that fits the checksum, but leaves what the service never writes, restores nothing."""
    spoilt = bytearray(encode(WRITTEN[1]._replace(**strange)))
    spoilt[70] ^= 1

    assert recover(bytes(spoilt) + next_record).charges == [WRITTEN[0]]


def test_a_text_cannot_pass_for_a_record() -> None:
    """A mark is no UTF-8, so no text that a customer chose holds one, and damage around it uncovers no charge."""
    with pytest.raises(UnicodeDecodeError):
        MARK.decode()
    forged = encode_record(real(7)).decode("latin-1")
    carrier = encode_record(CHARGE._replace(model=forged))
    spoilt = bytearray(carrier)
    for place in range(20):
        spoilt[place] ^= 0xFF

    assert recover(bytes(spoilt) + RECORDS_2[1]).charges == [WRITTEN[0]]


def test_a_mark_alone_is_no_record() -> None:
    """Numbers may look like a mark by chance: what counts is what stands behind it."""
    content = RECORDS_2[1] + bytes(11) + MARK + bytes(30) + RECORDS_2[2]
    found = recover(content)

    assert found.charges == WRITTEN[:2]
    assert found.damages == [Damage(len(RECORDS_2[1]), 45, None)]


def test_a_record_that_nobody_understands_is_told() -> None:
    """Checksums that fit do not make a charge of something else."""
    payload = msgspec.msgpack.encode(["req_1", "only two fields"])
    strange = HEAD.pack(len(payload) + 8, zlib.crc32(payload), MARK, 0) + payload
    found = recover(strange + RECORDS_2[1])

    assert found.charges == [WRITTEN[0]]
    assert found.damages == [Damage(0, len(strange), None)]


def test_a_log_of_a_later_version_is_refused() -> None:
    """It is not damaged, and must not be treated as if it were."""
    payload = msgspec.msgpack.encode([3, EPOCH, "something new"])
    head = HEAD.pack(len(payload) + 8, zlib.crc32(payload), MARK, 0) + payload

    with pytest.raises(UnknownChargeFormat, match="format 3"):
        recover(head + RECORDS_2[1])


class Later(NamedTuple):
    """A shape with fields that an earlier version does not know."""

    name: str
    number: int
    windows: list[str] = ["5h"]  # noqa: RUF012 - a named tuple's default
    tokens: dict[str, int] = {}  # noqa: RUF012


class Earlier(NamedTuple):
    """The shape before it."""

    name: str
    number: int


def test_fields_are_known_by_number() -> None:
    """An absent one gets its default, so does nil; a number that is too high is ignored; lists and maps may stand."""
    assert read_fields(["a", 1], Later) == Later("a", 1)
    assert read_fields(["a", 1, None, {"audio": 3}], Later) == Later("a", 1, ["5h"], {"audio": 3})
    assert read_fields(["a", 1, ["1d", "1mo"], {}], Earlier) == Earlier("a", 1)
    with pytest.raises(msgspec.ValidationError):
        read_fields(["a", None], Earlier)
    with pytest.raises(msgspec.ValidationError):
        read_fields(["a"], Earlier)


def test_noise_is_read_in_bounded_time_and_holds_nothing() -> None:
    """A file of something else: no charge, all of it told."""
    noise = bytes(range(256)) * 512
    found = recover(noise)

    assert found.charges == []
    assert found.lost_bytes + found.torn_bytes == len(noise)
    assert recover(b"") == Recovered()
