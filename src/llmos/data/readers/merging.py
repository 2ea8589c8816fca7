"""One schema for the files of a source.

    a.jsonl  {"n": null, "tags": []}        n is anything, tags a list of anything
    b.jsonl  {"n": 1, "tags": ["x"]}        n is a whole number, tags a list of texts, in both

Where the sample of a file has no value at all, its reader says text and marks the field: no reason to refuse a file that has values.
What stays without a value in all files is text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from llmos.data.readers.base import UNSEEN
from llmos.errors import InvalidValue

TEXT = pa.large_string()


def merged(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """schemas: with the labels of their files, in order. Raises InvalidValue naming the first file that does not go with those before
    it, and the column."""
    different: dict[pa.Schema, str] = {}
    for label, schema in schemas:
        different.setdefault(_each(schema, _open), label)
    found = pa.schema([])
    for schema, label in different.items():
        try:
            found = pa.unify_schemas([found, schema], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as problem:
            raise InvalidValue(
                f"{label} holds other things than the files before it: {problem}.", param="path",
                hint="Make it a source of its own, and give that column another name there: columns: {other: name}.",
            ) from None  # fmt: skip
    if any(_marked(field) for _, schema in schemas for field in schema):
        found = _each(found, _settled)
    clean: pa.Schema = found.remove_metadata()
    return clean


def _open(field: pa.Field) -> pa.Field:
    """Null where no value was seen, which goes with everything."""
    return pa.field(field.name, pa.null() if _is_unseen(field) else field.type, field.nullable)


def _settled(field: pa.Field) -> pa.Field:
    return field.with_type(TEXT) if pa.types.is_null(field.type) else field


def _is_unseen(field: pa.Field) -> bool:
    return bool(field.metadata) and UNSEEN.items() <= field.metadata.items()


def _marked(field: pa.Field) -> bool:
    return _is_unseen(field) or any(_marked(field.type.field(place)) for place in range(field.type.num_fields))


def _each(schema: pa.Schema, change: Callable[[pa.Field], pa.Field]) -> pa.Schema:
    """Every field changed, those inside of objects and lists first."""
    return pa.schema([_inside(field, change) for field in schema])


def _inside(field: pa.Field, change: Callable[[pa.Field], pa.Field]) -> pa.Field:
    kind = field.type
    if pa.types.is_struct(kind):
        field = field.with_type(pa.struct([_inside(kind.field(place), change) for place in range(kind.num_fields)]))
    elif pa.types.is_large_list(kind):
        field = field.with_type(pa.large_list(_inside(kind.value_field, change)))
    elif pa.types.is_list(kind):
        field = field.with_type(pa.list_(_inside(kind.value_field, change)))
    return change(field)
