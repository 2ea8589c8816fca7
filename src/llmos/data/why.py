"""Why a row is, or is not, in a dataset version: everything that happened to it, in order, from the ledger.

    why(version, "mails.jsonl#123", datasets)
    -> outcome, lines of the ledger, the row as it ended, the same for versions it came from, and the steps replayed on its source

The ledger has what was measured; the texts between two steps are not kept anywhere, so they are made again from the source while that is
still there and unchanged.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from llmos.data.base import ID
from llmos.data.replay import replay
from llmos.data.shown import Plain, ancestors, ledger_of, no_row, of_row, one_row, plain_lines, rows_of
from llmos.data.store import Datasets, Version
from llmos.errors import NotFound

MAX_LINES = 500
MAX_MADE = 20  # ids of rows made of it that are named


def why(version: Version, identity: str, datasets: Datasets, *, again: bool = True) -> Plain:
    """The story of one row. again: replay its row-wise steps. Raises NotFound when this version knows no such row."""
    lines = plain_lines(ledger_of(version).filter(of_row(identity) | _into(identity)).head(MAX_LINES).collect())
    row = one_row(version, identity)
    made = rows_of(version).filter(of_row(identity)).select(ID).collect().get_column(ID).to_list()
    if row is None and not lines and not made:
        raise no_row(identity, [version])
    own = [line for line in lines if line[ID] == identity or line[ID] in ancestors(identity)]
    return {
        "id": identity,
        "dataset": version.ref,
        "outcome": _outcome(row, own, made, identity),
        "lines": lines,
        "row": row if row is not None else next((line["row"] for line in reversed(own) if line["row"] is not None), None),
        "made": list(dict.fromkeys(one for one in [*made, *_groups(own)] if one != identity and one not in ancestors(identity)))[
            :MAX_MADE
        ],
        "before": _before(version, identity, datasets),
        "replay": replay(version, identity, datasets) if again else None,
    }


def find_version(identity: str, datasets: Datasets) -> Version:
    """The newest version that knows the row. Raises NotFound."""
    known = datasets.list()
    for version in known:
        if _knows(version, identity):
            return version
    if not known:
        raise NotFound("There is no dataset.", param="dataset", hint="Make one: llmos data run RECIPE")
    raise no_row(identity, known)


def _knows(version: Version, identity: str) -> bool:
    return any(frame.filter(of_row(identity)).head(1).collect().height for frame in (rows_of(version), ledger_of(version)))


def _outcome(row: Plain | None, own: list[Plain], made: list[str], identity: str) -> str:
    """kept, changed, expanded, grouped, dropped or error."""
    actions = [line["action"] for line in own]
    if row is not None:
        return "changed" if "changed" in actions else "kept"
    last = next((action for action in reversed(actions) if action in ("dropped", "error", "expanded", "grouped")), "")
    return last or ("expanded" if any(one != identity for one in made) else "dropped")


def _into(identity: str) -> pl.Expr:
    """Lines of rows that were put into this one."""
    return (pl.col("action") == "grouped") & (pl.col("other") == identity)


def _groups(own: list[Plain]) -> list[str]:
    return [line["other"] for line in own if line["action"] == "grouped"]


def _before(version: Version, identity: str, datasets: Datasets) -> list[Plain]:
    """The stories in the dataset versions that this one was made of, while they are there."""
    found: list[Plain] = []
    for ref, prefix in version.manifest["datasets"]:
        for one in (identity, *ancestors(identity)):
            try:
                earlier, known = datasets.get(ref), one.removeprefix(prefix)
                if one.startswith(prefix) and _knows(earlier, known):
                    found.append(why(earlier, known, datasets, again=False))
                    break
            except NotFound:
                break
    return found


def sentences(story: Plain) -> list[str]:
    """The story in words, one line an event."""
    found = [sentence for one in story["before"] for sentence in (f"In {one['dataset']}:", *sentences(one))]
    return [*found, *(sentence_of(line) for line in story["lines"])]


def sentence_of(line: Plain) -> str:
    """One line of the ledger in words."""
    step = line["step"] or "reading"
    what = f"{line['signal']} = {_number(line['value'])}" if line["value"] is not None else line["signal"]
    said = {
        "dropped": f"dropped: {what}" + (f", the limit is {_number(line['threshold'])}" if line["threshold"] is not None else ""),
        "changed": f"changed: {what}",
        "expanded": f"made into {_number(line['value'])} rows",
        "refused": f"something made of it was refused: {what}",
        "error": f"could not be used: {line['signal']}",
        "grouped": f"put into the row {line['other']}",
    }.get(line["action"], f"{line['action']}: {what}")
    other = f"; kept instead of it: {line['other']}" if line["other"] and line["action"] == "dropped" else ""
    detail = f" ({line['detail']})" if line["detail"] else ""
    return f"{line[ID]}  {step}  {said}{other}{detail}"


def _number(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"
