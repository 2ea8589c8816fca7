"""The stock npm `openai` client (Node 20), run as its own test suite against the live server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.conftest import CHAT, EMBEDDER, KEY
from tests.server.live import Live

SUITE = Path(__file__).parent / "node"


def test_npm_openai_client(real: Live) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    if not (SUITE / "node_modules" / "openai").exists():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=SUITE, check=True, timeout=200, capture_output=True)
    environment = {"LLMOS_URL": real.url, "LLMOS_KEY": KEY, "LLMOS_CHAT": CHAT, "LLMOS_EMBEDDER": EMBEDDER}
    done = subprocess.run(
        [npm, "test"], cwd=SUITE, env={**os.environ, **environment}, timeout=280, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass 11" in done.stdout, done.stdout
