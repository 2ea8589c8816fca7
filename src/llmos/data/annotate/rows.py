"""Rows of the database as records, and back. JSON columns are text without spaces, not escaped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Row

from llmos.data.annotate.base import Adjudicated, AnnotationProject, Assigned, Given, HistoryEntry, Item, ItemState, Prelabel
from llmos.errors import InvalidValue


def dumped(value: Any) -> str:
    """Raises InvalidValue for what JSON in UTF-8 cannot hold: NaN, and halves of surrogate pairs."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (ValueError, TypeError) as problem:
        raise InvalidValue(f"This cannot be kept as JSON: {problem}.") from None
    return text


def loaded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def key_of(data: Mapping[str, Any]) -> str:
    """The key of an item that brings none: equal data, equal key."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def project_from(row: Row[Any]) -> AnnotationProject:
    return AnnotationProject(
        **{name: getattr(row, name) for name in AnnotationProject.__slots__ if name != "config"}, config=json.loads(row.config)
    )


def given_from(row: Row[Any]) -> Given:
    return Given(**{name: getattr(row, name) for name in Given.__slots__ if name != "value"}, value=loaded(row.value))


def prelabel_from(text: str | None) -> Prelabel | None:
    return None if text is None else msgspec.json.decode(text, type=Prelabel)


def item_from(row: Row[Any], annotations: tuple[Given, ...] = ()) -> Item:
    return Item(
        item=row.item,
        key=row.key,
        data=json.loads(row.data),
        state=ItemState(row.state),
        num_annotations=row.num_done,
        differs=bool(row.differs),
        prelabel=prelabel_from(row.prelabel),
        uncertainty=row.uncertainty,
        adjudicated=None if row.adjudicated is None else msgspec.json.decode(row.adjudicated, type=Adjudicated),
        annotations=annotations,
    )


def assigned_from(row: Row[Any], own: Given | None, until: float | None) -> Assigned:
    return Assigned(
        item=row.item, key=row.key, data=json.loads(row.data), prelabel=prelabel_from(row.prelabel), own=own, until=until
    )


def history_from(row: Row[Any]) -> HistoryEntry:
    own = ("value", "previous", "undone")
    return HistoryEntry(
        **{name: getattr(row, name) for name in HistoryEntry.__slots__ if name not in own},
        value=loaded(row.value),
        previous=loaded(row.previous),
        undone=bool(row.undone),
    )
