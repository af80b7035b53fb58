"""Payment providers: Stripe and the chain.

Modules here translate between vendors' formats and our own values. They must never write to the store.
"""
