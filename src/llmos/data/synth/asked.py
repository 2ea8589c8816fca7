"""Questions to a model whose answers are kept, so that no question is ever asked twice of the same model.

    LLMOS_HOME/datasets/.asked/<hash of model version and way of asking>/results.log      (engine/batch/log.py, append only)
                                                                         results-1.log    of a second process at the same time

An answer is found by the hash of its question: everything that decides it, the drawn seed included. So a run that is killed asks again
only what was in flight, and a recipe that overlaps with an earlier one asks only what is new. Refusals are not kept beyond the run:
what a model could not answer yesterday is tried again.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import orjson

from llmos.engine.batch.base import Answerer, Control, Counts, Item, Unattended
from llmos.engine.batch.log import ResultLog, entries
from llmos.engine.batch.plan import Place
from llmos.engine.batch.runner import Runner
from llmos.infra.files import make_dir
from llmos.types import Usage

KEY_BYTES = 16
Question = dict[str, Any]  # plain data; equal questions have equal answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """body: as the Answerer gave it, {} when it was refused. refused: why, in words, or ""."""

    body: dict[str, Any]
    refused: str = ""


class Asker(Answerer, Protocol):
    """shared: its engine computes what prompts have in common once, so that waiting for the first of them pays. window: questions in
    flight."""

    window: int

    @property
    def shared(self) -> bool: ...


class Asked:
    """The answers of one folder, open for more. In memory are their keys and places, not they themselves. Not thread-safe."""

    def __init__(self, folder: Path, *, control: Control | None = None) -> None:
        """control: as for batches; its `step` may end the run. Raises StorageError."""
        self.control = control or Unattended()
        self.num_new = 0  # questions that were asked here
        self._places: dict[bytes, tuple[int, int, int]] = {}  # key -> file, offset and length of its line
        with ExitStack() as opened:
            self._log = _Log(_own(make_dir(folder), opened))
            opened.callback(self._log.close)
            for _ in self._log.recover():  # cuts what a killed process left half written
                pass
            for path in sorted(folder.glob("results*.log")):
                self._read(path, opened)
            self._mine = os.open(self._log.path, os.O_RDONLY)
            opened.callback(os.close, self._mine)
            self._opened = opened.pop_all()

    def ask(self, questions: Sequence[Question], answerer: Asker) -> list[Answer]:
        """The answer to each question, in order; only those without one are asked, each once. Raises what the Control raises, and the
        errors that are not the fault of a question; what was answered by then is kept."""
        keys = [key_of(question) for question in questions]
        missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in self._places}
        refused = self._run(missing, answerer) if missing else {}
        return [refused[key] if key in refused else Answer(body=self._kept(key)) for key in keys]

    def close(self) -> None:
        self._log.sync()
        self._opened.close()

    def _run(self, missing: dict[bytes, Question], answerer: Asker) -> dict[bytes, Answer]:
        """Asks; gives those that were refused."""
        work = _Work(missing)
        counts = Counts(total=len(missing))
        refused: dict[bytes, Answer] = {}

        def wrote(number: int, ok: bool, offset: int, length: int) -> None:
            key = work.keys[number]
            if ok:
                self._places[key] = self._mine, offset, length
            else:
                refused[key] = Answer(body={}, refused=_line(self._mine, offset, length)["response"]["body"]["refused"])

        self._log.wrote = wrote

        async def ask() -> None:
            await Runner(work, self._log, counts, answerer, self.control, window=answerer.window, shared=answerer.shared).run()

        try:
            _run(ask())
        finally:
            self.num_new += counts.new
        return refused

    def _read(self, path: Path, opened: ExitStack) -> None:
        file = os.open(path, os.O_RDONLY)
        opened.callback(os.close, file)
        for entry in entries(path):
            if entry.ok:
                key = bytes.fromhex(_line(file, entry.offset, entry.length)["custom_id"])
                self._places.setdefault(key, (file, entry.offset, entry.length))

    def _kept(self, key: bytes) -> dict[str, Any]:
        body: dict[str, Any] = _line(*self._places[key])["response"]["body"]
        return body


class _Log(ResultLog):
    """A log that says where each line went."""

    wrote: Callable[[int, bool, int, int], None]

    def append(self, number: int, *, ok: bool, usage: Usage, line: bytes) -> None:
        super().append(number, ok=ok, usage=usage, line=line)
        self.wrote(number, ok, self.end - 1 - len(line), len(line))


class _Work:
    """Questions as the work of a Runner, the longest first, so that a run does not end with one long answer alone."""

    def __init__(self, questions: dict[bytes, Question]) -> None:
        self.keys = sorted(questions, key=lambda key: (-len(str(questions[key])), key))
        self._questions = questions

    def pending(self) -> Iterator[Place]:
        for number in range(len(self.keys)):
            yield Place(number, number + 1, 0, 0, root=0, shared=len(self.keys) > 1)

    def item(self, place: Place) -> Item:
        key = self.keys[place.number]
        return Item(number=place.number, line=place.line, custom_id=key.hex(), body=self._questions[key])


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Runs it to its end, also where this thread has a loop that runs: in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
    else:
        with ThreadPoolExecutor(1, "llmos-asked") as thread:
            thread.submit(asyncio.run, work).result()


def key_of(question: Question) -> bytes:
    """Of the question as canonical JSON."""
    text = json.dumps(question, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def _line(file: int, offset: int, length: int) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(os.pread(file, length, offset))
    return found


def _own(folder: Path, opened: ExitStack) -> Path:
    """The first log that no other process writes to, held until the end."""
    number = 0
    while True:
        path = folder / (f"results-{number}.log" if number else "results.log")
        lock = path.with_suffix(".lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            number += 1
            continue
        opened.callback(lock.close)
        return path
