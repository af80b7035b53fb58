"""What a client is told when an upstream fails or refuses: our words, never the operator's secrets."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.errors import Category, Refusal, UpstreamFailure, UpstreamTimedOut
from tokenbooth.gateway.upstream.base import AnswerHead
from tokenbooth.gateway.upstream.error_bodies import ErrorTold, read_error
from tokenbooth.gateway.upstream.retry_after import retry_after_us

PASSED_STATUSES: Final = frozenset((400, 413, 422))
_OVERLOADED_STATUSES: Final = frozenset((429, 503, 529))
# Something between us and the model's server gave up waiting for it; it may be working on the request still.
_TIMED_OUT_STATUSES: Final = frozenset((504, 524))
_REFUSED: Final = "The model's server refused the request."
_NO_ANSWER: Final = "The model's server did not answer in time."
_MAX_MESSAGE: Final = 500
_MAX_READ: Final = 4_000
_MAX_LOGGED: Final = 200
# Addresses, keys, ids and prices of the operator have no place in a customer's error. What only a digit tells from a
# word, such as `user_1a2b` from `user_message`, needs one.
_SECRETS: Final = re.compile(
    r"""
      \b[a-z][a-z0-9+.-]{1,15}(?:://|:\\/\\/|%3A%2F%2F)[^\s)\]}"'<>]+ | \barn:aws[\w-]*:\S+
    | \b[\w.+-]+@[\w-]+\.[\w.]+
    | \b(?:bearer|basic)\ +[\w.~+/=-]{8,}
    | \b(?:g?sk|pk|rk|org|proj|req|acct)[-_][\w*.-]{4,}
    | \b(?:user|account|acc|key|team|tenant|workspace|ws|cus|sub|project|organi[sz]ation|request|trace|run|gen|xai|hf
        |nvapi|cpk|fw|tgp|r8|csk|pplx)[-_](?=[\w*.-]*\d)[\w*.-]{4,}
    | \b(?:AKIA|ASIA)[0-9A-Z]{12,} | \bAIza[\w-]{16,} | \beyJ[\w-]{8,}[\w.-]*
    | (?<![\w-])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[0-9A-Za-z]{32,}(?![\w-])
    | \b(?:x-)?(?:request|trace|correlation|session|account|organi[sz]ation|org|project|tenant|subscription|deployment
        |workspace|team|customer|user|span|cf-ray|ray|log)[\ _-]?(?:id)?\b["'`]?\s*(?:[:=\#]|is|in)?\s*["'`(\[]?
        (?=[\w.-]*\d)[0-9A-Za-z][\w.-]{5,}
    | (?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\d.])
    | (?<![\w:])\[?(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}
        |(?=[0-9a-f:]*\d)(?:[0-9a-f]{1,4}:){0,6}[0-9a-f]{0,4}::(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?)
        (?![\w:])(?:\](?::\d+)?)?
    | \blocalhost(?::\d+)?
    | \b[\w-]+(?:\.[\w-]+)*\.(?:internal|intranet|intra|local|localdomain|lan|corp|svc|home|arpa)\b[\w.-]*(?::\d+)?
    | \b(?:[a-z0-9-]+\.)+(?:com|net|org|io|ai|cn|dev|app|cloud|co|us|eu|xyz|tech|run|sh)\b(?::\d+)?(?:/[\w./?=&%-]*)?
    | \b[a-z0-9]+(?:-[a-z0-9]+)+:\d{2,5}\b
    | \b(?:host|port|hostname|ip|addr|address|endpoint|upstream|server)\s*=\s*["']?[^\s"',)]+
    | (?<![\w/])/(?:home|root|usr|var|opt|srv|app|mnt|etc|tmp|workspace|data|models?|nfs|storage|cache)/[\w./-]+
    | \b[a-z]:\\[^\s"'`)]+
    | [$\u20ac\u00a3\u00a5]\s?\d[\d.,]*(?:\s?(?:per|/)\s?[\w ]{1,20})?
    | \b\d[\d.,]*\s?(?:USD|EUR|CNY|RMB|dollars?|yuan|cents?)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Who the model's server is, unless it is part of a longer name, such as that of a model or a tool.
_SERVERS: Final = re.compile(
    r"""
      \b(?:litellm\.)?\w*(?:Exception|Error):\s+(?=\w+Exception\b) | \b\w+Exception\s+-\s+ | \blitellm\.\w+:\s*
    | (?<![\w/.-])(?:Azure\ OpenAI | OpenAI | Azure | Anthropic | DeepSeek | Moonshot | DashScope | Zhipu | MiniMax
        | Mistral | Groq | xAI | Perplexity | Cohere | Gemini | OpenRouter | vLLM | SGLang | llama\.cpp | Ollama
        | LM\ Studio | LiteLLM | Bedrock | Vertex(?:\ AI)? | Nvidia | Fireworks | Together\ AI | Novita | DeepInfra
        | SiliconFlow | Kluster | Cerebras | SambaNova | Baseten | Hyperbolic | Hugging\ ?Face | Volcengine | Aliyun
        | Alibaba(?:\ Cloud)? | Qianfan | Hunyuan | Cloudflare | Portkey | Helicone | (?:One|New)[\ -]API | TensorRT-LLM
        | LMDeploy | Xinference | LocalAI | Databricks | SageMaker | watsonx
        | Google(?:\ AI(?:\ Studio)?)?)(?![\w/-]|\.\w)
    """,
    re.IGNORECASE | re.VERBOSE,
)
# What is quoted at length in a log line may be a prompt.
_QUOTED: Final = re.compile(r"([\"'`]).{33,}?\1", re.DOTALL)


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
    | \binsufficient_(?:balance|funds|quota|credits?)\b | \bbilling_(?:hard|limit|not)\w*
    | \baccount_(?:deactivated|suspended)\b
    | \boverdue\b | \barrear(?:s|age)\b | \brecharge\b | \btop[ -]?up\b | \bspend(?:ing)?\ (?:limit|cap)\b
    | \bupgrade\ (?:to|your)\b | \bexceeded\ current\ quota\b | \bfree\ (?:tier|trial|quota)\b
    | \u4f59\u989d | \u6b20\u8d39 | \u5145\u503c | \u989d\u5ea6 | \u8d26\u6237 | \u8d26\u53f7
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SEPARATORS: Final = re.compile(r"[\s_\-]+")


@dataclass(frozen=True, slots=True)
class Private:
    """What of an upstream's configuration its errors may repeat, and no customer may read.

    Attributes:
        api_key: the operator's credential there.
        base_url: its address.
        model: the model's name there.
        model_here: the model's name here, which takes its place.
    """

    api_key: str | None = None
    base_url: str = ""
    model: str = ""
    model_here: str = ""


_NOTHING_PRIVATE: Final = Private()


def is_worth_another(status: int) -> bool:
    """Whether another upstream may succeed where one answered this; after a time-out it would be billed twice."""
    return status == 429 or (status >= 500 and status not in _TIMED_OUT_STATUSES)


def speaks_of_our_account(body: bytes) -> bool:
    """Whether an error is about the operator's account at the upstream: its balance, quota, plan or organisation."""
    return _is_about_us(read_error(body))


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
    cost = f"What came until then cost ${format_usd(charged_nano)}." if charged_nano else "Nothing was charged."
    words = _NO_ANSWER if told.status == 504 else "The model's server failed."
    return Refusal(told.status, told.category, told.code, f"{words} {cost}")


def reason_for_log(body: bytes, api_keys: Iterable[str | None] = ()) -> str:
    """What an upstream's error says, short and scrubbed, for the operator; empty when it says nothing.

    Args:
        body: the error.
        api_keys: those that it may repeat.
    """
    told = read_error(body)
    text = told.message or told.code
    for api_key in filter(None, api_keys):
        text = text.replace(api_key, "[removed]")
    said = _QUOTED.sub(r"\1[removed]\1", _scrubbed(text, _NOTHING_PRIVATE))
    return said[:_MAX_LOGGED]


def refusal_of_status(
    response: AnswerHead, body: bytes, *, now_us: int, private: Private = _NOTHING_PRIVATE
) -> Refusal:
    """What to tell of an upstream that answered with an error.

    Args:
        response: its head.
        body: its body.
        now_us: the time, UTC microseconds.
        private: what of the upstream it may have repeated.
    """
    status = response.status
    if status in PASSED_STATUSES:
        return _passed(status, body, private)
    if status in _TIMED_OUT_STATUSES:
        refusal = timed_out(charged_nano=0)
        refusal.retry_after_us = retry_after_us(response, now_us)
        return refusal
    if status in _OVERLOADED_STATUSES:
        return Refusal(
            503,
            Category.OVERLOADED,
            "overloaded",
            "The model's server is overloaded. Try again in a moment.",
            retry_after_us=retry_after_us(response, now_us),
        )
    return _failed(retry_after_us(response, now_us))


def _failed(retry_after_us: int | None = None) -> Refusal:
    return Refusal(
        502,
        Category.UPSTREAM,
        "upstream_error",
        "The model's server failed. Try again.",
        retry_after_us=retry_after_us,
    )


def _passed(status: int, body: bytes, private: Private) -> Refusal:
    told = read_error(body)
    if _is_about_us(told):
        return _failed()
    return Refusal(
        status,
        Category.TOO_LARGE if status == 413 else Category.INVALID,
        told.code if told.code and _scrubbed(told.code, private) == told.code else "upstream_invalid_request",
        _scrubbed(told.message, private) or _REFUSED,
        param=_scrubbed(told.param, private) or None,
    )


def _is_about_us(told: ErrorTold) -> bool:
    # A message may name a tool of the customer's; in a code the same words are the upstream's own.
    said = (told.message, *(_SEPARATORS.sub(" ", code) for code in (told.kind, told.code)))
    return any(_OUR_ACCOUNT.search(text[:_MAX_READ]) for text in said)


def _scrubbed(text: str, private: Private) -> str:
    text = text[:_MAX_READ]
    if private.api_key:
        text = text.replace(private.api_key, "[removed]")
    if private.model and private.model != private.model_here:
        text = _named(private.model).sub(lambda _: private.model_here, text)
    text = _SECRETS.sub("[removed]", text)
    address = urlsplit(private.base_url)
    for host in (address.netloc, address.hostname or ""):
        # A host that is a plain word may be meant as one.
        if host and not host.isalpha():
            text = re.sub(re.escape(host), "[removed]", text, flags=re.IGNORECASE)
    return _SERVERS.sub(_server, text).strip()[:_MAX_MESSAGE]


def _named(model: str) -> re.Pattern[str]:
    """Finds a model's name; one that is a plain word only where it is quoted."""
    name = re.escape(model)
    written = rf"(?<=[\"'`]){name}(?=[\"'`])" if model.isalpha() else rf"(?<![\w./-]){name}(?![\w/-])"
    return re.compile(written, re.IGNORECASE)


def _server(match: re.Match[str]) -> str:
    """A prefix that only names a class of the server's goes; a name in a sentence is put in other words."""
    return "" if match.group().rstrip().endswith((":", "-")) else "the server"
