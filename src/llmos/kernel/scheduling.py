"""Which waiting request goes to an engine next, who is refused, and when to come back. Pure: records in, a decision out.

    class       interactive before normal before batch; at least one start in AGED_EVERY goes to a class that has waited AGEING_S
    in a class  fair share per key by start-time fair queuing (Goyal, Vin, Cheng 1996): a start costs its key its tokens, the key
                that was served least is next. Two keys that always have something waiting get the same number of tokens but for
                one request of each at most
    batch       takes every slot while nobody else is there, a quarter of them while there are interactive requests
    tokens      what does not fit beside the running ones is passed over, for HOLD_S; then nobody goes before it

The queue is bounded by requests, by prompt tokens and by key. Who is refused is told a turn of its own in a line outside the
queue, so that the refused do not all come back at once. While more of a key's requests stand in that line than there are places
inside, it is in overload, and none of them may wait: so many come that a place is taken the moment it is free, and a request that
waits for it behind a long queue helps nobody. (Some may beside requests of other keys or classes, or these would take every place
that they could have.) The line is forgotten once a slot has been free for CALM_S.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from llmos.kernel.base import Priority

URGENCY: Final = {Priority.INTERACTIVE: 0, Priority.NORMAL: 1, Priority.BATCH: 2}
QUEUE_SHARE: Final = {Priority.INTERACTIVE: 1.0, Priority.NORMAL: 0.75, Priority.BATCH: 0.5}
"""How full the queue may be for one more of a class: there is always a place for somebody who waits for the answer."""
AGEING_S = 10.0
AGED_EVERY = 4
HOLD_S = 1.0
BATCH_PART = 4  # batch has one slot in so many while interactive requests are there
OVERLOAD_PART = 4  # beside others, a key in overload may have one waiting for so many slots
CALM_S = 1.0
MAX_RETRY_S = 60.0
FIRST_GUESS_S = 1.0  # of what a request takes, before one has ended
NEWEST = 0.1  # weight of the newest request in the mean of what they take
MAX_TURNS = 512
MAX_KEYS = 1024  # remembered though they have nothing waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One request at the engines. key: whose it is, "" for everybody who has none. tokens: of the prompt, estimated."""

    id: int
    key: str = ""
    priority: Priority = Priority.INTERACTIVE
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Running):
    """One in the queue. since: a monotonic instant."""

    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """slots, slot_tokens: requests at the engines and their prompt tokens together (one alone may have more). queue, queue_tokens:
    the same of those that wait. key_queue: of one key."""

    slots: int
    slot_tokens: int
    queue: int
    queue_tokens: int
    key_queue: int

    @property
    def batch_slots(self) -> int:
        """That batch may hold beside interactive requests."""
        return max(1, self.slots // BATCH_PART)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a decision is made from. now: a monotonic instant."""

    waiting: Sequence[Waiting]
    running: Sequence[Running]
    bounds: Bounds
    now: float


Flow = tuple[Priority, str]  # the requests of one key in one class


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What was served. finish: virtual time, in tokens, at which a flow has used up its last start. clock: of each class, the
    virtual time of its last start. passed: starts in a row that went before a class which has waited too long."""

    finish: Mapping[Flow, float] = field(default_factory=lambda: MappingProxyType({}))
    clock: Mapping[Priority, float] = field(default_factory=lambda: MappingProxyType({}))
    passed: int = 0

    def begin(self, priority: Priority, key: str) -> float:
        """Virtual time at which the flow's next request starts. Who had nothing waiting saves nothing up."""
        return max(self.finish.get((priority, key), 0.0), self.clock.get(priority, 0.0))


# -- who is next -------------------------------------------------------------------------------------------------------
def choose_next(view: View, shares: Shares) -> Waiting | None:
    """The request to start now; None when nobody may."""
    if len(view.running) >= view.bounds.slots:
        return None
    used = sum(one.tokens for one in view.running)
    for one in _order(_allowed(view), shares, view.now):
        if not view.running or used + one.tokens <= view.bounds.slot_tokens:
            return one
        if view.now - one.since >= HOLD_S:
            return None
    return None


def started(view: View, shares: Shares, request: Waiting) -> Shares:
    """What is true after `request`, one of the waiting, has started."""
    flow = (request.priority, request.key)
    begin = shares.begin(*flow)
    finish = {**shares.finish, flow: begin + max(1, request.tokens)}
    clock = {**shares.clock, request.priority: begin}
    if len(finish) > MAX_KEYS:  # whose time is behind the clock is as good as new
        finish = {flow: time for flow, time in finish.items() if time > clock.get(flow[0], 0.0)}
    aged = _aged_class([one for one in view.waiting if one.id != request.id], view.now)
    passed = shares.passed + 1 if aged is not None and URGENCY[request.priority] < URGENCY[aged] else 0
    return Shares(finish=finish, clock=clock, passed=passed)


def charged(shares: Shares, priority: Priority, key: str, tokens: int) -> Shares:
    """Counts what a start cost beyond its prompt: the tokens that were written."""
    flow = (priority, key)
    return replace(shares, finish={**shares.finish, flow: shares.finish.get(flow, shares.begin(*flow)) + tokens})


def _allowed(view: View) -> list[Waiting]:
    """Those that the share of batch leaves."""
    interactive = any(one.priority is Priority.INTERACTIVE for one in (*view.running, *view.waiting))
    batch = sum(one.priority is Priority.BATCH for one in view.running)
    full = interactive and batch >= view.bounds.batch_slots
    return [one for one in view.waiting if not (full and one.priority is Priority.BATCH)]


def _order(waiting: Sequence[Waiting], shares: Shares, now: float) -> Iterator[Waiting]:
    """As they should start, were there room for all."""
    aged = _aged_class(waiting, now) if shares.passed >= AGED_EVERY - 1 else None
    for priority in sorted({one.priority for one in waiting}, key=lambda one: (one is not aged, URGENCY[one])):
        mine = [one for one in waiting if one.priority is priority]
        yield from sorted(mine, key=lambda one: (shares.begin(one.priority, one.key), one.since, one.id))


def _aged_class(waiting: Sequence[Waiting], now: float) -> Priority | None:
    """The class below the most urgent one that has waited longest, if that is AGEING_S."""
    if not waiting:
        return None
    first = min(URGENCY[one.priority] for one in waiting)
    late = [one for one in waiting if URGENCY[one.priority] > first and now - one.since >= AGEING_S]
    return min(late, key=lambda one: (one.since, one.id)).priority if late else None


# -- who is refused ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How quickly requests pass. mean_s: what one takes at the engines, None before the first has ended. turns: when the
    refused requests of a key may come back, those still to come, in order; the newest MAX_TURNS."""

    mean_s: float | None = None
    turns: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def interval_s(self, bounds: Bounds) -> float:
        """Between two starts while all slots are in use."""
        return (FIRST_GUESS_S if self.mean_s is None else self.mean_s) / bounds.slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """why: with the numbers. own: the key has used up its share (429); otherwise the server is full (503)."""

    why: str
    own: bool


def refuse(view: View, pace: Pace, request: Waiting) -> Refusal | None:
    """Why a request that would have to wait may not, or None."""
    waiting, bounds = view.waiting, view.bounds
    mine = sum(one.key == request.key for one in waiting)
    if request.key and mine >= bounds.key_queue:
        return Refusal(why=f"{mine} requests with this key are waiting already.", own=True)
    if len(waiting) >= int(bounds.queue * QUEUE_SHARE[request.priority]):
        kind = "" if request.priority is Priority.INTERACTIVE else f", too many for one more of the class {request.priority}"
        return Refusal(why=f"{len(waiting)} requests are waiting already{kind}.", own=False)
    tokens = sum(one.tokens for one in waiting)
    if waiting and tokens + request.tokens > bounds.queue_tokens:
        why = f"Requests with about {tokens} prompt tokens are waiting already; this one has about {request.tokens}."
        return Refusal(why=why, own=False)
    keys = _num_keys(view, pace, request.key)
    outside = sum(turn > view.now for turn in pace.turns.get(request.key, ()))
    others = any((one.key, one.priority) != (request.key, request.priority) for one in (*waiting, *view.running))
    places = max(1, bounds.slots // OVERLOAD_PART) if others else 0
    if outside > min(bounds.slots + bounds.queue, MAX_TURNS - 1) / keys and mine >= places:
        why = f"More requests come than can be served: {outside} that were refused have yet to have their turn."
        return Refusal(why=why, own=keys > 1)
    return None


def retry_after_s(view: View, pace: Pace, request: Waiting) -> float:
    """When a refused request should come back: after all that wait now have started and after those of its key that were refused
    before it, each of which has a turn of its own; MAX_RETRY_S at most."""
    free = view.now + drain_s(view, pace)
    turn = max((free, *pace.turns.get(request.key, ())[-1:])) + pace.interval_s(view.bounds) * _num_keys(view, pace, request.key)
    return min(turn - view.now, MAX_RETRY_S)


def drain_s(view: View, pace: Pace) -> float:
    """How long it takes until all that wait now have started: by their number, or by their tokens where these take longer."""
    tokens = sum(one.tokens for one in view.waiting)
    return max(len(view.waiting), tokens / view.bounds.slot_tokens * view.bounds.slots) * pace.interval_s(view.bounds)


def told(pace: Pace, key: str, turn: float, now: float) -> Pace:
    """What is true after a refused request of `key` was told to come back at `turn`."""
    turns = {one: left for one, some in pace.turns.items() if (left := tuple(at for at in some if at > now))}
    return replace(pace, turns={**turns, key: (*turns.get(key, ()), turn)[-MAX_TURNS:]})


def calmed(pace: Pace, free_s: float) -> Pace:
    """What is true after a slot has been free for free_s."""
    return replace(pace, turns={}) if free_s > CALM_S and pace.turns else pace


def ended(pace: Pace, took_s: float) -> Pace:
    """What is true after a request that was at the engines for took_s."""
    return replace(pace, mean_s=took_s if pace.mean_s is None else pace.mean_s + NEWEST * (took_s - pace.mean_s))


def _num_keys(view: View, pace: Pace, key: str) -> int:
    """How many keys, this one included, want something now."""
    present = (one.key for one in (*view.waiting, *view.running))
    return len({key, *present, *(one for one, turns in pace.turns.items() if turns[-1] > view.now)})
