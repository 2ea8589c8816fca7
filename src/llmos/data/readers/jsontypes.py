"""Arrow types for JSON values: which column holds what, found in a sample, and what to do with a row that does not fit.

A column gets the type that fits all sampled values; where they clash (a number among texts), that of most rows, and the others become
error rows. Integers and decimals together are decimals. Objects become structs with the keys seen, arrays lists. Null alone says nothing,
an empty array only that there are lists; an object that never has a key has no column to be in and stays in `_extra`. So do keys beyond
the MAX_KEYS most frequent ones of an object: an object with other keys in every row is no row of a table.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from llmos.data.base import EXTRA
from llmos.data.readers.base import UNSEEN

_NUMBER = {"int", "float"}
_QUOTE, _COLON, _BACKSLASH, _SPACE = b'":\\ '
_SCALARS: dict[pa.DataType, pl.DataType] = {
    pa.large_string(): pl.String(), pa.int64(): pl.Int64(), pa.uint64(): pl.UInt64(), pa.float64(): pl.Float64(), pa.bool_(): pl.Boolean(),
}  # fmt: skip
MAX_KEYS = 1000  # of rows, and of an object in them, that are columns


def schema_of(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """Columns in the order they are first seen. A column of nulls alone is text."""
    return pa.schema([one for one in _fields(rows) if one.name != EXTRA])


def _fields(objects: Iterable[Mapping[str, Any]]) -> list[pa.Field]:
    values: dict[str, list[Any]] = {}
    for one in objects:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    names = [name for name in values if _is_name(name)]
    if len(names) > MAX_KEYS:
        frequent = set(sorted(names, key=lambda name: -len(values[name]))[:MAX_KEYS])
        names = [name for name in names if name in frequent]
    return [field_of(name, values[name]) for name in names]


def field_of(name: str, values: Iterable[Any]) -> pa.Field:
    """With the type of the values; marked as UNSEEN where none of them has one."""
    kind = _type_of([value for value in values if value is not None])
    return pa.field(name, pa.large_string() if kind is None else kind, metadata=UNSEEN if kind is None else None)


def _type_of(values: Sequence[Any]) -> pa.DataType | None:
    there = [value for value in values if value not in ({}, [])]
    kinds = Counter(_kind(value) for value in there)
    if not kinds:
        return pa.large_list(field_of("item", [])) if [] in values and {} not in values else None
    kind = max(kinds, key=lambda one: (kinds[one], one))
    if kind in _NUMBER:
        return _number_type([value for value in there if _kind(value) in _NUMBER])
    if kind == "list":
        return pa.large_list(field_of("item", (item for value in there if isinstance(value, list) for item in value)))
    if kind == "dict":
        fields = _fields(value for value in there if isinstance(value, dict))
        return pa.struct(fields) if fields else pa.large_string()
    return pa.bool_() if kind == "bool" else pa.large_string()


def _is_name(name: str) -> bool:
    """What the decoder can look for; other keys go into `_extra`."""
    return not any(letter in '\\"' or letter < " " for letter in name)


def _number_type(values: Sequence[int | float]) -> pa.DataType:
    if any(isinstance(value, float) for value in values) or not -(2**63) <= min(values) <= max(values) < 2**64:
        return pa.float64()
    if max(values) < 2**63:
        return pa.int64()
    return pa.uint64() if min(values) >= 0 else pa.float64()


def _kind(value: Any) -> str:
    return type(value).__name__


def is_list(type: pa.DataType) -> bool:
    return bool(pa.types.is_large_list(type) or pa.types.is_list(type))


class Rows:
    """Decodes JSON objects that have the columns of a schema, and makes a table of them. Types are strict: a number is no text, a
    decimal no whole number; null and a missing key are the same."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.decode = msgspec.json.Decoder(_class(pa.struct(list(schema)), "Row")).decode

    def table(self, rows: Sequence[Any], extras: Sequence[str | None]) -> pa.Table:
        table, _ = self.counted(rows)
        return table.set_column(len(self.schema), EXTRA, pl.Series(extras, dtype=pl.String).to_arrow())

    def counted(self, rows: Sequence[Any]) -> tuple[pa.Table, int]:
        """The table, nothing in `_extra`, and how many keys the rows have, those inside of objects included."""
        columns, num_keys = [], 0
        for place, field in enumerate(self.schema):
            column, more = _column(list(map(attrgetter(f"f{place}"), rows)), field.type)
            columns.append(column)
            num_keys += more
        columns.append(pa.nulls(len(rows), pa.large_string()))
        return pa.Table.from_arrays(columns, names=[*self.schema.names, EXTRA]), num_keys

    @staticmethod
    def keys_in(data: bytes) -> int:
        """How many keys this JSON has when none of them stands twice in its object and no white space is before a colon; else another
        number than `counted` gives. A quote before a colon ends a key, unless a backslash makes it part of a text, or it begins a text
        that begins with a colon."""
        codes = np.frombuffer(data, dtype=np.uint8)
        at = np.flatnonzero((codes[:-1] == _QUOTE) & (codes[1:] == _COLON))
        one, two, three, four = (codes[at - back] for back in (1, 2, 3, 4))  # before the first comes the last: no quote ends there
        begins = (one == _COLON) & (two == _QUOTE) & (three != _BACKSLASH)
        begins |= (one == _SPACE) & (two == _COLON) & (three == _QUOTE) & (four != _BACKSLASH)
        return int(((one != _BACKSLASH) & ~begins).sum())

    def careful(self, line: bytes) -> tuple[Any, str | None, str]:
        """(row, what goes into `_extra`, "") of one line of UTF-8, or (None, None, why not)."""
        try:
            plain = orjson.loads(line)
            json.loads(line, object_pairs_hook=_no_key_twice)
        except orjson.JSONDecodeError as problem:
            ends = " (there are carriage returns in the line)" if b"\r" in line.rstrip() else ""
            return None, None, f"not JSON: {problem}{ends}"
        except (_Twice, RecursionError) as problem:
            return None, None, str(problem)
        if not isinstance(plain, dict):
            return None, None, f"a JSON {_name(plain)}, not an object"
        known, left = _cut(plain, pa.struct(list(self.schema)))
        wrong = mismatch(known, pa.struct(list(self.schema)), "")
        if wrong:
            return None, None, wrong
        try:
            row = self.decode(line if left is None else orjson.dumps(known))
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            return None, None, str(problem)
        return row, None if left is None else orjson.dumps(left, option=orjson.OPT_SORT_KEYS).decode(), ""


@lru_cache(maxsize=64)
def rows_of(schema: pa.Schema) -> Rows:
    """Made once for all files of a source: compiling costs a millisecond."""
    return Rows(schema)


class _Twice(ValueError):
    """A key stands twice in one object; which value is meant cannot be known (RFC 8259, section 4)."""


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Twice(f"the key {twice!r} stands twice in one object")
    return found


def _class(type: pa.DataType, name: str) -> Any:
    """The msgspec type for a value of that Arrow type, or none, or no value at all."""
    kind: Any
    if pa.types.is_struct(type):
        fields = [
            (f"f{place}", _class(type.field(place).type, f"{name}{place}"), msgspec.UNSET) for place in range(type.num_fields)
        ]
        names = {f"f{place}": type.field(place).name for place in range(type.num_fields)}
        kind = msgspec.defstruct(name, fields, rename=names, forbid_unknown_fields=True, gc=False)
        return kind if name == "Row" else kind | None | msgspec.UnsetType
    if is_list(type):
        kind = list[_class(type.value_type, f"{name}_")]  # type: ignore[misc]
    elif pa.types.is_unsigned_integer(type):
        kind = Annotated[int, msgspec.Meta(ge=0)]
    elif pa.types.is_integer(type):
        kind = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    elif pa.types.is_floating(type):
        kind = float
    else:
        kind = bool if pa.types.is_boolean(type) else str
    return kind | None | msgspec.UnsetType


def _column(values: list[Any], type: pa.DataType) -> tuple[pa.Array, int]:
    """The values as an array, and how many of them there are, keys inside of them included."""
    num_unset = values.count(msgspec.UNSET)
    num_keys = len(values) - num_unset
    if num_unset:
        values = [None if value is msgspec.UNSET else value for value in values]
    if pa.types.is_struct(type):
        children = []
        for place in range(type.num_fields):
            inner = [None if value is None else getattr(value, f"f{place}") for value in values]
            child, more = _column(
                [msgspec.UNSET if value is None else one for value, one in zip(values, inner, strict=True)], type.field(place).type
            )
            children.append(child)
            num_keys += more
        mask = pl.Series([value is None for value in values], dtype=pl.Boolean).to_arrow()
        return pa.StructArray.from_arrays(children, fields=list(type), mask=mask), num_keys
    if is_list(type):
        flat, more = _column([one for value in values if value is not None for one in value], type.value_type)
        more -= len(flat)  # the items of a list have no keys of their own
        sizes = np.fromiter((0 if value is None else len(value) for value in values), np.int64, len(values))
        offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int64())
        mask = pl.Series([value is None for value in values], dtype=pl.Boolean).to_arrow()
        return pa.LargeListArray.from_arrays(offsets, flat, type=type, mask=mask), num_keys + more
    # (pyarrow.array would load pandas, where it is installed, to ask whether a list is a Series)
    return pl.Series(values, dtype=_SCALARS[type]).to_arrow(), num_keys


def _cut(value: Any, type: pa.DataType) -> tuple[Any, Any]:
    """(what the type has room for, what is left over or None) of nested objects. Inside lists, left-over keys are kept with their
    place in the list. An empty object that has no column of its kind is left over too."""
    if value == {} and not pa.types.is_struct(type):
        return None, {}
    if isinstance(value, dict) and pa.types.is_struct(type):
        fits, left = {}, {}
        for name, inner in value.items():
            place = type.get_field_index(name)
            if place < 0:
                left[name] = inner
                continue
            fits[name], more = _cut(inner, type.field(place).type)
            if more is not None:
                left[name] = more
        return fits, left or None
    if isinstance(value, list) and is_list(type):
        cut = [_cut(one, type.value_type) for one in value]
        left_over = {str(place): more for place, (_, more) in enumerate(cut) if more is not None}
        return [one for one, _ in cut], left_over or None
    return value, None


def mismatch(value: Any, type: pa.DataType, path: str) -> str:
    """What does not fit, in words; "" when all does."""
    if value is None:
        return ""
    if pa.types.is_struct(type) and isinstance(value, dict):
        wrong = (mismatch(inner, type.field(name).type, f"{path}.{name}" if path else name) for name, inner in value.items())
        return next(filter(None, wrong), "")
    if is_list(type) and isinstance(value, list):
        return next(filter(None, (mismatch(one, type.value_type, f"{path}[{at}]") for at, one in enumerate(value))), "")
    fits = {
        "text": isinstance(value, str),
        "a whole number": isinstance(value, int) and not isinstance(value, bool),
        "a number": isinstance(value, int | float) and not isinstance(value, bool),
        "true or false": isinstance(value, bool),
    }
    wanted = wanted_name(type)
    return "" if fits.get(wanted, False) else f"{path} is {_name(value)}, not {wanted} as in the other rows"


def wanted_name(type: pa.DataType) -> str:
    if pa.types.is_large_string(type) or pa.types.is_string(type):
        return "text"
    if pa.types.is_integer(type):
        return "a whole number"
    if pa.types.is_floating(type):
        return "a number"
    if pa.types.is_boolean(type):
        return "true or false"
    return "a list" if is_list(type) else "an object"


def _name(value: Any) -> str:
    names = {
        "str": "text",
        "int": "a whole number",
        "float": "a decimal number",
        "bool": "true or false",
        "list": "a list",
        "dict": "an object",
    }
    return names.get(type(value).__name__, "null")
