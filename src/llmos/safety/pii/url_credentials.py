"""User and password in addresses of the web and of databases."""

from __future__ import annotations

from llmos.safety.pii.base import Detector, Finding, detector


@detector("url_credentials")
class UrlCredentials(Detector):
    """`scheme://user:password@host` (RFC 3986, userinfo): the part between // and @."""

    pattern = r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\"'<>]*:[^\s/@\"'<>]+@"
    rank = 6

    def check(self, text: str, start: int, end: int) -> Finding | None:
        first = text.index("://", start) + 3
        value = text[first : end - 1]
        return None if any(one in value for one in "${}[]") else self.found(first, end - 1, 0.95)
