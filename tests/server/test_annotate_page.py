"""The page /annotate in a real browser: work by keyboard, undo, review, a key, hostile rows, a small screen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.browser import Page, browser
from tests.server.live import Live
from tests.server.locked import bearer, locked

BASE = "/api/v1/annotations"
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(2)</script>",
    '"><svg onload=alert(3)>',
    "[x](javascript:alert(4))",
    "<a href='http://evil.example/'>x</a><iframe src='http://evil.example/'></iframe>",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def made(client: httpx.Client, name: str, task: str, rows: list[Any], headers: dict[str, str] | None = None, **config: Any) -> str:
    answer = client.post(BASE, json={"name": name, "task": task, "config": config}, headers=headers)
    assert answer.status_code == 200, answer.text
    ref = str(answer.json()["id"])
    assert client.post(f"{BASE}/{ref}/items", json={"items": rows}, headers=headers).json()["num_problems"] == 0
    return ref


def exported(client: httpx.Client, ref: str) -> list[Any]:
    return [json.loads(line)["value"] for line in client.get(f"{BASE}/{ref}/export").text.splitlines()]


def begin(page: Page, served: Live, ref: str) -> None:
    page.open("about:blank")
    page.open(f"{served.url}/annotate#/{ref}")
    page.until("document.querySelector('#item')")


def at(page: Page, item: int) -> None:
    page.until(f"document.querySelector('#item')?.dataset.item === '{item}'")


def test_the_files_keep_the_rules(client: httpx.Client) -> None:
    found = client.get("/annotate")
    assert "default-src 'self'" in found.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="(/[^"]+)"', found.text)
    assert linked == ["/annotate/annotate.css", "/annotate/annotate.js"]
    texts = [found.text, *(client.get(path).text for path in linked)]
    assert not any("http:" in text or "https:" in text or "innerHTML" in text or "insertAdjacentHTML" in text for text in texts)
    assert not re.search(r"<style|<script>|style=|\son\w+=", texts[0])


def test_labels_by_keyboard_with_undo(page: Page, served: Live, client: httpx.Client) -> None:
    rows = [{"text": f"text {number}"} for number in range(3)]
    ref = made(client, "keys", "classification", rows, labels=["good", "bad"], guidelines="# Be fair")
    begin(page, served, ref)
    assert "Be fair" in page.js("document.querySelector('#main').innerText")
    page.press("1")
    at(page, 2)
    page.press("2")
    at(page, 3)
    page.press("u")
    at(page, 2)
    assert exported(client, ref) == [{"label": "good"}, None, None]
    page.press("1")
    at(page, 3)
    page.press("2")
    page.until("document.body.innerText.includes('Nothing is left')")
    page.until("document.querySelector('#counts').textContent.startsWith('3 of 3')")
    assert exported(client, ref) == [{"label": "good"}, {"label": "good"}, {"label": "bad"}]
    history = client.get(f"{BASE}/{ref}/history").json()["history"]
    assert [one["action"] for one in history] == ["save", "save", "undo", "save", "save"]


def test_a_suggestion_is_shown_as_one_and_taken_with_enter(page: Page, served: Live, client: httpx.Client) -> None:
    ref = made(client, "suggested", "classification", [], labels=["good", "bad"])
    row = {"data": {"text": "a"}, "prelabel": {"value": {"label": "bad"}, "model": "m", "probabilities": {"good": 0.2, "bad": 0.8}}}
    client.post(f"{BASE}/{ref}/items", json={"items": [row]})
    begin(page, served, ref)
    assert "Suggested by m: bad (80 %)" in page.js("document.querySelector('.suggested').innerText")
    assert page.js("document.querySelectorAll('.chosen').length") == 0
    page.press("Enter")
    page.until("document.body.innerText.includes('Nothing is left')")
    assert exported(client, ref) == [{"label": "bad"}]


def test_spans_count_characters(page: Page, served: Live, client: httpx.Client) -> None:
    ref = made(client, "spans", "spans", [{"text": "😀 Ann lives in Paris"}], labels=["PER", "LOC"])
    begin(page, served, ref)
    select = """(() => { const node = document.querySelector('#item .text').firstChild; const range = document.createRange();
        range.setStart(node, 3); range.setEnd(node, 6); getSelection().removeAllRanges(); getSelection().addRange(range); })()"""
    page.js(select)
    page.press("1")
    page.until("document.querySelector('mark')?.textContent === 'Ann'")
    page.press("Enter", control=True)
    page.until("document.body.innerText.includes('Nothing is left')")
    assert exported(client, ref) == [{"spans": [{"start": 2, "end": 5, "label": "PER"}]}]


def test_spans_under_others_are_shown_and_can_go(page: Page, served: Live, client: httpx.Client) -> None:
    ref = made(client, "overlapping", "spans", [{"text": "abcdef"}], labels=["A", "B"], options={"overlapping": True})
    spans = [{"start": 0, "end": 4, "label": "A"}, {"start": 2, "end": 6, "label": "B"}]
    for version, value in enumerate((spans, [])):
        client.put(f"{BASE}/{ref}/items/1/annotation", json={"value": {"spans": value}, "version": version})
    client.post(f"{BASE}/{ref}/undo", json={})
    begin(page, served, ref)
    assert page.js("document.querySelector('mark').textContent") == "abcd"
    page.js("[...document.querySelectorAll('#item button')].find((one) => one.textContent.startsWith('B: cdef')).click()")
    page.press("Enter", control=True)
    page.until("document.body.innerText.includes('Nothing is left')")
    assert exported(client, ref) == [{"spans": spans[:1]}]


def test_what_another_window_saved_is_shown_and_not_overwritten(page: Page, served: Live, client: httpx.Client) -> None:
    ref = made(client, "two windows", "classification", [{"text": "a"}], labels=["good", "bad"])
    begin(page, served, ref)
    client.put(f"{BASE}/{ref}/items/1/annotation", json={"value": {"label": "bad"}})
    page.press("1")
    page.until("document.querySelector('#told').textContent.includes('saved elsewhere')")
    assert page.js("document.querySelector('.chosen').textContent").startswith("bad") and exported(client, ref) == [
        {"label": "bad"}
    ]
    page.press("1")
    page.until("document.body.innerText.includes('Nothing is left')")
    assert exported(client, ref) == [{"label": "good"}]


@pytest.mark.parametrize(
    ("task", "row", "config", "act", "value"),
    [
        ("rating", {"text": "a"}, {}, "key:4", {"rating": 4}),
        ("preference", {"prompt": "q", "a": "1", "b": "2"}, {}, "key:2", {"choice": "b"}),
        ("multilabel", {"text": "a"}, {"labels": ["x", "y", "z"]}, "key:1 key:3 save", {"labels": ["x", "z"]}),
        ("text", {"text": "helo"}, {"options": {"correction": True}}, "type:hello save", {"text": "hello"}),
        ("translation", {"source": "Hallo", "target": "Helo"}, {}, "type:Hello save", {"target": "Hello"}),
        (
            "conversation",
            {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "3"}]},
            {"labels": ["fine", "wrong"]},
            "type:2 key:2 save",
            {"verdict": "wrong", "turns": [{"turn": 1, "text": "2"}]},
        ),
    ],
)
def test_every_task_has_an_editor(
    page: Page, served: Live, client: httpx.Client, task: str, row: dict[str, Any], config: dict[str, Any], act: str, value: Any
) -> None:
    ref = made(client, f"editor of {task}", task, [row], **config)
    begin(page, served, ref)
    for one in act.split():
        what, _, given = one.partition(":")
        if what == "type":
            page.js(f"document.querySelector('#item textarea').value = {json.dumps(given)}; document.activeElement.blur()")
        elif what == "key":
            page.press(given)
        else:
            page.press("Enter", control=True)
    page.until("document.body.innerText.includes('Nothing is left')")
    assert exported(client, ref) == [value]


def test_review(page: Page, served: Live, client: httpx.Client) -> None:
    ref = made(client, "to review", "classification", [{"text": "a"}], labels=["good", "bad"], overlap=2)
    for name, label in (("ann", "good"), ("bob", "bad")):
        client.put(f"{BASE}/{ref}/items/1/annotation", json={"value": {"label": label}, "annotator": name})
    page.open("about:blank")
    page.open(f"{served.url}/annotate#/{ref}/review")
    page.until("document.querySelector('section.card')")
    text = page.js("document.querySelector('#main').innerText")
    assert "ann" in text and "bob" in text and "alpha (nominal)" in text
    page.js("[...document.querySelectorAll('button')].filter((one) => one.textContent === 'Take this')[1].click()")
    page.until("!document.querySelector('section.card')")
    item = client.get(f"{BASE}/{ref}/items/1/review").json()
    assert (item["state"], item["adjudicated"]["value"]) == ("adjudicated", {"label": "bad"})


def test_rows_are_text_whatever_they_say(page: Page, served: Live, client: httpx.Client) -> None:
    """P24: no script runs, no request leaves, in the list, the guidelines, the labels, the item and the review."""
    rows = [{"text": text, "note": text, text: text} for text in HOSTILE]
    config: dict[str, Any] = {"labels": HOSTILE[:2], "guidelines": "\n".join(HOSTILE), "overlap": 2}
    ref = made(client, HOSTILE[0], "classification", rows, **config)
    chat = made(
        client,
        "hostile chat",
        "conversation",
        [{"messages": [{"role": text[:64], "content": text} for text in HOSTILE]}],
        labels=HOSTILE[:2],
    )
    for name, label in (("ann", HOSTILE[0]), (HOSTILE[1], HOSTILE[1])):
        client.put(f"{BASE}/{ref}/items/1/annotation", json={"value": {"label": label}, "annotator": name})
    page.requests.clear()
    for place in ("#/", f"#/{ref}", f"#/{ref}/review", f"#/{chat}", "#/%3Cimg%20src=x%20onerror=alert(5)%3E"):
        page.open("about:blank")
        page.open(f"{served.url}/annotate{place}")
        page.until("!document.querySelector('#main').innerText.includes('Loading')")
        assert page.js("document.querySelectorAll('#main script, #main img, #main svg, #main iframe').length") == 0
    assert page.dialogs == []
    assert [url for url in page.requests if not url.startswith((served.url, "about:"))] == []


def test_it_fits_a_small_screen_in_the_dark(page: Page, served: Live, client: httpx.Client) -> None:
    rows = [{"prompt": "word " * 40, "a": "x" * 300, "b": "answer " * 40}]
    ref = made(client, "small " + "n" * 60, "preference", rows, guidelines="g" * 500)
    page.size(360, 740, dark=True)
    try:
        begin(page, served, ref)
        assert page.js("document.documentElement.scrollWidth") <= 360
        ground, ink = page.js("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        assert sum(map(int, re.findall(r"\d+", ground))) < 120 < 500 < sum(map(int, re.findall(r"\d+", ink)))
    finally:
        page.size(1200, 800)


def test_a_key_is_asked_for_and_sent(page: Page, tmp_path: Path) -> None:
    with locked(tmp_path) as running:
        key = running.key("worker", scopes=("annotate",), project="red")
        owner = bearer(running.key("owner", scopes=("annotate", "jobs"), project="red"))
        ref = made(running.client, "locked", "classification", [{"text": "a"}], owner, labels=["good", "bad"])
        page.open("about:blank")
        page.open(f"{running.running.url}/annotate#/{ref}")
        page.until("document.querySelector('#key')")
        page.js(f"document.querySelector('#key').value = {json.dumps(key)}; document.querySelector('form').requestSubmit()")
        page.until("document.querySelector('#item')")
        assert page.js("document.querySelector('#who').hidden") is True
        page.press("1")
        page.until("document.body.innerText.includes('Nothing is left')")
        rows = running.client.get(f"{BASE}/{ref}/items", headers=owner).json()["items"]
        assert rows[0]["annotations"][0]["value"] == {"label": "good"}
        assert rows[0]["annotations"][0]["annotator"].startswith("key_")
