"""Whether a request asks to think, in every dialect."""

import msgspec
import pytest

from tests.support.catalog_samples import sample_model
from tests.support.gateway.formats import read_chat
from tokenbooth.gateway.formats.json.body import decode_fields
from tokenbooth.gateway.formats.openai.chat import read_chat_request
from tokenbooth.gateway.formats.thinking import asks_to_think, effort_of, thinks

ASKS: list[tuple[dict[str, object], str]] = [
    ({"reasoning_effort": "minimal"}, "minimal"),
    ({"reasoning_effort": "low"}, "low"),
    ({"reasoning_effort": "xhigh"}, "xhigh"),
    ({"reasoning_effort": "extreme"}, ""),
    ({"reasoning": {"effort": "high", "summary": "auto"}}, "high"),
    ({"reasoning": {"summary": "auto"}}, ""),
    ({"reasoning": {"enabled": True}}, ""),
    ({"reasoning": {"max_tokens": 2_000}}, "low"),
    ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
    ({"thinking": {"type": "enabled", "budget_tokens": 60_000}}, "high"),
    ({"thinking": {"type": "adaptive"}}, ""),
    ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
    ({"output_config": {"effort": "low"}}, "low"),
    ({"enable_thinking": True}, ""),
    ({"enable_thinking": True, "thinking_budget": 5_000}, "medium"),
    ({"chat_template_kwargs": {"enable_thinking": True}}, ""),
    ({"chat_template_kwargs": {"thinking": True}}, ""),
    ({"parameters": {"enable_thinking": True}}, ""),
    ({"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}, ""),
    ({"generation_config": {"thinkingConfig": {"thinkingBudget": 5_000}}}, "medium"),
    ({"enableThinking": True}, ""),
    ({"think": "high"}, "high"),
    ({"think": True}, ""),
    ({"include_reasoning": True}, ""),
    ({"max_thinking_tokens": 100}, "low"),
    ({"reasoning_budget_of_tomorrow": [1]}, ""),
    # Two names at once: the higher effort may be the one that is obeyed.
    ({"reasoning_effort": "minimal", "thinking": {"type": "enabled", "budget_tokens": 90_000}}, "high"),
]
DOES_NOT: list[dict[str, object]] = [
    {},
    {"temperature": 0.5, "tools": []},
    {"reasoning_effort": "none"},
    {"reasoning_effort": None},
    {"reasoning": None},
    {"reasoning": {}},
    {"reasoning": {"effort": "none"}},
    {"reasoning": {"enabled": False}},
    {"thinking": {"type": "disabled"}},
    {"thinking": {"type": "disabled", "budget_tokens": 9_000}},
    {"enable_thinking": False},
    {"thinking_budget": 0},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"chat_template_kwargs": {"tone": "brief"}},
    {"output_config": {"format": {"type": "json_schema"}}},
    {"think": False},
    {"logit_bias": {}},
]


def fields_of(asked: dict[str, object]) -> dict[str, msgspec.Raw]:
    """The top level of a request."""
    return decode_fields(msgspec.json.encode({"model": "m", "messages": [], **asked}), 128)


@pytest.mark.parametrize(("asked", "effort"), ASKS, ids=str)
def test_these_ask_to_think(asked: dict[str, object], effort: str) -> None:
    """Whatever the name, and as hard as the highest of them says."""
    assert asks_to_think(fields_of(asked))
    assert effort_of(fields_of(asked)) == effort


@pytest.mark.parametrize("asked", DOES_NOT, ids=str)
def test_these_do_not(asked: dict[str, object]) -> None:
    """Nothing about thinking, or a plain no."""
    assert not asks_to_think(fields_of(asked))


def test_a_model_that_reasons_thinks_without_being_asked() -> None:
    """And also when it was asked not to, which not every upstream obeys."""
    body = msgspec.json.encode({"model": "m", "messages": [], "reasoning_effort": "none"})
    request = read_chat_request(decode_fields(body, 128), sample_model(reasoning=True), len(body))

    assert thinks(request)
    assert not thinks(read_chat())
    assert thinks(read_chat(reasoning_effort="low"))
