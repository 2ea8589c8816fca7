"""Filters on the value of one column: among given ones, in a range, a file name's ending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from pydantic import Field

from llmos.data.base import Filter, Rows, Rule, StepConfig, Values, step
from llmos.errors import InvalidValue


def field_of(rows: Rows, path: str, *, one: str = "") -> pl.Series:
    """A column, or with dots a field of a nested one. A column whose name has the dots itself comes first. one: the parameter that
    wants one value of each row, no list and no object. Raises InvalidValue."""
    found = _field(rows, path)
    if one and found.dtype.is_nested():
        raise InvalidValue(f"{path!r} holds {found.dtype}, and one value is wanted.", param=one)
    return found


def _field(rows: Rows, path: str) -> pl.Series:
    if path in rows.frame.columns or "." not in path:
        return rows.column(path)
    first, *rest = path.split(".")
    found = rows.column(first)
    for name in rest:
        known = [field.name for field in found.dtype.fields] if isinstance(found.dtype, pl.Struct) else []
        if name not in known:
            raise InvalidValue(f"{path}: there is no field {name!r}; there are {', '.join(known) or 'none'}.", param="field")
        found = found.struct.field(name)
    return found


@step("field_in")
class FieldIn(Filter):
    """Keeps rows whose field is one of the values; of a field that is a list, all must be. A missing value is kept only when null is among
    the values."""

    class Config(StepConfig):
        field: str = Field(min_length=1, description="Column, or `column.field` of a nested one.")
        values: tuple[str | int | float | bool | None, ...] = Field(min_length=1, description="What is kept.")

    config: Config

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        found, wanted = field_of(rows, self.config.field), set(self.config.values)
        inner = found.dtype.inner if isinstance(found.dtype, pl.List | pl.Array) else found.dtype
        if inner.is_nested():
            raise InvalidValue(f"{self.config.field!r} holds {found.dtype}, and values are wanted.", param="field")
        kept = [all(one in wanted for one in value) if isinstance(value, list) else value in wanted for value in found.to_list()]
        return {"field_in": pl.Series(kept, dtype=pl.Boolean)}

    @property
    def rules(self) -> Sequence[Rule]:
        return (Rule(signal="field_in", at_least=1.0),)


@step("field_range")
class FieldRange(Filter):
    """Keeps rows whose number is in [min_value, max_value]. Texts are read as numbers; what is no number is dropped as `is_number`."""

    class Config(StepConfig):
        field: str = Field(min_length=1, description="Column, or `column.field` of a nested one.")
        min_value: float | None = Field(None, description="The lowest value that is kept.")
        max_value: float | None = Field(None, description="The highest value that is kept.")

    config: Config

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        found = field_of(rows, self.config.field, one="field")
        if found.dtype == pl.String:
            found = found.str.strip_chars()
        value = found.cast(pl.Float64, strict=False)
        return {"is_number": value.is_not_null() & value.is_not_nan().fill_null(False), "value": value}

    @property
    def rules(self) -> Sequence[Rule]:
        value = Rule(signal="value", at_least=self.config.min_value, at_most=self.config.max_value)
        return (Rule(signal="is_number", at_least=1.0), value)


@step("suffix_in")
class SuffixIn(Filter):
    """Keeps rows whose file name, in `field`, ends with one of the suffixes; upper and lower case are the same."""

    class Config(StepConfig):
        field: str = Field(min_length=1, description="Column with a file name or a suffix.")
        suffixes: tuple[str, ...] = Field(min_length=1, description="Such as .py, .md.")

    config: Config

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        found = field_of(rows, self.config.field, one="field").cast(pl.String).str.to_lowercase().fill_null("")
        kept = pl.repeat(False, len(rows), eager=True)
        for suffix in self.config.suffixes:
            kept = kept | found.str.ends_with(suffix.lower())
        return {"suffix_in": kept}

    @property
    def rules(self) -> Sequence[Rule]:
        return (Rule(signal="suffix_in", at_least=1.0),)
