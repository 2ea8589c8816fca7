"""Importing this registers every built-in data format."""

from __future__ import annotations

from llmos.data.readers import (  # noqa: F401
    arrow,
    bitext,
    conll,
    csv,
    documents,
    json,
    jsonl,
    mail,
    parquet,
    squad,
    text,
    warc,
)
