"""The pure rules: values in, values out; standard library only, no I/O, no clock, no randomness."""
