"""Tokenbooth: resell LLM inference under plans and prepaid credit."""

__version__ = "0.1.0"
