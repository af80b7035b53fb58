"""What stands in a segment of the charge log, of this format or of the one before, damaged or not.

A damaged record costs one record at most. Behind it the next one is found by its mark, and where one bit of a record
is wrong the record is restored. A decision record says how sure that is. This module does no I/O; the start, the doctor
and the command `charges` read by it.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple, TypeVar

import msgspec

from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.settlement.charge_record import (
    AMOUNT_BITS,
    FORMAT,
    HEAD,
    MARK,
    MAX_RECORD_BYTES,
    NOT_COUNTED_BYTES,
)

_LENGTH_AND_CRC: Final = struct.Struct("<II")
# A record of format 1 has no mark, but each begins alike: an array of 25, the first of which is the format.
_MARK_1: Final = b"\xdc\x00\x19\x01"
_MARK_BYTES: Final = 4
_MARKS: Final = re.compile(b"|".join(map(re.escape, (MARK, _MARK_1))))
_BOUNDARIES_TRIED: Final = 4
# As long as a record of ours hardly is, for a segment without one that could be read.
_LONG_RECORD_BYTES: Final = 1024
_HEAD_FIELDS: Final = 2
_MAX_INTEGER: Final = 2**63 - 1
_IDS: Final = {
    "request_id": re.compile(r"req_[0-9a-f]{26}"),
    "account_id": re.compile(r"acct_[0-9a-f]{26}"),
    "key_id": re.compile(r"key_[0-9a-f]{26}"),
    "subscription_id": re.compile(r"(sub_[0-9a-f]{26})?"),
}
Shape = TypeVar("Shape", bound=tuple[object, ...])


class UnknownChargeFormat(Exception):
    """The log holds charges that this version cannot read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A place in a segment that is not as it was written.

    Attributes:
        offset: where it begins, in bytes.
        size_bytes: how long it is; of a restored record all of it.
        restored: the id of the request whose charge was restored there, empty for the segment's head; None when what
            stood there is lost.
    """

    offset: int
    size_bytes: int
    restored: str | None


@dataclass(slots=True)
class Recovered:
    """What was read of one segment.

    Attributes:
        charges: those that could be read or restored, in their order.
        damages: the places that were damaged.
        torn_bytes: an unfinished record at the end, as a process leaves that was killed while it wrote.
        epoch: the run that wrote the segment; empty in format 1, and when its head is lost.
        longest_bytes: the longest record that could be read or restored.
    """

    charges: list[Charge] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    torn_bytes: int = 0
    epoch: str = ""
    longest_bytes: int = 0

    @property
    def restored(self) -> list[str]:
        """The ids of the requests whose charges were restored."""
        return [damage.restored for damage in self.damages if damage.restored]

    @property
    def lost_bytes(self) -> int:
        """How many bytes could not be made anything of."""
        return sum(damage.size_bytes for damage in self.damages if damage.restored is None)

    @property
    def long_bytes(self) -> int:
        """As long as a record of this segment hardly is: a quarter longer than the longest that could be read."""
        return self.longest_bytes * 5 // 4 or _LONG_RECORD_BYTES

    @property
    def records_lost(self) -> int:
        """How many records at least could not be made anything of, see `records_in`."""
        return sum(self.records_in(damage) for damage in self.damages if damage.restored is None)

    def records_in(self, damage: Damage) -> int:
        """How many records at least a place held: where nothing tells them apart, its length does."""
        return max(damage.size_bytes // self.long_bytes, 1)

    def how_lost(self, damage: Damage) -> str:
        """What is told to people of a place that is lost."""
        count = self.records_in(damage)
        return "lost" if count == 1 else f"lost, at least {count} records"


class _Record(NamedTuple):
    """A record's payload, its format and where it ends."""

    payload: bytes
    format: int
    end: int


def recover(content: bytes) -> Recovered:
    """Read a segment.

    Raises:
        UnknownChargeFormat: a later version wrote it.
    """
    found = Recovered()
    at = 0
    while at < len(content):
        record = _sound(content, at)
        if record is None:
            behind = _next_sound(content, at + 1)
            _restore(content, at, behind, found)
            at = behind
        else:
            if not _take(record, at, found):
                found.damages.append(Damage(at, record.end - at, None))
            at = record.end
    return found


def read_fields(values: Sequence[object], shape: type[Shape]) -> Shape:
    """Values by number as a named tuple: one that is absent or nil gets its default, a number too high is ignored.

    Raises:
        msgspec.ValidationError: a value has another type, or is absent and has no default.
    """
    names: tuple[str, ...] = shape._fields  # type: ignore[attr-defined]
    defaults: dict[str, object] = shape._field_defaults  # type: ignore[attr-defined]
    known = [
        defaults[name] if value is None and name in defaults else value
        for name, value in zip(names, values, strict=False)
    ]
    return msgspec.convert(known, shape, strict=True)


def _sound(content: bytes, at: int) -> _Record | None:
    """The record that begins at an offset, if it is wholly as it was written."""
    if at + NOT_COUNTED_BYTES + _MARK_BYTES > len(content):
        return None
    counted_bytes, crc = _LENGTH_AND_CRC.unpack_from(content, at)
    end = at + NOT_COUNTED_BYTES + counted_bytes
    if not 0 < counted_bytes <= MAX_RECORD_BYTES or end > len(content):
        return None
    mark = content[at + NOT_COUNTED_BYTES : at + NOT_COUNTED_BYTES + _MARK_BYTES]
    if mark == _MARK_1:
        payload = content[at + NOT_COUNTED_BYTES : end]
        return _Record(payload, 1, end) if zlib.crc32(payload) == crc else None
    if mark != MARK or end < at + HEAD.size:
        return None
    amount = HEAD.unpack_from(content, at)[3]
    payload = content[at + HEAD.size : end]
    is_sound = zlib.crc32(payload) == crc and _amount(payload) in (amount, None)
    return _Record(payload, FORMAT, end) if is_sound else None


def _next_sound(content: bytes, start: int) -> int:
    """Where the first sound record from an offset on begins; the end of the content when there is none."""
    for at in _marked(content, start, len(content)):
        if _sound(content, at) is not None:
            return at
    return len(content)


def _marked(content: bytes, start: int, end: int) -> Iterator[int]:
    """Where records seem to begin by their marks alone."""
    for mark in _MARKS.finditer(content, start + NOT_COUNTED_BYTES, end):
        yield mark.start() - NOT_COUNTED_BYTES


def _take(record: _Record, at: int, found: Recovered) -> bool:
    """Take a record over, which begins at an offset; returns whether it could be understood."""
    try:
        values = msgspec.msgpack.decode(record.payload, type=list[object])
        if record.format == 1:
            found.charges.append(read_fields(values[1:], Charge))
        elif isinstance(values[0], int):
            found.epoch = _epoch(values)
        else:
            found.charges.append(read_fields(values, Charge))
    except (msgspec.DecodeError, IndexError):
        return False
    found.longest_bytes = max(found.longest_bytes, record.end - at)
    return True


def _epoch(head: Sequence[object]) -> str:
    written_in = head[0]
    if written_in != FORMAT:
        raise UnknownChargeFormat(
            f"the charge log was written by another version (format {written_in}); start that version once, then "
            "this one"
        )
    return str(head[1])


def _restore(content: bytes, start: int, end: int, found: Recovered) -> None:
    """Take what can be restored of a stretch in which no record is sound, and note the rest."""
    at = start
    while at < end:
        boundaries = [*islice(_marked(content, at + 1, end), _BOUNDARIES_TRIED), end]
        record = _restored(content, at, boundaries)
        charges_before = len(found.charges)
        if record is not None and _take(record, at, found):
            restored = found.charges[-1].request_id if len(found.charges) > charges_before else ""
            found.damages.append(Damage(at, record.end - at, restored))
            at = record.end
            continue
        behind = boundaries[0]
        if behind == len(content) and _is_cut_off(content[at:], found.long_bytes):
            found.torn_bytes += behind - at
        else:
            _note_lost(found, at, behind)
        at = behind


def _note_lost(found: Recovered, start: int, end: int) -> None:
    last = found.damages[-1] if found.damages else None
    if last is not None and last.restored is None and last.offset + last.size_bytes == start:
        # One stretch, whatever in it looked like the beginning of a record.
        start = found.damages.pop().offset
    found.damages.append(Damage(start, end - start, None))


def _is_cut_off(rest: bytes, long_bytes: int) -> bool:
    """Whether unreadable bytes are what a crash leaves of one record: its beginning, or zeros."""
    if len(rest) < NOT_COUNTED_BYTES:
        return True
    if not rest.strip(b"\0"):
        return len(rest) < long_bytes
    counted_bytes: int = _LENGTH_AND_CRC.unpack_from(rest)[0]
    mark = rest[NOT_COUNTED_BYTES : NOT_COUNTED_BYTES + _MARK_BYTES]
    return (
        0 < counted_bytes <= MAX_RECORD_BYTES
        and len(rest) < NOT_COUNTED_BYTES + counted_bytes
        and (MARK.startswith(mark) or _MARK_1.startswith(mark))
    )


def _restored(content: bytes, at: int, boundaries: Sequence[int]) -> _Record | None:
    """The record that begins at an offset and is damaged, as it was; None when that cannot be told for sure.

    Args:
        content: the segment.
        at: where the record begins.
        boundaries: where the next record may begin, the nearest first.
    """
    if at + NOT_COUNTED_BYTES + _MARK_BYTES > len(content):
        return None
    for end in _possible_ends(content, at, boundaries):
        payload = _payload_2(content, at, end)
        if payload is not None:
            return _Record(payload, FORMAT, end)
        payload = _payload_1(content, at, end)
        if payload is not None:
            return _Record(payload, 1, end)
    return None


def _possible_ends(content: bytes, at: int, boundaries: Sequence[int]) -> list[int]:
    """Where a damaged record may end: where its length says, where another begins, where its length with one byte
    changed says."""
    counted_bytes: int = _LENGTH_AND_CRC.unpack_from(content, at)[0]
    lengths = [counted_bytes, *(end - at - NOT_COUNTED_BYTES for end in boundaries)]
    for shift in (0, 8, 16, 24):
        others = counted_bytes & ~(0xFF << shift)
        lengths += [others | value << shift for value in range(256)]
    # No record reaches beyond the next one's mark, so there are few lengths to try.
    most = min(boundaries[-1] - at - NOT_COUNTED_BYTES, MAX_RECORD_BYTES)
    return [at + NOT_COUNTED_BYTES + length for length in dict.fromkeys(lengths) if _MARK_BYTES < length <= most]


def _payload_2(content: bytes, at: int, end: int) -> bytes | None:
    """The payload of a record of format 2 in which one bit is wrong, or its length and mark are."""
    if end <= at + HEAD.size:
        return None
    counted_bytes, crc, mark, amount = HEAD.unpack_from(content, at)
    payload = content[at + HEAD.size : end]
    is_framed = mark == MARK and counted_bytes == end - at - NOT_COUNTED_BYTES
    wrong_crc = crc ^ zlib.crc32(payload)
    if not wrong_crc:
        said = _amount(payload)
        fits = said == amount or (is_framed and said is not None and _is_one_bit(said ^ amount))
        return payload if fits and _makes_sense(payload) else None
    if not is_framed:
        return None
    tried = [payload] if _is_one_bit(wrong_crc) else list(_with_one_bit_changed(payload, crc))
    return next((other for other in tried if _amount(other) == amount and _makes_sense(other)), None)


def _payload_1(content: bytes, at: int, end: int) -> bytes | None:
    """The payload of a record of format 1 in which one bit is wrong."""
    counted_bytes, crc = _LENGTH_AND_CRC.unpack_from(content, at)
    payload = content[at + NOT_COUNTED_BYTES : end]
    wrong_crc = crc ^ zlib.crc32(payload)
    wrong_length = counted_bytes ^ len(payload)
    tried: list[bytes] = []
    if (not wrong_crc and _is_one_bit(wrong_length)) or (not wrong_length and _is_one_bit(wrong_crc)):
        tried = [payload]
    elif not wrong_length:
        tried = list(_with_one_bit_changed(payload, crc))
    return next((other for other in tried if other.startswith(_MARK_1) and _makes_sense(other)), None)


def _amount(payload: bytes) -> int | None:
    """What the head of a record of format 2 says of its payload; None where nobody can tell."""
    try:
        values = msgspec.msgpack.decode(payload, type=list[object])
        return 0 if isinstance(values[0], int) else read_fields(values, Charge).charged_nano & AMOUNT_BITS
    except (msgspec.DecodeError, IndexError):
        return None


def _makes_sense(payload: bytes) -> bool:
    """Whether a payload can have been written by a server: ids of the right form, and numbers that can be."""
    try:
        values = msgspec.msgpack.decode(payload, type=list[object])
        if not isinstance(values[0], int):
            charge = read_fields(values, Charge)
        elif len(values) == _HEAD_FIELDS:
            return True
        else:
            charge = read_fields(values[1:], Charge)
    except (msgspec.DecodeError, IndexError):
        return False
    ids_fit = all(pattern.fullmatch(getattr(charge, name)) for name, pattern in _IDS.items())
    numbers = [value for value in charge if isinstance(value, int)]
    return ids_fit and all(0 <= number <= _MAX_INTEGER for number in numbers)


def _is_one_bit(difference: int) -> bool:
    return difference.bit_count() == 1


# What a changed last byte changes in a CRC-32, by the change; a CRC is linear, so it does not matter what stands there.
_EFFECTS: Final = [zlib.crc32(bytes((change,))) ^ zlib.crc32(b"\0") for change in range(256)]
_BITS: Final = {_EFFECTS[1 << bit]: 1 << bit for bit in range(8)}
_BY_TOP_BYTE: Final = {effect >> 24: change for change, effect in enumerate(_EFFECTS)}


def _with_one_bit_changed(payload: bytes, crc: int) -> Iterator[bytes]:
    """Every payload that differs in one bit and has this CRC-32; there is one at most.

    From the last byte to the first: what a change there does to the CRC is what remains of the difference after undoing
    the bytes behind it.
    """
    difference = zlib.crc32(payload) ^ crc
    for place in range(len(payload) - 1, -1, -1):
        bit = _BITS.get(difference)
        if bit is not None:
            yield payload[:place] + bytes((payload[place] ^ bit,)) + payload[place + 1 :]
        undone = _BY_TOP_BYTE[difference >> 24]
        difference = ((difference ^ _EFFECTS[undone]) << 8 & 0xFFFFFFFF) | undone
