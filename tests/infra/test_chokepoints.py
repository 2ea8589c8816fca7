"""One door per danger: code that goes round the fetcher, the sandbox or the file opener of this house fails here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "llmos"

# What may be imported only there. The SDK speaks to a LLMOS server that its user names; it has a client of its own.
ONLY_IN = {
    "httpx": ("infra/address.py", "infra/connect.py", "infra/download.py", "infra/lines.py", "sdk/"),
    "httpcore": ("infra/address.py",),
    "urllib.request": ("infra/connect.py",),
    "http.client": (),
    "requests": (),
    "aiohttp": (),
    "pickle": (),
    "marshal": (),
    "shelve": (),
    "joblib": (),
    "cloudpickle": (),
}
NEVER_CALLED = {"eval", "exec", "compile"}


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def offences(text: str, place: str) -> list[str]:
    tree = ast.parse(text)
    found = [
        name
        for name, allowed in ONLY_IN.items()
        if any(one == name or one.startswith(f"{name}.") for one in imported(tree)) and not place.startswith(tuple(allowed))
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in NEVER_CALLED:
                found.append(node.func.id)
            found += [
                f"{word.arg}=True"
                for word in node.keywords
                if word.arg in ("shell", "trust_remote_code")
                and not (isinstance(word.value, ast.Constant) and word.value.value is False)
            ]
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_way_round(path: Path) -> None:
    assert offences(path.read_text(), path.relative_to(SOURCE).as_posix()) == []


@pytest.mark.parametrize(
    "text",
    [
        "import httpx",
        "from httpx import get",
        "import urllib.request as u",
        "from urllib import request",
        "import pickle",
        "eval('1')",
        "run('ls', shell=True)",
        "f(trust_remote_code=flag)",
    ],
)
def test_a_way_round_is_found(text: str) -> None:
    assert offences(text, "library/sources/new.py")


def test_doors_exist() -> None:
    assert all((SOURCE / place).exists() for places in ONLY_IN.values() for place in places)
