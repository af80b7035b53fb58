"""Large bodies: read in steps, in little memory, and not at all for those who may not send them."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.catalog_samples import sample_model
from tests.support.gateway.gateway_rig import CHAT, MODEL, MoodyStore, Rig, eventually, prompt, run_rig
from tests.support.raw_client import Answer, RawClient
from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.json.body import decode_fields, decode_top, encode_fields, release_body
from tokenbooth.gateway.formats.json.steps import NAMES_PER_ITEM, STEP_BYTES, STEP_ITEMS
from tokenbooth.gateway.registry import ENDPOINTS

MESSAGES = "/anthropic/v1/messages"
KIB = 1024
MIB = 1024 * KIB
SETTINGS = GatewaySettings()


def many(item: str, count: int) -> str:
    """A list of so many of the same."""
    return f"[{','.join([item] * count)}]"


def content_of(content: str) -> str:
    """A body with one message."""
    return f'{{"model":"{MODEL}","max_tokens":100,"messages":[{{"role":"user","content":{content}}}]}}'


def told_back(content: str) -> str:
    """A body with an earlier answer."""
    return content_of(content).replace('"user"', '"assistant"')


def chat(messages: str) -> str:
    return f'{{"model":"{MODEL}","max_tokens":100,"messages":{messages}}}'


def asked(**fields: str) -> str:
    named = "".join(f',"{name}":{value}' for name, value in fields.items())
    return f'{{"model":"{MODEL}"{named}}}'


def text(unit: str, times: int) -> str:
    """A JSON string."""
    return f'"{unit * times}"'


def part(kind: str, name: str, value: str) -> str:
    """A part of a message, or a block."""
    return f'{{"type":"{kind}","{name}":{value}}}'


NAMED = ",".join(f'"x{number}":{{}}' for number in range(240))
NAMES = ",".join(f'{{"x{number}":1}}' for number in range(240))
WIDE = f'{{"type":"text","text":"x",{NAMED}}}'
WIDE_ITEM = f'{{"role":"user","content":"x",{NAMED}}}'
# In whatever letters it is written, it is the same object of settings.
SAME = ["extra_body", "Extra_body", "EXTRA_BODY", "extrabody", "extra-body", "ExtraBody"]
NESTED = f'{{"a":{"[" * 100}{{"b":{text("x", 60 * KIB)}}}{"]" * 100}}}'
PART = part("text", "text", text("x", 3_000))
ITEM = f'{{"role":"user","content":[{part("input_text", "text", text("x", 3_000))}]}}'
BLOCK = part("text", "text", text("é" * 1_500 + "😀", 1))
RESULT = part("tool_result", "tool_use_id", f'"t","content":{text("[1,2],", MIB)}')
IMAGE = part("image_url", "image_url", f'{{"url":{text("A", 6 * MIB)}}}')
MESSAGE = f'{{"role":"user","content":{text("x", 3_000)}}}'
BODIES = {
    "a text": (CHAT, content_of(text("x", 6 * MIB))),
    "a text beyond ASCII": (CHAT, content_of(text("éé😀", MIB))),
    "a text of escapes": (CHAT, content_of(text("\\n", 3 * MIB))),
    "texts in parts": (CHAT, content_of(many(PART, 2_000))),
    "an image": (CHAT, content_of(f"[{IMAGE}]")),
    "messages": (CHAT, chat(many(MESSAGE, 2_000))),
    "a field that nobody knows": (CHAT, asked(messages=f"[{MESSAGE}]", x=text("é😀", MIB))),
    "an input": ("/v1/responses", asked(input=text("é😀", MIB))),
    "items": ("/v1/responses", asked(input=many(ITEM, 2_000))),
    "token ids": ("/v1/embeddings", asked(input=many("123456", 900_000))),
    "lists of token ids": ("/v1/completions", asked(prompt=many(many("123456", 450), 2_000))),
    "blocks": (MESSAGES, content_of(many(BLOCK, 2_000))),
    "a tool's result": (MESSAGES, content_of(f"[{RESULT}]")),
}


@pytest.mark.parametrize("name", BODIES)
def test_no_more_than_two_copies_of_a_body_exist(name: str) -> None:
    """One that was read and one for the upstream, whatever it holds: no text becomes a string of Python.

    The encoder reserves up to twice what it writes, and gives back what it does not need.
    """
    path, written = BODIES[name]
    body = written.encode()
    # It is only asked in OpenAI's formats, so that a messages request is translated.
    model = sample_model()
    tracemalloc.start()
    try:
        fields = decode_top(body)
        request = ENDPOINTS[path].read(fields, model, len(body), [])
        release_body(request.fields)
        outbound = request.outbound(model.routes[0].upstream.formats)
        assert outbound is not None
        sent = encode_fields(outbound.upstream_fields(model.routes[0], None))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(sent) > 0.9 * len(body)
    assert peak_bytes < 3.05 * len(body) + MIB


@pytest.mark.parametrize(
    ("path", "body", "items"),
    [
        (CHAT, chat(many('{"role":"user","content":[]}', 10_000)), 10_000),
        (CHAT, content_of(many('{"type":"text","text":"x"}', 20_000)), 20_000),
        (CHAT, content_of(many('"x"', 20_000)), 20_000),
        (CHAT, chat("[]")[:-1] + ',"tools":' + many('{"type":"function"}', 20_000) + "}", 20_000),
        ("/v1/responses", asked(input=many('{"role":"user"}', 20_000)), 20_000),
        ("/v1/responses", asked(input='[{"content":' + many('{"type":"input_text"}', 20_000) + "}]"), 20_000),
        (MESSAGES, chat(many('{"role":"user","content":"x"}', 20_000)), 40_000),
        (MESSAGES, content_of(many('{"type":"text","text":"x"}', 20_000)), 40_000),
        (MESSAGES, content_of('"x"')[:-1] + ',"tools":' + many('{"name":"x"}', 20_000) + "}", 40_000),
        (MESSAGES, content_of('"x"')[:-1] + ',"system":' + many('{"type":"text","text":"x"}', 20_000) + "}", 40_000),
        (MESSAGES, told_back(many('{"type":"text","text":"x"}', 20_000)), 60_000),
        (CHAT, content_of(many(WIDE, 150)), 150 * 240 // NAMES_PER_ITEM),
        ("/v1/responses", asked(input=f'[{{"role":"user","content":{many(WIDE, 150)}}}]'), 150 * 240 // NAMES_PER_ITEM),
        ("/v1/responses", asked(input=many(WIDE_ITEM, 150)), 150 * 240 // NAMES_PER_ITEM),
        (MESSAGES, content_of(many(WIDE, 150)), 150 * 240 // NAMES_PER_ITEM),
        (CHAT, chat("[]")[:-1] + f',"extra_body":{{"a":[{NAMES}],"b":{{{NAMED}}}}}}}', 480),
        (
            CHAT,
            chat("[]")[:-1] + "".join(f',"{name}":{{"a":{many("{}", 200)}}}' for name in SAME) + "}",
            200 * len(SAME),
        ),
        (CHAT, chat("[]")[:-1] + "".join(f',"{name}":{NESTED}' for name in SAME) + "}", 7 * 100 * len(SAME)),
    ],
)
def test_no_step_reads_more_than_some_hundred_items(path: str, body: str, items: int) -> None:
    """Messages, parts, tools and items are looked at in Python, a bounded number at a time; translated, twice."""
    content = body.encode()
    assert items >= STEP_ITEMS
    steps = ENDPOINTS[path].steps(decode_top(content), sample_model(), len(content), [])

    assert sum(1 for _ in steps) >= items // STEP_ITEMS


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, asked(messages="[]", stream="true", stream_options=f'{{"a":{text("x", 64 * KIB)}}}')),
        ("/v1/responses", asked(input='"x"', reasoning=f'{{"a":{text("x", 64 * KIB)}}}')),
    ],
)
def test_settings_are_no_larger_than_settings_are(path: str, body: str) -> None:
    """They are decoded and encoded whole, and by nobody in steps."""
    content = body.encode()
    with pytest.raises(Refusal) as refused:
        ENDPOINTS[path].read(decode_top(content), sample_model(), len(content), [])

    assert (refused.value.status, refused.value.code) == (400, "invalid_parameter")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, asked(**{f"x{number}": "1" for number in range(250)})),
        (MESSAGES, asked(**{f"x{number}": "1" for number in range(250)})),
        ("/v1/responses", asked(**{f"x{number}": "1" for number in range(250)})),
        ("/v1/completions", asked(**{f"x{number}": "1" for number in range(250)})),
        ("/v1/embeddings", asked(**{f"x{number}": "1" for number in range(250)})),
        (CHAT, content_of(f"[{WIDE[:-1]},{NAMED.replace('x', 'y')}}}]")),
        ("/v1/responses", asked(input=f"[{WIDE_ITEM[:-1]},{NAMED.replace('x', 'y')}}}]")),
        (MESSAGES, content_of(f"[{WIDE[:-1]},{NAMED.replace('x', 'y')}}}]")),
        (CHAT, chat("[]")[:-1] + f',"tools":[{{"type":"web_search",{NAMED},{NAMED.replace("x", "y")}}}]}}'),
    ],
)
def test_what_is_looked_at_closely_has_few_names(path: str, body: str) -> None:
    """Each name is looked at in Python, and no format has so many."""
    content = body.encode()
    with pytest.raises(Refusal) as refused:
        ENDPOINTS[path].read(decode_fields(content, 128), sample_model("tools.web_search"), len(content), [])

    assert refused.value.code == "too_many_values"


@pytest.fixture
def rig(moody: MoodyStore, tmp_path: Path) -> Iterator[Rig]:
    """A gateway with a model that costs something and one that is free."""
    with run_rig(moody, tmp_path, change_catalog=with_free_model) as running:
        yield running


def with_free_model(catalog: Catalog) -> Catalog:
    """The catalog with the same model once more, as "free"."""
    model = catalog.models[MODEL]
    nothing = replace(model.price, rates=replace(model.price.rates, input=0, output=0, cached_input=0, cache_write=0))
    return replace(catalog, models={**catalog.models, "free": replace(model, name="free", price=nothing)})


def head(key: str, path: str, framing: str) -> bytes:
    """The head of a request whose body does not come."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"{framing}\r\n\r\n"
    ).encode()


def refusal_without_a_body(rig: Rig, key: str, size: int, path: str = CHAT) -> Answer:
    """What is answered to a body that is only announced."""
    with RawClient(int(rig.base_url.rpartition(":")[2])) as client:
        return client.send(head(key, path, f"content-length: {size}")).answer()


@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/completions", "/v1/responses"])
def test_a_key_without_credit_may_not_send_a_large_body(rig: Rig, path: str) -> None:
    """It is refused by its head, and told what it may send."""
    key = rig.credit_key(rig.account())
    refused = refusal_without_a_body(rig, key, SETTINGS.max_unfunded_body_bytes + 1, path)

    assert refused.status == 402
    assert b"insufficient_credits" in refused.body
    assert b"262144 bytes" in refused.body
    assert refused.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/count_tokens"])
def test_nor_may_it_on_the_other_plane(rig: Rig, path: str) -> None:
    """In that plane's words, also where tokens are only counted."""
    refused = refusal_without_a_body(rig, rig.credit_key(rig.account()), 20 * MIB, path)

    assert refused.status == 402
    assert b"billing_error" in refused.body


def test_a_body_without_a_length_is_cut_off_at_the_bound(rig: Rig) -> None:
    """What comes in chunks is counted as it comes."""
    key = rig.credit_key(rig.account())
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with RawClient(int(rig.base_url.rpartition(":")[2])) as client:
        client.send(head(key, CHAT, "transfer-encoding: chunked"))
        for _ in range(5):
            client.send(chunk)
        assert client.answer().status == 402


def test_a_spent_cap_is_no_money_either(rig: Rig) -> None:
    """The refusal tells which pool is spent."""
    key = rig.credit_key(rig.account("5"), max_budget_usd="0.001")
    assert rig.post(key, prompt("[[usage prompt=9000 completion=9000]]", max_tokens=256)).status_code == 200
    refused = refusal_without_a_body(rig, key, MIB)

    assert refused.status == 402
    assert b"key_budget_exceeded" in refused.body


def test_what_costs_nothing_stays_reachable_without_money(rig: Rig) -> None:
    """Free models, counting tokens, and the routes that only tell."""
    key = rig.credit_key(rig.account())
    large = prompt("x" * 200_000)

    assert rig.post(key, {**large, "model": "free"}).status_code == 200
    headers = {"authorization": f"Bearer {key}"}
    assert rig.http.post(f"{MESSAGES}/count_tokens", json=large, headers=headers).status_code == 200
    assert rig.http.get("/v1/models", headers=headers).status_code == 200
    assert rig.post(key, prompt("hello")).json()["error"]["code"] == "insufficient_credits"


def test_an_account_without_money_has_few_calls_open(rig: Rig) -> None:
    """Four that wait for their bodies; the fifth is refused, whichever key it has, until one of them ends."""
    account = rig.account()
    keys = [rig.credit_key(account) for _ in range(2)]
    for key in keys:
        # A key that is known is let in without a pause.
        rig.usage(key)
    port = int(rig.base_url.rpartition(":")[2])
    waiting = [RawClient(port).send(head(keys[number % 2], CHAT, "content-length: 99")) for number in range(4)]
    eventually(lambda: rig.gateway.open_requests == 4)
    refused = rig.post(keys[1], {**prompt("hello"), "model": "free"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_credits")
    assert "4 calls" in refused.json()["error"]["message"]

    waiting[0].reset()
    eventually(lambda: rig.gateway.open_requests == 3)
    assert rig.post(keys[1], {**prompt("hello"), "model": "free"}).status_code == 200
    for client in waiting[1:]:
        client.reset()


def test_money_that_comes_lifts_the_bounds(rig: Rig) -> None:
    """The next body may be as large as anybody's."""
    account = rig.account()
    key = rig.credit_key(account)
    assert refusal_without_a_body(rig, key, MIB).status == 402
    rig.grant(account, "5")
    rig.sync()

    assert rig.post(key, prompt("x" * MIB, max_tokens=10)).status_code == 200


def test_a_key_at_its_limit_may_not_send_a_large_body(rig: Rig) -> None:
    """The body would be read for nothing; it counts for nothing either."""
    key = rig.credit_key(rig.account("5"), rpm=1)
    assert rig.post(key, prompt("hello")).status_code == 200
    refused = refusal_without_a_body(rig, key, STEP_BYTES + 1)

    assert refused.status == 429
    assert b"rate_limit_exceeded" in refused.body


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (content_of(many("1", SETTINGS.max_json_values)), "values"),
        (content_of(many("{}", SETTINGS.max_json_containers)), "objects and lists"),
        (content_of('"hi"')[:-1] + "".join(f',"n{n}":1' for n in range(SETTINGS.max_json_names)) + "}", "names"),
    ],
)
def test_a_body_of_too_much_is_refused(rig: Rig, body: str, what: str) -> None:
    """With a code of its own, and for nothing."""
    account = rig.account("5")
    headers = {"authorization": f"Bearer {rig.credit_key(account)}"}
    refused = rig.http.post(CHAT, content=body, headers=headers)

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "too_many_values")
    assert what in refused.json()["error"]["message"]
    assert rig.charges(account) == []


def test_the_file_in_a_prompt_may_be_of_any_kind(rig: Rig) -> None:
    """Coordinates by the hundred thousand, pasted as text, are text."""
    key = rig.credit_key(rig.account("5"))
    for text in ("[1,2]," * 120_000, '{"a":[1,{"b":2}]},' * 60_000):
        assert rig.post(key, prompt(text, max_tokens=10)).status_code == 200
        sent = rig.upstream_body()["messages"]
        assert sent == [{"role": "user", "content": text}]


def test_the_bounds_are_the_operators(moody: MoodyStore, tmp_path: Path) -> None:
    """Each of them is a setting."""
    settings = GatewaySettings(max_json_values=5_000, max_token_ids=50_000, max_unfunded_body_bytes=2_000)
    with run_rig(moody, tmp_path, gateway_settings=settings) as rig:
        headers = {"authorization": f"Bearer {rig.credit_key(rig.account('5'))}"}
        ids = asked(input=many("1", 40_000)).encode()
        assert rig.http.post(CHAT, content=content_of(many("1", 40_000)), headers=headers).json()["error"]["code"] == (
            "too_many_values"
        )
        assert rig.http.post("/v1/embeddings", content=ids, headers=headers).status_code == 200
        assert refusal_without_a_body(rig, rig.credit_key(rig.account()), 2_001).status == 402


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, asked(**{"x": "1", "{name}": "1", "messages": "[]"})),
        (CHAT, chat('[{"role":"user","content":"x","{name}":1}]')),
        (CHAT, content_of('[{"type":"text","text":"x","{name}":1}]')),
        (CHAT, content_of('[{"type":"image_url","image_url":{"url":"x"},"{name}":1}]')),
        ("/v1/responses", asked(input='[{"role":"user","content":"x","{name}":1}]')),
        (MESSAGES, content_of('[{"type":"text","text":"x","{name}":1}]')),
    ],
)
def test_a_long_name_is_not_folded(path: str, body: str) -> None:
    """Folding takes up to twelve times the size of a name, and no name that we look for is long."""
    # Beyond 65,536 a character takes four bytes.
    content = body.replace("{name}", "x" * MIB + "😀").encode()
    fields = decode_top(content)
    tracemalloc.start()
    try:
        ENDPOINTS[path].read(fields, sample_model(), len(content), [])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 10 * MIB


def test_a_long_name_is_not_repeated() -> None:
    """What a client sends comes back in a refusal by its beginning only."""
    content = content_of(f'[{{"type":"image_url","image_url":{{"{"x" * MIB}":1}}}}]').encode()
    with pytest.raises(Refusal) as refused:
        ENDPOINTS[CHAT].read(decode_top(content), sample_model(), len(content), [])

    assert len(str(refused.value)) < KIB
