"""What crosses to an upstream and what comes back of its troubles: allowed headers, scrubbed words, the next one."""

from pathlib import Path

import httpx
import msgspec
import pytest

from tests.support.gateway.gateway_rig import (
    CHAT,
    UPSTREAM_KEY,
    MoodyStore,
    Rig,
    events_of,
    eventually,
    prompt,
    run_rig,
    with_routes,
)
from tests.support.gateway.scripted_upstream import DONE, Script, ScriptedUpstream, answer, chunk, serve_scripts
from tokenbooth.gateway.upstream.base import Timeouts

Scripts = tuple[ScriptedUpstream, str]

USAGE = {"prompt_tokens": 100, "completion_tokens": 7}
DEAD_URL = "http://127.0.0.1:1"
SECRETS = (
    "sk-fake-0123456789abcdef",
    "gsk_fake0123456789abcdef",
    "https://internal.example/v1",
    "ops@example.com",
    "10.1.2.3",
    "org-fake123456",
    UPSTREAM_KEY,
)
LEAK = {"error": {"message": " and ".join(SECRETS), "code": SECRETS[0], "param": SECRETS[3], "type": "x"}}


def ask(rig: Rig, name: str, **fields: object) -> httpx.Response:
    """Run a script as a customer with credit."""
    return rig.post(rig.credit_key(rig.account("5")), prompt(name, **fields))


@pytest.mark.parametrize(
    ("upstream", "status", "code"),
    [
        (400, 400, "upstream_invalid_request"),
        (413, 413, "upstream_invalid_request"),
        (422, 422, "upstream_invalid_request"),
        (401, 502, "upstream_error"),
        (402, 502, "upstream_error"),
        (403, 502, "upstream_error"),
        (404, 502, "upstream_error"),
        (418, 502, "upstream_error"),
        (429, 503, "overloaded"),
        (500, 502, "upstream_error"),
        (503, 503, "overloaded"),
        (529, 503, "overloaded"),
        (302, 502, "upstream_error"),
        (204, 502, "upstream_error"),
    ],
)
def test_what_an_upstreams_status_becomes(
    scripted: Rig, scripts: Scripts, upstream: int, status: int, code: str
) -> None:
    """Mistakes of the client pass, troubles of the operator become ours; nothing is charged."""
    body = b"" if upstream == 204 else b'{"error": {"message": "no", "type": "x"}}'
    headers = (("location", "http://127.0.0.1:1/"),) if upstream == 302 else ()
    name = scripts[0].add(Script((body,) if body else (), status=upstream, extra_headers=headers))
    account = scripted.account("5")
    refused = scripted.post(scripted.credit_key(account), prompt(name))
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert scripted.charges(account) == []


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_the_upstreams_retry_after_passes(scripted: Rig, scripts: Scripts, status: int) -> None:
    """How long the upstream wants to be left alone is told to the client."""
    name = scripts[0].add(Script((b"{}",), status=status, extra_headers=(("retry-after", "7"),)))
    assert ask(scripted, name).headers["retry-after"] == "7"


@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "21 Oct 2026", "\xb2"])
def test_a_strange_retry_after_is_left_out(scripted: Rig, scripts: Scripts, value: str) -> None:
    """What is neither a number of seconds nor a date is not passed on."""
    name = scripts[0].add(Script((b"{}",), status=503, extra_headers=(("retry-after", value),)))
    refused = ask(scripted, name)
    assert refused.status_code == 503
    assert "retry-after" not in refused.headers


@pytest.mark.parametrize("status", [400, 401, 413, 422, 429, 500])
def test_no_secret_of_an_upstreams_error_reaches_the_client(scripted: Rig, scripts: Scripts, status: int) -> None:
    """Keys, addresses and e-mails in an upstream's error are removed, from its code and param too (P12)."""
    refused = ask(scripted, scripts[0].add(Script((msgspec.json.encode(LEAK),), status=status)))
    assert [secret for secret in SECRETS if secret in refused.text] == []


@pytest.mark.parametrize("ending", [(), (DONE,)])
def test_an_error_event_of_the_upstream_is_scrubbed(scripted: Rig, scripts: Scripts, ending: tuple[bytes, ...]) -> None:
    """An error that the upstream sends inside a stream becomes ours: no secret, no clean end, one error event."""
    error = b"data: " + msgspec.json.encode(LEAK) + b"\n\n"
    name = scripts[0].add(Script((chunk(), chunk("abcd"), error, *ending)))
    account = scripted.account("5")
    text = scripted.post(scripted.credit_key(account), prompt(name, stream=True)).text
    assert [secret for secret in SECRETS if secret in text] == []
    assert [event for event in events_of(text) if '"error"' in event] == events_of(text)[-1:]
    assert "[DONE]" not in text
    assert len(scripted.charges(account)) == 1


def test_an_error_in_an_answer_with_status_200_is_an_error(scripted: Rig, scripts: Scripts) -> None:
    """Some upstreams say 200 and put an error where the answer should be; that is neither passed nor charged."""
    name = scripts[0].add(Script((msgspec.json.encode(LEAK),), content_type="application/json"))
    account = scripted.account("5")
    refused = scripted.post(scripted.credit_key(account), prompt(name))
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_error")
    assert [secret for secret in SECRETS if secret in refused.text] == []
    assert scripted.charges(account) == []


BOTTOMLESS = b'{"usage":{"a":' + b"[" * 100_000 + b"}}"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b"\xff\xfe", b"{", b'{"usage":{"\xff":1}}', BOTTOMLESS])
def test_an_answer_that_is_no_answer_is_an_error(scripted: Rig, scripts: Scripts, body: bytes) -> None:
    """What is no completion is 502 and free."""
    account = scripted.account("5")
    name = scripts[0].add(Script((body,), content_type="application/json"))
    assert scripted.post(scripted.credit_key(account), prompt(name)).status_code == 502
    assert scripted.charges(account) == []


def test_only_allowed_headers_go_up(scripted: Rig, scripts: Scripts) -> None:
    """Nothing that the client sends beside its body reaches the upstream, its key least of all."""
    script = Script((answer(usage=USAGE),), content_type="application/json")
    key = scripted.credit_key(scripted.account("5"))
    sent = {"x-api-key": key, "cookie": f"k={key}", "openai-organization": "mine", "x-forwarded-for": "1.2.3.4"}
    body = prompt(scripts[0].add(script))
    scripted.post(key, body, **sent, **{"accept-encoding": "gzip, br", "user-agent": key}).raise_for_status()
    names = {name for name, _ in script.headers}
    allowed = {"host", "content-type", "content-length", "accept", "accept-encoding", "authorization", "user-agent"}
    assert names <= allowed
    assert ("authorization", f"Bearer {UPSTREAM_KEY}") in script.headers
    assert ("accept-encoding", "identity") in script.headers
    assert key not in str(script.headers)
    assert key.encode() not in script.body


def test_only_our_headers_come_back(scripted: Rig, scripts: Scripts) -> None:
    """No header of the upstream's answer reaches the client."""
    leaks = (("set-cookie", "a=b"), ("openai-organization", "operator"), ("x-request-id", "theirs"), ("server", "s"))
    for stream in (True, False):
        pieces = (chunk("a"), chunk(finish=True), DONE) if stream else (answer(usage=USAGE),)
        kind = "text/event-stream" if stream else "application/json"
        got = ask(scripted, scripts[0].add(Script(pieces, content_type=kind, extra_headers=leaks)), stream=stream)
        assert {"set-cookie", "openai-organization", "server"}.isdisjoint(got.headers)
        assert got.headers["x-request-id"].startswith("req_")


def test_a_stream_always_asks_for_usage(scripted: Rig, scripts: Scripts) -> None:
    """The usage event is asked for, whatever the client said; its other options pass."""
    for options in (None, {"include_usage": False}, {"include_usage": None}, {"include_obfuscation": False}, {}):
        script = Script((chunk("a"), chunk(finish=True), chunk(usage=USAGE, choices=False), DONE))
        got = ask(scripted, scripts[0].add(script), stream=True, stream_options=options)
        sent = msgspec.json.decode(script.body)["stream_options"]
        assert sent == {**(options or {}), "include_usage": True}
        assert '"usage"' not in got.text


@pytest.mark.parametrize("stream", [False, None])
def test_stream_options_never_go_up_without_a_stream(scripted: Rig, scripts: Scripts, stream: bool | None) -> None:
    """Upstreams refuse the options of a stream on a call that has none."""
    script = Script((answer(usage=USAGE),), content_type="application/json")
    ask(scripted, scripts[0].add(script), stream=stream, stream_options={"include_usage": True}).raise_for_status()
    assert "stream_options" not in msgspec.json.decode(script.body)


def test_unknown_fields_and_values_pass_verbatim(scripted: Rig, scripts: Scripts) -> None:
    """What the gateway does not know goes up as it was written, number by number."""
    script = Script((answer(usage=USAGE),), content_type="application/json")
    raw = (
        b'{"model":"deepseek/deepseek-chat-v3-0324","messages":[{"role":"user","content":"NAME"}],"x":1.50e+2,"y":[ ]}'
    )
    raw = raw.replace(b"NAME", scripts[0].add(script).encode())
    headers = {"authorization": f"Bearer {scripted.credit_key(scripted.account('5'))}"}
    scripted.http.post(CHAT, content=raw, headers=headers).raise_for_status()
    assert b'"x":1.50e+2' in script.body
    assert b'"y":[ ]' in script.body
    assert msgspec.json.decode(script.body)["model"] == "model-0"


class TestAnotherUpstream:
    """A model with two upstreams, of which the first is tried first all but surely."""

    @pytest.mark.parametrize(
        "first",
        [
            None,
            Script(status=500, pieces=(b"{}",)),
            Script(status=503, pieces=(b"{}",)),
            Script(status=429, pieces=(b"{}",)),
            Script(headless=True, ending="cut"),
        ],
        ids=["refuses connections", "500", "503", "429", "cuts before the first byte"],
    )
    @pytest.mark.parametrize("stream", [True, False])
    def test_the_second_answers_when_the_first_fails(
        self, moody: MoodyStore, tmp_path: Path, first: Script | None, stream: bool
    ) -> None:
        """One call, one hold, one charge, under the name of the upstream that answered (43)."""
        pieces = (chunk("a"), chunk(finish=True), chunk(usage=USAGE, choices=False), DONE)
        kind = "text/event-stream" if stream else "application/json"
        good = Script(pieces if stream else (answer(usage=USAGE),), content_type=kind)
        with serve_scripts() as (one, one_url), serve_scripts() as (two, two_url):
            if first is not None:
                one.add(first)
            name = two.add(good)
            url = DEAD_URL if first is None else one_url
            with run_rig(moody, tmp_path, change_catalog=lambda c: with_routes(c, url, two_url)) as rig:
                account = rig.account("5")
                got = rig.post(rig.credit_key(account), prompt(name, stream=stream))
                assert got.status_code == 200
                (charge,) = rig.charges(account)
                assert (charge.upstream, charge.charged_nano) == ("upstream-1", 100 * 270 + 7 * 1_100)
                assert msgspec.json.decode(good.body)["model"] == "model-1"
                assert rig.gateway.held_nano(account) == 0

    @pytest.mark.parametrize(
        ("first", "status"),
        [(Script(ending="hang", headless=True), 504), (Script(status=400, pieces=(b"{}",)), 400)],
        ids=["silence", "400"],
    )
    def test_the_second_is_not_tried(self, moody: MoodyStore, tmp_path: Path, first: Script, status: int) -> None:
        """After silence the first may have run and billed the call; a bad request is bad everywhere."""
        second = Script((answer(usage=USAGE),), content_type="application/json")
        with serve_scripts() as (one, one_url), serve_scripts() as (two, two_url):
            one.add(first)
            name = two.add(second)
            timeouts = Timeouts(connect_s=1, first_byte_s=0.3, idle_s=1, whole_answer_s=0.3)
            with run_rig(
                moody, tmp_path, timeouts=timeouts, change_catalog=lambda c: with_routes(c, one_url, two_url)
            ) as rig:
                account = rig.account("5")
                assert rig.post(rig.credit_key(account), prompt(name)).status_code == status
                assert second.calls == 0
                assert rig.charges(account) == []


def test_an_upstream_that_bills_anyway_is_heard_to_its_end(scripts: Scripts, moody: MoodyStore, tmp_path: Path) -> None:
    """Where hanging up saves nothing, the rest of the answer is awaited and its usage charged."""
    script = Script(
        (chunk(), chunk("abcd"), chunk("abcd"), chunk(finish=True), chunk(usage=USAGE, choices=False), DONE),
        pause_before=2,
    )
    with run_rig(
        moody, tmp_path, change_catalog=lambda c: with_routes(c, scripts[1], bills_after_disconnect=True)
    ) as rig:
        account = rig.account("5")
        headers = {"authorization": f"Bearer {rig.credit_key(account)}"}
        body = prompt(scripts[0].add(script), stream=True)
        with rig.http.stream("POST", CHAT, json=body, headers=headers) as response:
            pieces = response.iter_text()
            next(pieces)
        script.proceed.set()
        eventually(lambda: len(rig.charges(account)) == 1)
        assert rig.charged_nano(account) == 100 * 270 + 7 * 1_100
