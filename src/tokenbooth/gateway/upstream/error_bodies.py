"""What an upstream's error says, in every shape that servers and gateways write errors in. Scrubbing is not done here.

Shapes and who writes them: `{"error": {…}}` OpenAI and most others; `{"type": "error", "error": {…}}` Anthropic;
`[{"error": {…}}]` Gemini; `{"detail": "text"}` and `{"detail": [{"loc": …, "msg": …}]}` FastAPI, hence vLLM, SGLang and
TGI; `{"object": "error", "message": …}` older vLLM and Mistral, whose message may be `{"detail": […]}`;
`{"message": …}` Cohere; `{"error": "text"}` Ollama and xAI (with a `code` that is a text); `{"error_msg": …}`,
`{"msg": …}` MiniMax, GLM and other gateways; `{"title", "detail"}` RFC 9457; JSON inside a message or in
`error.metadata.raw` LiteLLM and OpenRouter; `{"errors": [{"message": …}]}` Cloudflare; a plain text TGI and proxies.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from tokenbooth.gateway.formats.json.body import UNREADABLE

_LONGEST_BODY_BYTES: Final = 64 * 1024
_LONGEST_TEXT: Final = 400
_MOST_DEPTH: Final = 8
_MOST_ITEMS: Final = 5
# In this order: what holds an error, then what is its text. A text beside an object that holds one is the poorer one.
_HOLDERS: Final = ("error", "errors", "base_resp", "fault", "exception")
_TEXTS: Final = (
    "message",
    "msg",
    "error_message",
    "error_msg",
    "errormessage",
    "error_description",
    "status_msg",
    "detail",
    "details",
    "description",
    "reason",
    "title",
)
_decode: Final = msgspec.json.Decoder().decode


@dataclass(slots=True)
class ErrorTold:
    """What an error says; each part may be missing.

    Attributes:
        message: the text; empty for none.
        code: a short name for it.
        kind: its type.
        param: what of the request it is about.
    """

    message: str = ""
    code: str = ""
    kind: str = ""
    param: str = ""


def read_error(body: bytes) -> ErrorTold:
    """Read the body of an error; what is unreadable, a page or endless says nothing."""
    if len(body) > _LONGEST_BODY_BYTES:
        return ErrorTold()
    try:
        return _of(_decode(body), 0) or ErrorTold()
    except UNREADABLE:
        return ErrorTold(_plain(body))


def _plain(body: bytes) -> str:
    """A body that is a text; empty for a page, for half a JSON, and for what is no text at all."""
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return ""
    is_text = text.replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable()
    return text if is_text and len(text) <= _LONGEST_TEXT and not text.startswith(("<", "{", "[", '"')) else ""


def _of(value: object, depth: int) -> ErrorTold | None:
    if depth > _MOST_DEPTH:
        return None
    match value:
        case str():
            return _of_text(value, depth)
        case list():
            return _of_list(value, depth)
        case dict():
            return _of_object({str(name).casefold(): inner for name, inner in value.items()}, depth)
        case _:
            return None


def _of_text(text: str, depth: int) -> ErrorTold | None:
    """A text, or the error that is written in it as JSON."""
    start = min((at for at in (text.find("{"), text.find("[{")) if at >= 0), default=-1)
    if start >= 0:
        try:
            told = _of(_decode(text[start : text.rindex("}" if text[start] == "{" else "]") + 1]), depth + 1)
        except (*UNREADABLE, ValueError):
            told = None
        if told is not None and told.message:
            return told
    return ErrorTold(text.strip()) if text.strip() not in ("", "null") else None


def _of_list(items: list[object], depth: int) -> ErrorTold | None:
    told = [one for item in items[:_MOST_ITEMS] if (one := _of(item, depth + 1)) is not None and one.message]
    if not told:
        return None
    first = told[0]
    return ErrorTold("; ".join(one.message for one in told), first.code, first.kind, first.param)


def _of_object(fields: dict[str, object], depth: int) -> ErrorTold | None:
    place = _place(fields.get("loc"))
    own = ErrorTold("", _name(fields.get("code")), _name(fields.get("type")), _place(fields.get("param")) or place)
    told = _better(_raw(fields, depth), _first(fields, _HOLDERS, depth), _first(fields, _TEXTS, depth))
    if told is None:
        return own if own.code or own.kind or own.param else None
    message = told.message
    if place and message:
        message = f"{place}: {message}"
    title = fields.get("title")
    if isinstance(title, str) and title.strip() and message and title.strip() not in message:
        message = f"{title.strip()}: {message}"
    return ErrorTold(message, told.code or own.code, told.kind or own.kind, told.param or own.param)


def _raw(fields: dict[str, object], depth: int) -> ErrorTold | None:
    """What a gateway was told itself says more than its own words."""
    metadata = fields.get("metadata")
    return _of(metadata.get("raw"), depth + 1) if isinstance(metadata, dict) else None


def _first(fields: dict[str, object], names: tuple[str, ...], depth: int) -> ErrorTold | None:
    return _better(*(_of(fields[name], depth + 1) for name in names if name in fields))


def _better(*told: ErrorTold | None) -> ErrorTold | None:
    """The first with a message, with what another one says beside it."""
    known = [one for one in told if one is not None]
    best = next((one for one in known if one.message), known[0] if known else None)
    if best is None:
        return None
    return ErrorTold(
        best.message,
        next((one.code for one in (best, *known) if one.code), ""),
        next((one.kind for one in (best, *known) if one.kind), ""),
        next((one.param for one in (best, *known) if one.param), ""),
    )


def _name(value: object) -> str:
    return value if isinstance(value, str) else ""


def _place(value: object) -> str:
    """The path of a field, written as a text or as a list of its steps."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ".".join(str(step) for step in value if isinstance(step, (str, int)))
    return ""
