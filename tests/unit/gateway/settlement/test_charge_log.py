"""The charge log: what was written is read back, what was torn is cut, and one process owns it."""

import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.gateway.settlement.charge_files import count_set_aside, next_number, read_back, read_file
from tokenbooth.gateway.settlement.charge_log import (
    SEGMENT_BYTES,
    ChargeLog,
    ChargeLogFull,
    DataDirectoryLocked,
    DirectoryLock,
    Segment,
)
from tokenbooth.gateway.settlement.charge_record import encode_record
from tokenbooth.gateway.settlement.charge_recovery import recover

EPOCH = "gw_06615ff9f9c9ed7a3adb3c52e6"
CHARGE = Charge(
    request_id="req_1",
    account_id="acct_1",
    key_id="key_1",
    pool=PoolKind.WINDOW,
    subscription_id="sub_1",
    window_start_us=5,
    model="deepseek/deepseek-chat-v3-0324",
    endpoint="chat.completions",
    upstream="demo",
    finished_at_us=1_772_704_800_000_000,
    prompt_tokens=10,
    cached_tokens=3,
    cache_write_tokens=2,
    completion_tokens=7,
    reasoning_tokens=4,
    input_price=270_000_000,
    cached_price=70_000_000,
    cache_write_price=270_000_000,
    output_price=1_100_000_000,
    per_request_nano=0,
    charged_nano=12_345,
    uncollected_nano=1,
    upstream_cost_nano=9,
    estimated=False,
)
# As a server makes it: only such a one is restored.
REAL = CHARGE._replace(
    request_id="req_06615ffa6d4728197c8e88a26b",
    account_id="acct_06615ff9f9c9ed7a3adb3c52e6",
    key_id="key_06615ffa1747c71022f809c925",
    subscription_id="sub_06615ffa14ab97c9450a21d672",
)
big = st.integers(min_value=0, max_value=2**63 - 1)
charges = st.builds(
    CHARGE._replace,
    request_id=st.text(max_size=40),
    model=st.text(max_size=100),
    pool=st.sampled_from(PoolKind),
    prompt_tokens=big,
    charged_nano=big,
    uncollected_nano=big,
    estimated=st.booleans(),
)


def numbered(number: int) -> Charge:
    return CHARGE._replace(request_id=f"req_{number}")


def segment_of(data_dir: Path, content: bytes, number: int = 1) -> Path:
    """A segment as an earlier run left it."""
    (data_dir / "charges").mkdir(exist_ok=True)
    path = data_dir / "charges" / f"{number:012d}.log"
    path.write_bytes(content)
    return path


def files(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "charges").iterdir())


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    """Every field of every charge, in order, also after a regular end with charges left."""
    log = ChargeLog(tmp_path, first_number=next_number(tmp_path), epoch=EPOCH)
    written = [numbered(n) for n in range(5)]
    for charge in written:
        log.append(charge)
    before = read_back(tmp_path)
    log.close()

    assert before.charges == read_back(tmp_path).charges == tuple(written)
    assert before.torn_bytes == 0


@given(st.lists(charges, max_size=4))
def test_any_charge_survives(tmp_path_factory: pytest.TempPathFactory, written: list[Charge]) -> None:
    """Whatever the texts and numbers of a charge are, they come back."""
    data_dir = tmp_path_factory.mktemp("log")
    segment_of(data_dir, b"".join(map(encode_record, written)))

    assert read_back(data_dir).charges == tuple(written)


def test_a_tail_torn_at_any_byte_is_cut(tmp_path: Path) -> None:
    """A power loss in the middle of the last record costs that record only."""
    whole = encode_record(numbered(1)) + encode_record(numbered(2))
    last = encode_record(numbered(3))
    for kept in range(len(last)):
        segment_of(tmp_path, whole + last[:kept])
        replay = read_back(tmp_path)
        assert replay.charges == (numbered(1), numbered(2))
        assert replay.torn_bytes == kept


@pytest.mark.parametrize("zeros", [1, 7, 8, 9, 16, 150])
def test_a_tail_of_zeros_is_torn(tmp_path: Path, zeros: int) -> None:
    """After a power loss a file system may leave zeros where data was to come; the start has to survive that."""
    segment_of(tmp_path, encode_record(CHARGE) + bytes(zeros))
    replay = read_back(tmp_path)

    assert (replay.charges, replay.torn_bytes, replay.damaged) == ((CHARGE,), zeros, ())


def test_a_tail_of_zeros_as_long_as_many_records_is_damage(tmp_path: Path) -> None:
    """Whoever lost so many charges is told, at least how many."""
    segment_of(tmp_path, encode_record(CHARGE) + bytes(4096))
    (segment,) = read_back(tmp_path).damaged

    assert (segment.content.charges, segment.content.torn_bytes, segment.content.lost_bytes) == ([CHARGE], 0, 4096)
    assert 10 <= segment.content.records_lost <= 4096 // len(encode_record(CHARGE))


def test_a_torn_segment_does_not_hide_the_next_one(tmp_path: Path) -> None:
    """Segments are read in their order, each to its own first torn record."""
    segment_of(tmp_path, encode_record(numbered(1)) + b"\x05", number=9)
    segment_of(tmp_path, encode_record(numbered(2)), number=10)
    replay = read_back(tmp_path)

    assert replay.charges == (numbered(1), numbered(2))
    assert next_number(tmp_path) == 11


def spoilt(record: bytes, *places: int) -> bytes:
    """A record with a wrong byte at each place."""
    wrong = bytearray(record)
    for place in places:
        wrong[place] ^= 0x41
    return bytes(wrong)


def test_a_damaged_segment_is_kept(tmp_path: Path) -> None:
    """What could not be read is kept for the operator, as is what was restored: nothing about it is deleted (P10)."""
    lost = spoilt(encode_record(numbered(1)), 20, 40) + encode_record(numbered(2))
    whole = encode_record(REAL)
    restored = whole[:20] + bytes([whole[20] ^ 1]) + whole[21:]
    segment_of(tmp_path, lost, number=1)
    segment_of(tmp_path, restored, number=2)
    segment_of(tmp_path, encode_record(numbered(4)), number=3)
    replay = read_back(tmp_path)
    replay.discard()

    assert replay.charges == (numbered(2), REAL, numbered(4))
    assert [file.is_damaged for file in replay.segments] == [True, True, False]
    kept = {path.name: path.read_bytes() for path in (tmp_path / "charges").iterdir()}
    assert kept == {"000000000001.damaged": lost, "000000000002.damaged": restored}
    assert count_set_aside(tmp_path) == {"damaged": 2, "refused": 0}


def test_a_kept_segment_is_never_overwritten(tmp_path: Path) -> None:
    """Segments' numbers begin anew, so another one of the same number may be damaged as well."""
    for number in range(3):
        segment_of(tmp_path, spoilt(encode_record(numbered(number)), 20))
        read_back(tmp_path).discard()

    assert files(tmp_path) == ["000000000001-2.damaged", "000000000001-3.damaged", "000000000001.damaged"]


def test_a_segment_that_the_disk_does_not_give_back_does_not_stop_the_start(tmp_path: Path) -> None:
    """A bad sector is damage like any other: told, kept aside, and the other segments are read."""
    segment_of(tmp_path, encode_record(numbered(1)), number=1)
    # The first page of a process's memory cannot be read: EIO, as from a bad sector.
    (tmp_path / "charges" / f"{2:012d}.log").symlink_to("/proc/self/mem")
    replay = read_back(tmp_path)
    replay.discard()

    assert replay.charges == (numbered(1),)
    assert [file.unreadable_bytes > 0 for file in replay.segments] == [False, True]
    assert files(tmp_path) == ["000000000002.damaged"]


def test_discarded_segments_are_gone(tmp_path: Path) -> None:
    """Once their charges are committed; again is no mistake."""
    segment_of(tmp_path, encode_record(CHARGE))
    replay = read_back(tmp_path)
    replay.discard()
    replay.discard()

    assert (files(tmp_path), read_back(tmp_path).charges) == ([], ())


def test_a_foreign_file_does_not_stop_the_start(tmp_path: Path) -> None:
    """What an operator left in the directory is not a segment."""
    segment_of(tmp_path, encode_record(CHARGE), number=3)
    (tmp_path / "charges" / "copy.log").write_bytes(b"")

    assert next_number(tmp_path) == 4


def test_a_new_directory_begins_at_one(tmp_path: Path) -> None:
    """Nothing there yet."""
    assert next_number(tmp_path) == 1
    assert read_back(tmp_path).charges == ()


def test_committed_charges_are_forgotten(tmp_path: Path) -> None:
    """The current segment starts over when all of it is committed, and goes on with what comes after."""
    log = ChargeLog(tmp_path, first_number=1, epoch=EPOCH)
    segment = log.append(numbered(1))
    log.append(numbered(2))
    log.committed(segment, 1)
    assert len(read_back(tmp_path).charges) == 2
    log.committed(segment, 1)
    assert read_back(tmp_path).charges == ()
    log.append(numbered(3))

    assert read_back(tmp_path).charges == (numbered(3),)
    log.committed(segment, 1)
    log.close()
    assert files(tmp_path) == []


def fill_a_segment(log: ChargeLog) -> list[Segment]:
    """Charges until the log rotates; the segment of each."""
    large = CHARGE._replace(model="m" * 50_000)
    return [log.append(large) for _ in range(SEGMENT_BYTES // len(encode_record(large)) + 1)]


def test_a_full_segment_is_followed_by_a_new_one(tmp_path: Path) -> None:
    """The old one is deleted when its last charge is committed, not before."""
    log = ChargeLog(tmp_path, first_number=1, epoch=EPOCH)
    segments = fill_a_segment(log)
    old = segments[0]
    assert files(tmp_path) == ["000000000001.log", "000000000002.log"]
    assert len(read_back(tmp_path).charges) == len(segments)

    log.committed(old, len(segments) - 2)
    assert len(files(tmp_path)) == 2
    log.committed(old, 1)
    assert files(tmp_path) == ["000000000002.log"]
    log.close()
    assert len(read_back(tmp_path).charges) == 1


def test_a_segment_that_cannot_be_made_is_a_full_log(tmp_path: Path) -> None:
    """Rotation that fails (no space, no descriptors, no directory) is told like any other failure to write."""
    log = ChargeLog(tmp_path, first_number=1, epoch=EPOCH)
    (tmp_path / "charges").rename(tmp_path / "elsewhere")
    with pytest.raises(ChargeLogFull):
        fill_a_segment(log)
    (tmp_path / "elsewhere").rename(tmp_path / "charges")

    assert log.append(CHARGE).uncommitted >= 1
    log.close()


def test_every_segment_names_its_run(tmp_path: Path) -> None:
    """The first one, one that starts over, and the one after a rotation."""
    log = ChargeLog(tmp_path, first_number=1, epoch=EPOCH)
    first = log.append(numbered(1))
    assert [file.content.epoch for file in read_back(tmp_path).segments] == [EPOCH]
    log.committed(first, 1)
    log.append(numbered(2))
    assert [file.content.epoch for file in read_back(tmp_path).segments] == [EPOCH]
    fill_a_segment(log)
    assert [file.content.epoch for file in read_back(tmp_path).segments] == [EPOCH, EPOCH]
    log.close()


def test_a_refused_charge_is_kept_with_its_run(tmp_path: Path) -> None:
    """In a file of its own, which no id of a charge leads out of the directory."""
    log = ChargeLog(tmp_path, first_number=1, epoch=EPOCH)
    plain, evil = log.set_aside(CHARGE), log.set_aside(CHARGE._replace(request_id="../../evil"))
    log.close()

    assert (plain.name, evil.parent) == ("req_1.refused", plain.parent)
    assert files(tmp_path) == sorted([plain.name, evil.name])
    content = read_file(evil).content
    assert (content.epoch, content.charges[0].request_id) == (EPOCH, "../../evil")


@contextmanager
def only_growing(segment: Segment) -> Iterator[Callable[[], bytes]]:
    """Let a segment's file only grow, as on a disk that takes no other change; gives what stands in it meanwhile."""
    real, content = os.dup(segment.fd), segment.path.read_bytes()
    sealed = os.memfd_create("segment", os.MFD_ALLOW_SEALING)
    os.write(sealed, content)
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    os.dup2(sealed, segment.fd)
    yield lambda: os.pread(sealed, SEGMENT_BYTES, 0)
    os.dup2(real, segment.fd)
    os.close(real)
    os.close(sealed)


def test_a_segment_that_cannot_be_emptied_goes_on(tmp_path: Path) -> None:
    """Committed charges that the disk does not let go of do no harm: the log goes on, and tries again."""
    log = ChargeLog(tmp_path, first_number=1, epoch=EPOCH)
    segment = log.append(numbered(1))
    with only_growing(segment) as content:
        log.committed(segment, 1)
        assert log.append(numbered(2)) is segment
        log.committed(segment, 1)
        assert recover(content()).charges == [numbered(1), numbered(2)]
    log.append(numbered(3))
    log.committed(segment, 1)

    assert read_back(tmp_path).charges == ()
    log.close()
    assert files(tmp_path) == []


def test_an_old_segment_that_cannot_be_deleted_is_deleted_later(tmp_path: Path) -> None:
    """Neither the commit nor the rotation fails for it."""
    log = ChargeLog(tmp_path, first_number=1, epoch=EPOCH)
    segments = fill_a_segment(log)
    in_the_way = segments[0].path
    in_the_way.rename(tmp_path / "elsewhere")
    in_the_way.mkdir()
    log.committed(segments[0], len(segments) - 1)
    in_the_way.rmdir()
    (tmp_path / "elsewhere").rename(in_the_way)
    log.committed(segments[-1], 1)

    assert files(tmp_path) == ["000000000002.log"]
    log.close()


def test_a_part_of_a_record_that_stays_hides_nothing(tmp_path: Path) -> None:
    """Where a part can neither be completed nor removed, the next record goes into another segment."""
    record = len(encode_record(CHARGE))
    log = ChargeLog(tmp_path, first_number=1, epoch=EPOCH)
    first = log.append(numbered(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with only_growing(first) as content:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (first.size_bytes + record // 2, hard))
            with pytest.raises(ChargeLogFull):
                log.append(numbered(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        second = log.append(numbered(3))
        left = recover(content())
    assert second is not first
    assert (left.charges, left.torn_bytes, left.damages) == ([numbered(1)], record // 2, [])
    assert read_back(tmp_path).charges[-1] == numbered(3)
    log.committed(first, 1)
    log.committed(second, 1)
    log.close()


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    """Within the process and from another one; after the release the directory is free."""
    lock = DirectoryLock(tmp_path / "data")
    script = (
        "import sys; from pathlib import Path; from tokenbooth.gateway.settlement.charge_log import DirectoryLock; "
        "DirectoryLock(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    with pytest.raises(DataDirectoryLocked, match="in use by another"):
        DirectoryLock(tmp_path / "data")
    other = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lock.release()

    assert other.returncode == 1
    assert "DataDirectoryLocked" in other.stderr
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
    DirectoryLock(tmp_path / "data").release()


@pytest.mark.parametrize("lost", ["deleted", "replaced"])
def test_a_lock_file_that_is_gone_lets_nobody_in(tmp_path: Path, lost: str) -> None:
    """Who tidies up a directory in use by deleting the lock's file, or puts another in its place, opens nothing."""
    lock = DirectoryLock(tmp_path)
    (tmp_path / "tokenbooth.lock").unlink()
    if lost == "replaced":
        (tmp_path / "tokenbooth.lock").touch()
    with pytest.raises(DataDirectoryLocked, match="in use by another"):
        DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()


def test_a_version_that_locks_the_file_alone_is_kept_out_and_keeps_out(tmp_path: Path) -> None:
    """Versions before this one lock only the file, so during an upgrade both have to respect each other."""
    lock = DirectoryLock(tmp_path)
    with (tmp_path / "tokenbooth.lock").open("r+b") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.release()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(DataDirectoryLocked, match="in use by another"):
            DirectoryLock(tmp_path)
    DirectoryLock(tmp_path).release()


def test_a_full_disk_leaves_no_part_of_a_record(tmp_path: Path) -> None:
    """Where only a part fits, nothing stays; with space again the log goes on behind the last whole record."""
    record = len(encode_record(CHARGE))
    log = ChargeLog(tmp_path, first_number=1, epoch=EPOCH)
    written = log.append(numbered(1)).size_bytes
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # The limit on file sizes stands in for a disk with room for one record and a half.
        for room in (written + record // 2, written):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
            with pytest.raises(ChargeLogFull):
                log.append(numbered(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_back(tmp_path).torn_bytes == 0
    log.append(numbered(3))
    log.close()

    assert read_back(tmp_path).charges == (numbered(1), numbered(3))
