"""Background work: it starts again when it dies, everybody is told, and it ends when it is asked to."""

import ast
import asyncio
import threading
from pathlib import Path

from structlog.testing import capture_logs

import tokenbooth
from tokenbooth.kit.background import Background, BackgroundTask, BackgroundThread, Running


class Dying:
    """Work that dies of what it is given, then runs until it is released."""

    def __init__(self, *deaths: BaseException) -> None:
        self._deaths = list(deaths)
        self.runs = 0
        self.stays = asyncio.Event()

    async def run(self) -> None:
        """Die, or stay."""
        self.runs += 1
        if self._deaths:
            raise self._deaths.pop(0)
        self.stays.set()
        await asyncio.Event().wait()


async def test_a_task_that_dies_starts_again() -> None:
    """After any exception, and after a cancellation that nobody asked for; each death is an error in the log."""
    work = Dying(RuntimeError("secret text"), asyncio.CancelledError(), MemoryError())
    told: list[int] = []
    task = BackgroundTask("flusher", work.run, after_death=lambda: told.append(work.runs))
    with capture_logs() as lines:
        task.start()
        await asyncio.wait_for(work.stays.wait(), 20)
    await task.stop()

    assert (work.runs, task.running.deaths, told) == (4, 3, [1, 2, 3])
    assert [(line["event"], line["log_level"], line["work"]) for line in lines] == [
        ("background_work_died", "error", "flusher")
    ] * 3
    assert [line["error"] for line in lines] == ["RuntimeError", "CancelledError", "MemoryError"]
    assert "secret text" not in str(lines)
    pauses_s = [line["restart_in_s"] for line in lines]
    assert pauses_s == [0.1, 0.2, 0.4]


async def test_a_task_that_returns_has_ended() -> None:
    """It is not dead, and not started again."""
    runs = []

    async def work() -> None:
        runs.append(1)

    task = BackgroundTask("once", work)
    await task.start()
    assert (len(runs), task.running.is_down, task.running.deaths) == (1, False, 0)


async def test_a_stopped_task_ends_in_its_pause_as_well() -> None:
    """Whether it runs or waits to start again."""
    staying = Dying()
    first = BackgroundTask("stays", staying.run)
    running = first.start()
    await staying.stays.wait()
    await first.stop()
    assert running.cancelled()

    died = asyncio.Event()
    second = BackgroundTask("dies", Dying(*[OSError()] * 50).run, after_death=died.set)
    pausing = second.start()
    await died.wait()
    await second.stop()
    assert pausing.cancelled()


def test_down_until_it_has_run_for_a_second() -> None:
    """From a death on, not before; what never died is never down."""
    now_s = [100.0]
    running = Running("flusher", lambda: now_s[0])
    background = Background()
    background.watch(running)
    running.started()
    assert background.down() == []
    assert running.died(OSError()) == 0.1
    assert background.down() == ["flusher"]
    running.started()
    now_s[0] += 0.9
    assert background.report() == [("flusher", 1, True)]
    now_s[0] += 0.2
    assert background.report() == [("flusher", 1, False)]


def test_pauses_double_and_are_forgiven() -> None:
    """At most half a minute; after a minute of life the first pause is short again."""
    now_s = [0.0]
    running = Running("feed", lambda: now_s[0])
    pauses_s = []
    for _ in range(12):
        running.started()
        pauses_s.append(running.died(OSError()))
    assert pauses_s == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]
    running.started()
    now_s[0] += 61
    assert running.died(OSError()) == 0.1


def test_a_thread_that_dies_starts_again() -> None:
    """As a task does, and it ends when its work returns."""
    runs: list[int] = []
    stays, release = threading.Event(), threading.Event()

    def work() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise RuntimeError
        stays.set()
        release.wait()

    thread = BackgroundThread("sync", work)
    with capture_logs() as lines:
        thread.start()
        assert stays.wait(20)
    assert (thread.running.deaths, len(lines), thread.running.is_down) == (2, 2, True)
    release.set()
    thread.join()
    assert len(runs) == 3


def test_a_thread_that_is_to_end_runs_once_more() -> None:
    """What it has to finish is tried again; dying of that as well it ends."""
    died = threading.Event()
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        died.set()
        raise RuntimeError

    thread = BackgroundThread("write", work)
    thread.start()
    assert died.wait(20)
    thread.join()
    assert len(runs) >= 2


STARTS = frozenset({"create_task", "ensure_future", "Thread", "TaskGroup", "Timer"})
# What is started elsewhere ends by itself, and tells its failure to whoever waits for it or answers for it.
ENDING = {
    "kit/background.py": "this is where the rest is started",
    "gateway/service.py": "one request, which answers every failure",
    "gateway/access/keys.py": "one look-up of a key, awaited by the calls that need it",
    "gateway/upstream/pool.py": "one connection, awaited by its call",
    "gateway/upstream/names.py": "one look-up of a name, awaited by the calls that need it",
    "gateway/upstream/proxy.py": "one answer, awaited by its call",
    "gateway/access/registration.py": "one beat, asked for again by the next; beats of a replay, which ends with it",
    "jobs/inbox.py": "one event, awaited by the webhook or the job; its row stays due",
    "api/webhooks.py": "one event, whose failure is logged; its row stays due",
    "payments/stripe/connection.py": "one call, awaited by whoever made it, or ended by its own time-out",
    "http/server.py": "the start, which the process waits for",
}


def test_whatever_runs_for_long_is_started_here() -> None:
    """A task or thread that is started anywhere else must be one that ends; a new place has to be looked at."""
    source = Path(tokenbooth.__file__).parent
    found = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in STARTS:
                found.add(path.relative_to(source).as_posix())
    assert found == set(ENDING)
