"""Telephone numbers: international ones anywhere, national ones of the asked countries when they are written like one.

What is a valid number of a country is known by `phonenumbers` (Google's libphonenumber metadata). Asking takes time, so the
pattern lets through only what a person would take for a telephone number: with a plus, grouped in the customary way, a Chinese
mobile, or any run of digits right after a word like "phone" or 电话.
"""

from __future__ import annotations

import re
from typing import Any

from llmos.errors import InvalidValue, MissingExtra
from llmos.safety.pii.base import LABELS, Detector, Finding, before, detector, digits_of

_WORDS = r"(?:phone|mobile|telephone|tel|cell|call|fax|whatsapp|contact|电话|手机|手機|電話|传真|热线|联系方式)"
_NAMED = re.compile(_WORDS, re.IGNORECASE)
_NOT_BEFORE = frozenset("-./_:#=&?%@\\$€£¥")
_DATE = re.compile(r"\d{1,2}([.-])\d{1,2}\1(?:19|20)\d{2}")
_START = re.compile(r"[+(0-9]")


@detector("phone")
class Phone(Detector):
    """E.164 has 7 to 15 digits. 0.9: international and valid, or named; 0.7: national form of an asked country."""

    pattern = (
        r"(?:\+|\b00)[1-9](?:[ .()/-]{0,2}[0-9]){6,14}\b"  # +44 20 7946 0958
        r"|\b(?i:" + _WORDS + r")[^0-9+(\n]{0,16}[+(]?[0-9](?:[ .()/-]{0,2}[0-9]){6,14}\b"  # phone: 5550100
        r"|\b1[3-9][0-9](?:[ -]?[0-9]{4}){2}\b"  # Chinese mobile
        r"|(?:\b1[ .-])?(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}\b"  # North America
        r"|(?:\(0[0-9]{1,4}\) ?|\b0[0-9]{1,4}[ .-])[0-9]{2,8}(?:[ .-]?[0-9]{2,4}){0,4}\b"  # with a trunk 0: (010) 6552 9988, 020 7946 0958
        r"|\b[48]00-[0-9]{3}-?[0-9]{4}\b"  # Chinese service numbers
    )
    rank = 60

    def prepare(self) -> None:
        try:
            import phonenumbers
        except ImportError:
            raise MissingExtra("data", needed_for="Detecting phone numbers") from None
        self._lib: Any = phonenumbers
        unknown = [one for one in self.options.phone_regions if one not in phonenumbers.SUPPORTED_REGIONS]
        if unknown:
            raise InvalidValue(
                f"{', '.join(unknown)} is no region of phone numbers.",
                param="phone_regions",
                hint="Give ISO 3166 codes: US, CN, GB.",
            )

    def check(self, text: str, start: int, end: int) -> Finding | None:
        named = _NAMED.match(text, start, end)
        if named:
            first = _START.search(text, named.end(), end)
            start = first.start() if first else start
        value = text[start:end]
        if not 7 <= len(digits_of(value)) <= 15 or _DATE.fullmatch(value) or _joined(text, start, end):
            return None
        if not named and (before(text, start, LABELS) or _row_of_numbers(text, start, end)):
            return None
        named = named or _NAMED.search(text, max(0, start - 24), start)
        if value.startswith(("+", "00")):
            return (
                self.found(start, end, 0.9)
                if self._valid(value.replace("00", "+", 1) if value[0] == "0" else value, None)
                else None
            )
        if any(self._valid(value, region) for region in self.options.phone_regions):
            return self.found(start, end, 0.9 if named else 0.7)
        return None

    def canonical(self, value: str) -> str:
        return ("+" if value.startswith("+") else "") + digits_of(value)

    def _valid(self, value: str, region: str | None) -> bool:
        try:
            return bool(self._lib.is_valid_number(self._lib.parse(value, region)))
        except self._lib.NumberParseException:
            return False


def _row_of_numbers(text: str, start: int, end: int) -> bool:
    """Whether the groups, parted by spaces only, go on before or after: a table, a sequence."""
    if not text[start:end].replace(" ", "").isdigit():
        return False
    return (text[max(0, start - 1) : start] == " " and text[max(0, start - 2)].isdigit()) or (
        text[end : end + 1] == " " and text[end + 1 : end + 2].isdigit()
    )


def _joined(text: str, start: int, end: int) -> bool:
    """Whether it is a piece of something longer: an amount, a version, an identifier, an address of the web."""
    if start and (text[start - 1] in _NOT_BEFORE or (text[start - 1].isascii() and text[start - 1].isalnum())):
        return not (text[start - 1] in ":." and not text[max(0, start - 2)].isdigit())  # "phone:555…" is fine, "12:555…" is not
    after = text[end : end + 2]
    return len(after) == 2 and after[0] in "-./:,_%=" and (after[1].isdigit() or after[0] in "_%=")
