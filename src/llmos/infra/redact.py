"""What a secret looks like, and what stands in its place. Applied before every sink: logs, reports, error texts (P28).

Each pattern begins with a fixed word, so that a long hostile text is read once and not once for each of its characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

MARK = "[redacted]"

_TOKENS = re.compile(
    r"""
    \bllmos_[A-Za-z0-9_-]{20,}              # our own keys
  | \bhf_[A-Za-z0-9]{16,}                   # Hugging Face
  | \bsk-[A-Za-z0-9_-]{16,}                 # OpenAI, Anthropic and those who copied them
  | \bms-[0-9a-f-]{16,}                     # ModelScope
  | \bgh[opsur]_[A-Za-z0-9]{16,}            # GitHub
  | \bgithub_pat_[A-Za-z0-9_]{16,}
  | \bAKIA[A-Z0-9]{16}\b                    # AWS access key
  | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*   # JSON Web Token
  | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_BEARER = re.compile(r"\b(Bearer|Basic|Token)(\s+)[A-Za-z0-9+/=._~-]{6,}", re.IGNORECASE)
_URL_USER = re.compile(r"(?<=://)[^/\s@'\"]+@")
_NAMED = re.compile(
    r"""(?P<name>(?:api[-_]?key|authorization|cookie|passw(?:or)?d|secret|access[-_]?token|auth[-_]?token
      |[-_]token|signature)["']?) (?P<sep>\s*[=:]\s*) (?P<value>"[^"]*"|'[^']*'|(?:(?:Bearer|Basic)\s+)?[^\s"'&,;}\])]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
_SECRET_NAMES = re.compile(r"api[-_]?key|authorization|cookie|passw(or)?d|secret|token$|signature|credential", re.IGNORECASE)


def redact(text: str) -> str:
    """The text with every secret in it replaced."""
    text = _TOKENS.sub(MARK, text)
    text = _NAMED.sub(lambda found: f"{found['name']}{found['sep']}{MARK}", text)
    text = _BEARER.sub(lambda found: f"{found[1]}{found[2]}{MARK}", text)
    return _URL_USER.sub(f"{MARK}@", text)


def visible(text: str) -> str:
    """The text without what a terminal or a reader's eye would obey: control and bidirectional characters, line and paragraph
    separators show as \\x1b. Line ends and tabs stay."""
    return "".join(one if one in "\n\t" or unicodedata.category(one) not in _OBEYED else f"\\x{ord(one):02x}" for one in text)


def redact_value(value: Any, name: str = "") -> Any:
    """The same for JSON-like values: by the name of a field, then by the text of it. Other types become text."""
    if name and value is not None and not isinstance(value, bool | int | float) and _SECRET_NAMES.search(name):
        return MARK
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {redact(str(key)): redact_value(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item) for item in value]
    return redact(str(value))
