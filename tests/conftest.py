"""Fixtures that every test may use."""

# Defined once for all: a fixture that several modules import would start a server for each of them.
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]
