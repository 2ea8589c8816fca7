"""Numbers of payment cards."""

from __future__ import annotations

from llmos.safety.pii.base import LABELS, Detector, Finding, before, detector, digits_of

# (first, last prefix, lengths) of issuers, ISO/IEC 7812; https://en.wikipedia.org/wiki/Payment_card_number
_ISSUERS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4, 4, (13, 16, 19)),  # Visa
    (51, 55, (16,)), (2221, 2720, (16,)),  # Mastercard
    (34, 34, (15,)), (37, 37, (15,)),  # American Express
    (6011, 6011, (16, 19)), (644, 649, (16, 19)), (65, 65, (16, 19)),  # Discover
    (3528, 3589, (16, 19)),  # JCB
    (300, 305, (14,)), (36, 36, (14,)), (38, 39, (14, 16)),  # Diners Club
    (62, 62, (16, 17, 18, 19)), (81, 81, (16,)),  # UnionPay
)  # fmt: skip


@detector("credit_card")
class CreditCard(Detector):
    """Luhn's checksum (ISO/IEC 7812-1) and an issuer's prefix with its length. 0.95 in the customary groups, 0.8 as one run of
    digits, of which one in ten passes the checksum by chance; none after "order no." and the like."""

    pattern = (
        r"\b3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}\b|\b3[0689][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{4}\b"
        r"|\b[2-68][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,4}(?:[ -]?[0-9]{1,3})?\b"
    )
    rank = 40

    def check(self, text: str, start: int, end: int) -> Finding | None:
        value = text[start:end]
        digits = digits_of(value)
        if not issued(digits) or not luhn(digits) or len(set(digits)) < 2:
            return None
        if (
            any(one in ".-/_=&%" for one in text[start - 1 : start])
            or text[end : end + 2][:1] in ("-", "_")
            or before(text, start, LABELS)
        ):
            return None
        return self.found(start, end, 0.95 if len(value) > len(digits) else 0.8)

    def canonical(self, value: str) -> str:
        return digits_of(value)


def issued(digits: str) -> bool:
    """Whether some issuer's numbers begin so and are as long."""
    return any(len(digits) in lengths and first <= int(digits[: len(str(first))]) <= last for first, last, lengths in _ISSUERS)


def luhn(digits: str) -> bool:
    total = 0
    for place, one in enumerate(reversed(digits)):
        value = int(one) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
