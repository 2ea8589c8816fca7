"""Tokenisers that a recipe names: of a model of the library, as the recipe's project sees it, or a tokenizer.json on the disk."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.library.library import Library
from llmos.text.base import Tokenizer
from llmos.text.load import load_tokenizer

if TYPE_CHECKING:
    from llmos.data.base import StepContext


def tokenizer_of(name: str, context: StepContext) -> Tokenizer:
    """Of a model (its weights are not loaded), or the tokenizer.json at that path. Raises NotFound, CorruptFile."""
    return _of_folder(Path(name).expanduser().absolute().parent if is_file(name) else _library(context).resolve(name).folder)


def exact(name: str, context: StepContext) -> str:
    """The name with the model's version, so that a moved alias is another tokeniser; a path as it is."""
    if is_file(name):
        return name
    card = _library(context).resolve(name).card
    return f"{card.name}:{card.version}"


def is_file(name: str) -> bool:
    return Path(name).name == "tokenizer.json"


def _library(context: StepContext) -> Library:
    return Library.open(context.settings) if context.project is None else Library(context.settings).seen_by(context.project)


@lru_cache(maxsize=4)
def _of_folder(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)
