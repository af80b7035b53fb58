"""An extended public key whose private half nobody has."""

import secrets

from bip32 import BIP32


def new_extended_public_key() -> str:
    """A new key at m/44'/60'/0', as `usdc.xpub` takes it."""
    return str(BIP32.from_seed(secrets.token_bytes(32)).get_xpub_from_path("m/44'/60'/0'"))
