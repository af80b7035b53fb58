"""An upstream that streams although it was not asked to: the client gets one answer."""

from collections.abc import Callable

import msgspec
import pytest

from tokenbooth.gateway.stream_as_whole import chat_answer, completion_answer, message_answer, response_answer

_CHAT_END = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_COMPLETION_END = b'data: {"choices":[{"index":0,"text":"Hi","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_MESSAGE_END = (
    b'data: {"type":"message_start","message":{"role":"assistant"}}\n\n'
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n'
    b'data: {"type":"message_stop"}\n\n'
)
_RESPONSE_END = b'data: {"type":"response.completed","response":{"output":[{"type":"message"}]}}\n\n'
_MORE = (
    b'data: {"error":{"message":"too late"}}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"more"},"text":"more"}]}\n\n',
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"more"}}\n\n',
    b'data: {"type":"response.failed","response":{"error":{"message":"too late"}}}\n\n',
    b'data: {"choices":[{"index":0',
)


@pytest.mark.parametrize("more", _MORE)
@pytest.mark.parametrize(
    ("put_together", "stream"),
    [
        (chat_answer, _CHAT_END),
        (completion_answer, _COMPLETION_END),
        (message_answer, _MESSAGE_END),
        (response_answer, _RESPONSE_END),
    ],
)
def test_what_stands_behind_the_end_is_no_part_of_the_answer(
    put_together: Callable[[bytes], bytes], stream: bytes, more: bytes
) -> None:
    """Neither a text, nor an error, nor half an event; as in an answer that is streamed to its client."""
    assert msgspec.json.decode(put_together(stream + more)) == msgspec.json.decode(put_together(stream))


@pytest.mark.parametrize("index", ["[]", "{}", "null", '"0"', "0.5", "true"])
@pytest.mark.parametrize(
    ("put_together", "stream"),
    [(chat_answer, _CHAT_END), (completion_answer, _COMPLETION_END), (message_answer, _MESSAGE_END)],
)
def test_an_index_that_is_no_number_is_no_error_of_ours(
    put_together: Callable[[bytes], bytes], stream: bytes, index: str
) -> None:
    """What was said stands in the answer all the same."""
    assert b'"Hi"' in put_together(stream.replace(b'"index":0', b'"index":' + index.encode()))
