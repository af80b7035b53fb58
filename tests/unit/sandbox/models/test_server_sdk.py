"""The demo's model server as OpenAI's official SDK sees it."""

from collections.abc import Iterator

import openai
import pytest

from tests.support.servers import serve
from tokenbooth_sandbox.models import create_model_server

KEY = "fake-upstream-key"
MODEL = "deepseek-chat"


@pytest.fixture
def base_url() -> Iterator[str]:
    with serve(create_model_server(KEY, models=[MODEL])) as url:
        yield f"{url}/v1"


@pytest.fixture
def sdk(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        yield client


def test_sdk_reads_an_answer(sdk: openai.OpenAI) -> None:
    """The SDK parses text, finish reason and every usage number."""
    answer = sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "[[think 2]] [[write 3]]"}])

    assert answer.choices[0].message.content == "One token after"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2


def test_sdk_reads_a_stream(sdk: openai.OpenAI) -> None:
    """The SDK joins a stream's tokens to the text and finds the usage at its end."""
    with sdk.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "[[write 3]]"}],
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)

    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    usages = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage is not None]
    assert (text, usages) == ("One token after", [3])


def test_sdk_joins_a_streamed_tool_call(sdk: openai.OpenAI) -> None:
    """The SDK's accumulating stream rebuilds a tool call from its pieces."""
    with sdk.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "[[tool-call]] rain in Rome"}],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {}}}],
    ) as stream:
        answer = stream.get_final_completion()

    (call,) = answer.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", '{"query":"rain in Rome"}')


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("[[fail 400]]", openai.BadRequestError),
        ("[[fail 429]] [[retry-after 1]]", openai.RateLimitError),
        ("[[fail 503]]", openai.InternalServerError),
        ("[[stop-after 0]]", openai.APIConnectionError),
    ],
)
def test_sdk_raises_its_own_errors(sdk: openai.OpenAI, directive: str, error: type[openai.APIError]) -> None:
    """Told failures arrive as the SDK's typed errors."""
    with pytest.raises(error):
        sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": directive}])


def test_sdk_raises_an_error_event(sdk: openai.OpenAI) -> None:
    """An error event in mid-stream is an exception in the SDK's loop."""
    messages = "[[write 9]] [[error-after 2]]"
    with (
        sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": messages}], stream=True
        ) as stream,
        pytest.raises(openai.APIError, match="told to fail"),
    ):
        list(stream)


def test_sdk_lists_models(sdk: openai.OpenAI) -> None:
    """The SDK's model list has what was configured."""
    assert [model.id for model in sdk.models.list()] == [MODEL]


async def test_async_sdk_reads_a_stream(base_url: str) -> None:
    """The asynchronous SDK works the same."""
    async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "[[write 4]]"}], stream=True
        )
        text = "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])

    assert text == "One token after the"
