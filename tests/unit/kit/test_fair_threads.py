"""Threads that owners share: what one may have, who comes next, and what is refused."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Event

import pytest

from tokenbooth.kit.errors import RateLimited
from tokenbooth.kit.fair_threads import FairThreads

PATIENCE_S = 30


class Work:
    """Work that begins, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.may_end = Event(), Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.may_end.wait(PATIENCE_S)
        return "done"


@pytest.fixture
def threads() -> Iterator[FairThreads]:
    """Four threads; two of an owner's pieces wait at most."""
    made = FairThreads(4, max_waiting=2, name="test")
    yield made
    made.close()


def began(work: Work) -> bool:
    """Whether it begins."""
    return work.begun.wait(PATIENCE_S)


def submitted(threads: FairThreads, owner: str, many: int) -> tuple[list[Work], list[Future[str]]]:
    """Some work of an owner."""
    works = [Work() for _ in range(many)]
    return works, [threads.submit(owner, work) for work in works]


def end(works: list[Work]) -> None:
    """Let everything end."""
    for work in works:
        work.may_end.set()


def test_one_owner_never_has_the_last_quarter(threads: FairThreads) -> None:
    """Of four threads three, although nobody else wants one; a newcomer begins at once."""
    works, futures = submitted(threads, "busy", 5)
    assert all(began(work) for work in works[:3])
    others, their_futures = submitted(threads, "other", 1)
    assert began(others[0])
    assert not works[3].begun.is_set()
    end(works + others)
    assert [future.result(PATIENCE_S) for future in futures + their_futures] == ["done"] * 6


def test_a_free_thread_goes_to_who_has_the_fewest(threads: FairThreads) -> None:
    """Although the other owner's work waited longer."""
    works, _ = submitted(threads, "busy", 5)
    others, _ = submitted(threads, "other", 2)
    assert all(map(began, [*works[:3], others[0]]))
    works[0].may_end.set()
    assert began(others[1])
    assert not works[3].begun.is_set()
    end(works + others)
    assert began(works[4])


def test_what_waits_is_bounded_for_each_owner(threads: FairThreads) -> None:
    """One more is refused, with when to try again; nobody else is, and later there is room again."""
    works, futures = submitted(threads, "busy", 5)
    with pytest.raises(RateLimited) as refused:
        threads.submit("busy", Work())
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (429, "too_many_reports", 1)
    others, _ = submitted(threads, "other", 3)
    end(works)
    assert [future.result(PATIENCE_S) for future in futures] == ["done"] * 5
    more, _ = submitted(threads, "busy", 2)
    end(others + more)


def test_work_whose_caller_is_gone_is_not_done(threads: FairThreads) -> None:
    """It takes no thread from those behind it."""
    works, futures = submitted(threads, "busy", 5)
    assert futures[3].cancel()
    end(works)
    assert futures[4].result(PATIENCE_S) == "done"
    assert not works[3].begun.is_set()


def test_a_failure_is_told_and_frees_its_thread(threads: FairThreads) -> None:
    """To whoever asked; the next piece begins."""

    def fail() -> None:
        raise ValueError("no")

    failed: list[Callable[[], object]] = [fail] * 12
    for work in failed:
        with pytest.raises(ValueError, match="no"):
            threads.submit("busy", work).result(PATIENCE_S)


def test_closing_finishes_what_waits() -> None:
    """Nobody waits for ever."""
    threads = FairThreads(2, max_waiting=8, name="test")
    works, futures = submitted(threads, "busy", 4)
    end(works)
    threads.close()
    assert [future.result(0) for future in futures] == ["done"] * 4
