"""When an upstream rests and when it is tried: the state machine alone, with made-up times."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.upstream.circuit_breaker import Change, CircuitBreaker, RestRules

S = 1_000_000
RULES = RestRules(failures=3, first_rest_us=2 * S, longest_rest_us=10 * S, longest_asked_us=60 * S)


@dataclass(slots=True)
class Begun:
    """A call that began."""

    generation: int
    is_probe: bool


def begin(health: CircuitBreaker, now_us: int) -> Begun:
    """A call begins."""
    is_probe = health.begin(now_us)
    return Begun(health.generation, is_probe)


def fail(health: CircuitBreaker, begun: Begun, now_us: int, asked_us: int = 0) -> Change | None:
    """It fails and ends."""
    change = health.failed(begun.generation, now_us, "HTTP 503", is_probe=begun.is_probe, asked_us=asked_us)
    health.end(begun.generation, is_probe=begun.is_probe)
    return change


def succeed(health: CircuitBreaker, begun: Begun) -> Change | None:
    """It succeeds and ends."""
    change = health.succeeded(begun.generation)
    health.end(begun.generation, is_probe=begun.is_probe)
    return change


def resting(now_us: int = 0) -> CircuitBreaker:
    """An upstream that has just begun to rest for the first time."""
    health = CircuitBreaker(RULES)
    changes = [fail(health, begin(health, now_us), now_us) for _ in range(3)]
    assert changes == [None, None, Change.RESTS]
    return health


def test_several_failures_in_a_row_are_needed() -> None:
    """One success in between begins the count anew."""
    health = CircuitBreaker(RULES)
    for _ in range(10):
        assert fail(health, begin(health, 0), 0) is None
        assert fail(health, begin(health, 0), 0) is None
        assert succeed(health, begin(health, 0)) is None

    assert (health.state, health.failures, health.failed_calls) == ("up", 0, 20)


def test_a_rest_ends_with_a_single_trial() -> None:
    """Before its end no call is the trial, after it exactly one at a time is."""
    health = resting()
    assert (health.state, health.due_us, health.is_ready(2 * S - 1), health.is_ready(2 * S)) == (
        "resting",
        2 * S,
        False,
        True,
    )
    assert not begin(health, 2 * S - 1).is_probe

    trial = begin(health, 2 * S)

    assert (trial.is_probe, health.state, health.is_ready(2 * S)) == (True, "trial", False)
    assert not begin(health, 2 * S).is_probe
    assert succeed(health, trial) is Change.BACK
    assert (health.state, health.failures, health.last_error) == ("up", 0, "HTTP 503")


def test_each_failed_trial_doubles_the_rest_up_to_the_bound() -> None:
    """2, 4, 8, 10, 10 seconds; and a success begins with the first one again."""
    health = resting()
    rests_s = []
    for _ in range(40):
        now_us = health.due_us
        assert fail(health, begin(health, now_us), now_us) is None
        rests_s.append((health.due_us - now_us) // S)
    assert rests_s == [4, 8] + [10] * 38

    succeed(health, begin(health, health.due_us))
    for _ in range(3):
        fail(health, begin(health, 1_000 * S), 1_000 * S)
    assert health.due_us == 1_002 * S


def test_a_trial_without_an_outcome_is_made_again() -> None:
    """Its client hung up: the next call is the trial."""
    health = resting()
    trial = begin(health, 2 * S)
    health.end(trial.generation, is_probe=trial.is_probe)

    assert (health.state, health.open_calls) == ("resting", 0)
    assert begin(health, 2 * S).is_probe


def test_calls_that_began_before_a_decision_decide_nothing() -> None:
    """Fifty calls that were cut off together count as one outage; a late answer does not end a rest."""
    health = CircuitBreaker(RULES)
    calls = [begin(health, 0) for _ in range(50)]
    changes = [fail(health, call, S) for call in calls[:49]]

    assert changes.count(Change.RESTS) == 1
    assert (health.due_us, health.failed_calls) == (3 * S, 49)
    assert succeed(health, calls[49]) is None
    assert health.state == "resting"


def test_a_call_that_had_no_other_chance_may_end_a_rest_but_not_lengthen_it() -> None:
    """It was sent although the upstream rested."""
    health = resting()
    assert fail(health, begin(health, S), S) is None
    assert health.due_us == 2 * S

    assert succeed(health, begin(health, S)) is Change.BACK


def test_what_the_upstream_asks_for_counts_at_once() -> None:
    """One answer suffices, for as long as it said; then a single call tries it."""
    health = CircuitBreaker(RULES)

    assert fail(health, begin(health, 0), 0, asked_us=30 * S) is Change.RESTS
    assert (health.due_us, health.asked_wait_us(10 * S), health.asked_wait_us(30 * S)) == (30 * S, 20 * S, 0)
    assert begin(health, 30 * S).is_probe


def test_what_the_upstream_asks_for_is_bounded() -> None:
    """By the operator's word; with 0 nobody listens."""
    health = CircuitBreaker(RULES)
    fail(health, begin(health, 0), 0, asked_us=3_600 * S)
    assert health.due_us == 60 * S

    deaf = CircuitBreaker(RestRules(failures=3, first_rest_us=S, longest_rest_us=S, longest_asked_us=0))
    assert fail(deaf, begin(deaf, 0), 0, asked_us=30 * S) is None
    assert (deaf.state, deaf.asked_wait_us(0)) == ("up", 0)


def test_what_the_upstream_asks_for_is_heard_from_calls_of_before_too() -> None:
    """Also in the middle of a rest, which it lengthens, and of a trial, which is void then."""
    health = CircuitBreaker(RULES)
    early = [begin(health, 0) for _ in range(5)]
    for call in early[:3]:
        fail(health, call, 0)
    assert fail(health, early[3], S, asked_us=20 * S) is None
    assert health.due_us == 21 * S

    trial = begin(health, 21 * S)
    assert fail(health, early[4], 22 * S, asked_us=20 * S) is None
    assert (health.state, health.due_us) == ("resting", 42 * S)
    assert succeed(health, trial) is None
    assert (health.state, health.open_calls) == ("resting", 0)


def test_a_failed_trial_rests_for_the_longer_of_both() -> None:
    """Of what was asked for and of what the doubling says."""
    for asked_s, rest_s in ((1, 4), (30, 30)):
        health = resting()
        fail(health, begin(health, 2 * S), 2 * S, asked_us=asked_s * S)
        assert health.due_us == (2 + rest_s) * S


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("begin", "succeed", "fail", "ask", "give up", "wait")), st.integers(0, 20), st.integers(1, 40)
    ),
    max_size=80,
)


@given(STEPS)
def test_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    """At most one trial; every rest ends in time; nothing that is open gets lost; a trial's success ends the rest."""
    health = CircuitBreaker(RULES)
    now_us = 0
    calls: list[Begun] = []
    for step, which, amount in steps:
        if step == "wait":
            now_us += amount * S // 2
        elif step == "begin":
            was_ready = health.is_ready(now_us)
            calls.append(begin(health, now_us))
            assert calls[-1].is_probe == (was_ready and not health.is_up)
        elif calls:
            call = calls.pop(which % len(calls))
            counts = call.generation == health.generation
            match step:
                case "succeed":
                    succeed(health, call)
                    assert health.is_up or not counts
                case "give up":
                    health.end(call.generation, is_probe=call.is_probe)
                case "fail":
                    fail(health, call, now_us)
                    assert not (counts and call.is_probe) or health.due_us > now_us
                case _:
                    fail(health, call, now_us, asked_us=amount * S)
                    assert health.due_us >= now_us + amount * S
        assert health.open_calls == len(calls)
        assert sum(call.is_probe and call.generation == health.generation for call in calls) == (
            health.state == "trial"
        )
        assert health.due_us <= now_us + 60 * S
        assert health.asked_wait_us(now_us) <= max(health.due_us - now_us, 0) or health.is_up
        assert health.is_up == (health.state == "up")
