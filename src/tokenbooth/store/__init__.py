"""The store: SQLAlchemy Core functions, each one whole transaction, on SQLite or PostgreSQL."""
