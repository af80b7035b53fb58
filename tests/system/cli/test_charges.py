"""`tokenbooth charges`: what was damaged or refused is read, and booked once."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.billing.billing_rows import charge
from tests.support.command import answer, tokenbooth
from tests.unit.gateway.settlement.test_charge_log import spoilt
from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.settlement.charge_files import keep_refused
from tokenbooth.gateway.settlement.charge_log import DirectoryLock
from tokenbooth.gateway.settlement.charge_record import HEAD, MARK, encode_record, encode_segment_head
from tokenbooth.kit.clock import SystemClock
from tokenbooth.kit.ids import IdPrefix, new_id


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory with a configuration and a customer who has five dollars."""
    assert tokenbooth("init", cwd=tmp_path).returncode == 0
    yield tmp_path
    assert answer("audit", cwd=tmp_path)["clean"] is True


@pytest.fixture
def charges(home: Path) -> list[Charge]:
    """Charges that the database does not have."""
    account = str(answer("account", "create", "--email", "ada@example.com", cwd=home)["accountId"])
    answer("credit", "grant", "--account", account, "--amount", "5", "--reason", "test", cwd=home)
    (home / "charges").mkdir()
    now_us = SystemClock().now_us()
    key_id = new_id(IdPrefix.API_KEY, now_us)
    return [charge(account, key_id=key_id, finished_at_us=now_us + number, cost_nano=10**9) for number in range(3)]


def leave_damaged(home: Path, charges: list[Charge]) -> Path:
    """A segment of which the second record is lost and the third was restored."""
    records = [*map(encode_record, charges)]
    one_bit = records[2][:40] + bytes([records[2][40] ^ 1]) + records[2][41:]
    content = [encode_segment_head("gw_before"), records[0], spoilt(records[1], 30, 60), one_bit]
    path = home / "charges" / "000000000001.damaged"
    path.write_bytes(b"".join(content))
    return path


def balance(home: Path) -> str:
    """The customer's credit."""
    who = ("--account", "ada@example.com", "--reason", "look", "--amount", "0.000000001")
    return str(answer("credit", "grant", *who, cwd=home)["balance"])


def test_nothing_waits_by_default(home: Path) -> None:
    """An empty list, and nothing to book."""
    assert answer("charges", "list", cwd=home) == {"files": []}
    assert answer("charges", "replay", cwd=home)["files"] == 0
    assert "nothing was damaged or refused" in tokenbooth("doctor", cwd=home).stdout


def test_a_damaged_file_is_shown_and_booked_once(home: Path, charges: list[Charge]) -> None:
    """What can be read is booked, what is lost is said, and the file is kept under another name."""
    path = leave_damaged(home, charges)
    head, first, lost, restored = map(len, (encode_segment_head("gw_before"), *map(encode_record, charges)))
    assert answer("charges", "list", cwd=home) == {
        "files": [
            {
                "file": "000000000001.damaged",
                "epoch": "gw_before",
                "charges": 2,
                "restored": [charges[2].request_id],
                "notBooked": [charges[0].request_id, charges[2].request_id],
                "tooOldToTell": [],
                "damages": [
                    {"offset": head + first, "bytes": lost, "lost": True},
                    {"offset": head + first + lost, "bytes": restored, "lost": False},
                ],
                "lostBytes": lost,
                "lostRecordsAtLeast": 1,
            }
        ]
    }
    shown = tokenbooth("charges", "show", path.name, cwd=home)
    assert (shown.returncode, charges[0].request_id in shown.stdout) == (0, True)
    assert f"{lost} bytes from" in shown.stdout
    booked = answer("charges", "replay", "--yes", cwd=home)
    assert booked == {"files": 1, "booked": 2, "lostBytes": lost, "refused": []}
    assert [file.name for file in path.parent.iterdir()] == ["000000000001.damaged.booked"]
    assert balance(home) == "3.000000001"

    again = answer("charges", "replay", "--yes", str(path.with_name("000000000001.damaged.booked")), cwd=home)
    assert again["booked"] == 0
    assert answer("charges", "list", cwd=home) == {"files": []}


def test_the_doctor_names_what_waits(home: Path, charges: list[Charge]) -> None:
    """Its exit code is 1 until somebody has dealt with it."""
    leave_damaged(home, charges)
    keep_refused(home, charges[1], epoch="gw_before")
    done = tokenbooth("doctor", "--json", cwd=home)
    findings = {row["check"]: row for row in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert findings["charge log"]["level"] == "failed"
    assert findings["charge log"]["found"] == (
        f"set aside: 1 damaged, 1 refused (000000000001.damaged, {charges[1].request_id}.refused)"
    )
    answer("charges", "replay", "--yes", cwd=home)
    assert "nothing was damaged or refused" in tokenbooth("doctor", cwd=home).stdout


def test_it_asks_before_it_books(home: Path, charges: list[Charge]) -> None:
    """What it is about to do is said with its sum; a no, or nobody to ask, books nothing."""
    leave_damaged(home, charges)
    asked = tokenbooth("charges", "replay", cwd=home)
    assert asked.returncode == 1
    assert "Book 2 charges of 2.00 USD to 1 accounts?" in asked.stdout
    silent = tokenbooth("charges", "replay", "--json", cwd=home)
    assert (silent.returncode, "--yes" in silent.stderr) == (2, True)
    assert balance(home) == "5.000000001"


def test_it_does_not_book_beside_a_server(home: Path, charges: list[Charge]) -> None:
    """A server that runs knows balances by heart, so it has to be stopped first; looking is allowed."""
    leave_damaged(home, charges)
    lock = DirectoryLock(home)
    try:
        refused = tokenbooth("charges", "replay", "--yes", cwd=home)
        assert (refused.returncode, "stop that one first" in refused.stderr) == (1, True)
        assert tokenbooth("charges", "list", cwd=home).returncode == 0
    finally:
        lock.release()
    assert balance(home) == "5.000000001"


def test_a_charge_that_is_refused_again_stays(home: Path, charges: list[Charge]) -> None:
    """The others are booked, the exit code is 1, and its file goes on waiting."""
    good = keep_refused(home, charges[0], epoch="gw_before")
    bad = keep_refused(home, charges[1]._replace(upstream_cost_nano=2**63), epoch="gw_before")
    done = tokenbooth("charges", "replay", "--yes", cwd=home)
    assert done.returncode == 1
    assert f"{charges[1].request_id}: the database refuses it" in done.stdout
    assert sorted(path.name for path in bad.parent.iterdir()) == sorted([f"{good.name}.booked", bad.name])
    assert balance(home) == "4.000000001"


def test_a_directory_of_another_machine_is_booked(home: Path, charges: list[Charge], tmp_path: Path) -> None:
    """Segments and files that lie elsewhere: read, booked once, and left as they are."""
    elsewhere = tmp_path / "rescued"
    (elsewhere / "charges").mkdir(parents=True)
    segment = elsewhere / "charges" / "000000000009.log"
    segment.write_bytes(b"".join(map(encode_record, charges)))
    keep_refused(elsewhere, charges[0], epoch="gw_other")
    booked = answer("charges", "replay", "rescued", "--yes", cwd=home)
    assert (booked["files"], booked["booked"]) == (2, 3)
    assert answer("charges", "replay", "rescued", "--yes", cwd=home)["booked"] == 0
    assert len(list((elsewhere / "charges").iterdir())) == 2
    assert balance(home) == "2.000000001"


def test_a_file_that_is_not_there(home: Path) -> None:
    """One line and exit code 1."""
    done = tokenbooth("charges", "show", "nothing.damaged", cwd=home)
    assert (done.returncode, "there is no such file" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


def test_a_log_of_a_later_version_is_said_to_be_one(home: Path, tmp_path: Path) -> None:
    """It is neither damaged nor booked."""
    payload = msgspec.msgpack.encode([3, "gw_later"])
    head = HEAD.pack(len(payload) + 8, zlib.crc32(payload), MARK, 0)
    (tmp_path / "later.log").write_bytes(head + payload)
    done = tokenbooth("charges", "show", "later.log", cwd=home)
    assert (done.returncode, "format 3" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
