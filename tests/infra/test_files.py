"""Atomic files: content, mode, the old file on failure, and what strace would show is left to the promise suite."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from llmos.errors import OverCapacity, StorageError
from llmos.infra.files import free_disk_bytes, make_dir, sha256_file, storage_errors, write_atomic


def test_write_and_replace(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomic(path, "première", mode=0o600)
    assert path.read_bytes() == "première".encode()
    assert path.stat().st_mode & 0o777 == 0o600
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "child").write_text("here")
    with pytest.raises(OSError):  # a folder that is not empty cannot be replaced by a file
        write_atomic(tmp_path / "folder", "text")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "child").read_text() == "here"


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageError), (errno.EIO, StorageError), (errno.EROFS, StorageError), (errno.EMFILE, OverCapacity)],
)
def test_disk_errors_are_ours(tmp_path: Path, number: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=str(tmp_path)), storage_errors(tmp_path / "file"):
        raise OSError(number, os.strerror(number))


def test_a_really_full_device() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StorageError, match="No space left"), storage_errors(full), full.open("wb") as file:
        file.write(b"x")
        file.flush()


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "missing").read_bytes()


def test_make_dir_is_idempotent(tmp_path: Path) -> None:
    assert make_dir(tmp_path / "a" / "b") == make_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_free_disk_of_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_disk_bytes(tmp_path / "no" / "such" / "folder") > 0


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 1_000_000)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
