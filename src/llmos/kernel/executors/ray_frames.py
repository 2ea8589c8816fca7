"""What a runner (ray.py) and the process that is its driver in a Ray cluster (ray_driver.py) say to each other: one line of JSON a frame.

    runner -> driver   Open, Tell, More, Stop
    driver -> runner   Here, Told

The driver is a process of its own because Ray ends the process it runs in when the cluster goes away, and keeps threads, signal
handlers and logs there. Messages of the job protocol pass through it as they are.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import msgspec

from llmos.kernel.messages import MAX_MESSAGE_BYTES, MAX_ORDER_BYTES

MAX_TOLD_BYTES = 2 * MAX_MESSAGE_BYTES  # of one Told: messages until one of them passes MAX_MESSAGE_BYTES
MAX_FRAME_BYTES = MAX_ORDER_BYTES + MAX_TOLD_BYTES
MARKER = ".home"  # in the job's folder: written by the runner, read by the node


class Facts(msgspec.Struct, frozen=True):
    """What a node checks before it takes an order. token: what the file MARKER in the job's folder holds. host: machine of the runner."""

    version: str
    host: str
    token: str


class Open(msgspec.Struct, frozen=True, tag=True):
    """A new attempt. order: the Start message. resources: Ray's own ones by name."""

    attempt: int
    order: msgspec.Raw
    facts: Facts
    cores: int
    memory_bytes: int
    accelerators: int
    resources: dict[str, float]
    heartbeat_s: float


class Tell(msgspec.Struct, frozen=True, tag=True):
    """A message to the attempt."""

    attempt: int
    message: msgspec.Raw


class More(msgspec.Struct, frozen=True, tag=True):
    """The runner has taken all that was told: the next Told may come."""

    attempt: int


class Stop(msgspec.Struct, frozen=True, tag=True):
    """terminate (SIGTERM), or with `kill` at once."""

    attempt: int
    kill: bool


class Here(msgspec.Struct, frozen=True, tag=True):
    """The driver is connected to the cluster."""


class Told(msgspec.Struct, frozen=True, tag=True):
    """Messages of the attempt, in order. where: the node it is on, "" while it has none."""

    attempt: int
    messages: list[msgspec.Raw]
    where: str


ToDriver = Open | Tell | More | Stop
FromDriver = Here | Told

_to_driver: msgspec.json.Decoder[ToDriver] = msgspec.json.Decoder(ToDriver)
_from_driver: msgspec.json.Decoder[FromDriver] = msgspec.json.Decoder(FromDriver)
_encoder = msgspec.json.Encoder()


def frame(what: ToDriver | FromDriver) -> bytes:
    return _encoder.encode(what) + b"\n"


def to_driver(line: bytes) -> ToDriver:
    return _to_driver.decode(line)


def from_driver(line: bytes) -> FromDriver:
    return _from_driver.decode(line)


def version() -> str:
    """Of llmos, as it is installed here."""
    return importlib.metadata.version("llmos")


def options(opened: Open, most_cores: float) -> dict[str, Any]:
    """The options of the actor. As many cores as the largest node has will do for a job that asks for more. Neither Ray nor the
    actor tries anything again: that is the kernel's business."""
    cores = min(opened.cores, most_cores) if most_cores else opened.cores
    asked: dict[str, Any] = {"num_cpus": cores, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 8}
    if opened.memory_bytes:
        asked["memory"] = opened.memory_bytes
    if opened.accelerators:
        asked["num_gpus"] = opened.accelerators
    if opened.resources:
        asked["resources"] = opened.resources
    return asked
