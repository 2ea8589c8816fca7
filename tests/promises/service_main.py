"""`llmos serve` with the job kinds of these tests: what service.py starts, kills and starts again."""

from __future__ import annotations

import sys

import tests.promises.kinds  # noqa: F401  # registers them
from llmos.server.serve import serve
from llmos.settings import Settings

if __name__ == "__main__":
    serve(Settings.from_env(), say=lambda text: print(text, file=sys.stderr, flush=True))
