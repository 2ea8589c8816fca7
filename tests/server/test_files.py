"""/v1/files: uploads go to disk as they come, are listed in pages, and come back byte for byte."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from llmos.server import file_answers
from llmos.server.limits import Limits
from llmos.settings import Settings
from tests.doubles import fake_pool
from tests.jobs import until
from tests.server.live import Live, live


def upload(client: httpx.Client, data: bytes = b'{"a": 1}\n', name: str = "in.jsonl", **fields: str) -> httpx.Response:
    return form(client, {"purpose": "batch", **fields}, data, name)


def form(client: httpx.Client, fields: dict[str, str], data: bytes = b"x", name: str = "in.jsonl") -> httpx.Response:
    return client.post("/v1/files", files={"file": (name, data)}, data=fields)


def problem(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def check(name: str, value: Any) -> None:
    Draft202012Validator(getattr(file_answers, name).model_json_schema(mode="serialization")).validate(value)


def test_a_file_goes_and_comes_back(client: httpx.Client) -> None:
    data = bytes(range(256)) * 5000
    made = upload(client, data, "späte Datei.jsonl").json()
    check("FileAnswer", made)
    assert (made["bytes"], made["filename"], made["purpose"], made["expires_at"]) == (len(data), "späte Datei.jsonl", "batch", None)
    assert client.get(f"/v1/files/{made['id']}").json() == made
    content = client.get(f"/v1/files/{made['id']}/content")
    assert content.content == data and content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-length"] == str(len(data))
    gone = client.delete(f"/v1/files/{made['id']}").json()
    check("FileRemovedAnswer", gone)
    assert gone == {"id": made["id"], "object": "file", "deleted": True}
    assert problem(client.get(f"/v1/files/{made['id']}/content")) == (404, "not_found", "file_id")


def test_pages(client: httpx.Client) -> None:
    ids = [upload(client, b"x" * number, purpose="user_data").json()["id"] for number in range(1, 6)]
    page = client.get("/v1/files", params={"limit": 2, "purpose": "user_data"}).json()
    check("FileListAnswer", page)
    assert [one["id"] for one in page["data"]] == ids[:2:-1] and page["has_more"]
    last = client.get("/v1/files", params={"limit": 9, "purpose": "user_data", "after": page["last_id"]}).json()
    assert [one["id"] for one in last["data"]] == ids[2::-1] and not last["has_more"]
    first = client.get("/v1/files", params={"order": "asc", "purpose": "user_data"}).json()
    assert [one["id"] for one in first["data"]] == ids


def test_expiry(client: httpx.Client) -> None:
    made = form(client, {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}).json()
    assert made["expires_at"] - made["created_at"] == 3600


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"purpose": "fun"}, "invalid_value", "purpose"),
        ({"more": "x"}, "invalid_value", "more"),
        ({"expires_after[seconds]": "3600"}, "invalid_value", "expires_after.anchor"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "5"}, "invalid_value", "expires_after.seconds"),
        ({"purpose": "x" * 20_000}, "invalid_value", "purpose"),
    ],
)
def test_bad_fields(client: httpx.Client, served: Live, fields: dict[str, str], code: str, param: str) -> None:
    assert problem(form(client, {"purpose": "batch", **fields})) == (400, code, param)
    until(lambda: not served.state.uploads.blobs.partials())


@pytest.mark.parametrize(
    ("kind", "body", "param"),
    [
        ("application/json", b"{}", "Content-Type"),
        ("multipart/form-data", b"x", "Content-Type"),
        ("multipart/form-data; boundary=b", b"nothing of a form", None),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n',
            "file",
        ),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf', None),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--b--\r\n',
            "image",
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: y\r\n" * 5000 + b"\r\n", None),
    ],
)
def test_bad_forms(client: httpx.Client, served: Live, kind: str, body: bytes, param: str | None) -> None:
    answer = client.post("/v1/files", content=body, headers={"content-type": kind})
    assert problem(answer) == (400, "invalid_value", param)
    until(lambda: not served.state.uploads.blobs.partials())


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Live]:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_NUM_THREADS": "2"})
    with live(settings, fake_pool(settings, tmp_path), limits=Limits(upload_bytes=1_000_000, body_s=1.0)) as running:
        yield running


def test_a_file_over_the_limit_is_refused(small: Live) -> None:
    assert problem(upload(small.client, b"x" * 1_100_000))[:2] == (413, "body_too_large")
    assert problem(small.client.post("/v1/files", content=_endless(), headers={"content-type": "multipart/form-data; boundary=b"}))[
        :2
    ] == (
        413,
        "body_too_large",
    )
    until(lambda: not small.state.uploads.blobs.partials())
    assert upload(small.client, b"x" * 900_000).status_code == 200


def _endless() -> Iterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    for _ in range(40):
        yield b"x" * 50_000


def test_a_body_that_stops_coming_is_given_up(small: Live) -> None:
    head = (
        "POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 500000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nonly the start'
    )
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as sock:
        sock.sendall(head.encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 408")
    until(lambda: not small.state.uploads.blobs.partials())


def test_a_client_that_goes_away_leaves_nothing(small: Live) -> None:
    head = (
        "POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 500000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + "x" * 100_000
    )
    partials = small.state.uploads.blobs.partials
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as sock:
        sock.sendall(head.encode())
        until(partials)
    until(lambda: not partials())
    assert small.state.uploads.list() == []
