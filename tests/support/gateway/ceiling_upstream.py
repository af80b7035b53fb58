"""An upstream that obeys the output ceilings that a test says, and no other; it speaks every format, not streamed.

Only tests import it.
"""

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

MODEL_MOST: Final = 8_192
PROMPT_TOKENS: Final = 10

Json = dict[str, object]


@dataclass(slots=True)
class CeilingUpstream:
    """The ASGI application.

    Attributes:
        obeys: names of ceilings, the first that is there counts.
        writes: how many tokens it writes where no ceiling stops it.
        answers_after: an answer waits for this, so that calls are open together.
        refuses: a status and an error that it answers instead.
        prompt_tokens: what it reports of every prompt.
        bodies: what it was asked.
        most_at_once: how many calls it had at the same time.
    """

    obeys: tuple[str, ...] = ()
    writes: int = MODEL_MOST
    answers_after: threading.Event | None = None
    refuses: tuple[int, Json] | None = None
    prompt_tokens: int = PROMPT_TOKENS
    bodies: list[Json] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def output_tokens(self) -> int:
        """What it wrote in all."""
        return sum(self.written)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        content = b""
        while True:
            message = await receive()
            content += message.get("body", b"")
            if not message.get("more_body"):
                break
        if not content:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body"})
            return
        body: Json = msgspec.json.decode(content)
        self.bodies.append(body)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.answers_after is not None:
            await asyncio.to_thread(self.answers_after.wait, 20)
        self.at_once -= 1
        status, said = self.refuses or (200, self._answer(scope["path"], body))
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": msgspec.json.encode(said)})

    def _answer(self, path: str, body: Json) -> Json:
        ceiling = next((body[name] for name in self.obeys if name in body), MODEL_MOST)
        assert isinstance(ceiling, int)
        output = min(self.writes, ceiling)
        self.written.append(output)
        cut = output < self.writes
        if path.endswith("/messages"):
            usage: Json = {"input_tokens": self.prompt_tokens, "output_tokens": output}
            reason = "max_tokens" if cut else "end_turn"
            text = [{"type": "text", "text": "x"}]
            return {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "content": text,
                "stop_reason": reason,
                "usage": usage,
            }
        if path.endswith("/responses"):
            usage = {"input_tokens": self.prompt_tokens, "output_tokens": output}
            why = {"reason": "max_output_tokens"} if cut else None
            return {
                "id": "r",
                "object": "response",
                "status": "incomplete" if cut else "completed",
                "incomplete_details": why,
                "output": [],
                "usage": usage,
            }
        usage = {"prompt_tokens": self.prompt_tokens, "completion_tokens": output}
        choice: Json = {"index": 0, "finish_reason": "length" if cut else "stop"}
        if path.endswith("/completions") and "messages" not in body:
            return {"id": "c", "object": "text_completion", "choices": [{**choice, "text": "x"}], "usage": usage}
        choice["message"] = {"role": "assistant", "content": "x"}
        return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}


def ceilings_in(bodies: Iterable[Json]) -> list[Json]:
    """The fields of each body that have to do with a length."""
    return [
        {name: body[name] for name in body if "max" in name or "predict" in name or "min" in name} for body in bodies
    ]
