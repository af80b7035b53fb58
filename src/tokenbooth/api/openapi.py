"""What the OpenAPI document says of a route, from the models that read its request and render its answer."""

from collections.abc import Mapping
from types import GenericAlias
from typing import Final, Literal, Union, cast

from fastapi import Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, JsonValue, create_model

from tokenbooth.kit.request_models import RequestModel

Responses = dict[int | str, dict[str, object]]

CREDENTIAL: Final = Security(
    HTTPBearer(
        scheme_name="managementKey",
        description="A management key, `mk_…`, with the scope that the operation needs.",
        auto_error=False,
    )
)
"""For a router's `dependencies`: it documents the credential; `auth.authenticate` is what asks for it."""


class ErrorDetail(BaseModel):
    """What went wrong: for people, for programs, and the field it is about."""

    message: str
    type: str
    code: str
    param: str | None
    id: str | None = Field(None, description="With `key_already_created`: the key that was created.")


class ErrorAnswer(BaseModel):
    """The envelope of every error."""

    success: Literal[False]
    error: ErrorDetail


_ERRORS: Final[Mapping[int, str]] = {
    400: "The request is wrong; `error.param` names the field.",
    401: "No valid management key.",
    402: "Money is missing.",
    403: "The key lacks the scope, or the account is suspended.",
    404: "There is no such thing in this account.",
    409: "The state does not allow it; `x-should-retry` is false.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    422: "Well formed, but it cannot be done.",
    429: "Too many requests; see `retry-after`.",
    502: "The payment provider failed.",
    503: "Something is away or not configured.",
    504: "The payment provider did not answer in time.",
}
_OF_EVERY_ROUTE: Final = (401, 403, 429, 503)
_OF_EVERY_BODY: Final = (400, 409, 413, 415)


def object_answer(payload: type[BaseModel], *errors: int, body: bool = False, public: bool = False) -> Responses:
    """The responses of a route whose payload is an object, which stands at the top level and under `data`.

    Args:
        payload: the payload.
        errors: statuses beside those of every route.
        body: whether the route reads a body.
        public: whether it needs no credential.
    """
    model = create_model(
        f"{payload.__name__}Answer", __base__=payload, success=(Literal[True], ...), data=(payload, ...)
    )
    return _responses(model, errors, body=body, public=public)


def stripe_answer(payload: type[BaseModel], *errors: int) -> Responses:
    """The responses of a route that reads a body and asks Stripe; else as `object_answer`."""
    return object_answer(payload, *errors, 502, 504, body=True)


def either(one: Responses, other: Responses) -> Responses:
    """The responses of a route whose success has one of two payloads."""
    first, second = cast("type[BaseModel]", one[200]["model"]), cast("type[BaseModel]", other[200]["model"])
    return {**other, **one, 200: {**one[200], "model": Union[first, second]}}  # noqa: UP007


def or_accepted(responses: Responses, payload: type[BaseModel], description: str) -> Responses:
    """The responses with 202 beside 200, for work that has not ended."""
    accepted = object_answer(payload)[200]
    return {**responses, 202: {**accepted, "description": description}}


def or_file(responses: Responses, media_type: str) -> Responses:
    """The responses with a file of this type as another form of the payload."""
    return {**responses, 200: {**responses[200], "content": {media_type: {"schema": {"type": "string"}}}}}


def list_answer(item: type[BaseModel], *errors: int, public: bool = False) -> Responses:
    """The responses of a route whose payload is a list, which is under `data` only."""
    items = cast("type[list[BaseModel]]", GenericAlias(list, (item,)))
    model = create_model(f"{item.__name__}ListAnswer", success=(Literal[True], ...), data=(items, ...))
    return _responses(model, errors, body=False, public=public)


def json_body(model: type[BaseModel]) -> dict[str, JsonValue]:
    """For `openapi_extra`: the body of a POST, and its `Idempotency-Key`."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": model.model_json_schema()}},
        },
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Repetitions of this request within 24 hours get the same answer.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            }
        ],
    }


def query_parameters(model: type[RequestModel]) -> dict[str, JsonValue]:
    """For `openapi_extra`: the query parameters that a model reads."""
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": schema["description"],
                "schema": _given(schema),
            }
            for name, schema in model.model_json_schema()["properties"].items()
        ]
    }


def _given(schema: dict[str, JsonValue]) -> JsonValue:
    """The schema of an optional parameter that is there: a query string knows no null."""
    options = schema.get("anyOf")
    if isinstance(options, list):
        return options[0]
    return {key: value for key, value in schema.items() if key not in ("title", "description")}


def _responses(model: type[BaseModel], errors: tuple[int, ...], *, body: bool, public: bool) -> Responses:
    statuses = {*errors, *(() if public else _OF_EVERY_ROUTE), *(_OF_EVERY_BODY if body else ())}
    responses: Responses = {200: {"model": model, "description": "Done."}}
    for status in sorted(statuses):
        responses[status] = {"model": ErrorAnswer, "description": _ERRORS[status]}
    responses["default"] = {"model": ErrorAnswer, "description": "Any other error."}
    return responses
