"""The records of annotation: what a project, an item, an annotation are, in the database, on the wire and in Python.

    project (guidelines, labels, overlap) -> items -> next: an item is reserved for an annotator -> save, skip, undo
                                                      as many as `overlap` say the same: done
                                                      they differ: a reviewer adjudicates, beside what they said

An annotation project belongs to a project of access (whose data nobody else sees); `AnnotationProject.project` is that one's name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from llmos.data.annotate.tasks import Task, tasks
from llmos.data.annotate.tasks.base import ProjectConfig
from llmos.errors import InvalidValue, LLMOSError

MAX_ANNOTATOR = 128
MAX_KEY = 128
MAX_PROBLEMS = 100  # of an import that are told one by one; all are counted
MAX_NEXT = 50
MAX_REASON = 1000
MAX_NOTE = 2000


class ItemState(StrEnum):
    """OPEN: annotators are missing. DONE: as many as the overlap asks have said something. ADJUDICATED: a reviewer has decided."""

    OPEN = "open"
    DONE = "done"
    ADJUDICATED = "adjudicated"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationProject:
    """config: a ProjectConfig as JSON. version: of the configuration. num_items: how many were imported so far."""

    id: str
    project: str
    name: str
    task: str
    config: dict[str, Any]
    version: int
    num_items: int
    created_by: str
    created_at: str

    @property
    def settings(self) -> ProjectConfig:
        return ProjectConfig.model_validate(self.config)

    @property
    def kind(self) -> Task:
        return tasks.get(self.task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What one annotator says of an item. value None: skipped, with the reason in `skipped`. seconds: spent on it, of all savings
    together. version: 1, 2, … with every save. source: human, or import."""

    item: int
    annotator: str
    value: dict[str, Any] | None
    skipped: str | None
    seconds: float
    version: int
    source: Literal["human", "import"]
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prelabel:
    """What a model says of an item; never counted as an annotation. probabilities: of every label, where the model gave them."""

    value: dict[str, Any]
    model: str
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjudicated:
    """A reviewer's decision."""

    value: dict[str, Any]
    reviewer: str
    at: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """item: its number in the project, from 1. key: its own id, or a hash of its data. differs: annotators gave different answers.
    uncertainty: 0 (the model is sure) to 1, None when no model said. annotations: for reviewers and exports only."""

    item: int
    key: str
    data: dict[str, Any]
    state: ItemState
    num_annotations: int
    differs: bool
    prelabel: Prelabel | None = None
    uncertainty: float | None = None
    adjudicated: Adjudicated | None = None
    annotations: tuple[Given, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """An item for one annotator. own: what this annotator said before, None: nothing. until: the reservation's end, seconds since
    1970; None when the item is not reserved."""

    item: int
    key: str
    data: dict[str, Any]
    prelabel: Prelabel | None
    own: Given | None
    until: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a save left: the annotation, the state of its item, and the items that are next for its annotator when they were asked."""

    annotation: Given
    state: ItemState
    next: tuple[Assigned, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """action: save, skip, undo, adjudicate or import. previous: what stood there before, None when there was nothing. undone:
    whether its annotator took it back."""

    number: int
    item: int
    annotator: str
    at: str
    action: str
    value: dict[str, Any] | None
    previous: dict[str, Any] | None
    seconds: float
    undone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorProgress:
    annotator: str
    num_annotations: int
    num_skipped: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """num_reserved: places at open items that are handed out now. num_differing: done items on which annotators differ and nobody
    has decided."""

    num_items: int
    num_open: int
    num_done: int
    num_adjudicated: int
    num_differing: int
    num_reserved: int
    num_prelabelled: int
    num_annotations: int
    num_skipped: int
    annotators: tuple[AnnotatorProgress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAgreement:
    """Two annotators on the items that both annotated. identical: the share of equal votes. cohen_kappa, span_f1: None where the
    task has no such figure, or it is not defined."""

    annotators: tuple[str, str]
    num_items: int
    identical: float
    cohen_kappa: float | None
    span_f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Over all items with two annotations or more. alpha: Krippendorff's by level of measure. fleiss_kappa: over the items that
    have exactly `overlap` annotations. None: not defined (see agreement.py), or not for this task."""

    num_items: int
    identical: float | None
    alpha: dict[str, float | None]
    fleiss_kappa: float | None
    span_f1: float | None
    pairs: tuple[PairAgreement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """row: of the input, from 1. param: the field that is to blame."""

    row: int
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """num_known: rows whose items were there already, with the same data; what they
    bring beside it is joined. problems: the first 100 of num_problems rows left out."""

    num_added: int = 0
    num_known: int = 0
    num_annotations: int = 0
    num_problems: int = 0
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelError:
    """A label that is probably wrong. margin: probability of the given label minus that of the best other one."""

    item: int
    key: str
    given: str
    suggested: str
    margin: float
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelErrors:
    """The most suspect first. noise: the estimated share of wrong labels among num_items."""

    num_items: int
    noise: float
    errors: tuple[LabelError, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What somebody said of an item that is on its way in. value None: skipped, with the reason."""

    annotator: str
    value: dict[str, Any] | None = None
    skipped: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An item on its way in, with what was said of it, suggested and decided."""

    data: dict[str, Any]
    key: str | None = None
    prelabel: Prelabel | None = None
    annotations: tuple[Said, ...] = ()
    adjudicated: Adjudicated | None = None


Numbered = tuple[int, Row | LLMOSError]  # a row of an input with its number, from 1; or why it could not be read


def rank_of(order: str, item: int, uncertainty: float | None) -> float:
    """Where an item stands among the others: lower comes first."""
    if order == "random":
        return float((item * 2654435761) % 2**32)  # Knuth's multiplicative hash: the same order for everybody, and after a restart
    if order == "uncertainty":
        return 1.0 if uncertainty is None else -uncertainty
    return 0.0


def checked_annotator(name: str) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_ANNOTATOR or not name.isprintable() or not name.strip():
        raise InvalidValue(f"The name of an annotator must be 1 to {MAX_ANNOTATOR} printable characters.", param="annotator")
    return name


def checked_reason(reason: str) -> str:
    """Why an item is skipped."""
    if not reason.strip() or len(reason) > MAX_REASON or not reason.isprintable():
        raise InvalidValue(f"Say why, in 1 to {MAX_REASON} printable characters.", param="reason")
    return reason.strip()


def defined(figure: float) -> float | None:
    """NaN is no JSON: null there."""
    return None if math.isnan(figure) else figure
