"""Reading the bytes of a request's body, never more than may be there."""

from typing import Final

from starlette.requests import Request

from tokenbooth.kit.errors import TooLarge, UnsupportedMedia

_MAX_LENGTH_DIGITS: Final = 20


async def read_raw(request: Request, *, max_bytes: int) -> bytes:
    """Read the bytes of a body, whatever they are.

    Raises:
        TooLarge: there are more than `max_bytes`.
    """
    announced = request.headers.get("content-length", "")
    if (
        announced.isascii()
        and announced.isdigit()
        and (len(announced) > _MAX_LENGTH_DIGITS or int(announced) > max_bytes)
    ):
        raise _too_large(max_bytes)
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(raw)


def check_json_media(request: Request) -> None:
    """Refuse a body that is not announced as plain JSON.

    Raises:
        UnsupportedMedia: the media type is not JSON, or the body is compressed.
    """
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise UnsupportedMedia("unsupported_media_type", "Send the body as `Content-Type: application/json`.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("unsupported_content_encoding", "Send the body without `Content-Encoding`.")


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge("request_too_large", f"The body may have at most {max_bytes} bytes.")
