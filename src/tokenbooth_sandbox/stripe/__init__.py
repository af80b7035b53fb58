"""A stateful twin of the part of Stripe's API that the product uses, for the demo and the tests.

The product reaches it over HTTP through the official SDK, never by import. What is not built answers as an unknown
address does at Stripe. No real card number and no live key belongs here.
"""

from tokenbooth_sandbox.stripe.app import SandboxConfig, StripeSandbox, create_sandbox

__all__ = ["SandboxConfig", "StripeSandbox", "create_sandbox"]
