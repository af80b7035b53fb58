"""Target: described answers of upstreams, whole and streamed, in every format and translated, through the real relay.

What must hold: a torn or failed answer never ends cleanly; nothing is charged where the upstream failed before its
first real event, or in the place of a whole answer; text that was delivered is never free; nothing of the operator's
own reaches the client; and what is in order leaves as it was said, charged as the upstream counted it.
"""

from fuzz.booth import Asked, Outcome, call
from fuzz.choices import Choices
from fuzz.described import Described, described, plain
from fuzz.failures import CANARY
from fuzz.heard import Heard, heard
from fuzz.written import Says, Truth
from tokenbooth.domain.usage import Usage


def check_call(data: bytes) -> None:
    """Make an answer of the bytes, and a call of it.

    Raises:
        AssertionError: something that must hold does not.
    """
    answer = described(Choices(data))
    judge(answer, call(answer.asked, answer.sent))
    if answer.truth.failed and answer.asked.choices == 1:
        # Where another upstream answers instead, nothing of the first one is told or charged.
        other = plain(answer.asked)
        outcome = call(answer.asked, answer.sent, other.sent)
        judge(other if outcome.upstreams_asked == 2 else answer, outcome)


def judge(answer: Described, outcome: Outcome) -> None:
    """What came of a described answer is what had to come of it.

    Raises:
        AssertionError: it is not.
    """
    told = check_outcome(answer.asked, outcome)
    check_secrets(outcome)
    _check_truth(answer, outcome, told)


def check_outcome(asked: Asked, outcome: Outcome) -> Heard:
    """What holds of each call, whatever the upstream sends; returns what the client heard.

    Raises:
        AssertionError: it does not.
    """
    told = heard(asked, outcome)
    assert len(outcome.charges) <= 1, "charged twice"
    if outcome.status != 200:
        assert not outcome.charged_nano, "a refused call is charged"
    if told.text or told.thought:
        assert outcome.charged_nano > 0, "what was delivered is free"
    if told.has_ended:
        assert outcome.charges, "an answer without a charge"
    return told


def check_secrets(outcome: Outcome) -> None:
    """Nothing of the operator's own left for the client.

    Raises:
        AssertionError: it did.
    """
    assert CANARY.encode() not in outcome.head + outcome.body, "something of the operator's own reaches the client"


def _check_truth(answer: Described, outcome: Outcome, told: Heard) -> None:
    truth = answer.truth
    if told.text or told.thought:
        assert outcome.charges[0].completion_tokens > 0, "what was delivered counts for nothing"
    if truth.failed:
        assert not told.has_ended, "a clean end of an answer that failed"
        assert told.has_error
        if truth.says is Says.NOTHING or not answer.asked.stream:
            assert not outcome.charged_nano, "charged although the upstream failed before its first real event"
    elif truth.failed is False:
        assert told.has_ended, "an answer that is in order is refused"
        assert sorted(told.text) == sorted(truth.text), "another text"
        _check_usage(truth, outcome)


def _check_usage(truth: Truth, outcome: Outcome) -> None:
    if truth.usage is None:
        return
    (charge,) = outcome.charges
    counted = Usage(charge.prompt_tokens, charge.completion_tokens, charge.cached_tokens)
    assert counted == truth.usage, "charged for something else than the upstream counted"
    assert not charge.estimated
