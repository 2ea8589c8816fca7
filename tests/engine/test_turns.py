"""How urgent an engine's step is, and that others see it: asked from a second process, because nobody stands back for itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmos.engine.base import Handle, LoadOptions, Request
from llmos.engine.outbox import answer_of
from llmos.engine.session import FixedEngine, Session
from llmos.engine.turns import Turns, called_as, calling
from llmos.engine.wire import Call
from llmos.library.base import ModelCard
from llmos.text.load import load_tokenizer
from llmos.types import Family, Sampling, TokenIds
from tests.doubles import FakeBackend, FakeEngine, fake_card, make_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ASK = """
import sys
from pathlib import Path
from llmos.kernel.compute import Compute
compute = Compute(Path(sys.argv[1]))
for _ in sys.stdin:
    print(compute.busy(), flush=True)
"""


class Onlooker:
    """Another process of the machine."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def sees_serving(self) -> bool:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        return self._process.stdout.readline() == "True\n"


@pytest.fixture
def onlooker(tmp_path: Path) -> Iterator[Onlooker]:
    command = [sys.executable, "-c", ASK, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Onlooker(process)
        process.kill()


@pytest.fixture
def turns(tmp_path: Path) -> Iterator[Turns]:
    made = Turns(tmp_path / "run")
    yield made
    made.close()


def requests(*priorities: str) -> list[Request]:
    return [Request(id=str(place), prompt=(1,), sampling=Sampling(), priority=one) for place, one in enumerate(priorities)]


def test_an_engine_says_so_while_it_has_interactive_requests(turns: Turns, onlooker: Onlooker) -> None:
    with turns.step(requests("batch", "interactive")):
        assert onlooker.sees_serving()
    assert onlooker.sees_serving()  # between two steps too
    with turns.step(requests("batch", "normal")):
        assert not onlooker.sees_serving()
    with turns.step(requests("interactive")):
        pass
    turns.rest()
    assert not onlooker.sees_serving()


def test_a_blocking_call_is_as_urgent_as_its_caller(turns: Turns, onlooker: Onlooker) -> None:
    with turns.call():
        assert onlooker.sees_serving()
    assert not onlooker.sees_serving()
    with calling("batch"), turns.call():
        assert not onlooker.sees_serving()
    with turns.call("normal"):
        assert not onlooker.sees_serving()
    with turns.call():
        assert onlooker.sees_serving()


def test_closing_leaves_nothing_said(tmp_path: Path, onlooker: Onlooker) -> None:
    turns = Turns(tmp_path / "run")
    with turns.step(requests("interactive")):
        pass
    turns.close()
    assert not onlooker.sees_serving()


class Listening(FakeEngine):
    """Keeps what it was asked."""

    def submit(self, request: Request) -> Handle:
        self.asked = request
        return super().submit(request)

    def embed(self, inputs: Sequence[TokenIds]) -> NDArray[np.float32]:
        self.called_as = called_as()
        return super().embed(inputs)


def listening(card: ModelCard) -> Listening:
    features = FakeBackend().supports(card).features
    return Listening("fake", card, "default", features, LoadOptions(num_threads=1, context_length=512))


def test_the_class_of_a_session_goes_with_its_requests(tmp_path: Path) -> None:
    card = fake_card()
    engine = listening(card)
    session = Session(card=card, engines=FixedEngine(engine), tokenizer=load_tokenizer(make_model(tmp_path / "model")))
    session.complete("Hi", Sampling()).result()
    assert engine.asked.priority == "interactive"
    session.priority = "batch"
    session.complete("Hi", Sampling()).result()
    assert engine.asked.priority == "batch"


def test_the_class_of_a_session_goes_with_its_calls(tmp_path: Path) -> None:
    card = fake_card(family=Family.ENCODER)
    engine = listening(card)
    session = Session(card=card, engines=FixedEngine(engine), tokenizer=load_tokenizer(make_model(tmp_path / "model")))
    for priority in ("batch", "interactive"):
        session.priority = priority
        session.embed(["Hi"])
        assert engine.called_as == priority
        answer_of(engine, Call(1, "embed", inputs=[(1,)], priority=priority))  # in another process
        assert engine.called_as == priority
