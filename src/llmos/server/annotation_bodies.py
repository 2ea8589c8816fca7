"""What the routes of annotation take. What a value must be, its task says (data/annotate/tasks); here is the shape around it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from llmos.server.fields import Body

Name = Annotated[str, Field(min_length=1, max_length=128)]
Columns = Annotated[dict[str, str], Field(max_length=100)]
NO_NEXT = 0


class CreateBody(Body):
    """config: guidelines, labels, overlap, order, annotators, reviewers, lease_s, options."""

    name: Name
    task: Name
    config: dict[str, Any] = Field(default_factory=dict)


class UpdateBody(Body):
    """config: the fields that change. version: of the configuration as it is known, so that nobody's change is lost."""

    name: Name | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    version: int | None = Field(None, ge=1)


class ImportBody(Body):
    """items: records; or file_id: an uploaded file. columns: our fields whose columns have another name there. annotator: who is taken
    to have made the tags of a CoNLL file."""

    items: list[dict[str, Any]] | None = None
    file_id: str | None = Field(None, max_length=64)
    format: Literal["jsonl", "json", "csv", "label-studio", "conll"] | None = None
    columns: Columns = Field(default_factory=dict)
    annotator: Name = "import"

    @model_validator(mode="after")
    def _one(self) -> ImportBody:
        if (self.items is None) == (self.file_id is None):
            raise ValueError("give either items or file_id")
        if self.items is not None and self.format is not None:
            raise ValueError("format is for a file")
        return self


class NextBody(Body):
    """annotator: another name than the asker's own, where that is allowed."""

    count: int = Field(1, ge=1, le=50)
    annotator: Name | None = None


class SaveBody(Body):
    """version: of the annotation that this one replaces, 0 for none. next: how many items are to be reserved with the answer."""

    value: dict[str, Any]
    version: int = Field(0, ge=0, le=2**31 - 1)
    seconds: float = Field(0.0, ge=0, le=86_400, allow_inf_nan=False)
    annotator: Name | None = None
    next: int = Field(NO_NEXT, ge=0, le=50)


class SkipBody(Body):
    """reason: why."""

    reason: str = Field(min_length=1, max_length=1000)
    version: int = Field(0, ge=0, le=2**31 - 1)
    seconds: float = Field(0.0, ge=0, le=86_400, allow_inf_nan=False)
    annotator: Name | None = None
    next: int = Field(NO_NEXT, ge=0, le=50)


class AdjudicateBody(Body):
    """The decision. annotator: the reviewer's name, where another than the own is allowed."""

    value: dict[str, Any]
    note: str = Field("", max_length=2000)
    annotator: Name | None = None


class ErrorsBody(Body):
    """probabilities: key of an item -> label -> probability, of a model that did not learn these labels. Left out: the pre-labels'."""

    probabilities: dict[str, dict[str, Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]]] | None = None
