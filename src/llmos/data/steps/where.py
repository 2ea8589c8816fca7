"""Keeps the rows for which an expression over their columns is true: `where: "n > 3 and language == 'en'"`.

The expression is written as in Python and read with Python's own parser, which runs nothing; every node of it is then either turned
into a polars expression here or refused by name. SQL was the other choice: polars' `sql_expr` accepts a sub-query that reads any file
of the machine.

    names           columns; `meta.lang` is the field `lang` of the column `meta`; `col("odd name")` any column
    values          numbers, texts, True, False, None, lists of them
    comparison      == != < <= > >=, chained (1 < n <= 5); `in`, `not in` a list, or a text in a text
    logic           and, or, not
    arithmetic      + - * / // % and unary -
    functions       len(text), lower(text), contains(text, "part"), starts_with, ends_with, matches(text, r"regex"), is_null(x), abs(x)
    of lists        count(words), has(upos, "VERB")

A missing value makes a comparison false and `not in` true, so that no row is kept for what it does not say.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import polars as pl
from pydantic import Field

from llmos.data.base import OWN_COLUMNS, Filter, Rows, Rule, StepConfig, Values, step
from llmos.errors import InvalidValue, did_you_mean

MAX_CHARS = 4000
MAX_DEPTH = 50

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}  # fmt: skip


def _length(value: pl.Expr) -> pl.Expr:
    return value.str.len_chars().cast(pl.Int64)


_ONE: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "len": _length,
    "lower": lambda value: value.str.to_lowercase(),
    "is_null": lambda value: value.is_null(),
    "abs": lambda value: value.abs(),
    "count": lambda value: value.list.len().cast(pl.Int64),
}
_WITH_TEXT: dict[str, Callable[[pl.Expr, str], pl.Expr]] = {
    "contains": lambda value, text: value.str.contains(text, literal=True).fill_null(False),
    "starts_with": lambda value, text: value.str.starts_with(text).fill_null(False),
    "ends_with": lambda value, text: value.str.ends_with(text).fill_null(False),
    "matches": lambda value, text: value.str.contains(text).fill_null(False),
    "has": lambda value, text: value.list.contains(text).fill_null(False),
}
FUNCTIONS = (*_ONE, *_WITH_TEXT, "col")


@step("where")
class Where(Filter):
    """Keeps rows for which `expression` is true. It is no program: names are columns, and the operators and functions of where.py are all
    there is."""

    class Config(StepConfig):
        expression: str = Field(min_length=1, max_length=MAX_CHARS, description="As in Python: n > 3 and language == 'en'.")

    config: Config

    def prepare(self) -> None:
        self.expression, self.names = parse(self.config.expression)

    def signals(self, rows: Rows) -> Mapping[str, Values]:
        known = [name for name in rows.frame.columns if name not in OWN_COLUMNS]
        for name in self.names:
            if name not in known:
                raise InvalidValue(f"where: the rows have no column {name!r}.", param="expression", hint=did_you_mean(name, known))
        try:
            found = rows.frame.select(self.expression.cast(pl.Boolean).fill_null(False).alias("where"))
        except pl.exceptions.PolarsError as problem:
            reason = str(problem).splitlines()[0]
            raise InvalidValue(f"where: {self.config.expression!r} cannot be computed: {reason}.", param="expression") from None
        column = found.get_column("where")
        return {"where": pl.repeat(column.item(), len(rows), eager=True) if len(column) == 1 else column}

    @property
    def rules(self) -> Sequence[Rule]:
        return (Rule(signal="where", at_least=1.0),)


def parse(text: str) -> tuple[pl.Expr, tuple[str, ...]]:
    """The expression and the columns it names. Raises InvalidValue that shows the place."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        place = getattr(problem, "offset", None)
        at = f" at character {place}" if place else ""
        raise _refused(text, f"it is no expression{at}: {getattr(problem, 'msg', problem)}") from None
    found = _Translation(text)
    try:
        return found.truth(tree.body, 0), tuple(dict.fromkeys(found.names))
    except (pl.exceptions.PolarsError, OverflowError) as problem:
        raise _refused(text, str(problem).splitlines()[0]) from None


class _Translation:
    """Node by node. names: the columns met."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: list[str] = []

    def truth(self, node: ast.expr, depth: int) -> pl.Expr:
        return _expr(self.value(node, depth))

    def value(self, node: ast.expr, depth: int) -> Any:
        """A polars expression, or a plain value where the node is one."""
        if depth > MAX_DEPTH:
            raise _refused(self.text, f"it is nested deeper than {MAX_DEPTH} levels")
        match node:
            case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
                found: Any = value
            case ast.Name(id=name):
                found = self._column(name)
            case ast.Attribute(value=inside, attr=name):
                found = self.truth(inside, depth + 1).struct.field(name)
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                found = [self._plain(part, depth + 1) for part in parts]
            case ast.Compare(left=left, ops=signs, comparators=others):
                found = self._compare([left, *others], signs, depth + 1)
            case ast.Call(func=ast.Name(id=name), args=given, keywords=[]):
                found = self._call(name, given, depth + 1)
            case _:
                found = self._operation(node, depth + 1)
        return found

    def _operation(self, node: ast.expr, depth: int) -> Any:
        match node:
            case ast.BoolOp(op=joined, values=parts):
                every = pl.all_horizontal if isinstance(joined, ast.And) else pl.any_horizontal
                return every([_certain(self.truth(part, depth)) for part in parts])
            case ast.UnaryOp(op=ast.Not(), operand=inside):
                return ~_certain(self.truth(inside, depth))
            case ast.UnaryOp(op=ast.USub(), operand=inside):
                value = self.value(inside, depth)
                return -value if isinstance(value, int | float | pl.Expr) else self._unknown(node)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _ARITHMETIC:
                return _ARITHMETIC[type(sign)](self.truth(left, depth), self.truth(right, depth))
        return self._unknown(node)

    def _unknown(self, node: ast.expr) -> NoReturn:
        raise _refused(self.text, f"{ast.unparse(node)[:60]!r} ({type(node).__name__}) is not among what it may hold")

    def _column(self, name: str) -> pl.Expr:
        self.names.append(name)
        return pl.col(name)

    def _plain(self, node: ast.expr, depth: int) -> Any:
        found = self.value(node, depth)
        if isinstance(found, pl.Expr | list):
            raise _refused(self.text, f"a list holds values only, not {ast.unparse(node)[:60]!r}")
        return found

    def _compare(self, parts: list[ast.expr], signs: list[ast.cmpop], depth: int) -> pl.Expr:
        values = [self.value(part, depth) for part in parts]
        pairs = zip(values, signs, values[1:], strict=False)
        return pl.all_horizontal([self._pair(left, sign, right) for left, sign, right in pairs])

    def _pair(self, left: Any, sign: ast.cmpop, right: Any) -> pl.Expr:
        if isinstance(sign, ast.In | ast.NotIn):
            if isinstance(right, list):
                found = _expr(left).is_in([one for one in right if one is not None])
            else:
                found = _expr(right).str.contains(_expr(left), literal=True)
            found = found.fill_null(False)
            return ~found if isinstance(sign, ast.NotIn) else found
        if isinstance(left, list) or isinstance(right, list) or type(sign) not in _COMPARE:
            raise _refused(self.text, "lists are compared with `in` and `not in` only, and `is` is not known")
        compared: pl.Expr = _COMPARE[type(sign)](_expr(left), _expr(right))
        return compared.fill_null(False)

    def _call(self, name: str, given: list[ast.expr], depth: int) -> pl.Expr:
        if name in _ONE and len(given) == 1:
            return _ONE[name](self.truth(given[0], depth))
        last = given[-1] if given else None
        text = last.value if isinstance(last, ast.Constant) and isinstance(last.value, str) else None
        if name == "col" and len(given) == 1 and text is not None:
            return self._column(text)
        if name in _WITH_TEXT and len(given) == 2 and text is not None:
            return _WITH_TEXT[name](self.truth(given[0], depth), text)
        if name in FUNCTIONS:
            raise _refused(self.text, f"{name} is called with other things than {'one value' if name in _ONE else 'a text'}")
        hint = did_you_mean(name, list(FUNCTIONS)) or f"There are {', '.join(FUNCTIONS)}."
        raise InvalidValue(f"where: there is no function {name} in {self.text!r}.", param="expression", hint=hint)


def _certain(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.Boolean).fill_null(False)


def _expr(value: Any) -> pl.Expr:
    return value if isinstance(value, pl.Expr) else pl.lit(value)


def _refused(text: str, reason: str) -> InvalidValue:
    return InvalidValue(f"where: {text[:200]!r}: {reason}.", param="expression")
