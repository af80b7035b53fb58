"""Fixtures that every test may use."""

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import postgres_server, postgres_url

# No test depends on how busy the machine is.
settings.register_profile("tokenbooth", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tokenbooth")

# Defined once for all: a fixture that several modules import would start a server for each of them.
__all__ = ["postgres_server", "postgres_url"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests recorded as "shown", also where they ran in processes of their own."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "shown":
                terminalreporter.section(report.nodeid.rpartition("::")[2])
                terminalreporter.write_line(str(text))
