"""Rows and ledger lines as JSON values, for people and for programs that are not polars: why, diff, report, routes and the command line
all show the same thing the same way.

Types that JSON does not have become text (times in ISO 8601, bytes in base64); NaN and infinity become null.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import orjson
import polars as pl

from llmos.data.base import EXTRA, ID
from llmos.data.ledger import SCHEMA
from llmos.data.store import Version
from llmos.errors import NotFound

Plain = dict[str, Any]
CUT = " …"
MADE = ".~+"  # what follows the id of a row in those that were made of it: one of several, a copy, a group that begins with it


def rows_of(version: Version) -> pl.LazyFrame:
    """All rows, also of a version without a file."""
    return version.scan() if version.files else pl.LazyFrame(schema={ID: pl.String})


def ledger_of(version: Version) -> pl.LazyFrame:
    """All ledger lines, also of a version without one."""
    return version.ledger() if version.manifest["ledger"] else pl.LazyFrame(schema=SCHEMA)


def plain_rows(frame: pl.DataFrame) -> list[Plain]:
    """`_extra` is left out where it is null."""
    found: list[Plain] = orjson.loads(orjson.dumps(frame.to_dicts(), default=_other))
    return [{name: value for name, value in row.items() if name != EXTRA or value is not None} for row in found]


def plain_lines(frame: pl.DataFrame) -> list[Plain]:
    """Ledger lines; `row` is the row as it was, the text of a row that could not be read, or null."""
    found = plain_rows(frame)
    for line in found:
        line["row"] = _row(line["row"])
    return found


def _row(text: str | None) -> Any:
    if not text:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if not isinstance(found, dict):
        return text
    return {name: value for name, value in found.items() if name != EXTRA or value is not None}


def _other(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes | bytearray) else str(value)


def brief(value: Any, max_chars: int) -> Any:
    """The value with every text in it cut to so many characters, the cut marked; long lists likewise."""
    if isinstance(value, str):
        return value if len(value) <= max_chars else value[:max_chars] + CUT
    if isinstance(value, dict):
        return {name: brief(one, max_chars) for name, one in value.items()}
    if isinstance(value, list):
        shown = [brief(one, max_chars) for one in value[:20]]
        return shown if len(value) <= 20 else [*shown, f"{len(value) - 20} more{CUT}"]
    return value


def ancestors(identity: str) -> list[str]:
    """The ids of what a row was made of, nearest first: "a#1.0~2" comes from "a#1.0", that from "a#1"."""
    label, mark, rest = identity.rpartition("#")
    found = []
    while mark and (place := max(rest.rfind(one) for one in MADE)) > 0:
        rest = rest[:place]
        found.append(f"{label}#{rest}")
    return found


def of_row(identity: str) -> pl.Expr:
    """Lines and rows of this id, of what it was made of, and of what was made of it."""
    made = [pl.col(ID).str.starts_with(identity + one) for one in MADE]
    return pl.any_horizontal(pl.col(ID).is_in([identity, *ancestors(identity)]), *made)


def one_row(version: Version, identity: str) -> Plain | None:
    found = plain_rows(rows_of(version).filter(pl.col(ID) == identity).collect())
    return found[0] if found else None


def no_row(identity: str, versions: Sequence[Version]) -> NotFound:
    """What to say of an id that nobody knows, with one that is known."""
    known = next((frame.item(0, 0) for one in versions if (frame := rows_of(one).select(ID).head(1).collect()).height), "")
    where = versions[0].ref if len(versions) == 1 else f"{len(versions)} dataset versions"
    hint = f"Ids look like {known!r}." if known else ""
    return NotFound(f"{where} knows no row {identity!r}.", param="row", hint=hint)
