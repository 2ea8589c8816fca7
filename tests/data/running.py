"""Runs a recipe over rows written in the test, in this process, and gives the dataset version that comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmos.data.base import Models
from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.store import Datasets, Version
from llmos.library.library import Library
from llmos.plugins import load_plugins
from llmos.settings import Settings


def run(
    tmp_path: Path, rows: Sequence[Mapping[str, Any]], process: Sequence[Any], models: Models | None = None, **recipe: Any
) -> Version:
    """Further keys are those of the recipe."""
    load_plugins()
    settings = Settings.from_env({"LLMOS_HOME": str(tmp_path)})
    document = {"sources": [{"rows": list(rows)}], "process": list(process), "executor": "inline"} | recipe
    datasets = Datasets(settings, Library.open(settings).database)
    return Run(recipe=Recipe.build(document), datasets=datasets, models=models).execute()
