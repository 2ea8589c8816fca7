"""Shows the history of a job as it comes: lines, and below them one line of progress that is rewritten.

Where nothing can be rewritten (a pipe), a line of progress comes with every tenth of the work.
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from llmos.cli.jobtext import line, percent, progress_line
from llmos.kernel.base import JobEvent, JobProgress
from llmos.sdk.jobs import final_state

_STEP = 10.0  # percent


class Printer:
    """level: of log lines that are left out when they are below it. as_json: every event, one JSON object a line."""

    def __init__(self, console: Console, *, level: str = "info", as_json: bool = False, live: bool = False) -> None:
        self._console, self._level, self._as_json = console, level, as_json
        self._live = Live("", console=console, transient=True, auto_refresh=False) if live and console.is_terminal else None
        self._told = -1  # tenths of the work that a line was written for

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: JobEvent) -> None:
        if self._as_json:
            self._write(json.dumps(msgspec.to_builtins(event), ensure_ascii=False))
        elif event.type == "progress":
            self._progress(event)
        else:
            text = line(event, self._level)
            if text is not None:
                self._write(text)
            if final_state(event) is not None and self._live is not None:
                self._live.update("", refresh=True)

    def _progress(self, event: JobEvent) -> None:
        if self._live is not None:
            self._live.update(Text(progress_line(event), style="dim", no_wrap=True, overflow="ellipsis"), refresh=True)
            return
        part = percent(JobProgress(**event.data))
        tenth = -1 if part is None else int(part // _STEP)
        if tenth > self._told:
            self._told = tenth
            self._write(progress_line(event))

    def _write(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
