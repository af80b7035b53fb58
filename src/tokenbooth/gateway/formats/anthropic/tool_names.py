"""Names of tools that OpenAI's chat format accepts: at most 64 letters, digits, `_` and `-`.

Anthropic's format accepts 128 characters, and coding agents put the name of a server before the name of each tool. A
name that would be refused is replaced on its way out, and the client gets its own back.
"""

import re
from hashlib import sha256
from typing import Final

import msgspec

from tokenbooth.gateway.errors import invalid_request
from tokenbooth.gateway.formats.json.body import raw, short_text

# OpenAI's reference of chat completions, `tools.function.name`.
_LONGEST: Final = 64
_TAKEN: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{_LONGEST}}}")
_REFUSED: Final = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_CHARACTERS: Final = 8


class ToolNames:
    """The names of one request's tools.

    Attributes:
        own: the client's name for each one that was replaced.
    """

    __slots__ = ("own",)

    def __init__(self) -> None:
        self.own: dict[str, str] = {}

    def sent(self, name: msgspec.Raw | None, param: str) -> msgspec.Raw:
        """The name that goes to the upstream; one name always gets the same.

        Args:
            name: the client's.
            param: the field that it stands in.

        Raises:
            Refusal: it is no name.
        """
        own = short_text(name)
        if name is None or not own:
            raise invalid_request(
                "invalid_parameter", "A tool, and a call of one, needs a short text as its 'name'.", param
            )
        if _TAKEN.fullmatch(own):
            return name
        # The digest keeps apart what is alike in its beginning, or in the letters that are left.
        digest = sha256(own.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
        sent = f"{_REFUSED.sub('_', own)[: _LONGEST - 1 - _DIGEST_CHARACTERS]}_{digest}"
        self.own[sent] = own
        return raw(sent)
