"""Stop strings, held-back text, the pairing of tokens and text, and the ends of a generation, on hand-made chunks."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.engine.base import Chunk, Handle, Request
from llmos.engine.generation import Assembler, Delta, Generation
from llmos.errors import Conflict, DeadlineExceeded, EngineError
from llmos.text.base import TextStream
from llmos.text.stream import ByteStream
from llmos.types import FinishReason, Sampling, TokenLogprob, Usage


def stream() -> TextStream:
    return ByteStream(lambda token: bytes([token]))


def run(pieces: Sequence[bytes], *stop: str, reason: FinishReason = "length") -> list[Delta]:
    """Each piece is a chunk of one token a byte."""
    assembler = Assembler(0, stream(), stop, None)
    deltas = []
    for piece in pieces:
        chunk = Chunk(token_ids=tuple(piece), logprobs=tuple(TokenLogprob(byte, -byte / 10) for byte in piece))
        deltas.append(assembler.push(chunk))
    deltas.append(assembler.close(reason))
    return [delta for delta in deltas if delta is not None]


def text(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def tokens(deltas: Sequence[Delta]) -> bytes:
    return bytes(token for delta in deltas for token in delta.token_ids)


def test_text_leaves_as_it_comes_without_stop_strings() -> None:
    deltas = run([b"He", b"y"])
    assert [(delta.text, delta.finish_reason) for delta in deltas] == [("He", None), ("y", None), ("", "length")]


def test_a_stop_string_across_chunks_is_cut_with_its_tokens() -> None:
    deltas = run([b"one S", b"TO", b"P two"], "STOP")
    assert text(deltas) == "one "
    assert tokens(deltas) == b"one "
    assert deltas[-1].finish_reason == "stop"


def test_what_could_become_a_stop_string_is_held_back_and_released() -> None:
    deltas = run([b"a ST", b"ONE", b""], "STOP")
    assert deltas[0].text == "a "
    assert text(deltas) == "a STONE"
    assert tokens(deltas) == b"a STONE"


def test_the_earliest_of_several_stop_strings_wins() -> None:
    assert text(run([b"abcdef"], "ef", "cd")) == "ab"


def test_held_text_comes_out_at_the_end() -> None:
    assert text(run([b"a ST"], "STOP")) == "a ST"


def test_a_character_is_never_split() -> None:
    deltas = run([b"\xe4\xbd", b"\xa0!"])
    assert [delta.text for delta in deltas] == ["你!", ""]
    assert tokens(deltas) == "你!".encode()


def test_a_broken_character_at_the_end_keeps_its_tokens() -> None:
    deltas = run([b"a\xe4"])
    assert text(deltas) == "a\ufffd"
    assert tokens(deltas) == b"a\xe4"


def test_nothing_comes_after_the_stop() -> None:
    assembler = Assembler(0, stream(), ("x",), None)
    assert assembler.push(Chunk(token_ids=tuple(b"axb"))) is not None
    assert assembler.push(Chunk(token_ids=tuple(b"more"))) is None
    assert assembler.close("length") is None
    assert assembler.num_tokens == 2


@given(st.lists(st.text("abS", max_size=4), max_size=8), st.lists(st.text("abS", min_size=1, max_size=3), max_size=2))
def test_the_pieces_do_not_matter(pieces: list[str], stops: list[str]) -> None:
    """However the text is cut into chunks, what comes out is the whole text before the first stop string in it to be completed."""
    whole = "".join(pieces)
    ends = [end for end in range(len(whole) + 1) if any(whole[:end].endswith(stop) for stop in stops)]
    cut = whole[: ends[0]] if ends else whole
    wanted = min((cut[: -len(stop)] for stop in stops if cut.endswith(stop)), key=len, default=cut) if ends else whole
    deltas = run([piece.encode() for piece in pieces], *stops)
    assert text(deltas) == wanted
    assert tokens(deltas).decode() == wanted
    assert deltas[-1].finish_reason == ("stop" if ends else "length")
    assert [p.token_id for delta in deltas for p in delta.logprobs] == list(tokens(deltas))


def make(n: int = 1, *, stop: tuple[str, ...] = (), deadline: float | None = None, ended: list[str] | None = None) -> Generation:
    request = Request(id="r", prompt=(1, 2), sampling=Sampling(n=n, stop=stop), deadline=deadline)
    return Generation(
        Handle(request),
        engine="fake/default",
        assembler=lambda index: Assembler(index, stream(), stop, None),
        prompt_ids=(1, 2),
        on_end=lambda: ended.append("end") if ended is not None else None,
    )


def handle_of(generation: Generation) -> Handle:
    return generation._handle


def feed(generation: Generation, *chunks: Chunk) -> None:
    for chunk in chunks:
        handle_of(generation).push(chunk)
    handle_of(generation).close()


def test_result_joins_each_answer() -> None:
    generation = make(2)
    feed(
        generation,
        Chunk(index=1, token_ids=tuple(b"b"), cached_tokens=1),
        Chunk(index=0, token_ids=tuple(b"a"), finish_reason="stop"),
        Chunk(index=1, token_ids=tuple(b"c"), finish_reason="length"),
    )
    answers = generation.result()
    assert [(a.index, a.text, a.finish_reason) for a in answers] == [(0, "a", "stop"), (1, "bc", "length")]
    assert generation.usage == Usage(prompt_tokens=2, completion_tokens=3, cached_tokens=1)
    assert not handle_of(generation).cancelled.is_set()


async def test_async_gives_the_same() -> None:
    generation = make()
    feed(generation, Chunk(token_ids=tuple(b"hi"), finish_reason="stop"))
    assert [a.text for a in await generation.aresult()] == ["hi"]


def test_a_stop_string_cancels_the_engine_and_does_not_wait_for_it() -> None:
    ended: list[str] = []
    generation = make(stop=("!",), ended=ended)
    handle_of(generation).push(Chunk(token_ids=tuple(b"hi!")))  # the engine never closes
    assert generation.result()[0].text == "hi"
    assert handle_of(generation).cancelled.is_set()
    assert ended == ["end"]


def test_leaving_the_loop_cancels() -> None:
    ended: list[str] = []
    generation = make(ended=ended)
    handle_of(generation).push(Chunk(token_ids=tuple(b"hi")))
    for _ in generation:
        break
    assert handle_of(generation).cancelled.is_set()
    assert ended == ["end"]


async def test_a_cancelled_task_cancels() -> None:
    ended: list[str] = []
    generation = make(ended=ended)
    task = asyncio.create_task(generation.aresult())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handle_of(generation).cancelled.is_set()
    assert ended == ["end"]


def test_a_generation_nobody_reads_is_given_back() -> None:
    ended: list[str] = []
    generation = make(ended=ended)
    del generation
    gc.collect()
    assert ended == ["end"]


def test_cancelled_answers_end_so() -> None:
    generation = make(2)
    feed(generation, Chunk(index=0, token_ids=tuple(b"a"), finish_reason="stop"), Chunk(index=1, token_ids=tuple(b"b")))
    assert [(a.text, a.finish_reason) for a in generation.result()] == [("a", "stop"), ("b", "cancelled")]


def test_errors_arrive_while_iterating_and_give_back() -> None:
    ended: list[str] = []
    generation = make(ended=ended)
    handle_of(generation).fail(EngineError("broken"))
    with pytest.raises(EngineError, match="broken"):
        generation.result()
    assert ended == ["end"]


def test_a_deadline_that_has_passed_raises() -> None:
    generation = make(deadline=0.0)
    with pytest.raises(DeadlineExceeded):
        generation.result()
    assert handle_of(generation).cancelled.is_set()


def test_it_is_read_once(tmp_path: Path) -> None:
    generation = make()
    feed(generation, Chunk(finish_reason="stop"))
    generation.result()
    with pytest.raises(Conflict):
        generation.result()


def test_an_answer_that_nobody_watches_comes_whole() -> None:
    handle = Handle(Request(id="x", prompt=(1,), sampling=Sampling(max_tokens=9, n=2), stream=False))
    logprob = TokenLogprob(5, -0.5)
    handle.push(Chunk(index=0, token_ids=(5,), logprobs=(logprob,), cached_tokens=3))
    handle.push(Chunk(index=1, token_ids=(6,)))
    handle.push(Chunk(index=0, token_ids=(7,), logprobs=(logprob,)))
    assert handle.take() == []
    whole = Chunk(index=0, token_ids=(5, 7), logprobs=(logprob, logprob), finish_reason="length", cached_tokens=3)
    handle.push(Chunk(index=0, finish_reason="length"))
    assert handle.take() == [whole]
    handle.close()  # a cancelled engine leaves an answer without its last chunk: what it made is not lost
    assert handle.take() == [Chunk(index=1, token_ids=(6,)), None]


def test_an_event_loop_gets_what_came_before_and_while_it_waited_and_the_deadline() -> None:
    async def read(handle: Handle) -> list[int]:
        return [token async for chunk in handle for token in chunk.token_ids]

    async def main() -> list[int]:
        handle = Handle(Request(id="x", prompt=(1,), sampling=Sampling(max_tokens=9)))
        handle.push(Chunk(token_ids=(1,)))
        reading = asyncio.create_task(read(handle))
        for token in (2, 3):
            await asyncio.sleep(0)
            await asyncio.to_thread(handle.push, Chunk(token_ids=(token,)))
        await asyncio.to_thread(handle.close)
        found = await reading
        late = Handle(Request(id="y", prompt=(1,), sampling=Sampling(max_tokens=9), deadline=time.monotonic() + 0.01))
        with pytest.raises(DeadlineExceeded):
            await read(late)
        assert late.cancelled.is_set()
        return found

    assert asyncio.run(main()) == [1, 2, 3]
