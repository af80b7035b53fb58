"""Reading completions, embeddings, responses and messages: what decides about the price, and what nobody priced."""

import json
from collections.abc import Callable

import msgspec
import pytest

from tests.support.catalog_samples import SAMPLE_ROUTE, sample_model
from tests.support.gateway.formats import (
    messages_body,
    messages_model,
    read_completions,
    read_embeddings,
    read_messages,
    read_responses,
    sent,
)
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.formats.anthropic.count_tokens import count_tokens_steps
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.formats.json.body import decode_fields, encode_fields
from tokenbooth.gateway.formats.json.steps import at_once
from tokenbooth.gateway.formats.request.stored_state import STATE_FIELDS

Read = Callable[[bytes], PricedRequest]


def refusal_of(read: Read, body: bytes) -> tuple[int, str, str | None]:
    with pytest.raises(Refusal) as refused:
        read(body)
    return refused.value.status, refused.value.code, refused.value.param


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [('"Hi"', 1), ('["a","b","c"]', 3), ("[1,2,3]", 1), ("[[1,2],[3]]", 2), ('["a",[1]]', 2)],
)
def test_prompts_of_completions_are_counted(prompt: str, prompts: int) -> None:
    """Each prompt is answered n times, and each may fill the context."""
    request = read_completions(b'{"model":"m","n":2,"prompt":%s,"max_tokens":9}' % prompt.encode())

    assert (request.prompts, request.choices, request.output_ceiling) == (prompts, 2 * prompts, 9)
    assert request.most_prompt_tokens == prompts * 65_536


@pytest.mark.parametrize(("prompt", "ids"), [("[1,2,3]", 3), ("[[1,2],[3]]", 3), ('["a",[1,2]]', 2), ('"Hi"', 0)])
def test_token_ids_are_counted(prompt: str, ids: int) -> None:
    """They are tokens already, so what was learned of the bytes of texts does not hold for them."""
    assert read_completions(b'{"model":"m","prompt":%s}' % prompt.encode()).parts_tokens == ids


def test_best_of_counts_as_answers() -> None:
    """What the server writes and throws away is paid all the same."""
    assert read_completions(b'{"model":"m","best_of":5,"n":2,"prompt":"Hi"}').choices == 5


def test_completions_go_upstream_with_usage_asked_for() -> None:
    """As chat completions do; a lowered ceiling stands in the only field of this format."""
    request = read_completions(b'{"model":"m","prompt":"Hi","stream":true}')

    assert sent(request, 77) == {
        "model": "upstream-name",
        "prompt": "Hi",
        "stream": True,
        "max_tokens": 77,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("prompt", ["", ',"prompt":null', ',"prompt":[]', ',"prompt":5', ',"prompt":{"a":1}'])
def test_completions_need_a_prompt(prompt: str) -> None:
    """400 that names the field."""
    status, code, param = refusal_of(read_completions, b'{"model":"m"%s}' % prompt.encode())

    assert (status, code, param) == (400, "missing_prompt", "prompt")


@pytest.mark.parametrize("prompt", ["[[1,1],[3],3]", "[3,[1,1]]", "[[1] , 3,[2]]", "[[1],[2],-3]", "[ 3, 4, [1]]"])
def test_an_id_among_lists_is_refused(prompt: str) -> None:
    """Some server might take it for a prompt of its own, which nobody would have counted."""
    assert refusal_of(read_completions, b'{"model":"m","prompt":%s}' % prompt.encode())[1] == "invalid_parameter"


@pytest.mark.parametrize("blanks", [1_048_570, 1_048_571, 1_048_572, 1_048_573, 1_048_574, 1_048_575])
def test_an_id_among_lists_is_found_wherever_a_long_list_is_cut(blanks: int) -> None:
    """Long lists are searched in pieces."""
    lists, mixed = (b"[%b[1],[2]%b]" % (b" " * blanks, end) for end in (b",[3]", b",3"))

    assert read_completions(b'{"model":"m","prompt":%b}' % lists).prompts == 3
    assert refusal_of(read_completions, b'{"model":"m","prompt":%b}' % mixed)[1] == "invalid_parameter"


@pytest.mark.parametrize("prompt", ["[true]", '[{"image":"x"}]', '["a",null]', "[" + ",".join(['"a"'] * 2_049) + "]"])
def test_other_prompts_are_refused(prompt: str) -> None:
    """Nothing but texts and token ids, and no more than can be priced."""
    assert refusal_of(read_completions, b'{"model":"m","prompt":%s}' % prompt.encode()) == (
        400,
        "invalid_parameter",
        "prompt",
    )


def test_embeddings_have_no_output() -> None:
    """Only the inputs are held for, each as long as the context at most."""
    request = read_embeddings(b'{"model":"m","input":["a","b"],"dimensions":8}')

    assert (request.output_ceiling, request.floor_tokens, request.prompts) == (0, 0, 2)
    assert sent(request) == {"model": "upstream-name", "input": ["a", "b"], "dimensions": 8}


def test_embeddings_cannot_be_streamed() -> None:
    """There is no such thing."""
    assert refusal_of(read_embeddings, b'{"model":"m","input":"a","stream":true}')[2] == "stream"


@pytest.mark.parametrize(
    ("read", "minimum"),
    [
        (read_completions, b'"prompt":"Hi"'),
        (read_embeddings, b'"input":"Hi"'),
        (read_responses, b'"input":"Hi"'),
        (read_messages, b'"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]'),
    ],
    ids=["completions", "embeddings", "responses", "messages"],
)
@pytest.mark.parametrize(
    "name", ["service_tier", "web_search_options", "provider", "container", "previous_response_id"]
)
def test_what_nobody_priced_is_refused_in_every_format(read: Read, minimum: bytes, name: str) -> None:
    """The same names are refused everywhere, and the same harmless values pass (48c)."""
    body = b'{"model":"m",%s,"%s":%s}'

    assert refusal_of(read, body % (minimum, name.encode(), b'"x"')) == (400, "unsupported_parameter", name)
    assert read(body % (minimum, name.encode(), b"null")).fields[name] == msgspec.Raw(b"null")


@pytest.mark.parametrize(
    ("read", "body", "param"),
    [
        (read_completions, b'{"model":"m","prompt":"a","Max_Tokens":5}', "Max_Tokens"),
        (read_embeddings, b'{"model":"m","input":"a","INPUT":"b"}', "INPUT"),
        (read_responses, b'{"model":"m","input":"a","Max_Output_Tokens":5}', "Max_Output_Tokens"),
        (read_messages, messages_body(Thinking=1), "Thinking"),
    ],
)
def test_money_in_other_letters_is_refused(read: Read, body: bytes, param: str) -> None:
    """A name that some server would read as another is never passed on (48b)."""
    assert refusal_of(read, body) == (400, "invalid_parameter", param)


def test_responses_are_never_stored() -> None:
    """The format's default is to store, so it is always told not to."""
    request = read_responses(b'{"model":"m","input":"Hi","max_output_tokens":50,"stream_options":{"a":1}}')

    assert sent(request, 20) == {"model": "upstream-name", "input": "Hi", "max_output_tokens": 20, "store": False}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ('"store":true', "store"),
        ('"background":true', "background"),
        ('"conversation":"c"', "conversation"),
        ('"prompt":{"id":"p"}', "prompt"),
        ('"context_management":[]', "context_management"),
        ('"moderation":{"model":"x"}', "moderation"),
        ('"tools":[{"type":"web_search"}]', "tools.web_search"),
        ('"tools":[{"type":"function"},{"type":"mcp"}]', "tools.mcp"),
        ('"tools":[{}]', "tools"),
        ('"tools":[{"type":"namespace","name":"n","tools":[{"type":"mcp"}]}]', "tools.mcp"),
        ('"tools":[{"type":"shell"}]', "tools.shell"),
        ('"tools":[{"type":"shell","environment":{"type":"container_auto"}}]', "tools.shell"),
        ('"tools":[{"type":"tool_search"}]', "tools.tool_search"),
        *((f'"{name}":"x"', name) for name in sorted(STATE_FIELDS)),
    ],
)
def test_state_and_hosted_tools_of_responses_are_refused(fields: str, param: str) -> None:
    """What would buy something beside tokens, or reach what somebody stored (48c)."""
    body = b'{"model":"m","input":"Hi",%s}' % fields.encode()

    assert refusal_of(read_responses, body) == (400, "unsupported_parameter", param)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ('{"type":"item_reference","id":"x"}', "input.item_reference"),
        ('{"type":"mcp_call"}', "input.mcp_call"),
        ('{"role":"user","content":[{"type":"input_image","file_id":"f"}]}', "file_id"),
        ('{"role":"user","content":[{"type":"input_file","file_data":"x"}]}', "content.input_file"),
        ('{"type":"function_call_output","output":[{"type":"input_audio"}]}', "content.input_audio"),
        ('{"type":"message","type":"item_reference"}', "input.item_reference"),
        ('{"id":"msg_x"}', "input.item_reference"),
        ('{"\\u0069d":"msg_x"}', "input.item_reference"),
        ('{"id":"msg_x","type":null}', "input.item_reference"),
        ('{"id":"msg_x","type":""}', "input.item_reference"),
        ('{"id":"msg_x","type":5}', "input.item_reference"),
        ('{"id":"msg_x","status":"completed"}', "input.item_reference"),
        ('{"id":"msg_x","content":"a"}', "input.item_reference"),
        ('{"id":"msg_x","role":"user"}', "input.item_reference"),
        ('{"id":"msg_x","role":"user","content":null}', "input.item_reference"),
        ('{"id":"msg_x","role":"user","content":{}}', "input.item_reference"),
        ('{"id":"msg_x","call_id":"c","output":"a"}', "input.item_reference"),
        ('{"id":"msg_x","type":"message"}', "input.item_reference"),
        ('{"id":"msg_x","type":"message","role":"assistant","content":null}', "input.item_reference"),
        ('{"id":"fc_x","type":"function_call","call_id":"c","name":"f"}', "input.item_reference"),
        ('{"id":"rs_x","type":"reasoning"}', "input.item_reference"),
        ('{"role":"user","content":{"type":"input_image","file_id":"f"}}', "file_id"),
        ('{"role":"user","content":[{"type":"input_text","text":"a","file_id":"f"}]}', "file_id"),
        ('{"role":"user","content":[{"type":"input_image","image_url":{"file_id":"f"}}]}', "file_id"),
        ('{"role":"user","content":[{"type":"input_image","image":{"file_id":"f"}}]}', "file_id"),
        ('{"role":"user","content":"a","file_ids":["f"]}', "file_ids"),
        ('{"type":"function_call_output","call_id":"c","output":{"type":"input_file","file_id":"f"}}', "file_id"),
    ],
)
def test_stored_and_unpriced_items_are_refused(item: str, param: str) -> None:
    """An item that refers to something stored, or is of a kind that nobody priced."""
    assert refusal_of(read_responses, b'{"model":"m","input":[%s]}' % item.encode()) == (
        400,
        "unsupported_parameter",
        param,
    )


@pytest.mark.parametrize(
    "item",
    [
        '{"id":"msg_x","role":"user","content":"a"}',
        '{"id":"msg_x","role":"assistant","content":[]}',
        (
            '{"id":"msg_x","type":"message","role":"assistant","content":[{"type":"output_text","text":"a",'
            '"annotations":[{"type":"file_citation","file_id":"f"}]}]}'
        ),
        '{"id":"fc_x","type":"function_call","call_id":"c","name":"f","arguments":""}',
        '{"id":"fc_x","type":"function_call_output","call_id":"c","output":""}',
        '{"id":"rs_x","type":"reasoning","summary":[],"encrypted_content":"e"}',
        '{"id":"rs_x","type":"reasoning","summary":[{"type":"summary_text","text":"a"}]}',
        '{"id":"lc_x","type":"local_shell_call","call_id":"c","action":{"type":"exec","command":["ls"]}}',
        '{"role":"user","content":"a","metadata":{"conversation_id":"c"},"file_ids":[]}',
        '{"type":"function_call","call_id":"c","name":"f","arguments":"{\\"file_id\\":\\"f\\"}"}',
    ],
)
def test_an_item_that_says_what_it_is_passes(item: str) -> None:
    """Its id is a name for what stands beside it, and what a tool is called with is nobody's file."""
    request = read_responses(b'{"model":"m","input":[%s]}' % item.encode())

    assert sent(request)["input"] == [json.loads(item)]


def test_reasoning_that_says_nothing_is_left_out() -> None:
    """Clients tell it back with nothing but its id; the upstream would look that up."""
    body = b'{"model":"m","input":[{"role":"user","content":"a"},{"id":"rs_x","type":"reasoning","summary":[]}]}'

    assert sent(read_responses(body))["input"] == [{"role": "user", "content": "a"}]


def test_what_the_operator_allows_may_be_referred_to() -> None:
    """Each kind of reference by its own name."""
    body = b'{"model":"m","input":[{"id":"x"},{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]}'
    assert read_responses(body, sample_model("input.item_reference", "file_id")).parts_tokens == 2_000
    with pytest.raises(Refusal) as refused:
        read_responses(body, sample_model("file_id"))
    assert refused.value.param == "input.item_reference"


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ('{"type":"file_search","vector_store_ids":["v"]}', None),
        ('{"type":"code_interpreter","container":{"type":"auto"}}', None),
        ('{"type":"mcp","connector_id":"c"}', None),
        ('{"type":"code_interpreter","container":"cntr_1"}', "container"),
        ('{"type":"code_interpreter","container":{"type":"auto","file_ids":["f"]}}', "file_ids"),
        ('{"type":"shell","environment":{"type":"container_auto","skills":[{"skill_id":"s"}]}}', "skills"),
        ('{"type":"shell","environment":{"type":"container_reference","container_id":"c"}}', "container_id"),
        ('{"type":"function","name":"f","parameters":{"properties":{"file_id":{"type":"string"}}}}', None),
    ],
)
def test_a_hosted_tool_brings_what_it_needs_and_no_more(tool: str, param: str | None) -> None:
    """A tool that the operator allows may not name another customer's container."""
    model = sample_model("tools.file_search", "tools.code_interpreter", "tools.shell", "tools.mcp")
    body = b'{"model":"m","input":"a","tools":[%s]}' % tool.encode()
    if param is None:
        assert sent(read_responses(body, model))["tools"] == [json.loads(tool)]
        return
    with pytest.raises(Refusal) as refused:
        read_responses(body, model)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "item",
    [
        '{"Type":"item_reference"}',
        '{"role":"user","content":[{"type":"input_image","image_url":"u","File_Id":"f"}]}',
    ],
)
def test_items_in_other_letters_are_refused(item: str) -> None:
    """What some server would read as a name that we looked for (48b)."""
    assert refusal_of(read_responses, b'{"model":"m","input":[%s]}' % item.encode())[:2] == (400, "invalid_parameter")


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (read_responses, b'{"model":"m","input":"Hi","tools":[{"type":"function","Type":"web_search"}]}'),
        (read_messages, messages_body(tools=[{"name": "a", "Type": "web_search_20250305"}])),
    ],
)
def test_tools_in_other_letters_are_refused(read: Read, body: bytes) -> None:
    """Some servers read names in any letters (48b)."""
    assert refusal_of(read, body) == (400, "invalid_parameter", "tools")


def test_nested_duplicates_collapse() -> None:
    """What was read is what is sent, also inside the settings for thinking (48b)."""
    body = b'{"model":"m","max_tokens":9000,"messages":[{"role":"user","content":"Hi"}],"thinking":%s}'
    thinking = b'{"type":"enabled","budget_tokens":1024,"budget_tokens":2000}'
    request = read_messages(body % thinking)

    assert request.floor_tokens == 3_024
    assert bytes(request.upstream_fields(SAMPLE_ROUTE, None)["thinking"]) == b'{"type":"enabled","budget_tokens":2000}'


def test_images_of_responses_count_by_the_piece() -> None:
    """The bytes of an image are no text, and what it costs at most is known."""
    url = "data:image/png;base64," + "A" * 5_000
    body = msgspec.json.encode(
        {"model": "m", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}
    )
    request = read_responses(body)

    assert (request.text_bytes, request.parts_tokens) == (len(body) - len(url), 2_000)


def test_a_messages_request() -> None:
    """Its own outbound request for an upstream of its format, with the version that the client speaks."""
    body = messages_body(system="Be kind.", stream=True, top_k=5)
    request = read_messages(
        body, headers=[(b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"x, pdfs-2024-09-25")]
    )
    outbound = request.outbound(frozenset(("anthropic.messages", "openai.chat")))

    assert outbound is request
    assert (request.path, request.credential, request.text_bytes) == ("/messages", "x-api-key", len(body))
    assert request.headers() == {"anthropic-version": "2023-06-01", "anthropic-beta": "pdfs-2024-09-25"}
    assert sent(request, 300) == {
        "model": "upstream-name",
        "max_tokens": 300,
        "messages": [{"role": "user", "content": "Hi"}],
        "system": "Be kind.",
        "stream": True,
        "top_k": 5,
    }


def test_a_beta_passes_when_the_model_allows_it() -> None:
    """One that changes a price is the operator's decision."""
    request = read_messages(
        messages_body(), messages_model("anthropic-beta.context-1m"), [(b"anthropic-beta", b"context-1m,other")]
    )

    assert request.headers()["anthropic-beta"] == "context-1m"


@pytest.mark.parametrize(
    ("fields", "floor"),
    [
        ({}, 256),
        ({"thinking": {"type": "disabled"}}, 256),
        ({"thinking": {"type": "adaptive"}}, 4_096),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, 3_024),
    ],
)
def test_thinking_needs_room(fields: dict[str, object], floor: int) -> None:
    """The budget for thinking is part of the ceiling, so a lowered ceiling leaves room behind it."""
    assert read_messages(messages_body(**fields)).floor_tokens == floor


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"speed": "fast"}, "speed"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"fallbacks": []}, "fallbacks"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.web_search_20250305"),
        ({"tools": [{"name": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}, "cache_control.ttl"),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, "cache_control.ttl"),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"ttl": "1h"}}]}, "cache_control.ttl"),
    ],
)
def test_what_costs_more_in_the_messages_format_is_refused(fields: dict[str, object], param: str) -> None:
    """Faster, elsewhere, cached for longer, searched for: all of it has another price (48c)."""
    assert refusal_of(read_messages, messages_body(**fields)) == (400, "unsupported_parameter", param)


@pytest.mark.parametrize(
    ("block", "param"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "file_id"),
        ({"type": "container_upload", "file_id": "f"}, "content.container_upload"),
        ({"type": "web_search_tool_result", "content": []}, "content.web_search_tool_result"),
        ({"type": "tool_result", "content": [{"type": "document", "source": {"type": "file"}}]}, "file_id"),
        ({"type": "text", "text": "a", "cache_control": {"ttl": "1h"}}, "cache_control.ttl"),
        ({"type": "text", "text": "a", "file_id": "f"}, "file_id"),
        ({"type": "text", "text": "a", "source": {"type": "file", "file_id": "f"}}, "file_id"),
        ({"type": "image", "source": {"type": "url", "url": "u", "file_id": "f"}}, "file_id"),
        ({"type": "image", "file_id": "f"}, "file_id"),
        ({"type": "tool_result", "content": [{"type": "image", "source": {"type": "file"}}]}, "file_id"),
        (
            {
                "type": "document",
                "source": {"type": "content", "content": [{"type": "image", "source": {"type": "file"}}]},
            },
            "file_id",
        ),
    ],
)
def test_blocks_that_nobody_priced_are_refused(block: dict[str, object], param: str) -> None:
    """Stored files, uploads, and what another maker's tools found."""
    body = messages_body(messages=[{"role": "user", "content": [block]}])

    assert refusal_of(read_messages, body) == (400, "unsupported_parameter", param)


def test_blocks_that_are_no_text_count_by_the_piece() -> None:
    """Images at the most that one may cost, pages as long as the context, also inside the result of a tool."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 900}}
    pages = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "B" * 700}}
    content = [image, {"type": "tool_result", "tool_use_id": "t", "content": [image]}, pages]
    body = messages_body(messages=[{"role": "user", "content": content}])
    request = read_messages(body)

    assert request.text_bytes == len(body) - 2 * 900 - 700
    assert request.parts_tokens == 2 * 2_000 + 65_536


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}', "missing_max_tokens"),
        (b'{"model":"m","max_tokens":5}', "missing_messages"),
        (b'{"model":"m","max_tokens":5,"messages":[]}', "missing_messages"),
        (b'{"model":"m","max_tokens":5,"messages":["Hi"]}', "invalid_parameter"),
        (b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":5}]}', "invalid_parameter"),
        (b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":["Hi"]}]}', "invalid_parameter"),
        (b'{"model":"m","max_tokens":5,"messages":[{"role":"user","Content":"Hi"}]}', "invalid_parameter"),
        (b'{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"Hi"}]}', "invalid_parameter"),
        (b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"system":[5]}', "invalid_parameter"),
    ],
)
def test_malformed_messages_are_refused(body: bytes, code: str) -> None:
    """400 with what is wrong, before anything is held."""
    assert refusal_of(read_messages, body)[:2] == (400, code)


def test_tokens_are_counted_without_a_ceiling() -> None:
    """Four bytes a token, an image at the most that it may cost, and never more than the context."""
    body = b'{"model":"m","messages":[{"role":"user","content":"Hello"}]}'

    def count(body: bytes) -> object:
        return msgspec.json.decode(at_once(count_tokens_steps(decode_fields(body, 128), sample_model(), len(body), [])))

    assert count(body) == {"input_tokens": -(-len(body) // 4)}
    assert count(messages_body(system="x" * 400_000)) == {"input_tokens": 65_536}


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (read_responses, b'{"model":"m","input":[{"role":"user","content":"a","x":%s}]}'),
        (read_responses, b'{"model":"m","input":[{"role":"user","content":[{"type":"input_text","x":%s}]}]}'),
        (read_messages, b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a","x":%s}]}'),
        (
            read_messages,
            b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"a","x":%s}]}]}',
        ),
    ],
)
def test_a_reference_is_no_first_of_two(read: Read, body: bytes) -> None:
    """A server that takes the first of two would read another value than the one that was looked at."""
    sent_on = encode_fields(read(body % b'{"file_id":"f","file_id":null}').fields)

    assert b'{"file_id":null}' in sent_on
    assert b'"f"' not in sent_on


@pytest.mark.parametrize("value", [b'{"x":{"n":9},"x":2}', b'{"a":[0,{"x":{"n":9},"x":2}]}', b'{"a":{"n":9},"a":{}}'])
def test_nor_is_what_an_opened_object_holds(value: bytes) -> None:
    """Each name of it stands there once, in lists too."""
    fields = read_responses(b'{"model":"m","input":"a","extra_body":%s}' % value).fields

    assert b"9" not in bytes(fields["extra_body"])
    assert msgspec.json.decode(fields["extra_body"]) == msgspec.json.decode(value)


def test_an_opened_object_is_small() -> None:
    """All names of it are looked at, so that it is as small as settings are."""
    body = b'{"model":"m","input":"a","extra_body":{"a":"%s"}}' % (b"x" * 65_536)

    assert refusal_of(read_responses, body) == (400, "invalid_parameter", "extra_body")


# Codex: openai/codex#32318 (namespaces). Shell, apply_patch, custom tools with a grammar: OpenAI's responses reference.
@pytest.mark.parametrize(
    "tool",
    [
        '{"type":"namespace","name":"mcp__foo","description":"d","tools":[{"type":"function","name":"f"}]}',
        '{"type":"namespace","name":"n","tools":[]}',
        '{"type":"function","name":"f","strict":true,"parameters":{"type":"object"}}',
        '{"type":"custom","name":"f","format":{"type":"grammar","syntax":"lark","definition":"start: x"}}',
        '{"type":"local_shell"}',
        '{"type":"shell","environment":{"type":"local"}}',
        '{"type":"apply_patch"}',
        '{"type":"tool_search","execution":"client","description":"d","parameters":{"type":"object"}}',
    ],
)
def test_tools_that_the_client_runs_pass(tool: str) -> None:
    """They cost nothing beside their tokens."""
    request = read_responses(b'{"model":"m","input":"Hi","tools":[%s]}' % tool.encode())

    assert sent(request)["tools"] == [json.loads(tool)]


@pytest.mark.parametrize(
    "item",
    [
        '{"type":"tool_search_output","call_id":"c","execution":"client","tools":[{"type":"mcp"}]}',
        '{"type":"tool_search_output","call_id":"c","tools":[{"type":"namespace","name":"n","tools":[{"type":"mcp"}]}]}',
    ],
)
def test_hosted_tools_that_a_search_found_are_refused(item: str) -> None:
    """They would be offered to the model like those of `tools`."""
    body = b'{"model":"m","input":[%s]}' % item.encode()

    assert refusal_of(read_responses, body) == (400, "unsupported_parameter", "tools.mcp")


def test_what_a_shell_of_the_client_said_passes() -> None:
    """It is text."""
    item = {
        "type": "shell_call_output",
        "call_id": "c",
        "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
    }
    request = read_responses(b'{"model":"m","input":[%s]}' % json.dumps(item).encode())

    assert sent(request)["input"] == [item]
