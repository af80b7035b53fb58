"""Local twins of outside services for the demo and the tests; no live key ever reaches them."""
