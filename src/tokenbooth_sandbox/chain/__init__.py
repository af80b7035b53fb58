"""A small node of a chain of its own, for the demo and the tests: JSON-RPC as the product uses it, and a faucet.

It runs no contracts and moves nothing of value. The product talks to it by the same code as to Base.
"""

from tokenbooth_sandbox.chain.rpc import ChainSandbox
from tokenbooth_sandbox.chain.world import ChainConfig

__all__ = ["ChainConfig", "ChainSandbox"]
