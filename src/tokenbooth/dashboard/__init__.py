"""The pages for people; only the composition root imports this."""

from tokenbooth.dashboard.app import DashboardContext, create_dashboard

__all__ = ["DashboardContext", "create_dashboard"]
