"""A small data set with a bit of everything: changed, dropped by two filters and as duplicates, a broken line, hostile text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.store import Datasets, Version
from llmos.library.library import Library
from llmos.settings import Settings

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
LONG = "A sentence that is long enough to stay where it is, number"
PROCESS: list[Any] = ["normalise_whitespace", {"text_length": {"min_chars": 30}}, "exact_dedup"]


def store(home: Path) -> Datasets:
    settings = Settings.from_env({"LLMOS_HOME": str(home)})
    return Datasets(settings, Library.open(settings).database)


def lines() -> list[str]:
    """1-20 stay, 21 is changed, 22 is short, 23 a duplicate of 1, 24 is hostile and short, 25 is broken, 26 is hostile and stays."""
    texts = [f"{LONG} {number}." for number in range(1, 21)]
    texts += [f"{LONG}   21. ", "short", texts[0], "<b onclick=alert(0)>"]
    found = [json.dumps({"text": text, "n": number}) for number, text in enumerate(texts, 1)]
    return [*found, '{"text": <script>', json.dumps({"text": HOSTILE, "n": 26})]


def source(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "in.jsonl"
    path.write_text("\n".join(lines()) + "\n")
    return path


def recipe(path: Path, process: list[Any] = PROCESS, **more: Any) -> Recipe:
    return Recipe.build({"name": "made", "sources": [{"path": str(path)}], "process": process, "executor": "inline"} | more)


def made(datasets: Datasets, path: Path, process: list[Any] = PROCESS, **more: Any) -> Version:
    return Run(recipe=recipe(path, process, **more), datasets=datasets).execute()
