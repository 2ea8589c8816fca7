"""What is different between two dataset versions: rows, columns, recipes, and the reasons for the rows that one of them lacks.

Rows are the same when their ids are. Of each row a hash per column is compared, so that two versions larger than memory's rows can be; the
texts themselves are read for the examples only.
"""

from __future__ import annotations

import difflib
import json
from typing import Any

import polars as pl

from llmos.data.base import ID
from llmos.data.shown import Plain, ledger_of, plain_rows, rows_of
from llmos.data.store import Version

EXAMPLES = 5
GONE = ("dropped", "error", "expanded", "grouped")  # what the ledger says of rows that are not there any more
_A, _B = "_in_a", "_in_b"


def diff(a: Version, b: Version, *, examples: int = EXAMPLES) -> Plain:
    """ "only_a", "only_b": rows by id, with the reason the other has for not having them; "changed": by column; "same": rows."""
    schema = _schemas(a, b)
    shared = schema.pop("shared")
    joined = _joined(a, b, shared)
    both = joined.filter(pl.col(_A) & pl.col(_B))
    differs = {name: both.filter(pl.col(f"{name}_b") != pl.col(f"{name}_a")) for name in shared}
    any_changed = pl.concat([one.select(ID) for one in differs.values()]).unique() if differs else both.head(0).select(ID)
    return {
        "a": _facts(a),
        "b": _facts(b),
        "only_a": _lacking(joined.filter(~pl.col(_B)), a, b, examples),
        "only_b": _lacking(joined.filter(~pl.col(_A)), b, a, examples),
        "same": both.height - any_changed.height,
        "changed": {
            "rows": any_changed.height,
            "columns": {name: _changes(found, name, a, b, examples) for name, found in differs.items() if found.height},
        },
        "columns": schema,
        "recipe": _recipes(a, b),
        "sources": _sources(a, b),
    }


def _facts(version: Version) -> Plain:
    tally = version.manifest["tally"]
    return {
        "dataset": version.ref,
        "rows": version.num_rows,
        "bytes": version.size_bytes,
        "read": tally["read"],
        "errors": tally["errors"],
        "created_at": version.created_at,
    }


# -- rows ----------------------------------------------------------------------------------------------------------------
def _schemas(a: Version, b: Version) -> Plain:
    """shared: columns of one type in both, whose values are compared."""
    first, second = rows_of(a).collect_schema(), rows_of(b).collect_schema()
    names = [name for name in first if name in second and name != ID]
    return {
        "only_a": {name: str(first[name]) for name in first if name not in second},
        "only_b": {name: str(second[name]) for name in second if name not in first},
        "types": {name: [str(first[name]), str(second[name])] for name in names if first[name] != second[name]},
        "shared": [name for name in names if first[name] == second[name]],
    }


def _joined(a: Version, b: Version, shared: list[str]) -> pl.DataFrame:
    left = _hashed(a, shared, "_a").with_columns(pl.lit(True).alias(_A))
    right = _hashed(b, shared, "_b").with_columns(pl.lit(True).alias(_B))
    found = left.join(right, on=ID, how="full", coalesce=True).collect(engine="streaming")
    return found.with_columns(pl.col(_A).fill_null(False), pl.col(_B).fill_null(False)).sort(ID)


def _hashed(version: Version, shared: list[str], suffix: str) -> pl.LazyFrame:
    kinds = rows_of(version).collect_schema()
    return rows_of(version).select(ID, *(_hash(name, kinds[name]).alias(name + suffix) for name in shared))


def _hash(name: str, kind: pl.DataType) -> pl.Expr:
    """Of one column; nested values by their JSON."""
    if kind.is_nested():
        return pl.struct(name).struct.json_encode().hash()
    return pl.lit(0, dtype=pl.UInt64) if kind == pl.Null else pl.col(name).hash()


def _lacking(found: pl.DataFrame, has: Version, lacks: Version, examples: int) -> Plain:
    """Rows that `lacks` does not have: why its ledger says they went; "not read" for those it never saw."""
    ids = found.select(ID)
    gone = ledger_of(lacks).filter(pl.col("action").is_in(GONE)).select(ID, "step", "action", "signal")
    told = ids.lazy().join(gone.group_by(ID).last(), on=ID, how="left").collect(engine="streaming").sort(ID)
    told = told.with_columns(pl.col("step").fill_null(""), pl.col("action").fill_null("not read"), pl.col("signal").fill_null(""))
    reasons = told.group_by("action", "step", "signal").agg(pl.len().alias("rows"), pl.col(ID).head(examples).alias("examples"))
    shown = rows_of(has).filter(pl.col(ID).is_in(ids.head(examples).get_column(ID).implode())).collect()
    return {
        "rows": ids.height,
        "reasons": reasons.sort("rows", "action", "step", "signal", descending=[True, False, False, False]).to_dicts(),
        "examples": plain_rows(shown),
    }


def _changes(found: pl.DataFrame, name: str, a: Version, b: Version, examples: int) -> Plain:
    ids = found.select(ID).head(examples)
    wanted = pl.col(ID).is_in(ids.get_column(ID).implode())
    before, after = (
        {row[ID]: row.get(name) for row in plain_rows(rows_of(one).select(ID, name).filter(wanted).collect())} for one in (a, b)
    )
    return {
        "rows": found.height,
        "examples": [{ID: one, "a": before[one], "b": after[one]} for one in ids.get_column(ID).to_list()],
    }


# -- recipes -------------------------------------------------------------------------------------------------------------
def _recipes(a: Version, b: Version) -> Plain:
    """fields: those that differ, beside the steps; steps: the two lists against each other, as `diff` writes it."""
    first, second = (one.manifest["identity"]["recipe"] for one in (a, b))
    names = [name for name in {**first, **second} if name not in ("process", "sources")]
    fields = {name: [first.get(name), second.get(name)] for name in names if first.get(name) != second.get(name)}
    return {"fields": fields, "steps": _unlike(_steps(first), _steps(second)), "same": first == second}


def _steps(recipe: Plain) -> list[str]:
    return [f"{call['step']} {_json(call['params'])}".removesuffix(" {}") for call in recipe["process"]]


def _sources(a: Version, b: Version) -> list[str]:
    told = (
        [f"{one['kind']} {one['ref']} {one['sha256'][:12]}" for one in version.manifest["identity"]["parents"]]
        for version in (a, b)
    )
    return _unlike(*told)


def _unlike(before: list[str], after: list[str]) -> list[str]:
    """Lines of "- old" and "+ new"; nothing where both are the same."""
    return [line for line in difflib.ndiff(before, after) if line[0] in "+-"]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
