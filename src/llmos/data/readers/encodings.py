"""Guesses the encoding of bytes that are not UTF-8, for `read.encoding: auto`."""

from __future__ import annotations

from charset_normalizer import from_bytes


def decode(raw: bytes) -> str | None:
    """The text in the most likely encoding; None when none is likely."""
    best = from_bytes(raw).best()
    return None if best is None else str(best)
