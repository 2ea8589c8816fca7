"""Shapes of rows: what a row of a chat, preference, classification, translation or text set looks like in each of the forms that
people use, how the form is recognised, and how rows go from one to another without loss."""

from __future__ import annotations

from llmos.data.shapes import (  # noqa: F401  - each registers its shapes
    alpaca,
    classification,
    conll,
    exercises,
    kto,
    messages,
    openai_batch,
    parallel,
    preference,
    prompt_completion,
    questions,
    sharegpt,
    summary,
    swift_pairs,
    text,
)
from llmos.data.shapes.base import Column, Options, Shape, Writing, shapes
from llmos.data.shapes.convert import Converter, RowProblem, convert_rows, make_options
from llmos.data.shapes.detect import SAMPLE_ROWS, Detection, detect
from llmos.data.shapes.mapping import Mapping, from_dataset_info
from llmos.data.shapes.turns import Tags

__all__ = [
    "SAMPLE_ROWS",
    "Column",
    "Converter",
    "Detection",
    "Mapping",
    "Options",
    "RowProblem",
    "Shape",
    "Tags",
    "Writing",
    "convert_rows",
    "detect",
    "from_dataset_info",
    "make_options",
    "shapes",
]
