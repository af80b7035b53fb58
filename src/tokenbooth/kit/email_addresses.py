"""Email addresses: what is one, in which form it is kept, and which of them are one mailbox.

Much narrower than RFC 5322, on purpose: an address that is kept is a word of ASCII with one host, which no reader of a
header and no mail server can take for two addresses, for a name, for a route, or for something encoded.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from tokenbooth.kit.errors import InvalidRequest

# A dot-atom without the signs by which a text says something else than itself: "?" encodes (RFC 2047), "!" and "%"
# route by way of other hosts, and the rest are of shells and templates.
_LOCAL: Final = re.compile(r"[a-z0-9_+'&=/#~-]+(?:\.[a-z0-9_+'&=/#~-]+)*")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
# RFC 5321, 4.5.3.1; a path's 256 are the address and two angle brackets.
_LOCAL_MAX: Final = 64
_ADDRESS_MAX: Final = 254
_NAMED: Final = re.compile(r'(?:"(?P<quoted>[^"\\<>]*)"|(?P<plain>[^"\\<>]*))\s*<(?P<address>[^<>]*)>')
_GOOGLE: Final = frozenset({"gmail.com", "googlemail.com"})


@dataclass(frozen=True, slots=True)
class Sender:
    """Who an e-mail is from: an address, and a name for people, which may be empty."""

    name: str
    address: str


def normalise_address(text: str) -> str:
    """The form in which an email address is kept and compared: lower case, and the host in ASCII (IDNA).

    A host in other letters is taken when IDNA writes it in one way only: not where it would fold it into another name.
    So two hosts that look alike differ in what is kept and shown.

    Raises:
        InvalidRequest: it is no email address, or none of a form that everybody reads in the same way.
    """
    local, at, host = text.strip(" ").rpartition("@")
    if not at or not local.isascii() or len(local) > _LOCAL_MAX or len(host) > _ADDRESS_MAX:
        raise _no_address()
    address = f"{local.lower()}@{_ascii_host(host)}"
    if _LOCAL.fullmatch(local.lower()) is None or len(address) > _ADDRESS_MAX:
        raise _no_address()
    return address


def mailbox_of(address: str) -> str:
    """What all spellings of a mailbox have in common, for bounds on mails; never for who has an account.

    What follows a "+" is left out, and for Google's hosts the dots, too. Where a host reads these otherwise, two
    people share a bound, and nothing else.

    Args:
        address: as `normalise_address` returns it.
    """
    local, _, host = address.rpartition("@")
    local = local.partition("+")[0] or local
    return f"{local.replace('.', '')}@gmail.com" if host in _GOOGLE else f"{local}@{host}"


def parse_sender(text: str) -> Sender:
    """A sender as it is configured: an address, or a name and an address in angle brackets.

    Raises:
        InvalidRequest: it is not one of these.
    """
    named = _NAMED.fullmatch(text.strip(" "))
    if named is None:
        return Sender("", normalise_address(text))
    name = (named["quoted"] or named["plain"] or "").strip()
    if not name.isprintable() or "=?" in name:
        raise _no_address()
    return Sender(name, normalise_address(named["address"]))


def _ascii_host(text: str) -> str:
    host = text.lower() if text.isascii() else _idna(text)
    # A last label of digits alone is an IP address, which is no host of a mailbox.
    if _HOST.fullmatch(host) is None or host.rpartition(".")[2].isdigit():
        raise _no_address()
    return host


def _idna(text: str) -> str:
    lower = text.lower()
    if unicodedata.normalize("NFKC", text) != text:
        raise _no_address()
    try:
        host = lower.encode("idna")
        is_faithful = host.decode("idna") == lower
    except UnicodeError:
        raise _no_address() from None
    if not is_faithful:
        raise _no_address()
    return host.decode("ascii")


def _no_address() -> InvalidRequest:
    return InvalidRequest("invalid_email", "This is not an email address.", param="email")
