"""Downloads: whole, in ranges, resumed, changed, cut, refused; nothing half-done ever has the target's name."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llmos.errors import Cancelled, CorruptFile, NotFound, SourceError, SourceStatus, StorageError, Unreachable
from llmos.infra.fetch import Fetcher
from tests.infra.web import Page, Web

DATA = random.Random(1).randbytes(10_500)  # eleven chunks of the fixture's 1000 bytes
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "files" / "model.bin"


def ranges(web: Web) -> list[str]:
    return [headers.get("range", "") for _, _, headers, _ in web.asked]


@pytest.mark.parametrize("connections", [1, 4])
def test_in_ranges(fetcher: Fetcher, web: Web, target: Path, connections: int) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"')
    told: list[tuple[int, int]] = []
    found = fetcher.download(
        web.url + "/f",
        target,
        sha256=SHA,
        size_bytes=len(DATA),
        progress=lambda done, total: told.append((done, total)),
        connections=connections,
    )
    assert (found, target.read_bytes()) == (SHA, DATA)
    assert sorted(ranges(web)) == sorted(
        f"bytes={start}-{min(start + 1000, 10_500) - 1}" if start else "bytes=0-999" for start in range(0, 10_500, 1000)
    )
    assert all(headers["if-range"] == '"v1"' for _, _, headers, _ in web.asked[1:])
    assert told[-1] == (10_500, 10_500) and told == sorted(told)
    assert [file.name for file in target.parent.iterdir()] == ["model.bin"]


@pytest.mark.parametrize(
    "page",
    [Page(DATA, ranges=False), Page(DATA), Page(DATA, etag='W/"weak"'), Page(DATA, etag='"v1"')],
    ids=["no ranges", "no version", "weak version", "strong version"],
)
@pytest.mark.parametrize("sha256", [None, SHA])
def test_every_kind_of_server(fetcher: Fetcher, web: Web, target: Path, page: Page, sha256: str | None) -> None:
    web.pages["/f"] = page
    assert fetcher.download(web.url + "/f", target, sha256=sha256) == SHA
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("ranges", [True, False])
def test_empty_file(fetcher: Fetcher, web: Web, target: Path, ranges: bool) -> None:
    web.pages["/f"] = Page(b"", etag='"v"', ranges=ranges)
    assert fetcher.download(web.url + "/f", target, size_bytes=0) == hashlib.sha256(b"").hexdigest()
    assert target.read_bytes() == b""


@pytest.mark.parametrize("with_ranges", [True, False])
def test_lost_connections_are_taken_up(fetcher: Fetcher, web: Web, target: Path, with_ranges: bool) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"', ranges=with_ranges, cuts=3, cut_after=400)
    told: list[int] = []
    assert fetcher.download(web.url + "/f", target, progress=lambda done, _: told.append(done), connections=1) == SHA
    assert told[-1] == len(DATA)
    if with_ranges:
        assert "bytes=400-999" in ranges(web)  # not from the start of the chunk


def test_server_errors_pass(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"', failures=[503, 500, 429])
    assert fetcher.download(web.url + "/f", target) == SHA


def test_lasting_error_is_told_and_keeps_what_is_there(fetcher: Fetcher, web: Web, target: Path) -> None:
    page = web.pages["/f"] = Page(DATA, etag='"v1"')
    page.on_request = lambda: page.failures.append(500) if len(web.asked) >= 5 else None
    with pytest.raises(SourceStatus, match="HTTP 500"):
        fetcher.download(web.url + "/f", target, connections=1)
    assert not target.exists()
    page.on_request, page.failures = None, []
    before = len(web.asked)
    assert fetcher.download(web.url + "/f", target, connections=1) == SHA
    assert len(web.asked) - before < 11


def cancelled_halfway(fetcher: Fetcher, web: Web, target: Path) -> None:
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        fetcher.download(
            web.url + "/f",
            target,
            progress=lambda done, _: cancel.set() if done >= 5000 else None,
            cancel=cancel,
            connections=1,
        )
    assert not target.exists()
    web.asked.clear()


def test_resumed(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"')
    cancelled_halfway(fetcher, web, target)
    assert fetcher.download(web.url + "/f", target, sha256=SHA) == SHA
    assert "bytes=0-999" not in ranges(web) and len(web.asked) <= 8


def test_changed_on_the_server_starts_anew(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"')
    cancelled_halfway(fetcher, web, target)
    new = DATA[::-1]
    web.pages["/f"] = Page(new, etag='"v2"')
    assert fetcher.download(web.url + "/f", target) == hashlib.sha256(new).hexdigest()
    assert target.read_bytes() == new


def test_damaged_part_is_found_and_fetched_again(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"')
    cancelled_halfway(fetcher, web, target)
    part = target.with_name("model.bin.part")
    part.write_bytes(b"\x00" * len(DATA))
    assert fetcher.download(web.url + "/f", target, sha256=SHA) == SHA


@pytest.mark.parametrize("junk", [b"", b"{", b'{"validator": 1, "size": 2}', b'{"validator": "x", "size_bytes": 99, "done": [7]}'])
def test_damaged_record_is_forgotten(fetcher: Fetcher, web: Web, target: Path, junk: bytes) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"')
    cancelled_halfway(fetcher, web, target)
    target.with_name("model.bin.state").write_bytes(junk)
    assert fetcher.download(web.url + "/f", target, sha256=SHA) == SHA


def test_wrong_hash_leaves_nothing(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"')
    with pytest.raises(CorruptFile, match=SHA):
        fetcher.download(web.url + "/f", target, sha256="0" * 64)
    assert list(target.parent.iterdir()) == []


def test_wrong_size_is_refused_before_the_download(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"')
    with pytest.raises(CorruptFile, match="10,500 bytes, wanted were 9"):
        fetcher.download(web.url + "/f", target, size_bytes=9)
    assert len(web.asked) == 1 and list(target.parent.iterdir()) == []


def test_more_than_the_disk_holds_is_refused_at_once(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.pages["/f"] = Page(DATA, ranges=False, headers={"Content-Length": str(1 << 60)})
    with pytest.raises(StorageError, match=f"{1 << 60:,}"):
        fetcher.download(web.url + "/f", target)


@pytest.mark.parametrize(("path", "error"), [("/missing", NotFound), ("/locked", SourceStatus)])
def test_refusals(fetcher: Fetcher, web: Web, target: Path, path: str, error: type[Exception]) -> None:
    web.pages["/locked"] = Page(b"a token please", status=401)
    with pytest.raises(error):
        fetcher.download(web.url + path, target)
    assert len(web.asked) == 1 and list(target.parent.iterdir()) == []


def test_server_that_is_gone(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.close()
    with pytest.raises(Unreachable):
        fetcher.download(web.url + "/f", target)


def test_nonsense_content_range(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.pages["/f"] = Page(DATA[:1000], status=206, headers={"Content-Range": "bytes zero"})
    with pytest.raises(SourceError, match="Content-Range"):
        fetcher.download(web.url + "/f", target)


def test_two_at_once_fetch_it_once(fetcher: Fetcher, web: Web, target: Path) -> None:
    web.pages["/f"] = Page(DATA, etag='"v1"')
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetcher.download(web.url + "/f", target, sha256=SHA))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SHA] * 3
    assert len(web.asked) == 11
    assert [file.name for file in target.parent.iterdir()] == ["model.bin"]


def test_killed_program_leaves_nothing_under_the_name_and_the_next_goes_on(fetcher: Fetcher, web: Web, target: Path) -> None:
    reached, never = threading.Event(), threading.Event()

    def hang_at_the_sixth() -> None:
        if len(web.asked) == 6:
            reached.set()
            never.wait(60)

    page = web.pages["/f"] = Page(DATA, etag='"v1"', on_request=hang_at_the_sixth)
    code = (
        "import sys; from pathlib import Path; from llmos.infra.fetch import Fetcher; from llmos.settings import Settings;"
        "Fetcher(Settings.from_env(), chunk_bytes=1000).download(sys.argv[1] + '/f', Path(sys.argv[2]), connections=1)"
    )
    program = subprocess.Popen([sys.executable, "-c", code, web.url, target], env={"HF_ENDPOINT": web.url})
    assert reached.wait(60)
    program.kill()
    program.wait()
    never.set()
    assert not target.exists() and target.with_name("model.bin.part").exists()
    page.on_request = None
    web.asked.clear()
    assert fetcher.download(web.url + "/f", target) == SHA
    assert target.read_bytes() == DATA
    assert sorted(ranges(web)) == sorted(f"bytes={start}-{min(start + 1000, 10_500) - 1}" for start in range(5000, 10_500, 1000))
