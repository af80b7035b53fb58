"""Over HTTP, in every format: nothing of the upstream's in an answer or its headers, and `usage.cost` is the charge."""

import re
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from tests.support.gateway.formats import events_in
from tests.support.gateway.gateway_rig import (
    EVERY_FORMAT,
    MODEL,
    Rig,
    eventually,
    open_moody_store,
    run_rig,
    speaking_only,
    with_routes,
)
from tests.support.gateway.scripted_upstream import DONE, Script, ScriptedUpstream
from tokenbooth.config.catalog import WireFormat

Scripts = tuple[ScriptedUpstream, str]
Json = dict[str, object]
CANARY = "canary-77ac"
HEADERS = (
    ("x-request-id", CANARY),
    ("request-id", CANARY),
    ("openai-organization", CANARY),
    ("anthropic-organization-id", CANARY),
    ("openai-processing-ms", CANARY),
    ("x-ratelimit-remaining-requests", CANARY),
    ("server", CANARY),
    ("via", CANARY),
    ("set-cookie", CANARY),
    ("cf-ray", CANARY),
)
PRIVATE: Json = {
    "system_fingerprint": CANARY,
    "provider": CANARY,
    "request_id": CANARY,
    "user_id": CANARY,
    "organization": {"account": CANARY},
    "x_groq": {"id": CANARY},
    "cost": 7,
}
BILL: Json = {"cost": 7, "cost_details": {"upstream_inference_cost": CANARY}, "is_byok": False, "account": CANARY}
OPENAI_USAGE: Json = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, **BILL}
OTHER_USAGE: Json = {"input_tokens": 9, "output_tokens": 4, **BILL}
# 9 tokens in and 4 out at the prices of the model.
CHARGED_NANO = 9 * 270 + 4 * 1_100


@pytest.fixture(scope="module")
def told(scripts: Scripts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway in front of `scripts`, which speak every format."""
    yield from _running(scripts, tmp_path_factory, *EVERY_FORMAT)


@pytest.fixture(scope="module")
def chat_only(scripts: Scripts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway in front of `scripts`, which speak chats only."""
    yield from _running(scripts, tmp_path_factory, "openai.chat")


def _running(scripts: Scripts, paths: pytest.TempPathFactory, *formats: WireFormat) -> Iterator[Rig]:
    directory = paths.mktemp("told")
    opened = open_moody_store(directory / "tokenbooth.db")
    try:
        with run_rig(
            opened, directory, change_catalog=lambda catalog: speaking_only(with_routes(catalog, scripts[1]), *formats)
        ) as running:
            yield running
    finally:
        opened.close()


def _chat(choice: Json, **more: object) -> Json:
    return {"id": CANARY, "model": CANARY, "choices": [{"index": 0, **choice, **PRIVATE}], **PRIVATE, **more}


def _message(**more: object) -> Json:
    content = [{"type": "text", "text": "Hi"}]
    return {"id": CANARY, "type": "message", "model": CANARY, "content": content, **PRIVATE, **more}


def _response(**more: object) -> Json:
    item = {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
    return {"id": CANARY, "model": CANARY, "status": "completed", "output": [item], **PRIVATE, **more}


CHAT_WHOLE = _chat({"message": {"content": "Hi"}, "finish_reason": "stop"}, usage=OPENAI_USAGE)
CHAT_EVENTS = (
    *(_chat({"delta": {"content": text}, "finish_reason": None}) for text in ("H", "i", '"')),
    _chat({"delta": {}, "finish_reason": "stop"}),
    {**_chat({}), "choices": [], "usage": OPENAI_USAGE},
)
# The route, the body of the request, a whole answer, the events of a stream.
FORMS: dict[str, tuple[str, Json, Json, tuple[Json, ...]]] = {
    "chat": ("/v1/chat/completions", {"stream_options": {"include_usage": True}}, CHAT_WHOLE, CHAT_EVENTS),
    "completions": (
        "/v1/completions",
        {"stream_options": {"include_usage": True}},
        _chat({"text": "Hi", "finish_reason": "stop"}, usage=OPENAI_USAGE),
        (
            *(_chat({"text": text, "finish_reason": None}) for text in ("H", "i")),
            _chat({"text": "", "finish_reason": "stop"}),
            {**_chat({}), "choices": [], "usage": OPENAI_USAGE},
        ),
    ),
    "responses": (
        "/v1/responses",
        {},
        _response(usage=OTHER_USAGE),
        (
            {"type": "response.created", "response": _response(), **PRIVATE},
            {"type": "response.output_text.delta", "delta": "Hi", "item_id": "msg_1", **PRIVATE},
            {"type": "response.completed", "response": _response(usage=OTHER_USAGE), **PRIVATE},
        ),
    ),
    "messages": (
        "/anthropic/v1/messages",
        {"max_tokens": 50},
        _message(usage=OTHER_USAGE),
        (
            {"type": "message_start", "message": _message(usage=OTHER_USAGE), **PRIVATE},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}, **PRIVATE},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": OTHER_USAGE, **PRIVATE},
            {"type": "message_stop", **PRIVATE},
        ),
    ),
}


TRANSLATED: tuple[str, Json, Json, tuple[Json, ...]] = (
    "/anthropic/v1/messages",
    {"max_tokens": 50},
    CHAT_WHOLE,
    CHAT_EVENTS,
)


def _stream(events: tuple[Json, ...]) -> bytes:
    return b"".join(b": " + CANARY.encode() + b"\n\ndata: " + msgspec.json.encode(one) + b"\n\n" for one in events)


def _ask(rig: Rig, account: str, path: str, prompt: str, **more: object) -> httpx.Response:
    """The answer, in which nothing is the upstream's."""
    said: Json = {"prompt": prompt}
    if path.endswith(("/chat/completions", "/messages")):
        said = {"messages": [{"role": "user", "content": prompt}]}
    elif path.endswith(("/responses", "/embeddings")):
        said = {"input": prompt}
    headers = {"authorization": f"Bearer {rig.credit_key(account)}"}
    answer = httpx.post(rig.base_url + path, headers=headers, json={"model": MODEL, **said, **more}, timeout=30)
    eventually(lambda: len(rig.charges(account)) == 1)
    assert answer.status_code == 200
    assert CANARY not in answer.text
    assert CANARY not in str(answer.headers)
    return answer


def _whole(rig: Rig, upstream: ScriptedUpstream, path: str, body: Json, **more: object) -> None:
    account = rig.account("5")
    script = Script(pieces=(msgspec.json.encode(body),), content_type="application/json", extra_headers=HEADERS)
    answer = _ask(rig, account, path, upstream.add(script), **more)
    decoded = answer.json()
    assert rig.charged_nano(account) == round(float(answer.headers["x-cost-usd"]) * 10**9)
    assert round(float(decoded["usage"]["cost"]) * 10**9) == rig.charged_nano(account)
    assert decoded["model"] == MODEL
    assert "H" in answer.text or "0.25" in answer.text


def _streamed(rig: Rig, upstream: ScriptedUpstream, path: str, body: bytes, cut: int, **more: object) -> None:
    account = rig.account("5")
    pieces = tuple(body[at : at + cut] for at in range(0, len(body), cut))
    answer = _ask(rig, account, path, upstream.add(Script(pieces, extra_headers=HEADERS)), stream=True, **more)
    assert rig.charged_nano(account) == CHARGED_NANO
    shown = re.findall(r'"cost":([0-9.]+)', answer.text)
    assert [round(float(one) * 10**9) for one in shown] == [CHARGED_NANO]
    events = events_in(answer.content)
    named = [event["model"] for event in events if "model" in event]
    assert set(named) <= {MODEL}
    assert len({str(event["id"]) for event in events if "id" in event}) <= 1
    assert '"error"' not in answer.text.replace('"error":null', "")


@pytest.mark.parametrize("form", FORMS)
def test_whole_answers(told: Rig, scripts: Scripts, form: str) -> None:
    """Charged by their tokens; the cost in them is the charge."""
    path, more, body, _ = FORMS[form]
    _whole(told, scripts[0], path, body, **{name: more[name] for name in more if name != "stream_options"})


def test_whole_embeddings(told: Rig, scripts: Scripts) -> None:
    """Charged by their input."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.25]}]
    body: Json = {"object": "list", "id": CANARY, "model": CANARY, "data": data, "usage": OPENAI_USAGE, **PRIVATE}
    _whole(told, scripts[0], "/v1/embeddings", body)


@pytest.mark.parametrize("cut", [1_000_000, 600, 7])
@pytest.mark.parametrize("form", FORMS)
def test_streams(told: Rig, scripts: Scripts, form: str, cut: int) -> None:
    """In few pieces and in many: one event shows a cost, and it is the charge."""
    path, more, _, events = FORMS[form]
    end = DONE if path.endswith("completions") else b""
    _streamed(told, scripts[0], path, _stream(events) + end, cut, **more)


def test_whole_translated_answers(chat_only: Rig, scripts: Scripts) -> None:
    """A message made of a chat completion."""
    _whole(chat_only, scripts[0], "/anthropic/v1/messages", CHAT_WHOLE, max_tokens=50)


@pytest.mark.parametrize("cut", [1_000_000, 600, 7])
def test_translated_streams(chat_only: Rig, scripts: Scripts, cut: int) -> None:
    """A message made of the chunks of a chat completion."""
    _streamed(chat_only, scripts[0], "/anthropic/v1/messages", _stream(CHAT_EVENTS) + DONE, cut, max_tokens=50)


@pytest.mark.parametrize("form", [*FORMS, "translated"])
def test_a_whole_answer_to_who_asked_for_a_stream(told: Rig, chat_only: Rig, scripts: Scripts, form: str) -> None:
    """As events, with nothing more in them than in a stream."""
    rig, (path, more, body, _) = (chat_only, TRANSLATED) if form == "translated" else (told, FORMS[form])
    account = rig.account("5")
    script = Script((msgspec.json.encode(body),), content_type="application/json", extra_headers=HEADERS)
    answer = _ask(rig, account, path, scripts[0].add(script), stream=True, **more)
    assert rig.charged_nano(account) == CHARGED_NANO
    assert [round(float(one) * 10**9) for one in re.findall(r'"cost":([0-9.]+)', answer.text)] == [CHARGED_NANO]


@pytest.mark.parametrize("form", [*FORMS, "translated"])
def test_a_stream_to_who_asked_for_a_whole_answer(told: Rig, chat_only: Rig, scripts: Scripts, form: str) -> None:
    """As one, with nothing more in it than in one."""
    rig, (path, more, _, events) = (chat_only, TRANSLATED) if form == "translated" else (told, FORMS[form])
    account = rig.account("5")
    end = DONE if "choices" in events[0] else b""
    script = Script((_stream(events) + end,), extra_headers=HEADERS)
    asked = {name: value for name, value in more.items() if name != "stream_options"}
    answer = _ask(rig, account, path, scripts[0].add(script), **asked)
    assert rig.charged_nano(account) == CHARGED_NANO
    assert round(answer.json()["usage"]["cost"] * 10**9) == CHARGED_NANO


@pytest.mark.parametrize("form", FORMS)
def test_what_leaves_before_an_error(told: Rig, scripts: Scripts, form: str) -> None:
    """The events beside the one that reports the failure are the client's, without what is private."""
    path, more, _, events = FORMS[form]
    error: Json = {"type": "error", "error": {"message": CANARY, "type": "x"}}
    body = _stream((*events[:2], error))
    _ask(told, told.account("5"), path, scripts[0].add(Script((body,), extra_headers=HEADERS)), stream=True, **more)
