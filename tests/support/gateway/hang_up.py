"""A client that hangs up in the middle of its request."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message


async def hang_up(app: ASGIApp, path: str, headers: Mapping[str, str]) -> None:
    """Post the beginning of a body, and go."""
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(_message: Message) -> None:
        """Nobody hears it."""

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("203.0.113.7", 5_000),
        "server": ("127.0.0.1", 8_000),
    }
    await app(scope, receive, send)
