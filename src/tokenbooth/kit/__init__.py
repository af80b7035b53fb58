"""What every room may use: clock, ids, errors with a code, logs, figures, background work, private files."""
