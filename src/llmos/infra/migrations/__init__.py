"""Alembic's folder: how the tables came to be, step by step, so that the state of every earlier release opens (P33)."""
