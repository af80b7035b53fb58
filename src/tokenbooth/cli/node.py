"""JSON-RPC for commands, which ask a few questions and end.

The server's HTTP client has threads of its own, which a process that ends at once can die of; this one has none left
over.
"""

import asyncio
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence

from tokenbooth.config.payments import UsdcSettings
from tokenbooth.payments.usdc.node import ChainNode
from tokenbooth.payments.usdc.rpc import MAX_ANSWER_BYTES, Json, NodeError, NodeTrouble, result_of


class PlainRpc:
    """JSON-RPC through the standard library, a question at a time."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """`timeout_s`: for each step of an exchange, in seconds."""
        self._url = url
        self._timeout_s = timeout_s

    async def call(self, method: str, params: Sequence[Json]) -> Json:
        """The result of a method; `NodeError` when there is none."""
        return await asyncio.to_thread(self._call, method, params)

    async def aclose(self) -> None:
        """Nothing is left open."""

    def _call(self, method: str, params: Sequence[Json]) -> Json:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        headers = {"content-type": "application/json", "user-agent": "tokenbooth"}
        # The settings accept http and https only.
        request = urllib.request.Request(self._url, data=body, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310
                status, raw = answer.status, answer.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as answer:
            with answer:
                status, raw = answer.code, answer.read(MAX_ANSWER_BYTES)
        except TimeoutError:
            raise NodeError(NodeTrouble.TIMED_OUT, f"no answer to {method} within {self._timeout_s:g} s") from None
        except (OSError, ValueError, http.client.HTTPException) as failure:
            # The failure's text may have the URL in it.
            raise NodeError(NodeTrouble.UNREACHABLE, f"{method}: {type(failure).__name__}") from None
        return result_of(method, 1, status, None, raw)


def open_node(settings: UsdcSettings) -> ChainNode:
    """The configured node, for a command."""
    rpc = PlainRpc(settings.rpc_url.get_secret_value(), timeout_s=settings.timeout_s)
    return ChainNode(rpc, chain_id=settings.chain_id, token=settings.token_address())
