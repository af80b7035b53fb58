"""Failures told with status 200, over HTTP: what the customer is told and pays, and what the log says."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

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
from tests.support.gateway.scripted_upstream import Script, ScriptedUpstream
from tests.system.gateway.test_formats import MESSAGES, OUTPUT_NANO, RESPONSES
from tokenbooth.gateway.upstream.base import Timeouts

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
JSON, STREAM = "application/json", "text/event-stream"
FAILURES = [
    b'{"code":500,"msg":"404 NOT_FOUND http://10.1.2.3/x acct_12345678","success":false}',
    b'{"error":{"message":"insufficient balance acct_12345678"}}',
    b'{"type":"error","error":{"type":"overloaded_error","message":"acct_12345678 overloaded"}}',
    b"acct_12345678 failed",
    b"{}",
]


@pytest.fixture(scope="module")
def every(scripts: tuple[ScriptedUpstream, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway in front of `scripts`, which speak every format."""
    directory = tmp_path_factory.mktemp("every")
    opened = open_moody_store(directory / "tokenbooth.db")
    try:
        with run_rig(
            opened,
            directory,
            timeouts=Timeouts(connect_s=2, first_byte_s=2, idle_s=2),
            change_catalog=lambda catalog: speaking_only(with_routes(catalog, scripts[1]), *EVERY_FORMAT),
        ) as running:
            yield running
    finally:
        opened.close()


def body_of(path: str, text: str, stream: bool) -> dict[str, object]:
    """A request that runs a script."""
    match path:
        case "/v1/embeddings":
            return {"model": MODEL, "input": text}
        case "/v1/responses":
            return {"model": MODEL, "input": text, "stream": stream}
        case "/v1/completions":
            return {"model": MODEL, "prompt": text, "stream": stream}
        case _:
            return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 90, "stream": stream}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES])
def test_a_failure_told_with_200_is_a_502_and_free(
    every: Rig, scripts: tuple[ScriptedUpstream, str], path: str, stream: bool, failure: bytes
) -> None:
    """In our words, also for a client that asked for a stream and gets a body that is none."""
    account = every.account("5")
    headers = {"authorization": f"Bearer {every.credit_key(account)}"}
    before = every.gateway.failed_attempts()
    told_before = sum(times for (_, kind), times in before.items() if kind == "failed_answer")
    text = scripts[0].add(Script((failure,), content_type=JSON))
    answer = every.http.post(path, json=body_of(path, text, stream), headers=headers)

    assert answer.status_code == 502
    assert "upstream_error" in answer.text
    assert "acct_1" not in answer.text
    assert "10.1" not in answer.text
    every.sync()
    assert every.charges(account) == []
    after = sum(times for (_, kind), times in every.gateway.failed_attempts().items() if kind == "failed_answer")
    assert after == told_before + 1


def test_an_error_behind_a_text_costs_the_text(every: Rig, scripts: tuple[ScriptedUpstream, str]) -> None:
    """What the upstream told of usage is charged to the nano-dollar; the end is an error event of ours."""
    account = every.account("5")
    pieces = (
        b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n',
        (
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"insufficient_system_resource"}],'
            b'"usage":{"prompt_tokens":40,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
        ),
    )
    text = scripts[0].add(Script(pieces, content_type=STREAM))
    headers = {"authorization": f"Bearer {every.credit_key(account)}"}
    with capture_logs() as lines:
        answer = every.http.post(CHAT, json=body_of(CHAT, text, True), headers=headers)
        eventually(lambda: any(line["event"] == "stream_broken" for line in lines))

    assert "[DONE]" not in answer.text
    assert "insufficient_system_resource" not in answer.text
    assert "upstream_error" in answer.text
    every.sync()
    assert every.charged_nano(account) == 40 * 270 + 2 * OUTPUT_NANO
    (line,) = [line for line in lines if line["event"] == "stream_broken"]
    assert (line["kind"], line["account"], line["model"]) == ("reported_error", account, MODEL)
    assert line["key"]


@pytest.mark.parametrize("status", [404, 307, 405, 401, 403, 429, 500])
def test_every_status_is_told_and_counted(every: Rig, scripts: tuple[ScriptedUpstream, str], status: int) -> None:
    """With whose call it was, and a reason without secrets."""
    account = every.account("5")
    script = Script((b'{"error":{"message":"No such model at 10.1.2.3"}}',), status=status, content_type=JSON)
    with capture_logs() as lines:
        headers = {"authorization": f"Bearer {every.credit_key(account)}"}
        answer = every.http.post(CHAT, json=body_of(CHAT, scripts[0].add(script), False), headers=headers)
    (line,) = [line for line in lines if line["event"] == "upstream_failed"]

    assert answer.status_code in (502, 503)
    assert (line["status"], line["kind"], line["account"]) == (status, f"http_{status}", account)
    assert line["detail"] == "No such model at [removed]"
    assert (line["upstream"], f"http_{status}") in every.gateway.failed_attempts()
