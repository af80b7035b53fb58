"""Recognising failures that stand in the place of an answer or an event, whatever their shape.

Servers and gateways report failures with status 200: as an error object, a text, a list, a page, or as nothing at all.
Only a value that says something counts: null, an empty text, object or list, false, zero and the text "null" are
absent.
"""

import re
from typing import Final

import msgspec

from tokenbooth.config.upstream_fields import FAILED_FINISH_REASONS
from tokenbooth.gateway.errors import FailedAnswer
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_json, is_empty, size_of
from tokenbooth.gateway.formats.schema import ABSENT, AnsweredChoice, ChatAnswer, MessagesAnswer, ResponsesAnswer

_USUAL_REASONS: Final = frozenset((b'"stop"', b'"length"', b'"tool_calls"', b'"content_filter"'))
# A longer value says something.
_LONGEST_NOTHING_BYTES: Final = 256

# Each with its words put together in any way; and whatever speaks of an error.
_REASONS: Final = "|".join(
    (*(re.sub("_", r"[_\\s-]?", reason) for reason in sorted(FAILED_FINISH_REASONS)), r'[^"\\]*error[^"\\]*')
).encode()
_FAILED_REASON: Final = re.compile(rb'"(?:%s)"' % _REASONS, re.IGNORECASE)
FAILED_FINISH: Final = re.compile(rb'"(?:finish|stop)_reason"[ \t]*:[ \t]*"(?:%s)"' % _REASONS, re.IGNORECASE)
"""Finds, in JSON, the reason of an end that is a failure."""
_ERROR_EVENT: Final = re.compile(rb"(?m)^event:[ \t]*[\w.]*error[ \t]*\r?$", re.IGNORECASE)
# What an answer or an event of it has, in any format.
_ANSWER_NAMES: Final = ("choices", "usage", "content", "output", "data", "delta")
# Names that only a failure has, where there is no answer beside them.
_FAILURE_NAMES: Final = frozenset(
    (
        "code",
        "detail",
        "details",
        "exception",
        "failure",
        "fault",
        "message",
        "msg",
        "reason",
        "status",
        "statuscode",
        "statusmsg",
        "title",
    )
)
# MiniMax and others report their state in every answer.
_FINE: Final = frozenset(("0", "200", "ok", "success", "succeeded", "completed", "in_progress"))
_FAILED_STATUSES: Final = frozenset(("failed", "cancelled", "canceled", "expired"))


def says_something(value: object) -> bool:
    """Whether a decoded value is anything but a way to write nothing."""
    match value:
        case None | msgspec.UNSET:
            return False
        case bool() | int() | float():
            return bool(value)
        case str():
            return value.strip() not in ("", "null")
        case list():
            return any(map(says_something, value))
        case dict():
            return any(map(says_something, value.values()))
        case _:
            return True


def is_meaningful(value: msgspec.Raw) -> bool:
    """Whether a value, as it is written in JSON, says something."""
    if is_empty(value):
        return False
    if size_of(value) > _LONGEST_NOTHING_BYTES:
        return True
    try:
        return says_something(decode_json(value))
    except UNREADABLE:
        return True


def check_chat_answer(answer: ChatAnswer, body: bytes, *, embeds: bool) -> None:
    """Check that a whole answer of OpenAI's older formats is one, and remove from it what says that there is no error.

    Args:
        answer: what was read of it.
        body: the answer itself.
        embeds: whether embeddings were asked for.

    Raises:
        FailedAnswer: it reports an error, ended as a failure, or has neither choices (embeddings: data) nor usage.
    """
    if answer.error or answer.errors or answer.base_resp:
        if (
            is_meaningful(answer.error)
            or is_meaningful(answer.errors)
            or (answer.base_resp and _is_bad(_decoded(answer.base_resp, "status_code")))
        ):
            raise FailedAnswer("the answer is an error", body)
        answer.error = answer.errors = answer.base_resp = ABSENT
    choices = answer.choices
    if not embeds and b'"error"' in body and _has_failed_choice(_decoded(msgspec.Raw(body), "choices")):
        raise FailedAnswer("a choice is an error", body)
    if not embeds and choices is not None and len(choices) == 1 and bytes(choices[0].finish_reason) in _USUAL_REASONS:
        # Nearly every answer, and nothing else of it has to be looked at.
        return
    if embeds:
        if not says_something(answer.usage) and not is_meaningful(answer.data):
            raise FailedAnswer("the answer has neither data nor usage", body)
        return
    if not says_something(answer.usage) and not _has_choice(answer.choices):
        raise FailedAnswer("the answer has neither choices nor usage", body)
    for choice in answer.choices or ():
        if is_failed_finish(choice.finish_reason):
            raise FailedAnswer("the answer ended as a failure", body)


def check_messages_answer(answer: MessagesAnswer, body: bytes) -> None:
    """Check that a whole answer of the messages format is one.

    Raises:
        FailedAnswer: it reports an error, ended as a failure, or has neither content nor usage.
    """
    if answer.type == "error" or (answer.error and is_meaningful(answer.error)):
        raise FailedAnswer("the answer is an error", body)
    if not says_something(answer.usage) and not is_meaningful(answer.content):
        raise FailedAnswer("the answer has neither content nor usage", body)
    if is_failed_finish(answer.stop_reason):
        raise FailedAnswer("the answer ended as a failure", body)


def check_response(answer: ResponsesAnswer, body: bytes) -> None:
    """Check that a whole answer of the responses format is one.

    Raises:
        FailedAnswer: it failed, or has neither output nor usage.
    """
    if is_failed_response(answer):
        raise FailedAnswer("the response failed", body)
    if not says_something(answer.usage) and not is_meaningful(answer.output):
        raise FailedAnswer("the answer has neither output nor usage", body)


def is_failed_response(answer: ResponsesAnswer) -> bool:
    """Whether a response says that it failed."""
    status = answer.status
    return (isinstance(status, str) and status in _FAILED_STATUSES) or is_meaningful(answer.error)


def is_failed_finish(reason: msgspec.Raw) -> bool:
    """Whether an answer that ended for this reason, as it is written in JSON, failed."""
    return _FAILED_REASON.fullmatch(bytes(reason)) is not None


def is_failed_event(event: bytes, data: bytes) -> bool:
    """Whether an event of a stream reports a failure.

    Args:
        event: the whole event.
        data: its data.
    """
    if _ERROR_EVENT.search(event) is not None:
        return True
    if not data or data == b"[DONE]":
        return False
    try:
        return is_failure(decode_json(data))
    except UNREADABLE:
        # A text or a page is no event; broken JSON may be one all the same.
        return data[:1] not in (b"{", b"[")


def is_failure(value: object) -> bool:
    """Whether a value that stands in an event's place is a failure: an error of any shape, or no event at all."""
    return _is_failed_object(value) if isinstance(value, dict) else says_something(value)


def _is_failed_object(event: dict[object, object]) -> bool:
    if event.get("object") == "error" or event.get("type") == "error":
        return True
    for name, value in event.items():
        if str(name).casefold().startswith("error") and says_something(value):
            return True
    base_resp = event.get("base_resp")
    if isinstance(base_resp, dict) and _is_bad(base_resp.get("status_code")):
        return True
    if _has_failed_choice(event.get("choices")):
        return True
    if any(says_something(event.get(name)) for name in _ANSWER_NAMES):
        return False
    if event.get("success") is False:
        return True
    if event.get("success") is True:
        return False
    folded = {str(name).replace("_", "").casefold(): value for name, value in event.items()}
    codes = [folded.get(name) for name in ("code", "status", "statuscode")]
    if any(says_something(code) for code in codes):
        return any(_is_bad(code) for code in codes)
    return any(says_something(value) for name, value in folded.items() if name in _FAILURE_NAMES)


def _has_failed_choice(choices: object) -> bool:
    """Whether a choice reports an error, beside its text or in its place (OpenRouter API reference, `choices`)."""
    # The compiler takes a variable of a loop for what it is compared with first.
    choice: object
    holder: object
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            for holder in (choice, choice.get("delta"), choice.get("message")):
                if isinstance(holder, dict) and says_something(holder.get("error")):
                    return True
    return False


def _is_bad(code: object) -> bool:
    return says_something(code) and str(code).strip().casefold() not in _FINE


def _decoded(value: msgspec.Raw, name: str) -> object:
    """A field of an object; None where there is none, or the object is unreadable."""
    try:
        decoded: object = decode_json(value)
    except UNREADABLE:
        return None
    return decoded.get(name) if isinstance(decoded, dict) else None


def _has_choice(choices: list[AnsweredChoice] | None) -> bool:
    return any(
        is_meaningful(choice.message) or is_meaningful(choice.text) or is_meaningful(choice.finish_reason)
        for choice in choices or ()
    )
