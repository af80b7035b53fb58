"""What costs nothing is not refused, over HTTP in each format, and what is charged for it is what was consumed."""

from typing import Any, Final

import pytest

from tests.support.gateway.answer_rig import FORMATS, AnswerRig, Counts, Format, Json
from tests.support.gateway.answers import streamed, whole

TEXT: Final = '[{"[{' * 5_000
USAGE: Final[Json] = {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200}
MESSAGE_USAGE: Final[Json] = {"input_tokens": 1_000, "output_tokens": 200}


def with_text(form: Format, text: str) -> dict[str, Any]:
    """A field that holds a text: what a tool is for, or who asks."""
    schema = {"type": "object", "properties": {}}
    match form:
        case "chat":
            return {
                "tools": [{"type": "function", "function": {"name": "f", "description": text, "parameters": schema}}]
            }
        case "responses":
            return {"tools": [{"type": "function", "name": "f", "description": text, "parameters": schema}]}
        case "messages" | "translated":
            return {"tools": [{"name": "f", "description": text, "input_schema": schema}]}
        case _:
            return {"user": text}


# openai/codex#32318: tools in a namespace, as Codex sends them. The others are nobody's that costs anything.
MORE: Final[dict[str, dict[Format, dict[str, Any]]]] = {
    "brackets in a text": {form: with_text(form, TEXT) for form in FORMATS},
    "a field that nobody knows": {form: {"x_of_mine": {"a": [1, {"b": None}]}} for form in FORMATS},
    "tools in a namespace": {
        "responses": {
            "tools": [
                {
                    "type": "namespace",
                    "name": "mcp__foo",
                    "description": "d",
                    "tools": [{"type": "function", "name": "f"}],
                }
            ]
        }
    },
}
ROWS: Final = [(what, form, stream) for what, by in MORE.items() for form in by for stream in (False, True)]


@pytest.mark.parametrize(("what", "form", "stream"), [row for row in ROWS if not (row[1] == "embeddings" and row[2])])
def test_it_passes_and_costs_what_was_consumed(
    every_format: AnswerRig, chats_only: AnswerRig, what: str, form: Format, stream: bool
) -> None:
    """To the nano-dollar; the bounds of nesting count what is nested."""
    usage = MESSAGE_USAGE if form == "messages" else USAGE
    answer = (
        streamed(form, {"first": usage, "last": usage} if form == "messages" else {"last": usage})
        if stream
        else whole(form, usage)
    )
    outcome = (chats_only if form == "translated" else every_format).ask(
        form, answer, stream=stream, **MORE[what][form]
    )
    expected = Counts(1_000, 0 if form == "embeddings" else 200).nano
    assert outcome.ended, outcome.answer.text
    assert (outcome.charged_nano, outcome.shown_nano, outcome.estimated) == (expected, expected, False)
