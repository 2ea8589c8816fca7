"""What a process really asked of the kernel, and in which order: strace's record, read back, and the rule of P5 on it.

    with traced(["python", "-c", …], log) as process: …
    assert_durable(read(log), payload="job_123", acknowledged="job_123", under=home)

The rule: every write of the payload into a file below `under` has been followed by fsync or fdatasync of that file, and every file
that was renamed into place with that payload by an fsync of its folder, all finished before the first byte of the acknowledgement
was handed to a socket or a pipe.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range")
SYNCS = ("fsync", "fdatasync")
RENAMES = ("rename", "renameat", "renameat2", "link", "linkat")
SENDS = ("sendto", "sendmsg", "write", "writev")
TRACED = ",".join(dict.fromkeys((*WRITES, *SYNCS, *RENAMES, *SENDS)))
MAX_STRING = 9000  # bytes of each argument that are kept: more than two pages of SQLite

_LINE = re.compile(r"^(\d+)\s+(\w+)\((.*)$", re.DOTALL)
_RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_RESULT = re.compile(r"\)\s+= (-?\d+|\?)(?: |$|<)")
_PATH = re.compile(r"^\d+<([^>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call. begin, end: line numbers of the record where it began and returned. fd: what its first argument is (a path,
    "TCP:[…]", "pipe:[…]")."""

    pid: int
    name: str
    args: str
    begin: int
    end: int
    result: int | None

    @property
    def fd(self) -> str:
        found = _PATH.match(self.args)
        return found.group(1) if found else ""

    @property
    def strings(self) -> list[str]:
        """Paths and data among the arguments, as strace writes them."""
        return [found.group(1) for found in _QUOTED.finditer(self.args)]

    def __str__(self) -> str:
        shown = self.args if len(self.args) < 160 else f"{self.args[:100]} … {self.args[-50:]}"
        return f"line {self.begin}: [{self.pid}] {self.name}({shown})"


def why_not() -> str:
    """Why strace cannot be used here, "" when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return "" if probe.returncode == 0 else f"strace may not trace here: {probe.stderr.strip()}"


def prefix(log: Path) -> list[str]:
    """What to write before a command to have it, and all its children, recorded in `log`."""
    options = ["-f", "-y", "-s", str(MAX_STRING), "-e", f"trace={TRACED}", "-e", "signal=none", "--seccomp-bpf", "-o", str(log)]
    return ["strace", *options, "--"]


@contextlib.contextmanager
def traced(command: Sequence[str], log: Path, *, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command under strace with all its children; ended by SIGTERM, and by SIGKILL after twenty seconds more."""
    full = [*prefix(log), *command]
    with subprocess.Popen(
        full, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as tracer:
        try:
            yield tracer
        finally:
            _end(tracer)


def _end(tracer: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if tracer.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(tracer.pid, number)  # strace passes SIGTERM by, its child takes it
            with contextlib.suppress(subprocess.TimeoutExpired):
                tracer.wait(timeout=20)


def read(log: Path) -> list[Call]:
    """The record as calls, in order of their begin. A call that never returned has result None and the last line as its end."""
    lines = log.read_text(errors="replace").splitlines()
    open_calls: dict[tuple[int, str], tuple[int, str]] = {}
    calls: list[Call] = []
    for number, line in enumerate(lines, 1):
        resumed = _RESUMED.match(line)
        if resumed:
            pid, name, rest = int(resumed.group(1)), resumed.group(2), resumed.group(3)
            begin, args = open_calls.pop((pid, name), (number, ""))
            calls.append(_call(pid, name, args + rest, begin, number))
            continue
        plain = _LINE.match(line)
        if plain is None:
            continue
        pid, name, rest = int(plain.group(1)), plain.group(2), plain.group(3)
        if rest.endswith("<unfinished ...>"):
            open_calls[pid, name] = (number, rest.removesuffix("<unfinished ...>"))
        else:
            calls.append(_call(pid, name, rest, number, number))
    for (pid, name), (begin, args) in open_calls.items():
        calls.append(Call(pid=pid, name=name, args=args, begin=begin, end=len(lines) + 1, result=None))
    return sorted(calls, key=lambda call: call.begin)


def _call(pid: int, name: str, text: str, begin: int, end: int) -> Call:
    results = list(_RESULT.finditer(text))
    result = results[-1].group(1) if results else "?"
    args = text[: results[-1].start()] if results else text
    return Call(pid=pid, name=name, args=args, begin=begin, end=end, result=None if result == "?" else int(result))


def acknowledgement(calls: Sequence[Call], text: str) -> Call:
    """The call that let `text` out of the process; of an HTTP answer the one with its status line, which says yes already."""
    sent = [call for call in calls if call.name in SENDS and not call.fd.startswith("/") and text in call.args]
    assert sent, f"{text!r} was never acknowledged: the record has no send of it"
    body = sent[0]
    heads = [
        call
        for call in calls
        if call.fd == body.fd and call.name in SENDS and "HTTP/1.1 2" in call.args and call.begin < body.begin
    ]
    return heads[-1] if heads and body.fd and "HTTP/1.1 2" not in body.args else body


def assert_durable(calls: Sequence[Call], *, payload: str, acknowledged: str, under: Path, after: int = 0) -> int:
    """Raises AssertionError that names the call out of order. after: look at the record from that line on. Returns how many
    writes of the payload were checked."""
    calls = [call for call in calls if call.begin > after]
    ack = acknowledgement(calls, acknowledged)
    found = [call for call in calls if call.name in WRITES and call.fd.startswith(str(under)) and payload in call.args]
    writes = _that_count([call for call in found if call.end < ack.begin], under)
    assert writes, f"{payload!r} was acknowledged and is in no file: {ack}"
    for write in writes:
        _assert_synced(calls, write, ack)
    return len(writes)


def _that_count(writes: Sequence[Call], under: Path) -> list[Call]:
    """Those that make something durable. Not logs and locks. Of a write-ahead log the first: its page is written again by every
    later transaction that touches it, also by one that is under way when the acknowledgement leaves. Not the database itself,
    into which pages are copied that its write-ahead log has kept already."""
    kept: dict[object, Call] = {}
    for write in writes:
        path = Path(write.fd)
        if path.suffix == ".sqlite3" or path.relative_to(under).parts[0] in ("logs", "run"):
            continue
        kept.setdefault(path if path.name.endswith("-wal") else id(write), write)
    return list(kept.values())


def _assert_synced(calls: Sequence[Call], write: Call, ack: Call) -> None:
    path = write.fd
    renamed = [
        call
        for call in calls
        if call.name in RENAMES
        and call.result == 0
        and call.begin > write.end
        and call.end < ack.begin
        and call.strings[:1] == [path]
    ]
    names = {path, *(call.strings[-1] for call in renamed)}
    synced = [call for call in calls if call.name in SYNCS and call.fd in names and call.result == 0]
    good = [call for call in synced if call.begin > write.end and call.end < ack.begin]
    assert good, (
        f"acknowledged before its bytes were on disk:\n  {write}\n  {ack}\n  syncs of the file: {[*map(str, synced)] or 'none'}"
    )
    for rename in renamed:
        folder = str(Path(rename.strings[-1]).parent)
        found = [call for call in calls if call.name in SYNCS and call.fd == folder and call.result == 0]
        durable = [call for call in found if call.begin > rename.end and call.end < ack.begin]
        assert durable, (
            f"acknowledged before its name was on disk:\n  {rename}\n  {ack}\n  syncs of {folder}: {[*map(str, found)] or 'none'}"
        )


def settled(log: Path) -> int:
    """The number of lines of the record now: what comes later is what happens later."""
    time.sleep(0.05)
    return len(log.read_text(errors="replace").splitlines())


def files_durable(calls: Sequence[Call], folder: Path, *, acknowledged: str) -> int:
    """Of every file that was renamed into `folder` or below: its bytes and its name were on disk before the acknowledgement. Returns
    how many there were."""
    ack = acknowledgement(calls, acknowledged)
    placed = [
        call
        for call in calls
        if call.name in RENAMES and call.result == 0 and call.end < ack.begin and call.strings[-1].startswith(str(folder))
    ]
    for rename in placed:
        source, target = call_paths(rename)
        writes = [call for call in calls if call.name in WRITES and call.fd == source and call.end < rename.begin]
        for write in writes[-1:]:
            _assert_synced(calls, write, ack)
        folder_syncs = [call for call in calls if call.name in SYNCS and call.fd == str(Path(target).parent) and call.result == 0]
        assert any(call.begin > rename.end and call.end < ack.begin for call in folder_syncs), f"name not on disk: {rename}"
    return len(placed)


def call_paths(rename: Call) -> tuple[str, str]:
    return rename.strings[0], rename.strings[-1]
