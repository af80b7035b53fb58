"""Usage in every shape that servers report it in, over HTTP: in each format, whole and streamed, to the nano-dollar."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.support.gateway.answer_rig import (
    CACHE_WRITE,
    CACHED,
    INPUT,
    OF_CHOICES,
    OUTPUT,
    PLAIN,
    REASONING,
    THINKING,
    WAYS,
    Asked,
    Counts,
    Format,
    Json,
    Outcome,
    Way,
    outcomes_of,
)
from tests.support.gateway.answers import PIECES, TEXT, Phase, Place, Reports, streamed, whole

OPENAI: Final[tuple[Format, ...]] = (*OF_CHOICES, "responses")
ALL: Final[tuple[Format, ...]] = (*OPENAI, "embeddings")
USAGE: Final[Json] = {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200}
ABSENT: Final = -1
"""Of a count: as we count it."""
MOST: Final = -2
"""Of a count: twice what we count."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What is reported, and what it has to come to.

    Attributes:
        source: where servers were seen to report it so.
        reported: what is reported when; a whole answer has what is reported last.
        counts: the tokens of each kind; `ABSENT` and `MOST` are as we count.
        forms: the formats in which it may come.
        place: where it stands.
        estimated: it is counted by us, at least in part.
        model: whose answer it is.
    """

    source: str
    reported: Reports
    counts: Counts
    forms: tuple[Format, ...] = OPENAI
    place: Place = "top"
    estimated: bool = False
    model: str = PLAIN


def at_end(source: str, counts: Counts, usage: object, *forms: Format, **more: str) -> Shape:
    """A shape that is reported once, at the end; a model whose reasoning is reported thinks."""
    model = more.get("model", THINKING if counts.reasoning else PLAIN)
    return Shape(source, {"last": usage}, counts, forms or OPENAI, model=model)


def beside(source: str, counts: Counts, more: Json, total: int | None = 1_200) -> Shape:
    """1,000 and 200 tokens, and what else is reported beside them."""
    return at_end(source, counts, {**USAGE, "total_tokens": total, **more})


NAMES: Final = (
    at_end("OpenAI API reference, The chat completion object", Counts(1_000, 200), USAGE),
    at_end(
        "OpenAI API reference, The response object",
        Counts(1_000, 200),
        {"input_tokens": 1_000, "output_tokens": 200, "total_tokens": 1_200},
    ),
    at_end(
        "OpenAI API reference, Create embeddings",
        Counts(1_000, 0),
        {"prompt_tokens": 1_000, "total_tokens": 1_000},
        "embeddings",
    ),
    beside("OpenAI docs, Prompt caching", Counts(200, 200, 800), {"prompt_tokens_details": {"cached_tokens": 800}}),
    beside(
        "OpenAI API reference, The response object: input_tokens_details",
        Counts(200, 200, 800),
        {"input_tokens_details": {"cached_tokens": 800}},
    ),
    beside("Moonshot, chat; QuantumNous/new-api#2493", Counts(200, 200, 800), {"cached_tokens": 800}),
    beside("DeepSeek API docs, Context caching", Counts(200, 200, 800), {"prompt_cache_hit_tokens": 800}),
    beside("LiteLLM docs, Prompt caching", Counts(200, 200, 800), {"cache_read_input_tokens": 800}),
    beside(
        "LiteLLM docs, Prompt caching: told twice",
        Counts(100, 200, 800, 100),
        {
            "prompt_tokens_details": {"cached_tokens": 800},
            "cache_read_input_tokens": 800,
            "cache_creation_input_tokens": 100,
        },
    ),
    at_end(
        "Portkey-AI/gateway#1210: reads beside the prompt, in the total",
        Counts(368, 19, 10_536),
        {
            "prompt_tokens": 368,
            "completion_tokens": 19,
            "total_tokens": 10_923,
            "cache_read_input_tokens": 10_536,
            "cache_creation_input_tokens": 0,
        },
    ),
    beside(
        "Qwen, Context cache: an explicit cache",
        Counts(100, 200, 0, 900),
        {"prompt_tokens_details": {"cached_tokens": 0, "cache_creation_input_tokens": 900}},
    ),
    beside(
        "Qwen, Context cache: by lifetime",
        Counts(100, 200, 0, 900),
        {"prompt_tokens_details": {"cache_creation": {"ephemeral_5m_input_tokens": 900}}},
    ),
    beside(
        "OpenRouter docs, Prompt caching",
        Counts(100, 200, 600, 300),
        {"prompt_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 300}},
    ),
    beside(
        "OpenAI docs, Reasoning",
        Counts(1_000, 50, reasoning=150),
        {"completion_tokens_details": {"reasoning_tokens": 150}},
    ),
    beside(
        "OpenAI API reference, The response object: output_tokens_details",
        Counts(1_000, 50, reasoning=150),
        {"output_tokens_details": {"reasoning_tokens": 150}},
    ),
    beside("SGLang docs, Reasoning parser", Counts(1_000, 80, reasoning=120), {"reasoning_tokens": 120}),
    beside(
        "Perplexity docs, Sonar deep research",
        Counts(1_000, 200, reasoning=7_000),
        {"reasoning_tokens": 7_000},
    ),
    at_end(
        "xAI REST API reference, Chat completions: 32 + 9 + 94 = 135",
        Counts(32, 9, reasoning=94),
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
    ),
    beside("OpenRouter docs, Usage accounting", Counts(1_000, 200), {"cost": 7.5, "cost_details": {"upstream": 7}}),
    beside(
        "LiteLLM docs, Output format: null details",
        Counts(1_000, 200),
        {"prompt_tokens_details": None, "completion_tokens_details": None},
    ),
    beside(
        "ollama/ollama#4357: what says nothing", Counts(1_000, 200), {"cached_tokens": "null", "reasoning_tokens": {}}
    ),
    at_end("numbers as texts", Counts(1_000, 200), {name: str(count) for name, count in USAGE.items()}),
    at_end("numbers as floats", Counts(1_000, 200), {name: float(count) for name, count in USAGE.items()}),
    beside("a part that cannot be true", Counts(1_000, 200), {"cached_tokens": -5}),
)

# What a total fills: docs/upstreams.md, "What usage is read".
TOTALS: Final = (
    at_end(
        "livekit/agents#6663: a total that holds more than its parts",
        Counts(1_000, 20),
        {"prompt_tokens": 1_000, "completion_tokens": 20, "total_tokens": 9_000},
    ),
    at_end(
        "Gemini API docs, Thinking: pricing; the rest of the total is thinking",
        Counts(14, 128),
        {"prompt_tokens": 14, "completion_tokens": 28, "total_tokens": 142},
        model="gemini",
    ),
    Shape(
        "the same of a model that thinks, elsewhere",
        {"last": {"prompt_tokens": 14, "completion_tokens": 28, "total_tokens": 142}},
        Counts(14, MOST),
        model=THINKING,
    ),
    at_end(
        "a completion of zero, in the total",
        Counts(1_000, 20),
        {"prompt_tokens": 1_000, "completion_tokens": 0, "total_tokens": 1_020},
    ),
    Shape(
        "a completion of zero, and a total that is too large for it",
        {"last": {"prompt_tokens": 1_000, "completion_tokens": 0, "total_tokens": 90_000}},
        Counts(1_000, MOST),
        estimated=True,
    ),
    Shape(
        "a prompt of zero, and a total that is too large for it",
        {"last": {"prompt_tokens": 0, "completion_tokens": 20, "total_tokens": 90_000}},
        Counts(MOST, 20),
        estimated=True,
    ),
    at_end("a prompt of zero, in the total", Counts(25, 20), {"completion_tokens": 20, "total_tokens": 45}),
    at_end("an embedding's total alone", Counts(15, 0), {"prompt_tokens": 0, "total_tokens": 15}, "embeddings"),
    Shape(
        "an embedding's total that is too large",
        {"last": {"total_tokens": 90_000}},
        Counts(MOST, 0),
        ("embeddings",),
        estimated=True,
    ),
)

NOTHING: Final = tuple(
    Shape(source, {"last": usage}, Counts(ABSENT, ABSENT), estimated=True)
    for source, usage in (
        ("OpenAI API reference, chunks of a stream", None),
        ("an empty object", {}),
        ("the text null", "null"),
        ("false", False),
        ("Ollama docs, OpenAI compatibility: zeros", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        ("a prompt below zero", {**USAGE, "prompt_tokens": -1}),
        ("a completion that no model writes", {**USAGE, "completion_tokens": 10**12}),
        ("more cached than there was", {**USAGE, "prompt_tokens_details": {"cached_tokens": 5_000}}),
    )
)

PLACES: Final = (
    Shape("northes/go-moonshot#17", {"last": USAGE}, Counts(1_000, 200), OF_CHOICES, "choice"),
    Shape(
        "AstrBotDevs/AstrBot#6614: with the cached in it",
        {"finish": {**USAGE, "cached_tokens": 800, "prompt_tokens_details": {"cached_tokens": 800}}},
        Counts(200, 200, 800),
        OF_CHOICES,
        "choice",
    ),
    Shape(
        "Groq API reference, Create chat completion: streaming",
        {"finish": USAGE},
        Counts(1_000, 200),
        OF_CHOICES,
        "x_groq",
    ),
    Shape("DeepSeek API docs: with the finish reason", {"finish": USAGE}, Counts(1_000, 200), OF_CHOICES),
    Shape(
        "a total alone, with the finish reason",
        {"finish": {"total_tokens": 100_000}},
        Counts(MOST, MOST),
        OF_CHOICES,
        estimated=True,
    ),
    Shape("AbanteAI/archive-old-cli-mentat#429: before the text", {"first": USAGE}, Counts(1_000, 200), OF_CHOICES),
)


def at(source: str, counts: Counts, **reported: object) -> Shape:
    """A shape that is reported in several events of a stream of choices."""
    phases: dict[Phase, object] = {
        phase: reported[phase] for phase in ("first", "second", "finish", "last") if phase in reported
    }
    return Shape(source, phases, counts, OF_CHOICES)


SO_FAR: Final[Json] = {"prompt_tokens": 1_000, "completion_tokens": 90, "total_tokens": 1_090}
REPORTS: Final = (
    at("vLLM docs, continuous_usage_stats", Counts(1_000, 200), first=SO_FAR, second=SO_FAR, finish=USAGE, last=USAGE),
    at("rashidrazak/opencode-cmd-provider#213: cumulative", Counts(1_000, 200), first=SO_FAR, finish=USAGE),
    at("a later zero", Counts(1_000, 200), finish=USAGE, last={"prompt_tokens": 0, "completion_tokens": 0}),
    at("a later null", Counts(1_000, 200), finish=USAGE, last={"prompt_tokens": None, "completion_tokens": None}),
    at("a later object without anything", Counts(1_000, 200), finish=USAGE, last={}),
    at("a later null text", Counts(1_000, 200), first=USAGE, finish="null"),
    at("a later cached alone", Counts(200, 200, 800), finish=USAGE, last={"cached_tokens": 800}),
    at("a later completion alone", Counts(1_000, 90), finish=USAGE, last={"completion_tokens": 90}),
    at(
        "a correction to more",
        Counts(2_000, 300),
        finish=USAGE,
        last={"prompt_tokens": 2_000, "completion_tokens": 300},
    ),
    at("a correction to less", Counts(1_000, 90), first=USAGE, last=SO_FAR),
    at(
        "details that a later report leaves out",
        Counts(200, 200, 800),
        first={**USAGE, "prompt_tokens_details": {"cached_tokens": 800}},
        last=USAGE,
    ),
    at(
        "more than the model's limit, beside a choice",
        Counts(1_000, 500_000),
        finish={**USAGE, "completion_tokens": 600_000, "total_tokens": 601_000},
    ),
    at("a later count that cannot be true", Counts(1_000, 200), finish=USAGE, last={**USAGE, "completion_tokens": -1}),
)


def of_message(source: str, counts: Counts, first: object, last: object, **more: bool) -> Shape:
    """What a message reports in its first event and in its last but one; whole, the latter over the former."""
    estimated = more.get("estimated", False)
    model = THINKING if counts.reasoning else PLAIN
    return Shape(source, {"first": first, "last": last}, counts, ("messages",), estimated=estimated, model=model)


START: Final[Json] = {"input_tokens": 1_000, "output_tokens": 1}
OF_MESSAGES: Final = (
    of_message("Anthropic API docs, Streaming messages", Counts(1_000, 200), START, {"output_tokens": 200}),
    of_message(
        "envoyproxy/ai-gateway#1631; sgl-project/sglang#20830: a later zero",
        Counts(1_000, 200),
        START,
        {"input_tokens": 0, "output_tokens": 200},
    ),
    of_message("a later null", Counts(1_000, 200), START, {"input_tokens": None, "output_tokens": 200}),
    of_message("the text null", Counts(1_000, 200), START, {"input_tokens": "null", "output_tokens": 200}),
    of_message(
        "Z.AI, LiteLLM: all of it at the end",
        Counts(1_000, 200),
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": 1_000, "output_tokens": 200},
    ),
    of_message("nothing at the beginning", Counts(1_000, 200), None, {"input_tokens": 1_000, "output_tokens": 200}),
    of_message(
        "Anthropic docs, Prompt caching",
        Counts(1_000, 200, 800, 300),
        {**START, "cache_read_input_tokens": 800, "cache_creation_input_tokens": 300},
        {"output_tokens": 200},
    ),
    of_message(
        "a cache that the end says was nothing",
        Counts(1_000, 200, 800, 300),
        {**START, "cache_read_input_tokens": 800, "cache_creation_input_tokens": 300},
        {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 200},
    ),
    of_message(
        "Anthropic docs, Prompt caching: by lifetime alone",
        Counts(1_000, 200, 0, 42),
        {**START, "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 12}},
        {"output_tokens": 200},
    ),
    of_message(
        "Anthropic API docs, usage of message_delta is cumulative",
        Counts(2_000, 200, 70),
        START,
        {"input_tokens": 2_000, "cache_read_input_tokens": 70, "output_tokens": 200},
    ),
    of_message(
        "Anthropic docs, Extended thinking",
        Counts(1_000, 80, reasoning=120),
        START,
        {"output_tokens": 200, "output_tokens_details": {"thinking_tokens": 120}},
    ),
    Shape(
        "fumito-ito/AnthropicSwiftSDK#7: inside of what the end changes",
        {"first": START, "last": {"output_tokens": 200, "cost": 7}},
        Counts(1_000, 200),
        ("messages",),
        "delta",
    ),
    of_message("no usage", Counts(ABSENT, ABSENT), None, None, estimated=True),
    of_message("zeros", Counts(ABSENT, ABSENT), {"input_tokens": 0}, {"output_tokens": 0}, estimated=True),
    of_message("a usage that is a text", Counts(ABSENT, ABSENT), "null", "null", estimated=True),
    of_message("a usage that is false", Counts(ABSENT, ABSENT), None, False, estimated=True),
    of_message("an empty usage", Counts(ABSENT, ABSENT), {}, {}, estimated=True),
    of_message("below zero", Counts(ABSENT, ABSENT), None, {"input_tokens": -1, "output_tokens": 9}, estimated=True),
    of_message("floats and texts", Counts(1_000, 200), {"input_tokens": 1_000.0}, {"output_tokens": "200"}),
)
SHAPES: Final = (*NAMES, *TOTALS, *NOTHING, *PLACES, *REPORTS, *OF_MESSAGES)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A shape in one format, coming one way."""

    shape: Shape = field(repr=False)
    form: Format
    way: Way

    @property
    def name(self) -> str:
        """What distinguishes it."""
        return f"{self.shape.source} [{self.form}, {self.way}]"

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.way in ("streamed", "whole as stream")

    def asked(self) -> Asked:
        """The call."""
        shape = self.shape
        if self.way in ("streamed", "stream as whole"):
            answer = streamed(self.form, shape.reported, place=shape.place)
        else:
            answer = whole(self.form, self.whole_usage(), place=shape.place)
        return Asked(self.form, answer, self.stream, shape.model)

    def whole_usage(self) -> object:
        """What a whole answer reports: a message all that its events say together."""
        *earlier, last = self.shape.reported.values()
        if self.form != "messages" or not earlier or not isinstance(earlier[0], dict) or not isinstance(last, dict):
            return last
        return {**earlier[0], **{name: value for name, value in last.items() if value not in (None, 0, "null")}}

    def nano(self, outcome: Outcome) -> int:
        """What it has to cost; our own count is a quarter of the bytes, and no fewer than the pieces of a stream."""
        counts, pieces = self.shape.counts, len(PIECES) if self.way == "streamed" else 0
        prompt, output = -(-outcome.sent_bytes // 4), max(-(-len(TEXT) // 4), pieces)
        known: Mapping[int, tuple[int, int]] = {ABSENT: (prompt, output), MOST: (2 * prompt, 2 * output)}
        fresh = known[counts.fresh][0] if counts.fresh in known else counts.fresh
        written = known[counts.output][1] if counts.output in known else counts.output
        return Counts(fresh, written, counts.cached, counts.written, counts.reasoning).nano


def cases() -> Iterator[Case]:
    """Each shape in its formats, in each way that it can come; a series of reports has no whole answer."""
    for shape in SHAPES:
        for form in shape.forms:
            for way in WAYS:
                is_series = len(shape.reported) > 1 and form != "messages"
                if form == "embeddings" and way != "whole":
                    continue
                if is_series and way in ("whole", "whole as stream"):
                    continue
                yield Case(shape, form, way)


CASES: Final = tuple(cases())


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Outcome]:
    """What each case came to."""
    told = outcomes_of(tmp_path_factory.mktemp("usage"), [case.asked() for case in CASES])
    return dict(zip(CASES, told, strict=True))


def test_the_prices_tell_all_kinds_apart() -> None:
    """No row passes with its counts in the wrong places."""
    assert len({INPUT, CACHED, CACHE_WRITE, OUTPUT, REASONING}) == 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_charged_and_told_to_the_nano_dollar(case: Case, outcomes: dict[Case, Outcome]) -> None:
    """The tokens of each kind at their own prices; what is reported is told, and marked estimated only where it is."""
    outcome = outcomes[case]
    assert outcome.ended, outcome.answer.text
    expected = case.nano(outcome)
    assert outcome.charged_nano == expected
    assert outcome.estimated is case.shape.estimated
    # A stream in which no usage says anything tells no cost.
    if outcome.shown_nano is not None or not case.stream or not case.shape.estimated:
        assert outcome.shown_nano == expected
