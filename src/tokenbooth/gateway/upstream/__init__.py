"""The way to upstream servers: which one is asked, connections to it, its failures."""
