"""A real Ray cluster on this machine: `ray start` processes of their own, each a node with its own raylet and workers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

STARTS_S = 240.0
_HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 5}  # a lost node is noticed after 5 s


class Node:
    """One node: the process `ray start --block` and everything below it."""

    def __init__(self, folder: Path, name: str, arguments: list[str]) -> None:
        self.log = folder / f"{name}.log"
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--node-ip-address=127.0.0.1"]
        sizes = ["--object-store-memory=100000000", "--memory=1000000000", "--min-worker-port=0", "--max-worker-port=0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *sizes, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            )

    def wait_started(self) -> None:
        end = time.monotonic() + STARTS_S
        while b"Ray runtime started" not in self.log.read_bytes():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def runs(self, pid: int) -> bool:
        return self.process.pid in {parent.pid for parent in psutil.Process(pid).parents()}

    def kill(self) -> None:
        """All its processes at once, as when the machine is gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            mine = psutil.Process(self.process.pid)
            family = [mine, *mine.children(recursive=True)]
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGSTOP)  # so that none sees another die
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            psutil.wait_procs(family, timeout=10)
        self.process.wait()


class Cluster:
    """Nodes with one core each, two unless told otherwise. The driver joins the head, which also has one piece of a resource called
    `head`."""

    def __init__(self, num_nodes: int = 2) -> None:
        self._num_nodes = num_nodes
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets lie there: the path must be short
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.nodes: list[Node] = []

    def __enter__(self) -> Cluster:
        port = self.address.rpartition(":")[2]
        head = ["--head", f"--port={port}", '--resources={"head": 1}', f"--system-config={json.dumps(_HEALTH)}"]
        quiet = ["--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={self.folder / 't'}"]
        try:
            self._add("head", [*head, *quiet])
            for _ in range(1, self._num_nodes):
                self._add("worker", [f"--address={self.address}"])
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def head(self) -> Node:
        return self.nodes[0]

    @property
    def worker(self) -> Node:
        return self.nodes[1]

    def _add(self, name: str, arguments: list[str]) -> None:
        self.nodes.append(Node(self.folder, name, [*arguments, "--num-cpus=1"]))
        self.nodes[-1].wait_started()

    def __exit__(self, *_: object) -> None:
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
