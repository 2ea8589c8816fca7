"""Writes run.lock and dev.lock: every package with its version and hashes, except torch and llmos itself.

In: pyproject.toml. Out: requirements/run.lock (base, extras torch and data), requirements/dev.lock (everything the tests need).
torch is left out because the build that fits (CPU or a CUDA version) depends on the machine; the Makefile installs the pinned
version first, so that the resolver finds it in place.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LEFT_OUT = re.compile(r"^(torch|llmos|nvidia-[a-z0-9-]+|triton|cuda-[a-z0-9-]+)(==|\[| @)")


def compile_lock(name: str, extras: list[str]) -> None:
    target = HERE / f"{name}.lock"
    command = [sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--strip-extras", "--allow-unsafe"]
    command += [
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--no-emit-trusted-host",
        "--no-emit-options",
        "--no-header",
        "--no-annotate",
    ]
    command += [f"--extra={extra}" for extra in extras] + ["--output-file", str(target), str(HERE.parent / "pyproject.toml")]
    subprocess.run(command, check=True, cwd=HERE.parent)
    blocks = re.split(r"\n(?=[a-z0-9])", target.read_text())
    kept = [block for block in blocks if not LEFT_OUT.match(block)]
    target.write_text("# Written by `make lock`; installed with --require-hashes.\n" + "\n".join(kept))


if __name__ == "__main__":
    compile_lock("run", ["torch", "data"])
    compile_lock("dev", ["dev"])
