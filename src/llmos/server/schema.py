"""Writes schema/openapi.json from the app's own routes; CI compares it. `python -m llmos.server.schema [--check]`

Clients are generated from that file, so a route that changes shows in a diff.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from llmos.server.app import routed

PATH = Path(__file__).resolve().parents[3] / "schema" / "openapi.json"


def text() -> str:
    return json.dumps(routed().openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """0 when written or equal; 1 when --check finds a difference."""
    new = text()
    if "--check" in arguments:
        return 0 if PATH.exists() and PATH.read_text() == new else 1
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
