"""How far a project is, and how far its annotators agree: read from the database as it is now, computed by agreement.py."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import sqlalchemy as sa

from llmos.data.annotate.agreement import Measure, cohen_kappa, fleiss_kappa, krippendorff_alpha, span_f1
from llmos.data.annotate.base import Agreement, AnnotationProject, AnnotatorProgress, PairAgreement, Progress, defined
from llmos.data.annotate.rows import loaded
from llmos.data.annotate.tasks import Task
from llmos.infra.database import Database
from llmos.infra.tables import annotation_answers, annotation_items, annotation_leases

Votes = dict[int, dict[str, Hashable]]  # item -> annotator -> vote
_MEASURES: dict[str, tuple[Measure, ...]] = {"nominal": ("nominal",), "ordinal": ("nominal", "ordinal", "interval")}


def progress(database: Database, annotation: AnnotationProject, clock: Callable[[], float] = time.time) -> Progress:
    """Counts, by the database."""
    items, answers, lease = annotation_items.c, annotation_answers.c, annotation_leases.c
    here = items.annotation_id == annotation.id
    count = sa.func.count()
    by_annotator = (
        sa.select(
            answers.annotator,
            sa.func.sum(sa.case((answers.value.is_not(None), 1), else_=0)).label("said"),
            sa.func.sum(sa.case((answers.value.is_(None), 1), else_=0)).label("skipped"),
            sa.func.sum(answers.seconds).label("seconds"),
        )
        .where(answers.annotation_id == annotation.id)
        .group_by(answers.annotator)
        .order_by(answers.annotator)
    )
    same = sa.and_(lease.annotation_id == items.annotation_id, lease.item == items.item)
    reserved = sa.select(count).where(here, same, items.state == "open", lease.until > clock())
    with database.begin(read_only=True) as connection:
        states = {
            (row.state, row.differs): row.number
            for row in connection.execute(
                sa.select(items.state, items.differs, count.label("number")).where(here).group_by(items.state, items.differs)
            )
        }
        prelabelled = connection.execute(sa.select(count).where(here, items.prelabel.is_not(None))).scalar_one()
        num_reserved = connection.execute(reserved).scalar_one()
        annotators = tuple(
            AnnotatorProgress(
                annotator=row.annotator, num_annotations=row.said, num_skipped=row.skipped, seconds=round(float(row.seconds), 3)
            )
            for row in connection.execute(by_annotator)
        )
    by_state: Counter[str] = Counter()
    for (state, _), number in states.items():
        by_state[state] += number
    return Progress(
        num_items=sum(by_state.values()),
        num_open=by_state["open"],
        num_done=by_state["done"],
        num_adjudicated=by_state["adjudicated"],
        num_differing=states.get(("done", 1), 0),
        num_reserved=num_reserved,
        num_prelabelled=prelabelled,
        num_annotations=sum(one.num_annotations for one in annotators),
        num_skipped=sum(one.num_skipped for one in annotators),
        annotators=annotators,
    )


def agreement(database: Database, annotation: AnnotationProject) -> Agreement:
    """Over all items with two annotations or more."""
    return agreement_of(_votes(database, annotation), annotation.kind, annotation.settings.overlap)


def agreement_of(votes: Votes, task: Task, overlap: int) -> Agreement:
    """The same for votes at hand. Pure."""
    pairs = [_pair(task, names, both) for names, both in sorted(_together(votes).items())]
    measured = _MEASURES.get(task.level, ())
    # Whose a value is does not count for alpha, so a row for each of an item's values is enough: not one for every annotator.
    table = list(itertools.zip_longest(*(said.values() for said in votes.values())))
    total = sum(pair.num_items for pair in pairs)
    spans = [pair for pair in pairs if pair.span_f1 is not None]
    return Agreement(
        num_items=len(votes),
        identical=sum(pair.identical * pair.num_items for pair in pairs) / total if total else None,
        alpha={level: defined(krippendorff_alpha(table, level)) if table else None for level in measured},
        fleiss_kappa=_fleiss(votes, overlap) if measured else None,
        span_f1=sum((pair.span_f1 or 0.0) * pair.num_items for pair in spans) / sum(pair.num_items for pair in spans)
        if spans
        else None,
        pairs=tuple(pairs),
    )


def _votes(database: Database, annotation: AnnotationProject) -> Votes:
    items, answers = annotation_items.c, annotation_answers.c
    several = sa.select(items.item).where(items.annotation_id == annotation.id, items.num_done >= 2)
    wanted = sa.select(answers.item, answers.annotator, answers.value).where(
        answers.annotation_id == annotation.id, answers.value.is_not(None), answers.item.in_(several)
    )
    task, found = annotation.kind, Votes()
    with database.begin(read_only=True) as connection:
        for row in connection.execute(wanted.order_by(answers.item, answers.annotator)):
            found.setdefault(row.item, {})[row.annotator] = task.vote(loaded(row.value))
    return found


def _together(votes: Votes) -> dict[tuple[str, str], list[tuple[Hashable, Hashable]]]:
    """What each two annotators said of the items that both annotated."""
    found: dict[tuple[str, str], list[tuple[Hashable, Hashable]]] = {}
    for said in votes.values():
        for first, second in itertools.combinations(sorted(said), 2):
            found.setdefault((first, second), []).append((said[first], said[second]))
    return found


def _pair(task: Task, annotators: tuple[str, str], both: Sequence[tuple[Hashable, Hashable]]) -> PairAgreement:
    a, b = [one for one, _ in both], [one for _, one in both]
    spans: float | None = None
    if task.level == "spans":
        spans = defined(span_f1(_sets(a), _sets(b)))
    return PairAgreement(
        annotators=annotators,
        num_items=len(both),
        identical=sum(x == y for x, y in both) / len(both),
        cohen_kappa=defined(cohen_kappa(a, b)) if task.level in _MEASURES else None,
        span_f1=spans,
    )


def _sets(votes: Sequence[Hashable]) -> list[set[Hashable]]:
    return [set(vote) if isinstance(vote, tuple) else set() for vote in votes]


def _fleiss(votes: Votes, overlap: int) -> float | None:
    """Over the items with exactly as many annotations as asked: it wants the same number everywhere."""
    whole = [Counter(said.values()) for said in votes.values() if len(said) == overlap]
    categories = sorted({vote for counted in whole for vote in counted}, key=str)
    if overlap < 2 or not whole:
        return None
    return defined(fleiss_kappa([[counted[category] for category in categories] for counted in whole]))
