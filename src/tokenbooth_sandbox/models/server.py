"""The model server's ASGI application: routes, the bearer check, pace and failure on demand.

It must never log a prompt or listen by itself; the composition root and tests create it.
"""

import hmac
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
from starlette.types import Receive, Scope, Send

from tokenbooth_sandbox.models.answer import compose
from tokenbooth_sandbox.models.chat_request import ApiError, ChatRequest
from tokenbooth_sandbox.models.directives import Interruption
from tokenbooth_sandbox.models.exchange import BodyTooLargeError, ClientGoneError, Exchange
from tokenbooth_sandbox.models.forms import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Form
from tokenbooth_sandbox.models.other_replies import embeddings_body, message_error
from tokenbooth_sandbox.models.other_requests import parse_embeddings
from tokenbooth_sandbox.models.recording import RecordedRequest
from tokenbooth_sandbox.models.reply import Reply
from tokenbooth_sandbox.models.tokens import PrefixCache, count_prompt_tokens

MAX_BODY_BYTES = 64 * 1024 * 1024
_MAX_RECORDED = 1_000
_CACHED_BLOCKS = 65_536
# A stream without pauses lets other requests run after this many tokens.
_TOKENS_PER_TURN = 16
_FORMS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/messages": MESSAGES,
    "/v1/responses": RESPONSES,
}
_TOLD_TO_FAIL = "The demo model server was told to fail."


def create_model_server(
    api_key: str | None,
    *,
    models: Sequence[str] = (),
    record: bool = False,
    max_recorded: int = _MAX_RECORDED,
    now_s: Callable[[], float] = time.time,
) -> "ModelServer":
    """Builds the demo's upstream.

    Args:
        api_key: the bearer token that every request must carry; None takes any request.
        models: the names that exist; empty takes any name.
        record: keeps the newest requests in `ModelServer.requests` and serves them at `GET /_requests`.
        max_recorded: how many requests are kept.
        now_s: the time for `created`, in seconds since 1970.
    """
    return ModelServer(api_key, tuple(models), deque(maxlen=max_recorded) if record else None, now_s)


class ModelServer:
    """An ASGI application; see `create_model_server`."""

    def __init__(
        self,
        api_key: str | None,
        models: tuple[str, ...],
        recorded: deque[RecordedRequest] | None,
        now_s: Callable[[], float],
    ) -> None:
        self._authorization = None if api_key is None else f"Bearer {api_key}".encode()
        self._models = models
        self._recorded = recorded
        self._now_s = now_s
        self._prefixes = PrefixCache(_CACHED_BLOCKS)

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The newest recorded requests, oldest first; empty if the server does not record."""
        return tuple(self._recorded or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._serve_http(scope, receive, send)
            case "lifespan":
                await _serve_lifespan(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1003, "reason": "HTTP only"})

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = f"req_{uuid.uuid4().hex}"
        headers = [(b"x-request-id", request_id.encode()), (b"openai-organization", b"demo-models")]
        exchange = Exchange(scope, receive, send, headers)
        record: RecordedRequest | None = None
        try:
            body = await exchange.read_body(MAX_BODY_BYTES)
            record = RecordedRequest(exchange.method, exchange.path, exchange.headers, body)
            if self._recorded is not None and exchange.path != "/_requests":
                self._recorded.append(record)
            await self._route(exchange, record)
        except BodyTooLargeError:
            await exchange.answer(413, ApiError(413, "The request's body is too large.").body())
        except ApiError as error:
            is_message = exchange.path == "/v1/messages"
            body = message_error(error.status, error.message) if is_message else error.body()
            await exchange.answer(error.status, body)
        except ClientGoneError:
            if record is not None:
                record.outcome = "client_gone"
        finally:
            exchange.close()
        if record is not None and record.outcome == "running":
            record.outcome = "answered"

    async def _route(self, exchange: Exchange, record: RecordedRequest) -> None:
        self._authenticate(exchange)
        match exchange.method, exchange.path:
            case "POST", path if path in _FORMS:
                await self._complete(exchange, record, _FORMS[path])
            case "POST", "/v1/embeddings":
                request = parse_embeddings(record.body)
                self._check_model(request.model)
                await exchange.answer(200, embeddings_body(request))
            case "GET", "/v1/models":
                models = [self._model(name) for name in self._models]
                await exchange.answer(200, msgspec.json.encode({"object": "list", "data": models}))
            case "GET", "/_requests" if self._recorded is not None:
                await exchange.answer(200, msgspec.json.encode([_shown(kept) for kept in self.requests]))
            case "GET", path if path.startswith("/v1/models/"):
                name = path.removeprefix("/v1/models/")
                self._check_model(name)
                await exchange.answer(200, msgspec.json.encode(self._model(name)))
            case _, path if path in (*_FORMS, "/v1/embeddings", "/v1/models"):
                message = f"Not allowed to {exchange.method} on {exchange.path}."
                raise ApiError(405, message, code="method_not_supported")
            case _:
                message = f"Invalid URL ({exchange.method} {exchange.path})"
                raise ApiError(404, message, code="unknown_url")

    def _authenticate(self, exchange: Exchange) -> None:
        if self._authorization is None:
            return
        sent = (exchange.header("authorization") or f"Bearer {exchange.header('x-api-key')}").encode("latin-1")
        if not hmac.compare_digest(sent, self._authorization):
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")

    def _check_model(self, name: str) -> None:
        if self._models and name not in self._models:
            message = f"The model `{name}` does not exist or you do not have access to it."
            raise ApiError(404, message, param="model", code="model_not_found")

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": int(self._now_s()), "owned_by": "demo-models"}

    async def _complete(self, exchange: Exchange, record: RecordedRequest, form: Form) -> None:
        request = form.parse(record.body)
        self._check_model(request.model)
        directives = request.directives
        if directives.retry_after is not None:
            exchange.add_header("retry-after", directives.retry_after)
        if directives.delay_s:
            await exchange.pause(directives.delay_s)
        if directives.fail_status is not None:
            raise ApiError(directives.fail_status, _TOLD_TO_FAIL, error_type="server_error")
        if directives.interruption is not None and directives.interruption.before_first_byte:
            await _break_off(exchange, record, directives.interruption, form)
            return
        reply = self._reply(request)
        if request.stream:
            await _send_stream(exchange, record, reply, form)
        else:
            await _send_body(exchange, record, reply, form)

    def _reply(self, request: ChatRequest) -> Reply:
        return Reply(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created_s=int(self._now_s()),
            request=request,
            answer=compose(request),
            prompt_tokens=count_prompt_tokens(request),
            cached_tokens=self._prefixes.look_up_and_remember(request),
        )


async def _send_stream(exchange: Exchange, record: RecordedRequest, reply: Reply, form: Form) -> None:
    directives = reply.request.directives
    interruption = directives.interruption
    exchange.add_header("cache-control", "no-cache")
    await exchange.start(200, "text/event-stream; charset=utf-8")
    for event in form.events(reply):
        if interruption is not None and record.tokens_sent >= interruption.after_tokens:
            await _break_off(exchange, record, interruption, form)
            return
        if event.tokens and record.tokens_sent and directives.token_delay_s:
            await exchange.pause(directives.token_delay_s)
        elif event.tokens and record.tokens_sent % _TOKENS_PER_TURN == _TOKENS_PER_TURN - 1:
            await exchange.pause(0)
        await exchange.write(event.data)
        record.tokens_sent += event.tokens
    await exchange.write(form.done, more=False)


async def _send_body(exchange: Exchange, record: RecordedRequest, reply: Reply, form: Form) -> None:
    body = form.body(reply)
    interruption = reply.request.directives.interruption
    tokens = reply.usage().completion_tokens
    if interruption is None or interruption.after_tokens > tokens:
        record.tokens_sent = tokens
        await exchange.answer(200, body)
        return
    if interruption.kind == "error":
        raise ApiError(500, _TOLD_TO_FAIL, error_type="server_error")
    # A body that is to end cleanly, though cut short, must not announce its full length.
    announced = None if interruption.kind == "end" else len(body)
    await exchange.start(200, "application/json", announced)
    await exchange.write(body[: len(body) // 2])
    await _break_off(exchange, record, interruption, form)


async def _break_off(exchange: Exchange, record: RecordedRequest, interruption: Interruption, form: Form) -> None:
    match interruption.kind:
        case "stop":
            record.outcome = "interrupted"
            await exchange.cut()
        case "hang":
            await exchange.pause(None)
        case "end":
            record.outcome = "interrupted"
            await exchange.write(b"", more=False)
        case "error":
            record.outcome = "interrupted"
            await exchange.write(form.error_event(_TOLD_TO_FAIL), more=False)


def _shown(record: RecordedRequest) -> dict[str, object]:
    return {
        "method": record.method,
        "path": record.path,
        "headers": record.headers,
        "body": record.body.decode(errors="replace"),
        "outcome": record.outcome,
        "tokensSent": record.tokens_sent,
    }


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    """There is nothing to start or stop; the server is only told so."""
    while True:
        match (await receive())["type"]:
            case "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            case "lifespan.shutdown":
                await send({"type": "lifespan.shutdown.complete"})
                return
