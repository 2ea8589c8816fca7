"""Private keys in their armour."""

from __future__ import annotations

import re

from llmos.safety.pii.base import Detector, Finding, detector

_HEAD = re.compile(r"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----")
_BODY = re.compile(r"(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]{16,})+")  # "\n" may be written as two characters in JSON and .env files


@detector("private_key")
class PrivateKey(Detector):
    """PEM (RFC 7468), OpenSSH and PGP blocks, from BEGIN to END; without an END as far as lines of base64 go. The bare heading, as a
    manual quotes it, is none."""

    pattern = (
        r"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----[^-]*(?:-[^-]+)*"
        r"(?:-----END [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----)?"
    )
    rank = 1

    def check(self, text: str, start: int, end: int) -> Finding | None:
        head = _HEAD.match(text, start, end)
        assert head is not None
        body = _BODY.match(text, head.end(), end)
        if text.endswith("-----", head.end(), end):
            return self.found(start, end, 0.99) if end - head.end() > 60 else None
        return self.found(start, body.end(), 0.95) if body else None
