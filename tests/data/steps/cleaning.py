"""One step over a few texts, without a recipe around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

import llmos.data.steps.all_clean  # noqa: F401  - registers the steps
from llmos.data.base import Expander, Mapped, Mapper, Rows, StepContext, steps
from llmos.settings import Settings

HOME = Path("/nonexistent/llmos")  # of steps that write nothing


def mapped(name: str, texts: list[str], home: Path = HOME, **config: Any) -> Mapped:
    """What the Mapper makes of the column `text`."""
    cls = steps.get(name)
    made = cls(cls.Config.model_validate(config), StepContext(settings=Settings.from_env({"LLMOS_HOME": str(home)})))
    assert isinstance(made, Mapper)
    return made.map(Rows(pl.DataFrame({"text": texts}, schema={"text": pl.String})))


def cleaned(name: str, texts: list[str], **config: Any) -> list[str]:
    found: list[str] = mapped(name, texts, **config).columns["text"].to_list()
    return found


def pieces(name: str, text: str, **config: Any) -> list[str]:
    """What an Expander makes of one text."""
    cls = steps.get(name)
    made = cls(cls.Config.model_validate(config), StepContext(settings=Settings.from_env({"LLMOS_HOME": str(HOME)})))
    assert isinstance(made, Expander)
    frame = made.expand(Rows(pl.DataFrame({"text": [text]})))[0]
    found: list[str] = frame.get_column("text").to_list()
    return found
