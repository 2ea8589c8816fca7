"""What the process of a job prints, as log events of bounded size: lines are cut, and so is a flood, and both say so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from llmos.kernel.messages import Event

MAX_LINE_CHARS = 4000
BURST_LINES, LINES_PER_S = 2000, 5.0
BURST_BYTES, BYTES_PER_S = 512 << 10, 8192.0
# Control characters, and those that turn the direction of a text or break its lines: none of them reaches a terminal raw.
_ESCAPES = dict.fromkeys(
    [*range(9), *range(11, 32), *range(127, 160), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
)


class LogLimit:
    """Lets through a burst, then a steady rate, of lines and of bytes (two token buckets); counts the rest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines, self._bytes, self._at = float(BURST_LINES), float(BURST_BYTES), clock()
        self._cut_lines = self._cut_bytes = 0

    def admit(self, event: Event) -> Iterator[Event]:
        """The event, after a word about those that were cut before it; nothing when it is cut itself."""
        size = len(event.data["text"])
        now = self._clock()
        passed_s, self._at = now - self._at, now
        self._lines = min(BURST_LINES, self._lines + passed_s * LINES_PER_S)
        self._bytes = min(BURST_BYTES, self._bytes + passed_s * BYTES_PER_S)
        if self._lines < 1 or self._bytes < size:
            self._cut_lines += 1
            self._cut_bytes += size
            return
        self._lines -= 1
        self._bytes -= size
        yield from self.rest()
        yield event

    def rest(self) -> Iterator[Event]:
        """The word about what was cut and not told yet."""
        if self._cut_lines:
            text = f"{self._cut_lines:,} lines ({self._cut_bytes:,} characters) of output were cut here: the job printed too much."
            self._cut_lines = self._cut_bytes = 0
            yield Event("log", {"level": "warning", "text": text})


def log_event(text: str, level: str) -> Event:
    """Without control characters; a long text loses its end and says so."""
    return Event("log", {"level": level, "text": plain(text)})


def plain(text: str, most: int = MAX_LINE_CHARS) -> str:
    """Text that every terminal, log and database takes: no control characters, no half of a character, `most` characters."""
    clean = text.encode("utf-8", "replace").decode().translate(_ESCAPES).rstrip()
    more = len(clean) - most
    return clean if more <= 0 else f"{clean[:most]} … ({more:,} characters more)"


class Lines:
    """Bytes of a pipe to lines. A carriage return ends one too: a progress bar is many lines, and the limit thins them out."""

    def __init__(self, level: str) -> None:
        self.level = level
        self._partial = b""

    def feed(self, data: bytes) -> Iterator[Event]:
        *whole, self._partial = (self._partial + data).replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            yield from self._event(line)
        while len(self._partial) > 4 * MAX_LINE_CHARS:  # it never ends its line: cut it here
            piece, self._partial = self._partial[: 4 * MAX_LINE_CHARS], self._partial[4 * MAX_LINE_CHARS :]
            yield from self._event(piece)

    def rest(self) -> Iterator[Event]:
        partial, self._partial = self._partial, b""
        yield from self._event(partial)

    def _event(self, line: bytes) -> Iterator[Event]:
        text = line.decode("utf-8", "replace").strip()
        if text:
            yield log_event(text, self.level)
