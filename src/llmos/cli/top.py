"""`llmos top`: the machine, models in memory, the queue and the jobs, live, in 80 columns.

It asks the server; where none answers, it reads this machine's database. A frame is a pure function of one Status record, so what a
test sees with --once is what a terminal shows.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from llmos.cli.jobs import plain
from llmos.cli.jobtext import age, human_seconds, local_time, percent, short_ids, standing
from llmos.cli.output import JSON, examples, human_bytes, out, print_json, printable, say
from llmos.errors import Unreachable
from llmos.kernel.base import Job
from llmos.sdk.client import LLMOS
from llmos.sdk.status import QueueStatus, RunnerStatus, Status, gather
from llmos.settings import Settings, current

WIDTH = 80
_BAR = 10  # cells of a job's progress
_STATES = ("running", "queued", "paused", "succeeded", "failed", "cancelled")

Ask = Callable[[], Status]


def add_to(app: typer.Typer) -> None:
    app.command("top", epilog=examples("llmos top", "llmos top --once", "llmos top --url http://127.0.0.1:9000"))(top)


def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, max=3600, help="Seconds between two looks.")] = 1.0,
    url: Annotated[str | None, typer.Option("--url", help="Address of the server. Default: http://LLMOS_HOST:LLMOS_PORT.")] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Show what runs: machine, models, queue, jobs. q or Ctrl-C leaves."""
    with asking(current(), url) as (where, ask):
        if json_output:
            print_json(plain(ask()))
        elif once or not (sys.stdout.isatty() and sys.stdin.isatty()):
            if not once:
                say("This is no terminal: one look only (--once).")
            out.print(frame(ask(), where), soft_wrap=False, width=WIDTH)
        else:
            _live(where, ask, interval_s)


@contextmanager
def asking(settings: Settings, url: str | None) -> Iterator[tuple[str, Ask]]:
    """Where the figures come from, and what gets them: the server, or without one the database of this machine."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = url or f"http://{host}:{settings.port}"
    with LLMOS(address, notify=say) as llmos:
        try:
            llmos.status()
        except Unreachable:
            if url is not None:
                raise
        else:
            yield address, llmos.status
            return
    with _database(settings) as ask:
        yield "no server; this machine's database", ask


@contextmanager
def _database(settings: Settings) -> Iterator[Ask]:
    from llmos.infra.database import open_database
    from llmos.kernel.jobs import Jobs

    database = open_database(settings)
    try:
        jobs = Jobs(settings, database)
        yield lambda: gather(jobs)
    finally:
        database.close()


def _live(where: str, ask: Ask, interval_s: float) -> None:
    screen = Live(frame(ask(), where), console=out, screen=True, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), _keys() as pressed, screen as live:
        while not pressed(interval_s):
            try:
                live.update(frame(ask(), where), refresh=True)
            except Unreachable as error:  # it may be restarting
                live.update(Text(f"{error.message}\nTrying again; q leaves."), refresh=True)


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Gives a function that waits so many seconds and says whether q was pressed meanwhile."""
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setcbreak(handle)

    def pressed(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while select.select([handle], [], [], max(0.0, end - time.monotonic()))[0]:
            if os.read(handle, 64).lower()[:1] in (b"q", b""):
                return True
        return False

    try:
        yield pressed
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


# -- the picture -------------------------------------------------------------------------------------------------------
def frame(status: Status, where: str) -> RenderableType:
    """All of it, at most 80 columns wide."""
    parts: list[RenderableType] = [_head(status, where), _facts(status)]
    if status.models:
        parts += [Text(), _models(status)]
    if status.jobs:
        parts += [Text(), _jobs(status)]
    return Group(*parts)


def _head(status: Status, where: str) -> Text:
    up = f", up {human_seconds(status.uptime_s)}" if status.uptime_s is not None else ""
    left = f"LLMOS {status.version}, {where}{up}"
    clock = local_time(status.at)
    return Text(f"{left[: WIDTH - len(clock) - 1]:<{WIDTH - len(clock)}}{clock}", style="bold")


def _facts(status: Status) -> Text:
    machine = status.machine
    memory = f"{human_bytes(machine.available_bytes)} of {human_bytes(machine.memory_bytes)} free"
    budget = f", {human_bytes(machine.budget_bytes)} for models and jobs" if machine.budget_bytes is not None else ""
    counted = [f"{status.counts[state]} {state}" for state in _STATES if status.counts.get(state)]
    facts = {
        "machine": f"{machine.cores} cores, load {machine.load:.2f}",
        "memory": memory + budget,
        "requests": _queue(status.queue),
        "jobs": ", ".join(counted) or "none",
        "runners": _runners(status.runners),
    }
    lines = [Text.assemble((f"{name:<10}", "bold"), value[: WIDTH - 10]) for name, value in facts.items()]
    return Text("\n").join(lines)


def _queue(queue: QueueStatus | None) -> str:
    if queue is None:
        return "-"
    waiting = f"{queue.waiting} waiting" + (f" ({queue.waiting_tokens:,} tokens)" if queue.waiting else "")
    first = "-" if queue.ttft_p50_s is None else f"{queue.ttft_p50_s:.2f} s"
    return f"{queue.running} running, {waiting}, {queue.tokens_per_s:.0f} tok/s, first token {first}"


def _runners(runners: tuple[RunnerStatus, ...]) -> str:
    alive = [f"{runner.host}:{runner.pid}" for runner in runners if runner.alive]
    return ", ".join(alive) or "none; llmos serve starts one"


def _models(status: Status) -> Table:
    made = _table(("MODEL", 28), ("ENGINE", 20), ("MEMORY", 9), ("RUN", 4), ("TOK/S", 6), ("IDLE", 6))
    for model in status.models:
        rate = f"{model.tokens_per_s:.0f}" if model.running or model.tokens_per_s else "-"
        idle = "-" if model.running else human_seconds(model.idle_s)
        made.add_row(model.name, model.engine, human_bytes(model.memory_bytes), str(model.running), rate, idle)
    return made


def _jobs(status: Status) -> Table:
    made = _table(("JOB", 18), ("KIND", 10), ("STATE", 7), ("PROGRESS", 10 + 1 + 21), ("AGE", 6))
    ids = short_ids([job.id for job in status.jobs])
    now = datetime.now(UTC)
    for job in status.jobs:
        made.add_row(ids[job.id], job.kind, job.state.value, _progress(job), age(job, now))
    hidden = sum(status.counts.get(state, 0) for state in _STATES[:3]) - len(status.jobs)
    if hidden > 0:
        made.add_row(f"… {hidden} more", "", "", "", "")
    return made


def _progress(job: Job) -> str:
    part = percent(job.progress)
    full = 0 if part is None else round(part / 100 * _BAR)
    bar = "" if part is None else f"{'█' * full}{'·' * (_BAR - full)} "
    return bar + printable(standing(job))


def _table(*columns: tuple[str, int]) -> Table:
    """Fixed widths: a figure that changes moves nothing."""
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name, width in columns:
        made.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
    return made
