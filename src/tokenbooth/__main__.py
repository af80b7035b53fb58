"""`python -m tokenbooth`: the same as the command `tokenbooth`."""

from tokenbooth.cli import main

if __name__ == "__main__":
    main()
