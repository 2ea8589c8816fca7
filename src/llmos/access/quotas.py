"""Quotas of requests and tokens, by the minute and by the day: never overshot by more than one request, whatever dies or restarts.

The row of an account and quota says what is used of the window. A process takes allowance from it in blocks, before it is used, and
gives back what is left when it falls idle or ends; so most requests touch no database, what servers on one database grant
together fits the quota, and a kill costs the account at most a block of what it still had (BLOCK of the quota), never more.

    request -> take(1 request, the most tokens it may need) -> … -> settle(tokens it needed)

A request is let in while less than the quota is used; the last one may go past it. Windows are minutes and days of UTC.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from llmos.access.base import Caller, Quotas
from llmos.errors import RateLimited
from llmos.infra.database import Database
from llmos.infra.tables import quota_use

BLOCK = 20  # a block is so many-th of a quota, or what the request needs
IDLE_S = 2.0  # after which a block goes back
FULL_S = 0.2  # that a quota counts as used up before the row is asked again: a flood of refusals asks it 5 times a second
REQUESTS = ("requests_per_minute", "requests_per_day")
TOKENS = ("tokens_per_minute", "tokens_per_day")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a quota is used, for headers and messages. reset_s: until its window is over."""

    quota: str
    limit: int
    remaining: int
    reset_s: float


@dataclass(slots=True, kw_only=True)
class _Block:
    """What this process holds of one quota. used: of the whole quota when the row was last read, this block included. unused: of
    the block; below zero where more was needed than taken. full_until: the row said that nothing is left."""

    window: str
    used: int = 0
    unused: int = 0
    full_until: float = 0.0
    touched_at: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> int:
        return self.used - self.unused

    def allows(self, amount: int, limit: int) -> bool:
        """What is left of the request that went past the quota is not for others."""
        return self.unused >= amount and self.spent < limit


def window_of(quota: str, now: datetime) -> tuple[str, float]:
    """The window of a quota that `now` lies in, and how many seconds are left of it."""
    if quota.endswith("_per_day"):
        start, length = now.replace(hour=0, minute=0, second=0, microsecond=0), timedelta(days=1)
    else:
        start, length = now.replace(second=0, microsecond=0), timedelta(minutes=1)
    return start.isoformat(timespec="seconds"), (start + length - now).total_seconds()


def limits_of(quotas: Quotas, names: tuple[str, ...]) -> dict[str, int]:
    """Those of the quotas `names` that are set."""
    return {name: limit for name in names if (limit := getattr(quotas, name)) is not None}


def used_up(name: str, limit: int, now: datetime) -> RateLimited:
    said = f"The quota of this key is {limit:,} {name.replace('_', ' ')}, and it is used up."
    return RateLimited(said, hint="Wait, or ask for a larger quota.", retry_after_s=window_of(name, now)[1])


class QuotaBook:
    """All quotas of this process. Thread-safe. `_lock` guards the blocks and is held for moments only; `_writing` is held while
    the database is asked, and never by who must not wait."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blocks: dict[tuple[str, str], _Block] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def try_take(self, caller: Caller, names: tuple[str, ...], amount: int) -> bool:
        """Charges all of the quotas `names` that the caller has, if that needs no database; else nothing, and `take` must. Raises
        RateLimited when one of them is known to be used up."""
        now, limits = datetime.now(UTC), limits_of(caller.quotas, names)
        with self._lock:
            blocks = {name: self._block(caller.account, name, now) for name in limits}
            short = [name for name, block in blocks.items() if not block.allows(amount, limits[name])]
            for name in short:
                if blocks[name].full_until > time.monotonic():
                    raise used_up(name, limits[name], now)
            if not short:
                for block in blocks.values():
                    block.unused -= amount
            return not short

    def take(self, caller: Caller, names: tuple[str, ...], amount: int) -> None:
        """Charges all of the quotas `names` that the caller has, or none. Raises RateLimited saying when to come back."""
        now, done = datetime.now(UTC), list[str]()
        for name, limit in limits_of(caller.quotas, names).items():
            try:
                self._charge(caller.account, name, limit, amount, now)
            except RateLimited:
                self.settle(caller, tuple(done), -amount)
                raise
            done.append(name)

    def settle(self, caller: Caller, names: tuple[str, ...], more: int) -> None:
        """Corrects what was taken: `more` than zero was needed beyond it, less goes back. Never waits, never refuses. What was
        taken in a window that is over stays there."""
        now = datetime.now(UTC)
        with self._lock:
            for name in limits_of(caller.quotas, names):
                block = self._block(caller.account, name, now)
                block.unused -= more
                if more < 0:
                    block.full_until = 0.0

    def standing(self, caller: Caller, names: tuple[str, ...]) -> Standing | None:
        """Of the quota among `names` that has the least left; None when the caller has none of them."""
        now, found = datetime.now(UTC), list[Standing]()
        with self._lock:
            for name, limit in limits_of(caller.quotas, names).items():
                spent = self._block(caller.account, name, now).spent
                left, reset_s = min(limit, max(0, limit - spent)), window_of(name, now)[1]
                found.append(Standing(quota=name, limit=limit, remaining=left, reset_s=reset_s))
        return min(found, key=lambda one: one.remaining, default=None)

    def give_back(self, *, all_of_it: bool = False) -> None:
        """Writes down what is owed and returns what idle blocks hold; called now and then, and at the end with all_of_it."""
        with self._writing:
            now = time.monotonic()
            with self._lock:
                due = [
                    (place, block)
                    for place, block in self._blocks.items()
                    if block.unused < 0 or (block.unused and (all_of_it or now - block.touched_at > IDLE_S))
                ]
            for place, block in due:
                self._exchange(place, block, 0, 0)

    # -- one quota ---------------------------------------------------------------------------------------------------
    def _block(self, account: str, name: str, now: datetime) -> _Block:
        """Under the lock. That of the window that `now` is in; what was left of an earlier one is void."""
        window, place = window_of(name, now)[0], (account, name)
        block = self._blocks.get(place)
        if block is None or block.window < window:
            block = self._blocks[place] = _Block(window=window)
        block.touched_at = time.monotonic()
        return block

    def _charge(self, account: str, name: str, limit: int, amount: int, now: datetime) -> None:
        with self._writing:
            with self._lock:
                block = self._block(account, name, now)
                enough = block.allows(amount, limit)
            if not enough:
                self._exchange((account, name), block, amount, limit)
            with self._lock:
                if block.allows(amount, limit):
                    block.unused -= amount
                    return
                block.full_until = time.monotonic() + FULL_S
        raise used_up(name, limit, now)

    def _exchange(self, place: tuple[str, str], block: _Block, amount: int, limit: int) -> None:
        """Returns what the block holds, so that only what is really used stands against the quota, and takes a new one of at least
        `amount`, unless the quota is used up."""
        with self._lock:
            mine, block.unused = block.unused, 0
        try:
            with self._database.begin(durable=False) as connection:
                window, used = _locked_row(connection, place, block.window)
                used = max(0, used - mine) if window == block.window else used
                granted = max(amount, min(-(-limit // BLOCK), limit - used)) if used < limit else 0
                _set_row(connection, place, window, used + granted)
        except BaseException:
            with self._lock:
                block.unused += mine
            raise
        with self._lock:
            block.window, block.used = window, used + granted
            block.unused += granted


def _locked_row(connection: sa.Connection, place: tuple[str, str], window: str) -> tuple[str, int]:
    """The row of a quota, made when it is missing, and held until the transaction ends. One of an earlier window counts as empty;
    one of a later window (whose clock is ahead?) is taken as it is."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    fresh = {"key_id": place[0], "quota": place[1], "window": window, "used": 0}
    connection.execute(insert(quota_use).values(**fresh).on_conflict_do_nothing())
    row = connection.execute(sa.select(quota_use).where(*_at(place)).with_for_update()).one()
    return (row.window, int(row.used)) if row.window >= window else (window, 0)


def _set_row(connection: sa.Connection, place: tuple[str, str], window: str, used: int) -> None:
    connection.execute(sa.update(quota_use).where(*_at(place)).values(window=window, used=used))


def _at(place: tuple[str, str]) -> tuple[sa.ColumnElement[bool], ...]:
    return (quota_use.c.key_id == place[0], quota_use.c.quota == place[1])
