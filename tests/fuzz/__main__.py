"""`python -m tests.fuzz --seconds 60`: each target for so long, in a process of its own with 512 MB of memory (promise P10).

Damaged input may be read or refused with the errors of its target; anything else, or 2 s of CPU for one input, is a finding: it is
written to .fuzz/ and the exit status is 1. `--target NAME` runs one of them, `--start N` begins with case N.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS

MAX_CASE_CPU_S = 2.0
MAX_RSS_BYTES = 512 << 20
FINDINGS = Path(".fuzz")


def run_case(name: str, number: int, folder: Path) -> tuple[str, bytes]:
    """What is wrong with case `number`, or "", and its bytes."""
    target = TARGETS[name]
    data = mutate(target.seeds[number % len(target.seeds)], number, target.seeds)
    path = folder / target.file
    path.write_bytes(data)
    began = time.process_time()
    try:
        target.call(path)
    except (target.refusal, target.others):
        pass
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}", data
    used = time.process_time() - began
    return (f"took {used:.1f} s of CPU" if used > MAX_CASE_CPU_S else ""), data


def fuzz(name: str, seconds: float, start: int) -> int:
    """Runs one target for so long. Returns the number of findings."""
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    findings, number, until = 0, start, time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            wrong, data = run_case(name, number, Path(folder))
            if wrong:
                findings += 1
                FINDINGS.mkdir(exist_ok=True)
                (FINDINGS / f"{name}-{number}").write_bytes(data)
                print(f"{name} case {number}: {wrong[:300]}", flush=True)
            number += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(f"{name}: {number - start} cases from {start}, {findings} findings, peak {peak >> 20} MB", flush=True)
    return findings + (peak > MAX_RSS_BYTES)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--target", choices=sorted(TARGETS))
    parser.add_argument("--start", type=int, default=None)
    options = parser.parse_args()
    start = random.randrange(1 << 40) if options.start is None else options.start
    if options.target:
        return min(1, fuzz(options.target, options.seconds, start))
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(options.seconds), "--start", str(start), "--target"]
    return max(subprocess.run([*command, name], check=False).returncode for name in sorted(TARGETS))


if __name__ == "__main__":
    sys.exit(main())
