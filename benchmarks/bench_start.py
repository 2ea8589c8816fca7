"""How long a user waits, and what an idle server costs.

    first token    from starting `llmos run` to the first byte of the answer on stdout, SmolLM2 on disk, fresh process each time
    import         `import llmos` in a fresh interpreter, less the interpreter's own start
    idle server    resident memory of `llmos serve` with no model loaded, all its processes together

In: nothing. Out: a table, benchmarks/results/start.json. Medians of `--repeats` runs after one warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from benchmarks.report import finish, load, print_table, wait_until_quiet
from benchmarks.serving import serving

MODEL = "smollm2-135m-instruct"


def first_token() -> float:
    command = [sys.executable, "-m", "llmos", "run", "--model", MODEL, "Name a colour.", "--max-tokens", "8", "--temperature", "0"]
    started = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.monotonic() - started
        process.stdout.read()
    if process.returncode != 0:
        raise RuntimeError(f"llmos run ended with {process.returncode}")
    return seconds


def python(code: str) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - started


def idle_server_mb() -> float:
    """Resident set of the server and its children five seconds after it is ready."""
    import psutil

    with serving() as (_, pid):
        time.sleep(5)
        root = psutil.Process(pid)
        total: int = sum(process.memory_info().rss for process in [root, *root.children(recursive=True)])
    return total / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    subprocess.run([sys.executable, "-m", "llmos", "pull", MODEL], check=True, stdout=subprocess.DEVNULL)
    before = wait_until_quiet()
    first_token()
    python("import llmos")
    result = {
        "first_token_s": round(statistics.median(first_token() for _ in range(repeats)), 2),
        "import_s": round(
            statistics.median(python("import llmos") for _ in range(repeats))
            - statistics.median(python("") for _ in range(repeats)),
            3,
        ),
        "idle_server_mb": round(idle_server_mb()),
    }
    goals = {"first_token_s": 3.0, "import_s": 0.3, "idle_server_mb": 250}
    print_table(("figure", "measured", "goal: under"), [(name, value, goals[name]) for name, value in result.items()])
    finish(
        "start",
        {"model": MODEL, "busy_before": before, "load_after": load(), **result},
    )


if __name__ == "__main__":
    main()
