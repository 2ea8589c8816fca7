"""The small models of the tests' hub: trained on first use by scripts/train_tiny_models.py, then cached."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.assets import CACHE, ROOT

SCRIPT = ROOT / "scripts" / "train_tiny_models.py"


def tiny_models() -> Path:
    """A folder with one folder per repository. The cache is keyed by the script, so a changed script trains anew."""
    digest = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:16]
    target = CACHE.parent / "tiny-models" / digest
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_name(f"{digest}.{os.getpid()}")
            try:
                subprocess.run([sys.executable, str(SCRIPT), str(partial)], check=True, timeout=600)
                partial.rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return target
