"""A chain's node as our own values: addresses, receipts, transfers."""
