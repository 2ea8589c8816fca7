"""What a step does to a few rows, without files: its signals, and which rows it would keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

import llmos.data.steps.all  # noqa: F401 - registers them
from llmos.data.base import ID, Filter, Rows, Step, StepContext, steps
from llmos.plugins import load_plugins
from llmos.settings import Settings

NOWHERE = Settings.from_env({"LLMOS_HOME": "/nonexistent"})


def rows_of(texts: Sequence[str], **columns: Sequence[Any]) -> Rows:
    return Rows(pl.DataFrame({ID: [f"t#{number}" for number in range(len(texts))], "text": list(texts), **columns}))


def make(name: str, settings: Settings = NOWHERE, **params: Any) -> Step:
    load_plugins()
    cls = steps.get(name)
    return cls(cls.Config.model_validate(params), StepContext(settings=settings))


def signal(name: str, texts: Sequence[str], settings: Settings = NOWHERE, **params: Any) -> list[float]:
    """The filter's first signal of each text."""
    step = make(name, settings, **params)
    assert isinstance(step, Filter)
    values = next(iter(step.signals(rows_of(texts)).values()))
    return [float(value) for value in (values.cast(pl.Float64) if isinstance(values, pl.Series) else np.asarray(values))]


def kept(step: Step, rows: Rows) -> list[int]:
    """Places of the rows that a filter keeps."""
    assert isinstance(step, Filter)
    alive = np.ones(len(rows), dtype=bool)
    signals = {name: np.asarray(pl.Series(value).cast(pl.Float64)) for name, value in step.signals(rows).items()}
    for rule in step.rules:
        value = signals[rule.signal]
        if rule.at_least is not None:
            alive &= ~(value < rule.at_least)
        if rule.at_most is not None:
            alive &= ~(value > rule.at_most)
    return [int(place) for place in np.flatnonzero(alive)]
