"""What a client is told when an upstream fails or refuses: our words, never the operator's secrets."""

import re
from typing import Final

import msgspec

from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.asked_wait import asked_wait_us
from tokenbooth.gateway.body import UNREADABLE
from tokenbooth.gateway.refusals import Category, Refusal
from tokenbooth.gateway.upstreams import AnswerHead, UpstreamFailure, UpstreamTimedOut

PASSED_STATUSES: Final = frozenset((400, 413, 422))
_OVERLOADED_STATUSES: Final = frozenset((429, 503, 529))
# Something between us and the model's server gave up waiting for it; it may be working on the request still.
_TIMED_OUT_STATUSES: Final = frozenset((504, 524))
_NO_ANSWER: Final = "The model's server did not answer in time."
_MAX_MESSAGE: Final = 500
_MAX_READ: Final = 4_000
# Addresses, keys and account ids of the operator have no place in a customer's error.
_SECRETS: Final = re.compile(
    r"https?://\S+|\b(?:g?sk|pk|rk|org|proj|req|acct|user)[-_][\w*.-]{4,}|\b[\w.+-]+@[\w-]+\.[\w.]+|\b\d{1,3}(?:\.\d{1,3}){3}\b"
)


# What an upstream says of our account there: it is the operator's problem, and the customer would take it for theirs.
_OUR_ACCOUNT: Final = re.compile(
    r"""
      \b(?:credit|account)\ balance | \binsufficient\ (?:account\ )?(?:balance|funds?|quota|credits?)
    | \b(?:balance|credits?|quota|funds)\ (?:is|are|has|have|was)\ (?:too\ low|insufficient|exhausted|exceeded|been|not)
    | \b(?:exceeded?|out\ of|reached|no\ more|not\ enough)\ (?:\w+\ ){0,3}(?:quota|credits?|balance|funds)\b
    | \bbilling\ (?:hard|limit|is|not|detail|issue|account|info|problem|status|set|error)
    | \b(?:enable|check|update|set\ up|plans?\ (?:&|and))\ (?:your\ )?billing\b
    | \byour\ (?:current\ )?(?:account|organi[sz]ation|subscription|plan|api\ ?key|workspace|project|tenant)\b
    | \byour\ (?:current\ )?(?:credits?|quota)\b
    | \bthis\ (?:account|organi[sz]ation|subscription|workspace|tenant|api\ ?key)\b
    | \b(?:account|organi[sz]ation|workspace|subscription|api\ ?key)\ (?:\S+\ )?(?:is|has|was|does|must)\b
    | \b(?:organi[sz]ation|billing|quota|account)\ (?:deactivated|disabled|suspended|error|exceeded|inactive)
    | \bpayment\ (?:required|method|failed|overdue|is)\b | \bpurchase\ (?:\w+\ ){0,2}credits?\b
    | \boverdue\b | \barrear(?:s|age)\b | \brecharge\b | \btop[ -]?up\b | \bspend(?:ing)?\ (?:limit|cap)\b
    | \bupgrade\ (?:to|your)\b | \bexceeded\ current\ quota\b | \bfree\ (?:tier|trial|quota)\b
    | \u4f59\u989d | \u6b20\u8d39 | \u5145\u503c | \u989d\u5ea6 | \u8d26\u6237 | \u8d26\u53f7
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SEPARATORS: Final = re.compile(r"[\s_\-]+")


class _Error(msgspec.Struct):
    message: str = ""
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None
    code: str | int | None = None


def is_worth_another(status: int) -> bool:
    """Whether another upstream may succeed where one answered this; after a time-out it would be billed twice."""
    return status == 429 or (status >= 500 and status not in _TIMED_OUT_STATUSES)


def speaks_of_our_account(body: bytes) -> bool:
    """Whether an error is about the operator's account at the upstream: its balance, quota, plan or organisation."""
    return _is_about_us(_read(body))


def refusal_of(failure: UpstreamFailure) -> Refusal:
    """What to tell of an upstream that did not answer, or not to its end."""
    if isinstance(failure, UpstreamTimedOut):
        return timed_out(charged_nano=0)
    return _failed()


def timed_out(*, charged_nano: int | None) -> Refusal:
    """504: no answer in time. It says whether it costs something, and is not to be repeated by a program.

    Args:
        charged_nano: what was charged, in nano-USD; None when the answer is read on and will be charged.
    """
    if charged_nano is None:
        charged = "It still works on the request: the answer is read to its end and charged, though not delivered."
    elif charged_nano:
        charged = (
            f"It still works on the request, which was charged ${format_usd(charged_nano)}, "
            "an estimate of what it consumes."
        )
    else:
        charged = "Nothing was charged."
    return Refusal(504, Category.TIMEOUT, "upstream_timeout", f"{_NO_ANSWER} {charged}", retry=False)


def broken_off(failure: UpstreamFailure, charged_nano: int) -> Refusal:
    """What to tell, inside a stream, of an upstream that failed there, and of what was charged (nano-USD)."""
    told = refusal_of(failure)
    cost = f"What was delivered cost ${format_usd(charged_nano)}." if charged_nano else "Nothing was charged."
    words = _NO_ANSWER if told.status == 504 else "The model's server failed."
    return Refusal(told.status, told.category, told.code, f"{words} {cost}")


def refusal_of_status(response: AnswerHead, body: bytes, *, now_us: int, api_key: str | None = None) -> Refusal:
    """What to tell of an upstream that answered with an error.

    Args:
        response: its head.
        body: its body.
        now_us: the time, UTC microseconds.
        api_key: the operator's credential there, which it may have repeated.
    """
    status = response.status
    if status in PASSED_STATUSES:
        return _passed(status, body, api_key)
    if status in _TIMED_OUT_STATUSES:
        refusal = timed_out(charged_nano=0)
        refusal.retry_after_us = asked_wait_us(response, now_us)
        return refusal
    if status in _OVERLOADED_STATUSES:
        return Refusal(
            503,
            Category.OVERLOADED,
            "overloaded",
            "The model's server is overloaded. Try again in a moment.",
            retry_after_us=asked_wait_us(response, now_us),
        )
    return _failed(asked_wait_us(response, now_us))


def _failed(retry_after_us: int | None = None) -> Refusal:
    return Refusal(
        502,
        Category.UPSTREAM,
        "upstream_error",
        "The model's server failed. Try again.",
        retry_after_us=retry_after_us,
    )


def _passed(status: int, body: bytes, api_key: str | None) -> Refusal:
    message, code, param = "The model's server refused the request.", None, None
    decoded = _read(body)
    if _is_about_us(decoded):
        return _failed()
    match decoded.error:
        case _Error() as error:
            message, code, param = error.message or message, error.code, error.param
        case str() as text:
            message = text
        case None:
            message = decoded.message or message
    return Refusal(
        status,
        Category.TOO_LARGE if status == 413 else Category.INVALID,
        code if isinstance(code, str) and code and _scrubbed(code, api_key) == code else "upstream_invalid_request",
        _scrubbed(message, api_key),
        param=None if param is None else _scrubbed(param, api_key),
    )


def _read(body: bytes) -> _ErrorBody:
    try:
        return msgspec.json.decode(body, type=_ErrorBody)
    except UNREADABLE:
        return _ErrorBody()


def _is_about_us(decoded: _ErrorBody) -> bool:
    said = [decoded.message or "", str(decoded.code or "")]
    match decoded.error:
        case _Error() as error:
            said += [error.message, error.type or "", str(error.code or "")]
        case str() as text:
            said.append(text)
        case None:
            pass
    return any(_OUR_ACCOUNT.search(_SEPARATORS.sub(" ", text[:_MAX_READ])) for text in said)


def _scrubbed(text: str, api_key: str | None) -> str:
    if api_key:
        text = text.replace(api_key, "[removed]")
    return _SECRETS.sub("[removed]", text)[:_MAX_MESSAGE]
