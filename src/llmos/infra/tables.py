"""The tables, as SQLAlchemy Core. A change here goes with a migration in `migrations/versions`; a test compares the two.

JSON is kept as text, times as UTC in ISO 8601, so that rows read the same in SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text

REVISION = "0001"  # the newest migration; what a database must be at for this program

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# A model is there when its row is; files without a row are nobody's. `card` is the ModelCard as JSON.
models = Table(
    "models",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("card", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
)

# Where a name stands for another, now and before. `target` NULL in the history: the alias was removed.
aliases = Table(
    "aliases",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("target", String(512), nullable=False),
    Column("updated_at", String(32), nullable=False),
)
alias_history = Table(
    "alias_history",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(255), nullable=False),
    Column("target", String(512)),
    Column("actor", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Index("ix_alias_history_name", "name"),
)

accepted_licences = Table(
    "accepted_licences",
    metadata,
    Column("licence", String(255), primary_key=True),
    Column("model", String(255), primary_key=True),
    Column("at", String(32), nullable=False),
)

# Measured engine tables; `key` says model version, machine and engine versions.
engine_choices = Table(
    "engine_choices",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("document", Text, nullable=False),
    Column("at", String(32), nullable=False),
)
