"""How a key looks: `llmos_`, 43 letters and digits of chance (256 bits), 6 of checksum. So a mistyped key is told from an unknown one
without a look into the database, and a key that leaked into a text is found by its form (infra/redact.py does)."""

from __future__ import annotations

import re
import secrets
import zlib

PREFIX = "llmos_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY, _SUM = 43, 6  # 62**43 > 2**256, 62**6 > 2**32
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_BODY + _SUM}}}")


def new_key() -> str:
    body = _base62(secrets.randbits(256), _BODY)
    return PREFIX + body + _checksum(body)


def new_id() -> str:
    """An id that says nothing about the key."""
    return f"key_{_base62(secrets.randbits(80), 14)}"


def well_formed(text: str) -> bool:
    """Whether it can be a key: the form is right and the checksum fits."""
    if not _FORM.fullmatch(text):
        return False
    body = text[len(PREFIX) : -_SUM]
    return text[-_SUM:] == _checksum(body)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _SUM)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
