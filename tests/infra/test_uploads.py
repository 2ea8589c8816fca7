"""Files of a project: durable when added, invisible to others, their bytes gone with the last of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmos.errors import InvalidValue, NotFound
from llmos.infra.database import Database, open_database
from llmos.infra.uploads import StoredFile, Uploads, check_purpose, plain_name
from llmos.settings import Settings


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = open_database(settings)
    yield opened
    opened.close()


@pytest.fixture
def uploads(database: Database, settings: Settings) -> Uploads:
    return Uploads(database, settings.home / "files")


def put(uploads: Uploads, data: bytes = b"{}\n", **options: object) -> StoredFile:
    place = uploads.place()
    place.write_bytes(data)
    told = {"filename": "in.jsonl", "purpose": "batch", "project": "p", **options}
    stored = uploads.add(place, **told)  # type: ignore[arg-type]  # named fields of add
    assert not place.exists()
    return stored


def test_a_file_is_found_by_its_project_and_no_other(uploads: Uploads) -> None:
    stored = put(uploads, b"abc", created_by="key")
    assert (stored.size_bytes, stored.filename, stored.purpose, stored.created_by) == (3, "in.jsonl", "batch", "key")
    assert uploads.get(stored.id, "p") == stored == uploads.get(stored.id)
    assert uploads.path(stored.id, "p").read_bytes() == b"abc"
    for ask in (uploads.get, uploads.path, uploads.remove):
        with pytest.raises(NotFound):
            ask(stored.id, "other")
    assert uploads.list("other") == []


def test_the_list_has_pages(uploads: Uploads) -> None:
    ids = [put(uploads, bytes([number]), purpose="batch" if number % 2 else "user_data").id for number in range(7)]
    assert [one.id for one in uploads.list("p")] == ids[::-1]
    assert [one.id for one in uploads.list("p", limit=3, after=ids[5])] == ids[4:1:-1]
    assert [one.id for one in uploads.list("p", limit=3, after=ids[5], newest_first=False)] == ids[6:]
    assert [one.id for one in uploads.list("p", purpose="batch")] == [ids[5], ids[3], ids[1]]
    with pytest.raises(NotFound):
        uploads.list("p", after="file-none")


def test_equal_bytes_go_with_the_last_file(uploads: Uploads) -> None:
    first, second = put(uploads, b"same"), put(uploads, b"same", project="q")
    path = uploads.path(first.id)
    assert path == uploads.path(second.id)
    uploads.remove(first.id, "p")
    assert path.read_bytes() == b"same"
    uploads.remove(second.id)
    assert not path.exists()
    with pytest.raises(NotFound):
        uploads.get(second.id)


def test_what_is_past_its_time_is_gone_at_once_and_swept_later(uploads: Uploads) -> None:
    stored = put(uploads, b"short", expires_in_s=-1.0)
    kept = put(uploads, b"long", expires_in_s=3600.0)
    for call in (lambda: uploads.get(stored.id), lambda: uploads.path(stored.id), lambda: uploads.remove(stored.id)):
        with pytest.raises(NotFound):
            call()
    assert [one.id for one in uploads.list("p")] == [kept.id]
    assert uploads.used_bytes(project="p") == 4
    assert uploads.sweep(now=True) == 1
    assert uploads.sweep(now=True) == 0
    assert list(uploads.blobs) == [kept.sha256]


def test_a_file_under_a_given_id_is_made_once(uploads: Uploads) -> None:
    first = put(uploads, b"one", file_id="file-mine")
    again = put(uploads, b"two", file_id="file-mine")
    assert again == first and uploads.path("file-mine").read_bytes() == b"one"


def test_used_bytes_by_project_and_key(uploads: Uploads) -> None:
    put(uploads, b"12345", created_by="a")
    put(uploads, b"12345", created_by="b")
    put(uploads, b"1", created_by="a", project="q")
    assert (uploads.used_bytes(project="p"), uploads.used_bytes(created_by="a"), uploads.used_bytes()) == (10, 6, 11)


def test_adding_and_removing_the_same_bytes_at_once(uploads: Uploads) -> None:
    """A file that was added is readable, whoever removes its twin at that moment."""
    failures: list[str] = []

    def churn() -> None:
        for _ in range(15):
            stored = put(uploads, b"contended")
            if uploads.path(stored.id).read_bytes() != b"contended":
                failures.append(stored.id)
            uploads.remove(stored.id)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == [] and list(uploads.blobs) == []


def test_bytes_that_are_gone_are_not_found(uploads: Uploads) -> None:
    stored = put(uploads)
    uploads.path(stored.id).unlink()
    with pytest.raises(NotFound, match="gone"):
        uploads.path(stored.id)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a.jsonl", "a.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.txt", "y.txt"),
        ('a"b\nc', "a_b_c"),
        ("", "file"),
        ("a/", "file"),
    ],
)
def test_names_are_plain(given: str, kept: str) -> None:
    assert plain_name(given) == kept
    assert len(plain_name("x" * 1000 + ".jsonl")) == 255


def test_an_unknown_purpose_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="fine-tune"):
        check_purpose("fun")
