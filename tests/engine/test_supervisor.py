"""P17: an engine process that dies takes nothing else down, comes back by itself, and a request that kills it is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from llmos.engine.base import Chunk, Feature, LoadOptions, Request, ScoreItem, Variant
from llmos.engine.supervisor import Blame, ProcessEngine
from llmos.errors import Cancelled, EngineDied, EngineError, LLMOSError, Quarantined, UnsupportedFeature
from llmos.types import Constraint, Family, Sampling
from tests.doubles import FakeBackend, RichFakeBackend, fake_card, make_model

OPTIONS = LoadOptions(num_threads=1, context_length=512)


def request(text: str, *, max_tokens: int = 100, name: str = "", sampling: Sampling | None = None) -> Request:
    sampling = sampling or Sampling(max_tokens=max_tokens)
    return Request(id=name or os.urandom(4).hex(), prompt=tuple(text.encode()), sampling=sampling)


def text(chunks: list[Chunk]) -> str:
    return bytes(token for chunk in chunks for token in chunk.token_ids).decode()


Start = Callable[..., ProcessEngine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    engines: list[ProcessEngine] = []

    def begin(*, rich: bool = False, family: Family = Family.CAUSAL, **extra: str) -> ProcessEngine:
        card = fake_card("fake", family, extra=extra)
        backend = RichFakeBackend() if rich else FakeBackend()
        engines.append(ProcessEngine(backend, card, make_model(tmp_path / "model"), Variant(name="default"), OPTIONS))
        return engines[-1]

    yield begin
    for engine in engines:
        engine.close()


def test_it_writes_as_it_does_inline(start: Start) -> None:
    engine = start(rich=True)
    assert engine.pid not in (None, os.getpid())
    assert engine.memory_bytes > 1_000_000  # of the whole process, not what the double claims
    sampling = Sampling(
        max_tokens=5, n=2, logprobs=1, logit_bias={3: 1.5}, constraint=Constraint(kind="json_schema", value={"a": [1]})
    )
    chunks = list(engine.submit(request("Hi", sampling=sampling)))
    assert text([chunk for chunk in chunks if chunk.index == 1]) == '{"ans'
    assert chunks[0].logprobs[0].top == ((chunks[0].token_ids[0], -0.1),)
    assert chunks[-1].finish_reason == "length"


async def test_it_is_read_by_an_event_loop_too(start: Start) -> None:
    engine = start()
    answers = await asyncio.gather(*(_collect(engine, f"Hi {number}") for number in range(8)))
    assert answers == ["Hello world."] * 8


async def _collect(engine: ProcessEngine, prompt: str) -> str:
    return text([chunk async for chunk in engine.submit(request(prompt))])


def test_the_blocking_calls(start: Start) -> None:
    engine = start(rich=True)
    scored = engine.score([ScoreItem(prompt=(1,), continuations=((10,), (20, 30)))], top=1)
    assert [[token.logprob for token in one] for one in scored[0].continuations] == [[-0.1], [-0.2, -0.3]]
    encoder = start(family=Family.MASKED)
    assert encoder.embed([(1, 2), (3,)]).shape == (2, 8)
    assert [rows.shape for rows in encoder.fill_mask([(1, 260)], [1, 2])] == [(1, 2)]
    assert np.array_equal(start(family=Family.CLASSIFIER).classify([((1, 2), (0, 0))]), [[0, 0, 2]])
    assert [rows.shape for rows in start(family=Family.TAGGER).tag([(1, 2)])] == [(2, 3)]
    with pytest.raises(UnsupportedFeature, match="embed"):
        engine.embed([(1,)])


def test_errors_keep_their_class_and_words(start: Start) -> None:
    with pytest.raises(EngineError, match=r"^The fake engine was told to fail on this prompt\.$"):
        list(start(fail_on="bad").submit(request("bad")))
    with pytest.raises(EngineError, match="told not to load"):
        start(load_error="fake")


def test_cancel_frees_the_engine(start: Start) -> None:
    engine = start(endless="yes", step_s="0.01")
    handle = engine.submit(request("Hi", max_tokens=100_000))
    chunks = []
    for chunk in handle:
        chunks.append(chunk)
        handle.cancel()
    assert chunks[-1].finish_reason == "cancelled"
    assert engine.running() == 0


def test_killed_it_fails_only_what_it_ran_and_comes_back(start: Start) -> None:
    engine = start(endless="yes", step_s="0.01")
    other = start()
    handle = engine.submit(request("Hi", max_tokens=100_000))
    next(iter(handle))
    first = engine.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with pytest.raises(EngineDied, match="was ended by SIGKILL while it worked"):
        list(handle)
    assert text(list(other.submit(request("Hi")))) == "Hello world."
    assert text(list(engine.submit(request("Hi", max_tokens=3)))) == "Hel"  # waits for the next process
    assert engine.pid not in (None, first)
    assert engine.running() == 0


def test_a_request_that_kills_three_times_is_quarantined(start: Start) -> None:
    engine = start(crash_on="die")
    for _ in range(3):
        with pytest.raises(EngineDied):
            list(engine.submit(request("please die")))
    with pytest.raises(Quarantined, match="3 deaths"):
        list(engine.submit(request("please die")))
    assert text(list(engine.submit(request("please live")))) == "Hello world."


def test_a_blocking_call_fails_with_the_process(start: Start) -> None:
    engine = start(rich=True, crash_on="die")
    with pytest.raises(EngineDied):
        engine.score([ScoreItem(prompt=tuple(b"die"), continuations=((1,),))])
    assert engine.score([ScoreItem(prompt=(1,), continuations=((10,),))])[0].continuations[0][0].logprob == -0.1


def test_closed_it_ends_its_process_and_requests(start: Start) -> None:
    engine = start(endless="yes", step_s="0.01")
    handle = engine.submit(request("Hi", max_tokens=100_000))
    next(iter(handle))
    pid = engine.pid
    assert pid is not None
    engine.close()
    engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    _ends(handle)
    with pytest.raises(EngineError, match="unloaded"):
        engine.submit(request("Hi"))
    assert engine.pid is None


def _ends(handle: object) -> None:
    """Either the engine's own "cancelled" arrived before the end, or the supervisor's error."""
    try:
        assert list(handle)[-1].finish_reason == "cancelled"  # type: ignore[call-overload]
    except Cancelled as problem:
        assert problem.message == "The model was unloaded."


ORPHAN = """
import sys, time
from pathlib import Path
from llmos.engine.base import LoadOptions, Variant
from llmos.engine.supervisor import ProcessEngine
from tests.doubles import FakeBackend, fake_card
engine = ProcessEngine(FakeBackend(), fake_card(), Path("."), Variant(name="default"), LoadOptions(num_threads=1, context_length=9))
print(engine.pid, flush=True)
time.sleep(600)
"""


def test_no_orphan_outlives_a_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    worker.wait(timeout=60)
    assert not worker.is_running()


def test_an_engine_that_cannot_come_back_says_so(start: Start, tmp_path: Path) -> None:
    engine = start(load_once=str(tmp_path / "loaded"), crash_on="die")
    with pytest.raises(EngineDied):
        list(engine.submit(request("die")))
    with pytest.raises(LLMOSError, match="loaded once already"):
        list(engine.submit(request("Hi")))
    assert engine.failed is not None


def test_blame_is_bounded_cleared_and_forgotten() -> None:
    blame = Blame()
    for second in range(3):
        blame.died(["a", "b"], float(second))
    with pytest.raises(Quarantined):
        blame.check("a", 3.0)
    blame.check("a", 3700.0)
    blame.finished("b")
    blame.check("b", 3.0)
    for number in range(5000):
        blame.died([str(number)], 4.0)
    blame.check("a", 3.0)
    assert len(blame._deaths) == 1024


def test_features_come_from_the_loaded_engine(start: Start) -> None:
    assert Feature.SCORE in start(rich=True).features
    assert Feature.SCORE not in start().features
