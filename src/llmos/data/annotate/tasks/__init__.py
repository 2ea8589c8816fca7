"""What can be asked of an annotator, one file each. Importing this registers all of them."""

from __future__ import annotations

from llmos.data.annotate.tasks import (  # noqa: F401
    classification,
    conversation,
    multilabel,
    preference,
    rating,
    spans,
    text,
    translation,
)
from llmos.data.annotate.tasks.base import Task, tasks

__all__ = ["Task", "tasks"]
