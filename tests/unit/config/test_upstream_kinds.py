"""The table of kinds: what it says of each upstream, and that nothing of it is missed by a request."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.catalog_samples import sample_model, with_kind
from tests.system.docs.pages import codes, read, rows, section
from tokenbooth.config.catalog import Model, WireFormat
from tokenbooth.config.upstream_fields import (
    CEILING_FIELDS,
    CREDENTIAL_MARKS,
    FOLDED_CEILINGS,
    IMAGE_SIZES,
    MORE_ANSWERS,
    OTHER_INPUT,
    OVERRIDES,
    folded,
)
from tokenbooth.config.upstream_kinds import KINDS, kept_back_by, kind_of_host
from tokenbooth.config.upstream_table import GENERIC, UpstreamKind
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.json.body import decode_fields, encode_fields
from tokenbooth.gateway.registry import ENDPOINTS

CHAT = "/v1/chat/completions"
BODIES: dict[str, dict[str, object]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/anthropic/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8_000},
}
WIRES: dict[str, WireFormat] = {
    CHAT: "openai.chat",
    "/v1/completions": "openai.completions",
    "/v1/responses": "openai.responses",
    "/anthropic/v1/messages": "anthropic.messages",
}
# Fields that every client of these formats may send, and that cost nothing.
HARMLESS = (
    "frequency_penalty",
    "include",
    "input",
    "instructions",
    "logit_bias",
    "logprobs",
    "max_tool_calls",
    "messages",
    "metadata",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "stop",
    "stop_sequences",
    "stream_options",
    "system",
    "temperature",
    "text",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "verbosity",
    "something_that_nobody_knows",
)

kinds = st.sampled_from(sorted(KINDS))
endpoints = st.sampled_from(sorted(BODIES))
spellings = st.sampled_from(
    [
        *CEILING_FIELDS,
        *("".join([first, *map(str.capitalize, rest)]) for first, *rest in (n.split("_") for n in CEILING_FIELDS)),
        *(name.replace("_", "-") for name in CEILING_FIELDS),
    ]
)


def sent(model: Model, path: str, fields: dict[str, object], clamped: int | None = None) -> dict[str, object]:
    """What the first upstream of a model gets."""
    content = msgspec.json.encode({"model": "m", **BODIES[path], **fields})
    request = ENDPOINTS[path].read(decode_fields(content, 128), model, len(content), [])
    route = model.routes[0]
    outbound = request.outbound(route.upstream.formats)
    assert outbound is not None
    decoded: dict[str, object] = msgspec.json.decode(encode_fields(outbound.upstream_fields(route, clamped)))
    return decoded


def lengths(body: dict[str, object]) -> dict[str, object]:
    """The fields of a body that some server takes for an output ceiling."""
    return {name: body[name] for name in body if folded(name) in FOLDED_CEILINGS}


@given(kinds, endpoints, st.dictionaries(spellings, st.integers(1, 20_000), max_size=4), st.integers(1, 7_000))
def test_one_ceiling_goes_upstream_under_the_name_that_is_obeyed(
    name: str, path: str, ceilings: dict[str, int], affordable: int
) -> None:
    """Whatever the client called it, at every kind and endpoint: one, of the right name, within what is held (P9)."""
    kind = KINDS[name]
    model = with_kind(kind, "openai.chat", "openai.completions", "openai.responses", "anthropic.messages")
    wire = WIRES[path]
    field = {
        "openai.chat": kind.chat,
        "openai.completions": kind.completions,
        "openai.responses": kind.responses,
        "anthropic.messages": kind.messages,
    }[wire]
    if any(spelling.casefold() != spelling and spelling.casefold() in CEILING_FIELDS for spelling in ceilings):
        return
    given_ceilings = {**{k: v for k, v in BODIES[path].items() if k == "max_tokens"}, **ceilings}
    body = sent(model, path, dict(ceilings))
    if given_ceilings:
        least = min(min(value for value in given_ceilings.values() if isinstance(value, int)), 8_192)
        assert lengths(body) == {field: least}
        assert lengths(sent(model, path, dict(ceilings), min(affordable, least))) == {field: min(affordable, least)}
    else:
        assert lengths(body) == ({field: 8_192} if kind.takes_unnamed_ceiling else {})
        assert lengths(sent(model, path, {}, affordable)) == {field: affordable}


@given(kinds, st.dictionaries(spellings, st.integers(1, 20_000), min_size=1, max_size=3))
def test_a_translated_message_has_one_ceiling_too(name: str, ceilings: dict[str, int]) -> None:
    """An upstream that speaks chats only gets its own field for a request in the other format."""
    kind = KINDS[name]
    body = sent(with_kind(kind, "openai.chat"), "/anthropic/v1/messages", dict(ceilings))
    assert lengths(body) == {
        kind.chat: min(8_192, 8_000 if "max_tokens" not in ceilings else 20_000, *ceilings.values())
    }


@pytest.mark.parametrize("path", sorted(BODIES))
@pytest.mark.parametrize(
    "name",
    sorted({name for kind in KINDS.values() for name in (*kind.costs, *kind.reaches)} | {"min_tokens", "ignore_eos"}),
)
def test_nothing_known_of_any_kind_reaches_a_generic_upstream(name: str, path: str) -> None:
    """Each is refused by its name, however it is written; with a value that changes nothing it is left out (48c)."""
    camel = name.split("_")[0] + "".join(part.capitalize() for part in name.split("_")[1:])
    for spelling in (name, camel):
        with pytest.raises(Refusal) as refused:
            sent(sample_model(), path, {spelling: {"x": 1}})
        assert refused.value.status == 400
        assert refused.value.param == spelling
    # Null asks for nothing, and passes where the format has the field itself.
    assert sent(sample_model(), path, {name: None}).get(name) is None


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_harmless_fields_pass(kind: UpstreamKind, name: str) -> None:
    """No kind keeps back what every client may send, nor what nobody knows."""
    short, rules = folded(name), kept_back_by(frozenset((kind.name,)))
    assert short not in rules.names | rules.opened
    assert not short.startswith(rules.prefixes)
    assert not any(mark in short for mark in CREDENTIAL_MARKS)


def test_generic_keeps_back_what_every_kind_does() -> None:
    """It may be any of them."""
    generic = KINDS[GENERIC].kept_back
    for kind in KINDS.values():
        assert kind.kept_back.names <= generic.names
        assert kind.kept_back.opened <= generic.opened | generic.names
        assert set(kind.kept_back.prefixes) <= set(generic.prefixes)


def test_two_kinds_keep_back_what_each_does() -> None:
    """A call may fail over from one to the other, so what either must not get is refused at once."""
    both = with_kind(KINDS["azure"], "openai.chat")
    both = with_kind(KINDS["groq"], "openai.chat", beside=both)
    for name in ("data_sources", "compound_custom"):
        with pytest.raises(Refusal):
            sent(both, CHAT, {name: {}})
    assert sent(with_kind(KINDS["azure"], "openai.chat"), CHAT, {"compound_custom": {}})["compound_custom"] == {}


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({"num_predict": 9_000}, "options.num_predict"),
        ({"numPredict": 9_000}, "options.numPredict"),
        ({"deep": [{"min_tokens": 1}]}, "options.deep.min_tokens"),
        ({"num_ctx": 100_000}, "options.num_ctx"),
        ({"model": "dear"}, "options.model"),
        ({"aws_session_token": "x"}, "options.aws_session_token"),
        (1, "options"),
        ("{}", "options"),
        ([1], "options"),
    ],
)
@pytest.mark.parametrize("name", ["options", "extra_body", "chat_template_kwargs", "provider_options", "parameters"])
def test_objects_are_looked_into(name: str, value: object, param: str) -> None:
    """A server may read in them what would be refused beside them; what cannot be read is refused."""
    with pytest.raises(Refusal) as refused:
        sent(sample_model(), CHAT, {name: value})
    assert (refused.value.status, refused.value.code) == (400, "unsupported_parameter")
    assert refused.value.param == param.replace("options", name, 1)


@pytest.mark.parametrize("name", ["options", "extra_body", "chat_template_kwargs", "provider_options"])
@pytest.mark.parametrize("value", [{}, {"enable_thinking": False, "temperature": 0.5}])
def test_harmless_objects_pass(name: str, value: object) -> None:
    """Reading them is no reason to refuse them."""
    assert sent(sample_model(), CHAT, {name: value})[name] == value


def test_credentials_never_pass() -> None:
    """To no kind, whatever stands before or behind the word for one."""
    for kind in KINDS.values():
        for name in ("my_api_key", "SomeSecretThing", "vertexCredentials", "x-access-token", "db_password"):
            with pytest.raises(Refusal):
                sent(with_kind(kind, "openai.chat"), CHAT, {name: "x"})


@pytest.mark.parametrize("name", ["n", "best_of"])
@pytest.mark.parametrize("path", ["/v1/responses", "/anthropic/v1/messages"])
def test_one_answer_is_held_where_the_format_has_one(path: str, name: str) -> None:
    """A server that would write several all the same is not asked for them."""
    with pytest.raises(Refusal):
        sent(sample_model(), path, {name: 8}) if path == "/v1/responses" else sent(
            with_kind(KINDS[GENERIC], "anthropic.messages"), path, {name: 8}
        )


@pytest.mark.parametrize("field", ["max_pixels", "min_pixels", "fps", "maxPixels"])
def test_an_images_size_is_not_the_clients_to_say(field: str) -> None:
    """It would count for more tokens than an image holds."""
    part = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}, field: 9_999_999}
    with pytest.raises(Refusal) as refused:
        sent(sample_model(), CHAT, {"messages": [{"role": "user", "content": [part]}]})
    assert refused.value.param == field


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://acme.openai.azure.com/openai/v1", "azure"),
        ("https://acme.services.ai.azure.com/openai/v1", "azure"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://api.deepseek.com/v1", "deepseek"),
        ("https://api.moonshot.ai/v1", "moonshot"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "qwen"),
        ("https://api.z.ai/api/paas/v4", "glm"),
        ("https://api.minimax.io/v1", "minimax"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://API.X.AI/v1", "xai"),
        ("https://api.perplexity.ai", "perplexity"),
        ("https://api.cohere.ai/compatibility/v1", "cohere"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("http://127.0.0.1:11434/v1", None),
        ("https://api.openai.com.evil.example/v1", None),
        ("https://notapi.openai.com/v1", None),
    ],
)
def test_the_kind_of_a_host(url: str, kind: str | None) -> None:
    """A vendor's own host tells its kind; nobody else's does."""
    found = kind_of_host(url)
    assert (None if found is None else found.name) == kind


def test_the_account_in_the_docs_is_the_table() -> None:
    """docs/upstreams.md has each kind with its ceilings, and every field that is kept back from it."""
    page = read("upstreams.md")
    ceilings = {codes(row[0])[0]: row[1:] for row in rows(section(page, "The output ceiling")) if codes(row[0])}
    assert ceilings == {
        name: (
            f"`{kind.chat}`",
            f"`{kind.completions}`",
            f"`{kind.responses}`",
            f"`{kind.messages}`",
            "yes" if kind.takes_unnamed_ceiling else "no",
            "yes" if kind.bounds_reasoning else "no",
            "yes" if kind.bills_after_disconnect else "no",
            f"{kind.image_tokens_max}",
        )
        for name, kind in KINDS.items()
    }
    kept = {
        codes(row[0])[0]: tuple(map(codes, row[1:]))
        for row in rows(section(page, "Fields that are kept back"))
        if codes(row[0])
    }
    assert kept == {
        name: (
            sorted(kind.costs),
            sorted([*kind.reaches, *(f"{prefix}…" for prefix in kind.prefixes)]),
            sorted(kind.opened),
        )
        for name, kind in KINDS.items()
        if name != GENERIC and (kind.costs or kind.reaches or kind.opened)
    }
    everywhere = {name for row in rows(section(page, "At every kind")) for name in codes(row[1])}
    assert {*OVERRIDES, *MORE_ANSWERS, *OTHER_INPUT, *CREDENTIAL_MARKS} <= everywhere
    assert {folded(name) for name in everywhere} >= IMAGE_SIZES
    generic = KINDS[GENERIC]
    shown = set(codes(section(page, "Fields that are kept back")))
    assert {*generic.reaches, *generic.opened, *(f"{prefix}…" for prefix in generic.prefixes)} <= shown
    assert set(CEILING_FIELDS) <= set(codes(section(page, "The output ceiling")))


def test_how_earlier_turns_are_told_is_the_table() -> None:
    """docs/upstreams.md says for each kind what a translated call tells it of earlier turns."""
    table = rows(section(read("upstreams.md"), "Earlier turns of a translated call"))
    told = {codes(row[0])[0]: row[1:] for row in table if codes(row[0])}
    assert told == {
        name: (
            f"`{kind.thought}`" if kind.thought else "none",
            "yes" if kind.needs_thought else "no",
            f"`{kind.begun_mark}`" if kind.begun_mark else "none",
        )
        for name, kind in KINDS.items()
    }
