"""JSON-RPC over a real socket: what nodes answer when all is not well, and that their URL is never told."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.support.servers import serve
from tokenbooth.payments.usdc.rpc import MAX_ANSWER_BYTES, HttpRpc, Json, NodeError, NodeTrouble

SECRET = "a-key-in-the-path"


async def _answer(request: Request) -> Response:
    asked = await request.json()
    say = asked["params"][0]
    match say["kind"]:
        case "result":
            return Response(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": say["result"]}))
        case "error":
            error = {"jsonrpc": "2.0", "id": asked["id"], "error": say["error"]}
            return Response(json.dumps(error), status_code=say.get("status", 200))
        case "other id":
            return Response(json.dumps({"jsonrpc": "2.0", "id": -1, "result": 1}))
        case "endless":
            return StreamingResponse(_endless())
        case "silence":
            await asyncio.sleep(30)
    return Response(say["text"], status_code=say["status"], headers=say.get("headers"))


async def _endless() -> AsyncIterator[bytes]:
    for _ in range(MAX_ANSWER_BYTES // 2**20 + 2):
        yield b" " * 2**20


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A node that answers what it is asked to answer."""
    with serve(Starlette(routes=[Route(f"/{SECRET}", _answer, methods=["POST"])])) as url:
        yield url


async def _ask(origin: str, say: Json, *, timeout_s: float = 5) -> Json:
    rpc = HttpRpc(f"{origin}/{SECRET}", timeout_s=timeout_s)
    try:
        return await rpc.call("eth_test", [say])
    finally:
        await rpc.aclose()


@pytest.mark.parametrize("result", [None, "0x1", [], {"a": [1]}])
async def test_a_result_is_given(origin: str, result: Json) -> None:
    """The result comes back as it is, also null."""
    assert await _ask(origin, {"kind": "result", "result": result}) == result


@pytest.mark.parametrize(
    ("say", "trouble"),
    [
        (
            {"kind": "raw", "status": 429, "text": "slow down", "headers": {"retry-after": "7"}},
            NodeTrouble.RATE_LIMITED,
        ),
        ({"kind": "error", "error": {"code": 429, "message": "x"}}, NodeTrouble.RATE_LIMITED),
        ({"kind": "error", "error": {"code": -32016, "message": "Over rate limit"}}, NodeTrouble.RATE_LIMITED),
        ({"kind": "error", "error": {"code": -32005, "message": "limit exceeded"}}, NodeTrouble.TOO_LARGE),
        (
            {"kind": "error", "error": {"code": -32602, "message": "Block range is too large"}, "status": 400},
            NodeTrouble.TOO_LARGE,
        ),
        (
            {"kind": "error", "error": {"code": -32000, "message": "query returned more than 10000 results"}},
            NodeTrouble.TOO_LARGE,
        ),
        ({"kind": "raw", "status": 413, "text": ""}, NodeTrouble.TOO_LARGE),
        ({"kind": "endless"}, NodeTrouble.TOO_LARGE),
        ({"kind": "error", "error": {"code": -32601, "message": "no such method"}}, NodeTrouble.REFUSED),
        ({"kind": "error", "error": "text"}, NodeTrouble.REFUSED),
        ({"kind": "raw", "status": 502, "text": "<html>"}, NodeTrouble.UNREACHABLE),
        ({"kind": "raw", "status": 200, "text": "<html>"}, NodeTrouble.NONSENSE),
        ({"kind": "raw", "status": 200, "text": "[" * 100_000}, NodeTrouble.NONSENSE),
        ({"kind": "raw", "status": 401, "text": "[]"}, NodeTrouble.NONSENSE),
        ({"kind": "other id"}, NodeTrouble.NONSENSE),
    ],
)
async def test_trouble_is_told_apart(origin: str, say: Json, trouble: NodeTrouble) -> None:
    """What can be done about it decides what it is called; the node's URL is in no message."""
    with pytest.raises(NodeError) as told:
        await _ask(origin, say)
    assert told.value.trouble is trouble
    assert SECRET not in str(told.value)


async def test_how_long_to_wait_is_passed_on(origin: str) -> None:
    """A node's Retry-After is known to whoever asks."""
    with pytest.raises(NodeError) as told:
        await _ask(origin, {"kind": "raw", "status": 429, "text": "", "headers": {"retry-after": "7"}})
    assert told.value.retry_after_s == 7


async def test_silence_ends(origin: str) -> None:
    """A node that does not answer is given up."""
    with pytest.raises(NodeError) as told:
        await _ask(origin, {"kind": "silence"}, timeout_s=0.2)
    assert told.value.trouble is NodeTrouble.TIMED_OUT


async def test_a_node_that_is_not_there() -> None:
    """A refused connection is told without the URL."""
    with pytest.raises(NodeError) as told:
        await _ask("http://127.0.0.1:1", {})
    assert (told.value.trouble, SECRET in str(told.value)) == (NodeTrouble.UNREACHABLE, False)
