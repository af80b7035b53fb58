"""Helpers that tests import by name; no test is in here."""
