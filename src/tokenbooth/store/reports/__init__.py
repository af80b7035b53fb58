"""Figures for people, and the audit of all of them."""
