"""Tokenbooth beside other gateways, in front of one mock upstream, in one run: `make bench`.

Only the command line imports it. It starts and stops everything that it measures.
"""
