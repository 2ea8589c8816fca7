"""What runs keep for the next one, and how it is given back: `llmos data gc`.

    datasets/.parts/…       computed parts          datasets/.verdicts/…   what was decided over all rows
    datasets/.inline/…      rows written in recipes         datasets/.remote/…     files that were fetched for recipes
    datasets/.sources/…     public data of `get:NAME`
    datasets/<name>/.…      folders of runs that were killed while they published

Versions do not need any of it: their files are their own (links), so a file that a version has too frees nothing until that goes. What is
younger than `older_than_s` stays, as a run may be at it. Answers of models (.asked) are kept: they cost the most and are the smallest.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmos.infra.files import storage_errors
from llmos.settings import Settings

WEEK_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """num: folders and files that went, or would. size_bytes: that the disk has more of then."""

    num: int
    size_bytes: int


def collect(settings: Settings, *, older_than_s: float = WEEK_S, dry_run: bool = False) -> Freed:
    """Raises StorageError."""
    root = settings.home / "datasets"
    edge = time.time() - older_than_s
    num = size = 0
    with storage_errors(root):
        for path in _candidates(root):
            if _newest(path) > edge:
                continue
            num += 1
            size += _own_bytes(path)
            if not dry_run:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return Freed(num=num, size_bytes=size)


def _candidates(root: Path) -> Iterator[Path]:
    for pattern in (".parts/*/*", ".parts/*.parquet", ".verdicts/*", ".inline/*", ".remote/*", ".sources/*", "[!.]*/.*"):
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
