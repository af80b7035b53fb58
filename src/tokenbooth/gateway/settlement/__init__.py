"""What a call cost: usage, the charge, the charge log, batches to the store."""
