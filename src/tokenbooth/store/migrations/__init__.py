"""The schema's history for Alembic; run by `tokenbooth.store.migrate` only, never edited after a release."""
