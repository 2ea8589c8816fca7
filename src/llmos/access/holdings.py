"""Quotas of what a key has at a time: unfinished jobs, and bytes of files. Counted when one more is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from llmos.access.base import Caller
from llmos.errors import RateLimited
from llmos.infra.database import Database
from llmos.infra.tables import files, jobs

_UNFINISHED = ("queued", "running", "paused")


def check_jobs(database: Database, caller: Caller, members: Sequence[str]) -> None:
    """`members`: the keys of the caller's account. Raises RateLimited when one more job is too many."""
    limit = caller.quotas.jobs
    if limit is None:
        return
    mine = (jobs.c.submitted_by.in_(members), jobs.c.state.in_(_UNFINISHED))
    with database.begin(read_only=True) as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(jobs).where(*mine)).scalar_one()
    if count >= limit:
        raise RateLimited(f"This key has {count} unfinished jobs; its quota is {limit}.", hint="Wait for one, or cancel one.")


def check_disk(database: Database, caller: Caller, members: Sequence[str], more_bytes: int) -> None:
    """Raises RateLimited when `more_bytes` do not fit beside the files that the account has."""
    limit = caller.quotas.disk_bytes
    if limit is None:
        return
    total = sa.select(sa.func.coalesce(sa.func.sum(files.c.size_bytes), 0)).where(files.c.created_by.in_(members))
    with database.begin(read_only=True) as connection:
        used = int(connection.execute(total).scalar_one())
    if used + more_bytes > limit:
        said = f"The files of this key hold {used:,} bytes; with {more_bytes:,} more they are over its quota of {limit:,}."
        raise RateLimited(said, hint="Delete files that are no longer needed.")
