"""Alembic runs this for every command. The connection, with its transaction and lock, comes from `Database.migrate`."""

from __future__ import annotations

from alembic import context

from llmos.infra.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=True,  # also true of SQLite here: database.py begins transactions itself
)
with context.begin_transaction():
    context.run_migrations()
