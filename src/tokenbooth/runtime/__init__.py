"""A server put together, started and stopped: the only place where the rooms meet."""
