"""How upstreams tell that there is no answer: the shapes, with words in them that are the operator's own."""

import json
from typing import Final

CANARY: Final = "c4n4ry7f3e51"
"""Stands where only the operator may read."""

WORDS: Final = (
    f"no capacity at https://{CANARY}.example.com/v1 for org-{CANARY}",
    f"request req_{CANARY} of user_{CANARY} failed: balance $12.50 is used up",
    f"File /srv/{CANARY}/engine.py: connection to {CANARY}.internal:8000 refused",
)
_WORDS: Final = WORDS[0]
_OBJECTS: Final[tuple[object, ...]] = (
    {"error": {"message": _WORDS, "type": "server_error", "code": 500}},
    {"error": _WORDS},
    {"errors": [{"message": _WORDS}]},
    {"error": {"code": 503}},
    {"error": 1},
    {"error_message": _WORDS},
    {"object": "error", "message": _WORDS, "code": 40303},
    {"type": "error", "error": {"type": "overloaded_error", "message": _WORDS}},
    {"detail": _WORDS},
    {"detail": [{"msg": _WORDS}]},
    {"message": _WORDS},
    {"code": "InternalError", "message": _WORDS, "request_id": CANARY},
    {"statusCode": 429, "message": _WORDS},
    {"status": "error", "msg": _WORDS},
    {"success": False, "code": 1301, "msg": _WORDS},
    {"base_resp": {"status_code": 1004, "status_msg": _WORDS}},
    {"choices": [], "error": {"message": _WORDS}},
    {"choices": None, "usage": None, "error": {"message": _WORDS}},
    [{"error": {"code": 429, "message": _WORDS}}],
)
IN_JSON: Final = tuple(json.dumps(one).encode() for one in _OBJECTS)
"""What tells a failure in every format, whole and in an event."""
_NO_JSON: Final = (
    f"upstream connect error: {_WORDS}".encode(),
    f"<html><body>502 {_WORDS}</body></html>".encode(),
    f'"{_WORDS}"'.encode(),
)
_NOTHING: Final = (
    *(b"", b" ", b"null", b"[]", b"{}", b'""', b"false", b'{"choices":[]}', b'{"choices":null}', b'{"content":[]}'),
    *(b'{"output":[]}', b'{"data":[]}', b'{"usage":{}}', f'{{"id":"{CANARY}"}}'.encode()),
)
WHOLE: Final = (*IN_JSON, *_NO_JSON, *_NOTHING)
"""What tells a failure in the place of a whole answer."""
EVENTS: Final[tuple[tuple[bytes, ...], ...]] = (
    *((b"data: " + one,) for one in IN_JSON),
    *((b"event: error", b"data: " + one) for one in (*IN_JSON[:4], _NO_JSON[0])),
    *((b"data: " + one, b"event: error") for one in IN_JSON[:2]),
    *((b"data: " + one,) for one in _NO_JSON),
    *((b"error: " + one,) for one in (*IN_JSON[:2], _WORDS.encode())),
    *((one,) for one in IN_JSON[:3]),
)
"""What tells a failure among the events of a stream: the lines of one event."""
