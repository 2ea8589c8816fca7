"""The network door: answers, errors, redirects, secrets, caps, streams, proxies."""

from __future__ import annotations

import gzip
import json
import threading

import pytest

from llmos.errors import InvalidValue, NotFound, SourceError, SourceStatus, Unreachable
from llmos.infra.fetch import Fetcher
from llmos.settings import Settings
from tests.infra.web import Page, Web


def page(value: object, **more: object) -> Page:
    return Page(json.dumps(value).encode(), **more)  # type: ignore[arg-type]


def test_get_json_and_bytes(fetcher: Fetcher, web: Web) -> None:
    web.pages["/a?b=1"] = page({"x": [1, "ü"]})
    assert fetcher.get_json(web.url + "/a?b=1", {"X-Own": "1"}) == {"x": [1, "ü"]}
    assert json.loads(fetcher.get_bytes(web.url + "/a?b=1"))["x"][0] == 1
    headers = web.asked[0][2]
    assert headers["x-own"] == "1" and headers["accept"] == "application/json" and headers["user-agent"].startswith("llmos/")


def test_compressed_answers_are_read_and_capped(fetcher: Fetcher, web: Web) -> None:
    web.pages["/z"] = Page(gzip.compress(b"0" * 1_000_000), headers={"Content-Encoding": "gzip"})
    assert len(fetcher.get_bytes(web.url + "/z")) == 1_000_000
    with pytest.raises(SourceError, match="more than 1,000 bytes"):
        fetcher.get_bytes(web.url + "/z", max_bytes=1000)


def test_post_json(fetcher: Fetcher, web: Web) -> None:
    web.pages["/p"] = page("done", failures=[503])
    assert fetcher.post_json(web.url + "/p", {"q": 1}) == "done"
    assert [asked[3] for asked in web.asked] == [b'{"q": 1}'] * 2
    assert web.asked[0][2]["content-type"] == "application/json"


def test_post_that_may_have_been_done_is_not_sent_again(fetcher: Fetcher, web: Web) -> None:
    web.pages["/p"] = page("done", failures=[500])
    with pytest.raises(SourceStatus, match="HTTP 500"):
        fetcher.post_json(web.url + "/p", {})
    web.pages["/cut"] = page("x" * 100, cuts=1, cut_after=5)
    with pytest.raises(Unreachable, match="lost"):
        fetcher.post_json(web.url + "/cut", {})
    assert len(web.asked) == 2


def test_get_is_tried_four_times(fetcher: Fetcher, web: Web) -> None:
    web.pages["/flaky"] = page(1, failures=[502, 503, 504])
    assert fetcher.get_json(web.url + "/flaky") == 1
    web.pages["/down"] = page(1, failures=[500] * 9)
    with pytest.raises(SourceStatus) as caught:
        fetcher.get_json(web.url + "/down")
    assert caught.value.status == 500 and "failing on purpose" in caught.value.message
    assert len(web.asked) == 8


@pytest.mark.parametrize("status", [400, 401, 403, 410, 451])
def test_final_statuses_are_not_tried_again(fetcher: Fetcher, web: Web, status: int) -> None:
    web.pages["/x"] = Page(b"why\x1b[31m not\r\n", status=status)
    with pytest.raises(SourceStatus, match=r"why *\[31m not") as caught:
        fetcher.get_json(web.url + "/x")
    assert caught.value.status == status and caught.value.message.isprintable()
    assert len(web.asked) == 1


def test_not_found_and_not_json(fetcher: Fetcher, web: Web) -> None:
    with pytest.raises(NotFound, match="no such page"):
        fetcher.get_json(web.url + "/missing")
    web.pages["/html"] = Page(b"<html>")
    with pytest.raises(SourceError, match="not JSON"):
        fetcher.get_json(web.url + "/html")
    web.pages["/deep"] = Page(b"[" * 100_000)
    with pytest.raises(SourceError, match="not JSON"):
        fetcher.get_json(web.url + "/deep")


def test_secrets_of_the_url_are_not_shown(fetcher: Fetcher, web: Web) -> None:
    with pytest.raises(NotFound) as caught:
        fetcher.get_json(web.url.replace("//", "//user:hunter2@") + "/missing?token=hunter3")
    assert "hunter" not in str(caught.value)
    assert web.asked[0][2]["authorization"].startswith("Basic ")  # a configured mirror may have credentials


def test_head(fetcher: Fetcher, web: Web) -> None:
    web.pages["/from"] = Page(status=302, headers={"Location": "/to", "X-Commit": "abc"})
    web.pages["/to"] = Page(b"12345", etag='"e"')
    head = fetcher.head(web.url + "/from")
    assert (head.status, head.url, head.headers["etag"], head.headers["content-length"]) == (200, web.url + "/to", '"e"', "5")
    first = fetcher.head(web.url + "/from", follow=False)
    assert (first.status, first.headers["x-commit"]) == (302, "abc")


def chain(web: Web, length: int) -> str:
    for i in range(length):
        web.pages[f"/{length - i}"] = Page(status=307, headers={"Location": f"{web.url}/{length - i - 1}"})
    web.pages["/0"] = page("arrived")
    return f"{web.url}/{length}"


def test_three_redirects_and_no_more(fetcher: Fetcher, web: Web) -> None:
    assert fetcher.get_json(chain(web, 3)) == "arrived"
    with pytest.raises(SourceError, match="more than 3 times"):
        fetcher.get_json(chain(web, 4))


def test_redirects_are_checked_again(fetcher: Fetcher, web: Web, other: Web) -> None:
    """The second origin is not trusted: neither plain http nor loopback."""
    for location in (
        other.url + "/x",
        other.url.replace("http:", "https:"),
        "file:///etc/passwd",
        "//[::1]/x",
        "https://169.254.169.254/",
    ):
        web.pages["/go"] = Page(status=302, headers={"Location": location})
        with pytest.raises((SourceError, InvalidValue)):
            fetcher.get_bytes(web.url + "/go")
    assert other.asked == []


def test_secrets_stay_with_their_origin(settings: Settings, web: Web, other: Web) -> None:
    web.pages["/go"] = Page(status=302, headers={"Location": other.url + "/there"})
    other.pages["/there"] = page(1)
    secrets = {"Authorization": "Bearer hf_x", "Cookie": "c", "X-Api-Key": "k", "X-Anything": "v", "Range": "bytes=0-"}
    with Fetcher(settings, trusted_origins=[web.url, other.url]) as fetcher:
        fetcher.get_bytes(web.url + "/go", secrets)
    assert {"authorization", "cookie", "x-api-key", "x-anything"} <= web.asked[0][2].keys()
    assert not {"authorization", "cookie", "x-api-key", "x-anything"} & other.asked[0][2].keys()
    assert other.asked[0][2]["range"] == "bytes=0-"


def test_redirected_post(settings: Settings, web: Web, other: Web) -> None:
    web.pages["/same"] = Page(status=308, headers={"Location": "/p"})
    web.pages["/p"] = page("posted")
    web.pages["/get"] = Page(status=302, headers={"Location": "/p"})
    web.pages["/away"] = Page(status=307, headers={"Location": other.url + "/p"})
    with Fetcher(settings, trusted_origins=[web.url, other.url]) as fetcher:
        assert fetcher.post_json(web.url + "/same", {"a": 1}) == "posted"
        assert web.asked[-1][3] == b'{"a": 1}'
        for path in ("/get", "/away"):
            with pytest.raises(SourceError, match="POST"):
                fetcher.post_json(web.url + path, {"a": 1})
    assert other.asked == []


def test_reachable(fetcher: Fetcher, web: Web) -> None:
    assert fetcher.reachable(web.url + "/missing") == (True, "answers with HTTP 404")
    web.close()
    reached, reason = fetcher.reachable(web.url)
    assert not reached and "connected" in reason
    reached, reason = fetcher.reachable("https://name.invalid")
    assert not reached and "cannot be resolved" in reason


def test_lines(fetcher: Fetcher, web: Web) -> None:
    web.pages["/s"] = Page("data: {}\r\n\r\ndata: ü\nlast".encode())
    with fetcher.stream_lines("POST", web.url + "/s", {"stream": True}) as lines:
        assert list(lines) == ["data: {}", "", "data: ü", "last"]
    assert web.asked[0][3] == b'{"stream": true}'
    with pytest.raises(NotFound):
        fetcher.stream_lines("GET", web.url + "/missing")


def test_lines_lost_on_the_way(fetcher: Fetcher, web: Web) -> None:
    web.pages["/s"] = Page(b"one\ntwo\nthree\n", cuts=1, cut_after=8)
    lines = fetcher.stream_lines("GET", web.url + "/s")
    assert [next(lines), next(lines)] == ["one", "two"]
    with pytest.raises(Unreachable):
        next(lines)


def test_close_wakes_a_blocked_reader(fetcher: Fetcher, web: Web) -> None:
    web.pages["/s"] = Page(b"first\n", headers={"Content-Length": "1000"})  # promises more and waits
    lines = fetcher.stream_lines("GET", web.url + "/s")
    assert next(lines) == "first"
    rest: list[str] = []
    reader = threading.Thread(target=lambda: rest.extend(lines))
    reader.start()
    lines.close()
    reader.join(timeout=30)
    assert not reader.is_alive() and rest == []


def test_endless_line_is_refused(fetcher: Fetcher, web: Web) -> None:
    web.pages["/s"] = Page(b"x" * (5 << 20))
    with pytest.raises(SourceError, match="line of more than"):
        list(fetcher.stream_lines("GET", web.url + "/s"))


def test_proxy_of_the_environment(settings: Settings, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that only the proxy can resolve is asked of the proxy; a literal private address is refused all the same."""
    monkeypatch.setenv("http_proxy", web.url)
    web.pages["http://mirror.invalid/x"] = page("by proxy")
    with Fetcher(settings, trusted_origins=["http://mirror.invalid"], pause_s=0) as fetcher:
        assert fetcher.get_json("http://mirror.invalid/x") == "by proxy"
    monkeypatch.setenv("https_proxy", web.url)
    with Fetcher(settings, trusted_origins=[]) as fetcher, pytest.raises(InvalidValue, match="public internet"):
        fetcher.get_json("https://10.0.0.1/x")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    web.pages["/direct"] = page("direct")
    with Fetcher(settings, trusted_origins=[web.url]) as fetcher:
        assert fetcher.get_json(web.url + "/direct") == "direct"
    monkeypatch.setenv("https_proxy", "gopher://x")
    with Fetcher(settings, trusted_origins=[]) as fetcher, pytest.raises(InvalidValue, match="proxy"):
        fetcher.get_json("https://mirror.invalid/")


def test_forgotten_fetcher_closes_its_connections(settings: Settings, web: Web) -> None:
    web.pages["/a"] = page(1)
    fetcher = Fetcher(settings, trusted_origins=[web.url])
    fetcher.get_json(web.url + "/a")
    del fetcher  # an open socket would be a ResourceWarning, which is an error here
