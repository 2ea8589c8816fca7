"""The contract of an executor: it runs one attempt of a job somewhere and carries messages to it and back.

    attempt = executor.start(order, wake)       the runner starts it after the claim is committed
    attempt.poll()                              what it said since the last call; Ended is the last
    attempt.send(Wanted("cancel"))              never blocks on the attempt
    attempt.terminate(), attempt.kill()         for one that does not listen

An executor decides nothing: which job runs, when a lease is over and what an end means are the runner's business. What runs an
attempt calls `child.run_attempt(order, port)` (kernel/child.py), wherever that is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from llmos.kernel.messages import Start, ToAttempt, ToRunner


class Attempt(ABC):
    """One running attempt. Used by the runner's thread only; `wake` of `start` may be called from any thread."""

    @abstractmethod
    def poll(self) -> list[ToRunner]:
        """What came since the last call, in order, without blocking. The last message of all is Ended, exactly once. Unread
        messages are bounded: an attempt that says more is held back until they are taken."""

    @abstractmethod
    def send(self, message: ToAttempt) -> None:
        """Brings it there, soon. Never raises because the attempt is gone: Ended says so."""

    @abstractmethod
    def terminate(self) -> None:
        """Asks the processes to end (SIGTERM, or what the place has for it). Ended follows when they do."""

    @abstractmethod
    def kill(self) -> None:
        """Ends all its processes at once, whatever state they are in. Ended follows. Idempotent."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """False once Ended can be polled or has been."""

    @property
    @abstractmethod
    def heard_at(self) -> float:
        """time.monotonic() of the newest sign of life; now, while something lies unread."""

    @property
    def where(self) -> str:
        """For people: "process 4711", "node 10.0.0.7"."""
        return ""


class Executor(ABC):
    """Starts attempts. Thread-safe."""

    remote: bool = False  # True: attempts use another machine's cores and memory, not this one's budget

    @abstractmethod
    def start(self, order: Start, wake: Callable[[], None]) -> Attempt:
        """Starts the attempt `order.job.attempt` of `order.job`. Returns at once; a start that fails later is an Ended.
        `wake` is called, from any thread, when the attempt has something to poll. Raises LLMOSError when it cannot start."""

    def spare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """A hint that more jobs may follow soon: it may prepare. Called after the start and the end of a job."""

    @abstractmethod
    def close(self) -> None:
        """Kills every attempt that is left and frees what the executor holds."""
