"""LangChain's ChatOpenAI: a chat, a stream with usage, a tool. Prints what it got as one JSON object."""

import json
import os

from langchain_openai import ChatOpenAI

base, key, model = os.environ["BASE_URL"], os.environ["API_KEY"], os.environ["MODEL"]
chat = ChatOpenAI(model=model, base_url=f"{base}/v1", api_key=key, max_retries=0, stream_usage=True)
tool = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}

whole = chat.invoke("[[write 3]]")
chunks = list(chat.stream("[[write 4]]"))
usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
called = chat.bind_tools([tool]).invoke("[[tool-call]] stars")
print(
    json.dumps(
        {
            "whole": whole.content,
            "whole_tokens": whole.usage_metadata["output_tokens"],
            "streamed": "".join(str(chunk.content) for chunk in chunks),
            "streamed_tokens": sum(one["output_tokens"] for one in usage),
            "tool": [called.tool_calls[0]["name"], called.tool_calls[0]["args"]],
        }
    )
)
