"""Fixtures that every test may use."""

from hypothesis import HealthCheck, settings

from tests.support.postgres import postgres_server, postgres_url

# No test depends on how busy the machine is.
settings.register_profile("tokenbooth", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tokenbooth")

# Defined once for all: a fixture that several modules import would start a server for each of them.
__all__ = ["postgres_server", "postgres_url"]
