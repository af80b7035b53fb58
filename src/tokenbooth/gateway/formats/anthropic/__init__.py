"""Anthropic's messages, also for upstreams that speak chat completions only."""
