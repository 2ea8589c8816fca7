"""Hardware addresses of network interfaces."""

from __future__ import annotations

from llmos.safety.pii.base import Detector, Finding, detector


@detector("mac_address")
class MacAddress(Detector):
    """Six pairs of hexadecimal digits with one kind of separator (IEEE 802); not all alike, not part of a longer fingerprint, and not six
    decimal numbers with hyphens, which are a draw of a lottery sooner."""

    pattern = r"\b[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}\b|\b[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}\b"
    rank = 52

    def check(self, text: str, start: int, end: int) -> Finding | None:
        separator = text[start + 2]
        if text[start - 1 : start] == separator or (text[end : end + 1] == separator and text[end + 1 : end + 2].isalnum()):
            return None
        pairs = set(text[start:end].lower().split(separator))
        lottery = separator == "-" and all(pair.isdecimal() for pair in pairs)
        return self.found(start, end, 0.9) if len(pairs) > 1 and not lottery else None

    def canonical(self, value: str) -> str:
        return value.lower().replace("-", ":")
