"""Social security numbers of the United States."""

from __future__ import annotations

import re

from llmos.safety.pii.base import LABELS, Detector, Finding, before, detector, digits_of

_NAMED = re.compile(r"\bssn\b|social security|\btax(?:payer)? id", re.IGNORECASE)
_ADVERTISED = frozenset({"078051120", "219099999"})  # printed in advertisements, never valid since (SSA)


@detector("us_ssn")
class UsSsn(Detector):
    """AAA-GG-SSSS. There is no checksum; the SSA never gives area 000, 666 or 900 to 999, group 00, serial 0000
    (https://www.ssa.gov/employer/randomization.html). 0.7 by form, 0.95 when the text names it; without hyphens only when named."""

    pattern = r"\b[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}\b|\b(?i:ssn|social security)[^0-9\n]{0,20}[0-8][0-9]{2} ?[0-9]{2} ?[0-9]{4}\b"
    rank = 20

    def check(self, text: str, start: int, end: int) -> Finding | None:
        while not text[start].isdigit():
            start += 1
        value = digits_of(text[start:end])
        if value[:3] in ("000", "666") or value[3:5] == "00" or value[5:] == "0000" or value in _ADVERTISED:
            return None
        around = (text[start - 1 : start], text[end : end + 1])
        if "-" in around or "/" in around or before(text, start, LABELS):
            return None
        return self.found(start, end, 0.95 if before(text, start, _NAMED, 48) else 0.7)

    def canonical(self, value: str) -> str:
        return digits_of(value)
