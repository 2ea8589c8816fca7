"""The process that is a run's driver in a Ray cluster: submits each task it is sent, and sends back (place, part or error).

    python -P -m llmos.data.executors.ray_driver FD PARENT_PID ADDRESS

It ends with its parent, and Ray ends the tasks of a driver that is gone.
"""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray.exceptions import RayTaskError

from llmos.data.executors.local import LOOK_S, ONE_THREAD
from llmos.data.work import Part, PartTask, run_part
from llmos.kernel.child import bind_to_parent
from llmos.kernel.executors.ray_driver import knock


def compute(task: PartTask) -> Part:
    """One part, on a node."""
    from llmos.data.builtins import load

    load()
    return run_part(task)


def main(handle: int, address: str) -> None:
    try:
        knock(address)
        ray.init(address=address, namespace="llmos", log_to_driver=False, logging_level="error")
    except Exception as problem:  # noqa: BLE001 - the last line it says is the reason
        sys.exit(" ".join(str(problem).split()) or type(problem).__name__)
    remote = ray.remote(num_cpus=1, max_retries=2, runtime_env={"env_vars": ONE_THREAD})(compute)
    flying: dict[Any, int] = {}
    with Connection(handle) as line:
        while True:
            try:
                while line.poll(0 if flying else None):
                    place, task = line.recv()
                    flying[remote.remote(task)] = place
            except (EOFError, ConnectionResetError):
                return
            done, _ = ray.wait([*flying], timeout=LOOK_S)
            for one in done:
                line.send((flying.pop(one), _outcome(one)))


def _outcome(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as problem:
        return problem.cause if isinstance(problem.cause, Exception) else RuntimeError(str(problem))
    except Exception as problem:  # noqa: BLE001 - told to the run, which raises it
        return RuntimeError(f"{type(problem).__name__}: {problem}")


if __name__ == "__main__":
    bind_to_parent(int(sys.argv[2]))
    main(int(sys.argv[1]), sys.argv[3])
    sys.stderr.flush()
    os._exit(0)
