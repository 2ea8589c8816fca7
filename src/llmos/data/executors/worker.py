"""A worker process: takes tasks over a socket, computes them, answers. Started by executors/local.py; ends when its starter is gone.

    python -P -m llmos.data.executors.worker FD PARENT_PID

It is a program of its own and not a fork or a spawn of multiprocessing: whoever runs a recipe from a script or a notebook needs no
`if __name__ == "__main__"`, and the threads of polars are limited before polars is loaded. What travels over the socket are records of
ours between two processes of one user.
"""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from llmos.errors import LimitExceeded, LLMOSError
from llmos.kernel.child import bind_to_parent


def main(handle: int) -> None:
    with Connection(handle) as line:
        from llmos.data.builtins import load_some
        from llmos.data.work import run_part

        while True:
            try:
                task = line.recv()
            except EOFError:
                return
            try:
                load_some(spec.name for spec in task.stage.all)
                line.send(run_part(task))
            except LLMOSError as error:
                line.send(error)
            except MemoryError as error:
                said = f"A worker process has no memory left: {error}"
                line.send(LimitExceeded(said, hint="Less is needed with smaller read.batch_bytes, or fewer workers."))
            except Exception as error:  # noqa: BLE001 - told to the starter, which raises it
                line.send(RuntimeError(f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    bind_to_parent(int(sys.argv[2]))
    try:
        main(int(sys.argv[1]))
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        sys.exit(130)
