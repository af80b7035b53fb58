"""The chains that are known by name, and the addresses of USDC on them."""

from typing import Final

BASE: Final = 8453
BASE_SEPOLIA: Final = 84532
NATIVE_TOKENS: Final = {
    BASE: "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913",
    BASE_SEPOLIA: "0x036cbd53842c5426634e7929541ec2318f3dcf7e",
}
"""Circle's own USDC, by chain id; addresses in lower case, as everywhere in the program."""
BRIDGED_TOKEN: Final = "0xd9aaec86b65d86f6a7b5b1b0c42ffa531710b6ca"  # noqa: S105
"""USDbC, bridged to Base by others: it has the name and the decimals, and is another asset."""

_CHAIN_NAMES: Final = {BASE: "base", BASE_SEPOLIA: "base-sepolia"}


def chain_name(chain_id: int) -> str:
    """The name of a chain as answers show it; CAIP-2 for one that we have no name for."""
    return _CHAIN_NAMES.get(chain_id, f"eip155:{chain_id}")
