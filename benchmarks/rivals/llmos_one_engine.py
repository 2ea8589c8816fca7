"""LLMOS in process with the one engine that the server takes: the yardstick for what the server adds."""

from __future__ import annotations

from functools import partial

from benchmarks.rivals.llmos_engine import load
from benchmarks.workload import run

if __name__ == "__main__":
    run(partial(load, one_engine=True))
