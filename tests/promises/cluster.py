"""Runner processes for the promise tests: each its own process and process group, started, stopped, continued and killed from here.

with Runners(database_url, home, lease_s=2.0) as runners:
    runners.start(); os.kill(runners.pids[0], SIGKILL)
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from llmos.infra.database import Database
from llmos.kernel.base import JobState
from llmos.kernel.runner import Runner
from llmos.kernel.store import JobStore
from llmos.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


class Runners:
    """Processes with a runner each, on one database."""

    def __init__(self, url: str, home: Path, *, lease_s: float = 30.0) -> None:
        self._order = json.dumps({"url": url, "home": str(home), "lease_s": lease_s})
        self._log = home.parent / "runners.log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Runners:
        return self

    def __exit__(self, *_: object) -> None:
        for process in list(self.processes):
            self.kill(process)

    def start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "tests.promises.cluster", self._order]
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL to the runner alone: its children must find out by themselves."""
        process.kill()
        process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def keep(self, number: int) -> None:
        """Starts new ones for those that are gone."""
        for process in list(self.processes):
            if process.poll() is not None:
                self.processes.remove(process)
        while len(self.processes) < number:
            self.start()

    def children(self) -> list[psutil.Process]:
        """The processes of attempts (and a warm spare, perhaps)."""
        found: list[psutil.Process] = []
        for process in list(self.processes):
            with contextlib.suppress(psutil.Error):
                found += psutil.Process(process.pid).children(recursive=True)
        return found

    def kill_random_child(self, rng: random.Random) -> bool:
        children = self.children()
        if not children:
            return False
        with contextlib.suppress(psutil.Error):
            rng.choice(children).kill()
            return True
        return False


def wait_all_over(database: Database, patience_s: float) -> float:
    """Waits until no job is unfinished. The seconds it took."""
    began = time.monotonic()
    store = JobStore(database)
    while store.count_unfinished():
        assert time.monotonic() - began < patience_s, (
            f"stuck after {patience_s:g} s: {store.list(states=[*JobState][:3], limit=10)}"
        )
        time.sleep(0.05)
    return time.monotonic() - began


def main() -> None:
    """One runner, until SIGTERM. Not even SIGINT is handled: who kills it means it."""
    order = json.loads(sys.argv[1])
    settings = Settings.from_env({"LLMOS_HOME": order["home"]})
    runner = Runner(settings, Database(order["url"]), lease_s=order["lease_s"], heartbeat_s=order["lease_s"] / 4, cores=2)
    signal.signal(signal.SIGTERM, lambda *_: runner.drain())
    runner.start()
    while runner.alive:
        time.sleep(0.1)
    os._exit(0)


if __name__ == "__main__":
    import tests.kernel.kinds  # noqa: F401  # registers them

    main()
