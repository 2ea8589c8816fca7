"""The blob store: what goes in comes out under its hash, what does not match stays out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from llmos.errors import CorruptFile, InvalidValue, NotFound
from llmos.infra.blobs import BlobStore

DATA = b"weights" * 1000
SHA = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("move", [False, True])
def test_add(store: BlobStore, source: Path, move: bool) -> None:
    assert store.add_file(source, sha256=SHA, move=move) == SHA
    assert store.path(SHA).read_bytes() == DATA
    assert store.path(SHA).stat().st_mode & 0o777 == 0o444
    assert source.exists() is not move
    assert list(store) == [SHA]
    assert store.verify(SHA)
    assert store.partials() == []


@pytest.mark.parametrize("move", [False, True])
def test_add_twice_is_one_blob(store: BlobStore, source: Path, tmp_path: Path, move: bool) -> None:
    store.add_file(source)
    inode = store.path(SHA).stat().st_ino
    (tmp_path / "again").write_bytes(DATA)
    assert store.add_file(tmp_path / "again", move=move) == SHA
    assert store.path(SHA).stat().st_ino == inode
    assert (tmp_path / "again").exists() is not move


@pytest.mark.parametrize("move", [False, True])
def test_wrong_hash_stays_out(store: BlobStore, source: Path, move: bool) -> None:
    with pytest.raises(CorruptFile, match=OTHER):
        store.add_file(source, sha256=OTHER, move=move)
    assert source.read_bytes() == DATA
    assert list(store) == []
    assert store.partials() == []


def test_adopt_refers_in_place(store: BlobStore, source: Path) -> None:
    assert store.adopt(source, SHA).resolve() == source
    assert store.has(SHA) and list(store) == [SHA] and store.verify(SHA)
    source.unlink()
    assert not store.has(SHA) and list(store) == []


def test_adopt_checks(store: BlobStore, source: Path) -> None:
    with pytest.raises(CorruptFile):
        store.adopt(source, OTHER)
    assert not store.has(OTHER)


def test_a_real_blob_takes_the_place_of_a_link(store: BlobStore, source: Path, tmp_path: Path) -> None:
    store.adopt(source, SHA)
    (tmp_path / "copy").write_bytes(DATA)
    store.add_file(tmp_path / "copy")
    source.unlink()
    assert store.path(SHA).read_bytes() == DATA


def test_remove_leaves_an_adopted_file(store: BlobStore, source: Path) -> None:
    store.adopt(source, SHA)
    store.remove(SHA)
    store.remove(SHA)
    assert not store.has(SHA)
    assert source.read_bytes() == DATA


def test_verify_finds_damage(store: BlobStore, source: Path) -> None:
    store.add_file(source)
    store.path(SHA).chmod(0o644)
    store.path(SHA).write_bytes(DATA[:-1] + b"x")
    assert not store.verify(SHA)
    with pytest.raises(NotFound):
        store.verify(OTHER)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", SHA.upper(), SHA[:-1], SHA + "\n"])
def test_only_hashes_are_names(store: BlobStore, name: str) -> None:
    with pytest.raises(InvalidValue):
        store.path(name)


def test_partial_is_found_again_and_stays_inside(store: BlobStore) -> None:
    place = store.partial("../../hf:org/model@main:file.gguf")
    assert place == store.partial("../../hf:org/model@main:file.gguf")
    assert place.parent == store.root / "partial" and place.parent.is_dir()
    assert store.partial("a/b") != store.partial("a_b")
