"""Local stand-ins for Stripe, a chain and a model server, and the demo that runs them beside the product.

No live key ever reaches them, and the product needs none of them.
"""
