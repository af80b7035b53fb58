"""The description (OpenAPI 3.1) of the data plane: the calls that models answer. Pure.

The gateway reads its requests without such a description, so a test compares the two.
"""

from collections.abc import Mapping
from typing import Final

_Json = dict[str, object]

_MESSAGE: Final[_Json] = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "user", "assistant", "tool"]},
        "content": {"type": "string", "description": "A text, or a list of parts as in OpenAI's API."},
    },
}
_USAGE: Final[_Json] = {
    "type": "object",
    "properties": {
        "prompt_tokens": {"type": "integer", "description": "With the cached ones."},
        "completion_tokens": {"type": "integer", "description": "With the reasoning ones."},
        "total_tokens": {"type": "integer"},
        "cost": {"type": "number", "description": "What was charged, in USD; in the usage event of a stream."},
    },
}
_CEILING: Final[_Json] = {
    "type": "integer",
    "minimum": 1,
    "maximum": 2**31 - 1,
    "description": "A ceiling for the answer.",
}
_ERRORS: Final[Mapping[str, str]] = {
    "400": "The request is wrong, or a parameter would buy something that has no price here.",
    "401": "No API key, or not a valid one.",
    "402": "The key's budget or the credit is spent: `key_budget_exceeded`, `insufficient_credits`.",
    "403": "`account_suspended` or `subscription_inactive`.",
    "404": "There is no such model.",
    "413": "The body is too large.",
    "429": "A limit: `rate_limit_exceeded`, `budget_reserved` or `budget_exceeded`; `retry-after` says how long.",
    "502": "The upstream failed.",
    "503": "Overloaded, or a part of this service is away; try again.",
    "504": "The upstream did not answer in time.",
}


def data_plane_openapi(base_url: str, model: str, version: str) -> _Json:
    """The description.

    Args:
        base_url: where the service is reached.
        model: a model for examples.
        version: of the program.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tokenbooth model API", "version": version},
        "servers": [{"url": base_url}],
        "components": {
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, `sk_live_…`."}
            }
        },
        "security": [{"apiKey": []}],
        "paths": {
            "/v1/chat/completions": {"post": _chat(model)},
            "/v1/responses": {"post": _responses(model)},
            "/v1/completions": {"post": _completions(model)},
            "/v1/embeddings": {"post": _embeddings(model)},
            "/anthropic/v1/messages": {"post": _messages(model)},
            "/anthropic/v1/messages/count_tokens": {"post": _count_tokens(model)},
            "/anthropic/v1/models": {"get": _models()},
            "/v1/models": {"get": _models()},
            "/v1/models/{model}": {"get": _model(model)},
            "/v1/usage": {"get": _usage()},
        },
    }


def _chat(model: str) -> _Json:
    body: _Json = {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": {"type": "string", "examples": [model]},
            "messages": {"type": "array", "items": _MESSAGE},
            "stream": {"type": "boolean", "description": "Send the answer as it is made, as server-sent events."},
            "stream_options": {
                "type": "object",
                "properties": {"include_usage": {"type": "boolean", "description": "Send usage and cost at the end."}},
            },
            "max_tokens": {**_CEILING, "description": "A ceiling for the answer; lowered to what is free."},
            "max_completion_tokens": {**_CEILING, "description": "The same, by its newer name."},
            "temperature": {"type": "number"},
            "tools": {"type": "array", "items": {"type": "object"}},
        },
        "additionalProperties": True,
        "example": {"model": model, "messages": [{"role": "user", "content": "Hello!"}]},
    }
    answer: _Json = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "model": {"type": "string"},
            "choices": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"message": _MESSAGE, "finish_reason": {"type": "string"}},
                },
            },
            "usage": _USAGE,
        },
    }
    text = (
        "Answer a chat. OpenAI's SDKs work with nothing but base URL and key changed; fields that are not named here "
        "are passed on. The answer's header `x-cost-usd` says what it cost, `x-budget-remaining` what is left."
    )
    return _operation("chat", text, answer, body=body)


def _responses(model: str) -> _Json:
    body = _body(model, input={"type": "string", "description": "A text, or a list of items as in OpenAI's API."})
    body["properties"] = {
        **_properties(body),
        "stream": _STREAM,
        "max_output_tokens": _CEILING,
    }
    body["example"] = {"model": model, "input": "Hello!"}
    answer: _Json = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "output": {"type": "array", "items": {"type": "object"}}},
    }
    text = "Answer by OpenAI's newer interface. Nothing is kept here, so an answer cannot be continued by its id."
    return _operation("responses", text, answer, body=body)


def _completions(model: str) -> _Json:
    body = _body(model, prompt={"type": "string", "description": "What to go on from."})
    body["properties"] = {**_properties(body), "stream": _STREAM, "max_tokens": _CEILING}
    body["example"] = {"model": model, "prompt": "Once upon a time"}
    answer: _Json = {
        "type": "object",
        "properties": {"choices": {"type": "array", "items": {"type": "object"}}, "usage": _USAGE},
    }
    return _operation("completions", "Go on with a text.", answer, body=body)


def _embeddings(model: str) -> _Json:
    body = _body(model, input={"type": "string", "description": "A text, or a list of texts."})
    body["example"] = {"model": model, "input": "Hello!"}
    answer: _Json = {
        "type": "object",
        "properties": {"data": {"type": "array", "items": {"type": "object"}}, "usage": _USAGE},
    }
    return _operation("embeddings", "Turn texts into vectors.", answer, body=body)


def _messages(model: str) -> _Json:
    body = _body(
        model,
        max_tokens=_CEILING,
        messages={"type": "array", "items": _MESSAGE, "minItems": 1},
    )
    body["properties"] = {**_properties(body), "system": {"type": "string"}, "stream": _STREAM}
    body["example"] = {"model": model, "max_tokens": 256, "messages": [{"role": "user", "content": "Hello!"}]}
    answer: _Json = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "content": {"type": "array", "items": {"type": "object"}},
            "stop_reason": {"type": "string"},
            "usage": {"type": "object"},
        },
    }
    text = "Answer by Anthropic's interface, on any model. Its SDKs work with the base URL `…/anthropic`."
    return _operation("messages", text, answer, body=body)


def _count_tokens(model: str) -> _Json:
    body = _body(model, messages={"type": "array", "items": _MESSAGE, "minItems": 1})
    body["example"] = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    answer: _Json = {"type": "object", "properties": {"input_tokens": {"type": "integer"}}}
    return _operation("messages", "Count the tokens of a request; free.", answer, body=body)


_STREAM: Final[_Json] = {"type": "boolean", "description": "Send the answer as it is made, as server-sent events."}


def _body(model: str, **required: _Json) -> _Json:
    return {
        "type": "object",
        "required": ["model", *required],
        "properties": {"model": {"type": "string", "examples": [model]}, **required},
        "additionalProperties": True,
    }


def _properties(body: _Json) -> _Json:
    properties = body["properties"]
    assert isinstance(properties, dict)
    return properties


def _models() -> _Json:
    answer: _Json = {"type": "object", "properties": {"data": {"type": "array", "items": _MODEL}}}
    return _operation("models", "List the models that can be called.", answer)


def _model(model: str) -> _Json:
    parameter = {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "examples": [model]},
        "description": "Its name, slashes included.",
    }
    return {**_operation("models", "Show one model.", _MODEL), "parameters": [parameter]}


_MODEL: Final[_Json] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "object": {"type": "string"}, "owned_by": {"type": "string"}},
}


def _usage() -> _Json:
    text = "Show what this key may still spend: its limits, and what is used of them."
    return _operation("usage", text, {"type": "object"})


def _operation(tag: str, text: str, answer: _Json, *, body: _Json | None = None) -> _Json:
    content: _Json = {"application/json": {"schema": answer}}
    if body is not None and "stream" in _properties(body):
        content["text/event-stream"] = {"schema": {"type": "string"}}
    responses: _Json = {"200": {"description": "Done.", "content": content}}
    wanted = _ERRORS if body is not None else {status: _ERRORS[status] for status in ("400", "401", "404", "503")}
    responses |= {status: {"description": said} for status, said in wanted.items()}
    operation: _Json = {
        "tags": [tag],
        "description": text,
        "security": [{"apiKey": []}],
        "responses": responses,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation
