"""When an upstream rests and when it is tried: the state machine alone, with made-up times."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.upstream.circuit_breaker import EVERYBODY, Call, Change, CircuitBreaker, RestRules

S = 1_000_000
ME = Call("acct_1", 100)
YOU = Call("acct_2", 100)
RULES = RestRules(failures=3, first_rest_us=2 * S, longest_rest_us=10 * S, longest_asked_us=60 * S)


@dataclass(slots=True)
class Begun:
    """A call that began."""

    generation: int
    is_probe: bool
    call: Call


def begin(health: CircuitBreaker, now_us: int, call: Call = ME) -> Begun:
    """A call begins."""
    is_probe = not health.is_up and health.probe(call, now_us)
    health.begin()
    return Begun(health.generation, is_probe, call)


def fail(health: CircuitBreaker, begun: Begun, now_us: int, asked_us: int = 0) -> Change | None:
    """It fails and ends."""
    change = health.failed(begun.generation, now_us, "HTTP 503", begun.call, is_probe=begun.is_probe, asked_us=asked_us)
    health.end(begun.generation, is_probe=begun.is_probe)
    return change


def succeed(health: CircuitBreaker, begun: Begun) -> Change | None:
    """It succeeds and ends."""
    change = health.succeeded(begun.generation, begun.call)
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
    assert (health.state, health.due_us, health.is_ready(ME, 2 * S - 1), health.is_ready(ME, 2 * S)) == (
        "resting",
        2 * S,
        False,
        True,
    )
    assert not begin(health, 2 * S - 1).is_probe

    trial = begin(health, 2 * S)

    assert (trial.is_probe, health.state, health.is_ready(ME, 2 * S)) == (True, "trial", False)
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
    """One answer suffices for the account that got it, for as long as it said; then a single call tries it."""
    health = CircuitBreaker(RULES)

    assert fail(health, begin(health, 0), 0, asked_us=30 * S) is Change.RESTS
    assert (health.due_us, health.asked_wait_us(ME, 10 * S), health.asked_wait_us(ME, 30 * S)) == (30 * S, 20 * S, 0)
    assert begin(health, 30 * S).is_probe


def test_what_the_upstream_asks_for_is_bounded() -> None:
    """By the operator's word; with 0 nobody listens."""
    health = CircuitBreaker(RULES)
    fail(health, begin(health, 0), 0, asked_us=3_600 * S)
    assert health.due_us == 60 * S

    deaf = CircuitBreaker(RestRules(failures=3, first_rest_us=S, longest_rest_us=S, longest_asked_us=0))
    assert fail(deaf, begin(deaf, 0), 0, asked_us=30 * S) is None
    assert (deaf.state, deaf.asked_wait_us(ME, 0)) == ("up", 0)


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


def test_what_one_account_met_concerns_that_account_alone() -> None:
    """Others are asked for as before, and are no probes; when one of them meets it too, it concerns everybody."""
    health = CircuitBreaker(RULES)
    assert fail(health, begin(health, 0), 0, asked_us=30 * S) is Change.RESTS
    assert (health.rests_for, health.is_ready(ME, S), health.is_ready(YOU, S)) == ("acct_1", False, True)
    assert (health.asked_wait_us(ME, S), health.asked_wait_us(YOU, S)) == (29 * S, 0)

    call = begin(health, S, YOU)
    assert not call.is_probe
    assert fail(health, call, S, asked_us=30 * S) is Change.RESTS
    assert (health.rests_for, health.is_ready(YOU, 2 * S), health.due_us) == (EVERYBODY, False, 31 * S)


def test_any_number_of_one_accounts_failures_concerns_that_account_alone() -> None:
    """A single other one in the same row, and it is everybody's."""
    health = resting()
    assert (health.rests_for, health.is_ready(YOU, S)) == ("acct_1", True)

    assert fail(health, begin(health, S, YOU), S) is Change.RESTS
    assert (health.rests_for, health.is_ready(YOU, S)) == (EVERYBODY, False)


def test_anothers_success_ends_a_rest() -> None:
    """The upstream works, whatever one account met there."""
    health = resting()
    assert succeed(health, begin(health, S, YOU)) is Change.BACK
    assert health.is_ready(ME, S)


def test_a_call_is_let_through_every_ten_seconds() -> None:
    """One of them, while the upstream asks to be left alone; its success ends the rest, its failure begins anew."""
    health = CircuitBreaker(RULES)
    for call in (ME, YOU):
        fail(health, begin(health, 0, call), 0, asked_us=60 * S)
    assert not health.is_ready(ME, 10 * S - 1)

    first = begin(health, 10 * S)
    assert (first.is_probe, health.is_ready(YOU, 10 * S)) == (True, False)
    fail(health, first, 10 * S, asked_us=60 * S)
    assert (health.is_ready(YOU, 20 * S - 1), health.due_us) == (False, 70 * S)
    second = begin(health, 20 * S, YOU)
    assert second.is_probe
    assert succeed(health, second) is Change.BACK


def test_a_probe_that_is_let_through_and_fails_otherwise_does_not_lengthen_the_rest() -> None:
    """What it found is a failure like others; the upstream's word stands."""
    health = CircuitBreaker(RULES)
    fail(health, begin(health, 0), 0, asked_us=60 * S)
    fail(health, begin(health, 10 * S), 10 * S)

    assert (health.due_us, health.is_ready(ME, 20 * S - 1), health.is_ready(ME, 20 * S)) == (60 * S, False, True)


def test_what_large_calls_were_told_does_not_concern_smaller_ones() -> None:
    """Also when several accounts sent them; those that are nearly as large have to wait."""
    health = CircuitBreaker(RULES)
    for call in (Call("acct_1", 50_000), Call("acct_2", 40_000)):
        fail(health, begin(health, 0, call), 0, asked_us=30 * S)
    small, large = Call("acct_3", 35_000), Call("acct_3", 36_000)
    assert (health.is_ready(small, S), health.is_ready(large, S)) == (True, False)

    assert succeed(health, begin(health, S, small)) is None
    assert not health.is_ready(large, S)
    fail(health, begin(health, S, small), S, asked_us=30 * S)
    assert (health.is_ready(small, S), health.is_ready(Call("acct_4", 1_000), S)) == (False, True)


def test_small_calls_are_all_alike() -> None:
    """No limit of an upstream is as low as that, so what one of them was told concerns all."""
    health = CircuitBreaker(RULES)
    for account_id in ("acct_1", "acct_2"):
        fail(health, begin(health, 0, Call(account_id, 1_000)), 0, asked_us=30 * S)

    assert not health.is_ready(Call("acct_3", 1), S)


def test_what_concerns_the_whole_upstream_is_taken_over() -> None:
    """Another of its models rests for as long, for everybody, and is tried by a call of its own."""
    found, other = CircuitBreaker(RULES), CircuitBreaker(RULES)
    nobody = Call(EVERYBODY, 100)
    for _ in range(3):
        fail(found, begin(found, 0, nobody), 0)
    other.rest_with(found)

    assert (other.state, other.rests_for, other.due_us) == ("resting", EVERYBODY, 2 * S)
    assert begin(other, 2 * S, YOU).is_probe


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
            was_ready = health.is_ready(ME, now_us)
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
        assert health.asked_wait_us(ME, now_us) <= max(health.due_us - now_us, 0) or health.is_up
        assert health.is_up == (health.state == "up")
