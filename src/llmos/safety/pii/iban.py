"""International bank account numbers."""

from __future__ import annotations

from llmos.safety.pii.base import Detector, Finding, detector

# Country and length, of the IBAN registry that SWIFT keeps for ISO 13616.
_REGISTRY = """AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24
FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20
LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24
SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"""
LENGTHS = {one[:2]: int(one[2:]) for one in _REGISTRY.split()}


@detector("iban")
class Iban(Detector):
    """ISO 13616: country with its length, and ISO 7064 MOD 97-10 over the whole. Written in one run or in groups of four."""

    pattern = r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
    rank = 15

    def check(self, text: str, start: int, end: int) -> Finding | None:
        length = LENGTHS.get(text[start : start + 2])
        if length is None:
            return None
        place, kept = start, 0
        while place < end and kept < length:  # words in capitals may follow: the country says where it ends
            kept += text[place] != " "
            place += 1
        if kept < length or text[place : place + 1].isalnum():
            return None
        return self.found(start, place, 0.99) if mod97(text[start:place]) else None

    def canonical(self, value: str) -> str:
        return value.replace(" ", "")


def mod97(value: str) -> bool:
    compact = value.replace(" ", "")
    return int("".join(str(int(one, 36)) for one in compact[4:] + compact[:4])) % 97 == 1
