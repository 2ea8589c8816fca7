"""How quickly a job starts, and how many an hour of empty ones there could be: the price of durable jobs in processes of their own.

dispatch_ms  from `submit` (called) to the first line of the job's own code, with a warm spare (jobs now and then) and without (the
             first after a pause); p50 and p99. Both clocks are CLOCK_MONOTONIC, which all processes of a machine share.
done_ms      from `submit` to its result being on disk, in the first case.
jobs_per_s   empty jobs, submitted all at once, one runner, eight at a time: processes, results and history included.
submits_per_s  acknowledged submissions by one thread: each is on disk (fsync) when it returns.

    python -m benchmarks.bench_jobs [--database postgresql://…]

Last line: JSON; the same in benchmarks/results/jobs.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import benchmarks.jobs_kind  # noqa: F401  # registers it
from benchmarks import report
from llmos.infra.database import open_database
from llmos.kernel.base import JobSpec, JobState
from llmos.kernel.executors.local import LocalExecutor
from llmos.kernel.jobs import Jobs
from llmos.kernel.runner import Runner
from llmos.settings import Settings


def quantiles(values_s: list[float]) -> dict[str, float]:
    ordered = sorted(values_s)
    return {
        "p50": round(statistics.median(ordered) * 1000, 1),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 1),
    }


def dispatch(jobs: Jobs, num_jobs: int, pause_s: float) -> tuple[list[float], list[float]]:
    """Seconds to the first line and to the result, one job after another."""
    starts, ends = [], []
    for _ in range(num_jobs):
        time.sleep(pause_s)
        submitted = time.monotonic()
        job = jobs.wait(jobs.submit(JobSpec(kind="bench-stamp")).id, timeout_s=60)
        ends.append(time.monotonic() - submitted)
        assert job.result is not None
        starts.append(float(job.result["began"]) - submitted)
    return starts, ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="PostgreSQL instead of SQLite in a temporary folder")
    parser.add_argument("--jobs", type=int, default=200)
    arguments = parser.parse_args()
    busy_before, load_before = report.wait_until_quiet(), report.load()
    with tempfile.TemporaryDirectory(dir=os.environ.get("LLMOS_BENCH_DIR")) as folder:
        settings = Settings.from_env(home=Path(folder), database_url=arguments.database)
        result = measure(settings, arguments.jobs)
    rows = [(name, value) for name, value in result.items()]
    report.print_table(("figure", "value"), rows)
    told = {"database": "postgresql" if arguments.database else "sqlite", **result}
    report.finish("jobs", {**told, "busy_before": busy_before, "load_before": load_before, "load_after": report.load()})


def measure(settings: Settings, num_jobs: int) -> dict[str, Any]:
    database = open_database(settings)
    cold_runner = Runner(settings, database, executor=LocalExecutor(spare_s=0.0))
    cold_runner.start()
    cold, _ = dispatch(Jobs(settings, database, runner=cold_runner), num_jobs // 4, 0.2)
    cold_runner.drain()

    runner = Runner(settings, database)
    runner.start()
    jobs = Jobs(settings, database, runner=runner)
    dispatch(jobs, 3, 0.5)
    warm, done = dispatch(jobs, num_jobs, 0.5)

    runner.drain()

    jobs = Jobs(settings, database)
    began = time.monotonic()
    ids = [jobs.submit(JobSpec(kind="bench-stamp")).id for _ in range(num_jobs)]
    submit_s = time.monotonic() - began
    runner = Runner(settings, database)
    jobs = Jobs(settings, database, runner=runner)
    began = time.monotonic()
    runner.start()
    while jobs.store.count_unfinished():
        time.sleep(0.01)
    throughput_s = time.monotonic() - began
    assert all(jobs.get(job_id).state is JobState.SUCCEEDED for job_id in ids)
    runner.drain()
    database.close()
    return {
        "num_jobs": num_jobs,
        "dispatch_warm_ms": quantiles(warm),
        "dispatch_cold_ms": quantiles(cold),
        "done_ms": quantiles(done),
        "jobs_per_s": round(num_jobs / throughput_s, 1),
        "submits_per_s": round(num_jobs / submit_s, 1),
    }


if __name__ == "__main__":
    main()
