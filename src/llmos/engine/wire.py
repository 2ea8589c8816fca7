"""What the pool and an engine process say to each other: MessagePack frames over a Unix socket. No pickle.

    parent -> worker   Load, Submit, Cancel, Call, Shut
    worker -> parent   Loaded, Failed (of the load), News (Chunks, Ended), Answer

A frame is its length (4 bytes, big-endian) and one tagged message. Both ends are ours and of one version; lengths are checked
all the same, so that a broken peer is an error and not an allocation.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import msgspec

from llmos import errors
from llmos.engine.base import Adapter, Chunk, Feature, LoadOptions, Request, ScoreItem, ScoreResult, Variant
from llmos.errors import EngineError, LLMOSError
from llmos.kernel.base import Priority
from llmos.library.base import ModelCard
from llmos.types import TokenIds

MAX_FRAME_BYTES = 1 << 30  # an embedding call of 100k texts is a tenth of it
_LENGTH = struct.Struct(">I")


class Problem(msgspec.Struct, frozen=True):
    """An LLMOSError on the wire."""

    name: str
    message: str
    param: str | None = None
    hint: str = ""
    retry_after_s: float | None = None

    @classmethod
    def of(cls, problem: BaseException) -> Problem:
        """Any exception; one that is not of our tree becomes an EngineError that names its type."""
        if isinstance(problem, LLMOSError):
            return cls(type(problem).__name__, problem.message, problem.param, problem.hint, problem.retry_after_s)
        return cls("EngineError", f"{type(problem).__name__}: {problem}")

    def error(self) -> LLMOSError:
        kind = getattr(errors, self.name, EngineError)
        kind = kind if isinstance(kind, type) and issubclass(kind, LLMOSError) else EngineError
        made = LLMOSError.__new__(kind)
        LLMOSError.__init__(made, self.message, param=self.param, hint=self.hint, retry_after_s=self.retry_after_s)
        return made


class Array(msgspec.Struct, frozen=True):
    """A float32 array."""

    shape: tuple[int, ...]
    data: bytes


class Load(msgspec.Struct, tag=True, frozen=True):
    """First message. module: what to import so that the backend registers; search_path: the parent's sys.path."""

    module: str
    backend: str
    card: ModelCard
    folder: Path
    variant: Variant
    options: LoadOptions
    search_path: list[str]


class Submit(msgspec.Struct, tag=True, frozen=True):
    request: Request


class Cancel(msgspec.Struct, tag=True, frozen=True):
    id: str


class Call(msgspec.Struct, tag=True, frozen=True):
    """One of the blocking methods of Engine; the fields that it needs are set."""

    id: int
    method: str
    items: list[ScoreItem] = []
    top: int = 0
    adapter: Adapter | None = None
    inputs: list[TokenIds] = []
    pairs: list[tuple[TokenIds, TokenIds]] = []
    candidates: list[int] | None = None
    priority: str = Priority.INTERACTIVE


class Shut(msgspec.Struct, tag=True, frozen=True):
    """Close the engine and end."""


class Loaded(msgspec.Struct, tag=True, frozen=True):
    features: list[Feature]
    memory_bytes: int
    load_s: float
    context_length: int


class Failed(msgspec.Struct, tag=True, frozen=True):
    problem: Problem


class Chunks(msgspec.Struct, tag=True, frozen=True):
    id: str
    chunks: list[Chunk]


class Ended(msgspec.Struct, tag=True, frozen=True):
    id: str
    problem: Problem | None = None


class News(msgspec.Struct, tag=True, frozen=True):
    """What a step of the engine gave, of all requests in one frame."""

    items: list[Chunks | Ended]


class Answer(msgspec.Struct, tag=True, frozen=True):
    id: int
    problem: Problem | None = None
    scores: list[ScoreResult] = []
    arrays: list[Array] = []
    memory_bytes: int = 0  # of the engine after the call, which may have made it larger


ToWorker = Load | Submit | Cancel | Call | Shut
ToParent = Loaded | Failed | News | Answer


def _encode_other(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a numpy or torch scalar that a backend let through
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _decode_other(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise TypeError(f"{kind} cannot be received")


class Channel:
    """One end. `send` from any thread; `receive` from one thread at a time."""

    def __init__(self, sock: socket.socket, receives: Any) -> None:
        self._sock = sock
        self._reader = sock.makefile("rb", buffering=1 << 16)
        self._lock = threading.Lock()
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_encode_other)
        self._decoder = msgspec.msgpack.Decoder(receives, dec_hook=_decode_other)

    def send(self, message: msgspec.Struct) -> None:
        """Raises OSError when the other end is gone, EngineError for a message over the limit."""
        with self._lock:
            data = self._encoder.encode(message)
            if len(data) > MAX_FRAME_BYTES:
                raise EngineError(
                    f"A message of {len(data)} bytes is over the limit of {MAX_FRAME_BYTES}.", hint="Send less at once."
                )
            self._sock.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self) -> Any:
        """The next message, or None when the other end has closed. Raises OSError or msgspec.DecodeError on a broken stream."""
        head = self._reader.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > MAX_FRAME_BYTES:
            raise OSError(f"a frame of {length} bytes was announced, the limit is {MAX_FRAME_BYTES}")
        data = self._reader.read(length)
        return self._decoder.decode(data) if len(data) == length else None

    def close(self) -> None:
        """Wakes the reader with the end of the stream."""
        with contextlib.suppress(OSError):  # the other end was faster
            self._sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError, ValueError):  # the reader may be in the middle of a frame
            self._reader.close()
        self._sock.close()


def pack(array: Any) -> Array:
    """A numpy array for the wire, as float32."""
    import numpy as np

    whole = np.ascontiguousarray(array, dtype=np.float32)
    return Array(shape=whole.shape, data=whole.tobytes())


def unpack(array: Array) -> Any:
    import numpy as np

    return np.frombuffer(array.data, dtype=np.float32).reshape(array.shape).copy()
