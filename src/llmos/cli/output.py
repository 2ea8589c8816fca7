"""How the command line speaks: answers to stdout, everything else to stderr, tables for people and `--json` for programs.

What is shown comes from anywhere: nothing that a terminal would obey leaves through here. Nothing here knows a command. Progress bars
and colours appear on a terminal only; NO_COLOR is honoured (by rich).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from llmos.errors import LLMOSError
from llmos.infra.redact import visible
from llmos.library.base import Progress as Report

_PIPE_WIDTH = 400  # a pipe has no width: nothing is cut or folded there
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err = Console(stderr=True, soft_wrap=True)

JSON = typer.Option("--json", help="Print JSON for programs.")
URL = typer.Option("--url", help="Use the server at this address instead of this process.")


def examples(*lines: str) -> str:
    """The end of a command's help, one example a line (the first character keeps the lines apart)."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def printable(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return visible(text).replace("\n", "\\x0a")


def say(sentence: str) -> None:
    """One sentence for the person, on stderr."""
    err.print(Text(visible(sentence), style="dim"))


def fail(error: LLMOSError) -> None:
    """An error as a person wants it: what happened, what to do."""
    err.print(Text("Error: ", style="bold red") + Text(visible(error.message)))
    if error.hint:
        err.print(Text(visible(error.hint)))


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A borderless table; `empty` is said on stderr when there is nothing to show."""
    if not rows:
        say(empty)
        return
    made = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        made.add_column(column, no_wrap=True, overflow="fold" if place == 0 else "ellipsis")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    out.print(made)


def human_bytes(size: float) -> str:
    """1234567 -> '1.2 MB' (powers of ten, as disks and downloads are labelled)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


@contextmanager
def progress_bar() -> Iterator[Callable[[Report], None]]:
    """Gives the function to report to: a bar with speed and time left on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def update(report: Report) -> None:
            if report.stage not in tasks:
                tasks[report.stage] = bar.add_task(report.message or report.stage, total=report.total_bytes or None)
            bar.update(tasks[report.stage], completed=report.done_bytes, total=report.total_bytes or None)

        yield update
