"""What a prompt may tell the model server to do: `[[name arguments]]` in the last user message.

Directives combine freely; where two contradict each other, the later one counts. Anything else in double
brackets is ordinary text, so that a prompt about wiki links or shell tests gets an ordinary answer.

Answer
    `[[write 200]]`             write exactly 200 tokens (a token ceiling in the request still cuts it)
    `[[think 30]]`              write 30 reasoning tokens first
    `[[tool-call]]`             call the first tool of the request instead of writing text
Pace
    `[[delay 0.5]]`             wait 0.5 seconds before the first byte
    `[[token-delay 0.05]]`      wait 0.05 seconds between tokens of a stream
Failure
    `[[fail 500]]`              answer with this status (400 to 599) and an error body
    `[[retry-after 7]]`         send this `retry-after` header, whatever the status
    `[[stop-after 3]]`          cut the connection after 3 tokens
    `[[hang-after 3]]`          fall silent after 3 tokens, with the connection left open
    `[[end-after 3]]`           end the response cleanly after 3 tokens: no finish reason, usage or `[DONE]`
    `[[error-after 3]]`         send an error event after 3 tokens, then end
Usage
    `[[no-usage]]`              report none
    `[[usage prompt=10 completion=20 cached=5 reasoning=2]]`  report these numbers (each is optional)
    `[[usage-twice]]`           send the usage event of a stream twice
    `[[usage-in-last-choice]]`  put the usage on the chunk with the finish reason, asked for or not
    `[[cumulative-usage]]`      put the usage so far on every chunk as well, asked for or not

After 0 tokens, `stop-after` and `hang-after` act before the first byte, status line included. Without a stream they act
in the middle of the body; `end-after` truncates the body and `error-after` answers 500. This module must never do I/O.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

MAX_WRITE_TOKENS = 200_000
MAX_WAIT_S = 3_600.0
_MAX_REPORTED_DIGITS = 18

_DIRECTIVE = re.compile(r"\[\[([a-z]+(?:-[a-z]+)*)((?: +[^\s\[\]]{1,64}){0,8}) *\]\]")

InterruptionKind = Literal["stop", "hang", "end", "error"]


@dataclass(frozen=True, slots=True)
class Interruption:
    """How an answer breaks off, and after how many of its tokens."""

    kind: InterruptionKind
    after_tokens: int

    @property
    def before_first_byte(self) -> bool:
        """Whether not even the status line is sent."""
        return self.after_tokens == 0 and self.kind in ("stop", "hang")


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """Token counts to report instead of the true ones; None keeps the true one."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Directives:
    """All that a prompt told the server; the default is an ordinary answer."""

    write_tokens: int | None = None
    think_tokens: int = 0
    tool_call: bool = False
    delay_s: float = 0.0
    token_delay_s: float = 0.0
    fail_status: int | None = None
    retry_after: str | None = None
    interruption: Interruption | None = None
    no_usage: bool = False
    reported: ReportedUsage = ReportedUsage()
    usage_twice: bool = False
    usage_in_last_choice: bool = False
    cumulative_usage: bool = False


class InvalidDirectiveError(ValueError):
    """A known directive has arguments that make no sense; the message is for the caller."""


def parse_directives(text: str) -> tuple[Directives, str]:
    """Reads the directives in `text`.

    Returns:
        The directives, and the text without them and with its white space collapsed.

    Raises:
        InvalidDirectiveError: a known directive has wrong arguments.
    """
    directives = Directives()
    rest: list[str] = []
    end_of_last = 0
    for match in _DIRECTIVE.finditer(text):
        try:
            applied = _apply(directives, match.group(1), match.group(2).split())
        except ValueError as error:
            raise InvalidDirectiveError(f"{match.group(0)} is not a valid directive: {error}") from error
        if applied is None:
            continue
        directives = applied
        rest.append(text[end_of_last : match.start()])
        end_of_last = match.end()
    rest.append(text[end_of_last:])
    return directives, " ".join(" ".join(rest).split())


def _apply(so_far: Directives, name: str, arguments: list[str]) -> Directives | None:
    """The directives with one more applied; None if no directive has that name."""
    match name:
        case "write" | "think" | "stop-after" | "hang-after" | "end-after" | "error-after":
            return _apply_count(so_far, name, _count(arguments))
        case "delay":
            return replace(so_far, delay_s=_seconds(arguments))
        case "token-delay":
            return replace(so_far, token_delay_s=_seconds(arguments))
        case "fail":
            return replace(so_far, fail_status=_status(arguments))
        case "retry-after":
            return replace(so_far, retry_after=_header_value(arguments))
        case "usage":
            return replace(so_far, reported=_reported(so_far.reported, arguments))
        case _:
            return _apply_switch(so_far, name, arguments)


def _apply_count(so_far: Directives, name: str, tokens: int) -> Directives:
    match name:
        case "write":
            return replace(so_far, write_tokens=tokens)
        case "think":
            return replace(so_far, think_tokens=tokens)
        case "stop-after":
            return replace(so_far, interruption=Interruption("stop", tokens))
        case "hang-after":
            return replace(so_far, interruption=Interruption("hang", tokens))
        case "end-after":
            return replace(so_far, interruption=Interruption("end", tokens))
        case _:
            return replace(so_far, interruption=Interruption("error", tokens))


def _apply_switch(so_far: Directives, name: str, arguments: list[str]) -> Directives | None:
    match name:
        case "tool-call":
            switched = replace(so_far, tool_call=True)
        case "no-usage":
            switched = replace(so_far, no_usage=True)
        case "usage-twice":
            switched = replace(so_far, usage_twice=True)
        case "usage-in-last-choice":
            switched = replace(so_far, usage_in_last_choice=True)
        case "cumulative-usage":
            switched = replace(so_far, cumulative_usage=True)
        case _:
            return None
    if arguments:
        raise ValueError("it takes no argument")
    return switched


def _only(arguments: list[str]) -> str:
    if len(arguments) != 1:
        raise ValueError("it takes one argument")
    return arguments[0]


def _count(arguments: list[str]) -> int:
    text = _only(arguments)
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) > MAX_WRITE_TOKENS:
        raise ValueError(f"it takes a number of tokens from 0 to {MAX_WRITE_TOKENS}")
    return int(text)


def _seconds(arguments: list[str]) -> float:
    text = _only(arguments)
    if not re.fullmatch(r"[0-9]{0,4}\.?[0-9]{1,6}", text) or float(text) > MAX_WAIT_S:
        raise ValueError(f"it takes seconds from 0 to {MAX_WAIT_S:.0f}")
    return float(text)


def _status(arguments: list[str]) -> int:
    text = _only(arguments)
    if not re.fullmatch(r"[45][0-9][0-9]", text):
        raise ValueError("it takes a status from 400 to 599")
    return int(text)


def _header_value(arguments: list[str]) -> str:
    text = _only(arguments)
    if not re.fullmatch(r"[!-~]{1,64}", text):
        raise ValueError("it takes visible ASCII characters")
    return text


def _reported(so_far: ReportedUsage, arguments: list[str]) -> ReportedUsage:
    """Lies may be negative or absurd, that is their point; only their length is bounded."""
    if not arguments:
        raise ValueError("it takes prompt=, completion=, cached= or reasoning=")
    for argument in arguments:
        name, _, text = argument.partition("=")
        if not re.fullmatch(rf"-?[0-9]{{1,{_MAX_REPORTED_DIGITS}}}", text):
            raise ValueError(f"{argument} is not a name and a whole number")
        match name:
            case "prompt":
                so_far = replace(so_far, prompt_tokens=int(text))
            case "completion":
                so_far = replace(so_far, completion_tokens=int(text))
            case "cached":
                so_far = replace(so_far, cached_tokens=int(text))
            case "reasoning":
                so_far = replace(so_far, reasoning_tokens=int(text))
            case _:
                raise ValueError(f"{name} is none of prompt, completion, cached, reasoning")
    return so_far
