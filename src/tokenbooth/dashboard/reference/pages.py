"""The API reference at `/docs`: the OpenAPI of both planes, as pages of ours and as files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.dashboard.overview import first_model
from tokenbooth.dashboard.reference.data_plane_openapi import data_plane_openapi
from tokenbooth.dashboard.reference.examples import example_body, example_path
from tokenbooth.dashboard.views import Pages

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_MAX_DEPTH: Final = 4

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a body, an answer or a query: its name with those of the objects around it, its type, what it is."""

    name: str
    type: str
    required: bool
    text: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One call."""

    id: str
    method: str
    path: str
    title: str
    text: str
    needs_key: bool
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    answer: tuple[Field, ...]
    errors: tuple[tuple[str, str], ...]
    curl: str


@dataclass(frozen=True, slots=True)
class Section:
    """The calls about one thing."""

    id: str
    name: str
    operations: tuple[Operation, ...]


class ReferencePages(Pages):
    """The reference as a page, and the data plane's description as a file."""

    def routes(self) -> list[Route]:
        return [
            Route("/docs", self.show, methods=["GET"]),
            Route("/docs/data-plane.json", self.data_plane, methods=["GET"]),
        ]

    async def show(self, request: Request) -> Response:
        visitor = await self._web.visitor(request)
        base_url = self._services.settings.server.base_url()
        planes = (
            ("Models", "data", "API key", sections(self._data_plane(), base_url, "$API_KEY")),
            ("Account", "account", "management key", sections(self._web.context.management_openapi(), base_url, "$MK")),
        )
        return self._web.page(request, "docs.html", visitor, planes=planes, example_model=first_model(self._services))

    async def data_plane(self, _: Request) -> Response:
        """The description of the data plane, for programs."""
        text = json.dumps(self._data_plane(), ensure_ascii=False, separators=(",", ":"))
        return Response(text, media_type="application/json")

    def _data_plane(self) -> Json:
        settings = self._services.settings.server
        return data_plane_openapi(settings.base_url(), first_model(self._services), self._web.context.version)


def sections(document: Json, base_url: str, key: str) -> tuple[Section, ...]:
    """What a description says, by its tags, in its own order."""
    found: dict[str, list[Operation]] = {}
    for path, item in _object(document.get("paths")).items():
        for method in _METHODS:
            operation = _object(item).get(method)
            if isinstance(operation, Mapping):
                tags = operation.get("tags")
                tag = str(tags[0]) if isinstance(tags, Sequence) and tags else "other"
                found.setdefault(tag, []).append(_operation(document, path, method, operation, base_url, key))
    return tuple(Section(name.replace(" ", "-"), name, tuple(operations)) for name, operations in found.items())


def _operation(document: Json, path: str, method: str, described: Json, base_url: str, key: str) -> Operation:
    text = str(described.get("description") or described.get("summary") or "")
    body = _json_schema(document, _object(described.get("requestBody")))
    responses = _object(described.get("responses"))
    needs_key = bool(described.get("security"))
    return Operation(
        id=f"{method}-{path.strip('/').replace('/', '-').replace('{', '').replace('}', '')}",
        method=method.upper(),
        path=path,
        title=text.split(".")[0].split(":")[0].strip() or path,
        text=text,
        needs_key=needs_key,
        parameters=tuple(_parameters(document, described)),
        body=tuple(_fields(document, body)),
        answer=tuple(_fields(document, _json_schema(document, _object(responses.get("200")), but=("success", "data")))),
        errors=tuple(
            (status, str(_object(response).get("description", "")))
            for status, response in sorted(responses.items())
            if status not in ("200", "202", "default")
        ),
        curl=_curl(method, path, base_url, key if needs_key else None, example_body(path, method, body)),
    )


def _curl(method: str, path: str, base_url: str, key: str | None, body: str | None) -> str:
    lines = [f"curl {'' if (method in ('get', 'post') and body) or method == 'get' else f'-X {method.upper()} '}"]
    lines[0] += f"{base_url}{example_path(path)}"
    if key is not None:
        lines.append(f'-H "Authorization: Bearer {key}"')
    if body is not None:
        lines += ['-H "Content-Type: application/json"', f"-d '{body}'"]
    return " \\\n  ".join(lines)


def _parameters(document: Json, described: Json) -> Iterator[Field]:
    given = described.get("parameters")
    for one in given if isinstance(given, Sequence) else ():
        parameter = _resolved(document, _object(one))
        name, where = str(parameter.get("name")), str(parameter.get("in"))
        shown = _type(document, _object(parameter.get("schema")))
        yield Field(name, f"{where}, {shown}", bool(parameter.get("required")), str(parameter.get("description", "")))


def _fields(document: Json, schema: Json, prefix: str = "", depth: int = 0) -> Iterator[Field]:
    schema = _main(document, schema)
    required = schema.get("required")
    names = required if isinstance(required, Sequence) else ()
    for name, raw in _object(schema.get("properties")).items():
        one = _resolved(document, _object(raw))
        text = str(one.get("description", ""))
        inner = _main(document, one)
        yield Field(f"{prefix}{name}", _type(document, one), name in names, text)
        if depth < _MAX_DEPTH:
            is_list = inner.get("type") == "array"
            nested = _main(document, _object(inner.get("items"))) if is_list else inner
            if nested.get("properties"):
                yield from _fields(document, nested, f"{prefix}{name}{'[]' if is_list else ''}.", depth + 1)


def _json_schema(document: Json, described: Json, but: tuple[str, ...] = ()) -> Json:
    schema = _object(_object(_object(described.get("content")).get("application/json")).get("schema"))
    resolved = _resolved(document, schema)
    properties = _object(resolved.get("properties"))
    if but and set(but) <= set(properties):
        kept = {name: one for name, one in properties.items() if name not in but}
        # The payload of a list stands under `data` alone.
        return {**resolved, "properties": kept or {"data": properties["data"]}}
    return resolved


def _main(document: Json, schema: Json) -> Json:
    """A schema without its `null`, and without the reference that leads to it."""
    schema = _resolved(document, schema)
    options = schema.get("anyOf")
    if isinstance(options, Sequence):
        left = [_resolved(document, _object(one)) for one in options if _object(one).get("type") != "null"]
        if len(left) == 1:
            return left[0]
    return schema


def _type(document: Json, schema: Json) -> str:
    schema = _resolved(document, schema)
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, Sequence):
        return " or ".join(dict.fromkeys(_type(document, _object(one)) for one in options))
    values = schema.get("enum")
    if isinstance(values, Sequence):
        return " | ".join(f'"{value}"' for value in values)
    if "const" in schema:
        return json.dumps(schema["const"])
    match schema.get("type"):
        case "array":
            return f"list of {_type(document, _object(schema.get('items')))}"
        case str() as name:
            return "time" if schema.get("format") == "date-time" else name
        case _:
            return "any"


def _resolved(document: Json, schema: Json) -> Json:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: object = document
    for part in reference.removeprefix("#/").split("/"):
        found = _object(found).get(part)
    return _object(found)


def _object(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}
