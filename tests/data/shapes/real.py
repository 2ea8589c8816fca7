"""The example sets of LLaMA-Factory, from the archive of its release; hash-checked, cached, never committed."""

from __future__ import annotations

import hashlib
import json
import tarfile
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.assets import CACHE

_ARCHIVE = "llamafactory-0.9.5.tar.gz"
_SHA256 = "1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f"
_PREFIX = "llamafactory-0.9.5/data/"


@cache
def llamafactory() -> Path:
    """The folder with its .json and .jsonl files, fetched on first use. Skips the test when the index is not reachable."""
    target = CACHE / "llamafactory-0.9.5"
    archive = CACHE / _ARCHIVE
    try:
        data = archive.read_bytes() if archive.exists() else _download()
    except OSError as problem:
        pytest.skip(f"{_ARCHIVE} could not be fetched: {problem}")
    digest = hashlib.sha256(data).hexdigest()
    assert digest == _SHA256, digest
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(".part")
        partial.write_bytes(data)
        partial.rename(archive)
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            name = member.name.removeprefix(_PREFIX)
            if member.name.startswith(_PREFIX) and "/" not in name and name.endswith((".json", ".jsonl")):
                content = files.extractfile(member)
                assert content is not None
                (target / name).write_bytes(content.read())
    return target


def _download() -> bytes:
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    index = urllib.request.Request("https://pypi.org/simple/llamafactory/", headers=accept)
    with urllib.request.urlopen(index, timeout=60) as answer:
        entry = next(file for file in json.load(answer)["files"] if file["filename"] == _ARCHIVE)
    with urllib.request.urlopen(entry["url"], timeout=300) as answer:
        data: bytes = answer.read()
    return data


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of one file."""
    text = (llamafactory() / name).read_text()
    found: list[dict[str, Any]] = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    return found
