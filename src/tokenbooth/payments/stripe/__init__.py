"""Stripe's API and events as our own values."""
