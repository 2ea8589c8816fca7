"""What the routes of data sets take and answer, for the OpenAPI document (see answers.py). Meaning of the fields: docs/data.md."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from llmos.server.answers import Answer
from llmos.server.fields import Body


class RecipeBody(Body):
    """recipe: as in a recipe file. overrides: key=value, as on the command line."""

    recipe: dict[str, Any]
    overrides: list[str] = Field(default_factory=list, max_length=200)


class ExportBody(Body):
    """filename: its ending says the format, and the compression. ids: keeps the ids of the rows."""

    filename: str = Field(min_length=1, max_length=255)
    format: str = Field("auto", min_length=1, max_length=32)
    ids: bool = False


class DatasetAnswer(Answer):
    """dataset: name@version, as every route takes it. rows, bytes: of the version; read, errors: of the run that made it."""

    dataset: str
    name: str
    version: str
    project: str
    created_at: str
    rows: int
    bytes: int
    read: int
    errors: int
    job_id: str


class DatasetListAnswer(Answer):
    datasets: list[DatasetAnswer]


class DatasetDetailAnswer(DatasetAnswer):
    """columns: name -> type. steps: by label, what each did."""

    columns: dict[str, str]
    sources: list[dict[str, Any]]
    models: list[str]
    recipe: dict[str, Any]
    steps: dict[str, dict[str, Any]]
    code: dict[str, str]


class DatasetRowsAnswer(Answer):
    """total: rows that fit."""

    dataset: str
    rows: list[dict[str, Any]]
    total: int


class LedgerLineAnswer(Answer):
    """row: as it was when it was dropped, the text of one that could not be read, or null."""

    id: str = Field(alias="_id")
    step: str
    action: str
    signal: str
    value: float | None
    threshold: float | None
    other: str
    detail: str
    row: Any


class LedgerAnswer(Answer):
    dataset: str
    lines: list[LedgerLineAnswer]
    total: int


class EdgeAnswer(Answer):
    child: str
    parent: str
    relation: str


class LineageAnswer(Answer):
    dataset: str
    ancestors: list[EdgeAnswer]
    descendants: list[EdgeAnswer]


class DatasetStatisticsAnswer(Answer):
    """exact: whether quantiles are of all rows. columns: see data/statistics.py."""

    dataset: str
    rows: int
    bytes: int
    exact: bool
    columns: list[dict[str, Any]]


class DatasetReportAnswer(Answer):
    """steps: with the spreads of what was measured as bins [from, to, rows]. samples: rows that went, by reason."""

    dataset: str
    name: str
    version: str
    created_at: str
    rows: int
    bytes: int
    read: int
    num_errors: int
    seconds: float
    code: dict[str, str]
    steps: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    errors: list[LedgerLineAnswer]
    columns: dict[str, str]
    models: list[str]
    sources: list[dict[str, Any]]
    recipe: dict[str, Any]


class WhyAnswer(Answer):
    """outcome: kept, changed, expanded, grouped, dropped or error. lines: of the ledger, in order. made: ids of rows made of it. before:
    the same in the versions this one was made of. replay: the row through the steps again, with what each changed."""

    id: str
    dataset: str
    outcome: str
    lines: list[LedgerLineAnswer]
    row: Any
    made: list[str]
    before: list[dict[str, Any]]
    replay: dict[str, Any] | None


class DatasetDiffAnswer(Answer):
    """only_a, only_b: rows, with the reasons of the other for not having them. changed: rows, and by column. same: rows."""

    a: dict[str, Any]
    b: dict[str, Any]
    only_a: dict[str, Any]
    only_b: dict[str, Any]
    same: int
    changed: dict[str, Any]
    columns: dict[str, Any]
    recipe: dict[str, Any]
    sources: list[str]


class ExportAnswer(Answer):
    """file_id: for GET /v1/files/{id}/content. notes: what stands there in another way than in the rows."""

    dataset: str
    file_id: str
    format: str
    rows: int
    bytes: int
    notes: list[str]


class StepAnswer(Answer):
    """kind: filter, comparer, mapper, expander, regrouper or gatherer. params: with type, default and limits."""

    step: str
    kind: str
    about: str
    needs_model: bool
    params: list[dict[str, Any]]


class StepListAnswer(Answer):
    steps: list[StepAnswer]


class PreviewAnswer(Answer):
    """estimate: measured on the first batch and multiplied; null where a step asks a model. steps: with rows after each."""

    name: str
    notices: list[str]
    sources: list[dict[str, Any]]
    columns: dict[str, str]
    problems: list[dict[str, str]]
    stages: list[dict[str, Any]]
    estimate: dict[str, Any]
    first: list[dict[str, Any]]
    read_errors: list[LedgerLineAnswer]
    steps: list[dict[str, Any]]
