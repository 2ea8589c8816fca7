"""The step loop without a model: who fails when something fails, and what goes on."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence

import pytest
import torch
from torch import Tensor

from llmos.engine.backends.transformers.cohort import Cohort, Started, Starter
from llmos.engine.backends.transformers.loop import StepLoop
from llmos.engine.backends.transformers.rows import Job, Row
from llmos.engine.base import Adapter, Handle
from llmos.errors import EngineError, InvalidValue
from tests.engine.backends import tiny

READING_FAILS, STEP_FAILS, SELECT_FAILS, PLAIN = 1, 2, 3, 4  # first token of a prompt: what its model does


class Counting(Cohort):
    """Answers with 10, 11, 12, …; prompts of one first token can be joined."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.kind = rows, rows[0].job.handle.request.prompt[0]

    def step(self) -> Tensor:
        if self.kind == STEP_FAILS:
            raise RuntimeError("no more memory")
        return torch.eye(100)[[row.token + 1 for row in self.rows]]

    def select(self, keep: Sequence[int]) -> None:
        if self.kind == SELECT_FAILS:
            raise RuntimeError("no more memory")
        self.rows = [self.rows[i] for i in keep]

    def absorb(self, other: Cohort) -> bool:
        if not isinstance(other, Counting) or other.kind != self.kind:
            return False
        self.rows += other.rows
        return True


class CountingStarter(Starter):
    def key(self, job: Job) -> Hashable:
        return id(job)

    def start(self, jobs: Sequence[Job], rows: list[Row]) -> Generator[None, None, Started]:
        yield
        if jobs[0].handle.request.prompt[0] == READING_FAILS:
            raise RuntimeError("no more memory")
        return Counting(rows), torch.eye(100)[[10] * len(rows)]

    def num_tokens(self, job: Job) -> int:
        return 10


def make_rows(job: Job) -> list[Row]:
    request = job.handle.request
    return [Row(job, index, request.sampling, (99,), torch.tensor(request.prompt)) for index in range(request.sampling.n)]


def activate(adapter: Adapter | None) -> None:
    if adapter is not None and adapter.name == "bad":
        raise InvalidValue("no such adapter", param="adapter")


@pytest.fixture
def loop() -> StepLoop:
    return StepLoop(CountingStarter(), make_rows, lambda job: job.cancel(), activate, max_rows=3, max_tokens=None)


def submit(loop: StepLoop, first: int, max_tokens: int = 4, **fields: object) -> Handle:
    handle = Handle(tiny.request((first,), max_tokens=max_tokens, **fields))
    loop.submit(Job(handle, max_tokens))
    return handle


def run(loop: StepLoop) -> None:
    for _ in range(100):
        if not loop.step():
            return
    raise AssertionError("the loop does not come to rest")


def test_joined_rows_leave_one_by_one_and_make_room(loop: StepLoop) -> None:
    handles = [submit(loop, PLAIN, num) for num in (5, 1, 3, 2, 4)]
    run(loop)
    assert [tiny.tokens(handle) for handle in handles] == [list(range(10, 10 + num)) for num in (5, 1, 3, 2, 4)]
    assert loop.running() == 0


@pytest.mark.parametrize("kind", [READING_FAILS, STEP_FAILS])
def test_a_failing_pass_ends_its_own_requests_only(loop: StepLoop, kind: int) -> None:
    good, bad = submit(loop, PLAIN, 6), submit(loop, kind)
    run(loop)
    assert tiny.tokens(good) == list(range(10, 16))
    with pytest.raises(EngineError, match="RuntimeError: no more memory"):
        list(bad)


def test_a_failure_between_passes_ends_all_and_the_loop_goes_on(loop: StepLoop) -> None:
    first, second = submit(loop, SELECT_FAILS, 6), submit(loop, SELECT_FAILS, 9)
    run(loop)
    assert tiny.tokens(first) == list(range(10, 16))  # had ended before
    with pytest.raises(EngineError, match="no more memory"):
        list(second)
    after = submit(loop, PLAIN, 3)
    run(loop)
    assert tiny.tokens(after) == [10, 11, 12]


def test_an_adapter_that_cannot_be_activated_fails_its_request(loop: StepLoop, tmp_path: object) -> None:
    from pathlib import Path

    good, bad = submit(loop, PLAIN), submit(loop, PLAIN, adapter=Adapter(name="bad", folder=Path(str(tmp_path))))
    run(loop)
    assert tiny.tokens(good) == [10, 11, 12, 13]
    with pytest.raises(InvalidValue, match="no such adapter"):
        list(bad)


def test_a_cancel_while_the_prompt_is_read_or_waits(loop: StepLoop) -> None:
    handles = [submit(loop, PLAIN) for _ in range(5)]
    loop.step()
    handles[0].cancel()
    handles[4].cancel()
    run(loop)
    reasons = [tiny.collect(handle)[0][-1].finish_reason for handle in handles]
    assert reasons == ["cancelled", "length", "length", "length", "cancelled"]


def test_after_stop_nothing_is_left_waiting(loop: StepLoop) -> None:
    running, waiting = submit(loop, PLAIN, 50), [submit(loop, PLAIN) for _ in range(4)]
    loop.step()
    loop.stop()
    late = submit(loop, PLAIN)
    for handle in (running, *waiting, late):
        assert tiny.collect(handle)[0][-1].finish_reason == "cancelled"
    assert not loop.step()
