"""/docs draws itself from /openapi.json under the strict content policy: own files only, nothing inline, no HTML from data."""

from __future__ import annotations

import re

import httpx


def test_page_and_its_files(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/docs/docs.css", "/docs/docs.js", "/openapi.json"} <= set(linked)
    for path in linked:
        assert client.get(path).status_code == 200, path


def test_nothing_from_elsewhere_and_nothing_inline(client: httpx.Client) -> None:
    texts = [client.get(path).text for path in ("/docs", "/docs/docs.css", "/docs/docs.js")]
    assert not any("http:" in text or "https:" in text or "innerHTML" in text for text in texts)
    assert not re.search(r"<style|<script>|style=|\son\w+=", texts[0])


def test_types_are_named_so_that_nosniff_browsers_take_them(client: httpx.Client) -> None:
    assert client.get("/docs/docs.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/docs/docs.css").headers["content-type"].startswith("text/css")
