"""Subscriptions and their invoices, as time and customers change them."""
