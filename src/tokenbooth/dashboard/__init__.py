"""The dashboard: where a customer begins and an operator looks; pages rendered on the server."""

from tokenbooth.dashboard.app import create_dashboard
from tokenbooth.dashboard.context import DashboardContext

__all__ = ["DashboardContext", "create_dashboard"]
