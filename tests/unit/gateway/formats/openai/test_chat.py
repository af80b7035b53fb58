"""Reading a chat request: what decides about its price, and what is refused because nobody priced it."""

import msgspec
import pytest

from tests.support.catalog_samples import SAMPLE_ROUTE, sample_model
from tokenbooth.config.catalog import Model
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.json.body import decode_fields, encode_fields
from tokenbooth.gateway.formats.openai.chat import ChatRequest, model_name, read_chat_request
from tokenbooth.gateway.formats.request.stored_state import STATE_FIELDS

MESSAGES = b'"messages":[{"role":"user","content":"Hello"}]'
CUT_BYTES = 2_000


def read(body: bytes, model: Model | None = None) -> ChatRequest:
    """The request of a body as the route reads it."""
    return read_chat_request(decode_fields(body, 128), model or sample_model(), len(body))


def with_field(field: bytes) -> bytes:
    return b'{"model":"m",' + MESSAGES + b"," + field + b"}"


def with_parts(*parts: bytes) -> bytes:
    return b'{"model":"m","messages":[{"role":"user","content":[' + b",".join(parts) + b"]}]}"


def refusal_of(body: bytes, model: Model | None = None) -> Refusal:
    with pytest.raises(Refusal) as refused:
        read(body, model)
    return refused.value


def attempt(body: bytes) -> ChatRequest | Refusal:
    """The request, or why it was refused."""
    try:
        return read(body)
    except Refusal as refusal:
        return refusal


def sent(request: ChatRequest, clamped: int | None = None) -> dict[str, object]:
    """What the upstream gets."""
    decoded: dict[str, object] = msgspec.json.decode(encode_fields(request.upstream_fields(SAMPLE_ROUTE, clamped)))
    return decoded


def test_a_plain_request() -> None:
    """The defaults: one choice, the model's own ceiling, all bytes are text."""
    body = with_field(b'"temperature":0.5')
    request = read(body)

    assert (request.stream, request.choices, request.ceiling_named, request.output_ceiling) == (False, 1, False, 8_192)
    assert (request.text_bytes, request.extra_tokens, request.floor_tokens) == (len(body), 64, 256)
    assert sent(request) == {
        "model": "upstream-name",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.5,
    }


@pytest.mark.parametrize("body", [b"{}", b'{"model":null}', b'{"model":5}', b'{"model":""}', b'{"model":["m"]}'])
def test_a_body_without_a_model(body: bytes) -> None:
    """400 that says what is missing."""
    with pytest.raises(Refusal) as refused:
        model_name(decode_fields(body, 128))

    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "missing_model", "model")


def test_the_last_model_counts() -> None:
    """Of two models the one that is sent on is the one that is priced (48b)."""
    assert model_name(decode_fields(b'{"model":"cheap","model":"dear"}', 128)) == "dear"


@pytest.mark.parametrize(
    ("limits", "ceiling"),
    [
        (b'"max_tokens":100', 100),
        (b'"max_completion_tokens":100', 100),
        (b'"max_tokens":100,"max_completion_tokens":50', 50),
        (b'"max_tokens":50,"max_completion_tokens":100', 50),
        (b'"max_tokens":null,"max_completion_tokens":9', 9),
        (b'"max_tokens":5,"max_tokens":7', 7),
        (b'"max_t\\u006fkens":5', 5),
        (b'"max_tokens":5,"n_predict":8000', 5),
        (b'"n_predict":5,"num_predict":6,"maxOutputTokens":7', 5),
    ],
)
def test_output_limits(limits: bytes, ceiling: int) -> None:
    """Of all names the smallest value counts, and only the name that the upstream obeys is sent (48b)."""
    request = read(with_field(limits))
    upstream = sent(request)

    assert (request.ceiling_named, request.output_ceiling) == (True, ceiling)
    assert {name: upstream[name] for name in upstream if name not in ("model", "messages")} == {"max_tokens": ceiling}


@pytest.mark.parametrize("name", [b"max_tokens", b"max_completion_tokens", b"n_predict"])
def test_a_ceiling_that_is_null_is_none(name: bytes) -> None:
    """It is not sent, and the model's maximum is what is held."""
    request = read(with_field(b'"%s":null' % name))

    assert (request.ceiling_named, request.output_ceiling) == (False, 8_192)
    assert sent(request).keys() == {"model", "messages"}


@pytest.mark.parametrize("value", [b"0", b"-1", b"1.5", b"true", b'"5"', b"[]", b"1e400", b"9" * 400, b"9" * 5_000])
@pytest.mark.parametrize("name", [b"max_tokens", b"max_completion_tokens", b"n"])
def test_numbers_that_are_none(name: bytes, value: bytes) -> None:
    """What decides about money is a positive integer or refused by its name."""
    refusal = refusal_of(with_field(b'"%s":%s' % (name, value)))

    assert (refusal.status, refusal.param) == (400, name.decode())


def test_a_lowered_ceiling_is_sent_in_the_upstreams_field() -> None:
    """Whatever the client called it; and none is sent when nobody named one and nothing was lowered."""
    newer = sample_model(output_limit_field="max_completion_tokens")

    assert sent(read(with_field(b'"max_completion_tokens":9')), 5)["max_tokens"] == 5
    assert sent(read(with_field(b'"max_tokens":9'), newer), 5)["max_completion_tokens"] == 5
    assert sent(read(with_field(b'"seed":1')), 5)["max_tokens"] == 5
    assert sent(read(with_field(b'"seed":1'), newer), 5)["max_completion_tokens"] == 5


def test_a_ceiling_above_the_models_is_priced_as_it_is_sent() -> None:
    """An upstream that can do more than the configured maximum is never asked for more than was priced."""
    request = read(with_field(b'"max_tokens":1000000'))

    assert request.output_ceiling == 8_192
    assert sent(request)["max_tokens"] == 8_192


def test_every_choice_is_counted() -> None:
    """`n` answers are n times the output."""
    assert read(with_field(b'"n":4')).choices == 4


def test_best_of_is_counted_or_refused() -> None:
    """A server that makes twenty answers to choose one of them is paid for twenty, or the field is refused."""
    request = attempt(with_field(b'"best_of":20'))

    assert isinstance(request, Refusal) or request.choices == 20


@pytest.mark.parametrize(("reasoning", "field"), [(True, b'"seed":1'), (False, b'"reasoning_effort":"high"')])
def test_reasoning_needs_a_higher_floor(reasoning: bool, field: bytes) -> None:
    """A model that thinks gets room to think."""
    assert read(with_field(field), sample_model(reasoning=reasoning)).floor_tokens == 4_096


@pytest.mark.parametrize(
    ("fields", "wanted", "options"),
    [
        (b'"stream":true', False, {"include_usage": True}),
        (b'"stream":true,"stream_options":null', False, {"include_usage": True}),
        (b'"stream":true,"stream_options":{"include_usage": true }', True, {"include_usage": True}),
        (b'"stream":true,"stream_options":{"include_usage":false}', False, {"include_usage": True}),
        (b'"stream":true,"stream_options":{"x":1}', False, {"include_usage": True, "x": 1}),
        (
            b'"stream":true,"stream_options":{"include_usage":true,"include_usage":false}',
            False,
            {"include_usage": True},
        ),
    ],
)
def test_usage_is_always_asked_for_in_a_stream(fields: bytes, wanted: bool, options: dict[str, object]) -> None:
    """Whatever the client says, the upstream reports; whether the client sees it is its choice."""
    request = read(with_field(fields))

    assert (request.stream, request.wants_usage) == (True, wanted)
    assert sent(request)["stream_options"] == options


@pytest.mark.parametrize(
    "fields", [b'"stream_options":{"include_usage":true}', b'"stream":false,"stream_options":{}', b'"stream":null']
)
def test_stream_options_never_reach_a_call_that_is_not_streamed(fields: bytes) -> None:
    """Upstreams refuse them there."""
    request = read(with_field(fields))

    assert (request.stream, request.wants_usage) == (False, False)
    assert "stream_options" not in sent(request)


@pytest.mark.parametrize("fields", [b'"stream":1', b'"stream":"true"', b'"stream":true,"stream_options":5'])
def test_malformed_stream_fields(fields: bytes) -> None:
    """Refused by name."""
    assert refusal_of(with_field(fields)).status == 400


@pytest.mark.parametrize(
    "name",
    [
        "Model",
        "MAX_TOKENS",
        "Max_Completion_Tokens",
        "Stream",
        "stream_Options",
        "N",
        "Best_Of",
        "Tools",
        "Messages",
        "Service_Tier",
        "STORE",
        "Web_Search_Options",
        # The Kelvin sign and the long s, which some decoders take for k and s.
        "max_to\u212aens",
        "max_token\u017f",
        "\u017ftream",
        "\u017fervice_tier",
        "\u017ftore",
        "me\u017f\u017fage\u017f",
    ],
)
def test_names_in_other_letters_are_refused(name: str) -> None:
    """An upstream that ignores case would run another request than the one that was priced (48b)."""
    refusal = refusal_of(with_field(msgspec.json.encode(name) + b":1"))

    assert (refusal.status, refusal.code, refusal.param) == (400, "invalid_parameter", name)


REFUSED = (
    "audio",
    "background",
    "container",
    "conversation",
    "file_id",
    "mcp_servers",
    "models",
    "plugins",
    "preset",
    "previous_response_id",
    "prompt",
    "provider",
    "route",
    "routing",
    "service_tier",
    "store",
    "transforms",
    "web_search",
    "web_search_options",
)


@pytest.mark.parametrize("name", REFUSED)
def test_what_nobody_priced_is_refused_by_name(name: str) -> None:
    """Each is refused, allowed where the configuration says so, and harmless when it is null (48c)."""
    body = with_field(b'"%s":{"x":1}' % name.encode())
    refusal = refusal_of(body)

    assert (refusal.status, refusal.code, refusal.param) == (400, "unsupported_parameter", name)
    assert sent(read(body, sample_model(name)))[name] == {"x": 1}
    assert read(with_field(b'"%s":null' % name.encode())).choices == 1


@pytest.mark.parametrize(
    "field",
    [
        # xAI's live search and DashScope's web search are billed by source or by call.
        b'"search_parameters":{"mode":"on"}',
        b'"enable_search":true',
        # LiteLLM's routing: another model, another server, another body than the one that was priced.
        b'"fallbacks":[{"model":"dear"}]',
        b'"api_base":"http://127.0.0.1"',
        b'"base_url":"http://127.0.0.1"',
        b'"extra_body":{"max_tokens":100000}',
    ],
)
def test_other_ways_to_buy_more_are_refused(field: bytes) -> None:
    """Web search and routing under the names of other servers are refused too (48c)."""
    assert refusal_of(with_field(field)).code == "unsupported_parameter"


@pytest.mark.parametrize("field", [b'"service_tier":"default"', b'"store":false', b'"background": false '])
def test_defaults_of_refused_fields_pass(field: bytes) -> None:
    """The SDKs may send what is the default anyway."""
    assert read(with_field(field)).choices == 1


@pytest.mark.parametrize("field", [b'"service_tier":"priority"', b'"service_tier":"auto"', b'"store":true'])
def test_other_values_of_them_do_not(field: bytes) -> None:
    """A faster tier has another price, and stored answers are readable by others."""
    assert refusal_of(with_field(field)).code == "unsupported_parameter"


@pytest.mark.parametrize(
    ("field", "passes"),
    [(b'["text"]', True), (b"null", True), (b'["text","audio"]', False), (b'["image"]', False), (b'"audio"', False)],
)
def test_modalities(field: bytes, passes: bool) -> None:
    """Text only, unless the model's configuration prices more."""
    body = with_field(b'"modalities":' + field)
    if not passes:
        assert refusal_of(body).param == "modalities"

    assert read(body, sample_model("modalities")).choices == 1


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        (b'{"type":"web_search"}', "tools.web_search"),
        (b'{"type":"code_interpreter"}', "tools.code_interpreter"),
        (b'{"type":"mcp","server_url":"http://127.0.0.1"}', "tools.mcp"),
        (b'{"type":"builtin_function","function":{"name":"$web_search"}}', "tools.builtin_function"),
        (b'{"type":"function","type":"web_search"}', "tools.web_search"),
        (b'{"type":"function","\\u0074ype":"web_search"}', "tools.web_search"),
        (b'{"Type":"web_search"}', "tools"),
        (b'{"type":null}', "tools"),
        (b'{"type":5}', "tools"),
        (b'{"type":[]}', "tools"),
        (b'{"type":{}}', "tools"),
        (b'"web_search"', "tools"),
    ],
)
def test_hosted_tools_are_refused(tool: bytes, param: str) -> None:
    """Tools that run at the upstream cost beside tokens; a malformed one is a 400, never a 500."""
    refusal = refusal_of(with_field(b'"tools":[%s]' % tool))

    assert (refusal.status, refusal.code, refusal.param) == (400, "unsupported_parameter", param)


def test_tools_of_the_client_pass() -> None:
    """Functions and custom tools are text; a hosted one passes where it is allowed; null is none."""
    function = b'{"type":"web_search","type":"function","function":{"name":"f"}}'

    assert sent(read(with_field(b'"tools":[%s]' % function)))["tools"] == [
        {"type": "function", "function": {"name": "f"}}
    ]
    assert read(with_field(b'"tools":[{"type":"web_search"}]'), sample_model("tools.web_search")).choices == 1
    assert sent(read(with_field(b'"tools":null')))["tools"] is None


@pytest.mark.parametrize("tools", [b"{}", b'"function"', b"5"])
def test_tools_that_are_no_list(tools: bytes) -> None:
    """400 by name."""
    assert refusal_of(with_field(b'"tools":' + tools)).param == "tools"


def test_messages_are_needed() -> None:
    """Without messages there is nothing to do."""
    assert refusal_of(b'{"model":"m"}').code == "missing_messages"
    assert refusal_of(b'{"model":"m","messages":{"type":1}}').param == "messages"


def test_text_parts_are_text() -> None:
    """Every byte of them may become a token."""
    body = with_parts(b'{"type":"text","text":"Hello"}', b'{"type":"refusal","refusal":"No"}')

    assert (read(body).text_bytes, read(body).extra_tokens) == (len(body), 64)


@pytest.mark.parametrize("wrapped", [True, False])
def test_images_count_as_tokens_not_as_text(wrapped: bool) -> None:
    """An image costs the model's maximum for one, and its data is no text."""
    url = b"data:image/png;base64," + b"A" * CUT_BYTES
    image = b'{"type":"image_url","image_url":' + (b'{"url":"%s"}' % url if wrapped else b'"%s"' % url) + b"}"
    body = with_parts(image, b'{"type":"text","text":"What is it?"}', image)
    request = read(body)

    assert request.extra_tokens == 64 + 2 * 2_000
    assert request.text_bytes == len(body) - 2 * len(url)


def test_of_two_types_the_last_is_priced_and_sent() -> None:
    """A part that is text and an image at once is what the upstream reads last (48b)."""
    request = read(with_parts(b'{"type":"text","\\u0074ype":"image_url","image_url":{"url":"u"}}'))

    assert request.extra_tokens == 64 + 2_000
    assert sent(request)["messages"] == [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}
    ]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (b'{"type":"input_audio","input_audio":{"data":"x","format":"wav"}}', "content.input_audio"),
        (b'{"type":"file","file":{"file_id":"file-1"}}', "content.file"),
        (b'{"type":"video_url","video_url":{"url":"u"}}', "content.video_url"),
        (b'{"\\u0074ype":"file","file":{"file_id":"file-1"}}', "content.file"),
        (b'{"type":null,"image_url":"u"}', "messages"),
        (b'{"type":[]}', "messages"),
        (b'{"type":{}}', "messages"),
    ],
)
def test_unpriced_parts_are_refused(part: bytes, param: str) -> None:
    """Audio, files and what is unknown; a malformed type is a 400, never a 500 (48c)."""
    refusal = refusal_of(with_parts(part))

    assert (refusal.status, refusal.code, refusal.param) == (400, "unsupported_parameter", param)


def test_an_allowed_unknown_part_may_fill_the_context() -> None:
    """What cannot be measured counts as the longest prompt."""
    body = with_parts(b'{"type":"video_url","video_url":{"url":"u"}}')

    assert read(body, sample_model("content.video_url")).extra_tokens == 64 + 65_536


@pytest.mark.parametrize(
    "messages",
    [
        # Some servers (vLLM among them) tell a part's type from its other names when `type` is missing.
        b'[{"role":"user","content":[{"image_url":{"url":"http://127.0.0.1/a.png"}}]}]',
        b'[{"role":"user","content":[{"video_url":{"url":"http://127.0.0.1/a.mp4"}}]}]',
        # Servers that ignore the case of names read these as an image.
        b'[{"role":"user","content":[{"Type":"image_url","image_url":{"url":"u"}}]}]',
        b'[{"role":"user","Content":[{"Type":"image_url","Image_Url":{"url":"u"}}]}]',
        b'[{"role":"user","Content":[{"type":"image_url","image_url":{"url":"u"}}]}]',
    ],
)
def test_disguised_parts_are_priced_or_refused(messages: bytes) -> None:
    """A part that an upstream may take for an image is refused, or counted as one (48c)."""
    request = attempt(b'{"model":"m","messages":%s}' % messages)

    assert isinstance(request, Refusal) or request.extra_tokens >= 64 + 2_000


@pytest.mark.parametrize(
    "message",
    [
        b'{"role":"assistant","audio":{"id":"audio_1"}}',
        b'{"role":"user","content":[{"type":"image_url","image_url":{"file_id":"file-1"}}]}',
        b'{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"},"file_id":"file-1"}]}',
        b'{"role":"user","content":[{"type":"text","text":"a","file_id":"file-1"}]}',
        b'{"role":"user","content":[{"type":"text","text":"a","image":{"file_id":"file-1"}}]}',
        b'{"role":"user","content":[{"type":"text","text":"a","File_ID":"file-1"}]}',
        b'{"role":"user","content":"a","file_ids":["file-1"]}',
        b'{"role":"user","content":"a","container":{"id":"c"}}',
    ],
)
def test_references_to_stored_things_are_refused(message: bytes) -> None:
    """Files and answers stored in the operator's account may be another customer's (48c)."""
    assert refusal_of(b'{"model":"m","messages":[%s]}' % message).status == 400


def test_messages_with_huge_numbers_are_a_clear_error() -> None:
    """A number that cannot be read is a 400."""
    assert refusal_of(b'{"model":"m","messages":[{"content":[{"type":1e400}]}]}').status == 400


@pytest.mark.parametrize("name", sorted(STATE_FIELDS))
def test_references_beside_the_messages_are_refused_by_name(name: str) -> None:
    """Also those of other makers' formats; the operator may allow each of them."""
    refusal = refusal_of(with_field(b'"%s":"x"' % name.encode()))
    assert (refusal.code, refusal.param) == ("unsupported_parameter", name)
    assert sent(read(with_field(b'"%s":"x"' % name.encode()), sample_model(name)))[name] == "x"


def test_a_file_and_its_reference_are_allowed_apart() -> None:
    """Who may send files may not read those of others."""
    by_id, whole = b'{"type":"file","file":{"file_id":"f"}}', b'{"type":"file","file":{"file_data":"x"}}'
    assert read(with_parts(whole), sample_model("content.file")).extra_tokens == 64 + 65_536
    assert refusal_of(with_parts(by_id), sample_model("content.file")).param == "file_id"
    assert read(with_parts(by_id), sample_model("content.file", "file_id")).extra_tokens == 64 + 65_536
    spoken = b'{"model":"m","messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}'
    assert refusal_of(spoken, sample_model("content.input_audio")).param == "messages.audio"
