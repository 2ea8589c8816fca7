"""The report as one HTML file that needs nothing else: style and script are in it, and the figures as JSON that the script draws.

Rows are hostile. They are only ever data: the JSON cannot end its script element, the script makes text nodes of it, and the file's own
Content-Security-Policy allows exactly this style and this script by their hashes, and no request to anywhere. Served, the same policy
is a header, with a sandbox that gives the page an origin of its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files

from llmos.data.shown import Plain


def page(facts: Plain) -> str:
    """The whole document."""
    parts = {
        "CSP": _policy(),
        "STYLE": _asset("report.css"),
        "FACTS": _inside(facts),
        "SCRIPT": _asset("report.js"),
    }
    text = _asset("report.html")
    for name, value in parts.items():
        before, mark, after = text.partition(f"<!--{name}-->")
        assert mark, name
        text = before + value + after
    return text


def _inside(facts: Plain) -> str:
    """JSON that HTML cannot mistake for anything else."""
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False)
    for one in "<>&\u2028\u2029":
        text = text.replace(one, f"\\u{ord(one):04x}")
    return text


@cache
def _asset(name: str) -> str:
    return (files("llmos.data.report") / name).read_text(encoding="utf-8")


def _policy() -> str:
    allowed = {"script-src": "report.js", "style-src": "report.css"}
    hashed = [f"{what} 'sha256-{_hash(_asset(name))}'" for what, name in allowed.items()]
    return "; ".join(["default-src 'none'", *hashed, "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


CSP = _policy() + "; frame-ancestors 'none'; sandbox allow-scripts"  # as a header, where the file is served
