"""Format 2 of the charge log: how a charge and the head of a segment are written.

A record is, little endian: the length of what follows the CRC (32 bits), the CRC-32 of the payload, a mark of four
bytes by which a reader finds the next record behind a damaged one, the lowest 32 bits of the charged amount once more,
and the payload. That is a MessagePack array. A charge's fields are numbered by their place in it: a later version
appends fields and gives them defaults, it never moves or reuses a number. The first record of a segment is its head:
the format, and the epoch, which is the id of the run that wrote it.
"""

import struct
import zlib
from typing import Final

import msgspec

from tokenbooth.domain.charges import Charge

FORMAT: Final = 2
# 0xC1 is neither in MessagePack nor in UTF-8, so no text of a charge, whoever chose it, can hold a mark.
MARK: Final = b"\xc1tb\x02"
HEAD: Final = struct.Struct("<II4sI")
# What its first number, the length, leaves out: itself and the CRC.
NOT_COUNTED_BYTES: Final = 8
MAX_RECORD_BYTES: Final = 64 * 1024
# A restored record has to agree with it. A second checksum would say more, for 1,300 instructions more a request.
AMOUNT_BITS: Final = 0xFFFFFFFF
_HEAD_COUNTED_BYTES: Final = 8
_encode = msgspec.msgpack.Encoder().encode


def encode_record(charge: Charge) -> bytes:
    """A charge as it stands in a segment."""
    payload = _encode(charge)
    counted_bytes = _HEAD_COUNTED_BYTES + len(payload)
    return HEAD.pack(counted_bytes, zlib.crc32(payload), MARK, charge.charged_nano & AMOUNT_BITS) + payload


def encode_segment_head(epoch: str) -> bytes:
    """The first record of a segment, written by the run `epoch`."""
    payload = _encode((FORMAT, epoch))
    return HEAD.pack(_HEAD_COUNTED_BYTES + len(payload), zlib.crc32(payload), MARK, 0) + payload
