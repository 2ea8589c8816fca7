"""schema/openapi.json is what the app's routes say."""

from __future__ import annotations

from llmos.server import schema


def test_schema_file_is_current() -> None:
    assert schema.PATH.read_text() == schema.text(), "run: python -m llmos.server.schema"
