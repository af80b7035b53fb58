"""Deposit addresses: against published vectors, and everything that is no extended public key or no address."""

import pytest
from bip32 import BIP32

from tokenbooth.payments.usdc.addresses import (
    AddressBook,
    InvalidAddress,
    InvalidExtendedKey,
    checksummed,
    keccak256,
    normal_address,
    normal_tx_hash,
)

# The seed of BIP-39's words "test test … junk", which every Ethereum developer's tool begins with.
SEED = bytes.fromhex(
    "9dfc3c64c2f8bede1533b6a79f8570e5943e0b8fd1cf77107adf7b72cef42185"
    "d564a3aee24cab43f80e3c4538087d70fc824eabbad596a23c97b6ee8322ccc0"
)


def _xpub(path: str) -> str:
    return str(BIP32.from_seed(SEED).get_xpub_from_path(path))


def test_addresses_are_those_that_wallets_show() -> None:
    """Children 0/i of the account's key are the addresses that wallets and development chains give."""
    book = AddressBook(_xpub("m/44'/60'/0'"))
    assert [checksummed(book.address(index)) for index in range(3)] == [
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    ]


@pytest.mark.parametrize("path", ["m", "m/44'", "m/44'/60'", "m/44'/60'/0'/0", "m/44'/60'/0'/0/0"])
def test_a_key_at_another_depth_is_refused(path: str) -> None:
    """Only the key of an account will do: another one gives addresses that nobody's wallet looks at."""
    with pytest.raises(InvalidExtendedKey, match="depth"):
        AddressBook(_xpub(path))


def test_a_private_key_is_refused() -> None:
    """An extended private key is refused, with words that say what it is and without repeating it."""
    private = str(BIP32.from_seed(SEED).get_xpriv_from_path("m/44'/60'/0'"))
    with pytest.raises(InvalidExtendedKey, match="PRIVATE") as told:
        AddressBook(private)
    assert private not in str(told.value)


@pytest.mark.parametrize("text", ["", "xpub", "xpub…", "zpub6r", "0x00", _xpub("m/44'/60'/0'")[:-1] + "1"])
def test_what_is_no_extended_key(text: str) -> None:
    """A mistyped key is refused by its own checksum."""
    with pytest.raises(InvalidExtendedKey):
        AddressBook(text)


def test_extended_keys_are_told_apart() -> None:
    """Two extended keys have two fingerprints, one key has always the same."""
    one, same, other = (AddressBook(_xpub(f"m/44'/60'/{account}'")) for account in (0, 0, 1))
    assert (one.fingerprint == same.fingerprint, one.fingerprint == other.fingerprint) == (True, False)


def test_keccak_is_ethereums() -> None:
    """The hash is Keccak-256, not SHA3-256: the empty text tells them apart."""
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"Transfer(address,address,uint256)").hex().startswith("ddf252ad1be2c89b69c2b068fc378daa")


@pytest.mark.parametrize(
    "address",
    [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_the_checksums_of_the_standard(address: str) -> None:
    """EIP-55's own examples; in one case only, an address has no checksum and is taken as it is."""
    assert checksummed(address.lower()) == address
    spellings = (address, address.lower(), f"0x{address[2:].upper()}")
    assert [normal_address(spelling) for spelling in spellings] == [address.lower()] * 3


@pytest.mark.parametrize(
    "text", ["", "0x", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAedff"]
)
def test_what_is_no_address(text: str) -> None:
    """Another length or another beginning is refused."""
    with pytest.raises(InvalidAddress, match="40"):
        normal_address(text)


def test_a_mistyped_letter_is_seen() -> None:
    """A checksum that does not fit is refused."""
    with pytest.raises(InvalidAddress, match="checksum"):
        normal_address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed")


@pytest.mark.parametrize(
    ("text", "normal"),
    [("0x" + "Ab" * 32, "0x" + "ab" * 32), ("0x" + "ab" * 31, None), ("ab" * 32, None), ("0x" + "gg" * 32, None)],
)
def test_hashes_of_transactions(text: str, normal: str | None) -> None:
    """A hash is 0x and 64 hexadecimal digits, in any case."""
    assert normal_tx_hash(text) == normal
