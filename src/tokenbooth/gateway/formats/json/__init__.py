"""JSON as clients and servers write it: names once, depth and size bounded, large bodies in steps."""
