"""What a runner and the attempt of a job say to each other, whatever carries it: JSON of bounded size, no pickle.

    runner -> attempt   Start, Wanted (cancel, pause, stop), Ack
    attempt -> runner   Ready, Beat, News, Checkpoint, Result, Problem, Left; the executor adds Ended

Checkpoint, Result, Problem and Left carry a number and wait for the Ack with it: it comes after the commit. `ok` false means that
a newer attempt has taken over and that nothing of this one will be recorded any more.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from llmos.errors import InvalidValue
from llmos.kernel.base import EventType, Job, JobProgress

MAX_MESSAGE_BYTES = 4 << 20
MAX_ORDER_BYTES = 4 * MAX_MESSAGE_BYTES  # of Start: parameters and checkpoint together
Why = Literal["cancel", "pause", "stop"]


class Start(msgspec.Struct, frozen=True, tag=True):
    """The order. module: what registers the job's kind. search_path: sys.path of the runner, where that module is found. cores: how
    many of those that the job asked for there are."""

    job: Job
    settings: dict[str, Any]
    module: str
    search_path: list[str]
    heartbeat_s: float
    cores: int = 0


class Wanted(msgspec.Struct, frozen=True, tag=True):
    """The attempt is to end at its next step boundary. stop: the service stops, the job goes on later."""

    what: Why


class Ack(msgspec.Struct, frozen=True, tag=True):
    number: int
    ok: bool


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The child has imported what it needs and waits for its Start."""


class Beat(msgspec.Struct, frozen=True, tag=True):
    """It lives. memory_bytes: resident, of the process that computes."""

    memory_bytes: int = 0


class Event(msgspec.Struct, frozen=True):
    """One event as the attempt reports it; the store numbers it."""

    type: EventType
    data: dict[str, Any]


class News(msgspec.Struct, frozen=True, tag=True):
    """Events since the last News, in order. progress: the newest, None when it has not changed."""

    events: list[Event]
    progress: JobProgress | None = None


class Checkpoint(msgspec.Struct, frozen=True, tag=True):
    number: int
    checkpoint: dict[str, Any]


class Result(msgspec.Struct, frozen=True, tag=True):
    number: int
    result: dict[str, Any]


class Problem(msgspec.Struct, frozen=True, tag=True):
    """Why the attempt failed. again: the reason may pass, so that another attempt makes sense."""

    number: int
    code: str
    message: str
    param: str | None
    hint: str
    again: bool
    retry_after_s: float | None = None


class Left(msgspec.Struct, frozen=True, tag=True):
    """It did what was wanted of it and ends."""

    number: int
    what: Why


class Ended(msgspec.Struct, frozen=True, tag=True):
    """From the executor, the last message: the attempt is gone. how: in words, for the history. blameless: what it ran on went
    away (a node of the cluster); it does not count as a loss of the job."""

    how: str
    blameless: bool = False


ToAttempt = Start | Wanted | Ack
ToRunner = Ready | Beat | News | Checkpoint | Result | Problem | Left | Ended

_to_attempt: msgspec.json.Decoder[ToAttempt] = msgspec.json.Decoder(ToAttempt)
_to_runner: msgspec.json.Decoder[ToRunner] = msgspec.json.Decoder(ToRunner)
_encoder = msgspec.json.Encoder()


def encode(message: ToAttempt | ToRunner) -> bytes:
    """One line without its end. Raises InvalidValue when it is not JSON or longer than it may be."""
    what = type(message).__name__.lower()
    try:
        line = _encoder.encode(message)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidValue(f"The {what} of a job must be JSON: {problem}.", param=what) from None
    most = MAX_ORDER_BYTES if isinstance(message, Start) else MAX_MESSAGE_BYTES
    if len(line) > most:
        raise InvalidValue(
            f"The {what} of a job has {len(line):,} bytes of JSON; {most:,} may be.",
            param=what,
            hint="Write it to a file in the job's folder and report that as an artefact.",
        )
    return line


def decode_to_attempt(line: bytes) -> ToAttempt:
    """Raises msgspec.DecodeError (ValidationError is one)."""
    return _to_attempt.decode(line)


def decode_to_runner(line: bytes) -> ToRunner:
    return _to_runner.decode(line)


def check_json(value: Any, what: str) -> None:
    """An object of JSON without NaN, which would silently become null. Raises InvalidValue."""
    if not isinstance(value, dict):
        raise InvalidValue(f"The {what} of a job must be a dict; this is {type(value).__name__}.", param=what)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidValue(f"The {what} of a job must be JSON: {problem}.", param=what) from None
