"""Passwords and other secrets that are named as such: `password = …`, `client_secret: …`, `Authorization: Bearer …`, 密码：…"""

from __future__ import annotations

import re

from llmos.safety.pii.base import Detector, Finding, detector
from llmos.safety.pii.entropy import entropy

MIN_ENTROPY = 2.5  # bits a character: "Summer2024!" has 3.3, "aaaa1111" has 1
_NAME = (
    r"(?:passw(?:or)?d|passwd|pwd|passphrase|secret(?:[_-]?key)?|client[_-]?secret|api[_-]?key|access[_-]?key|access[_-]?token|auth[_-]?token"
    r"|private[_-]?token|密码|口令|密钥)"
)
_VALUE = re.compile(
    rf"(?i:{_NAME}[\"']?[ \t]{{0,3}}(?:[:=：]|is\s|为|是)[ \t]{{0,3}}"
    r"|authorization[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?(?:bearer|basic|token)\s)"
)
_PLACEHOLDER = re.compile(
    r"(?i)[<>{}()\[\]$%]|\*{3}|\.{3}|x{4}|example|placeholder|your[_-]|changeme|redacted|none|null|getenv|environ"
)


@detector("password")
class Password(Detector):
    """The value only, at least 8 characters with letters and digits or signs; no placeholder (`<…>`, `$VAR`, `your_key`, a call)."""

    pattern = (
        r"(?i:" + _NAME + r")[\"']?[ \t]{0,3}(?:[:=：]|(?i:is)\s|为|是)[ \t]{0,3}[\"'`]?[^\s\"'`<>,;，；。]{8,}"
        r"|(?i:authorization)[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?(?i:bearer|basic|token)\s[A-Za-z0-9+/=._~-]{8,}"
    )
    rank = 8

    def check(self, text: str, start: int, end: int) -> Finding | None:
        named = _VALUE.match(text, start, end)
        if named is None or _inside_word(text, start):
            return None
        first = named.end() + (text[named.end()] in "\"'`")
        last = first + len(text[first:end].rstrip(".)"))
        value = text[first:last]
        letters, others = any(one.isalpha() for one in value), any(not one.isalpha() for one in value)
        if len(value) < 8 or not letters or not others or _PLACEHOLDER.search(value) or entropy(value) < MIN_ENTROPY:
            return None
        if not any(one.isdigit() for one in value) and not _mixed(value):
            return None
        return self.found(first, last, 0.8)


def _inside_word(text: str, start: int) -> bool:
    """dbPassword and 用户密码 are names of a password, "xyzsecret" is not."""
    previous = text[start - 1 : start]
    return previous.isascii() and previous.isalnum() and not (previous.islower() and text[start].isupper())


def _mixed(value: str) -> bool:
    """Without a digit only signs that words do not have tell a password from a path or a name."""
    return any(one in "!@#^&*+=~|" for one in value)
