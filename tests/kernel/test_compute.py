"""Turns with the cores, between real processes: one at a time, in turn, freed by a kill, and never a reason to stand still."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

from llmos.kernel.base import Priority
from llmos.kernel.compute import LEAST_SHARE, LONGEST_STEP_S, PATIENCE_S, Compute, Steps, never

STEPPER = """
import os, sys, time
from pathlib import Path
from llmos.kernel.compute import Compute
compute, log = Compute(Path(sys.argv[1])), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    with compute.step():
        os.write(log, f"{os.getpid()} in\\n".encode())
        time.sleep(0.002)
        os.write(log, f"{os.getpid()} out\\n".encode())
"""
HOLDER = """
import sys
from pathlib import Path
from llmos.kernel.compute import Compute
compute = Compute(Path(sys.argv[1]))
with compute.step() if sys.argv[2] == "step" else compute.serving():
    print("held", flush=True)
    sys.stdin.readline()
print("free", flush=True)
sys.stdin.readline()
"""


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process of that code, once it has said its first word."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


@pytest.fixture
def compute(tmp_path: Path) -> Iterator[Compute]:
    made = Compute(tmp_path)
    yield made
    made.close()


def num_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def step(compute: Compute, priority: str = Priority.INTERACTIVE) -> None:
    with compute.step(priority):
        pass


# -- one at a time -----------------------------------------------------------------------------------------------------
def test_processes_step_one_at_a_time_and_in_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with child(STEPPER, tmp_path, log, 100) as first, child(STEPPER, tmp_path, log, 100) as second:
        say(first)
        say(second)
        assert (first.wait(60), second.wait(60)) == (0, 0)
    lines = log.read_text().split("\n")[:-1]
    steps = list(zip(lines[::2], lines[1::2], strict=True))
    assert len(steps) == 200
    for begin, end in steps:
        assert begin.split() == [end.split()[0], "in"] and end.endswith("out")
    owners = [begin.split()[0] for begin, _ in steps]
    last_common = min(len(owners) - 1 - owners[::-1].index(str(one.pid)) for one in (first, second))
    both = owners[max(owners.index(str(one.pid)) for one in (first, second)) : last_common]
    assert max((len(list(run)) for _, run in groupby(both)), default=0) <= 20  # none of them passes the other again and again


def test_threads_of_one_process_step_one_at_a_time_and_in_turn(compute: Compute) -> None:
    order: list[int] = []
    inside = 0

    def work(name: int) -> None:
        nonlocal inside
        for _ in range(50):
            with compute.step():
                inside += 1
                assert inside == 1
                time.sleep(0.0005)
                order.append(name)
                inside -= 1

    threads = [threading.Thread(target=work, args=(name,)) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(order) == 100
    both = order[max(order.index(0), order.index(1)) : -20]
    assert max((len(list(run)) for _, run in groupby(both)), default=0) <= 20


def test_a_killed_holder_holds_nobody_up(tmp_path: Path, compute: Compute) -> None:
    with child(HOLDER, tmp_path, "step") as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait(30)
        assert timed(lambda: step(compute)) < LONGEST_STEP_S


def test_a_stopped_holder_holds_the_others_up_once(tmp_path: Path, compute: Compute) -> None:
    with child(HOLDER, tmp_path, "step") as holder:
        holder.send_signal(signal.SIGSTOP)
        assert timed(lambda: step(compute)) >= LONGEST_STEP_S * 0.9
        for _ in range(3):
            assert timed(lambda: step(compute)) < LONGEST_STEP_S / 2
        holder.send_signal(signal.SIGCONT)
        say(holder)
        assert holder.stdout is not None and holder.stdout.readline() == "free\n"
    deadline = time.monotonic() + 30
    while not compute.take():  # the thread that waited has its turn now and gives it back
        assert time.monotonic() < deadline
    compute.give_back()


# -- standing back -----------------------------------------------------------------------------------------------------
def test_what_is_not_interactive_stands_back_for_another_process(tmp_path: Path, compute: Compute) -> None:
    with child(HOLDER, tmp_path, "serving") as holder:
        assert compute.busy()
        step(compute)  # an interactive one does not
        compute.took(60)
        threading.Timer(0.2, say, (holder,)).start()
        assert compute.stand_back() >= 0.15
        assert not compute.busy()


def test_the_presence_ends_with_the_process(tmp_path: Path, compute: Compute) -> None:
    with child(HOLDER, tmp_path, "serving") as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait(30)
        assert not compute.busy()


def test_standing_back_ends_when_it_is_told_to(tmp_path: Path, compute: Compute) -> None:
    compute.took(60)
    with child(HOLDER, tmp_path, "serving"):
        looks = iter([False, False, True])
        assert compute.stand_back(lambda: next(looks)) < PATIENCE_S


@pytest.mark.parametrize("priority", [Priority.NORMAL, Priority.BATCH])
def test_work_of_every_class_has_a_share_of_the_time(tmp_path: Path, compute: Compute, priority: Priority) -> None:
    """A step stands back in proportion to how long the last one was."""
    with child(HOLDER, tmp_path, "serving"):
        for length_s in (0.01, 0.05):
            compute.took(length_s)
            wanted_s = length_s * (1 / LEAST_SHARE[priority] - 1)
            assert wanted_s <= compute.stand_back(priority=priority) < PATIENCE_S
        compute.took(0.01)
        with compute.step(priority):
            time.sleep(0.04)
        assert compute.stand_back(priority=priority) >= 0.04 * (1 / LEAST_SHARE[priority] - 1)


def test_a_job_stands_back_in_proportion_to_its_steps(tmp_path: Path, compute: Compute) -> None:
    job = Steps(compute)
    job.stand_back()
    time.sleep(0.05)
    with child(HOLDER, tmp_path, "serving"):
        assert job.stand_back() >= 0.05 * (1 / LEAST_SHARE[Priority.BATCH] - 1)
    job.rest()


def test_nobody_stands_back_for_itself(tmp_path: Path, compute: Compute) -> None:
    with compute.serving(), Compute(tmp_path).serving():
        assert not compute.busy()
        compute.took(60)
        assert compute.stand_back() < PATIENCE_S / 2
    assert not compute.busy()


# -- jobs --------------------------------------------------------------------------------------------------------------
def test_a_job_has_the_cores_from_one_boundary_to_the_next(tmp_path: Path, compute: Compute) -> None:
    job = Steps(compute)
    assert job.stand_back() < 30
    with child(STEPPER, tmp_path, tmp_path / "log", 1) as other:
        say(other)
        time.sleep(0.2)
        assert not (tmp_path / "log").read_text()
        job.stand_back()
        assert other.wait(30) == 0
    job.rest()
    assert compute.take()
    compute.give_back()


def test_an_engine_in_the_process_of_a_job_computes_on_the_jobs_turn(tmp_path: Path, compute: Compute) -> None:
    job, engine = Steps(compute), Compute(tmp_path)
    job.stand_back()
    assert timed(lambda: step(engine)) < LONGEST_STEP_S
    job.rest()
    assert engine.take()
    engine.give_back()


def test_a_job_that_is_told_to_stop_takes_nothing(tmp_path: Path, compute: Compute) -> None:
    Steps(compute).stand_back(lambda: True)
    assert compute.take()
    compute.give_back()


# -- where there is nothing to take --------------------------------------------------------------------------------------
def test_without_a_folder_nothing_is_taken() -> None:
    compute = Compute(None)
    with compute.serving(), compute.step("batch"):
        assert not compute.busy()
    assert compute.stand_back(never) < 1


def test_a_folder_that_cannot_be_used_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    compute = Compute(tmp_path / "file" / "run")
    with compute.serving(), compute.step():
        assert not compute.busy()


def test_close_leaves_no_descriptor(tmp_path: Path) -> None:
    before = num_files()
    compute = Compute(tmp_path)
    step(compute)
    assert num_files() == before + 4
    compute.close()
    assert num_files() == before
