"""Importing this registers the steps over the language tools."""

from __future__ import annotations

from llmos.data.steps import entities, segment, tag_words  # noqa: F401
