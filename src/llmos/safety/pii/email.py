"""Addresses of electronic mail."""

from __future__ import annotations

from llmos.safety.pii.base import Detector, Finding, detector

# "logo@2x.png" is a picture: endings of files that are no top-level domains.
_FILES_TEXT = "png jpg jpeg gif svg webp bmp ico css scss less js jsx ts tsx json map html htm xml txt pdf woff woff2 ttf"
_FILES = frozenset(_FILES_TEXT.split())


@detector("email")
class Email(Detector):
    """local@domain.tld in ASCII (RFC 5321 allows 64 characters before the @ and 255 after it)."""

    pattern = r"[A-Za-z0-9_][A-Za-z0-9._%+'-]*@[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)+"
    rank = 30

    def check(self, text: str, start: int, end: int) -> Finding | None:
        local, _, domain = text[start:end].partition("@")
        ending = domain.rpartition(".")[2].lower()
        if not ending.isalpha() or not 2 <= len(ending) <= 24 or ending in _FILES:
            return None
        if ".." in local or local.endswith(".") or len(local) > 64 or len(domain) > 255:
            return None
        return self.found(start, end, 0.95)

    def canonical(self, value: str) -> str:
        return value.lower()
