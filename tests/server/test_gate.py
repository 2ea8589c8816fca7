"""What every request passes: Host, Origin, key, sizes, times, headers; and that a refusal is in the OpenAI shape."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmos.engine.pool import Pool
from llmos.errors import InvalidValue
from llmos.server.app import create_app
from llmos.server.limits import Limits
from llmos.server.serve import check_address
from llmos.settings import Settings
from tests.doubles import fake_cards, fake_pool
from tests.server.live import Live, ServedLibrary, live

KEY = "llmos_secret-key"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with a key, a host of its own and short times."""
    folder = tmp_path_factory.mktemp("locked")
    settings = Settings.from_env(
        {"LLMOS_HOME": str(folder), "LLMOS_API_KEY": KEY, "LLMOS_ALLOWED_HOSTS": "models.example", "LLMOS_NUM_THREADS": "2"}
    )
    limits = Limits(body_bytes=1000, body_s=0.5, header_s=0.5, total_body_bytes=10_000)
    pool = Pool(settings, ServedLibrary(folder / "fake-model", fake_cards()), inline=True)
    with live(settings, pool, limits=limits) as running:
        yield running


def all_routes(app: Live) -> list[tuple[str, str]]:
    paths = app.app.openapi()["paths"]
    return [(method.upper(), path.replace("{", "").replace("}", "")) for path, methods in paths.items() for method in methods]


def test_every_route_but_health_needs_the_key(locked: Live) -> None:
    routes = all_routes(locked)
    assert len(routes) > 30
    for method, path in routes:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}, {"authorization": "Basic " + KEY}):
            status = locked.client.request(method, path, headers=headers, json={}).status_code
            assert status == (200 if path in ("/healthz", "/readyz") else 401), (method, path, headers)


def test_unknown_routes_need_the_key_too(locked: Live) -> None:
    assert locked.client.get("/nothing").status_code == 401
    assert locked.client.get("/openapi.json").status_code == 401


@pytest.mark.parametrize("headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}])
def test_the_key_opens(locked: Live, headers: dict[str, str]) -> None:
    assert locked.client.get("/v1/models", headers=headers).status_code == 200


def test_refusal_has_the_openai_shape(locked: Live) -> None:
    answer = locked.client.get("/v1/models")
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert KEY not in answer.text


def test_foreign_hosts_are_refused(served: Live) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "10.0.0.1", "models.example"):
        assert served.client.get("/healthz", headers={"host": host}).status_code == 421, host


def test_own_hosts_are_accepted(served: Live, locked: Live) -> None:
    for host in (f"localhost:{served.port}", "127.0.0.1", f"[::1]:{served.port}"):
        assert served.client.get("/healthz", headers={"host": host}).status_code == 200, host
    assert locked.client.get("/healthz", headers={"host": "models.example"}).status_code == 200


def test_foreign_pages_change_nothing(served: Live) -> None:
    foreign = (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": f"https://127.0.0.1:{served.port}"},
    )
    for method, path in all_routes(served):
        if method == "GET":
            continue
        for headers in foreign:
            answer = served.client.request(method, path, headers=headers, json={})
            assert answer.status_code == 403, (method, path, headers)
            assert "access-control-allow-origin" not in answer.headers


def test_no_cors_for_anyone(served: Live) -> None:
    headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    answer = served.client.options("/v1/chat/completions", headers=headers)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_own_page_is_accepted(served: Live) -> None:
    headers = {"origin": f"http://127.0.0.1:{served.port}", "sec-fetch-site": "same-origin"}
    assert served.client.post("/tokenize", json={"prompt": "a"}, headers=headers).status_code == 200


def test_security_headers_everywhere(served: Live) -> None:
    for path in ("/healthz", "/nothing", "/v1/models"):
        headers = served.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-request-id"].startswith("req_")


def test_request_id_is_kept_when_it_is_harmless(served: Live) -> None:
    assert served.client.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert served.client.get("/healthz", headers={"x-request-id": "a b\tc"}).headers["x-request-id"].startswith("req_")


def test_wrong_route_and_method(served: Live) -> None:
    missing, wrong = served.client.get("/v1/nothing"), served.client.get("/v1/chat/completions")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"null", b'{"model": "fake", "messages": NaN}'])
def test_broken_bodies(served: Live, content: bytes) -> None:
    answer = served.client.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_half_a_surrogate_pair_is_no_text(served: Live) -> None:
    headers = {"content-type": "application/json"}
    answer = served.client.post("/tokenize", content=b'{"prompt": "a\\ud83d"}', headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")
    whole = served.client.post("/tokenize", content=b'{"prompt": "\\ud83d\\ude00", "add_special_tokens": false}', headers=headers)
    assert whole.json()["count"] == 4


def test_json_under_the_name_of_a_form_is_read(served: Live) -> None:
    """curl -d '{...}' as Ollama's documentation has it."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert served.client.post("/tokenize", content=b'{"prompt": "a"}', headers=headers).json()["tokens"] == [97]


def test_large_bodies(locked: Live) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    declared = locked.client.post("/tokenize", content=b"x" * 1001, headers=headers)
    assert (declared.status_code, declared.json()["error"]["code"]) == (413, "body_too_large")

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    assert locked.client.post("/tokenize", content=chunks(), headers=headers).status_code == 413


def raw(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def test_slow_body_is_408(locked: Live) -> None:
    head = f"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 50\r\n\r\n"
    answer = raw(locked.port, head.encode() + b'{"prompt"')
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer


def test_slow_headers_are_cut_off(locked: Live) -> None:
    assert raw(locked.port, b"GET /healthz HTTP/1.1\r\nHost: local") == b""
    assert raw(locked.port, b"") == b""


def test_slow_headers_of_the_second_request_are_cut_off(locked: Live) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert raw(locked.port, first + b"GET /hea").count(b"HTTP/1.1 200") == 1


def test_broken_http(served: Live) -> None:
    answer = raw(served.port, b"NONSENSE\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code":"bad_http"' in answer
    assert raw(served.port, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000).startswith(b"HTTP/1.1 4")


def test_two_hosts_are_refused(served: Live) -> None:
    answer = raw(served.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n")
    assert answer.split()[1] in (b"400", b"421")


def test_open_address_needs_a_key(tmp_path: Path) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_HOST": "0.0.0.0", "LLMOS_NUM_THREADS": "2"})
    with fake_pool(settings, tmp_path) as pool, pytest.raises(InvalidValue, match="LLMOS_API_KEY"):
        create_app(settings, pool)


def test_open_address_needs_tls_or_a_word() -> None:
    settings = Settings.from_env({"LLMOS_HOST": "0.0.0.0", "LLMOS_API_KEY": KEY})
    with pytest.raises(InvalidValue, match="TLS"):
        check_address(settings, insecure_http=False, tls_cert=None, tls_key=None)
    check_address(settings, insecure_http=True, tls_cert=None, tls_key=None)
    with pytest.raises(InvalidValue, match="belong together"):
        check_address(settings, insecure_http=True, tls_cert="a.pem", tls_key=None)


def test_the_unforeseen_stays_inside(served: Live) -> None:
    """The double of the library has no `verify`: an AttributeError, of which nothing must leave but an id."""
    answer = served.client.post("/api/v1/models/verify", json={"name": "fake"}, headers={"x-request-id": "look-me-up"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "look-me-up" in answer.json()["error"]["message"]
    assert "verify" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_requests_are_logged_with_the_user_as_a_digest(served: Live, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="llmos.server")
    body = {"model": "fake", "prompt": "secret prompt", "max_tokens": 1, "user": "alice@example.org"}
    served.client.post("/v1/completions", json=body, headers={"x-request-id": "req-1"})
    while not (found := [record for record in caplog.records if getattr(record, "request_id", "") == "req-1"]):
        time.sleep(0.01)  # the line is written after the last byte has left
    [record] = found
    facts = vars(record)
    assert (facts["path"], facts["status"], len(facts["user"])) == ("/v1/completions", 200, 16)
    assert "alice" not in str(facts)
    assert "secret" not in str(facts)


@pytest.mark.parametrize("kept", [False, True])
def test_contents_are_kept_when_switched_on(tmp_path: Path, kept: bool) -> None:
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path), "LLMOS_LOG_CONTENTS": str(int(kept))})
    with live(settings, fake_pool(settings, tmp_path)) as running:
        answer = running.client.post("/v1/completions", json={"model": "fake", "prompt": "my diary", "max_tokens": 3})
    [line] = [json.loads(line) for line in (tmp_path / "logs/requests.jsonl").read_text().splitlines()]
    assert ("my diary" in line.get("request", "")) == kept
    assert line.get("response") == (answer.text if kept else None)
