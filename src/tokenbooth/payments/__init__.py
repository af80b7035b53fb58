"""The outside world of money: Stripe and the chain.

Modules here translate between vendors' formats and our own values. They must never write to the store; the
faces, the jobs and the composition root import them.
"""
