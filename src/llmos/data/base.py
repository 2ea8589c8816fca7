"""The contract of the data platform: what a step is, what it sees of the rows, and what becomes of them.

    Rows ── Filter.signals ──> values ── rules ──> kept | dropped (ledger: step, signal, value, threshold)
         ── Mapper.map ──────> new columns ──────> changed (ledger: step, measure)
         ── Expander.expand ─> several rows from one
         ── Gatherer.sketch ─> small columns of every row ── decide, over all rows at once ──> verdicts, applied in the next stage

A step sees a batch of rows at a time (8 MB or so) as a polars frame and never a row alone, so its work is one expression over columns.
Everything but a Gatherer is a pure function of its batch: batches may be cut anywhere and computed anywhere, the result is the same
bytes. Counting, tracing, timing and the ledger are the engine's (data/work.py), not the step's.

Adding one is one file: a class, `@step("name")`, a `Config`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from llmos.errors import InvalidValue, did_you_mean
from llmos.registry import Registry
from llmos.settings import Settings

if TYPE_CHECKING:
    from llmos.data.synth.asked import Asked
    from llmos.engine.session import Session

ID = "_id"  # of a row, in every frame: "<file>#<row>", ".<n>" for the n-th row made of it; never changes
EXTRA = "_extra"  # JSON of fields that the sampled schema does not know
OWN_COLUMNS = (ID, EXTRA)

T = TypeVar("T")
Values = pl.Series | np.ndarray[Any, Any]


class StepConfig(BaseModel):
    """Parameters of a step as they stand in a recipe. An unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextConfig(StepConfig):
    """column: the text it reads (and rewrites); "" is the recipe's `text_column`."""

    column: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Keeps the rows whose signal is in [at_least, at_most]; with `strict` the limits themselves are out. NaN: does not apply, kept."""

    signal: str
    at_least: float | None = None
    at_most: float | None = None
    strict: bool = False


class Models(Protocol):
    """Models of the library for steps that need one (data/models.py)."""

    def exact(self, name: str) -> str:
        """The name of what `name` means now, version included: the same model whenever it is asked for again. Raises NotFound."""
        ...

    def session(self, name: str) -> Session:
        """Ready to use. Raises what `LLMOS.load_model` raises."""
        ...

    def asked(self, session: Session, how: str) -> Asked:
        """What that model was asked in that way, with the answers, open for more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """The world of a step. seed: of the recipe. models: there for steps with `needs_model` only. project: whose library it sees, None is
    all of it."""

    settings: Settings
    text_column: str = "text"
    seed: int = 0
    models: Models | None = None
    project: str | None = None


@runtime_checkable
class Cuttable(Protocol):
    """Something derived from a batch that follows when rows are dropped."""

    def filter(self, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Self: ...


class Rows:
    """A batch. What several steps derive from a column (its words, say) is made once. alive: rows that no filter before, of those that
    stand together, has dropped; what a filter measures of the others is not looked at."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.alive: np.ndarray[Any, np.dtype[np.bool_]] = np.ones(frame.height, dtype=bool)
        self._derived: dict[tuple[object, str], Any] = {}

    def __len__(self) -> int:
        return self.frame.height

    def column(self, name: str) -> pl.Series:
        """Raises InvalidValue with the nearest names when there is none."""
        if name not in self.frame.columns:
            known = [one for one in self.frame.columns if one not in OWN_COLUMNS]
            raise InvalidValue(f"The rows have no column {name!r}.", param="column", hint=did_you_mean(name, known))
        return self.frame.get_column(name)

    def text(self, name: str) -> pl.Series:
        """A column of strings, null as "". Raises InvalidValue when it holds something else."""
        found = self.column(name)
        if found.dtype == pl.Null:
            return found.cast(pl.String).fill_null("")
        if found.dtype != pl.String:
            raise InvalidValue(f"The column {name!r} holds {found.dtype}, not text.", param="column")
        return found.fill_null("") if found.null_count() else found

    def derived(self, make: Callable[[pl.Series], T], column: str) -> T:
        """`make` of the text of that column, made once for all steps that look at this batch."""
        key = (make, column)
        if key not in self._derived:
            self._derived[key] = make(self.text(column))
        found: T = self._derived[key]
        return found

    def inherit(
        self, earlier: Rows, *, without: frozenset[str] = frozenset(), mask: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    ) -> None:
        """Takes over what `earlier` derived: of columns not in `without`; cut by `mask`, where it can be cut, when there is one."""
        for (make, column), made in earlier._derived.items():
            if column in without:
                continue
            if mask is None:
                self._derived[make, column] = made
            elif isinstance(made, Cuttable):
                self._derived[make, column] = made.filter(mask)


class Step(ABC):
    """One step with its parameters. Made anew in every process that computes parts; must be cheap to make.

    version: grows whenever the same rows would come out otherwise, so that kept results are not used again.
    apart: True for what is slow beside the other steps: it then sees only rows that all steps before it kept.
    needs_model: runs in the coordinating process, with `context.models`. models, tokenizers: its parameters that name one.
    secret: rows that it drops are not kept in the ledger, whatever the recipe's `keep_dropped` says.
    disk: its parameters that may name a place on this machine's disk; recipes that come over the network may not.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    apart: ClassVar[bool] = False
    needs_model: ClassVar[bool] = False
    models: ClassVar[tuple[str, ...]] = ()
    tokenizers: ClassVar[tuple[str, ...]] = ()
    secret: ClassVar[bool] = False
    disk: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type[StepConfig]]

    def __init__(self, config: Any, context: StepContext) -> None:
        self.config = config
        self.context = context
        self.prepare()

    @classmethod
    def pinned(cls, config: Any, context: StepContext) -> dict[str, str]:
        """Parameters that are filled in when a run is planned: what decides the rows and is not in the recipe."""
        return {}

    def prepare(self) -> None:  # noqa: B027 - most steps have nothing to prepare
        """Checks what pydantic cannot and reads what the step needs. Raises InvalidValue, MissingExtra."""

    @property
    def column(self) -> str:
        """The text column of a step with a TextConfig."""
        named: str = getattr(self.config, "column", "")
        return named or self.context.text_column

    def reads(self) -> Sequence[str]:
        """Columns of text that rows must have: a row without one of them is an error row, not an empty text."""
        return (self.column,) if isinstance(self.config, TextConfig) else ()


class Filter(Step):
    """Measures every row and drops those outside of its rules, the first rule that a row breaks is the one it is dropped for."""

    @abstractmethod
    def signals(self, rows: Rows) -> Mapping[str, Values]:
        """One number (or truth) per row and signal. Does not change the rows."""

    @property
    @abstractmethod
    def rules(self) -> Sequence[Rule]: ...


class Comparer(Filter):
    """A Filter that measures rows against those of other sources (evaluation sets, say). What it needs of them is gathered first and is
    `known` to every worker."""

    known: pl.DataFrame

    @abstractmethod
    def reference(self) -> Sequence[Any]:
        """The sources (data/recipe.py) compared with."""

    def reference_reads(self) -> Sequence[str]:
        """Columns of text that rows of a reference must have."""
        return self.reads()

    @abstractmethod
    def sketch(self, rows: Rows) -> pl.DataFrame:
        """What `signals` needs of rows of a reference; all of them together become `known`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something that was made of a row and not taken, such as the answer of a model that is a copy of its question. row: the place in
    the batch. value, threshold: NaN where the reason is not a number. detail: the reason in words."""

    row: int
    signal: str
    value: float = float("nan")
    threshold: float = float("nan")
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What a Mapper made. columns: new or rewritten ones, as long as the batch. measure: name and value per row of what the ledger
    shall say of changed rows; without one it is the change of the text's length in characters. drop: rows that it gives up;
    reason, drop_value, threshold: of them, for the ledger, one for all or one per row. detail: words per row, for changed and dropped
    rows. without: columns that are gone afterwards."""

    columns: Mapping[str, pl.Series]
    measure: tuple[str, Values] | None = None
    drop: Values | None = None
    reason: str | pl.Series = ""
    drop_value: float | Values = float("nan")
    threshold: float | Values = float("nan")
    detail: Sequence[str] | None = None
    without: Sequence[str] = ()


class Mapper(Step):
    """Rewrites or adds columns. Rows whose existing columns it changed are in the ledger."""

    @abstractmethod
    def map(self, rows: Rows) -> Mapped: ...


class Expanded(NamedTuple):
    """The new rows without ids, and for each the index of the row it was made of, ascending. refused: what was made in vain."""

    rows: pl.DataFrame
    parents: Values
    refused: Sequence[Refused] = ()


class Expander(Step):
    """Makes any number of rows out of one (chunks, generated pairs). A row that yields none is in the ledger as dropped."""

    reason: ClassVar[str] = "no rows"

    @abstractmethod
    def expand(self, rows: Rows) -> Expanded | tuple[pl.DataFrame, Values]:
        """See Expanded."""


class Regrouped(NamedTuple):
    """rows: the new ones without ids. first: for each the place in the part of the first row in it, ascending; its id becomes
    "<that row's>+<n>". went: for each old row the place of the new row it begins in, -1 for one that nothing was made of."""

    rows: pl.DataFrame
    first: Values
    went: Values


class Regrouper(Step):
    """Makes new rows out of several (packed sequences). It sees a whole part at once: what `read.slice_bytes` of input became."""

    @abstractmethod
    def regroup(self, frame: pl.DataFrame) -> Regrouped:
        """See Regrouped."""


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What a Gatherer decides of one part, aligned with its rows. keep: how many copies of the row go on (0 drops it, 2 doubles).
    value, threshold: for the ledger of the dropped, threshold one for all or one per row. other: id of the row that was kept instead,
    or ""; columns: added to the rows, or written over theirs."""

    keep: np.ndarray[Any, np.dtype[np.int32]]
    signal: str
    value: np.ndarray[Any, np.dtype[np.float64]]
    threshold: float | np.ndarray[Any, np.dtype[np.float64]]
    other: Mapping[int, str] = field(default_factory=dict)
    columns: Mapping[str, pl.Series] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sketches:
    """The sketches of all parts, on disk, in order. role of a part: "" for rows of the recipe, "reference" for rows that only
    compare (an earlier version, an evaluation set). rows: the files of the rows of the recipe's parts."""

    paths: Sequence[Path]
    heights: Sequence[int]
    roles: Sequence[str]
    rows: Sequence[Path]
    folder: Path  # for what a decision wants to spill

    def read(self, part: int) -> pl.DataFrame:
        return pl.read_parquet(self.paths[part], use_statistics=False)

    def column(self, name: str) -> Iterator[pl.Series]:
        """Part after part; only this column is in memory."""
        return (_column(path, name) for path in self.paths)

    def ids(self, ordinals: np.ndarray[Any, Any]) -> list[str]:
        """Ids of rows by their place among all; each part that has some of them is opened once."""
        parts = np.searchsorted(np.asarray(self.starts), ordinals, side="right") - 1
        found = np.empty(len(ordinals), dtype=object)
        for part in np.unique(parts).tolist():
            here = np.flatnonzero(parts == part)
            found[here] = _column(self.rows[part], ID).gather(ordinals[here] - self.starts[part]).to_list()
        return found.tolist()

    @property
    def starts(self) -> list[int]:
        """Ordinal of the first row of each part."""
        found, total = [], 0
        for height in self.heights:
            found.append(total)
            total += height
        return found


def _column(path: Path, name: str) -> pl.Series:
    made = pl.from_arrow(pq.ParquetFile(path).read([name]))  # a third of the time that polars takes to open a file
    assert isinstance(made, pl.DataFrame)
    return made.get_column(name)


class Gatherer(Step):
    """Decides over all rows at once: deduplication, exact samples, splits, mixing. It ends a stage."""

    def reference(self) -> Sequence[Any]:
        """Sources (data/recipe.py) whose rows are only compared with."""
        return ()

    @abstractmethod
    def sketch(self, rows: Rows) -> pl.DataFrame:
        """What `decide` needs to know of each row, as long as the batch and as small as can be."""

    @abstractmethod
    def decide(self, sketches: Sketches) -> Iterator[Verdict]:
        """One verdict per part with the role "", in order. Deterministic."""

    def after(self, rows: Rows) -> Mapped | None:
        """What it changes in rows that stay, by columns of its verdict; those that begin with "_" are gone afterwards."""
        return None


steps: Registry[type[Step]] = Registry("step")

S = TypeVar("S", bound=type[Step])


def step(name: str) -> Callable[[S], S]:
    """Registers a step: `@step("text_length")`."""

    def add(cls: S) -> S:
        cls.name = name
        steps.add(name, cls)
        return cls

    return add
