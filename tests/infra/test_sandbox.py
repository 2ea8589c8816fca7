"""The limited child: right answers, every limit, every death, and life after each."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmos.errors import ChildCrashed, CorruptFile, LimitExceeded, MissingExtra
from llmos.infra.sandbox import LimitedChild, call_limited

ROOT = Path(__file__).resolve().parents[2]
TARGETS = "tests.infra.sandbox_targets"


def child_of(function: str, *, cpu_s: float = 5, wall_s: float = 60) -> LimitedChild:
    return LimitedChild(f"{TARGETS}:{function}", memory_bytes=256 << 20, cpu_s=cpu_s, wall_s=wall_s, import_from=[ROOT])


@pytest.fixture(scope="module")
def bad() -> Iterator[LimitedChild]:
    with child_of("misbehave", cpu_s=0.5) as child:
        yield child


def test_returns_the_value_and_stays_alive() -> None:
    with child_of("count") as child:
        assert [child.call(None) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("value", [None, "zeile\nzwei \u2028 😀", {"a": [1, 2.5, True]}, "x" * 3_000_000])
def test_passes_any_json(value: object) -> None:
    assert call_limited(f"{TARGETS}:echo", value, memory_bytes=256 << 20, cpu_s=5, wall_s=60, import_from=[ROOT]) == value


def test_raises_our_errors_again(bad: LimitedChild) -> None:
    with pytest.raises(CorruptFile, match="ends at 900") as caught:
        bad.call("corrupt")
    assert (caught.value.param, caught.value.hint) == ("file", "Download it again.")
    with pytest.raises(MissingExtra, match="torch"):
        bad.call("extra")


@pytest.mark.parametrize(
    ("how", "limit"), [("memory", "memory, 268,435,456"), ("spin", "CPU time, 0.5 s"), ("regex", "CPU time, 0.5 s")]
)
def test_over_a_limit(bad: LimitedChild, how: str, limit: str) -> None:
    with pytest.raises(LimitExceeded, match=limit):
        bad.call(how)
    assert bad.call("print") == "true answer"  # a new child serves the next call


def test_over_wall_clock() -> None:
    with child_of("misbehave", wall_s=0.2) as child, pytest.raises(LimitExceeded, match=r"wall-clock time, 0\.2 s"):
        child.call("sleep")


@pytest.mark.parametrize(
    ("how", "message"), [("die", "SIGKILL"), ("exit", "exit status 3"), ("bug", "KeyError: 'missing'"), ("not json", "TypeError")]
)
def test_crash_is_told_and_the_next_call_works(bad: LimitedChild, how: str, message: str) -> None:
    with pytest.raises(ChildCrashed, match=message):
        bad.call(how)
    assert bad.call("print") == "true answer"


def test_cpu_limit_is_for_each_call() -> None:
    with child_of("burn", cpu_s=0.5) as child:
        assert [child.call(0.2) for _ in range(4)] == [0.2] * 4
        with pytest.raises(LimitExceeded):
            child.call(5)


def test_child_sees_no_secrets(bad: LimitedChild) -> None:
    assert set(bad.call("secrets")) <= {"LC_ALL", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


def test_child_cannot_write_a_file(tmp_path: Path) -> None:
    with child_of("write") as child, pytest.raises(ChildCrashed, match="OSError"):
        child.call(str(tmp_path / "out"))


def test_deep_answers_pass_or_are_refused(bad: LimitedChild) -> None:
    value = bad.call("deep")
    for _ in range(900):
        value = value[0]
    assert value == []


def test_unknown_target_is_told() -> None:
    with child_of("no_such_function") as child, pytest.raises(ChildCrashed, match="no_such_function"):
        child.call(None)


def test_threads_share_one_child() -> None:
    answers: list[int] = []
    with child_of("echo") as child:
        threads = [threading.Thread(target=lambda i=i: answers.append(child.call(i))) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == list(range(20))


def test_close_ends_the_process() -> None:
    child = child_of("echo")
    child.call(1)
    assert child._process is not None
    pid = child._process.pid
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert child.call(2) == 2
    child.close()


def test_forgotten_child_is_ended() -> None:
    child = child_of("echo")
    child.call(1)
    assert child._process is not None
    pid = child._process.pid
    del child
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
