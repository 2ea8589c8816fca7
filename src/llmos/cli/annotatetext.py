"""How annotation looks in a terminal. What annotators and files say is text here, never control characters."""

from __future__ import annotations

import json
from typing import Any

from llmos.cli.output import printable
from llmos.data.annotate.base import Agreement, AnnotationProject, Assigned, Item, Progress
from llmos.infra.redact import visible


def progress_rows(record: AnnotationProject, told: Progress) -> list[list[str]]:
    facts: dict[str, Any] = {
        "name": record.name,
        "task": record.task,
        "labels": ", ".join(label["name"] for label in record.config["labels"]),
        "overlap": record.config["overlap"],
        "items": told.num_items,
        "open": told.num_open,
        "done": told.num_done + told.num_adjudicated,
        "differing": told.num_differing,
        "adjudicated": told.num_adjudicated,
        "reserved now": told.num_reserved,
        "pre-labelled": told.num_prelabelled,
    }
    rows = [[name, str(value)] for name, value in facts.items() if value != ""]
    for one in told.annotators:
        each = one.seconds / max(1, one.num_annotations + one.num_skipped)
        rows.append([f"by {one.annotator}", f"{one.num_annotations} annotations, {one.num_skipped} skipped, {each:.1f} s each"])
    return rows


def agreement_rows(told: Agreement) -> list[list[str]]:
    """Nothing where nobody annotated the same item."""
    if not told.num_items:
        return []
    figures = {"identical": told.identical, "Fleiss' kappa": told.fleiss_kappa, "F1 of spans": told.span_f1}
    figures |= {f"Krippendorff's alpha ({level})": alpha for level, alpha in told.alpha.items()}
    rows = [["items", str(told.num_items)]]
    rows += [[name, f"{value:.3f}"] for name, value in figures.items() if value is not None]
    for pair in told.pairs:
        kappa = f", kappa {pair.cohen_kappa:.3f}" if pair.cohen_kappa is not None else ""
        spans = f", F1 {pair.span_f1:.3f}" if pair.span_f1 is not None else ""
        said = f"{pair.identical:.3f} identical{kappa}{spans} ({pair.num_items} items)"
        rows.append([" and ".join(pair.annotators), said])
    return rows


def shown_item(one: Assigned | Item) -> str:
    """An item as lines: its data, then what a model suggests."""
    lines = [f"item {one.item}  ({printable(one.key)})"]
    for name, value in one.data.items():
        if name == "messages" and isinstance(value, list):
            lines += [f"  {turn.get('role')}: {visible(str(turn.get('content', '')))}" for turn in value if isinstance(turn, dict)]
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append(f"  {printable(name)}: {visible(text)}")
    if one.prelabel is not None:
        lines.append(
            f"  suggested by {printable(one.prelabel.model)}: {visible(json.dumps(one.prelabel.value, ensure_ascii=False))}"
        )
    return "\n".join(lines)
