"""Every text that a stranger can send, with what no database keeps in it: a 400, and never a mistake of ours."""

import hashlib
import hmac
import json
import re
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from tests.support.command import running, tokenbooth
from tests.support.postgres import Postgres
from tests.support.raw_client import RawClient
from tokenbooth import dashboard
from tokenbooth.dashboard import (
    account,
    auto_topup,
    billing,
    home,
    invoices,
    keys,
    login,
    operator,
    overview,
    usage,
    usdc,
)
from tokenbooth_sandbox.demo_texts import MODEL

NUL: Final = "a\0b"
ODD: Final = {
    "nul": NUL,
    "control": "a\x01\r\n\x1b\x7f\N{RIGHT-TO-LEFT OVERRIDE}b",
    "long": "9\N{GREEK SMALL LETTER ALPHA}" * 2_000,
}
SURROGATE: Final = "a\ud800b"
# A provider that is away or slow is no mistake of ours.
NOT_OURS: Final = (502, 503, 504)
ADMIN: Final = ("admin@example.com", "correct horse battery")
PAGES: Final = (
    home.HomePages, login.LoginPages, overview.OverviewPages, keys.KeyPages, usage.UsagePages, billing.BillingPages,
    auto_topup.AutoTopUpPages, usdc.UsdcPages, invoices.InvoicePages, account.AccountPages, operator.OperatorPages,
)  # fmt: skip
# With these the visitor would be gone.
ENDS_THE_LOG_IN: Final = ("/logout", "/dashboard/account/sessions/end")
QUERY_NAMES: Final = (
    "q",
    "page",
    "key",
    "month",
    "after",
    "next",
    "done",
    "pays",
    "checkout",
    "from",
    "to",
    "by",
    "group",
)


@dataclass(frozen=True, slots=True)
class Booth:
    """A demo on one of the databases.

    Attributes:
        api: a client with a management key.
        models: a client with an API key.
        visitor: a client that an administrator is logged in with.
        webhook_secret, stripe_key: of its sandbox.
    """

    api: httpx.Client
    models: httpx.Client
    visitor: httpx.Client
    webhook_secret: str
    stripe_key: str


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def booth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booth]:
    """A demo that counts no calls, on each of the databases."""
    home = tmp_path_factory.mktemp("demo")
    env = {
        "TOKENBOOTH_MANAGEMENT__REQUESTS_PER_MINUTE": "1000000",
        "TOKENBOOTH_DASHBOARD__ATTEMPTS_PER_MINUTE": "1000000",
    }
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        env["TOKENBOOTH_STORE__URL"] = server.new_database(empty=True)
    with ExitStack() as opened, running("demo", "--port", "0", cwd=home, find_url=_ready, env=env):
        known = json.loads((home / "tokenbooth-demo" / "demo.json").read_text(encoding="utf-8"))
        stripe = tomllib.loads((home / "tokenbooth-demo" / "tokenbooth.toml").read_text(encoding="utf-8"))["stripe"]
        (home / "password").write_text(ADMIN[1], encoding="utf-8")
        config = ("--config", "tokenbooth-demo/tokenbooth.toml")
        made = tokenbooth(
            "account", "create", "--email", ADMIN[0], "--admin", "--password-file", "password", *config,
            cwd=home, env=env,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        base_url = str(known["baseUrl"])
        api = opened.enter_context(_client(base_url, authorization=f"Bearer {known['managementKey']}"))
        key = api.post("/api/keys/credit", json={"name": "probe"}).json()["apiKey"]
        models = opened.enter_context(_client(base_url, authorization=f"Bearer {key}"))
        visitor = opened.enter_context(_client(base_url, origin=base_url))
        assert visitor.post("/login", data={"email": ADMIN[0], "password": ADMIN[1]}).status_code == 303
        yield Booth(api, models, visitor, stripe["webhook_secrets"][0], stripe["secret_key"])


def _client(base_url: str, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=base_url, headers=headers, timeout=60)


def _ready(output: str, _log: str) -> str | None:
    return "ready" if "Ctrl-C stops it" in output else None


def _is_fine(answer: httpx.Response) -> bool:
    return answer.status_code < 500 or answer.status_code in NOT_OURS


def _mistakes(answers: Mapping[str, httpx.Response], *, expected: int | None = None) -> list[str]:
    """What was answered as it must not be; `expected` is the status of all of them."""
    return [
        f"{answer.status_code} {what}: {answer.text[:200]}"
        for what, answer in answers.items()
        if (not _is_fine(answer) if expected is None else answer.status_code != expected)
    ]


def _operations(booth: Booth) -> list[tuple[str, str, dict[str, Any]]]:
    document = booth.api.get("/openapi.json").json()
    found = [(method, path, spec) for path, item in document["paths"].items() for method, spec in item.items()]
    assert len(found) > 25
    return [(method, path, _with_body(document, spec)) for method, path, spec in found]


def _with_body(document: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """The operation, with the properties of its body under `fields`."""
    schema = spec.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return {**spec, "fields": schema.get("properties", {})}


def _sample(schema: Mapping[str, Any]) -> object:
    """A value that is well formed, for the fields beside the odd one."""
    one = next((option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"), schema)
    match one.get("type"):
        case "integer" | "number":
            return 20
        case "boolean":
            return True
        case "array":
            return ["keys:read"]
        case _:
            return "20"


def _path(template: str, text: str) -> str:
    return re.sub(r"\{[^}]+\}", quote(text, safe=""), template)


def _api_answers(booth: Booth, text: str) -> dict[str, httpx.Response]:
    """The answers to every operation with the text in each of its places."""
    asked: dict[str, httpx.Response] = {}
    for method, path, spec in _operations(booth):
        name = f"{method.upper()} {path}"
        body = {field: _sample(schema) for field, schema in spec["fields"].items()} or None
        if "{" in path:
            asked[name] = booth.api.request(method, _path(path, text), json=body)
        plain = _path(path, "x")
        parameters = [one["name"] for one in spec.get("parameters", []) if one["in"] == "query"]
        for parameter in [*parameters, "unknown"]:
            asked[f"{name}?{parameter}"] = booth.api.request(method, plain, params={parameter: text}, json=body)
        for field in spec["fields"]:
            for shape in ("text", "list"):
                odd = {**(body or {}), field: text if shape == "text" else [text]}
                content, headers = json.dumps(odd), {"content-type": "application/json"}
                asked[f"{name} {field} as {shape}"] = booth.api.request(method, plain, content=content, headers=headers)
        if body is not None:
            content = json.dumps({**body, text: "x"})
            headers = {"content-type": "application/json"}
            asked[f"{name} as a name"] = booth.api.request(method, plain, content=content, headers=headers)
    return asked


def test_a_nul_in_a_call_of_the_api_is_400(booth: Booth) -> None:
    """In each parameter of the path and the query, in each field and as a name, whatever the field's type is."""
    asked = _api_answers(booth, NUL)
    assert len(asked) > 100
    assert _mistakes(asked, expected=400) == []


@pytest.mark.parametrize("kind", ["control", "long", "surrogate"])
def test_no_text_of_the_api_is_a_mistake_of_ours(booth: Booth, kind: str) -> None:
    """Control characters, half characters, endless texts and numbers."""
    if kind == "surrogate":
        assert _mistakes(_api_bodies(booth, SURROGATE), expected=400) == []
    else:
        assert _mistakes(_api_answers(booth, ODD[kind])) == []


def _api_bodies(booth: Booth, text: str) -> dict[str, httpx.Response]:
    asked = {}
    headers = {"content-type": "application/json"}
    for method, path, spec in _operations(booth):
        body = {field: _sample(schema) for field, schema in spec["fields"].items()}
        for field in body:
            content = json.dumps({**body, field: text})
            asked[f"{method} {path} {field}"] = booth.api.request(
                method, _path(path, "x"), content=content, headers=headers
            )
    return asked


def _page_routes() -> list[tuple[str, str]]:
    """Every method and path of the dashboard, but what only shows the reference."""
    web = _Paths()
    routes = [route for page in PAGES for route in page(web).routes()]  # type: ignore[arg-type]  # its routes alone
    return [(method, route.path) for route in routes for method in sorted((route.methods or set()) - {"HEAD"})]


class _Paths:
    """Stands for `Web` while routes are listed: nothing of it is called."""

    def __getattr__(self, name: str) -> "_Paths":
        return self

    def __call__(self, *_: object, **__: object) -> "_Paths":
        return self


def _form_names() -> list[str]:
    """Every name of a field in the templates."""
    templates = Path(dashboard.__file__).parent / "templates"
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(templates.rglob("*.html")))
    names = sorted(set(re.findall(r' name="([A-Za-z_]+)"', text)) - {"viewport"})
    assert len(names) > 10
    return names


def _page_answers(booth: Booth, text: str) -> dict[str, httpx.Response]:
    asked: dict[str, httpx.Response] = {}
    for method, path in _page_routes():
        if path in ENDS_THE_LOG_IN and text != NUL:
            continue
        name, plain = f"{method} {path}", _path(path, "x")
        if "{" in path:
            asked[name] = booth.visitor.request(
                method, _path(path, text), data={"once": "ab"} if method == "POST" else None
            )
        if method == "GET":
            for parameter in QUERY_NAMES:
                asked[f"{name}?{parameter}"] = booth.visitor.get(plain, params={parameter: text})
            continue
        for field in _form_names():
            form = {"once": "ab", field: text}
            asked[f"{name} {field}"] = booth.visitor.post(plain, data=form)
    return asked


def test_a_nul_in_a_page_or_a_form_is_400(booth: Booth) -> None:
    """In each part of a path, each parameter and each field of each form."""
    asked = _page_answers(booth, NUL)
    assert len(asked) > 500
    assert _mistakes(asked, expected=400) == []


@pytest.mark.parametrize("kind", ["control", "long"])
def test_no_text_of_a_page_or_a_form_is_a_mistake_of_ours(booth: Booth, kind: str) -> None:
    """Control characters, endless texts and numbers."""
    assert _mistakes(_page_answers(booth, ODD[kind])) == []


@pytest.mark.parametrize("face", ["/v1", "/anthropic/v1"])
def test_a_nul_in_a_call_of_the_data_plane_is_400(booth: Booth, face: str) -> None:
    """In the path, doubly encoded too, and in the name of the model; what a prompt holds is not ours to judge."""
    call = "/v1/chat/completions" if face == "/v1" else "/anthropic/v1/messages"
    message = {"messages": [{"role": "user", "content": NUL}], "max_tokens": 5}
    asked = {
        "model": booth.models.get(f"{face}/models/a%00b"),
        "model, encoded twice": booth.models.get(f"{face}/models/a%2500b"),
        "no route": booth.models.get(f"{face}/a%00b"),
        "no route for POST": booth.models.post(f"{face}/a%00b", json={}),
        "name of a model": booth.models.post(call, json={**message, "model": NUL}),
        "half a character": booth.models.post(
            call, content=json.dumps({**message, "model": SURROGATE}), headers={"content-type": "application/json"}
        ),
    }
    assert _mistakes(asked, expected=400) == []
    # Without credit: the prompt was read, and nothing in it was wrong.
    assert booth.models.post(call, json={**message, "model": MODEL}).status_code == 402


def test_a_nul_in_a_header_or_a_target_is_400(booth: Booth) -> None:
    """The bytes themselves are no HTTP, whoever the path belongs to."""
    port = booth.api.base_url.port
    assert port is not None
    for path in ("/v1/models", "/api/plans", "/login", "/_sandbox/stripe/v1/prices"):
        for head in (f"GET {path}?a\0b HTTP/1.1\r\nhost: x", f"GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: a\0b"):
            with RawClient(port) as client:
                assert client.send(f"{head}\r\n\r\n".encode()).answer().status == 400


def test_an_event_with_a_nul_is_refused_before_it_is_acknowledged(booth: Booth) -> None:
    """In what we keep of an event; in all other places it changes nothing, and the event is stored."""
    answers = [_deliver(booth, event) for event in (_event(id=NUL), _event(type=NUL), _event(object_id=SURROGATE))]
    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert _deliver(booth, _event(id="evt_odd", description=NUL, customer_name=SURROGATE)).status_code == 200


def _event(**changed: str) -> dict[str, object]:
    given = {"id": "evt_1", "type": "product.created", "object_id": "prod_1", **changed}
    subject = {"object": "product", "id": given.pop("object_id")}
    more = {name: given.pop(name) for name in tuple(given) if name not in ("id", "type")}
    data = {"object": {**subject, **more}}
    return {"object": "event", "livemode": False, "created": int(time.time()), "data": data, **given}


def _deliver(booth: Booth, event: Mapping[str, object]) -> httpx.Response:
    raw, now = json.dumps(event).encode(), str(int(time.time()))
    signature = hmac.new(booth.webhook_secret.encode(), now.encode() + b"." + raw, hashlib.sha256).hexdigest()
    headers = {"stripe-signature": f"t={now},v1={signature}", "content-type": "application/json"}
    return booth.api.post("/api/webhooks/stripe", content=raw, headers=headers)


@pytest.mark.parametrize("text", [NUL, ODD["control"], ODD["long"]], ids=["nul", "control", "long"])
def test_no_text_of_the_sandbox_is_a_mistake_of_ours(booth: Booth, text: str) -> None:
    """Its pages, its API and what drives it."""
    at = "/_sandbox/stripe"
    page = booth.api.post("/api/billing/topup", json={"amount": 20, "method": "stripe"}).json()["sessionUrl"]
    form, bearer = (
        {"content-type": "application/x-www-form-urlencoded"},
        {"authorization": f"Bearer {booth.stripe_key}"},
    )
    asked = {
        "page": booth.visitor.get(f"{at}/{quote(text, safe='')}"),
        "card": booth.visitor.post(page, data={"card": text}),
        "name of a field": booth.visitor.post(page, content=f"{quote(text)}=x", headers=form),
        "object": booth.api.get(f"{at}/v1/customers/{quote(text, safe='')}", headers=bearer),
        "new object": booth.api.post(f"{at}/v1/customers", data={"name": text, "email": text}, headers=bearer),
        "search": booth.api.get(f"{at}/v1/customers", params={"email": text}, headers=bearer),
        "control": booth.api.post(f"{at}/_control/{quote(text, safe='')}", json={"a": text}),
        "control's body": booth.api.post(f"{at}/_control/advance", content=json.dumps({"a": SURROGATE})),
        "chain": booth.api.post(
            "/_sandbox/chain", json={"jsonrpc": "2.0", "id": text, "method": text, "params": [text]}
        ),
        "chain's halves": booth.api.post("/_sandbox/chain", content=json.dumps({"id": SURROGATE, "method": SURROGATE})),
    }
    assert _mistakes(asked) == []
