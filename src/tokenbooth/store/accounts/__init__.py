"""Accounts and what opens them: keys, sessions, repeated requests, the audit log."""
