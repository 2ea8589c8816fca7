"""Numbers of Chinese resident identity cards."""

from __future__ import annotations

from datetime import date

from llmos.safety.pii.base import Detector, Finding, detector

_WEIGHTS = tuple(2**power % 11 for power in range(17, 0, -1))  # ISO 7064, MOD 11-2
_PROVINCES_TEXT = "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83 91"
_PROVINCES = frozenset(_PROVINCES_TEXT.split())
FIRST_YEAR = 1850


@detector("chinese_id")
class ChineseId(Detector):
    """18 characters by GB 11643-1999: division, date of birth, sequence, check character of ISO 7064 MOD 11-2. Province, date and
    check character must all be right."""

    pattern = r"\b[1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]\b"
    rank = 10

    def check(self, text: str, start: int, end: int) -> Finding | None:
        value = text[start:end].upper()
        return self.found(start, end, 0.99) if value[:2] in _PROVINCES and _born(value[6:14]) and check_character(value) else None

    def canonical(self, value: str) -> str:
        return value.upper()


def check_character(value: str) -> bool:
    total = sum(weight * int(one) for weight, one in zip(_WEIGHTS, value[:17], strict=True))
    return "10X98765432"[total % 11] == value[17]


def _born(digits: str) -> bool:
    try:
        return FIRST_YEAR <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year <= 2100
    except ValueError:
        return False
