"""Job kinds for the tests: well-behaved, badly behaved, and one that dies at a named point."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from llmos import errors
from llmos.errors import Cancelled
from llmos.kernel.base import JobKind, Resources, kinds
from llmos.kernel.context import JobContext

Point = Literal["", "start", "before-save", "after-save", "before-result", "in-save"]


class Nothing(BaseModel):
    """No parameters."""


class WorkParams(BaseModel):
    """die_at: a point of DIE_STEP at which the process (victim child) or the runner's (victim parent) gets SIGKILL, `deaths` times
    in all. trace: a file that gets a line for each step, with the attempt that did it."""

    steps: int = 5
    step_s: float = 0.01
    die_at: Point = ""
    deaths: int = 1
    victim: Literal["child", "parent"] = "child"
    trace: str = ""


class Work(JobKind):
    """Adds 1, 2, … steps from its checkpoint on."""

    params = WorkParams
    checkpoints = True

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        assert isinstance(params, WorkParams)
        saved = context.checkpoint or {"done": 0, "sum": 0}
        done, total = int(saved["done"]), int(saved["sum"])
        _die(params, context, "start")
        while done < params.steps:
            context.step()
            time.sleep(params.step_s)
            done += 1
            total += done
            if params.trace:
                with Path(params.trace).open("a") as file:
                    file.write(f"{context.attempt} {done}\n")
            context.progress(done, params.steps, "steps")
            if done == params.steps // 2 + 1:
                _die(params, context, "before-save")
            context.save({"done": done, "sum": total})
            if done == params.steps // 2 + 1:
                _die(params, context, "after-save")
        _die(params, context, "before-result")
        return {"steps": done, "sum": total}


def _die(params: WorkParams, context: JobContext, point: Point) -> None:
    """Deaths are counted by files in the job's folder, which outlives its attempts."""
    if params.die_at == point and len(list(context.folder.glob("death-*"))) < params.deaths:
        (context.folder / f"death-{context.attempt}").touch()
        if params.victim == "parent":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        os.kill(os.getpid(), signal.SIGKILL)


@kinds.register("test-empty")
class Empty(JobKind):
    params = Nothing

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        return {}


class SleepParams(BaseModel):
    seconds: float = 60.0
    cores: int = 0
    memory_bytes: int = 0


@kinds.register("test-sleep")
class Sleep(JobKind):
    """Steps every 10 ms and keeps no checkpoints. Says when it has begun."""

    params = SleepParams

    def resources(self, params: Any) -> Resources:
        return Resources(cores=params.cores, memory_bytes=params.memory_bytes)

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        context.log(f"pid {os.getpid()}")
        end = time.monotonic() + params.seconds
        while time.monotonic() < end:
            context.step()
            time.sleep(0.01)
        return {"threads": os.environ["OMP_NUM_THREADS"], "num_threads": context.settings.num_threads}


class DeafParams(BaseModel):
    ignore_sigterm: bool = True


@kinds.register("test-deaf")
class Deaf(JobKind):
    """Never asks whether it should end."""

    params = DeafParams

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        if params.ignore_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        context.log(f"pid {os.getpid()}")
        while True:
            time.sleep(0.05)


class FailParams(BaseModel):
    """error: a class of errors.py, or crash (ValueError), exit (sys.exit), kill (SIGKILL). times: so often, then it succeeds."""

    error: str
    times: int = 100


@kinds.register("test-fail")
class Fail(JobKind):
    params = FailParams

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        if context.attempt > params.times:
            return {"attempt": context.attempt}
        if params.error == "crash":
            raise ValueError("a bug")
        if params.error == "exit":
            sys.exit(3)
        if params.error == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if params.error == "status-404":
            raise errors.SourceStatus("not there", status=404)
        raise getattr(errors, params.error)("it went wrong", param="model", hint="Do it better.")


class PrintParams(BaseModel):
    lines: int = 3
    to: Literal["stdout", "stderr", "log"] = "stdout"
    width: int = 20
    then: Literal["return", "kill"] = "return"


@kinds.register("test-print")
class Print(JobKind):
    params = PrintParams

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        for number in range(params.lines):
            text = f"line {number} ".ljust(params.width, "x")
            if params.to == "log":
                context.log(text)
            else:
                print(text, file=getattr(sys, params.to))
        if params.then == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return {}


class EatParams(BaseModel):
    size_bytes: int
    limit_bytes: int


@kinds.register("test-eat")
class Eat(JobKind):
    """Takes memory and writes to all of it."""

    params = EatParams

    def resources(self, params: Any) -> Resources:
        return Resources(memory_bytes=params.limit_bytes)

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        return {"taken": len(bytearray(params.size_bytes))}


@kinds.register("test-parent")
class Parent(JobKind):
    """Starts a process of its own and reports its pid."""

    params = SleepParams

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
            context.artefact("process", pid=process.pid)
            end = time.monotonic() + params.seconds
            while time.monotonic() < end:
                context.step()
                time.sleep(0.01)
            return {}


class AnswerParams(BaseModel):
    """What is returned, or done to the context."""

    what: Literal["list", "nan", "huge", "object", "huge-save", "huge-event", "nan-metric", "swallow", "odd-text", "nan-progress"]


@kinds.register("test-answer")
class Answer(JobKind):
    params = AnswerParams

    def run(self, params: Any, context: JobContext) -> Any:
        match params.what:
            case "list":
                return [1]
            case "nan":
                return {"loss": float("nan")}
            case "huge":
                return {"text": "x" * (5 << 20)}
            case "object":
                return {"path": Path("/")}
            case "huge-save":
                context.save({"text": "x" * (5 << 20)})
            case "huge-event":
                context.artefact("big", text="x" * (1 << 20))
            case "nan-metric":
                context.metric("loss", float("nan"), 1)
            case "nan-progress":
                context.progress(float("nan"), 3)
            case "odd-text":
                context.log("half \ud800 \x1b[0m")
                context.progress(1, 2, message="half \ud800" + "x" * 10_000)
                raise ValueError("half \ud800")
            case "swallow":
                while True:  # a kind that catches what it should not, and then ends with an error of its own
                    try:
                        context.step()
                        time.sleep(0.01)
                    except Cancelled:
                        raise RuntimeError("cleaning up failed") from None
        return {}


kinds.register("test-work")(Work)
