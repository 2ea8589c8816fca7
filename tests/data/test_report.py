"""The report: its figures add up, its page shows them in a real browser, and hostile rows stay text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmos.data.report import CSP, facts, page
from llmos.data.store import Version
from tests.data.made import HOSTILE, made, source, store
from tests.server.browser import Page, browser

PAYLOADS = [
    HOSTILE,
    "<!--<script>alert(3)",
    "\u2028alert(4)\u2029//",
    "${alert(5)}{{7*7}}",
    "<svg/onload=alert(6)>",
    "]]><script src=http://evil.example/x.js></script>",
    "<link rel=stylesheet href=http://evil.example/x.css><meta http-equiv=refresh content='0;url=http://evil.example/'>",
]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    home = tmp_path_factory.mktemp("report")
    return made(store(home), source(home / "in"))


def test_the_figures_add_up(version: Version) -> None:
    told = json.loads(json.dumps(facts(version), allow_nan=False))
    assert (told["read"], told["rows"], told["num_errors"]) == (26, 22, 1)
    clean, length, dedup = told["steps"]
    assert [one["step"] for one in told["steps"]] == ["0:normalise_whitespace", "1:text_length", "2:exact_dedup"]
    assert clean["changed"] == 1 and length["dropped_by"] == {"chars": 2} and dedup["dropped_by"] == {"duplicate": 1}
    assert all(one["rows_out"] == one["rows_in"] - one["dropped"] + one["made"] for one in told["steps"])
    [signal] = length["signals"]
    assert signal["limits"] == [30, None] and sum(count for _, _, count in signal["bins"]) == signal["rows"] == 25
    reasons = {(one["step"], one["signal"]): one for one in told["samples"]}
    assert reasons["1:text_length", "chars"]["rows"] == 2
    assert {line["row"]["n"] for line in reasons["1:text_length", "chars"]["lines"]} == {22, 24}
    assert told["errors"][0]["_id"] == "in.jsonl#25" and told["sources"][0]["format"] == "jsonl"


def test_the_page_has_no_markup_of_rows(version: Version) -> None:
    text = page(facts(version))
    assert "<b onclick" not in text and "<img" not in text and text.count("<script") == 2
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "") and "https:" not in text
    assert "default-src 'none'" in CSP and "sandbox allow-scripts" in CSP and "unsafe" not in CSP


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def opened(tab: Page, path: Path, version: Version) -> None:
    path.write_text(page(facts(version)))
    tab.open(path.as_uri())
    tab.until("document.querySelector('h1').textContent.includes('@')")


def test_a_browser_shows_it(tab: Page, version: Version, tmp_path: Path) -> None:
    tab.size(1100, 900)
    opened(tab, tmp_path / "report.html", version)
    assert tab.js("[...document.querySelectorAll('.tile b')].map(one => one.textContent)")[:4] == ["26", "22", "3", "1"]
    assert tab.js("document.querySelectorAll('path.gone').length") == 2
    assert "about 2 rows of 25" in tab.js("document.querySelector('output').textContent")
    tab.js(
        "(range => { range.value = 1000; range.dispatchEvent(new Event('input')) })(document.querySelector('input[type=range]'))"
    )
    assert "about 25 rows of 25" in tab.js("document.querySelector('output').textContent")
    tab.size(360, 800, dark=True)
    assert tab.js("document.documentElement.scrollWidth") <= 360


def test_hostile_rows_and_names_stay_text(tab: Page, tmp_path: Path) -> None:
    datasets = store(tmp_path / "home")
    rows = [{"text": text, text: text} for text in PAYLOADS]
    version = made(datasets, tmp_path, [{"text_length": {"min_chars": 10_000}}], sources=[{"rows": rows}])
    before = len(tab.requests)
    opened(tab, tmp_path / "hostile.html", version)
    tab.js("document.querySelectorAll('details').forEach(one => { one.open = true })")
    shown = tab.js("document.body.textContent")
    assert all(text in shown for text in PAYLOADS)
    assert tab.dialogs == [] and tab.js("document.querySelectorAll('img, iframe, link, svg [onload], b[onclick]').length") == 0
    assert [one for one in tab.requests[before:] if not one.startswith("file:")] == []
