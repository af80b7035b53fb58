"""What the data plane says by itself: errors, model lists, limits, usage."""
