"""Money that comes in on a chain: addresses, deposits, how far the chain was read."""
