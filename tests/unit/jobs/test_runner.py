"""The runner: jobs repeat, fail alone, and stop cleanly."""

import asyncio

from tokenbooth.jobs.runner import Job, Runner
from tokenbooth.kit.background import Background


class Counted:
    """Work that counts its runs, and fails in the first ones."""

    def __init__(self, *, failures: int = 0, enough: int = 3) -> None:
        self.runs = 0
        self.reached = asyncio.Event()
        self._failures = failures
        self._enough = enough

    async def run(self) -> None:
        """Count."""
        self.runs += 1
        if self.runs >= self._enough:
            self.reached.set()
        if self.runs <= self._failures:
            raise RuntimeError("meant by the test")


async def test_jobs_repeat_beside_one_that_fails() -> None:
    """A job's failure ends neither itself nor the others."""
    good, bad = Counted(), Counted(failures=2)
    runner = Runner([Job("good", 0.001, good.run), Job("bad", 0.001, bad.run)])
    runner.start()
    await asyncio.gather(good.reached.wait(), bad.reached.wait())
    await runner.stop()
    assert min(good.runs, bad.runs) >= 3


async def test_stop_ends_a_pause_and_starts_nothing_more() -> None:
    """A job that pauses for an hour doesn't hold up the stop."""
    work = Counted(enough=1)
    runner = Runner([Job("hourly", 3_600, work.run)])
    runner.start()
    await work.reached.wait()
    await runner.stop()
    assert work.runs == 1


async def test_stop_lets_a_run_under_way_end() -> None:
    """A run that has begun gets the time to end."""
    begun, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run() -> None:
        begun.set()
        await gate.wait()
        ended.set()

    runner = Runner([Job("long", 3_600, run)])
    runner.start()
    await begun.wait()
    stopping = asyncio.create_task(runner.stop())
    gate.set()
    await stopping
    assert ended.is_set()


async def test_stop_cuts_off_a_run_that_takes_too_long() -> None:
    """A run that does not end in time is cancelled."""
    begun = asyncio.Event()

    async def run() -> None:
        begun.set()
        await asyncio.Event().wait()

    runner = Runner([Job("endless", 3_600, run)], stop_timeout_s=0.01)
    runner.start()
    await begun.wait()
    await runner.stop()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("job ")] == []


async def test_a_job_survives_a_cancellation_that_nobody_asked_for() -> None:
    """One that came out of a library ends a run, not the job; it is told of as a death."""
    work, background = Counted(enough=2), Background()

    async def run() -> None:
        await work.run()
        if work.runs == 1:
            raise asyncio.CancelledError

    runner = Runner([Job("scan", 0.001, run)], background=background)
    runner.start()
    await work.reached.wait()
    assert background.report() == [("job scan", 1, True)]
    await runner.stop()


async def test_stop_before_start_is_harmless() -> None:
    """A process that fails during its start may stop what never ran."""
    await Runner([Job("never", 1, Counted().run)]).stop()
