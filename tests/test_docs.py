"""Every block of code in the README and the docs runs, and generated pages are what the code says.

```python blocks of a page run in one process, one after the other; ```bash blocks run with `bash -e`. A page's blocks see a home that has
the packaged models and a local hub that serves bert-base-uncased and t5-base. `<!-- server -->` before a block gives it a live server.
Chinese pages have the blocks of the English ones, but for comments, so these run once.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "zh")]
TRANSLATIONS = {ROOT / "README.zh-CN.md": ROOT / "README.md"} | {
    page: ROOT / "docs" / page.name for page in sorted((ROOT / "docs/zh").glob("*.md"))
}
COMMENT = re.compile(r"[ \t]+#.*$", re.MULTILINE)
BLOCK = re.compile(r"(?P<server><!-- server -->\n)?^```(?P<language>python|bash)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    server: bool


def blocks(page: Path) -> list[Block]:
    return [Block(found["language"], found["code"], found["server"] is not None) for found in BLOCK.finditer(page.read_text())]


def _script(found: list[Block]) -> str:
    """All blocks of a page as one Python program: bash blocks become calls."""
    parts = ["import subprocess as _sub"]
    for block in found:
        if block.language == "python":
            parts.append(block.code)
        else:
            parts.append(f"_sub.run(['bash', '-euo', 'pipefail', '-c', {block.code!r}], check=True, stdin=_sub.DEVNULL)")
    return "\n".join(parts)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, user_env: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = blocks(page)
    script = _script(found)
    if any(block.server for block in found):
        script = script.replace("http://127.0.0.1:8000", request.getfixturevalue("live_server"))
    (tmp_path / "page.py").write_text(script)
    command = [sys.executable, "page.py"]
    answer = subprocess.run(command, cwd=tmp_path, env=user_env, capture_output=True, text=True, timeout=280, check=False)
    assert answer.returncode == 0, f"{answer.stdout[-3000:]}\n{answer.stderr[-3000:]}"


@pytest.mark.parametrize("page", TRANSLATIONS, ids=lambda page: str(page.relative_to(ROOT)))
def test_translations_have_the_same_blocks(page: Path) -> None:
    own, original = ([COMMENT.sub("", block.code) for block in blocks(one)] for one in (page, TRANSLATIONS[page]))
    assert own == original


def test_reference_pages_are_current() -> None:
    answer = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr


def test_public_names_are_documented() -> None:
    """The surface is one page: every name of `llmos.__all__` appears in the SDK page or the README."""
    import llmos

    text = (ROOT / "docs/sdk.md").read_text() + (ROOT / "README.md").read_text()
    assert [name for name in llmos.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", text)] == []
