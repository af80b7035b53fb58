"""Deposit addresses, derived from an extended public key (BIP-32), with their checksums (EIP-55).

No private key is ever held, made or accepted here.
"""

import hashlib
import re
from typing import Final

from bip32 import BIP32
from bip32.bip32 import InvalidInputError, ParsingError
from coincurve import PublicKey
from Crypto.Hash import keccak

DEPTH: Final = 3
"""m/44'/60'/0': what an account-level key of an Ethereum wallet is."""
_RECEIVING: Final = 0
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_FINGERPRINT_BYTES: Final = 8


class InvalidExtendedKey(ValueError):
    """The text is no extended public key that addresses can be derived from; the message says why."""


class InvalidAddress(ValueError):
    """The text is no address, or its checksum is wrong."""


class AddressBook:
    """The addresses of one extended public key, by index."""

    def __init__(self, xpub: str) -> None:
        """`xpub`: at depth 3.

        Raises:
            InvalidExtendedKey: a private key, another depth, or no key at all.
        """
        if xpub.startswith(("xprv", "tprv")):
            raise InvalidExtendedKey(
                "this is an extended PRIVATE key: it does not belong on a server. Remove it, and put the public one"
            )
        try:
            self._key = BIP32.from_xpub(xpub)
        except (InvalidInputError, ParsingError, ValueError):
            raise InvalidExtendedKey("is not an extended public key (xpub…)") from None
        if self._key.depth != DEPTH:
            raise InvalidExtendedKey(
                f"is a key at depth {self._key.depth}; needed is depth {DEPTH}, the key at m/44'/60'/0'"
            )
        material = self._key.chaincode + self._key.pubkey
        self.fingerprint = hashlib.sha256(material).hexdigest()[: 2 * _FINGERPRINT_BYTES]
        """Tells extended keys apart, in the store."""

    def address(self, index: int) -> str:
        """The address of child 0/`index`, in lower case."""
        child = self._key.get_pubkey_from_path([_RECEIVING, index])
        return address_of_public_key(child)


def address_of_public_key(public_key: bytes) -> str:
    """The address of a secp256k1 public key (compressed or not), in lower case."""
    point = PublicKey(public_key).format(compressed=False)[1:]
    return f"0x{keccak256(point)[-20:].hex()}"


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it; not the later SHA3-256."""
    return keccak.new(digest_bits=256, data=data).digest()


def normal_address(text: str) -> str:
    """An address in lower case.

    Raises:
        InvalidAddress: not 0x and 40 hexadecimal digits, or in mixed case with a wrong checksum.
    """
    if _ADDRESS.fullmatch(text) is None:
        raise InvalidAddress("must be 0x and 40 hexadecimal digits")
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != checksummed(text.lower()):
        raise InvalidAddress("has a wrong checksum: a letter was mistyped")
    return text.lower()


def checksummed(address: str) -> str:
    """An address as people are shown it: letters in the case that EIP-55 makes a checksum of."""
    digits = address[2:].lower()
    marks = keccak256(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(mark, 16) >= 8 else c for c, mark in zip(digits, marks, strict=False))


def normal_tx_hash(text: str) -> str | None:
    """A transaction hash in lower case; None when the text is none."""
    return text.lower() if _HASH.fullmatch(text) is not None else None
