"""What an answer is charged whose end nobody heard: told, seen, and learned."""

import msgspec
import pytest

from tests.support.catalog_samples import sample_model
from tests.support.gateway.formats import messages_body, read_messages
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.anthropic.stream import MessagesMeter
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.formats.json.body import decode_fields
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.openai.chat import ChatRequest, read_chat_request
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.settlement.estimates import Estimates
from tokenbooth.gateway.settlement.settle import BilledUsage
from tokenbooth.gateway.settlement.usage import Figures, Unseen, count_cut, learn_answer, learn_stream


def request_of(*, reasoning: bool = False, **fields: object) -> ChatRequest:
    """A chat request of about a hundred bytes."""
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "x" * 40}], **fields})
    return read_chat_request(decode_fields(body, 128), sample_model(reasoning=reasoning), len(body))


def heard(*events: dict[str, object]) -> ChatMeter:
    """A meter that has heard these events."""
    meter = ChatMeter(None)
    for event in events:
        meter.feed(b"data: " + msgspec.json.encode(event) + b"\n\n")
    return meter


def word(text: str, *, usage: object = None, finish: str | None = None) -> dict[str, object]:
    """An event with text."""
    event: dict[str, object] = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
    return event if usage is None else {**event, "usage": usage}


def reported(prompt: int, output: int, **more: object) -> dict[str, object]:
    """A usage event."""
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output, **more}}


def cut(
    request: PricedRequest, meter: Meter | None, unseen: Unseen = Unseen.NOTHING, estimates: Estimates | None = None
) -> BilledUsage:
    """What is counted."""
    figures = Figures(estimates or Estimates(), "acct")
    return count_cut(request, meter, unseen, figures, request_id="r", upstream="u")


def test_nothing_heard_is_the_prompt() -> None:
    """A quarter of a token a byte."""
    request = request_of()

    assert cut(request, None) == BilledUsage(Usage(-(-request.text_bytes // 4), 0), estimated=True)


@pytest.mark.parametrize(
    ("told", "output"),
    [((900, 1), 2), ((900, 7), 7), ((0, 7), 7), ((1, 0), 2)],
    ids=["prompt", "both", "output", "none"],
)
def test_a_usage_before_the_end_is_a_lower_bound(told: tuple[int, int], output: int) -> None:
    """Of each count the larger one is charged."""
    request = request_of()
    usage = {"prompt_tokens": told[0], "completion_tokens": told[1]}

    counted = cut(request, heard(word("abcd", usage=usage), word("abcd")))

    assert counted == BilledUsage(Usage(max(told[0], -(-request.text_bytes // 4)), output), estimated=True)


def test_a_usage_of_the_end_is_the_truth() -> None:
    """Though the end marker is missing; a larger count of ours does not matter."""
    meter = heard(word("abcd" * 100), word("", finish="stop"), reported(3, 2))

    assert cut(request_of(), meter, Unseen.REST) == BilledUsage(Usage(3, 2), estimated=False)


def test_a_usage_without_choices_before_the_finish_is_not_the_end() -> None:
    """Some servers tell what there is so far in events of their own."""
    counted = cut(request_of(), heard(word("abcd" * 2), reported(500, 1), word("abcd" * 2)))

    assert counted == BilledUsage(Usage(500, 4), estimated=True)


def test_cached_tokens_stay_cached() -> None:
    """What was told of the prompt's price is kept."""
    usage = {"prompt_tokens": 900, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 800}}

    assert cut(request_of(), heard(word("abcd", usage=usage))).usage.cached_tokens == 800


def test_a_prompt_that_the_format_tells_first_is_the_truth() -> None:
    """Anthropic's message_start: no estimate of the prompt is larger."""
    meter = MessagesMeter()
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}
    meter.feed(b"event: message_start\ndata: " + msgspec.json.encode(start) + b"\n\n")

    assert cut(read_messages(messages_body()), meter) == BilledUsage(Usage(5, 1), estimated=True)


class TestUnseen:
    """What is charged beside what was seen."""

    def test_thinking_as_learned(self) -> None:
        """On top of the text, as reasoning."""
        estimates = Estimates()
        estimates.learn_thinking("other", sample_model().name, "", 700)

        counted = cut(request_of(reasoning=True), heard(word("abcd")), Unseen.THINKING, estimates)

        assert (counted.usage.completion_tokens, counted.usage.reasoning_tokens) == (701, 700)

    def test_the_rest_as_learned(self) -> None:
        """At least the text."""
        estimates = Estimates()
        estimates.learn("other", sample_model().name, "", text_bytes=0, prompt_tokens=0, answer_tokens=50)

        short = cut(request_of(), heard(word("abcd")), Unseen.REST, estimates)
        long = cut(request_of(), heard(word("abcd" * 90)), Unseen.REST, estimates)

        assert (short.usage.completion_tokens, long.usage.completion_tokens) == (50, 90)

    def test_each_choice_counts(self) -> None:
        """What was learned is of one choice."""
        estimates = Estimates()
        estimates.learn("other", sample_model().name, "", text_bytes=0, prompt_tokens=0, answer_tokens=50)

        assert cut(request_of(n=3), None, Unseen.REST, estimates).usage.completion_tokens == 150

    @pytest.mark.parametrize("unseen", [Unseen.THINKING, Unseen.REST])
    def test_never_above_the_ceiling(self, unseen: Unseen) -> None:
        """The upstream stops there."""
        estimates = Estimates()
        estimates.learn_thinking("other", sample_model().name, "", 10**6)
        estimates.learn("other", sample_model().name, "", text_bytes=0, prompt_tokens=0, answer_tokens=10**6)

        counted = cut(request_of(reasoning=True, max_tokens=300), heard(word("abcd")), unseen, estimates)

        assert counted.usage.completion_tokens == 300

    def test_the_effort_decides(self) -> None:
        """A request that asks for little is charged what little costs."""
        estimates = Estimates()
        for effort, tokens in (("low", 100), ("high", 5_000)):
            estimates.learn_thinking("other", sample_model().name, effort, tokens)

        counted = [
            cut(request_of(reasoning_effort=effort), None, Unseen.THINKING, estimates).usage.completion_tokens
            for effort in ("low", "high")
        ]

        assert counted == [100, 5_000]


class TestLearning:
    """From whole answers to estimates."""

    def test_thinking_that_was_shown_is_not_hidden(self) -> None:
        """A server that shows its reasoning has little that nobody saw."""
        estimates = Estimates()
        shown = {"choices": [{"index": 0, "delta": {"reasoning_content": "abcd" * 90}}]}
        meter = heard(dict(shown), word("abcd" * 10))
        usage = Usage(10, 100, reasoning_tokens=90)

        learn_stream(Figures(estimates, "a"), request_of(reasoning=True), usage, meter)

        assert estimates.thinking_tokens(sample_model().name, "") == 0

    @pytest.mark.parametrize("reasoning_tokens", [90, 0], ids=["counted apart", "not counted apart"])
    def test_thinking_that_was_not_shown_is(self, reasoning_tokens: int) -> None:
        """Also where the server counts it as output only."""
        estimates = Estimates()
        usage = Usage(10, 100, reasoning_tokens=reasoning_tokens)

        learn_stream(Figures(estimates, "a"), request_of(reasoning=True), usage, heard(word("abcd" * 10)))

        assert estimates.thinking_tokens(sample_model().name, "") == 90

    def test_whole_answers_teach_as_well(self) -> None:
        """Their text is found in them."""
        estimates = Estimates()
        body = msgspec.json.encode({"choices": [{"message": {"content": "abcd" * 10}}]})

        learn_answer(Figures(estimates, "a"), request_of(reasoning=True), Usage(10, 100, reasoning_tokens=90), body)

        assert estimates.thinking_tokens(sample_model().name, "") == 90

    def test_the_text_of_one_answer_in_thirty_two_is_counted(self) -> None:
        """That is enough to know how many bytes a token of this account's answers has."""
        estimates = Estimates()
        request = request_of()
        for _ in range(32):
            learn_stream(Figures(estimates, "a"), request, Usage(10, 1_000), heard(word("x" * 2_000)))

        assert estimates.text_tokens("a", request.model.name, 100) == 50

    def test_images_teach_no_ratio(self) -> None:
        """They bring tokens without bytes."""
        estimates = Estimates()
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9_000}}
        body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": [image]}], "x": "y" * 5_000})
        request = read_chat_request(decode_fields(body, 128), sample_model(), len(body))

        learn_stream(Figures(estimates, "a"), request, Usage(4_000, 10), heard(word("a")))

        assert estimates.prompt_tokens("a", request.model.name, 100) == 25
