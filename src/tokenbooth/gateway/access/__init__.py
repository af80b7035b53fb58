"""Who may call, and what a call holds: keys, cached accounts, rates, ceilings, admission."""
