"""Reading request bodies and query strings into models, after our strict JSON reader."""

import hashlib
from typing import Final

from starlette.requests import Request

from tokenbooth.api.auth import Caller, authenticate
from tokenbooth.domain.keys import Scope
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.kit.request_body import check_json_media, read_raw
from tokenbooth.kit.request_models import M, check_field, names_of, validate
from tokenbooth.kit.strict_json import parse_object
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.idempotency import Claim

_PARAMETER: Final = "query parameter"
_IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_KEY_MAX: Final = 255


async def authenticated_body(
    context: ServiceContext, request: Request, scope: Scope, model: type[M]
) -> tuple[Caller, Claim | None, M]:
    """The caller of a request that writes, what its `Idempotency-Key` claims, and its body.

    Raises:
        Unauthenticated, RateLimited, Forbidden: as `authenticate` raises them.
        UnsupportedMedia: the media type is not JSON, or the body is compressed.
        TooLarge: the body is larger than `management.max_body_bytes`.
        InvalidRequest: it is not one JSON object in UTF-8, or the model does not take it.
    """
    caller = await authenticate(context, request, scope)
    check_json_media(request)
    raw = await read_raw(request, max_bytes=context.settings.management.max_body_bytes)
    values = parse_object(raw)
    return caller, read_claim(request, caller.account_id, raw), validate(model, values)


def read_claim(request: Request, account_id: str, raw: bytes) -> Claim | None:
    """What the request's `Idempotency-Key` claims; None without the header.

    Args:
        request: for its method, path and headers.
        account_id: whose request it is.
        raw: the body as it arrived.

    Raises:
        InvalidRequest: the header is there twice, or is not 1 to 255 printable ASCII characters.
    """
    keys = request.headers.getlist(_IDEMPOTENCY_KEY)
    if not keys:
        return None
    key = keys[0].strip()
    if len(keys) > 1 or not (1 <= len(key) <= _KEY_MAX and key.isascii() and key.isprintable()):
        raise InvalidRequest(
            "invalid_idempotency_key",
            f"`{_IDEMPOTENCY_KEY}` must be one header of 1 to {_KEY_MAX} printable ASCII characters.",
            param=_IDEMPOTENCY_KEY,
        )
    route = f"{request.method} {request.url.path}"
    return Claim(account_id=account_id, route=route, key=key, body_sha256=hashlib.sha256(raw).digest())


def read_parameters(request: Request, model: type[M]) -> M:
    """The query string as a model.

    Raises:
        InvalidRequest: a parameter is not known, stands there twice, or is not what belongs there.
    """
    names, found = names_of(model), dict[str, str]()
    for name, value in request.query_params.multi_items():
        check_field(name, value, names, what=_PARAMETER)
        if name in found:
            raise InvalidRequest("invalid_value", f"`{name}` stands in the query more than once.", param=name)
        found[name] = value
    return validate(model, found, what=_PARAMETER)
