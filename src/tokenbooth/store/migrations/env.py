"""Alembic's entry: runs revisions on the connection and in the transaction of `tokenbooth.store.migrate`."""

from alembic import context
from sqlalchemy import Connection

from tokenbooth.store.tables import metadata

connection = context.config.attributes["connection"]
assert isinstance(connection, Connection)
context.configure(connection=connection, target_metadata=metadata)
context.run_migrations()
