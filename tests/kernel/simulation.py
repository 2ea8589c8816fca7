"""A server in a few lines of arithmetic: requests arrive, the policy of kernel/scheduling.py decides, time passes by events alone.

sim = Simulation(bounds, [Arrival(at=0.0, service_s=1.0), …], come_back=True)
sim.run()
sim.outcomes[3].started_at
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmos.kernel.base import Priority
from llmos.kernel.scheduling import (
    HOLD_S,
    Bounds,
    Pace,
    Running,
    Shares,
    View,
    Waiting,
    calmed,
    choose_next,
    ended,
    refuse,
    retry_after_s,
    started,
    told,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    at: float
    service_s: float = 1.0
    key: str = ""
    priority: Priority = Priority.INTERACTIVE
    tokens: int = 1


@dataclass(slots=True)
class Outcome:
    """What became of one arrival. told: each refusal's (time, seconds to come back, whether it was for the key's own share)."""

    arrival: Arrival
    told: list[tuple[float, float, bool]] = field(default_factory=list)
    started_at: float | None = None
    queued_at: float | None = None

    @property
    def wait_s(self) -> float:
        assert self.started_at is not None and self.queued_at is not None
        return self.started_at - self.queued_at


class Simulation:
    """come_back: the refused send their request again when they were told to, `tries` times. check: called after every event."""

    def __init__(
        self,
        bounds: Bounds,
        arrivals: Sequence[Arrival],
        *,
        come_back: bool = False,
        tries: int = 20,
        check: Callable[[Simulation], None] = lambda _: None,
    ) -> None:
        self.bounds, self.check = bounds, check
        self.shares, self.pace = Shares(), Pace()
        self.waiting: dict[int, Waiting] = {}
        self.running: dict[int, Running] = {}
        self.outcomes = [Outcome(arrival) for arrival in arrivals]
        self.order: list[int] = []  # of starts
        self.busy_s = 0.0  # of all slots together
        self.now = self._full_at = 0.0
        self._tries = tries if come_back else 1
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, str, int]] = []
        for number, arrival in enumerate(arrivals):
            self._at(arrival.at, "arrive", number)

    def _at(self, when: float, what: str, number: int) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what, number))

    def view(self) -> View:
        return View(waiting=list(self.waiting.values()), running=list(self.running.values()), bounds=self.bounds, now=self.now)

    def run(self) -> Simulation:
        while self._events:
            when, _, what, number = heapq.heappop(self._events)
            self.busy_s += (when - self.now) * len(self.running)
            self.now = when
            if what == "arrive":
                self._arrive(number)
            else:
                if len(self.running) == self.bounds.slots:
                    self._full_at = self.now
                del self.running[number]
                self.pace = ended(self.pace, self.outcomes[number].arrival.service_s)
                self._start()
            self.check(self)
        return self

    def _arrive(self, number: int) -> None:
        outcome = self.outcomes[number]
        arrival = outcome.arrival
        request = Waiting(id=number, key=arrival.key, priority=arrival.priority, tokens=arrival.tokens, since=self.now)
        if len(self.running) < self.bounds.slots:
            self.pace = calmed(self.pace, self.now - self._full_at)
        self.waiting[number] = request
        outcome.queued_at = self.now
        self._start()
        if number not in self.waiting:
            return
        del self.waiting[number]
        refusal = refuse(self.view(), self.pace, request)
        if refusal is None:
            self.waiting[number] = request
            return
        seconds = retry_after_s(self.view(), self.pace, request)
        self.pace = told(self.pace, arrival.key, self.now + seconds, self.now)
        outcome.told.append((self.now, seconds, refusal.own))
        if len(outcome.told) < self._tries:
            self._at(self.now + seconds, "arrive", number)

    def _start(self) -> None:
        while (request := choose_next(self.view(), self.shares)) is not None:
            self.shares = started(self.view(), self.shares, request)
            del self.waiting[request.id]
            self.running[request.id] = Running(id=request.id, key=request.key, priority=request.priority, tokens=request.tokens)
            outcome = self.outcomes[request.id]
            outcome.started_at = self.now
            self.order.append(request.id)
            self._at(self.now + outcome.arrival.service_s, "end", request.id)


def within_budget(sim: Simulation) -> None:
    """No bound is ever passed."""
    bounds, running, waiting = sim.bounds, list(sim.running.values()), list(sim.waiting.values())
    assert len(running) <= bounds.slots
    assert len(running) <= 1 or sum(one.tokens for one in running) <= bounds.slot_tokens
    assert len(waiting) <= bounds.queue
    assert len(waiting) <= 1 or sum(one.tokens for one in waiting) <= bounds.queue_tokens
    for key in {one.key for one in waiting} - {""}:
        assert sum(one.key == key for one in waiting) <= bounds.key_queue


def work_conserving(sim: Simulation) -> None:
    """A slot is free while somebody waits only for one of the stated reasons."""
    bounds, running = sim.bounds, list(sim.running.values())
    if len(running) == bounds.slots:
        return
    used = sum(one.tokens for one in running)
    interactive = any(one.priority is Priority.INTERACTIVE for one in (*running, *sim.waiting.values()))
    batch_full = interactive and sum(one.priority is Priority.BATCH for one in running) >= bounds.batch_slots
    able = [one for one in sim.waiting.values() if not (batch_full and one.priority is Priority.BATCH)]
    large = [one for one in able if used + one.tokens > bounds.slot_tokens]
    held = any(sim.now - one.since >= HOLD_S for one in large)
    assert held or len(large) == len(able)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def all_of(*checks: Callable[[Simulation], Any]) -> Callable[[Simulation], None]:
    def check(sim: Simulation) -> None:
        for one in checks:
            one(sim)

    return check
