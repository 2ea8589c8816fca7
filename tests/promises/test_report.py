"""The report says what happened: a failing promise is never shown as kept, a skipped one is not a success."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.promises.report import PROMISES, ROOT, Promise, paths_of, run, table, write

TESTS = {
    "good": "def test_a(record_property):\n    record_property('figure', '7 kills')\n",
    "bad": "def test_a():\n    assert False\ndef test_b(): pass\n",
    "skipped": "import pytest\ndef test_a():\n    pytest.skip('no strace')\n",
    "partly": "import pytest\ndef test_a():\n    pytest.skip('no root')\ndef test_b(): pass\n",
    "crash": "import os\ndef test_a():\n    os._exit(3)\n",
    "level": "import os\ndef test_a():\n    assert os.environ['LLMOS_PROMISES'] == 'full'\n",
    "broken": "def test_a(:\n",
}


@pytest.mark.parametrize(
    ("name", "result", "told"),
    [
        ("good", "passed", "7 kills"),
        ("bad", "failed", "test_a"),
        ("skipped", "skipped", "no strace"),
        ("partly", "passed", "no root"),
        ("crash", "failed", "ended with 3"),
        ("level", "passed", "1 tests"),
        ("broken", "failed", "test_broken"),
        ("nowhere", "missing", ""),
    ],
)
def test_results_are_told_as_they_are(tmp_path: Path, name: str, result: str, told: str) -> None:
    for each, text in TESTS.items():
        (tmp_path / f"test_{each}.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    outcome = run(Promise("P0", "a promise", (f"test_{name}.py",)), "full", tmp_path, tmp_path)
    assert outcome.result == result, outcome
    report = write([outcome], "full", tmp_path).read_text()
    assert f"| P0 | a promise | full | {result} |" in report
    assert told in report


def test_a_promise_of_a_later_release_says_so() -> None:
    assert "| P0 | x | quick | later |" in table([run(Promise("P0", "x"), "quick")])


def test_every_promise_of_the_page_is_in_the_report() -> None:
    """docs/promises.md, its Chinese twin and the list name the same promises, and each test that the page names is there."""
    names = [promise.name for promise in PROMISES]
    for page in ("docs/promises.md", "docs/zh/promises.md"):
        rows = re.findall(r"^\| (P\d+|chaos) \|.*$", (ROOT / page).read_text(), re.MULTILINE)
        assert rows == names, page
    for path in re.findall(r"`(tests/[\w/.]+)`", (ROOT / "docs/promises.md").read_text()):
        assert (ROOT / path).exists(), path


def test_files_named_by_the_list_are_there() -> None:
    """Those without a glob; the others may be of a release to come."""
    for promise in PROMISES:
        assert not [path for path in promise.tests if "*" not in path and not (ROOT / path).exists()], promise
        assert all((ROOT / path).exists() for path in paths_of(promise))
