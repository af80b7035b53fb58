"""litellm as a client of both faces. Prints what it got as one JSON object; runs in an environment of its own."""

import json
import os

import litellm

base, key, model = os.environ["BASE_URL"], os.environ["API_KEY"], os.environ["MODEL"]
openai = {"model": f"openai/{model}", "api_base": f"{base}/v1", "api_key": key, "num_retries": 0}
claude = {"model": f"anthropic/{model}", "api_base": f"{base}/anthropic", "api_key": key, "num_retries": 0}


def asked(text: str) -> list[dict[str, str]]:
    """One user message."""
    return [{"role": "user", "content": text}]


whole = litellm.completion(**openai, messages=asked("[[write 3]]"))
chunks = litellm.completion(**openai, messages=asked("[[write 4]]"), stream=True)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
message = litellm.completion(**claude, messages=asked("[[write 5]]"), max_tokens=50)
pieces = litellm.completion(**claude, messages=asked("[[write 4]]"), max_tokens=50, stream=True)
message_streamed = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
vectors = litellm.embedding(
    model=f"openai/{model}", api_base=f"{base}/v1", api_key=key, input=["a", "b"], encoding_format="float"
)
try:
    litellm.completion(**{**openai, "model": "openai/no/such"}, messages=asked("Hi"))
    refused = ""
except litellm.NotFoundError as error:
    refused = type(error).__name__
print(
    json.dumps(
        {
            "whole": whole.choices[0].message.content,
            "streamed": streamed,
            "message": message.choices[0].message.content,
            "message_tokens": message.usage.completion_tokens,
            "message_streamed": message_streamed,
            "vectors": len(vectors.data),
            "refused": refused,
        }
    )
)
