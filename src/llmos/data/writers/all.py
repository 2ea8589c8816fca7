"""Importing this registers every built-in way to write rows."""

from __future__ import annotations

from llmos.data.writers import bitext, hub, jsons, tables, tagged, texts  # noqa: F401
