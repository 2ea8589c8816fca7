"""What the routes of annotation answer, for the OpenAPI document (see answers.py). Meaning of the fields: docs/annotation.md."""

from __future__ import annotations

from typing import Any, Literal

from llmos.server.answers import Answer

State = Literal["open", "done", "adjudicated"]


class AnnotationProjectAnswer(Answer):
    """config: guidelines, labels, overlap, order, annotators, reviewers, lease_s, options. version: of the configuration."""

    id: str
    project: str
    name: str
    task: str
    config: dict[str, Any]
    version: int
    num_items: int
    created_by: str
    created_at: str


class AnnotationListAnswer(Answer):
    """annotator: the name under which the asker annotates. names_others: whether a request may say another one. manages: whether
    this key may make projects, import, review and export."""

    annotations: list[AnnotationProjectAnswer]
    annotator: str
    names_others: bool
    manages: bool


class AnnotationTaskAnswer(Answer):
    """Schemas of what an item must have, what an annotation says, and the options of a project."""

    task: str
    about: str
    needs_labels: int
    item: dict[str, Any]
    value: dict[str, Any]
    options: dict[str, Any]


class AnnotationTaskListAnswer(Answer):
    tasks: list[AnnotationTaskAnswer]


class AnnotationRemovedAnswer(Answer):
    removed: str


class GivenAnswer(Answer):
    """What one annotator says. value null: skipped."""

    item: int
    annotator: str
    value: dict[str, Any] | None
    skipped: str | None
    seconds: float
    version: int
    source: Literal["human", "import"]
    created_at: str
    updated_at: str


class PrelabelAnswer(Answer):
    """What a model says."""

    value: dict[str, Any]
    model: str
    probabilities: dict[str, float] | None


class AdjudicatedAnswer(Answer):
    value: dict[str, Any]
    reviewer: str
    at: str
    note: str


class ItemAnswer(Answer):
    """An item with all that was said of it."""

    item: int
    key: str
    data: dict[str, Any]
    state: State
    num_annotations: int
    differs: bool
    prelabel: PrelabelAnswer | None
    uncertainty: float | None
    adjudicated: AdjudicatedAnswer | None
    annotations: list[GivenAnswer]


class ItemListAnswer(Answer):
    """after: for the next page, null when this was the last."""

    items: list[ItemAnswer]
    after: int | None


class AssignedAnswer(Answer):
    """An item as its annotator sees it. until: end of the reservation, seconds since 1970."""

    item: int
    key: str
    data: dict[str, Any]
    prelabel: PrelabelAnswer | None
    own: GivenAnswer | None
    until: float | None


class AssignedListAnswer(Answer):
    items: list[AssignedAnswer]


class SavedAnswer(Answer):
    """next: items reserved now, as many as were asked for."""

    annotation: GivenAnswer
    state: State
    next: list[AssignedAnswer]


class ProblemAnswer(Answer):
    row: int
    message: str
    param: str | None


class ImportAnswer(Answer):
    """problems: the first 100 of the rows that were left out."""

    num_added: int
    num_known: int
    num_annotations: int
    num_problems: int
    problems: list[ProblemAnswer]


class AnnotatorAnswer(Answer):
    annotator: str
    num_annotations: int
    num_skipped: int
    seconds: float


class AnnotationProgressAnswer(Answer):
    num_items: int
    num_open: int
    num_done: int
    num_adjudicated: int
    num_differing: int
    num_reserved: int
    num_prelabelled: int
    num_annotations: int
    num_skipped: int
    annotators: list[AnnotatorAnswer]


class PairAnswer(Answer):
    annotators: list[str]
    num_items: int
    identical: float
    cohen_kappa: float | None
    span_f1: float | None


class AgreementAnswer(Answer):
    """null: not defined, or not for this task. alpha: Krippendorff's, by level of measure."""

    num_items: int
    identical: float | None
    alpha: dict[str, float | None]
    fleiss_kappa: float | None
    span_f1: float | None
    pairs: list[PairAnswer]


class HistoryAnswer(Answer):
    number: int
    item: int
    annotator: str
    at: str
    action: Literal["save", "skip", "undo", "adjudicate", "import"]
    value: dict[str, Any] | None
    previous: dict[str, Any] | None
    seconds: float
    undone: bool


class HistoryListAnswer(Answer):
    """after: for the next page, null when this was the last."""

    history: list[HistoryAnswer]
    after: int | None


class LabelErrorAnswer(Answer):
    item: int
    key: str
    given: str
    suggested: str
    margin: float
    data: dict[str, Any]


class LabelErrorsAnswer(Answer):
    num_items: int
    noise: float
    errors: list[LabelErrorAnswer]
