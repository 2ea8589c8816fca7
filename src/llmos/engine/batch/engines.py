"""Where a batch gets its engine from: the server of this home when one runs, else an engine of its own, in a process of its own.

Either reuses what prompts have in common (Pool.session, shared_by) where there is room for it. An engine of its own never runs in the
process that reads and writes the items: a native engine holds Python's lock while it computes, and one that dies takes nothing with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from llmos.engine.base import Feature
from llmos.engine.borrow import borrow
from llmos.engine.pool import ModelSource, Pool
from llmos.engine.session import Session
from llmos.kernel.base import Priority
from llmos.library.base import Progress
from llmos.settings import Settings

WORTH_AN_ENGINE = 32  # items: a server loads one more engine for what so many prompts share, which takes a second or a few


@contextmanager
def batch_session(
    settings: Settings,
    library: ModelSource,
    model: str,
    feature: Feature,
    *,
    engine: str | None = None,
    pull: Callable[[Progress], None] | None = None,
    whose: str = "",
    num_shared: int = 0,
    notify: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Session, bool]]:
    """The model, loaded, and whether its engine reuses common prefixes. engine: as for Pool.session; it is then loaded here.
    pull: told how a model that is missing is pulled; None: it is not. whose: the job, for the server's books. num_shared: items that
    open as others do. Raises what loading raises."""
    shares = num_shared >= WORTH_AN_ENGINE
    with ExitStack() as stack:
        pool = stack.enter_context(Pool(settings, library, inline=False, notify=notify))
        session = pool.session(
            model, engine=engine, keep_alive_s=-1, load=False, progress=pull, pull=pull is not None, shared_by=""
        )
        session.priority = Priority.BATCH
        lender = None if engine else borrow(settings.run_folder, whose=whose, shares=shares)
        if lender is not None:
            session = stack.enter_context(lender).session(session)
            notify("Using the engines of the server that runs.")
        loaded = session.engine_for(frozenset({feature}), "batch")
        shared = Feature.PREFIX_CACHE in loaded.features
        if shares and not shared and feature is Feature.GENERATE:
            notify(
                f"Each prompt is computed whole: {loaded.backend} shares no prefixes, or there is no room for an engine that does."
            )
        yield session, shared
