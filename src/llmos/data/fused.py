"""All row-wise steps of a stage over one batch: filters that stand together measure the same rows once, then their rules are applied.

Knows no file. Given a batch it returns the rows that go on, and has told the tally and the ledger of the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from llmos.data.base import (
    ID,
    OWN_COLUMNS,
    Comparer,
    Expanded,
    Expander,
    Filter,
    Gatherer,
    Mapped,
    Mapper,
    Refused,
    Regrouper,
    Rows,
    Rule,
    Step,
    Values,
)
from llmos.data.ledger import lines
from llmos.data.tally import Spread, StepTally, Tally

Floats = np.ndarray[Any, np.dtype[np.float64]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class _Broken:
    """Rows (their places in the batch) that broke a rule first, with what was measured of each."""

    label: str
    signal: str
    limit: float
    rows: np.ndarray[Any, np.dtype[np.int64]]
    values: Floats


@dataclass(slots=True)
class Fused:
    """The steps of a stage, made and labelled. `told` collects ledger lines until the caller takes them."""

    steps: Sequence[tuple[str, Step]]
    sketch: tuple[str, Gatherer | Comparer] | None
    tally: Tally
    keep_signals: bool = False
    keep_dropped: bool = True
    told: list[pl.DataFrame] = field(default_factory=list)

    def run(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """The rows that go on, and their sketch when the stage has one."""
        rows = Rows(frame)
        for group in groups(self.steps):
            rows = self._filters(rows, group) if isinstance(group[0][1], Filter) else self._one(rows, *group[0])
        if self.sketch is None:
            return rows.frame, None
        label, sketcher = self.sketch
        began = time.perf_counter()
        sketched = sketcher.sketch(rows)
        self.tally.step(label).seconds += time.perf_counter() - began
        assert isinstance(sketcher, Comparer) or sketched.height == len(rows), (
            f"{label} sketched {sketched.height} of {len(rows)} rows"
        )
        return rows.frame, sketched

    def after(self, label: str, gatherer: Gatherer, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows that a decision left, with what it changes in them."""
        rows = Rows(frame)
        made = gatherer.after(rows)
        if made is None:
            return frame
        tally = self.tally.step(label)
        before = tally.rows_out
        frame = self._mapped(rows, label, made, tally).frame
        tally.rows_out = before - len(rows) + frame.height
        return frame.drop([name for name in frame.columns if name.startswith("_") and name not in OWN_COLUMNS])

    # -- filters -----------------------------------------------------------------------------------------------------
    def _filters(self, rows: Rows, group: Sequence[tuple[str, Step]]) -> Rows:
        alive = rows.alive
        kept_signals: dict[str, pl.Series] = {}
        broken: list[_Broken] = []
        for label, step in group:
            assert isinstance(step, Filter)
            began = time.perf_counter()
            values = {name: floats(one, len(rows), f"{label}.{name}") for name, one in step.signals(rows).items()}
            tally = self.tally.step(label)
            tally.rows_in += int(alive.sum())
            for name, one in values.items():
                tally.spreads.setdefault(name, Spread()).add(one[alive])
            for rule in step.rules:
                broken += _break(label, rule, values[rule.signal], alive=alive, tally=tally)
            if self.keep_signals:
                made = {name: pl.Series(name, one) for name, one in values.items()}
                self.overwritten(rows.frame, pl.DataFrame(made), label, tally, among=pl.Series(alive))
                kept_signals |= made
            tally.rows_out += int(alive.sum())
            tally.seconds += time.perf_counter() - began
        for secret in (False, True):
            self._tell_broken(rows, [one for one in broken if self._secret(one.label) == secret], secret=secret)
        if kept_signals:
            rows = with_columns(rows, kept_signals)
        return take(rows, alive)

    def _tell_broken(self, rows: Rows, broken: Sequence[_Broken], *, secret: bool) -> None:
        """Ledger lines of all rows that filters which stand together dropped, at once."""
        if not broken:
            return
        gone = rows.frame[np.concatenate([one.rows for one in broken])]
        nth = np.repeat(np.arange(len(broken)), [len(one.rows) for one in broken])
        told = lines(
            gone.get_column(ID), step=pl.Series([one.label for one in broken]).gather(nth), action="dropped",
            signal=pl.Series([one.signal for one in broken]).gather(nth), value=np.concatenate([one.values for one in broken]),
            threshold=np.array([one.limit for one in broken], dtype=np.float64)[nth],
            rows=gone if self.keep_dropped and not secret else None,
        )  # fmt: skip
        self.told.append(told)

    def drop(self, gone: pl.DataFrame, label: str, signal: str | pl.Series, value: Any, threshold: Any, **more: Any) -> None:
        """Ledger lines of dropped rows."""
        if gone.height:
            told = lines(
                gone.get_column(ID), step=label, action="dropped", signal=signal, value=value, threshold=threshold,
                rows=gone if self.keep_dropped and not self._secret(label) else None, **more,
            )  # fmt: skip
            self.told.append(told)

    def overwritten(self, frame: pl.DataFrame, columns: pl.DataFrame, label: str, tally: StepTally, *, among: pl.Series) -> None:
        """Ledger lines of rows, of those `among`, in which a column of their own gets another value."""
        for name in columns.columns:
            if name in frame.columns:
                changed = differs(frame.get_column(name), columns.get_column(name)) & among
                ids = frame.get_column(ID).filter(changed)
                tally.changed += len(ids)
                if len(ids):
                    self.told.append(lines(ids, step=label, action="changed", signal=name, detail="the column was there already"))

    def _secret(self, label: str) -> bool:
        return any(step.secret for one, step in self.steps if one == label)

    # -- steps that change rows --------------------------------------------------------------------------------------
    def _one(self, rows: Rows, label: str, step: Step) -> Rows:
        began = time.perf_counter()
        tally = self.tally.step(label)
        tally.rows_in += len(rows)
        if isinstance(step, Regrouper):
            rows = self._regrouped(rows, label, step)
        elif isinstance(step, Mapper):
            rows = self._mapped(rows, label, step.map(rows), tally)
        else:
            assert isinstance(step, Expander)
            rows = self._expanded(rows, label, step, tally)
        tally.rows_out += len(rows)
        tally.seconds += time.perf_counter() - began
        return rows

    def _mapped(self, rows: Rows, label: str, made: Mapped, tally: StepTally) -> Rows:
        frame = rows.frame
        changed: Truths = np.zeros(len(rows), dtype=bool)
        for name, column in made.columns.items():
            assert len(column) == len(rows), f"{label} made {len(column)} values of {name} for {len(rows)} rows"
            if name in frame.columns:
                changed |= differs(frame.get_column(name), column).to_numpy()
        for name in made.without:
            changed |= frame.get_column(name).is_not_null().to_numpy()
        gone = floats(made.drop, len(rows), label) > 0 if made.drop is not None else np.zeros(len(rows), dtype=bool)
        changed &= ~gone
        measure = made.measure or ("chars", _growth(frame, made))
        value = floats(measure[1], len(rows), label)
        if changed.any():
            ids = frame.get_column(ID).filter(pl.Series(changed))
            self.told.append(
                lines(ids, step=label, action="changed", signal=measure[0], value=value[changed], detail=_said(made, changed))
            )
            tally.changed += int(changed.sum())
        if gone.any():
            reason = made.reason.filter(pl.Series(gone)) if isinstance(made.reason, pl.Series) else made.reason
            self.drop(
                frame.filter(pl.Series(gone)),
                label,
                reason,
                _of(made.drop_value, gone),
                _of(made.threshold, gone),
                detail=_said(made, gone),
            )
            names = reason if isinstance(reason, pl.Series) else pl.repeat(reason, int(gone.sum()), eager=True)
            for name, count in names.value_counts(sort=True).iter_rows():
                tally.drop(name, count)
        left = take(with_columns(rows, made.columns), ~gone)
        return Rows(left.frame.drop(*made.without)) if made.without else left

    def _expanded(self, rows: Rows, label: str, step: Expander, tally: StepTally) -> Rows:
        made, parents, refused = Expanded(*step.expand(rows))
        self._refuse(rows, label, refused, tally)
        origin = np.asarray(parents, dtype=np.int64)
        assert len(origin) == made.height and bool((np.diff(origin) >= 0).all()), f"{label}: parents must be ascending"
        counts = np.bincount(origin, minlength=len(rows))
        ids = rows.frame.get_column(ID)
        if (counts == 0).any():
            self.drop(rows.frame.filter(pl.Series(counts == 0)), label, step.reason, 0.0, float("nan"))
            tally.drop(step.reason, int((counts == 0).sum()))
        split = ids.filter(pl.Series(counts > 0))
        self.told.append(lines(split, step=label, action="expanded", signal="rows", value=counts[counts > 0].astype(np.float64)))
        nth = np.arange(len(origin)) - np.repeat(np.cumsum(counts) - counts, counts)
        fresh = ids.gather(origin) + "." + pl.Series(nth).cast(pl.String)
        return Rows(made.select(fresh.alias(ID), pl.exclude(ID)))

    def _refuse(self, rows: Rows, label: str, refused: Sequence[Refused], tally: StepTally) -> None:
        """Ledger lines of what was made of rows and not taken."""
        if refused:
            ids = rows.frame.get_column(ID).gather([one.row for one in refused])
            told = lines(
                ids, step=label, action="refused", signal=pl.Series([one.signal for one in refused]),
                value=[one.value for one in refused], threshold=[one.threshold for one in refused],
                detail=[one.detail for one in refused],
            )  # fmt: skip
            self.told.append(told)
        for one in refused:
            tally.refuse(one.signal)

    def _regrouped(self, rows: Rows, label: str, step: Regrouper) -> Rows:
        made = step.regroup(rows.frame)
        place, first = np.asarray(made.went, dtype=np.int64), np.asarray(made.first, dtype=np.int64)
        assert len(place) == len(rows) and len(first) == made.rows.height and bool((np.diff(first) >= 0).all()), label
        ids = rows.frame.get_column(ID)
        nth = np.arange(len(first)) - np.searchsorted(first, first)
        fresh = ids.gather(first) + "+" + pl.Series(nth, dtype=pl.Int64).cast(pl.String)
        other = fresh.gather(np.maximum(place, 0)) if len(fresh) else ids
        gone = pl.Series(place < 0)
        self.told.append(lines(ids.filter(~gone), step=label, action="grouped", signal="row", other=other.filter(~gone).to_list()))
        if gone.any():
            self.drop(rows.frame.filter(gone), label, "nothing to group", 0.0, float("nan"))
            self.tally.step(label).drop("nothing to group", int(gone.sum()))
        return Rows(made.rows.select(fresh.alias(ID), pl.exclude(ID)))


def groups(steps: Sequence[tuple[str, Step]]) -> list[list[tuple[str, Step]]]:
    """Filters that stand together, others alone. A filter that is `apart` begins a group, so that it measures only what is left."""
    found: list[list[tuple[str, Step]]] = []
    for label, one in steps:
        joins = isinstance(one, Filter) and not one.apart and found and isinstance(found[-1][0][1], Filter)
        if joins:
            found[-1].append((label, one))
        else:
            found.append([(label, one)])
    return found


def _break(label: str, rule: Rule, values: Floats, *, alive: Truths, tally: StepTally) -> list[_Broken]:
    """What the rule drops of the rows that are alive, which they then are not."""
    limits = tally.rules.get(rule.signal, (None, None))
    tally.rules[rule.signal] = (
        limits[0] if rule.at_least is None else rule.at_least,
        limits[1] if rule.at_most is None else rule.at_most,
    )
    found = []
    for limit, worse in ((rule.at_least, np.less_equal if rule.strict else np.less),
                         (rule.at_most, np.greater_equal if rule.strict else np.greater)):  # fmt: skip
        if limit is None:
            continue
        places = np.flatnonzero(worse(values, limit) & alive)
        if len(places):
            found.append(_Broken(label, rule.signal, float(limit), places, values[places]))
            tally.drop(rule.signal, len(places))
            alive[places] = False
    return found


def floats(values: Values, height: int, what: str) -> Floats:
    """One float per row; null and NaN both mean that the signal does not apply."""
    found = values.cast(pl.Float64).to_numpy() if isinstance(values, pl.Series) else np.asarray(values, dtype=np.float64)
    assert found.shape == (height,), f"{what} has {found.shape} values for {height} rows"
    return found


def differs(before: pl.Series, after: pl.Series) -> pl.Series:
    """Which values are other ones. One of another kind (text, number, list) is."""
    if before.dtype != after.dtype and not (before.dtype.is_numeric() and after.dtype.is_numeric()):
        return before.is_not_null() | after.is_not_null()
    return before.ne_missing(after)


def with_columns(rows: Rows, columns: Any) -> Rows:
    """The rows with these columns; what was derived from columns that stay as they are is kept."""
    made = Rows(rows.frame.with_columns(**columns))
    made.inherit(rows, without=frozenset(columns))
    return made


def take(rows: Rows, mask: Truths) -> Rows:
    """The rows where the mask is true; derived things that can be cut (`filter`) are cut, others forgotten."""
    if mask.all():
        return rows
    made = Rows(rows.frame.filter(pl.Series(mask)))
    made.inherit(rows, mask=mask)
    return made


def _of(values: float | Values, mask: Truths) -> Any:
    """Those of the masked rows, when there is one per row."""
    return values if isinstance(values, float) else floats(values, len(mask), "drop")[mask]


def _said(made: Mapped, rows: Truths) -> Sequence[str] | str:
    """The words of a Mapper about those rows."""
    return pl.Series(made.detail, dtype=pl.String).filter(pl.Series(rows)).to_list() if made.detail is not None else ""


def _growth(frame: pl.DataFrame, made: Mapped) -> Values:
    """Characters that the texts grew by, all rewritten columns together."""
    grown: Values = np.zeros(frame.height)
    for name, column in made.columns.items():
        if name in frame.columns and column.dtype == pl.String and frame.schema[name] == pl.String:
            before, after = frame.get_column(name).str.len_chars().fill_null(0), column.str.len_chars().fill_null(0)
            grown = grown + (after.cast(pl.Float64) - before.cast(pl.Float64)).to_numpy()
    return grown
