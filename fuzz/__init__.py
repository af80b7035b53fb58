"""Fuzzers of what reads the bytes of strangers: the sockets of clients and upstreams, and what comes over them.

`make fuzz` runs them; `docs/testing.md` tells of them. A target is a plain function of bytes that raises when something
is wrong, so it runs under any engine, and under none: `tests/unit/fuzz` feeds each its seeds and a few mutations.
"""
