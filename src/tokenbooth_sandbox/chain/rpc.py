"""The sandbox's node as an ASGI application: the JSON-RPC methods that the product uses, and `sandbox_…` to drive it.

It checks what it is sent no more than a test needs.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Final

from tokenbooth.domain.deposits import DECIMALS
from tokenbooth.domain.money import NANO_PER_MICRO_USD, InvalidAmount, parse_usd
from tokenbooth_sandbox.chain.world import ChainConfig, SandboxLog, SandboxTx, World, transfer

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]
Message = MutableMapping[str, object]

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_MAX_BODY_BYTES: Final = 1024 * 1024
_DECIMALS_CALL: Final = "0x313ce567"
_NO_METHOD: Final = -32601
_BAD_PARAMS: Final = -32602
_NO_JSON: Final = -32700
_EMPTY_WORD: Final = "0x" + 64 * "0"


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ChainSandbox:
    """The node."""

    def __init__(self, config: ChainConfig) -> None:
        self.world = World(config)
        self._config = config
        self._methods: Mapping[str, Callable[[Sequence[Json]], Json]] = {
            "eth_chainId": lambda _: hex(config.chain_id),
            "eth_blockNumber": lambda _: hex(self.world.head()),
            "eth_getBlockByNumber": self._block,
            "eth_getLogs": self._logs,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "eth_call": self._call,
            "sandbox_sendUsdc": self._send_usdc,
            "sandbox_send": self._send,
            "sandbox_mine": self._mine,
            "sandbox_reorganise": self._reorganise,
        }

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more and len(body) <= _MAX_BODY_BYTES:
            message = await receive()
            chunk = message.get("body", b"")
            assert isinstance(chunk, bytes)
            body += chunk
            more = bool(message.get("more_body", False))
        answer = json.dumps(self.answer(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def answer(self, body: bytes) -> Json:
        """The answer to a request's body."""
        try:
            asked = json.loads(body)
            method, params, asked_id = asked["method"], asked.get("params", []), asked.get("id")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {"jsonrpc": "2.0", "id": None, "error": {"code": _NO_JSON, "message": "not a JSON-RPC request"}}
        try:
            result = self.call(method, params)
        except _Refused as refused:
            error: Json = {"code": refused.code, "message": str(refused)}
            return {"jsonrpc": "2.0", "id": asked_id, "error": error}
        return {"jsonrpc": "2.0", "id": asked_id, "result": result}

    def call(self, method: str, params: Sequence[Json]) -> Json:
        """The result of a method."""
        known = self._methods.get(method)
        if known is None:
            raise _Refused(_NO_METHOD, "the method does not exist")
        try:
            return known(params)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _Refused(_BAD_PARAMS, "invalid params") from None

    def _block(self, params: Sequence[Json]) -> Json:
        number = self.world.number(str(params[0]))
        if number is None:
            return None
        return {
            "number": hex(number),
            "hash": self.world.block_hash(number),
            "parentHash": self.world.block_hash(number - 1) if number else _EMPTY_WORD,
            "timestamp": hex(self.world.timestamp_s(number)),
            "transactions": [tx.hash for tx in self.world.transactions(number)],
        }

    def _logs(self, params: Sequence[Json]) -> Json:
        wanted = _object(params[0])
        first, last = self.world.number(str(wanted["fromBlock"])), self.world.number(str(wanted["toBlock"]))
        if first is None:
            return []
        last = self.world.head() if last is None else last
        if last - first >= self._config.max_range_blocks:
            raise _Refused(-32005, f"block range is too large, limited to {self._config.max_range_blocks}")
        token, topics = str(wanted["address"]).lower(), _list(wanted["topics"])
        found: list[Json] = []
        for number in self.world.blocks_between(first, last):
            for place, tx, log, index in self._indexed(number):
                if log.address == token and _matches(log.topics, topics):
                    found.append(self._log(number, place, tx, log, index))
        return found

    def _receipt(self, params: Sequence[Json]) -> Json:
        found = self.world.find(str(params[0]).lower())
        if found is None:
            return None
        number, tx = found
        own = [entry for entry in self._indexed(number) if entry[1] is tx]
        place = list(self.world.transactions(number)).index(tx)
        return {
            "transactionHash": tx.hash,
            "transactionIndex": hex(place),
            "blockHash": self.world.block_hash(number),
            "blockNumber": hex(number),
            "to": tx.to,
            "status": "0x0" if tx.reverted else "0x1",
            "logs": [self._log(number, at, tx, log, index) for at, _, log, index in own],
        }

    def _transaction(self, params: Sequence[Json]) -> Json:
        found = self.world.find(str(params[0]).lower())
        return None if found is None else {"hash": found[1].hash, "blockNumber": hex(found[0]), "to": found[1].to}

    def _call(self, params: Sequence[Json]) -> Json:
        wanted = _object(params[0])
        is_ours = str(wanted["to"]).lower() == self._config.token and wanted["data"] == _DECIMALS_CALL
        return f"0x{DECIMALS:064x}" if is_ours else "0x"

    def _send_usdc(self, params: Sequence[Json]) -> Json:
        to, amount = str(params[0]), params[1]
        if _ADDRESS.fullmatch(to) is None:
            raise _Refused(_BAD_PARAMS, "the address must be 0x and 40 hexadecimal digits")
        try:
            units = parse_usd(str(amount), max_decimals=DECIMALS) // NANO_PER_MICRO_USD
        except InvalidAmount as mistake:
            raise _Refused(_BAD_PARAMS, f"the amount {mistake}") from None
        if units <= 0:
            raise _Refused(_BAD_PARAMS, "the amount must be above zero")
        token = self._config.token
        return self.world.send([transfer(token, to.lower(), units)], to=token)

    def _send(self, params: Sequence[Json]) -> Json:
        sent = _object(params[0])
        logs = []
        for entry in map(_object, _list(sent["logs"])):
            topics = tuple(str(topic) for topic in _list(entry["topics"]))
            logs.append(SandboxLog(str(entry["address"]).lower(), topics, str(entry["data"])))
        return self.world.send(logs, to=str(sent["to"]), reverted=bool(sent.get("reverted", False)))

    def _mine(self, params: Sequence[Json]) -> Json:
        self.world.mine(_whole(params[0]))
        return None

    def _reorganise(self, params: Sequence[Json]) -> Json:
        again = _object(params[1])
        self.world.reorganise(_whole(params[0]), {tx_hash: _whole(offset) for tx_hash, offset in again.items()})
        return None

    def _indexed(self, number: int) -> list[tuple[int, SandboxTx, SandboxLog, int]]:
        """The events of a block with their places: transaction's index, transaction, event, index in the block."""
        entries = [(place, tx, log) for place, tx in enumerate(self.world.transactions(number)) for log in tx.logs]
        return [(place, tx, log, index) for index, (place, tx, log) in enumerate(entries)]

    def _log(self, number: int, place: int, tx: SandboxTx, log: SandboxLog, index: int) -> Json:
        return {
            "address": log.address,
            "topics": list(log.topics),
            "data": log.data,
            "blockNumber": hex(number),
            "blockHash": self.world.block_hash(number),
            "transactionHash": tx.hash,
            "transactionIndex": hex(place),
            "logIndex": hex(index),
            "removed": False,
        }


def _matches(topics: Sequence[str], wanted: Sequence[Json]) -> bool:
    for place, allowed in enumerate(wanted):
        if allowed is None:
            continue
        if place >= len(topics):
            return False
        if topics[place] not in ([allowed] if isinstance(allowed, str) else _list(allowed)):
            return False
    return True


def _object(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise TypeError
    return value


def _list(value: Json) -> Sequence[Json]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _whole(value: Json) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value
