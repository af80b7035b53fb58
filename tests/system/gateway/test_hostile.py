"""Hostile bodies: what is priced is what the upstream runs, or the call is refused; nothing becomes a 500."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.gateway.gateway_rig import CHAT, MODEL, Rig
from tokenbooth.gateway.service import Gateway

HI = '"messages":[{"role":"user","content":"hi"}]'
M = f'"model":"{MODEL}"'


def post(rig: Rig, account: str, content: bytes | Iterator[bytes], **headers: str) -> httpx.Response:
    """Send a body as it is."""
    key = rig.credit_key(account)
    return rig.http.post(CHAT, content=content, headers={"authorization": f"Bearer {key}", **headers})


def assert_refused(rig: Rig, content: bytes | Iterator[bytes], status: int, code: str, **headers: str) -> None:
    """The body is refused, nothing reached the upstream, nothing is held or charged."""
    account = rig.account("5")
    before = len(rig.models.requests)
    refused = post(rig, account, content, **headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert len(rig.models.requests) == before
    assert rig.gateway.held_nano(account) == 0
    assert rig.charges(account) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        '"x"',
        "{",
        "{}x",
        f"{{{M},{HI},}}",
        f"{{{M},{HI}}} {{}}",
        f'{{{M},{HI},"x":NaN}}',
        f'{{{M},{HI},"x":Infinity}}',
        f'{{{M},{HI},"x":01}}',
        f'{{{M},{HI},"x":"\\ud800"}}',
        f'{{{M},{HI},"\\udc00":1}}',
        f'{{{M},{HI},"x":{{"\\ud800":1}}}}',
        f'{{{M},{HI},"x":"\x00"}}',
        f'{{{M},{HI},"x":"\\x41"}}',
        f"{{{M},{HI},'x':1}}",
        f'{{{M},{HI},/* x */"x":1}}',
        f"\ufeff{{{M},{HI}}}",
    ],
)
def test_what_is_no_json_never_reaches_an_upstream(shared: Rig, body: str) -> None:
    """Malformed JSON is 400, also where some parsers would let it pass."""
    assert_refused(shared, body.encode(), 400, "invalid_json")


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
@pytest.mark.parametrize("where", [b'"x":"%s"', b'"%s":1'])
def test_invalid_utf8_is_refused(shared: Rig, raw: bytes, where: bytes) -> None:
    """Bytes that are no UTF-8 are refused, in names and in values (48b)."""
    body = f"{{{M},{HI},".encode() + where % raw + b"}"
    assert_refused(shared, body, 400, "invalid_json")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_refused(shared: Rig, opening: bytes) -> None:
    """A body nested beyond the bound is refused, whether it is closed or not."""
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    for depth in (127, 100_000):
        body = f"{{{M},{HI},".encode() + b'"x":' + opening * depth + b"1" + closing * depth + b"}"
        if depth > 128:
            assert_refused(shared, body, 400, "invalid_json")
            assert_refused(shared, body[: len(body) // 2], 400, "invalid_json")
        else:
            assert post(shared, shared.account("5"), body).status_code == 200


def test_brackets_in_a_text_are_no_nesting(shared: Rig) -> None:
    """A prompt full of brackets is ordinary text."""
    body = f'{{{M},"messages":[{{"role":"user","content":"{"[{" * 5_000}"}}]}}'.encode()
    assert post(shared, shared.account("5"), body).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        *("Max_tokens", "MAX_TOKENS", "Model", "STREAM", "N", "Stream_Options", "Max_Completion_Tokens", "Tools"),
        *("max_tokenſ", "ſtream", "max_to\u212aens", "meſſages", "Service_Tier", "ſtore", "Web_Search_Options"),
    ],
)
def test_a_money_bearing_name_in_other_letters_is_refused(shared: Rig, name: str) -> None:
    """Names that a lenient upstream would take for a priced field are refused, folded letters too (48b)."""
    body = f'{{{M},{HI},"{name}":1}}'.encode()
    refused = post(shared, shared.account("5"), body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == name


def test_a_name_in_escapes_is_the_same_name(shared: Rig) -> None:
    """An escaped name is read as what it means, and goes up in plain letters once."""
    body = f'{{{M},{HI},"max_\\u0074okens":3,"max_tokens":2}}'.encode()
    got = post(shared, shared.account("5"), body)
    assert got.json()["usage"]["completion_tokens"] == 2
    assert shared.models.requests[-1].body.count(b"max_tokens") == 1


def test_of_duplicate_names_one_is_priced_and_run(shared: Rig) -> None:
    """Duplicate fields collapse: the upstream gets each name once, with the value that was priced (48b)."""
    body = f'{{"model":"no/such",{M},{HI},"max_tokens":9000,"max_tokens":2,"n":128,"n":1}}'.encode()
    account = shared.account("5")
    got = post(shared, account, body)
    sent = shared.models.requests[-1].body
    assert got.json()["usage"]["completion_tokens"] == 2
    assert [sent.count(name) for name in (b'"max_tokens"', b'"n"', b'"model"')] == [1, 1, 1]
    assert [charge.completion_tokens for charge in shared.charges(account)] == [2]


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ('"max_tokens":0', "invalid_parameter"),
        ('"max_tokens":-1', "invalid_parameter"),
        ('"max_tokens":1.5', "invalid_parameter"),
        ('"max_tokens":1e3', "invalid_parameter"),
        ('"max_tokens":"5"', "invalid_parameter"),
        ('"max_tokens":true', "invalid_parameter"),
        ('"max_tokens":[]', "invalid_parameter"),
        (f'"max_tokens":{"9" * 5_000}', "invalid_json"),
        (f'"max_tokens":{2**64}', "invalid_parameter"),
        ('"n":0', "invalid_parameter"),
        ('"n":129', "invalid_parameter"),
        (f'"n":{"9" * 400}', "invalid_parameter"),
        ('"n":1e999', "invalid_json"),
        ('"stream":1', "invalid_parameter"),
        ('"stream":"true"', "invalid_parameter"),
        ('"stream":true,"stream_options":[]', "invalid_parameter"),
        ('"stream":true,"stream_options":"x"', "invalid_parameter"),
        ('"tools":{}', "invalid_parameter"),
        ('"tools":[1]', "unsupported_parameter"),
        ('"tools":[{"type":"web_search"}]', "unsupported_parameter"),
        ('"tools":[{"type":"function","type":"web_search"}]', "unsupported_parameter"),
        ('"tools":[{"type":["function"]}]', "unsupported_parameter"),
        ('"tools":[{"type":{}}]', "unsupported_parameter"),
        ('"modalities":["text","audio"]', "unsupported_parameter"),
        ('"modalities":["audio"]', "unsupported_parameter"),
        ('"service_tier":"priority"', "unsupported_parameter"),
        ('"service_tier":"flex"', "unsupported_parameter"),
        ('"store":true', "unsupported_parameter"),
        ('"background":true', "unsupported_parameter"),
        ('"web_search_options":{}', "unsupported_parameter"),
        ('"audio":{"voice":"x"}', "unsupported_parameter"),
        ('"previous_response_id":"x"', "unsupported_parameter"),
        ('"conversation":"x"', "unsupported_parameter"),
        ('"file_id":"x"', "unsupported_parameter"),
        ('"provider":{"order":["x"]}', "unsupported_parameter"),
        ('"models":["x"]', "unsupported_parameter"),
        ('"route":"fallback"', "unsupported_parameter"),
        ('"plugins":[{"id":"web"}]', "unsupported_parameter"),
        ('"transforms":["x"]', "unsupported_parameter"),
    ],
)
def test_money_bearing_values_are_checked(shared: Rig, field: str, code: str) -> None:
    """A ceiling that is no ceiling, and everything that buys something unpriced, is refused (48c)."""
    assert_refused(shared, f"{{{M},{HI},{field}}}".encode(), 400, code)


@pytest.mark.parametrize(
    "messages",
    [
        '[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"x"}}]}]',
        '[{"role":"user","content":[{"type":"file","file":{"file_id":"x"}}]}]',
        '[{"role":"user","content":[{"type":"text","text":"a","type":"file","file":{"file_id":"x"}}]}]',
        '[{"role":"user","content":[{"\\u0074ype":"file","file":{"file_id":"x"}}]}]',
    ],
)
def test_unpriced_parts_of_a_message_are_refused(shared: Rig, messages: str) -> None:
    """Audio, files and parts in disguise are refused by name (48c)."""
    assert_refused(shared, f'{{{M},"messages":{messages}}}'.encode(), 400, "unsupported_parameter")


@pytest.mark.parametrize("name", ['""', "null", "5", "[]", "{}", "true"])
def test_a_model_that_is_no_name_is_missing(shared: Rig, name: str) -> None:
    """Only a string names a model."""
    assert_refused(shared, f'{{"model":{name},{HI}}}'.encode(), 400, "missing_model")


def test_a_very_long_model_name_is_not_repeated(shared: Rig) -> None:
    """The error quotes a bounded part of what was sent."""
    refused = post(shared, shared.account("5"), f'{{"model":"{"x" * 100_000}",{HI}}}'.encode())
    assert refused.status_code == 404
    assert len(refused.content) < 1_000


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "GZIP", "gzip, identity", "x"])
def test_a_compressed_body_is_refused(shared: Rig, encoding: str) -> None:
    """A body that says it is compressed is 415, whatever is in it."""
    headers = {"content-encoding": encoding}
    assert_refused(shared, f"{{{M},{HI}}}".encode(), 415, "unsupported_encoding", **headers)


def test_a_body_that_says_it_is_not_compressed_passes(shared: Rig) -> None:
    """`Content-Encoding: identity` is no compression."""
    got = post(shared, shared.account("5"), f"{{{M},{HI}}}".encode(), **{"content-encoding": "identity"})
    assert got.status_code == 200


def test_a_body_that_is_too_large_is_refused_in_both_framings(shared: Rig) -> None:
    """Twenty-one megabytes are 413, announced or in chunks."""
    piece = b"x" * (1024 * 1024)
    assert_refused(shared, piece * 21, 413, "request_too_large")
    assert_refused(shared, (piece for _ in range(21)), 413, "request_too_large")


@pytest.mark.parametrize(
    "messages",
    [
        *('"hi"', "5", "null", "{}", "[]", "[1]", '[{"type":1}]', '[[{"type":"x"}]]'),
        *('[{"role":"user","content":[{"type":["text"]}]}]', '[{"role":"user","content":[{"type":{}}]}]'),
    ],
)
def test_strange_messages_are_never_a_500(shared: Rig, messages: str) -> None:
    """Messages in a strange form are refused by us or by the upstream, and free."""
    account = shared.account("5")
    refused = post(shared, account, f'{{{M},"messages":{messages}}}'.encode())
    assert refused.status_code == 400
    assert shared.charges(account) == []
    assert shared.gateway.held_nano(account) == 0


SMALLEST = {
    "/v1/chat/completions": f"{{{M},{HI}}}",
    "/v1/completions": f'{{{M},"prompt":"Hi"}}',
    "/v1/embeddings": f'{{{M},"input":"Hi"}}',
    "/v1/responses": f'{{{M},"input":"Hi"}}',
    "/anthropic/v1/messages": f'{{{M},{HI},"max_tokens":9}}',
}
FREE = {("POST", "/anthropic/v1/messages/count_tokens")}


def test_every_route_that_posts_is_paid_and_goes_through_admission(shared: Rig) -> None:
    """Each POST route of the gateway is paid, but for one that asks no model; without credit none reaches one (P15)."""
    posting = {route for route in shared.gateway.routes if route[0] != "GET"}
    assert posting == Gateway.PAID_ROUTES | FREE
    before = len(shared.models.requests)
    for method, path in posting - FREE:
        key = shared.credit_key(shared.account())
        refused = shared.http.request(method, path, content=SMALLEST[path], headers={"authorization": f"Bearer {key}"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_credits")
    assert len(shared.models.requests) == before
