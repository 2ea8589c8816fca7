"""What a runner sees of the others: their leases, and who of them is gone. Time is the watcher's own monotonic clock.

A lease is over when the job's `beat` stood still for lease_s before our eyes, or at once when the runner's process on this machine is
gone. Who takes a job away from a runner that only slept does no harm: the attempt's number has moved on, its writes are refused.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from llmos.errors import Fenced
from llmos.kernel.attempts import Held
from llmos.kernel.policy import End
from llmos.kernel.presence import Member, Presence
from llmos.kernel.store import JobStore


@dataclass(slots=True)
class _Seen:
    """A number that should grow, and when we first saw it as it is."""

    beat: int
    since: float


class Watch:
    """Of the runner `name`."""

    def __init__(self, store: JobStore, presence: Presence, name: str, lease_s: float) -> None:
        self._store, self._presence, self._name, self._lease_s = store, presence, name, lease_s
        self._leases: dict[Hashable, _Seen] = {}  # by job and attempt
        self._members: dict[Hashable, _Seen] = {}
        self.others: list[Member] = []

    def look(self, held: Sequence[Held]) -> int:
        """Gives back the jobs whose leases are over and forgets runners that are gone. How many jobs it gave back."""
        members = {member.id: member for member in self._presence.all()}
        foreign = [job for job in held if job.runner != self._name]
        over = [job for job in foreign if self._is_over(job, members.get(job.runner))]
        for job in over:
            self._give_back(job)
        self._leases = {key: seen for key, seen in self._leases.items() if key in {(job.id, job.attempt) for job in foreign}}
        self._forget_dead(members, {job.runner for job in foreign} - {job.runner for job in over})
        return len(over)

    def _is_over(self, job: Held, member: Member | None) -> bool:
        if member is not None and member.here and not member.alive_here:
            return True
        return self._stood_still(self._leases, (job.id, job.attempt), job.beat)

    def _stood_still(self, table: dict[Hashable, _Seen], key: Hashable, beat: int) -> bool:
        moment = time.monotonic()
        seen = table.get(key)
        if seen is None or seen.beat != beat:
            table[key] = _Seen(beat, moment)
            return False
        return moment - seen.since >= self._lease_s

    def _give_back(self, job: Held) -> None:
        why = f"attempt {job.attempt} ended with its runner"
        with contextlib.suppress(Fenced):  # another watcher was quicker, or it recorded its end after all
            self._store.release(job.id, job.attempt, End(how="gone", why=why))

    def _forget_dead(self, members: dict[str, Member], holding: set[str]) -> None:
        """Rows of runners that are gone and hold nothing any more."""
        self.others = []
        for member in members.values():
            if member.id == self._name:
                continue
            dead = not member.alive_here if member.here else self._stood_still(self._members, member.id, member.beat)
            if dead and member.id not in holding:
                self._presence.leave(member.id)
            elif not dead:
                self.others.append(member)
        self._members = {name: seen for name, seen in self._members.items() if name in members}
