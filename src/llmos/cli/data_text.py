"""Data sets in words and in the cells of tables, for the command line."""

from __future__ import annotations

import json
from typing import Any

from llmos.cli.output import human_bytes

Plain = dict[str, Any]
LINE_CHARS = 160


def shown(value: Any, max_chars: int = LINE_CHARS) -> str:
    """A value on one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split("\n"))
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def row_text(row: Any) -> str:
    """A row without its own columns."""
    if not isinstance(row, dict):
        return shown(row or "")
    return "  ".join(f"{name}={shown(value, 100)}" for name, value in row.items() if not name.startswith("_"))


def step_rows(steps: dict[str, Plain]) -> list[list[str]]:
    """Of `show`: one row a step."""
    found = []
    for label, one in steps.items():
        dropped = sum(one["dropped_by"].values())
        reasons = sorted(one["dropped_by"].items(), key=lambda each: -each[1])
        told = ", ".join(f"{signal} {count:,}" for signal, count in reasons)
        figures = [one["rows_in"], dropped or "", one["changed"] or "", one["rows_out"]]
        found.append([label, *(f"{each:,}" if each != "" else "" for each in figures), f"{one['seconds']:.2f}", told])
    return found


def error_lines(lines: list[Plain]) -> list[str]:
    return [f"{one['_id']}  {one['detail'] or one['signal']}" for one in lines]


# -- a dry run -----------------------------------------------------------------------------------------------------------
def preview_lines(told: Plain) -> list[str]:
    found = ["Sources"]
    found += [f"  {one['ref']}  {one['format']}  {human_bytes(one['bytes'])}" for one in told["sources"][:20]]
    found += [f"  and {len(told['sources']) - 20} more"] if len(told["sources"]) > 20 else []
    found += [f"  {one['file']}: {one['message']}" for one in told["problems"][:10]]
    found += ["", "Columns", "  " + ", ".join(f"{name}: {kind}" for name, kind in told["columns"].items())]
    found += ["", "Plan"]
    for stage in told["stages"]:
        steps = [one["step"] for one in stage["steps"]] or ["(reads)"]
        ends = f", then {stage['decides']['step']} decides over all rows" if stage["decides"] else ""
        found.append(f"  stage {stage['stage']}: {' '.join(steps)}{ends}")
    found += ["", *_estimate(told["estimate"])]
    if told["read_errors"]:
        found += ["", "Rows that could not be used, in the first batch", *(f"  {one}" for one in error_lines(told["read_errors"]))]
    found += ["", "First rows", *(f"  {one['_id']}  {row_text(one)}" for one in told["first"])]
    for step in told["steps"]:
        found += ["", *_step(step)]
    return found


def _estimate(estimate: Plain) -> list[str]:
    found = [f"About {estimate['rows']:,} rows in {human_bytes(estimate['input_bytes'])}"]
    if estimate["seconds"] is None:
        return [f"{found[0]}; how long it takes was not measured, since a step asks a model."]
    what = f"about {estimate['kept_rows']:,} rows, {human_bytes(estimate['output_bytes'])}"
    basis = f"measured on {estimate['measured_rows']:,} rows, before what is decided over all"
    return [f"{found[0]}; {what} would come out, in about {estimate['seconds']:.1f} s on one core ({basis})."]


def _step(step: Plain) -> list[str]:
    params = ", ".join(f"{name}: {shown(value, 60)}" for name, value in step["params"].items() if value not in ("", None))
    figures = f"{step['rows_in']:,} -> {step['rows_out']:,} rows, {step['num_dropped']:,} dropped, {step['num_changed']:,} changed"
    found = [f"{step['step']}  {{{params}}}", f"  {figures}{'; ' + step['note'] if step['note'] else ''}"]
    for line in step["dropped"]:
        limit = f", limit {number(line['threshold'])}" if line["threshold"] is not None else ""
        found.append(f"  - {line['_id']}  {line['signal']} = {number(line['value'])}{limit}  {row_text(line['row'])}")
    for one in step["changed"]:
        for name, pair in one["columns"].items():
            found += [f"  ~ {one['_id']}  {name}: {shown(pair['before'], 100)}", f"      -> {shown(pair['after'], 100)}"]
    found += [f"  = {row['_id']}  {row_text(row)}" for row in step["rows"][:2]]
    return found


# -- why -----------------------------------------------------------------------------------------------------------------
def why_lines(story: Plain, sentences: list[str]) -> list[str]:
    found = [f"{story['id']} in {story['dataset']}: {story['outcome']}", *(f"  {one}" for one in sentences)]
    if story["made"]:
        found.append(f"  made of it: {', '.join(story['made'])}")
    again = story["replay"] or {"steps": [], "note": "", "row": None}
    if again["row"] is not None:
        found += ["", "As its source has it", f"  {row_text(again['row'])}"]
    for step in again["steps"]:
        for name, pair in step["changed"].items():
            found += [f"{step['step']}  {name}", f"  - {shown(pair['before'], 400)}", f"  + {shown(pair['after'], 400)}"]
        if step["added"]:
            found.append(f"{step['step']}  adds {row_text(step['added'])}")
    if again["note"]:
        found += ["", again["note"]]
    if story["row"] is not None:
        found += [
            "",
            "As it is now" if story["outcome"] in ("kept", "changed") else "As it was when it went",
            f"  {row_text(story['row'])}",
        ]
    return found


# -- diff ----------------------------------------------------------------------------------------------------------------
def diff_lines(told: Plain) -> list[str]:
    a, b = told["a"], told["b"]
    found = [
        f"a  {a['dataset']}  {a['rows']:,} rows of {a['read']:,} read",
        f"b  {b['dataset']}  {b['rows']:,} rows of {b['read']:,} read",
    ]
    found += ["", f"{told['same']:,} rows are the same, {told['changed']['rows']:,} have changed."]
    for name, one in told["changed"]["columns"].items():
        found.append(f"  {name}: {one['rows']:,} rows")
        for each in one["examples"]:
            found += [f"    {each['_id']}", f"      a {shown(each['a'], 100)}", f"      b {shown(each['b'], 100)}"]
    for side, other in (("a", "b"), ("b", "a")):
        only = told[f"only_{side}"]
        found += ["", f"Only in {side}: {only['rows']:,} rows"]
        for reason in only["reasons"]:
            why = (
                f"{reason['action']} by {reason['step']}: {reason['signal']}"
                if reason["step"]
                else (reason["signal"] or reason["action"])
            )
            found.append(f"  {reason['rows']:,}  in {other}: {why}  ({', '.join(reason['examples'][:3])})")
    for title, lines in (("Steps", told["recipe"]["steps"]), ("Sources", told["sources"])):
        if lines:
            found += ["", title, *(f"  {line}" for line in lines)]
    for name, (before, after) in told["recipe"]["fields"].items():
        found.append(f"  {name}: {shown(before)} -> {shown(after)}")
    columns = told["columns"]
    changes = [f"  - {name}: {kind}" for name, kind in columns["only_a"].items()]
    changes += [f"  + {name}: {kind}" for name, kind in columns["only_b"].items()]
    changes += [f"  {name}: {before} -> {after}" for name, (before, after) in columns["types"].items()]
    return [*found, *(["", "Columns", *changes] if changes else [])]
