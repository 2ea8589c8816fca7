"""JSON Web Tokens."""

from __future__ import annotations

import base64
import binascii
import json

from llmos.safety.pii.base import Detector, Finding, detector


@detector("jwt")
class Jwt(Detector):
    """Three parts in base64url (RFC 7519) of which the first is a JSON object that names an algorithm."""

    pattern = r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    rank = 4

    def check(self, text: str, start: int, end: int) -> Finding | None:
        header = text[start:end].partition(".")[0]
        try:
            head = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
        except (binascii.Error, ValueError):
            return None
        return self.found(start, end, 0.99) if isinstance(head, dict) and "alg" in head else None
