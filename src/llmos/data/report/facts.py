"""The figures of a dataset version: what was read, what every step kept, changed and dropped and why, how measured values are spread, and
samples of the rows that went. All of it is in the manifest and the ledger; no row is measured again."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from llmos.data.shown import Plain, brief, ledger_of, plain_lines
from llmos.data.store import Version
from llmos.data.tally import EDGES

SAMPLES = 4  # rows shown of each reason
MAX_REASONS = 60  # that get samples
MAX_ERRORS = 50  # rows that could not be read, shown
ROW_CHARS = 400


def facts(version: Version) -> Plain:
    """As JSON: numbers, flow, steps with spreads and samples, errors, schema, sources, recipe."""
    manifest = version.manifest
    tally, identity = manifest["tally"], manifest["identity"]
    labels = _labels(identity["recipe"], tally["steps"])
    return {
        "dataset": version.ref,
        "name": version.name,
        "version": version.version,
        "created_at": version.created_at,
        "rows": version.num_rows,
        "bytes": version.size_bytes,
        "read": tally["read"],
        "num_errors": tally["errors"],
        "seconds": round(sum(one["seconds"] for one in tally["steps"].values()), 3),
        "code": manifest["code"],
        "steps": [_step(label, tally["steps"][label]) for label in labels],
        "samples": _samples(version),
        "errors": plain_lines(ledger_of(version).filter(pl.col("action") == "error").head(MAX_ERRORS).collect()),
        "columns": identity["schema"],
        "models": identity["models"],
        "sources": [one | {"format": manifest["formats"].get(one["ref"], "")} for one in identity["parents"]],
        "recipe": identity["recipe"],
    }


def _labels(recipe: Plain, counted: Plain) -> list[str]:
    """The steps in the order of the recipe."""
    return sorted(counted, key=lambda label: int(label.partition(":")[0]) if label.partition(":")[0].isdecimal() else len(recipe))


def _step(label: str, tally: Plain) -> Plain:
    dropped = sum(tally["dropped_by"].values())
    return {
        "step": label,
        "rows_in": tally["rows_in"],
        "rows_out": tally["rows_out"],
        "dropped": dropped,
        "made": tally["rows_out"] - tally["rows_in"] + dropped,
        "changed": tally["changed"],
        "dropped_by": tally["dropped_by"],
        "refused_by": tally.get("refused_by", {}),
        "seconds": tally["seconds"],
        "signals": [_signal(name, spread, tally["rules"].get(name)) for name, spread in tally["spreads"].items()],
    }


def _signal(name: str, spread: Plain, rule: list[float | None] | None) -> Plain:
    """bins: [from, to, rows], ascending; limits: [at_least, at_most] that stood. The rows are those that reached the step."""
    bins = sorted((int(place), count) for place, count in spread["counts"].items())
    measured = sum(count for _, count in bins)
    mean = spread["total"] / measured if measured else math.nan
    return {
        "signal": name,
        "limits": rule or [None, None],
        "bins": [[float(EDGES[place]), float(EDGES[place + 1]), count] for place, count in bins],
        "rows": measured,
        "not_measured": spread["num_nan"],
        "mean": mean if math.isfinite(mean) else None,
    }


def _samples(version: Version) -> list[Plain]:
    """Per step and reason: how many rows went, and a few of them, evenly spread over all that did."""
    gone = ledger_of(version).filter(pl.col("action").is_in(["dropped", "refused"]))
    key = ["step", "action", "signal"]
    spread = pl.col("_id").sort_by(pl.col("_id").hash(0)).head(SAMPLES)  # the same rows in every report
    reasons = (
        gone.group_by(key).agg(pl.len().alias("rows"), spread.alias("ids")).sort("rows", *key, descending=[True, *[False] * 3])
    )
    found: list[Plain] = reasons.collect(engine="streaming").to_dicts()
    wanted = {one for reason in found[:MAX_REASONS] for one in reason["ids"]}
    lines = plain_lines(gone.filter(pl.col("_id").is_in(sorted(wanted))).collect()) if wanted else []
    for place, reason in enumerate(found):
        ids = reason.pop("ids") if place < MAX_REASONS else reason.pop("ids")[:0]
        reason["lines"] = [brief(line, ROW_CHARS) for line in lines if line["_id"] in ids and _same(line, reason)][:SAMPLES]
    return found


def _same(line: Plain, reason: dict[str, Any]) -> bool:
    return all(line[name] == reason[name] for name in ("step", "action", "signal"))
