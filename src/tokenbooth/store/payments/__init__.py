"""Money that comes in by Stripe: checkouts, subscriptions, reversals, the inbox, plans as they were sold."""
