"""`llmos data run`: a recipe from the terminal, with a dry run first, a bar while it goes on, and what came of it at the end.

Interrupted or killed, what was computed stays: the same command goes on from there.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from llmos.cli.data_text import error_lines, preview_lines, step_rows
from llmos.cli.output import JSON, err, out, print_json, printable, say, table
from llmos.errors import InvalidValue
from llmos.sdk.client import LLMOS

if TYPE_CHECKING:
    from llmos.data.recipe import Recipe
    from llmos.data.run import Reach

URL = typer.Option("--url", help="Ask the server at this address, with LLMOS_API_KEY, instead of this machine.")
ERRORS_SHOWN = 5


def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML or JSON file.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Values of the recipe to change.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan, an estimate, and rows after every step.")] = False,
    part: Annotated[str | None, typer.Option(metavar="I/N", help="Compute every N-th part, from the I-th: for job arrays.")] = None,
    executor: Annotated[str | None, typer.Option(help="auto, inline, threads, processes or ray.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, max=4096, help="Parts computed at a time; 0: one per core.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set, instead of the recipe's.")] = None,
    output: Annotated[list[str] | None, typer.Option("--output", "-o", help="Also write the rows here. May be repeated.")] = None,
    as_job: Annotated[bool, typer.Option("--job", help="Submit it as a job, and follow that.")] = False,
    url: Annotated[str | None, URL] = None,
    json_output: Annotated[bool, JSON] = False,
) -> None:
    """Run a recipe. Interrupted, the same command goes on with what is missing."""
    found = _recipe(recipe, [*(overrides or ()), *_given(executor=executor, workers=workers, name=name)], output or [])
    for notice in found.notices:
        say(notice)
    share = _share(part)
    if as_job or url is not None:
        if share is not None:
            raise InvalidValue("Shares are computed here, not by a job.", param="part")
        if not dry_run:
            _as_job(found, url, json_output=json_output)
            return
    with LLMOS(url, notify=say) as llmos:
        if dry_run:
            told = llmos._transport.data.preview(found)
            if json_output:
                print_json(told)
            else:
                _print(preview_lines(told))
            return
        _here(llmos, found, share, json_output=json_output)


def _recipe(path: str, overrides: list[str], output: list[str]) -> Recipe:
    from llmos.data.recipe import Recipe, Sink

    found = Recipe.load(path, overrides)
    more = tuple(Sink(path=one) for one in output)
    return found.model_copy(update={"sinks": (*found.sinks, *more)}) if more else found


def _given(**values: Any) -> list[str]:
    return [f"{name}={value}" for name, value in values.items() if value is not None]


def _share(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise InvalidValue(f"{text!r} is not of the form I/N with I from 1 to N.", param="part")
    return int(number), int(total)


# -- here ----------------------------------------------------------------------------------------------------------------
def _here(llmos: LLMOS, recipe: Recipe, share: tuple[int, int] | None, *, json_output: bool) -> None:
    from llmos.data.run import SharesMissing

    calls, began = llmos._transport.data, time.monotonic()
    with _bar() as shown:
        try:
            made = calls.run(recipe, control=shown, share=share)
        except SharesMissing as missing:
            _shares_missing(missing, json_output=json_output)
            return
        except KeyboardInterrupt:
            say("Stopped. What was computed is kept: the same command goes on from there.")
            raise
    made["seconds"] = round(time.monotonic() - began, 2)
    detail = calls.show(made["dataset"])
    errors = calls.ledger(made["dataset"], {"action": "error"}, offset=0, limit=ERRORS_SHOWN)
    if json_output:
        print_json(made | {"steps": detail["steps"], "first_errors": errors["lines"]})
        return
    _tell(made, detail, errors)


def _shares_missing(missing: Any, *, json_output: bool) -> None:
    """This share is done; that is no failure."""
    if json_output:
        print_json({"dataset": None, "waits": missing.message})
    else:
        say(missing.message)
        say(missing.hint)


def _tell(made: dict[str, Any], detail: dict[str, Any], errors: dict[str, Any]) -> None:
    rows = step_rows(detail["steps"])
    if rows:
        table(("STEP", "IN", "DROPPED", "CHANGED", "OUT", "SECONDS", "DROPPED BY"), rows, empty="")
    if errors["total"]:
        say(f"{errors['total']:,} rows could not be used:")
        _say(error_lines(errors["lines"]))
    for one in made["exports"]:
        notes = "".join(f"; {note}" for note in one["notes"])
        say(f"{one['rows']:,} rows in {one['path']} ({one['format']}){notes}.")
    kept = f"{made['rows']:,} of {made['read']:,} rows"
    say(f"{kept} in {made['seconds']:.1f} s. See: llmos data report {made['dataset']} -o report.html")
    out.print(made["dataset"], markup=False, highlight=False)


def _print(lines: list[str]) -> None:
    for line in lines:
        out.print(printable(line), markup=False, highlight=False)


def _say(lines: list[str]) -> None:
    for line in lines:
        say(f"  {printable(line)}")


# -- as a job ------------------------------------------------------------------------------------------------------------
def _as_job(recipe: Recipe, url: str | None, *, json_output: bool) -> None:
    """Followed to its end; Ctrl-C leaves it going on."""
    from llmos.cli.follow import Printer

    with LLMOS(url, notify=say) as llmos:
        calls = llmos._transport
        job = llmos.jobs.submit("data", calls.data.job_params(recipe))
        say(f"Job {job.id}. It goes on when you leave: llmos logs -f {job.id}")
        with Printer(err, live=True) as printer:
            for event in job.events():
                printer.show(event)
        result = job.wait()
        if json_output:
            print_json({"job": job.id, **result})
            return
        detail = calls.data.show(result["dataset"])
        errors = calls.data.ledger(result["dataset"], {"action": "error"}, offset=0, limit=ERRORS_SHOWN)
        seconds = sum(one["seconds"] for one in detail["steps"].values())
        _tell(detail | {"seconds": seconds, "exports": []}, detail, errors)


# -- the bar -------------------------------------------------------------------------------------------------------------
class _Shown:
    """A Control that draws: one bar a stage. Where nothing can be drawn, a line with every tenth."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._stage, self._began, self._first, self._told = 0, 0.0, 0, -1
        self._task: Any = None
        self._interrupted = False

    def interrupt(self, *_: Any) -> None:
        """Ctrl-C: at once, and where a library swallows what is raised in its callbacks, with the next step."""
        self._interrupted = True
        raise KeyboardInterrupt

    def step(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt

    def report(self, reach: Reach) -> None:
        if reach.stage != self._stage:
            self._begin(reach)
        seconds = max(time.monotonic() - self._began, 1e-6)
        speed = f"{(reach.rows - self._first) / seconds:,.0f} rows/s" if reach.rows > self._first else ""
        parts = f"{reach.parts}/{reach.num_parts} parts"
        self._bar.update(self._task, completed=reach.done_bytes, total=max(reach.total_bytes, 1), parts=parts, speed=speed)
        tenth = int(10 * reach.done_bytes / max(reach.total_bytes, 1))
        if not err.is_terminal and tenth > self._told and reach.num_parts > 1:
            self._told = tenth
            say(f"stage {reach.stage} of {reach.num_stages}: {parts}, {reach.rows:,} rows")

    def _begin(self, reach: Reach) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        doing = reach.doing if len(reach.doing) <= 30 else reach.doing[:29] + "…"
        title = f"{reach.stage}/{reach.num_stages} {doing}"
        self._task = self._bar.add_task(title, total=max(reach.total_bytes, 1), parts="", speed="")
        self._stage, self._began, self._first, self._told = reach.stage, time.monotonic(), reach.rows, -1


@contextmanager
def _bar() -> Iterator[_Shown]:
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[parts]} {task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        shown = _Shown(bar)
        heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where it was told to be deaf, as by nohup
        try:
            if heard:
                signal.signal(signal.SIGINT, shown.interrupt)
            yield shown
        finally:
            if heard:
                signal.signal(signal.SIGINT, signal.default_int_handler)
