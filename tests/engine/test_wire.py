"""Frames: whole records go through unchanged, a broken peer is an error and not a hang or an allocation."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from llmos.engine.base import Adapter, Chunk, LoadOptions, Request, Variant
from llmos.engine.wire import Array, Channel, Chunks, Ended, Load, News, Problem, Submit, ToParent, ToWorker, pack, unpack
from llmos.errors import ContextLengthExceeded, EngineError, MissingExtra
from llmos.types import Constraint, Message, Sampling, TokenLogprob, ToolCall
from tests.doubles import fake_card


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    left, right = socket.socketpair()
    parent, worker = Channel(left, ToParent), Channel(right, ToWorker)
    yield parent, worker
    parent.close()
    worker.close()


def test_requests_and_chunks_go_through_unchanged(ends: tuple[Channel, Channel]) -> None:
    parent, worker = ends
    sampling = Sampling(max_tokens=3, stop=("a",), logit_bias={7: -1.0}, constraint=Constraint(kind="regex", value="a+"))
    call = ToolCall(id="1", name="f", arguments="{}")
    sent = Request(
        id="x",
        prompt=(1, 2),
        sampling=sampling,
        deadline=1.5,
        adapter=Adapter(name="lora", folder=Path("/a")),
        messages=(Message(role="assistant", tool_calls=(call,)),),
    )
    parent.send(Submit(sent))
    assert worker.receive() == Submit(sent)
    chunk = Chunk(token_ids=(5,), logprobs=(TokenLogprob(5, -0.5, ((6, -1.0),)),), finish_reason="stop")
    worker.send(News([Chunks("x", [chunk])]))
    assert parent.receive() == News([Chunks("x", [chunk])])
    load = Load(
        "m",
        "fake",
        fake_card(),
        Path("/b"),
        Variant(name="v", properties={"k": 1}),
        LoadOptions(num_threads=1, context_length=2),
        [],
    )
    parent.send(load)
    assert worker.receive() == load


def test_numpy_numbers_are_sent_as_numbers(ends: tuple[Channel, Channel]) -> None:
    parent, worker = ends
    worker.send(News([Chunks("x", [Chunk(token_ids=(np.int64(5),))])]))  # type: ignore[arg-type]  # what a careless backend does
    assert parent.receive() == News([Chunks("x", [Chunk(token_ids=(5,))])])


def test_arrays() -> None:
    array = np.arange(6, dtype=np.float64).reshape(2, 3)
    assert np.array_equal(unpack(pack(array)), array)
    assert unpack(Array((0, 4), b"")).shape == (0, 4)


def test_errors_keep_class_and_fields() -> None:
    made = Problem.of(ContextLengthExceeded("9 > 8", param="prompt", hint="Less.")).error()
    assert isinstance(made, ContextLengthExceeded)
    assert (made.message, made.param, made.hint) == ("9 > 8", "prompt", "Less.")
    assert isinstance(Problem.of(MissingExtra("torch", needed_for="It")).error(), MissingExtra)
    assert Problem.of(ValueError("no")).error().message == "ValueError: no"
    assert type(Problem("SystemExit", "x").error()) is EngineError


def test_the_end_of_the_peer_is_none(ends: tuple[Channel, Channel]) -> None:
    parent, worker = ends
    worker.send(News([Ended("x")]))
    worker.close()
    assert parent.receive() == News([Ended("x")])
    assert parent.receive() is None
    with pytest.raises(OSError):
        parent.send(Submit(Request(id="x", prompt=(), sampling=Sampling())))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [(b"\xff\xff\xff\xff", OSError), (b"\x00\x00\x00\x03abc", msgspec.DecodeError), (b"\x00\x00\x00\x03a", None), (b"\x00", None)],
)
def test_broken_frames(data: bytes, wanted: type[Exception] | None) -> None:
    left, right = socket.socketpair()
    channel = Channel(right, ToWorker)
    with left:
        left.sendall(data)
    if wanted is None:
        assert channel.receive() is None
    else:
        with pytest.raises(wanted):
            channel.receive()
    channel.close()
