"""What runs keep for the next one, and how it is given back: `llmos data gc`.

    datasets/.parts/…       computed parts                  datasets/.verdicts/…   what was decided over all rows
    datasets/.known/…       what rows are compared with     datasets/.sources/…    public data of `get:NAME`
    datasets/.inline/…      rows written in recipes         datasets/.remote/…     files that were fetched for recipes
    datasets/<name>/.…      folders of runs that were killed while they published

Versions do not need any of it: their files are their own (links), so a file that a version has too frees nothing until that goes. A run
needs what it found and computed until it ends, so `collect` and runs exclude each other, by a lock that ends with its process. Answers of
models (.asked) are kept: they cost the most and are the smallest.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmos.errors import Conflict
from llmos.infra.files import make_dir, storage_errors
from llmos.settings import Settings

WEEK_S = 7 * 86_400.0
LOCK = ".lock"  # shared by runs, alone for who takes away
LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """num: folders and files that went, or would. size_bytes: that the disk has more of then."""

    num: int
    size_bytes: int


def collect(settings: Settings, *, older_than_s: float = WEEK_S, dry_run: bool = False) -> Freed:
    """What was last written before `older_than_s`. Raises StorageError, and Conflict while a run is under way, unless dry_run."""
    root = settings.home / "datasets"
    edge = time.time() - older_than_s
    num = size = 0
    with storage_errors(root), ExitStack() as held:
        if not dry_run:
            lock = held.enter_context((make_dir(root) / LOCK).open("a"))
            if not _locked(lock.fileno(), fcntl.LOCK_EX):
                raise Conflict("A run is under way, and needs what it has computed.", hint="Do it when that has ended.")
        for path in _candidates(root):
            if _newest(path) > edge:
                continue
            num += 1
            size += _own_bytes(path)
            if not dry_run:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return Freed(num=num, size_bytes=size)


@contextmanager
def in_use(settings: Settings, step: Callable[[], None]) -> Iterator[None]:
    """While it is held nothing is taken away. step: called while somebody is at that; may raise."""
    with (make_dir(settings.home / "datasets") / LOCK).open("a") as lock:
        while not _locked(lock.fileno(), fcntl.LOCK_SH):
            step()
            time.sleep(LOOK_S)
        yield


def _locked(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _candidates(root: Path) -> Iterator[Path]:
    for pattern in (
        ".parts/*/*",
        ".parts/*.parquet",
        ".verdicts/*",
        ".known/*",
        ".inline/*",
        ".remote/*",
        ".sources/*",
        "[!.]*/.*",
    ):
        yield from sorted(root.glob(pattern))


def _newest(path: Path) -> float:
    """When something in it was last written; a file that a version links keeps the time at which it was made."""
    try:
        return max((path.stat().st_mtime, *(one.stat().st_mtime for one in path.rglob("*"))))
    except FileNotFoundError:
        return 0.0


def _own_bytes(path: Path) -> int:
    """Bytes of files that have no other name."""
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    told = [one.stat() for one in files]
    return sum(one.st_size for one in told if one.st_nlink == 1)


def seconds_of(text: str) -> float:
    """ "7d", "12h", "30m", "0": an age. Raises ValueError."""
    units = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    number, unit = (text[:-1], text[-1]) if text and text[-1] in units else (text, "d")
    found = float(number) * units[unit]
    if not 0 <= found < float("inf"):
        raise ValueError(text)
    return found
