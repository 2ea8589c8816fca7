"""The plugin door, with a real package that is installed for the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "plugin_package"
LIST = """
import json
from llmos.plugins import load_plugins
from llmos.engine.base import backends
plugins = load_plugins()
print(json.dumps({"plugins": [[p.name, p.package, p.error] for p in plugins], "engines": backends.names()}))
"""


def _run(code: str, path: Path) -> dict[str, list[object]]:
    env = os.environ | {"PYTHONPATH": str(path)}
    answer = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    found: dict[str, list[object]] = json.loads(answer.stdout)
    return found


def _install(source: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)


def test_an_installed_plugin_adds_an_engine_beside_the_built_ins(tmp_path: Path) -> None:
    copy = tmp_path / "source"
    copy.mkdir()
    for file in PACKAGE.rglob("*"):
        if file.suffix in (".py", ".toml"):
            place = copy / file.relative_to(PACKAGE)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    _install(copy, tmp_path / "site")
    found = _run(LIST, tmp_path / "site")
    assert ["example", "llmos-plugin-example", ""] in found["plugins"]
    assert "parrot" in found["engines"]
    assert ["builtins", "llmos", ""] in found["plugins"]


def test_a_broken_plugin_is_reported_and_harmless(tmp_path: Path) -> None:
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('half installed')")
    info = tmp_path / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[llmos]\nbroken = broken_plugin\n")
    found = _run(LIST, tmp_path)
    assert ["broken", "broken-plugin", "RuntimeError: half installed"] in found["plugins"]
