"""Sources over https and in an S3-compatible store: a real server of each, the stock client against it."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from moto.server import ThreadedMotoServer

from llmos.data.readers.remote import fetched, s3
from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.store import Datasets
from llmos.errors import InvalidValue, LimitExceeded, NotFound, PermissionDenied, SourceStatus, Unreachable
from llmos.infra.fetch import Fetcher
from llmos.library.library import Library
from llmos.plugins import load_plugins
from llmos.settings import Settings
from tests.infra.web import Page, Web

ROWS = b'{"text": "one"}\n{"text": "two"}\n'


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    """The variables that s3fs reads, put back afterwards."""
    before = dict(os.environ)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "all_proxy", "ALL_PROXY", "AWS_PROFILE"):
        os.environ.pop(name, None)
    os.environ.update(
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true"
    )
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def store(environment: None) -> Iterator[str]:
    """The address of an S3-compatible server with a few objects."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    client = s3()
    client.mkdir("bucket")
    for name, data in {"raw/a.jsonl": ROWS, "raw/b.jsonl": ROWS, "raw/deep/c.txt": b"three\n", "other/x.csv": b"a\n1\n"}.items():
        client.pipe_file(f"bucket/{name}", data)
    yield os.environ["AWS_ENDPOINT_URL"]
    server.stop()


@pytest.mark.parametrize(
    ("uri", "labels"),
    [
        ("s3://bucket/raw/a.jsonl", ["a.jsonl"]),
        ("s3://bucket/raw/*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("s3://bucket/raw/", ["a.jsonl", "b.jsonl", "deep/c.txt"]),
        ("s3://bucket/**/c.txt", ["raw/deep/c.txt"]),
    ],
)
def test_objects(settings: Settings, store: str, uri: str, labels: list[str]) -> None:
    found = list(fetched(uri, settings))
    assert [label for _, label in found] == labels
    assert all(path.name == label.rpartition("/")[2] for path, label in found)


def test_objects_are_fetched_once_a_version(settings: Settings, store: str) -> None:
    ((path, _),) = fetched("s3://bucket/other/x.csv", settings)
    before = path.stat().st_mtime_ns
    ((again, _),) = fetched("s3://bucket/other/x.csv", settings)
    assert (again, again.stat().st_mtime_ns) == (path, before)
    s3().pipe_file("bucket/other/x.csv", b"a\n2\n")
    ((newer, _),) = fetched("s3://bucket/other/x.csv", settings)
    assert (newer.read_bytes(), path.read_bytes()) == (b"a\n2\n", b"a\n1\n")


def test_what_is_not_there(settings: Settings, store: str) -> None:
    with pytest.raises(NotFound, match="There is no object"):
        list(fetched("s3://bucket/none.jsonl", settings))
    with pytest.raises(NotFound, match="There is no object"):
        list(fetched("s3://bucket/none/*.jsonl", settings))
    with pytest.raises(InvalidValue, match="names no object"):
        list(fetched("s3://bucket", settings))


def test_no_credentials(settings: Settings, store: str, tmp_path: Path) -> None:
    kept = {name: os.environ.pop(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    os.environ.update(AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "none"), AWS_CONFIG_FILE=str(tmp_path / "none"))
    try:
        with pytest.raises(PermissionDenied, match="AWS_ACCESS_KEY_ID"):
            list(fetched("s3://bucket/raw/a.jsonl", settings))
    finally:
        os.environ.update(kept)
        del os.environ["AWS_SHARED_CREDENTIALS_FILE"], os.environ["AWS_CONFIG_FILE"]


def test_a_recipe_from_the_store_to_the_store(settings: Settings, store: str) -> None:
    load_plugins()
    document = {
        "sources": [{"path": "s3://bucket/raw/*.jsonl"}],
        "sinks": [
            {"path": "s3://bucket/out/clean.jsonl.gz", "ids": True},
            {"path": "s3://bucket/out/set/", "format": "huggingface"},
        ],
        "executor": "inline",
    }
    run = Run(recipe=Recipe.build(document), datasets=Datasets(settings, Library.open(settings).database))
    version = run.execute()
    assert (version.num_rows, [one.num_rows for one in run.exports]) == (4, [4, 4])
    assert sorted(s3().find("bucket/out")) == [
        "bucket/out/clean.jsonl.gz", "bucket/out/set/README.md", "bucket/out/set/data/train-00000-of-00001.parquet",
    ]  # fmt: skip
    ((path, _),) = fetched("s3://bucket/out/clean.jsonl.gz", settings)
    assert gzip.decompress(path.read_bytes()).splitlines()[0] == b'{"_id":"a.jsonl#1","text":"one"}'


def test_a_store_that_is_not_reachable(settings: Settings, store: str) -> None:
    os.environ["AWS_ENDPOINT_URL"], os.environ["AWS_MAX_ATTEMPTS"] = "http://127.0.0.1:9", "1"
    try:
        with pytest.raises(Unreachable, match="AWS_ENDPOINT_URL says where it is"):
            list(fetched("s3://bucket/raw/a.jsonl", settings))
    finally:
        os.environ["AWS_ENDPOINT_URL"] = store
        del os.environ["AWS_MAX_ATTEMPTS"]


# -- https -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def web(environment: None) -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


def door(settings: Settings, web: Web) -> Fetcher:
    return Fetcher(settings, trusted_origins=[web.url], pause_s=0.0)


def test_a_page_is_fetched_once_a_version(settings: Settings, web: Web) -> None:
    web.pages["/data/a%20b.jsonl"] = Page(ROWS, etag='"1"')
    ((path, label),) = fetched(f"{web.url}/data/a%20b.jsonl", settings, door(settings, web))
    assert (path.read_bytes(), label) == (ROWS, "a b.jsonl")
    list(fetched(f"{web.url}/data/a%20b.jsonl", settings, door(settings, web)))
    assert [method for method, _, _, _ in web.asked] == ["HEAD", "GET", "HEAD"]
    web.pages["/data/a%20b.jsonl"] = Page(b"new", etag='"2"')
    ((newer, _),) = fetched(f"{web.url}/data/a%20b.jsonl", settings, door(settings, web))
    assert (newer.read_bytes(), path.read_bytes()) == (b"new", ROWS)


@pytest.mark.parametrize(
    "page", [Page(ROWS, etag='"1"'), Page(ROWS, ranges=False), Page(ROWS, ranges=False, headers={"Content-Encoding": "x"})]
)
def test_a_file_may_be_limited_whether_its_size_is_told_or_not(settings: Settings, web: Web, page: Page) -> None:
    web.pages["/rows.jsonl"] = page
    address = f"{web.url}/rows.jsonl"
    with pytest.raises(LimitExceeded, match=f"more than {len(ROWS) - 1} bytes"):
        list(fetched(address, settings, door(settings, web), max_bytes=len(ROWS) - 1))
    assert not [path for path in (settings.home / "datasets" / ".remote").rglob("*") if path.is_file()]
    ((path, _),) = fetched(address, settings, door(settings, web), max_bytes=len(ROWS))
    assert path.read_bytes() == ROWS


@pytest.mark.parametrize(
    ("name", "label"), [("a%00b.jsonl", "a_b.jsonl"), ("%1b[31m.jsonl", "_[31m.jsonl"), ("中" * 150 + ".jsonl", None)]
)
def test_names_that_no_file_can_have(settings: Settings, web: Web, name: str, label: str | None) -> None:
    address = f"/{quote(name, safe='%[]')}"
    web.pages[address] = Page(ROWS, etag='"1"')
    ((path, found),) = fetched(f"{web.url}{address}", settings, door(settings, web))
    assert (path.read_bytes(), found) == (ROWS, label or name)


def test_pages_that_are_not_there(settings: Settings, web: Web) -> None:
    with pytest.raises(NotFound):
        list(fetched(f"{web.url}/none.jsonl", settings, door(settings, web)))
    web.pages["/x.jsonl"] = Page(b"", status=403)
    with pytest.raises((SourceStatus, PermissionDenied)):
        list(fetched(f"{web.url}/x.jsonl", settings, door(settings, web)))
    with pytest.raises(InvalidValue):
        list(fetched("http://169.254.169.254/latest", settings))
